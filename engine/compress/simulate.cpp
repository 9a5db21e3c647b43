#include "compress/simulate.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "compress/replace.h"
#include "compress/sensitivity.h"
#include "compress/tokens.h"
#include "ops/attention.h"

namespace vireo::compress {
namespace {

/// Rounds rows [rows, cols], `stride` floats apart.
void round_with(const Rounding& r, float* x, int64_t rows, int64_t cols, int64_t stride, ThreadPool& pool) {
  if (r.grid == nullptr) return;
  if (!r.tensor) {
    pool.parallel_for(rows, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) r.grid->round(x + i * stride, cols, r.bits);
    });
    return;
  }
  std::vector<float> all(size_t(rows * cols));
  for (int64_t i = 0; i < rows; ++i) std::copy_n(x + i * stride, cols, all.data() + i * cols);
  r.grid->round(all.data(), rows * cols, r.bits);
  for (int64_t i = 0; i < rows; ++i) std::copy_n(all.data() + i * cols, cols, x + i * stride);
}

/// One head: q, k [n, dim] and v [n, wide], contiguous; out [n, wide], `stride` floats apart.
struct HeadOperands {
  int64_t n, dim, wide;
  std::vector<float> q, k, v;
};

void attend_head(const HeadOperands& h, const float* key_bias, double scale, const Rounding& softmax, float* out,
                 int64_t stride) {
  std::vector<float> p(size_t(h.n * h.n));
  for (int64_t i = 0; i < h.n; ++i) {
    float* const row = p.data() + i * h.n;
    float most = -INFINITY;
    for (int64_t j = 0; j < h.n; ++j) {
      float sum = 0;
      for (int64_t c = 0; c < h.dim; ++c) sum += h.q[size_t(i * h.dim + c)] * h.k[size_t(j * h.dim + c)];
      row[j] = sum * float(scale) + (key_bias ? key_bias[j] : 0.f);
      most = std::max(most, row[j]);
    }
    double all = 0;
    for (int64_t j = 0; j < h.n; ++j) row[j] = std::exp(row[j] - most), all += double(row[j]);
    for (int64_t j = 0; j < h.n; ++j) row[j] = float(double(row[j]) / all);
    if (softmax.grid != nullptr && !softmax.tensor) softmax.grid->round(row, h.n, softmax.bits);
  }
  if (softmax.grid != nullptr && softmax.tensor) softmax.grid->round(p.data(), h.n * h.n, softmax.bits);
  for (int64_t i = 0; i < h.n; ++i) {
    float* const o = out + i * stride;
    std::fill_n(o, h.wide, 0.f);
    for (int64_t j = 0; j < h.n; ++j) {
      const float w = p[size_t(i * h.n + j)];
      if (w == 0) continue;
      for (int64_t c = 0; c < h.wide; ++c) o[c] += w * h.v[size_t(j * h.wide + c)];
    }
  }
}

}  // namespace

Rounding Simulated::rounding_of(const Layer& l) const {
  if (l.kind != LayerKind::kInner) return {};
  return l.behind_activation && policy_.gelu.grid != nullptr ? policy_.gelu : policy_.rows;
}

/// RepQ-ViT's reparameterisation (Li et al. 2023): of what LayerNorm gives every column has a step s and a zero point z
/// of its own; with their means s~ and z~ the columns y = x / r + s~ (z - z~), r = s / s~, have all the same.
Result<void> Simulated::find_folds(const LoadedModel& model, const Graph& graph,
                                   const std::vector<std::vector<float>>& pictures, Head head) {
  VIREO_ASSIGN(Graph g, model.build(head, 1));
  VIREO_ASSIGN(const std::unique_ptr<Runner> runner, Runner::create(std::move(g), device_, pool_, true));
  std::map<std::string, std::pair<std::vector<float>, std::vector<float>>> ranges;  // least and most by column
  for (const Layer& l : layers_.all)
    for (const Node& n : graph.nodes)
      if (l.kind == LayerKind::kInner && n.op == OpKind::kLayerNorm && graph.value(n.output).name == l.input)
        ranges[l.input] = {std::vector<float>(size_t(l.cols), 0.f), std::vector<float>(size_t(l.cols), 0.f)};
  for (const std::vector<float>& p : pictures) {
    runner->run(p);
    for (auto& [name, range] : ranges) {
      VIREO_ASSIGN(const Rows x, runner->value(name));
      for (int64_t r = 0; r < x.rows; ++r)
        for (int64_t c = 0; c < x.cols; ++c) {
          range.first[size_t(c)] = std::min(range.first[size_t(c)], x.data[r * x.stride + c]);
          range.second[size_t(c)] = std::max(range.second[size_t(c)], x.data[r * x.stride + c]);
        }
    }
  }
  const double top = double((1 << policy_.rows.bits) - 1);
  for (const auto& [name, range] : ranges) {
    const size_t n = range.first.size();
    std::vector<double> step(n), zero(n);
    double mean_step = 0, mean_zero = 0;
    for (size_t c = 0; c < n; ++c) {
      step[c] = std::max(1e-8, (double(range.second[c]) - double(range.first[c])) / top);
      zero[c] = std::nearbyint(-double(range.first[c]) / step[c]);
      mean_step += step[c] / double(n), mean_zero += zero[c] / double(n);
    }
    Fold& f = folds_[name];
    for (size_t c = 0; c < n; ++c) {
      f.by.push_back(float(step[c] / mean_step));
      f.shift.push_back(float(mean_step * (zero[c] - mean_zero)));
    }
  }
  return {};
}

void Simulated::round_rows(const Layer& l, const Rows& rows, std::vector<float>* kept) {
  float* const x = const_cast<float*>(rows.data);  // the runner's own memory
  kept->assign(x, x + rows.rows * rows.stride);
  const auto fold = folds_.find(l.input);
  const auto each = [&](auto change) {
    if (fold == folds_.end()) return;
    for (int64_t r = 0; r < rows.rows; ++r)
      for (int64_t c = 0; c < rows.cols; ++c)
        change(x[r * rows.stride + c], fold->second.by[size_t(c)], fold->second.shift[size_t(c)]);
  };
  each([](float& v, float by, float shift) { v = v / by + shift; });
  round_with(rounding_of(l), x, rows.rows, rows.cols, rows.stride, pool_);
  each([](float& v, float by, float shift) { v = (v - shift) * by; });
}

void Simulated::attend(const Plan& plan, const Step& step, Runner& runner) {
  const OpCall call = op_call(plan, step);
  const attention::Sizes s = attention::sizes(call);
  const double scale = attention::scale_of(call);
  const PlanValue& in = plan.values[size_t(step.inputs[attention::kX])];
  const PlanValue& result = plan.values[size_t(step.output)];
  const float* const x = runner.numbers(in);
  float* const out = runner.numbers(result);
  const int64_t ldx = in.desc.row_stride(), ldo = result.desc.row_stride();
  const bool biased = step.inputs.size() > attention::kKeyBias && step.inputs[attention::kKeyBias] >= 0;
  std::vector<float> bias;
  if (biased) {
    const PlanValue& b = plan.values[size_t(step.inputs[attention::kKeyBias])];
    for (int64_t j = 0; j < s.tokens; ++j)
      bias.push_back(runner.numbers(b)[b.desc.shape.c() == 1 ? j * b.desc.row_stride() : j]);
  }
  pool_.parallel_for(s.heads, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t h = begin; h < end; ++h) {
      HeadOperands o{s.tokens, s.dim, s.vdim, {}, {}, {}};
      const auto take = [&](int64_t from, int64_t wide, std::vector<float>* to) {
        for (int64_t t = 0; t < s.tokens; ++t) to->insert(to->end(), x + t * ldx + from, x + t * ldx + from + wide);
      };
      take(h * s.dim, s.dim, &o.q), take(s.keys_at() + h * s.dim, s.dim, &o.k);
      take(s.values_at() + h * s.vdim, s.vdim, &o.v);
      if (const Rounding& r = policy_.operands; r.grid != nullptr) {
        for (std::vector<float>* rows : {&o.q, &o.k})
          for (int64_t t = 0; t < (r.tensor ? 1 : s.tokens); ++t)
            r.grid->round(rows->data() + t * s.dim, r.tensor ? s.tokens * s.dim : s.dim, r.bits);
        std::vector<float> column(size_t(s.tokens));
        for (int64_t c = 0; c < s.vdim; ++c) {
          for (int64_t t = 0; t < s.tokens; ++t) column[size_t(t)] = o.v[size_t(t * s.vdim + c)];
          r.grid->round(column.data(), s.tokens, r.bits);
          for (int64_t t = 0; t < s.tokens; ++t) o.v[size_t(t * s.vdim + c)] = column[size_t(t)];
        }
      }
      attend_head(o, biased ? bias.data() : nullptr, scale, policy_.softmax, out + h * s.vdim, ldo);
    }
  });
}

const float* Simulated::run(Runner& runner, const std::vector<float>& pixels, Seen* seen) {
  std::vector<float> kept;
  float* changed = nullptr;
  const auto before = [&](const Plan& plan, const Step& step) {
    if (step.op == OpKind::kAttention && (policy_.operands.grid != nullptr || policy_.softmax.grid != nullptr)) {
      attend(plan, step, runner);
      return true;
    }
    const auto layer = by_node_.find(step.name);
    if (layer == by_node_.end() || step.inputs.empty() || step.inputs[0] < 0) return false;
    const Layer& l = layers_.all[layer->second];
    const PlanValue& v = plan.values[size_t(step.inputs[0])];
    if (v.desc.dtype != DType::kF32 || v.desc.layout != Layout::kRows) return false;
    Rows rows{runner.numbers(v), v.desc.shape.rows(), v.desc.shape.c(), v.desc.row_stride()};
    if (rounding_of(l).grid != nullptr) round_rows(l, rows, &kept), changed = runner.numbers(v);
    if (seen == nullptr || l.kind != LayerKind::kInner || rows.cols != l.cols) return false;
    // Where tokens are merged, the last value has the fewest.
    const bool all = rows.rows == layers_.tokens || (merges_ && rows.rows >= layers_.tokens);
    const auto tokens = all ? layers_.answer_tokens : std::vector<int64_t>();
    Moments& m = seen->try_emplace(l.node, l.cols, tokens, true).first->second;
    std::vector<float> scaled;  // as the folded weight multiplies it
    if (const auto f = folds_.find(l.input); f != folds_.end()) {
      scaled.assign(rows.data, rows.data + rows.rows * rows.stride);
      for (int64_t r = 0; r < rows.rows; ++r)
        for (int64_t c = 0; c < rows.cols; ++c) scaled[size_t(r * rows.stride + c)] /= f->second.by[size_t(c)];
      rows.data = scaled.data();
    }
    if (!m.add(rows, *device_.kernels, pool_)) not_finite_ = l.node;
    return false;
  };
  const auto after = [&](const Plan&, const Step&) {
    if (changed != nullptr) std::copy(kept.begin(), kept.end(), changed);
    changed = nullptr;
  };
  return runner.run(pixels, before, after);
}

Result<LoadedModel> Simulated::with_rounded_weights(const LoadedModel& model, const Seen& seen,
                                                    std::vector<std::vector<StoredTensor>>* rounded) {
  std::vector<std::vector<StoredTensor>>& stored = *rounded;
  stored.resize(layers_.all.size());
  for (size_t i = 0; i < layers_.all.size(); ++i) {
    const Layer& l = layers_.all[i];
    const bool inner = l.kind == LayerKind::kInner;
    Grid grid = (inner ? policy_.weights : policy_.others).grid;
    if (!grid.coded()) continue;
    if (grid.scope == Scope::kGroup && (grid.group > l.cols || l.cols % grid.group != 0)) grid.scope = Scope::kRow;
    VIREO_ASSIGN(std::vector<float> values, weight_values(model, l));
    const auto fold = folds_.find(l.input);
    const bool folded = inner && fold != folds_.end();
    if (folded)
      for (size_t k = 0; k < values.size(); ++k) values[k] *= fold->second.by[k % size_t(l.cols)];
    std::vector<double> hessian;
    if (const auto m = seen.find(l.node); inner && m != seen.end())
      hessian = policy_.answer_rows > 0
                    ? m->second.hessian_times(l.last ? policy_.answer_rows_last : policy_.answer_rows)
                    : m->second.hessian(l.last);
    const Method* const method = hessian.empty() ? &kRtn : policy_.method;
    VIREO_ASSIGN(const Coded c,
                 method->run({values.data(), l.rows, l.cols, hessian.empty() ? nullptr : hessian.data()}, grid, pool_));
    const int64_t span = span_of(grid, l.cols), groups = div_up(l.cols, span);
    for (int64_t r = 0; r < l.rows; ++r)
      for (int64_t k = 0; k < l.cols; ++k) {
        float& v = values[size_t(r * l.cols + k)];
        v = decode(c.codes[size_t(r * l.cols + k)], 0, c.scales[size_t(r * groups + k / span)]);
        if (folded) v /= fold->second.by[size_t(k)];
      }
    stored[i].push_back(as_floats(l.tensor, "F32", l.shape, values));
  }
  return open_coded(model, model.source().config, all_views(model, stored, layers_));
}

Result<std::unique_ptr<Simulated>> Simulated::create(const LoadedModel& model, const SimulatedPolicy& policy, Head head,
                                                     const Device::Impl& device, ThreadPool& pool,
                                                     const std::vector<std::vector<float>>& pictures) {
  std::unique_ptr<Simulated> s(new Simulated(policy, device, pool));
  VIREO_ASSIGN(Graph graph, model.build(head, 1));
  s->layers_ = find_layers(model, graph);
  s->merges_ = merges_tokens(model);
  for (size_t i = 0; i < s->layers_.all.size(); ++i) s->by_node_.emplace(s->layers_.all[i].node, i);
  if (policy.operands.grid != nullptr || policy.softmax.grid != nullptr)
    for (const Node& n : graph.nodes) {
      if (n.op != OpKind::kAttention) continue;
      if (!attention::sizes(op_call(graph, n)).plain)
        return fail(ErrorCode::kUnsupported,
                    "simulate: '{}' attends in windows or with a bias, whose operands and probabilities are not "
                    "simulated; leave out the lines 'operands' and 'softmax'",
                    n.name);
    }
  const bool looks = policy.method != nullptr && policy.method->needs_pictures && policy.weights.grid.coded();
  if ((looks || policy.fold) && pictures.empty())
    return fail(ErrorCode::kInvalidArgument,
                "simulate: the policy looks at pictures to calibrate with; none were given");
  if (policy.fold) VIREO_TRY(s->find_folds(model, graph, pictures, head));
  Seen seen;
  if (looks) {
    VIREO_ASSIGN(Graph g, model.build(head, 1));
    VIREO_ASSIGN(const std::unique_ptr<Runner> runner, Runner::create(std::move(g), device, pool, true));
    for (const std::vector<float>& p : pictures) (void)s->run(*runner, p, &seen);
    if (!s->not_finite_.empty())
      return fail(ErrorCode::kCorrupt,
                  "model '{}': the input of '{}' is not finite; nothing can be calibrated with it. The model overflows "
                  "in fp32, or the policy's bits are too few",
                  model.source().path, s->not_finite_);
  }
  std::vector<std::vector<StoredTensor>> stored;  // read when the runner packs them
  VIREO_ASSIGN(const LoadedModel rounded, s->with_rounded_weights(model, seen, &stored));
  VIREO_ASSIGN(Graph g, rounded.build(head, 1));
  VIREO_ASSIGN(s->runner_, Runner::create(std::move(g), device, pool, true));
  return s;
}

}  // namespace vireo::compress
