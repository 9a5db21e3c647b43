#include "profile/rounds.h"

#include <algorithm>
#include <chrono>

namespace vireo {

RoundWatch RoundWatch::real() {
  return {[] { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); },
          [] { return core_time(); }};
}

Result<BestRound> best_round(const RoundLimits& limits, const RoundWatch& watch,
                             const std::function<Result<double>()>& round) {
  BestRound best;
  best.share = 0;
  const double start = watch.now_s();
  for (int done = 0, undisturbed = 0; undisturbed < limits.wanted; ++done) {
    const double begin = watch.now_s();
    if (done >= limits.wanted && begin - start >= limits.seconds) break;
    const std::optional<CoreTime> before = watch.cores();
    VIREO_ASSIGN(const double seconds, round());
    const std::optional<CoreTime> after = watch.cores();
    best.seconds = done ? std::min(best.seconds, seconds) : seconds;
    double share = 1;
    if (before && after) {
      // Threads that ended in between take their times along; less than nothing says nothing.
      const double ran = std::max(0.0, after->ran_s - before->ran_s),
                   waited = std::max(0.0, after->waited_s - before->waited_s);
      // One thread that waits for a device asks for no core but to hear of its end: then the round's own length counts.
      share = 1 - waited / std::max({seconds, ran + waited, 1e-12});
    }
    best.share = std::max(best.share, share);
    undisturbed += share >= limits.least_share;
    best.undisturbed = undisturbed > 0;
  }
  return best;
}

}  // namespace vireo
