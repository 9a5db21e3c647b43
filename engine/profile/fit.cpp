// fit: costs per feature from measured dispatches, by non-negative least squares.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "profile/predict.h"
#include "profile/text.h"

namespace vireo {
namespace {

constexpr double kFloorUs = 2;  // below it the clock and the queue are what was measured
constexpr int kSweeps = 4000;
constexpr double kRidge = 1e-7;  // of a column's own weight: keeps alike columns from trading places

double sum(const std::vector<double>& v) {
  double s = 0;
  for (double x : v) s += x;
  return s;
}

/// min |A c - b| with c >= 0 by coordinate descent on the normal equations (Franc, Hlavac and Navara 2005).
std::vector<double> solve(const std::vector<std::vector<double>>& rows, const std::vector<double>& b, size_t columns) {
  std::vector<double> norm(columns, 0), c(columns, 0);
  for (const auto& r : rows)
    for (size_t j = 0; j < columns; ++j) norm[j] += r[j] * r[j];
  for (double& n : norm) n = n > 0 ? 1 / std::sqrt(n) : 0;
  std::vector<double> gram(columns * columns, 0), right(columns, 0);
  for (size_t i = 0; i < rows.size(); ++i)
    for (size_t j = 0; j < columns; ++j) {
      const double x = rows[i][j] * norm[j];
      if (x == 0) continue;
      right[j] += x * b[i];
      for (size_t k = 0; k < columns; ++k) gram[j * columns + k] += x * rows[i][k] * norm[k];
    }
  std::vector<double> slope(columns);
  for (size_t j = 0; j < columns; ++j) slope[j] = -right[j];
  for (int sweep = 0; sweep < kSweeps; ++sweep)
    for (size_t j = 0; j < columns; ++j) {
      if (norm[j] == 0) continue;
      const double next = std::max(0.0, c[j] - (slope[j] + kRidge * c[j]) / (gram[j * columns + j] + kRidge)),
                   change = next - c[j];
      if (change == 0) continue;
      c[j] = next;
      for (size_t k = 0; k < columns; ++k) slope[k] += change * gram[k * columns + j];
    }
  for (size_t j = 0; j < columns; ++j) c[j] *= norm[j];
  return c;
}

Machine fit_without(const std::vector<FitSample>& samples, const FitSample* left_out) {
  std::map<std::string, size_t> column;
  for (const FitSample& s : samples)
    for (const DispatchWork& w : s.work)
      for (const Feature& f : w.features) column.emplace(f.name, column.size());
  std::vector<std::vector<double>> rows;
  std::vector<double> right;
  for (const FitSample& s : samples) {
    if (left_out && s.model == left_out->model) continue;
    const double total = std::max(1.0, sum(s.us));
    for (size_t i = 0; i < s.work.size(); ++i) {
      // An error of a dispatch counts by its part of the model's time, as counting noise would.
      const double weight = 1 / std::sqrt((s.us[i] + kFloorUs) * total);
      rows.emplace_back(column.size(), 0.0);
      for (const Feature& f : s.work[i].features) rows.back()[column[f.name]] += f.n * weight;
      right.push_back(s.us[i] * weight);
    }
  }
  const std::vector<double> c = solve(rows, right, column.size());
  Machine m;
  m.kind = Machine::Kind::kFitted;
  m.dispatch_us = 0;
  for (const auto& [name, j] : column)
    if (c[j] > 0) m.costs.push_back({name, c[j]});
  // What a kernel takes more or less than its features say; a kernel that hardly counts stays near 1.
  std::map<std::string, std::pair<double, double>> groups;  // measured, fitted: shares of their models' times
  std::vector<double> inference;
  for (const FitSample& s : samples) {
    if (left_out && s.model == left_out->model) continue;
    const double total = std::max(1.0, sum(s.us));
    for (size_t i = 0; i < s.work.size(); ++i) {
      auto& g = groups[s.work[i].group];
      g.first += s.us[i] / total;
      g.second += fitted_us(s.work[i], m) / total;
    }
    if (s.wall_us > 0) inference.push_back(s.wall_us / total);
  }
  constexpr double kPrior = 0.05;
  for (const auto& [name, g] : groups) m.scales.push_back({name, (g.first + kPrior) / (g.second + kPrior)});
  if (!inference.empty()) m.scales.push_back({"inference", median(inference)});
  return m;
}

double total_us(const FitSample& s, const Machine& m) {
  double us = 0;
  for (const DispatchWork& w : s.work) us += dispatch_us(w, m);
  for (const UnitCost& c : m.scales)
    if (c.name == "inference") us *= c.value;
  return us + m.inference_us;
}

/// Errors of the samples, each predicted by what the others gave.
template <typename F>
void judge(const std::vector<FitSample>& samples, Machine* m, F&& without) {
  std::vector<double> errors;
  for (const FitSample& s : samples) {
    const double predicted = std::max(1e-3, total_us(s, without(&s))),
                 measured = std::max(1e-3, s.wall_us > 0 ? s.wall_us : sum(s.us));
    errors.push_back(std::min(100.0, std::max(predicted / measured, measured / predicted) - 1));
  }
  m->error_median = median(errors);
  m->error_worst = *std::max_element(errors.begin(), errors.end());
}

/// `base` with the factors that the samples other than `left_out` ask for.
Machine adapt_without(const Machine& base, const std::vector<FitSample>& samples, const FitSample* left_out) {
  Machine m = base;
  m.scales.clear();
  m.error_median = m.error_worst = 0;
  // Worked out and measured, without what a dispatch costs beside its work.
  struct Sums {
    double measured = 0, bound = 0;
  };
  Sums all;
  std::map<std::string, Sums> groups;
  std::vector<double> rest;
  for (const FitSample& s : samples) {
    if (left_out && s.model == left_out->model) continue;
    const double total = std::max(1.0, sum(s.us));
    for (size_t i = 0; i < s.work.size(); ++i) {
      const DispatchWork& w = s.work[i];
      if (w.cpu) continue;
      const double bound = (dispatch_us(w, m) - m.dispatch_us) * m.efficiency / total,
                   measured = std::max(0.0, s.us[i] - m.dispatch_us) / total;
      Sums& g = groups[w.group];
      g.bound += bound, g.measured += measured;
      all.bound += bound, all.measured += measured;
    }
    if (s.wall_us > 0) rest.push_back(s.wall_us - sum(s.us));
  }
  if (all.measured > 0) m.efficiency = std::min(1.0, std::max(0.01, all.bound / all.measured));
  m.efficiency_low = std::min(m.efficiency_low, m.efficiency),
  m.efficiency_high = std::max(m.efficiency_high, m.efficiency);
  const double prior = 0.02 * all.bound;  // a shader that hardly counts stays near the common factor
  for (const auto& [name, g] : groups)
    m.scales.push_back({name, (g.measured * m.efficiency + prior) / (g.bound + prior)});
  if (!rest.empty()) m.inference_us = std::min(1e7, std::max(0.0, median(rest)));
  return m;
}

/// Samples of one model in several precisions are no independent witnesses.
size_t distinct_models(const std::vector<FitSample>& samples) {
  std::set<std::string> names;
  for (const FitSample& s : samples) names.insert(s.model);
  return names.size();
}

}  // namespace

Result<Machine> fit(const std::vector<FitSample>& samples) {
  const size_t models = distinct_models(samples);
  if (models < 2)
    return fail(ErrorCode::kInvalidArgument, "fitting a machine: got {} measured models, expected at least 2", models);
  Machine m = fit_without(samples, nullptr);
  judge(samples, &m, [&](const FitSample* out) { return fit_without(samples, out); });
  return m;
}

Result<Machine> adapt(const Machine& base, const std::vector<FitSample>& samples) {
  if (samples.empty() || base.kind != Machine::Kind::kCores)
    return fail(ErrorCode::kInvalidArgument,
                "adapting machine '{}': got {} measured models and {} description, expected at least one and a "
                "description by cores",
                base.name, samples.size(), base.kind == Machine::Kind::kCores ? "such a" : "a fitted");
  Machine m = adapt_without(base, samples, nullptr);
  if (distinct_models(samples) > 1)
    judge(samples, &m, [&](const FitSample* out) { return adapt_without(base, samples, out); });
  return m;
}

}  // namespace vireo
