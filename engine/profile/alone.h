// What each dispatch takes alone, from runs with timestamps around every one of them and around nothing in between.
#pragma once

#include <vector>

namespace vireo {

/// One run, in microseconds.
struct AloneRun {
  std::vector<double> rows;   // as the timestamps have it
  std::vector<double> empty;  // the same timestamps, and the barrier before them, around nothing
};

struct AloneTimes {
  std::vector<double> rows;  // medians over the runs, without what the timestamps cost; never below 0
  double sum = 0;            // of the rows
  double noise = 0;          // by how much a run's rows, added up, exceed that in the middle half of the runs
  double empty = 0;          // the median run's median
  int clipped = 0;           // rows that took no longer than nothing does
};

/// `stamped`: which rows are between timestamps of the device; the others (steps on the CPU) stay as they are. Every
/// run's rows are corrected by that run's own empty ones: what makes the machine slow makes both slow.
AloneTimes alone_times(const std::vector<AloneRun>& runs, const std::vector<bool>& stamped);

/// By how much what the runs' rows add up to is uncertain beside inferences that took turns with them, as a share of an
/// inference: the standard error of the mean difference of a pair, from the differences' quartiles. 0 for fewer than 8.
double uncertainty(const std::vector<AloneRun>& runs, const std::vector<double>& inferences);

}  // namespace vireo
