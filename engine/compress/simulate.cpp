#include "compress/simulate.h"

#include <algorithm>
#include <cmath>

#include "compress/calibrate.h"
#include "compress/mix_rows.h"
#include "compress/replace.h"
#include "compress/sensitivity.h"
#include "compress/tokens.h"
#include "ops/attention.h"
#include "ops/integer.h"

namespace vireo::compress {
namespace {

bool is_gelu(OpKind op) { return op == OpKind::kGeluErf || op == OpKind::kGeluTanh; }

Rows rows_of(const Plan& plan, int32_t value, Runner& runner) {
  const PlanValue& v = plan.values[size_t(value)];
  return {runner.numbers(v), v.desc.shape.rows(), v.desc.shape.c(), v.desc.row_stride()};
}

/// The runner's own memory, which steps to come read.
FloatRows own(const Rows& x) { return {const_cast<float*>(x.data), x.rows, x.cols, x.stride}; }

}  // namespace

Rounding Simulated::rounding_of(const Layer& l) const {
  if (l.kind != LayerKind::kInner) return {};
  return l.behind_activation && policy_.gelu.grid != nullptr ? policy_.gelu : policy_.rows;
}

// ---- while the model runs

void Simulated::round_rows(const Layer& l, Rows rows) {
  float* const x = const_cast<float*>(rows.data);  // the runner's own memory
  const auto fold = folds_.find(l.input);
  const auto each = [&](auto change) {
    if (fold == folds_.end()) return;
    for (int64_t r = 0; r < rows.rows; ++r)
      for (int64_t c = 0; c < rows.cols; ++c)
        change(x[r * rows.stride + c], fold->second.by[size_t(c)], fold->second.shift[size_t(c)]);
  };
  const auto fit = policy_.fits.find(l.input);
  each([](float& v, float by, float shift) { v = v / by + shift; });
  vireo::round_rows(rounding_of(l), fit == policy_.fits.end() ? nullptr : &fit->second, own(rows), pool_);
  each([](float& v, float by, float shift) { v = (v - shift) * by; });
}

void Simulated::attend(const Plan& plan, const Step& step, Runner& runner,
                       std::vector<std::vector<float>>* seen) const {
  const OpCall call = op_call(plan, step);
  const attention::Sizes s = attention::sizes(call);
  const Rows x = rows_of(plan, step.inputs[attention::kX], runner), out = rows_of(plan, step.output, runner);
  std::vector<float> bias;
  if (step.inputs.size() > attention::kKeyBias && step.inputs[attention::kKeyBias] >= 0) {
    const Rows b = rows_of(plan, step.inputs[attention::kKeyBias], runner);
    for (int64_t j = 0; j < s.tokens; ++j) bias.push_back(b.data[b.cols == 1 ? j * b.stride : j]);
  }
  RoundedAttention a;
  a.tokens = s.tokens, a.heads = s.heads, a.dim = s.dim, a.vdim = s.vdim, a.scale = attention::scale_of(call);
  a.x = x.data, a.ldx = x.stride;
  a.key_bias = bias.empty() ? nullptr : bias.data();
  a.out = const_cast<float*>(out.data), a.ldo = out.stride;
  a.operands = policy_.operands, a.softmax = policy_.softmax, a.integer_softmax = policy_.integer_softmax;
  if (const auto fit = policy_.fits.find(step.name + " in"); fit != policy_.fits.end()) a.fit = fit->second;
  a.seen = seen;
  a.run(pool_);
}

void Simulated::integer_gelu(const Plan& plan, const Step& step, Runner& runner) const {
  integer_gelu_rows(policy_.integer_gelu, own(rows_of(plan, step.inputs[0], runner)),
                    own(rows_of(plan, step.output, runner)));
}

void Simulated::integer_layernorm(const Plan& plan, const Step& step, Runner& runner) const {
  const auto& norm = norms_.at(step.name);
  integer_norm_rows(policy_.integer_layernorm, own(rows_of(plan, step.inputs[0], runner)), norm.first.data(),
                    norm.second.data(), own(rows_of(plan, step.output, runner)));
}

/// As the folded weight multiplies them.
void Simulated::add_moments(const Layer& l, Rows rows, Moments* moments) {
  const auto found = moments->find(l.node);
  if (found == moments->end() || rows.cols != l.cols) return;
  std::vector<float> scaled;
  if (const auto f = folds_.find(l.input); f != folds_.end()) {
    scaled.assign(rows.data, rows.data + rows.rows * rows.stride);
    for (int64_t r = 0; r < rows.rows; ++r)
      for (int64_t c = 0; c < rows.cols; ++c) scaled[size_t(r * rows.stride + c)] /= f->second.by[size_t(c)];
    rows.data = scaled.data();
  }
  // Where tokens are merged, the last value has the fewest.
  const bool all = rows.rows == layers_.tokens || (merges_ && rows.rows >= layers_.tokens);
  if (found->second.pictures() == 0 && !all) found->second = compress::Moments(l.cols, {}, true);
  if (!found->second.add(rows, *device_.kernels, pool_)) not_finite_ = l.node;
}

const float* Simulated::run(Runner& runner, const std::vector<float>& pixels, Moments* moments) {
  // What a step reads is rounded for it alone: others read the same value.
  std::vector<float> kept;
  float* changed = nullptr;
  const auto keep = [&](const Rows& rows) {
    changed = const_cast<float*>(rows.data);
    kept.assign(rows.data, rows.data + rows.rows * rows.stride);
  };
  const auto before = [&](const Plan& plan, const Step& step) {
    if (step.op == OpKind::kAttention && policy_.attends()) {
      attend(plan, step, runner, nullptr);
      return true;
    }
    if (is_gelu(step.op) && policy_.integer_gelu.bits > 0) {
      integer_gelu(plan, step, runner);
      return true;
    }
    if (norms_.count(step.name) > 0) {
      integer_layernorm(plan, step, runner);
      return true;
    }
    if (step.inputs.empty() || step.inputs[0] < 0) return false;
    const PlanValue& v = plan.values[size_t(step.inputs[0])];
    if (v.desc.dtype != DType::kF32 || v.desc.layout != Layout::kRows) return false;
    const Rows rows = rows_of(plan, step.inputs[0], runner);
    if (step.op == OpKind::kLayerNorm && policy_.layernorm.grid != nullptr) {
      keep(rows);
      const auto fit = policy_.fits.find(step.name + " in");
      vireo::round_rows(policy_.layernorm, fit == policy_.fits.end() ? nullptr : &fit->second, own(rows), pool_);
      return false;
    }
    const auto layer = by_node_.find(step.name);
    if (layer == by_node_.end()) return false;
    const Layer& l = layers_.all[layer->second];
    if (rounding_of(l).grid != nullptr) keep(rows), round_rows(l, rows);
    if (moments != nullptr && l.kind == LayerKind::kInner) add_moments(l, rows, moments);
    return false;
  };
  const auto after = [&](const Plan&, const Step&) {
    if (changed != nullptr) std::copy(kept.begin(), kept.end(), changed);
    changed = nullptr;
  };
  return runner.run(pixels, before, after);
}

// ---- before it runs

Result<void> Simulated::round_weight(const LoadedModel& model, size_t i, const compress::Moments* moments,
                                     std::vector<StoredTensor>* rounded) {
  const Layer& l = layers_.all[i];
  const bool inner = l.kind == LayerKind::kInner;
  Grid grid = (inner ? policy_.weights : policy_.others).grid;
  if (!grid.coded()) return {};
  if (grid.scope == Scope::kGroup && (grid.group > l.cols || l.cols % grid.group != 0)) grid.scope = Scope::kRow;
  VIREO_ASSIGN(std::vector<float> values, weight_values(model, l));
  const auto fold = folds_.find(l.input);
  const bool folded = inner && fold != folds_.end();
  if (folded)
    for (size_t k = 0; k < values.size(); ++k) values[k] *= fold->second.by[k % size_t(l.cols)];
  std::vector<double> hessian;
  if (moments != nullptr)
    hessian = policy_.answer_rows > 0 ? moments->hessian_times(l.last ? policy_.answer_rows_last : policy_.answer_rows)
                                      : moments->hessian(l.last);
  const Method* const method = moments == nullptr ? &kRtn : policy_.method;
  if (inner) grid.wide = int32_t(std::lround(double(l.rows) * policy_.wide / 100));
  const Weight weight{values.data(), l.rows, l.cols, hessian.empty() ? nullptr : hessian.data()};
  VIREO_ASSIGN(const Coded c, mix_rows(weight, *method, grid, {}, pool_));
  const int64_t span = span_of(grid, l.cols), groups = div_up(l.cols, span);
  for (int64_t r = 0; r < l.rows; ++r)
    for (int64_t k = 0; k < l.cols; ++k) {
      float& v = values[size_t(r * l.cols + k)];
      v = decode(c.codes[size_t(r * l.cols + k)], 0, c.scales[size_t(r * groups + k / span)]);
      if (folded) v /= fold->second.by[size_t(k)];
    }
  rounded->push_back(as_floats(l.tensor, "F32", l.shape, values));
  return {};
}

Result<void> Simulated::round_weights(const LoadedModel& model, const std::vector<std::vector<float>>& pictures,
                                      Head head, std::vector<std::vector<StoredTensor>>* rounded) {
  rounded->resize(layers_.all.size());
  const auto looks = [&](size_t i) { return policy_.needs_moments() && layers_.all[i].kind == LayerKind::kInner; };
  for (size_t i = 0; i < layers_.all.size(); ++i)
    if (!looks(i)) VIREO_TRY(round_weight(model, i, nullptr, &(*rounded)[i]));
  const auto groups =
      groups_by_memory(model, layers_, looks, [&](size_t i) { return compress::Moments::bytes(layers_.all[i].cols); });
  if (groups.empty()) return {};
  VIREO_ASSIGN(Graph g, model.build(head, 1));
  VIREO_ASSIGN(const std::unique_ptr<Runner> runner, Runner::create(std::move(g), device_, pool_, true));
  for (const std::vector<size_t>& group : groups) {
    Moments moments;
    for (const size_t i : group)  // by node: several weights of one node see the same rows
      moments.try_emplace(layers_.all[i].node, layers_.all[i].cols, layers_.answer_tokens, true);
    for (const std::vector<float>& p : pictures) (void)run(*runner, p, &moments);
    ++passes_;
    if (!not_finite_.empty())
      return fail(ErrorCode::kCorrupt,
                  "model '{}': the input of '{}' is not finite; nothing can be calibrated with it. The model overflows "
                  "in fp32, or the policy's bits are too few",
                  model.source().path, not_finite_);
    for (const size_t i : group) VIREO_TRY(round_weight(model, i, &moments.at(layers_.all[i].node), &(*rounded)[i]));
  }
  return {};
}

/// Whether everything that the policy names can be simulated on this graph.
Result<void> Simulated::check(const Graph& graph) const {
  for (const Node& n : graph.nodes) {
    if (n.op == OpKind::kAttention && policy_.attends() && !attention::sizes(op_call(graph, n)).plain)
      return fail(ErrorCode::kUnsupported,
                  "simulate: '{}' attends in windows or with a bias, whose operands and probabilities are not "
                  "simulated; leave out the lines 'operands', 'softmax' and 'integer softmax'",
                  n.name);
    if (n.op == OpKind::kLayerNorm && policy_.integer_layernorm.bits > 0 && n.inputs.size() > 3 &&
        n.inputs[3] != kNoValue)
      return fail(ErrorCode::kUnsupported,
                  "simulate: '{}' adds what it normalises to another value, which is not simulated in integers; leave "
                  "out the line 'integer layernorm'",
                  n.name);
  }
  return {};
}

Result<std::unique_ptr<Simulated>> Simulated::create(const LoadedModel& model, const SimulatedPolicy& policy, Head head,
                                                     const Device::Impl& device, ThreadPool& pool,
                                                     const std::vector<std::vector<float>>& pictures) {
  std::unique_ptr<Simulated> s(new Simulated(policy, device, pool));
  VIREO_ASSIGN(const Graph graph, model.build(head, 1));
  s->layers_ = find_layers(model, graph);
  s->merges_ = merges_tokens(model);
  for (size_t i = 0; i < s->layers_.all.size(); ++i) s->by_node_.emplace(s->layers_.all[i].node, i);
  VIREO_TRY(s->check(graph));
  if (policy.needs_pictures() && pictures.empty())
    return fail(ErrorCode::kInvalidArgument,
                "simulate: the policy looks at pictures to calibrate with; none were given");
  for (const Node& n : graph.nodes) {
    if (n.op != OpKind::kLayerNorm || policy.integer_layernorm.bits == 0) continue;
    const size_t cols = size_t(graph.value(n.output).desc.shape.c());
    const auto constant = [&](size_t input, float otherwise) {
      const bool has = n.inputs.size() > input && n.inputs[input] != kNoValue;
      return has ? graph.value(n.inputs[input]).constant->read_all() : std::vector<float>(cols, otherwise);
    };
    s->norms_[n.name] = {constant(1, 1.f), constant(2, 0.f)};
  }
  if (policy.fold) VIREO_TRY(s->find_folds(model, graph, pictures, head));
  VIREO_TRY(s->fit_grids(model, graph, pictures, head));
  std::vector<std::vector<StoredTensor>> stored;  // read when the runner packs them
  VIREO_TRY(s->round_weights(model, pictures, head, &stored));
  VIREO_ASSIGN(const LoadedModel rounded,
               open_coded(model, model.source().config, all_views(model, stored, s->layers_)));
  VIREO_ASSIGN(Graph g, rounded.build(head, 1));
  VIREO_ASSIGN(s->runner_, Runner::create(std::move(g), device, pool, true));
  return s;
}

}  // namespace vireo::compress
