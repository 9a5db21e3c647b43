#include "profile/alone.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "profile/text.h"

namespace vireo {

AloneTimes alone_times(const std::vector<AloneRun>& runs, const std::vector<bool>& stamped) {
  AloneTimes t;
  if (runs.empty()) return t;
  std::vector<double> empty;
  for (const AloneRun& run : runs) empty.push_back(median(run.empty));
  t.empty = median(empty);
  const auto corrected = [&](size_t run, size_t row) {
    return runs[run].rows[row] - (row < stamped.size() && stamped[row] ? empty[run] : 0);
  };
  for (size_t row = 0; row < runs[0].rows.size(); ++row) {
    std::vector<double> all;
    for (size_t run = 0; run < runs.size(); ++run) all.push_back(corrected(run, row));
    const double us = median(std::move(all));
    t.clipped += us <= 0;
    t.rows.push_back(std::max(0.0, us));
    t.sum += t.rows.back();
  }
  std::vector<double> sums;
  for (size_t run = 0; run < runs.size(); ++run) {
    double sum = 0;
    for (size_t row = 0; row < runs[run].rows.size(); ++row) sum += corrected(run, row);
    sums.push_back(sum);
  }
  t.noise = std::max(0.0, midmean(std::move(sums)) - t.sum);
  return t;
}

double uncertainty(const std::vector<AloneRun>& runs, const std::vector<double>& inferences) {
  const size_t n = std::min(runs.size(), inferences.size());
  if (n < 8) return 0;
  std::vector<double> differences;
  for (size_t i = 0; i < n; ++i)
    differences.push_back(inferences[i] - std::accumulate(runs[i].rows.begin(), runs[i].rows.end(), 0.0));
  std::sort(differences.begin(), differences.end());
  constexpr double kQuartilesOfDeviation = 1.349;  // of a normal distribution
  constexpr double kMidmeans = 1.09;               // its midmean's standard error, of its mean's
  const auto at = [&](double position) {
    const size_t below = size_t(position);
    return differences[below] + (position - double(below)) * (differences[below + 1] - differences[below]);
  };
  const double quarter = double(n) / 4 - 0.5;
  const double deviation = (at(double(n - 1) - quarter) - at(quarter)) / kQuartilesOfDeviation;
  const double whole = midmean(inferences);
  return whole > 0 ? kMidmeans * deviation / std::sqrt(double(n)) / whole : 0;
}

}  // namespace vireo
