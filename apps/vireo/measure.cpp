// Measuring: see measure.h.
#include "measure.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace cli {
namespace {

constexpr double kShortest = 1e-3, kLongest = 1e7;  // ms
const double kStep = std::log(1.01);                // bins 1 % wide: their middles are 0.5 % from either end

/// A line of /proc/self/status that is given in KiB; 0 without it.
double status_mib(const char* field) {
  double kib = 0;
  if (std::FILE* status = std::fopen("/proc/self/status", "r")) {
    char line[256];
    while (std::fgets(line, sizeof line, status) != nullptr)
      if (std::strncmp(line, field, std::strlen(field)) == 0) kib = std::strtod(line + std::strlen(field), nullptr);
    std::fclose(status);
  }
  return kib / 1024;
}

}  // namespace

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double peak_rss_mib() {
  // VmHWM starts anew at exec; ru_maxrss would count what the parent had before it.
  if (const double mib = status_mib("VmHWM:"); mib > 0) return mib;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return double(usage.ru_maxrss) / 1024;
}

double rss_mib() { return status_mib("VmRSS:"); }

double median(const std::vector<double>& sorted) {
  const size_t n = sorted.size();
  return n % 2 != 0 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

double percentile(const std::vector<double>& sorted, double p) {
  const size_t rank = size_t(std::ceil(p * double(sorted.size())));
  return sorted[std::max<size_t>(rank, 1) - 1];
}

Times::Times() : bins_(size_t(std::log(kLongest / kShortest) / kStep) + 1, 0) {}

void Times::add(double ms) {
  const double clamped = std::isfinite(ms) ? std::min(std::max(ms, kShortest), kLongest) : kLongest;
  ++bins_[std::min(size_t(std::log(clamped / kShortest) / kStep), bins_.size() - 1)];
  ++count_;
}

double Times::quantile(double p) const {
  if (count_ == 0) return 0;
  size_t rank = std::max<size_t>(size_t(std::ceil(p * double(count_))), 1);
  for (size_t i = 0; i < bins_.size(); ++i) {
    if (bins_[i] >= rank) return kShortest * std::exp(kStep * (double(i) + 0.5));
    rank -= bins_[i];
  }
  return kLongest;
}

std::string clock_text(double seconds) {
  const long s = std::lround(std::min(std::max(seconds, 0.0), 3.6e6));
  char text[32];
  if (s < 3600) std::snprintf(text, sizeof text, "%ld:%02ld", s / 60, s % 60);
  else std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
  return text;
}

Progress::Progress(size_t total) : total_(total), shows_(isatty(STDERR_FILENO) != 0) {}

bool Progress::due(size_t done) const {
  return shows_ && (Clock::now() - last_ >= std::chrono::milliseconds(100) || (total_ > 0 && done == total_));
}

void Progress::step(size_t done, const std::string& text) {
  if (!due(done)) return;
  last_ = Clock::now();
  if (!drawn_ && first_ == Clock::time_point{}) {
    first_ = last_;
    begun_ = done;
  }
  drawn_ = true;
  std::string rate;
  const double seconds = std::chrono::duration<double>(last_ - first_).count();
  if (done > begun_ && seconds > 0) {
    const double per_s = double(done - begun_) / seconds;
    char of[32];
    std::snprintf(of, sizeof of, per_s < 10 ? "%.2f/s" : "%.0f/s", per_s);
    rate = of;
    if (total_ > 0) rate += ", " + clock_text(double(total_ - std::min(done, total_)) / per_s) + " left";
    if (!text.empty()) rate += ", ";
  }
  if (total_ > 0) {
    const size_t width = 30, full = width * std::min(done, total_) / total_;
    std::fprintf(stderr, "\r[%s%s] %zu/%zu %s%s\033[K", std::string(full, '#').c_str(),
                 std::string(width - full, '.').c_str(), done, total_, rate.c_str(), text.c_str());
  } else {
    std::fprintf(stderr, "\r%zu %s%s\033[K", done, rate.c_str(), text.c_str());
  }
}

void Progress::clear() {
  if (drawn_) std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

}  // namespace cli
