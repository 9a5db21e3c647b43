// Frames through sessions, as many at once as pays.
#pragma once

#include <functional>
#include <vector>

#include "frame_times.h"
#include "governed.h"
#include "pictures.h"

namespace cli {

/// The frames of a verb on their way through its sessions: while a GPU computes one, the next is read and prepared, and
/// the last one's answer is told. Answers come in the frames' order; where no frame is at hand, the one in flight is
/// not held back for it.
class Flights {
 public:
  struct Landed {
    Frame& frame;       // valid until the call ends, as is `out`
    int level;          // negative: there is one alone, or no session took it
    double latency_ms;  // since the frame came; negative: no stream's
    /// The answer, or why there is none.
    const vireo::Result<vireo::Output>& out;
  };

  /// `ahead`: frames are read ahead also where one at a time is in flight, for verbs that have more to do with answers.
  Flights(Pictures& pictures, const Common& common, GovernedSessions& levels, FrameTimes& times, bool ahead = false);

  /// Called for each frame, also one that could not be read. What it throws ends the work.
  using Answer = std::function<void(const Landed& landed)>;
  /// Called before a frame starts in its session; gives the size of its class map.
  using Begin = std::function<vireo::MapSize(const Frame& frame, const vireo::Session& session)>;
  /// All frames, until there are no more.
  void run(const Begin& begin, const Answer& answer);
  uint64_t dropped() const { return reader_.dropped(); }

 private:
  struct Flight {
    Frame* frame;
    vireo::Ticket ticket;
    int level;
  };
  /// How many frames are worth having in flight; one, where each size of picture has a session of its own.
  static int depth(GovernedSessions& levels);
  vireo::Result<vireo::Ticket> submit(const Frame& frame, const Begin& begin);
  void land_oldest(const Answer& answer);

  GovernedSessions& levels_;
  FrameTimes& times_;
  FrameReader reader_;
  std::vector<Flight> flights_;             // the oldest first
  Clock::time_point began_ = Clock::now();  // the work on the frame that lands next
};

}  // namespace cli
