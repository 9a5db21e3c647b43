#include "graph/graph.h"

namespace vireo {

OpCall op_call(const Graph& g, const Node& n) {
  OpCall call;
  call.name = n.name.c_str();
  call.attrs = &n.attrs;
  for (ValueId v : n.inputs) call.in.push_back(v == kNoValue ? nullptr : &g.value(v).desc);
  if (n.output != kNoValue) call.out = g.value(n.output).desc;
  return call;
}

ValueId GraphBuilder::input(std::string name, TensorDesc desc) {
  const ValueId id = ValueId(graph_.values.size());
  graph_.values.push_back({std::move(name), desc, nullptr});
  graph_.inputs.push_back(id);
  return id;
}

ValueId GraphBuilder::constant(std::string name, ConstantPtr c) {
  const ValueId id = ValueId(graph_.values.size());
  TensorDesc d;
  d.shape = Shape{{1, 1, c ? c->rows() : 0, c ? c->cols() : 0}};
  graph_.values.push_back({std::move(name), d, std::move(c)});
  return id;
}

ValueId GraphBuilder::add(OpKind op, std::string name, std::vector<ValueId> inputs,
                          std::vector<std::pair<const char*, double>> attrs) {
  if (!error_) return kNoValue;
  for (ValueId v : inputs)
    if (v != kNoValue && (v < 0 || size_t(v) >= graph_.values.size())) {
      error_ =
          fail(ErrorCode::kInternal, "graph '{}': node '{}' reads value {} which does not exist", graph_.name, name, v);
      return kNoValue;
    }
  Result<Attrs> a = make_attrs(op, attrs);
  if (!a) {
    error_ = a.error();
    return kNoValue;
  }
  Node n{std::move(name), op, *a, std::move(inputs), kNoValue};
  Result<TensorDesc> out = op_def(n.op).infer(op_call(graph_, n));
  if (!out) {
    error_ = out.error();
    return kNoValue;
  }
  n.output = ValueId(graph_.values.size());
  graph_.values.push_back({n.name, *out, nullptr});
  graph_.nodes.push_back(std::move(n));
  return graph_.nodes.back().output;
}

const Shape& GraphBuilder::shape(ValueId v) const { return v == kNoValue ? none_ : graph_.value(v).desc.shape; }

Result<Graph> GraphBuilder::finish() {
  if (!error_) return error_.error();
  VIREO_TRY(validate(graph_));
  return std::move(graph_);
}

Result<void> validate(const Graph& g) {
  std::vector<bool> ready(g.values.size(), false);
  for (ValueId v : g.inputs) ready[size_t(v)] = true;
  for (size_t i = 0; i < g.values.size(); ++i)
    if (g.values[i].constant) ready[i] = true;
  for (const Node& n : g.nodes) {
    for (ValueId v : n.inputs)
      if (v != kNoValue && !ready[size_t(v)])
        return fail(ErrorCode::kInternal, "graph '{}': node '{}' reads '{}' before it is written", g.name, n.name,
                    g.value(v).name);
    VIREO_ASSIGN(const TensorDesc out, op_def(n.op).infer(op_call(g, n)));
    if (out.shape != g.value(n.output).desc.shape)
      return fail(ErrorCode::kInternal, "graph '{}': node '{}' yields {} but its value is declared {}", g.name, n.name,
                  to_string(out), to_string(g.value(n.output).desc));
    ready[size_t(n.output)] = true;
  }
  for (ValueId v : g.outputs)
    if (v == kNoValue || !ready[size_t(v)])
      return fail(ErrorCode::kInternal, "graph '{}': an output is never written", g.name);
  return {};
}

std::string dump(const Graph& g) {
  std::string s = fmt::format("graph {}\n", g.name);
  for (ValueId v : g.inputs) s += fmt::format("input  {} {}\n", g.value(v).name, to_string(g.value(v).desc));
  for (const Node& n : g.nodes) {
    const OpDef& def = op_def(n.op);
    s += fmt::format("{} = {}(", n.name, def.name);
    for (size_t i = 0; i < n.inputs.size(); ++i)
      s += fmt::format("{}{}", i ? ", " : "", n.inputs[i] == kNoValue ? std::string("-") : g.value(n.inputs[i]).name);
    s += ")";
    for (int a = 0; def.attrs[a].name; ++a) {
      if (n.attrs[size_t(a)] == def.attrs[a].initial) continue;
      if (def.attrs[a].names)
        s += fmt::format(" {}={}", def.attrs[a].name, def.attrs[a].names[int(n.attrs[size_t(a)])]);
      else s += fmt::format(" {}={:g}", def.attrs[a].name, n.attrs[size_t(a)]);
    }
    s += fmt::format(" -> {}\n", to_string(g.value(n.output).desc));
  }
  for (ValueId v : g.outputs) s += fmt::format("output {}\n", g.value(v).name);
  return s;
}

std::vector<int> use_counts(const Graph& g) {
  std::vector<int> uses(g.values.size(), 0);
  for (const Node& n : g.nodes)
    for (ValueId v : n.inputs)
      if (v != kNoValue) ++uses[size_t(v)];
  for (ValueId v : g.outputs) ++uses[size_t(v)];
  return uses;
}

}  // namespace vireo
