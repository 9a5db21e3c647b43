#include "frame_times.h"

#include <algorithm>
#include <cstdio>
#include <system_error>

namespace cli {
namespace {

constexpr size_t kToldNotes = 5;  // of each kind of note

}  // namespace

FrameTimes::~FrameTimes() {
  wake_.stop();
  if (thread_.joinable()) thread_.join();
}

void FrameTimes::watch(const Frame& frame) {
  if (deadline_ <= 0 || frame.came_ns == 0) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    watched_.push_back({frame.name, frame.came_ns, false});
  }
  if (thread_.joinable()) return;
  try {
    thread_ = std::thread([this] { look(); });
  } catch (const std::system_error& e) {
    throw Failure(std::string("the thread that watches for --deadline cannot be started: ") + e.code().message());
  }
}

void FrameTimes::forget(const Frame& frame) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it =
      std::find_if(watched_.begin(), watched_.end(), [&](const Watched& w) { return w.name == frame.name; });
  if (it != watched_.end()) watched_.erase(it);
}

void FrameTimes::look() {
  // A fraction of what is waited for is soon enough.
  const double pause_s = std::min(std::max(deadline_ / 4, 1.0), 50.0) * 1e-3;
  while (wake_.sleep(pause_s)) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (Watched& w : watched_) {
      const double ms = double(monotonic_ns() - w.came_ns) * 1e-6;
      if (w.told || ms <= 2 * deadline_) continue;
      w.told = true;
      if (++overdue_ <= kToldNotes)
        std::fprintf(stderr, "note: %s has no answer after %.1f ms, --deadline is %g ms\n", w.name.c_str(), ms,
                     deadline_);
    }
  }
}

size_t FrameTimes::overdue() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return overdue_;
}

double FrameTimes::add(const Frame& frame) {
  if (frame.came_ns == 0) return -1;
  forget(frame);
  const double ms = double(monotonic_ns() - frame.came_ns) * 1e-6;
  times_.add(ms);
  if (deadline_ > 0 && ms > deadline_ && ++late_ <= kToldNotes)
    std::fprintf(stderr, "note: the answer of %s came after %.1f ms, --deadline is %g ms\n", frame.name.c_str(), ms,
                 deadline_);
  return ms;
}

void FrameTimes::add_to(Json& entry, double ms) const {
  if (ms < 0) return;
  entry["latency_ms"] = ms;
  if (deadline_ > 0 && ms > deadline_) entry["late"] = true;
}

std::string FrameTimes::text() const {
  char text[160];
  std::snprintf(text, sizeof text, "latency from frame to answer: %.1f ms p50, %.1f ms p95, %.1f ms p99",
                times_.quantile(0.5), times_.quantile(0.95), times_.quantile(0.99));
  return text + (deadline_ > 0 ? "; " + std::to_string(late_) + " of " + std::to_string(times_.count()) + " late"
                               : std::string());
}

void FrameTimes::add_to(Json& json) const {
  if (!any()) return;
  json["latency"] =
      Json{{"p50_ms", times_.quantile(0.5)}, {"p95_ms", times_.quantile(0.95)}, {"p99_ms", times_.quantile(0.99)}};
  if (deadline_ > 0) json["latency"]["late"] = late_;
}

}  // namespace cli
