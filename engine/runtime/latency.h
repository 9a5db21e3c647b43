// The wall times of a session's last inferences, kept while it runs.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include <vireo/vireo.hpp>

namespace vireo {

/// One thread adds, any other reads at any time; neither waits for the other, and adding allocates nothing.
class LatencyRecorder {
 public:
  static constexpr int kMost = 1 << 20;

  /// Keeps the last `window` times, from 1 to kMost.
  explicit LatencyRecorder(int window) : times_(size_t(std::clamp(window, 1, kMost))) {}

  void add(double ms) noexcept {
    const uint64_t n = count_.load(std::memory_order_relaxed);  // no one else writes it
    times_[size_t(n % times_.size())].store(ms, std::memory_order_relaxed);
    count_.store(n + 1, std::memory_order_release);
  }

  /// What is known now. Times added while this reads may take the place of the oldest ones.
  Latency read() const;

 private:
  std::vector<std::atomic<double>> times_;  // a ring: inference n (from 0) is at n % size
  std::atomic<uint64_t> count_{0};
};

}  // namespace vireo
