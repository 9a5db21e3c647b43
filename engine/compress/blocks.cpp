#include "compress/blocks.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "base/text.h"

namespace vireo::compress {
namespace {

constexpr const char* kAttention = ".attn";
constexpr const char* kSecondLinear = ".mlp.fc2";

double attribute(const Node& n, const char* name) {
  const AttrDef* defs = op_def(n.op).attrs;
  for (int i = 0; defs[i].name; ++i)
    if (std::string(defs[i].name) == name) return n.attrs[size_t(i)];
  return 0;
}

bool is_mlp_activation(OpKind op) {
  for (const OpKind k : {OpKind::kGeluErf, OpKind::kGeluTanh, OpKind::kSilu, OpKind::kRelu, OpKind::kSwiglu})
    if (op == k) return true;
  return false;
}

/// Finds nodes by what they write and what they read.
class Finder {
 public:
  Finder(const LoadedModel& model, const Graph& graph) : g_(graph), uses_(use_counts(graph)) {
    for (size_t i = 0; i < g_.nodes.size(); ++i) writer_[g_.nodes[i].output] = i;
    for (const auto& [name, view] : model.source().weights->tensors()) shapes_[view.name] = view.shape;
  }

  const Node* writer(ValueId v) const {
    const auto found = writer_.find(v);
    return found == writer_.end() ? nullptr : &g_.nodes[found->second];
  }
  /// The one node that reads a value; null if there are several.
  const Node* reader(ValueId v) const {
    const Node* only = nullptr;
    if (uses_[size_t(v)] != 1) return nullptr;
    for (const Node& n : g_.nodes)
      if (std::find(n.inputs.begin(), n.inputs.end(), v) != n.inputs.end()) only = &n;
    return only;
  }

  /// The modules whose weights a linear multiplies, each once; empty where one of them is no matrix of the file.
  std::vector<std::string> modules(const Node& n) const {
    std::vector<std::string> all;
    if (n.op != OpKind::kLinear || n.inputs.size() < 2 || n.inputs[1] == kNoValue) return all;
    std::vector<std::string> names;
    if (g_.value(n.inputs[1]).constant != nullptr) g_.value(n.inputs[1]).constant->tensors(&names);
    for (const std::string& name : names) {
      const auto shape = shapes_.find(name);
      if (shape == shapes_.end() || shape->second.size() != 2 || !ends_with(name, ".weight")) return {};
      const std::string module = name.substr(0, name.size() - std::strlen(".weight"));
      if (std::find(all.begin(), all.end(), module) == all.end()) all.push_back(module);
    }
    return all;
  }
  int64_t rows(const std::string& module) const { return shapes_.at(module + ".weight")[0]; }
  bool has(const std::string& tensor) const { return shapes_.count(tensor) > 0; }

  /// All tensors of the module that both of these are in, if it is an attention's: position tables and the like become
  /// other constants when they are read, which do not name their tensors.
  void add_below(const std::string& first, const std::string& second, std::vector<std::string>* tensors) const {
    size_t same = 0;
    while (same < first.size() && same < second.size() && first[same] == second[same]) ++same;
    const size_t dot = first.rfind('.', same);
    if (dot == std::string::npos || dot + 1 > same) return;
    const std::string module = first.substr(0, dot);
    const size_t before = module.rfind('.');
    if (module.find("att", before == std::string::npos ? 0 : before) == std::string::npos) return;
    for (const auto& [name, shape] : shapes_)
      if (name.compare(0, dot + 1, module + ".") == 0) tensors->push_back(name);
  }

  /// The tensors of all nodes between an addition and the value that it adds to: those of a residual branch.
  std::vector<std::string> branch(ValueId from) const {
    std::set<std::string> all;
    // Down to the addition, ...
    const Node* end = reader(from);
    while (end != nullptr && end->op != OpKind::kAdd) end = reader(end->output);
    if (end == nullptr) return {};
    // ... and up from there, as far as what it also adds to.
    for (const ValueId start : {end->inputs[0], end->inputs[1]}) {
      const ValueId other = start == end->inputs[0] ? end->inputs[1] : end->inputs[0];
      std::set<std::string> names;
      bool through = false;
      std::vector<ValueId> open = {start};
      std::set<ValueId> seen;
      while (!open.empty()) {
        const ValueId v = open.back();
        open.pop_back();
        through = through || v == from;
        const Node* n = v == other ? nullptr : writer(v);
        if (n == nullptr || !seen.insert(v).second) continue;
        for (const ValueId in : n->inputs) {
          if (in == kNoValue) continue;
          const ConstantPtr& c = g_.value(in).constant;
          if (c == nullptr) {
            open.push_back(in);
            continue;
          }
          std::vector<std::string> some;
          c->tensors(&some);
          for (const std::string& t : some) {
            names.insert(t);
            if (ends_with(t, ".weight"))  // a bias that was cut into pieces does not name its tensor
              if (const std::string bias = t.substr(0, t.size() - 6) + "bias"; has(bias)) names.insert(bias);
          }
        }
      }
      if (through) all.insert(names.begin(), names.end());
    }
    return std::vector<std::string>(all.begin(), all.end());
  }

 private:
  const Graph& g_;
  std::vector<int> uses_;
  std::map<ValueId, size_t> writer_;
  std::map<std::string, std::vector<int64_t>> shapes_;
};

/// Fills what an attention tells of its block; false where its linears are not understood.
bool add_attention(const Graph& g, const Finder& find, const Node& n, Block* b) {
  const Node *in = find.writer(n.inputs[0]), *out = find.reader(n.output);
  const Node* const qkv = in != nullptr && in->op == OpKind::kHeadNorm ? find.writer(in->inputs[0]) : in;
  if (qkv == nullptr || out == nullptr) return false;
  b->qkv = find.modules(*qkv);
  const std::vector<std::string> proj = find.modules(*out);
  if ((b->qkv.size() != 1 && b->qkv.size() != 3) || proj.size() != 1) return false;
  const Shape &x = g.value(n.inputs[0]).desc.shape, &y = g.value(n.output).desc.shape;
  const int64_t heads = int64_t(attribute(n, "heads"));
  b->whole.heads = heads, b->whole.v = y.c() / heads, b->whole.qk = (x.c() / heads - b->whole.v) / 2;
  b->merges = std::any_of(g.nodes.begin(), g.nodes.end(), [&](const Node& o) {
    return o.op == OpKind::kTokenMatch && !o.inputs.empty() && o.inputs[0] == qkv->output;
  });
  b->narrow_attention = in == qkv && find.reader(qkv->output) == &n;
  b->plain_heads = b->narrow_attention && (n.inputs.size() < 2 || n.inputs[1] == kNoValue);
  b->proj = proj[0];
  b->qkv_value = g.value(qkv->output).name, b->mixed_value = g.value(n.output).name;
  b->proj_value = g.value(out->output).name;
  b->attention_tensors = find.branch(n.output);
  find.add_below(b->qkv[0], b->proj, &b->attention_tensors);
  // The operator's cost is pairs of tokens times (2 (qk + v) + 5) flops.
  const double pairs = 2 * macs_of(g, n) / double(2 * (b->whole.qk + b->whole.v) + 5);
  const double tokens = double(y.rows()), inner = double(g.value(qkv->inputs[0]).desc.shape.c()),
               outer = double(g.value(out->output).desc.shape.c());
  b->macs[size_t(Part::kQk)] = double(heads) * 2 * tokens * inner + pairs;
  b->macs[size_t(Part::kV)] = double(heads) * tokens * (inner + outer) + pairs;
  return true;
}

bool add_mlp(const Graph& g, const Finder& find, const Node& n, Block* b) {
  const Node* const act = find.writer(n.inputs[0]);
  if (act == nullptr || !is_mlp_activation(act->op) || find.reader(act->output) != &n) return false;
  const Node* const first = find.writer(act->inputs[0]);
  if (first == nullptr || find.reader(first->output) != act) return false;
  const std::vector<std::string> fc1 = find.modules(*first), fc2 = find.modules(n);
  if (fc1.size() != 1 || fc2.size() != 1) return false;
  const Shape& hidden = g.value(act->output).desc.shape;
  b->gated = act->op == OpKind::kSwiglu;
  if (find.rows(fc1[0]) != (b->gated ? 2 : 1) * hidden.c()) return false;
  b->whole.mlp = hidden.c();
  b->fc1 = fc1[0], b->fc2 = fc2[0];
  b->act_value = g.value(act->output).name, b->fc2_value = g.value(n.output).name;
  b->mlp_tensors = find.branch(n.output);
  b->macs[size_t(Part::kMlp)] =
      double(hidden.rows()) *
      double((b->gated ? 2 : 1) * g.value(first->inputs[0]).desc.shape.c() + g.value(n.output).desc.shape.c());
  return true;
}

}  // namespace

const char* to_string(Part p) {
  switch (p) {
    case Part::kQk: return "qk";
    case Part::kV: return "v";
    case Part::kMlp: return "mlp";
  }
  return "mlp";
}

std::vector<Block> find_blocks(const LoadedModel& model, const Graph& graph) {
  std::vector<Block> all;
  if (model.source().weights == nullptr) return all;
  const Finder find(model, graph);
  const auto block = [&](const std::string& name) -> Block& {
    for (Block& b : all)
      if (b.name == name) return b;
    all.emplace_back();
    all.back().name = name;
    all.back().whole = {0, 0, 0, 0};
    return all.back();
  };
  const auto front = [](const std::string& name, const char* end) {
    return name.substr(0, name.size() - std::strlen(end));
  };
  bool tokens = false;  // single tokens are taken out behind the last attention
  for (const Node& n : graph.nodes) {
    if (n.op == OpKind::kAttention && ends_with(n.name, kAttention)) {
      Block b;
      b.whole = {0, 0, 0, 0};
      if (!add_attention(graph, find, n, &b)) continue;
      b.name = front(n.name, kAttention);
      block(b.name) = b;
    } else if (n.op == OpKind::kLinear && ends_with(n.name, kSecondLinear)) {
      Block b = block(front(n.name, kSecondLinear));
      if (add_mlp(graph, find, n, &b)) block(b.name) = b;
    }
    if (n.op == OpKind::kMean) tokens = false;
    if (n.op == OpKind::kSlice && attribute(n, "count") == 1) tokens = true;
  }
  if (tokens && !all.empty()) all.back().last = true;
  return all;
}

Result<std::vector<float>> tensor_values(const LoadedModel& model, const std::string& tensor) {
  const Checkpoint& weights = *model.source().weights;
  for (const auto& [name, view] : weights.tensors()) {
    if (view.name != tensor) continue;
    const int64_t rows = view.shape.empty() ? 1 : view.shape[0];
    VIREO_ASSIGN(
        const ConstantPtr c,
        weights.constant(name, view.shape, "its own", 0, view.shape.size() < 2 ? 1 : rows,
                         view.shape.size() < 2 ? view.elements() : view.elements() / std::max<int64_t>(rows, 1)));
    return c->read_all();
  }
  return std::vector<float>();
}

}  // namespace vireo::compress
