// What the texts of profiles and predictions share.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace vireo {

/// Three decimals are a nanosecond: more digits would pretend. 0 for what is no number.
inline double rounded(double x) { return std::isfinite(x) ? std::round(x * 1e3) / 1e3 : 0.0; }

/// A field of a CSV line (RFC 4180).
inline std::string quoted(const std::string& s) {
  if (s.find_first_of(",\"\r\n") == std::string::npos) return s;
  std::string q = "\"";
  for (char c : s) q += c == '"' ? std::string("\"\"") : std::string(1, c);
  return q + '"';
}

/// 0 for none.
inline double median(std::vector<double> v) {
  if (v.empty()) return 0;
  std::sort(v.begin(), v.end());
  const size_t n = v.size();
  return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/// The mean of the middle half: as deaf to outliers as the median, but half-way between two speeds that a machine
/// changes between, where the median jumps from one to the other. 0 for none.
inline double midmean(std::vector<double> v) {
  if (v.empty()) return 0;
  std::sort(v.begin(), v.end());
  const size_t cut = v.size() / 4;
  double sum = 0;
  for (size_t i = cut; i < v.size() - cut; ++i) sum += v[i];
  return sum / double(v.size() - 2 * cut);
}

}  // namespace vireo
