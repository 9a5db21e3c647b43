#include <vireo/governor.hpp>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace vireo {
namespace {

constexpr double kSmoothing = 0.25;  // the weight of a new frame
constexpr int kSettled = 4;          // frames until what a level takes is believed

}  // namespace

Governor::Governor(int levels, const GovernorOptions& options)
    : options_(options), known_(size_t(std::max(1, levels))) {
  if (!(options_.fps > 0)) options_.fps = 1e-9;  // every frame is in time
  options_.late_frames = std::max(1, options_.late_frames);
  options_.headroom = std::isfinite(options_.headroom) ? std::clamp(options_.headroom, 0.01, 1.0) : 0.85;
  options_.calm_s = std::max(0.0, options_.calm_s);
  options_.longest_s = std::max(options_.calm_s, options_.longest_s);
  for (Level& l : known_) l.wait_s = options_.calm_s;
}

/// What a frame of a better level would take now: what it took when it was left, changed as the present level's has
/// since. That a board throttles shows at every level alike.
double Governor::expected(int level) const {
  const Level& here = known_[size_t(level_)];
  return known_[size_t(level)].left * (here.settled > 0 ? here.lately / here.settled : 1);
}

bool Governor::move(int to, double now_s) {
  const double budget = 1000 / options_.fps, took = known_[size_t(level_)].lately;
  ++changes_;
  change_ = {frames_, level_, to, took, now_s, {}};
  change_.sentence =
      to > level_ ? fmt::format("frames take {:.1f} ms of {:.1f}: level {} of 0 to {} from frame {} on", took, budget,
                                to, known_.size() - 1, frames_ + 1)
                  : fmt::format(
                        "frames take {:.1f} ms of {:.1f}, and {:.1f} are expected of level {}: it is taken again "
                        "from frame {} on",
                        took, budget, expected(to), to, frames_ + 1);
  went_up_ = to < level_;
  level_ = to;
  seen_ = late_ = 0;
  calm_since_ = -1;
  known_[size_t(to)].entered_s = now_s;
  return true;
}

bool Governor::frame(double ms, double now_s) {
  ++frames_;
  const double budget = 1000 / options_.fps;
  if (!(ms >= 0)) return false;  // no time, no decision
  Level& here = known_[size_t(level_)];
  ++seen_;
  here.lately = seen_ == 1 ? ms : here.lately + kSmoothing * (ms - here.lately);
  if (seen_ == kSettled) here.settled = here.lately;
  late_ = ms > budget ? std::min(late_ + 1, options_.late_frames) : std::max(0, late_ - 1);

  if (late_ >= options_.late_frames && level_ + 1 < int(known_.size())) {
    // A way up that did not hold: the next try comes later.
    if (went_up_ && now_s - here.entered_s < here.wait_s + options_.calm_s)
      here.wait_s = std::min(options_.longest_s, 2 * std::max(here.wait_s, options_.calm_s));
    here.left = std::max(here.lately, ms);
    return move(level_ + 1, now_s);
  }
  if (went_up_ && now_s - here.entered_s >= here.wait_s + options_.calm_s) {
    here.wait_s = options_.calm_s;  // it holds
    went_up_ = false;
  }
  if (level_ == 0 || seen_ < kSettled) return false;
  const double most = options_.headroom * budget;
  if (expected(level_ - 1) > most) {
    calm_since_ = -1;
    return here.lately <= most && now_s - here.entered_s >= options_.longest_s && move(level_ - 1, now_s);
  }
  if (calm_since_ < 0) calm_since_ = now_s;
  return now_s - calm_since_ >= known_[size_t(level_ - 1)].wait_s && move(level_ - 1, now_s);
}

}  // namespace vireo
