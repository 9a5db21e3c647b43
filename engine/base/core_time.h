// Whether this process had the cores that it asked for: what tells a busy machine from a slow one.
#pragma once

#include <optional>

namespace vireo {

/// Sums over the threads that the process has now, since each began.
struct CoreTime {
  double ran_s = 0;
  double waited_s = 0;  // ready to run, while other threads had the cores
};

/// Nothing where the system does not tell (Linux does in /proc/self/task, unless built without CONFIG_SCHED_INFO).
std::optional<CoreTime> core_time();

}  // namespace vireo
