// Holds a frame rate: when a board throttles or others load it, frames go to a faster one of several prepared sessions
// (a compressed model, a smaller input), and back when there is time again.
//
// Three sessions, the best answer first; 15 frames a second:
//
//   vireo::Governor governor(3, {15.0});
//   while (next(&frame)) {
//     auto out = sessions[governor.level()].run(frame);
//     if (governor.frame(out->ms + out->preprocess_ms, seconds())) log(governor.last_change().sentence);
//   }
#ifndef VIREO_GOVERNOR_HPP
#define VIREO_GOVERNOR_HPP

#include <cstdint>
#include <string>
#include <vector>

#include <vireo/types.hpp>

namespace vireo {

struct GovernorOptions {
  double fps = 0;          ///< frames per second to hold: a frame has 1000 / fps ms; above 0
  int late_frames = 5;     ///< so many more late frames than others, and the next level is taken
  double headroom = 0.85;  ///< back up where a frame is expected to take at most this share of its time
  double calm_s = 3;       ///< and was so for this long
  /// A way up that did not hold is tried again after twice the time, at most this; and after this long also where
  /// nothing shows that it will hold, as what slowed the better level may be gone unseen.
  double longest_s = 120;
};

/// A move from one level to another.
struct GovernorChange {
  uint64_t frame = 0;  ///< behind this one, counted from 1
  int from = 0, to = 0;
  double ms = 0;         ///< what frames took lately
  double now_s = 0;      ///< the clock that was given
  std::string sentence;  ///< "frames take 81.2 ms of 66.7: level 1 of 0 to 2 from frame 40 on"
};

/// Decides only; sessions are the caller's. One thread at a time. The same frames and clock give the same moves.
class VIREO_API Governor {
 public:
  /// Levels 0 to levels - 1, from the best answer to the fastest; the first frame is of level 0. What the options give
  /// outside its range is brought into it.
  Governor(int levels, const GovernorOptions& options);

  int level() const { return level_; }
  /// A frame of level() took so long, and now it is `now_s` by a clock that never goes back. Returns whether level()
  /// has changed.
  bool frame(double ms, double now_s);
  /// Of the last move; all 0 before the first.
  const GovernorChange& last_change() const { return change_; }
  uint64_t frames() const { return frames_; }
  uint64_t changes() const { return changes_; }
  /// Frames are late at the fastest level: nothing prepared can hold the rate.
  bool saturated() const { return level_ + 1 == int(known_.size()) && late_ >= options_.late_frames; }

 private:
  struct Level {
    double lately = 0;   // ms, smoothed
    double settled = 0;  // what it took when it was entered
    double left = 0;     // and when a faster one was taken instead; 0: that never was
    double wait_s = 0;   // how long it must be calm before this level is taken again
    double entered_s = 0;
  };
  bool move(int to, double now_s);
  double expected(int level) const;

  GovernorOptions options_;
  std::vector<Level> known_;
  int level_ = 0;
  int seen_ = 0;  // frames of the present level
  int late_ = 0;
  double calm_since_ = -1;
  uint64_t frames_ = 0, changes_ = 0;
  bool went_up_ = false;
  GovernorChange change_;
};

}  // namespace vireo

#endif  // VIREO_GOVERNOR_HPP
