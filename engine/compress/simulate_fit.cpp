// What simulation finds on pictures before it rounds anything: folds of columns and what fitted grids need.
#include <algorithm>
#include <cmath>

#include "compress/simulate.h"

namespace vireo::compress {

/// Every column has a step s and a zero point z of its own; with their means s~ and z~ the columns y = x / r + s~ (z -
/// z~), r = s / s~, have all the same.
Fold repq_fold(const std::vector<float>& least, const std::vector<float>& most, int bits) {
  const double top = double((1 << bits) - 1);
  const size_t n = least.size();
  std::vector<double> step(n), zero(n);
  double mean_step = 0, mean_zero = 0;
  for (size_t c = 0; c < n; ++c) {
    step[c] = std::max(1e-8, (double(most[c]) - double(least[c])) / top);
    zero[c] = std::nearbyint(-double(least[c]) / step[c]);
    mean_step += step[c] / double(n), mean_zero += zero[c] / double(n);
  }
  Fold f;
  for (size_t c = 0; c < n; ++c) {
    f.by.push_back(float(step[c] / mean_step));
    f.shift.push_back(float(mean_step * (zero[c] - mean_zero)));
  }
  return f;
}

Result<void> Simulated::find_folds(const LoadedModel& model, const Graph& graph,
                                   const std::vector<std::vector<float>>& pictures, Head head) {
  VIREO_ASSIGN(Graph g, model.build(head, 1));
  VIREO_ASSIGN(const std::unique_ptr<Runner> runner, Runner::create(std::move(g), device_, pool_, true));
  struct Ranges {
    std::vector<float> least, most;  // by column, and 0
  };
  std::map<std::string, Ranges> all;
  for (const Layer& l : layers_.all)
    for (const Node& n : graph.nodes)
      if (l.kind == LayerKind::kInner && n.op == OpKind::kLayerNorm && graph.value(n.output).name == l.input)
        all[l.input] = {std::vector<float>(size_t(l.cols), 0.f), std::vector<float>(size_t(l.cols), 0.f)};
  for (const std::vector<float>& p : pictures) {
    runner->run(p);
    for (auto& [name, range] : all) {
      VIREO_ASSIGN(const Rows x, runner->value(name));
      for (int64_t r = 0; r < x.rows; ++r)
        for (int64_t c = 0; c < x.cols; ++c) {
          const float v = x.data[r * x.stride + c];
          range.least[size_t(c)] = std::min(range.least[size_t(c)], v);
          range.most[size_t(c)] = std::max(range.most[size_t(c)], v);
        }
    }
  }
  for (const auto& [name, range] : all) folds_[name] = repq_fold(range.least, range.most, policy_.rows.bits);
  return {};
}

/// Grids are fitted to what the model computes in fp32, all in one pass.
Result<void> Simulated::fit_grids(const LoadedModel& model, const Graph& graph,
                                  const std::vector<std::vector<float>>& pictures, Head head) {
  struct Wanted {
    std::string value;  // that is looked at
    Rounding rounding;
    RangeStatistics seen;
  };
  std::map<std::string, Wanted> wanted;  // by the key in fits_
  const RangeStatistics::Looks rows{false, true};
  for (const Layer& l : layers_.all)
    if (const Rounding r = rounding_of(l); r.fitted()) wanted.emplace(l.input, Wanted{l.input, r, {l.cols, rows}});
  std::map<std::string, RangeStatistics*> attentions;
  for (const Node& n : graph.nodes) {
    if (n.op == OpKind::kLayerNorm && policy_.layernorm.fitted()) {
      const Value& x = graph.value(n.inputs[0]);
      wanted.emplace(n.name + " in", Wanted{x.name, policy_.layernorm, {x.desc.shape.c(), rows}});
    }
    if (n.op == OpKind::kAttention && policy_.softmax.fitted()) {
      const int64_t tokens = graph.value(n.inputs[0]).desc.shape.rows();
      const auto added = wanted.emplace(n.name + " in", Wanted{"", policy_.softmax, {tokens, rows}});
      attentions[n.name] = &added.first->second.seen;
    }
  }
  if (wanted.empty()) return {};
  VIREO_ASSIGN(Graph g, model.build(head, 1));
  VIREO_ASSIGN(const std::unique_ptr<Runner> runner, Runner::create(std::move(g), device_, pool_, true));
  for (const std::vector<float>& p : pictures) {
    const auto before = [&](const Plan& plan, const Step& step) {
      const auto found = attentions.find(step.name);
      if (found == attentions.end()) return false;
      std::vector<std::vector<float>> probabilities;
      attend(plan, step, *runner, &probabilities);
      const int64_t tokens = found->second->cols();
      for (const std::vector<float>& head : probabilities) found->second->add({head.data(), tokens, tokens, tokens});
      return true;
    };
    (void)runner->run(p, before, [](const Plan&, const Step&) {});
    for (auto& [key, w] : wanted) {
      if (w.value.empty()) continue;
      VIREO_ASSIGN(const Rows x, runner->value(w.value));
      w.seen.add(x);
    }
  }
  for (const auto& [key, w] : wanted) {
    const std::vector<float>& x = w.seen.rows();
    if (!std::all_of(x.begin(), x.end(), [](float v) { return std::isfinite(v); }) ||
        !std::isfinite(w.seen.whole().least) || !std::isfinite(w.seen.whole().most))
      return fail(ErrorCode::kCorrupt,
                  "model '{}': '{}' is not finite; no grid can be fitted to it. The model overflows in fp32",
                  model.source().path, w.value.empty() ? key : w.value);
    // As a checkpoint holds them.
    for (const double v : w.rounding.grid->fit(w.seen, w.rounding.bits)) policy_.fits[key].push_back(double(float(v)));
  }
  return {};
}

}  // namespace vireo::compress
