#include "plan/fuse.h"

#include "ops/op.h"
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

Format Rewriter::format(ValueId v) const {
  const Value& value = graph_.value(v);
  return value.constant ? policy_.of(value.name, value.constant->grid()) : Format{};
}

bool Rewriter::codes_rows(ValueId v) const {
  const Value& value = graph_.value(v);
  return device_ == DeviceKind::kCpu && is_coded(v) && policy_.rows_of(value.name, value.constant->row_codes()).coded();
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
  return op_def(r.graph().nodes[size_t(p)].op).slots.act >= 0 ? p : -1;
}

ValueId operand(const Node& n, size_t i) { return i < n.inputs.size() ? n.inputs[i] : kNoValue; }

void set_operand(Node& n, size_t i, ValueId v) {
  if (n.inputs.size() <= i) n.inputs.resize(i + 1, kNoValue);
  n.inputs[i] = v;
}

const Slots& slots_of(const Node& n) { return op_def(n.op).slots; }

/// Whether the operator has such an operand and this node does not use it yet.
bool has_free(const Node& n, int slot) { return slot >= 0 && operand(n, size_t(slot)) == kNoValue; }
bool has_taken(const Node& n, int slot) { return slot >= 0 && operand(n, size_t(slot)) != kNoValue; }

/// Node `from` takes the place and the output of node `into`, whose work it now does as well: it moves to the later
/// position, where all operands of both are ready.
void absorb(Rewriter& r, int from, int into) {
  Graph& g = r.graph();
  Node fused = g.nodes[size_t(from)];
  fused.output = g.nodes[size_t(into)].output;
  g.nodes[size_t(into)] = std::move(fused);
  r.remove(from);
}

bool product_act(Rewriter& r, int i) {
  Graph& g = r.graph();
  const int act = op_def(g.nodes[size_t(i)].op).activation;
  if (!act) return false;
  const int p = sole_product(r, g.nodes[size_t(i)].inputs[0]);
  if (p < 0) return false;
  Node& n = g.nodes[size_t(p)];
  double& slot = n.attrs[size_t(slots_of(n).act)];
  if (slot != 0 || has_taken(n, slots_of(n).scale) || has_taken(n, slots_of(n).residual)) return false;
  slot = act;
  absorb(r, p, i);
  return true;
}

bool linear_scale(Rewriter& r, int i) {
  Graph& g = r.graph();
  if (g.nodes[size_t(i)].op != OpKind::kScale) return false;
  const int p = sole_product(r, g.nodes[size_t(i)].inputs[0]);
  if (p < 0) return false;
  Node& n = g.nodes[size_t(p)];
  if (!has_free(n, slots_of(n).scale) || has_taken(n, slots_of(n).residual)) return false;
  set_operand(n, size_t(slots_of(n).scale), g.nodes[size_t(i)].inputs[1]);
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
    if (!has_free(n, slots_of(n).residual)) continue;
    set_operand(n, size_t(slots_of(n).residual), other);
    absorb(r, p, i);
    return true;
  }
  return false;
}

/// The node of kind `op` that alone feeds operand v and adds no residual yet, or -1.
int sole_free(Rewriter& r, ValueId v, OpKind op) {
  const int p = r.producer(v);
  if (p < 0 || r.uses(v) != 1 || r.is_output(v)) return -1;
  const Node& n = r.graph().nodes[size_t(p)];
  return n.op == op && has_free(n, slots_of(n).residual) ? p : -1;
}

/// Add(x, y) where y's producer can add x itself.
bool residual_of(Rewriter& r, int i, OpKind op) {
  Graph& g = r.graph();
  if (g.nodes[size_t(i)].op != OpKind::kAdd) return false;
  const ValueId a = g.nodes[size_t(i)].inputs[0], b = g.nodes[size_t(i)].inputs[1];
  for (const auto& [from, other] : {std::pair{b, a}, std::pair{a, b}}) {
    const int p = sole_free(r, from, op);
    if (p < 0) continue;
    set_operand(g.nodes[size_t(p)], size_t(op_def(op).slots.residual), other);
    absorb(r, p, i);
    return true;
  }
  return false;
}

/// A feature pyramid's top-down path: lateral + resize(top).
bool resize_residual(Rewriter& r, int i) { return residual_of(r, i, OpKind::kResize); }
/// A norm behind the branch (Swin V2): x + norm(y).
bool norm_residual(Rewriter& r, int i) { return residual_of(r, i, OpKind::kLayerNorm); }

/// LayerNorm's gain and offset move into the linear that follows: W' = W diag(gamma), b' = b + W beta. What is left,
/// the normalisation itself, becomes the linear's prologue. A weight of codes keeps its columns, since rounding W
/// diag(gamma) loses more than rounding W and codes of a checkpoint are not to be rounded again: the prologue
/// multiplies by the gain, and where rows become codes too it is the whole LayerNorm, whose answer is what is rounded.
bool norm_linear(Rewriter& r, int i) {
  Graph& g = r.graph();
  const auto takes_norm = [](const Node& n) {
    return slots_of(n).norm >= 0 && op_def(n.op).matrix >= 0 && slots_of(n).bias >= 0;
  };
  const Node& product = g.nodes[size_t(i)];
  if (!takes_norm(product) || product.attrs[size_t(slots_of(product).norm)] != 0) return false;
  const int p = r.producer(g.nodes[size_t(i)].inputs[0]);
  if (p < 0 || g.nodes[size_t(p)].op != OpKind::kLayerNorm) return false;
  const Node norm = g.nodes[size_t(p)];
  if (r.is_output(norm.output) || has_taken(norm, slots_of(norm).residual)) return false;
  for (const Node& n : g.nodes)  // every reader must be able to take it, or the normalised rows are needed anyway
    for (size_t k = 0; k < n.inputs.size(); ++k)
      if (n.inputs[k] == norm.output && (!takes_norm(n) || k != 0)) return false;

  const Slots slots = slots_of(product), of_norm = slots_of(norm);
  const size_t matrix = size_t(op_def(product.op).matrix);
  const ValueId weight = product.inputs[matrix], bias = operand(product, size_t(slots.bias));
  const ValueId gain = norm.inputs[size_t(of_norm.scale)], shift = norm.inputs[size_t(of_norm.bias)];
  const ConstantPtr w = g.value(weight).constant, gamma = g.value(gain).constant, beta = g.value(shift).constant;
  const ConstantPtr b = bias == kNoValue ? nullptr : g.value(bias).constant;
  if (!w || !gamma || !beta || (bias != kNoValue && !b)) return false;  // not ours to judge: lower names what is wrong
  const bool coded = r.is_coded(weight), whole = r.codes_rows(weight);
  if (coded && slots.affine < 0) return false;
  // Scales that are multiplied while W is staged leave a shader no registers for gains, and rows that become codes are
  // read twice: a dispatch for the norm is less.
  const Grid grid = r.format(weight).grid;
  if (coded && r.device() == DeviceKind::kVulkan &&
      (grid.scope == Scope::kGroup || grid.zero_points || grid.bits <= 4 || r.gpu_codes_rows(weight)))
    return false;
  const ValueId affine = !coded  ? kNoValue
                         : whole ? r.add_constant(g.value(gain).name, stack_rows({gamma, beta}))
                                 : gain;
  const ValueId folded = coded ? weight : r.add_constant(g.value(weight).name, scale_columns(w, gamma));
  const ValueId offset =
      whole ? bias : r.add_constant(bias == kNoValue ? g.value(shift).name : g.value(bias).name, fold_bias(w, beta, b));
  Node& n = g.nodes[size_t(i)];
  n.inputs[0] = norm.inputs[0];
  n.inputs[matrix] = folded;
  if (offset != kNoValue) set_operand(n, size_t(slots.bias), offset);
  if (coded) set_operand(n, size_t(slots.affine), affine);
  n.attrs[size_t(slots.norm)] = 1;
  n.attrs[size_t(slots.norm_eps)] = norm.attrs[size_t(of_norm.norm_eps)];
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

Result<Graph> fuse(Graph graph, const FormatPolicy& policy, DeviceKind device, std::vector<std::string>* applied) {
  Rewriter r(graph, policy, device);
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
