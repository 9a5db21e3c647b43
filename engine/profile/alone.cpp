#include "profile/alone.h"

#include <algorithm>
#include <cstddef>

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

}  // namespace vireo
