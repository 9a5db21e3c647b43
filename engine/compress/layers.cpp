#include "compress/layers.h"

#include <algorithm>
#include <map>

#include "base/text.h"

namespace vireo::compress {
namespace {

constexpr const char* kWeight = ".weight";

double attribute(const Node& n, const char* name, double otherwise) {
  const AttrDef* defs = op_def(n.op).attrs;
  for (int i = 0; defs[i].name; ++i)
    if (std::string(defs[i].name) == name) return n.attrs[size_t(i)];
  return otherwise;
}

bool is_nonlinear(OpKind op) {
  for (const OpKind k : {OpKind::kGeluErf, OpKind::kGeluTanh, OpKind::kSilu, OpKind::kRelu, OpKind::kTanh,
                         OpKind::kHardswish, OpKind::kSwiglu})
    if (op == k) return true;
  return false;
}

/// The tokens that slices behind the last attention take out one by one.
void find_answer_tokens(const Graph& g, size_t last_attention, Layers* layers) {
  for (size_t i = last_attention + 1; i < g.nodes.size(); ++i) {
    const Node& n = g.nodes[i];
    const bool merged_mean = n.op == OpKind::kTokenMerge && n.inputs[1] == kNoValue;
    if (n.op == OpKind::kMean || merged_mean) {  // the answer is of all tokens too
      layers->answer_tokens.clear();
      return;
    }
    if (n.op != OpKind::kSlice || attribute(n, "count", 0) != 1) continue;
    layers->answer_tokens.push_back(int64_t(attribute(n, "start", 0)));
    layers->tokens = g.value(n.inputs[0]).desc.shape.rows();
  }
}

}  // namespace

double macs_of(const Graph& g, const Node& n) { return op_def(n.op).cost(op_call(g, n)).flops / 2; }

const char* to_string(LayerKind k) {
  switch (k) {
    case LayerKind::kInner: return "linear";
    case LayerKind::kHead: return "head";
    case LayerKind::kEmbedding: return "embedding";
    case LayerKind::kConvolution: return "convolution";
  }
  return "linear";
}

Layers find_layers(const LoadedModel& model, const Graph& graph) {
  Layers found;
  if (model.source().weights == nullptr) return found;
  std::map<std::string, const TensorView*> views;  // by the file's names
  for (const auto& [name, view] : model.source().weights->tensors()) views[view.name] = &view;
  size_t last_attention = 0;
  for (size_t i = 0; i < graph.nodes.size(); ++i)
    if (graph.nodes[i].op == OpKind::kAttention) last_attention = i;
  if (last_attention > 0) find_answer_tokens(graph, last_attention, &found);

  std::map<std::string, size_t> known;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& n = graph.nodes[i];
    const int operand = op_def(n.op).matrix;
    if (operand >= 0 || n.op == OpKind::kAttention || n.op == OpKind::kTokenMatch) found.macs += macs_of(graph, n);
    if (operand < 0 || size_t(operand) >= n.inputs.size() || n.inputs[size_t(operand)] == kNoValue) continue;
    const ConstantPtr& constant = graph.value(n.inputs[size_t(operand)]).constant;
    if (constant == nullptr || attribute(n, "groups", 1) != 1) continue;
    std::vector<std::string> names;
    constant->tensors(&names);
    std::map<std::string, int64_t> first_rows;  // of tensors that stand one below another
    int64_t below = 0;
    for (const std::string& name : names) {
      const auto view = views.find(name);
      if (view == views.end() || view->second->shape.empty() || !first_rows.emplace(name, below).second) continue;
      below += view->second->shape[0];
    }
    if (below != constant->rows()) first_rows.clear();  // put together in another way
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    const Value& in = graph.value(n.inputs[0]);
    const bool reads_pixels = std::find(graph.inputs.begin(), graph.inputs.end(), n.inputs[0]) != graph.inputs.end();
    const bool answers = std::find(graph.outputs.begin(), graph.outputs.end(), n.output) != graph.outputs.end();
    for (const std::string& name : names) {
      const auto view = views.find(name);
      if (view == views.end() || !ends_with(name, kWeight) || known.count(name) > 0) continue;
      Layer l;
      l.shape = view->second->shape;
      if (l.shape.size() != 2 && l.shape.size() != 4) continue;
      l.tensor = name;
      l.module = name.substr(0, name.size() - std::string(kWeight).size());
      l.node = n.name;
      l.input = in.name;
      l.behind_activation = std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& before) {
        return before.output == n.inputs[0] && is_nonlinear(before.op);
      });
      l.rows = l.shape[0];
      l.cols = view->second->elements() / std::max<int64_t>(l.rows, 1);
      const auto first = first_rows.find(name);
      l.matrix = graph.value(n.inputs[size_t(operand)]).name;
      l.matrix_row = first == first_rows.end() ? 0 : first->second;
      l.matrix_rows = first == first_rows.end() ? l.rows : constant->rows();
      if (l.conv()) l.kind = reads_pixels ? LayerKind::kEmbedding : LayerKind::kConvolution;
      else if (answers || in.desc.shape.rows() == 1) l.kind = LayerKind::kHead;
      l.last = last_attention > 0 && i > last_attention && !found.answer_tokens.empty() && l.kind == LayerKind::kInner;
      l.macs = double(graph.value(n.output).desc.shape.rows()) * double(l.rows) * double(l.cols);
      known[name] = found.all.size();
      found.all.push_back(std::move(l));
    }
  }
  return found;
}

Result<std::vector<float>> weight_values(const LoadedModel& model, const Layer& layer) {
  const Checkpoint& weights = *model.source().weights;
  for (const auto& [name, view] : weights.tensors()) {
    if (view.name != layer.tensor) continue;
    VIREO_ASSIGN(const ConstantPtr c, weights.constant(name, view.shape, "its own", 0, layer.rows, layer.cols));
    return c->read_all();
  }
  return fail(ErrorCode::kInternal, "tensor '{}' has gone", layer.tensor);
}

}  // namespace vireo::compress
