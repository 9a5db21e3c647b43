// Measuring and showing how far a verb is: times, quantiles, memory, a bar on the terminal.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace cli {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start);

inline double mib(uint64_t bytes) { return double(bytes) / 1048576; }
/// Largest resident size of this process so far, MiB.
double peak_rss_mib();
/// Resident size of this process now, MiB; 0 where the system does not tell.
double rss_mib();

double median(const std::vector<double>& sorted);
/// Nearest rank: the smallest value that at least the fraction p of all does not exceed.
double percentile(const std::vector<double>& sorted, double p);

/// Quantiles of any number of times in fixed memory: counts on a logarithmic scale, good to 0.5 % from 1 us to 10,000
/// s.
class Times {
 public:
  Times();
  void add(double ms);
  size_t count() const { return count_; }
  /// Nearest rank, the middle of its bin; 0 without times.
  double quantile(double p) const;

 private:
  std::vector<uint32_t> bins_;
  size_t count_ = 0;
};

/// "0:42" or "1:02:03".
std::string clock_text(double seconds);

/// A bar on stderr with the count, the rate since the first step and the time left at that rate; only when stderr is a
/// terminal. It goes away at the end.
class Progress {
 public:
  /// total 0: not known, no bar but the number.
  explicit Progress(size_t total);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  bool shows() const { return shows_; }
  /// Whether step() would draw now: for texts that are costly to make.
  bool due(size_t done) const;
  void step(size_t done, const std::string& text);
  /// Takes the bar away, so that a line can be printed.
  void clear();

 private:
  size_t total_;
  bool shows_, drawn_ = false;
  Clock::time_point last_{}, first_{};
  size_t begun_ = 0;  // steps done at first_
};

}  // namespace cli
