#include "flights.h"

#include <algorithm>

namespace cli {

Flights::Flights(Pictures& pictures, const Common& common, GovernedSessions& levels, FrameTimes& times, bool ahead)
    : levels_(levels), times_(times), reader_(pictures, common, ahead || depth(levels) > 1) {
  flights_.reserve(size_t(reader_.room()) + 1);
}

int Flights::depth(GovernedSessions& levels) {
  Sessions& sessions = levels.sessions();
  return sessions.one_for_all() ? sessions.last().worth_in_flight() : 1;
}

vireo::Result<vireo::Ticket> Flights::submit(const Frame& frame, const Begin& begin) try {
  const vireo::Image picture = frame.image();
  vireo::Session& session = levels_.sessions().for_picture(picture.upright_width(), picture.upright_height());
  return session.submit(&picture, 1, begin(frame, session));
} catch (const Failure& failure) {  // no session for this picture's size
  return vireo::Error{vireo::ErrorCode::kInvalidArgument, failure.what()};
}

void Flights::run(const Begin& begin, const Answer& answer) {
  for (;;) {
    Frame* const frame = reader_.take(flights_.empty());
    if (frame == nullptr) {
      if (flights_.empty()) return;
      land_oldest(answer);  // nothing is waiting: no need to hold this one back
      continue;
    }
    if (flights_.empty()) began_ = Clock::now();  // waiting for a frame is no work
    times_.watch(*frame);
    vireo::Error error{vireo::ErrorCode::kInvalidArgument, frame->error};
    if (error.message.empty()) {
      auto ticket = submit(*frame, begin);
      if (ticket) {
        flights_.push_back({frame, *ticket, levels_.level()});
        // All that the present level has too many: a move may have changed how many it takes.
        while (int(flights_.size()) >= std::min(depth(levels_), reader_.room())) land_oldest(answer);
        continue;
      }
      error = ticket.error();
    }
    while (!flights_.empty()) land_oldest(answer);
    times_.forget(*frame);
    answer({*frame, -1, -1, error});
    reader_.give_back(frame);
  }
}

void Flights::land_oldest(const Answer& answer) {
  const Flight flight = flights_.front();
  flights_.erase(flights_.begin());
  const vireo::Result<vireo::Output> out = levels_.at(flight.level).last().wait(flight.ticket);
  double latency = -1;
  if (out) latency = times_.add(*flight.frame);
  else times_.forget(*flight.frame);
  answer({*flight.frame, levels_.any() ? flight.level : -1, latency, out});
  reader_.give_back(flight.frame);
  // What this frame held up the ones behind it: with two in flight that is less than it took from end to end.
  const Clock::time_point now = Clock::now();
  if (out) levels_.frame(std::chrono::duration<double, std::milli>(now - began_).count(), flight.level);
  began_ = now;
}

}  // namespace cli
