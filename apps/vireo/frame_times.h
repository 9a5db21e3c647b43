// How old a live picture is when its answer comes, and what says so when none comes.
#pragma once

#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cli.h"
#include "frames.h"
#include "measure.h"

namespace cli {

/// How long frames of a stream took from their coming to their answer. Those that took longer than --deadline are told,
/// the first few on stderr; one that has no answer after twice that is told meanwhile, by a thread: a device that hangs
/// gives none.
class FrameTimes {
 public:
  explicit FrameTimes(const Common& common) : FrameTimes(common.frame_deadline) {}
  /// `deadline_ms`: 0 for none.
  explicit FrameTimes(double deadline_ms) : deadline_(deadline_ms) {}
  ~FrameTimes();
  FrameTimes(const FrameTimes&) = delete;
  FrameTimes& operator=(const FrameTimes&) = delete;

  /// Work on the frame begins; add() or forget() ends it. Without a deadline, or for no stream's frame, nothing
  /// happens.
  void watch(const Frame& frame);
  /// The frame's answer is there: milliseconds since it came; negative where it is no stream's.
  double add(const Frame& frame);
  /// There will be no answer, and something else says so.
  void forget(const Frame& frame);

  /// "latency_ms" of one answer, and "late" where it is, into its JSON.
  void add_to(Json& entry, double ms) const;
  bool any() const { return times_.count() > 0; }
  /// "latency from frame to answer: 12.1 ms p50, 14.0 ms p95, 20.2 ms p99".
  std::string text() const;
  /// "latency" into the JSON, where there is one.
  void add_to(Json& json) const;
  /// Frames that were told while they had no answer.
  size_t overdue() const;

 private:
  struct Watched {
    std::string name;
    int64_t came_ns;
    bool told;
  };
  void look();

  const double deadline_;
  Times times_;
  size_t late_ = 0;
  mutable std::mutex mutex_;  // of what follows
  std::vector<Watched> watched_;
  size_t overdue_ = 0;
  Wake wake_;
  std::thread thread_;
};

}  // namespace cli
