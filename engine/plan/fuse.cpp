#include "plan/fuse.h"

#include "ops/linear.h"
#include "plan/plan.h"

namespace vireo {

void Rewriter::refresh() {
  producer_.assign(graph_.values.size(), -1);
  for (size_t i = 0; i < graph_.nodes.size(); ++i) producer_[size_t(graph_.nodes[i].output)] = int(i);
  uses_ = use_counts(graph_);
}

bool Rewriter::is_output(ValueId v) const {
  for (ValueId o : graph_.outputs)
    if (o == v) return true;
  return false;
}

bool Rewriter::is_coded(ValueId v) const {
  const Value& value = graph_.value(v);
  return value.constant && policy_.of(value.name, value.constant->grid()).grid.coded();
}

ValueId Rewriter::add_constant(std::string name, ConstantPtr c) {
  TensorDesc d;
  d.shape = Shape{{1, 1, c->rows(), c->cols()}};
  graph_.values.push_back({std::move(name), d, std::move(c)});
  producer_.push_back(-1);
  uses_.push_back(0);
  return ValueId(graph_.values.size()) - 1;
}

void Rewriter::remove(int i) {
  graph_.nodes.erase(graph_.nodes.begin() + i);
  refresh();
}

namespace {

/// The matrix product (linear or conv2d) that alone feeds operand v, or -1. Its epilogue order is
/// act, scale, residual; a rule may only add a part behind those already there.
int sole_product(Rewriter& r, ValueId v) {
  const int p = r.producer(v);
  if (p < 0 || r.uses(v) != 1 || r.is_output(v)) return -1;
  const OpKind op = r.graph().nodes[size_t(p)].op;
  return op == OpKind::kLinear || op == OpKind::kConv2d ? p : -1;
}

ValueId operand(const Node& n, size_t i) { return i < n.inputs.size() ? n.inputs[i] : kNoValue; }

void set_operand(Node& n, size_t i, ValueId v) {
  if (n.inputs.size() <= i) n.inputs.resize(i + 1, kNoValue);
  n.inputs[i] = v;
}

/// Node `from` takes the place and the output of node `into`, whose work it now does as well: it moves to the later
/// position, where all operands of both are ready.
void absorb(Rewriter& r, int from, int into) {
  Graph& g = r.graph();
  Node fused = g.nodes[size_t(from)];
  fused.output = g.nodes[size_t(into)].output;
  g.nodes[size_t(into)] = std::move(fused);
  r.remove(from);
}

int act_of(OpKind op) {
  switch (op) {
    case OpKind::kGeluErf: return 1;
    case OpKind::kGeluTanh: return 2;
    case OpKind::kSilu: return 3;
    case OpKind::kRelu: return 4;
    case OpKind::kTanh: return 5;
    case OpKind::kHardswish: return 6;
    default: return 0;
  }
}

bool product_act(Rewriter& r, int i) {
  Graph& g = r.graph();
  const int act = act_of(g.nodes[size_t(i)].op);
  if (!act) return false;
  const int p = sole_product(r, g.nodes[size_t(i)].inputs[0]);
  if (p < 0) return false;
  Node& n = g.nodes[size_t(p)];
  const int slot = n.op == OpKind::kLinear ? int(linear::kAct) : int(conv2d::kAct);
  if (n.attrs[size_t(slot)] != 0) return false;
  if (operand(n, linear::kScaleIn) != kNoValue || operand(n, linear::kResidualIn) != kNoValue) return false;
  n.attrs[size_t(slot)] = act;
  absorb(r, p, i);
  return true;
}

bool linear_scale(Rewriter& r, int i) {
  Graph& g = r.graph();
  if (g.nodes[size_t(i)].op != OpKind::kScale) return false;
  const int p = sole_product(r, g.nodes[size_t(i)].inputs[0]);
  if (p < 0) return false;
  Node& n = g.nodes[size_t(p)];
  if (n.op != OpKind::kLinear || operand(n, linear::kScaleIn) != kNoValue ||
      operand(n, linear::kResidualIn) != kNoValue)
    return false;
  set_operand(n, linear::kScaleIn, g.nodes[size_t(i)].inputs[1]);
  absorb(r, p, i);
  return true;
}

bool linear_residual(Rewriter& r, int i) {
  Graph& g = r.graph();
  if (g.nodes[size_t(i)].op != OpKind::kAdd) return false;
  const ValueId a = g.nodes[size_t(i)].inputs[0], b = g.nodes[size_t(i)].inputs[1];
  if (a == b) return false;
  for (const auto& [product, other] : {std::pair{b, a}, std::pair{a, b}}) {
    const int p = sole_product(r, product);
    if (p < 0) continue;
    Node& n = g.nodes[size_t(p)];
    if (n.op != OpKind::kLinear || operand(n, linear::kResidualIn) != kNoValue) continue;
    set_operand(n, linear::kResidualIn, other);
    absorb(r, p, i);
    return true;
  }
  return false;
}

/// The node of kind `op` that alone feeds operand v and whose operand `slot` is still free, or -1.
int sole_free(Rewriter& r, ValueId v, OpKind op, size_t slot) {
  const int p = r.producer(v);
  if (p < 0 || r.uses(v) != 1 || r.is_output(v)) return -1;
  const Node& n = r.graph().nodes[size_t(p)];
  return n.op == op && operand(n, slot) == kNoValue ? p : -1;
}

/// Add(x, y) where y's producer can add x itself.
bool residual_of(Rewriter& r, int i, OpKind op, size_t slot) {
  Graph& g = r.graph();
  if (g.nodes[size_t(i)].op != OpKind::kAdd) return false;
  const ValueId a = g.nodes[size_t(i)].inputs[0], b = g.nodes[size_t(i)].inputs[1];
  for (const auto& [from, other] : {std::pair{b, a}, std::pair{a, b}}) {
    const int p = sole_free(r, from, op, slot);
    if (p < 0) continue;
    set_operand(g.nodes[size_t(p)], slot, other);
    absorb(r, p, i);
    return true;
  }
  return false;
}

constexpr size_t kResizeResidual = 1, kNormResidual = 3;
/// A feature pyramid's top-down path: lateral + resize(top).
bool resize_residual(Rewriter& r, int i) { return residual_of(r, i, OpKind::kResize, kResizeResidual); }
/// A norm behind the branch (Swin V2): x + norm(y).
bool norm_residual(Rewriter& r, int i) { return residual_of(r, i, OpKind::kLayerNorm, kNormResidual); }

/// LayerNorm's gain and offset move into the linear that follows: W' = W diag(gamma), b' = b + W beta. What is left,
/// the normalisation itself, becomes the linear's prologue. A weight of codes keeps its columns, and the prologue is
/// the whole LayerNorm: rounding W diag(gamma) loses more than rounding W, codes of a checkpoint are not to be rounded
/// again, and rows that are codes too are those of the LayerNorm's answer.
bool norm_linear(Rewriter& r, int i) {
  Graph& g = r.graph();
  if (g.nodes[size_t(i)].op != OpKind::kLinear || g.nodes[size_t(i)].attrs[linear::kNorm] != 0) return false;
  const int p = r.producer(g.nodes[size_t(i)].inputs[0]);
  if (p < 0 || g.nodes[size_t(p)].op != OpKind::kLayerNorm) return false;
  const Node norm = g.nodes[size_t(p)];
  if (r.is_output(norm.output) || operand(norm, kNormResidual) != kNoValue) return false;
  for (const Node& n : g.nodes)  // every reader must be able to take it, or the normalised rows are needed anyway
    for (size_t k = 0; k < n.inputs.size(); ++k)
      if (n.inputs[k] == norm.output && (n.op != OpKind::kLinear || k != 0)) return false;

  const ValueId weight = g.nodes[size_t(i)].inputs[1], bias = operand(g.nodes[size_t(i)], 2);
  const ConstantPtr w = g.value(weight).constant, gamma = g.value(norm.inputs[1]).constant,
                    beta = g.value(norm.inputs[2]).constant;
  const ConstantPtr b = bias == kNoValue ? nullptr : g.value(bias).constant;
  if (!w || !gamma || !beta || (bias != kNoValue && !b)) return false;  // not ours to judge: lower names what is wrong
  const bool coded = r.is_coded(weight);
  const ValueId affine = coded ? r.add_constant(g.value(norm.inputs[1]).name, stack_rows({gamma, beta})) : kNoValue;
  const ValueId folded = coded ? weight : r.add_constant(g.value(weight).name, scale_columns(w, gamma));
  const ValueId offset = coded ? bias
                               : r.add_constant(bias == kNoValue ? g.value(norm.inputs[2]).name : g.value(bias).name,
                                                fold_bias(w, beta, b));
  Node& n = g.nodes[size_t(i)];
  n.inputs[0] = norm.inputs[0];
  n.inputs[1] = folded;
  if (offset != kNoValue) set_operand(n, 2, offset);
  if (coded) set_operand(n, linear::kAffine, affine);
  n.attrs[linear::kNorm] = 1;
  n.attrs[linear::kEps] = norm.attrs[0];
  r.refresh();
  const int dead = r.producer(norm.output);
  if (r.uses(norm.output) == 0) r.remove(dead);
  return true;
}

// ---- examples
// --------------------------------------------------------------------------------------------------------

ConstantPtr noise(int64_t rows, int64_t cols, uint64_t seed) { return random_constant(rows, cols, seed, 0.5f, 0.1f); }

struct Example {
  GraphBuilder b{"example"};
  ValueId x = b.input("x", {DType::kF32, Shape{{2, 1, 5, 12}}});
  ValueId linear(const char* name, ValueId in, int64_t out, int64_t k, uint64_t seed) {
    return b.add(OpKind::kLinear, name,
                 {in, b.constant("w", noise(out, k, seed)), b.constant("b", noise(1, out, seed + 1))});
  }
  Result<Graph> finish(ValueId v) {
    b.output(v);
    return b.finish();
  }
};

Result<Graph> example_act() {
  Example e;  // every activation, behind a linear and behind a convolution
  ValueId v = e.x;
  uint64_t seed = 1;
  for (OpKind act :
       {OpKind::kGeluErf, OpKind::kGeluTanh, OpKind::kSilu, OpKind::kRelu, OpKind::kTanh, OpKind::kHardswish}) {
    v = e.b.add(act, "act", {e.linear("fc", v, 12, 12, seed++)});
    const ValueId w = e.b.constant("w", noise(12, 3 * 12, seed++));
    v = e.b.add(act, "act",
                {e.b.add(OpKind::kConv2d, "conv", {v, w, e.b.constant("b", noise(1, 12, seed++))},
                         {{"kernel_w", 3}, {"pad_w", 1}})});
  }
  return e.finish(v);
}
Result<Graph> example_scale() {
  Example e;
  return e.finish(e.b.add(OpKind::kScale, "ls", {e.linear("fc", e.x, 12, 12, 1), e.b.constant("g", noise(1, 12, 9))}));
}
Result<Graph> example_residual() {
  Example e;
  const ValueId late = e.b.add(OpKind::kSilu, "late", {e.x});
  const ValueId fc = e.linear("fc", e.x, 12, 12, 1);
  return e.finish(e.b.add(OpKind::kAdd, "add", {late, fc}));
}
Result<Graph> example_resize_residual() {
  GraphBuilder b("example");
  const ValueId top = b.input("top", {DType::kF32, Shape{{2, 3, 4, 6}}}),
                lateral = b.input("lateral", {DType::kF32, Shape{{2, 7, 5, 6}}});
  const ValueId wide = b.add(OpKind::kResize, "up", {top}, {{"out_h", 7}, {"out_w", 5}, {"mode", 1}});
  b.output(b.add(OpKind::kAdd, "add", {b.add(OpKind::kSilu, "late", {lateral}), wide}));
  return b.finish();
}
Result<Graph> example_norm_residual() {
  Example e;
  const ValueId n = e.b.add(OpKind::kLayerNorm, "norm",
                            {e.b.add(OpKind::kSilu, "branch", {e.x}), e.b.constant("g", noise(1, 12, 3)),
                             e.b.constant("be", noise(1, 12, 4))});
  return e.finish(e.linear("after", e.b.add(OpKind::kAdd, "add", {e.x, n}), 8, 12, 5));
}
Result<Graph> example_norm() {
  Example e;
  const ValueId n =
      e.b.add(OpKind::kLayerNorm, "norm",
              {e.x, e.b.constant("g", noise(1, 12, 3)), e.b.constant("be", noise(1, 12, 4))}, {{"eps", 1e-6}});
  const ValueId a = e.linear("fa", n, 8, 12, 5), c = e.linear("fb", n, 8, 12, 7);
  return e.finish(e.b.add(OpKind::kAdd, "add", {a, c}));
}

}  // namespace

const std::vector<FuseRule>& fuse_rules() {
  static const std::vector<FuseRule> rules = {
      {"product_act", product_act, example_act},
      {"linear_scale", linear_scale, example_scale},
      {"linear_residual", linear_residual, example_residual},
      {"resize_residual", resize_residual, example_resize_residual},
      {"norm_residual", norm_residual, example_norm_residual},
      {"norm_linear", norm_linear, example_norm},
  };
  return rules;
}

Result<Graph> fuse(Graph graph, const FormatPolicy& policy, std::vector<std::string>* applied) {
  Rewriter r(graph, policy);
  for (bool changed = true; changed;) {
    changed = false;
    for (const FuseRule& rule : fuse_rules())
      for (int i = 0; i < int(graph.nodes.size()); ++i)
        if (rule.apply(r, i)) {
          if (applied) applied->push_back(rule.name);
          changed = true;
          i = -1;  // positions moved; graphs have a few hundred nodes, so starting over is cheap
        }
  }
  VIREO_TRY(validate(graph));
  return graph;
}

}  // namespace vireo
