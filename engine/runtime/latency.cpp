#include "runtime/latency.h"

#include <algorithm>
#include <cmath>

namespace vireo {

Latency LatencyRecorder::read() const {
  Latency l;
  l.count = count_.load(std::memory_order_acquire);
  std::vector<double> sorted(size_t(std::min<uint64_t>(l.count, times_.size())));
  if (sorted.empty()) return l;
  l.last_ms = times_[size_t((l.count - 1) % times_.size())].load(std::memory_order_relaxed);
  for (size_t i = 0; i < sorted.size(); ++i) sorted[i] = times_[i].load(std::memory_order_relaxed);
  std::sort(sorted.begin(), sorted.end());
  const auto percentile = [&sorted](double p) {  // nearest rank: a time that was measured
    return sorted[std::max<size_t>(size_t(std::ceil(p * double(sorted.size()))), 1) - 1];
  };
  l.window = int(sorted.size());
  l.min_ms = sorted.front(), l.max_ms = sorted.back();
  for (double ms : sorted) l.mean_ms += ms / double(sorted.size());
  l.p50_ms = percentile(0.50), l.p95_ms = percentile(0.95), l.p99_ms = percentile(0.99);
  return l;
}

}  // namespace vireo
