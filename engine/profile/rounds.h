// Measuring the same thing in rounds until the machine left enough of them alone.
#pragma once

#include <functional>
#include <optional>

#include "base/core_time.h"
#include "base/error.h"

namespace vireo {

/// What rounds are watched with; tests bring their own.
struct RoundWatch {
  std::function<double()> now_s;
  std::function<std::optional<CoreTime>()> cores;
  static RoundWatch real();
};

struct RoundLimits {
  int wanted = 5;             // undisturbed rounds, after which it is enough
  double seconds = 0.4;       // after which it is enough without, once `wanted` rounds of any kind are done
  double least_share = 0.95;  // of the time it asked for that a round must have had to count as undisturbed
};

struct BestRound {
  double seconds = 0;  // of the shortest: others only ever make a round longer
  double share = 1;    // the most that a round had of the core time it asked for; 1 where nobody can tell
  bool undisturbed = false;
};

/// Runs `round`, which gives its length in seconds. Errors: those of `round`, at once.
Result<BestRound> best_round(const RoundLimits& limits, const RoundWatch& watch,
                             const std::function<Result<double>()>& round);

}  // namespace vireo
