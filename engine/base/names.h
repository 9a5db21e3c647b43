// Names that people type: devices and number formats as text, and the name that was meant where one is misspelt. The
// command line tool uses this header too (apps/CMakeLists.txt): the standard library and the public headers only.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include <vireo/types.hpp>

namespace vireo {

/// How many letters have to be inserted, removed, replaced or swapped with their neighbour to make `b` of `a` (optimal
/// string alignment).
inline size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> before, last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = last;
    last = row;
  }
  return last[b.size()];
}

/// The name that was probably meant: the one with the fewest edits, the first of several; empty where each needs more
/// than a third of its letters changed.
inline std::string nearest_name(const std::string& text, const std::vector<std::string>& names) {
  constexpr size_t kLongest = 64;  // nobody misspells more
  std::string best;
  size_t fewest = kLongest;
  for (const std::string& name : names) {
    if (text.size() > kLongest) break;
    const size_t edits = edit_distance(text, name);
    if (edits >= fewest || edits > std::max<size_t>(1, std::max(text.size(), name.size()) / 3)) continue;
    fewest = edits;
    best = name;
  }
  return best;
}

/// "; did you mean 'linear'? There are conv2d, linear and add", for the end of a sentence on a name of a closed set.
inline std::string known_names(const std::string& text, const std::vector<std::string>& names) {
  const std::string near = nearest_name(text, names);
  std::string list;
  for (size_t i = 0; i < names.size(); ++i) list += (i == 0 ? "" : i + 1 < names.size() ? ", " : " and ") + names[i];
  return (near.empty() ? "; there are " : "; did you mean '" + near + "'? There are ") + list;
}

/// A device as people name it: "auto", "cpu", "vulkan" or "vulkan:2".
struct DeviceName {
  enum Kind { kAuto, kCpu, kVulkan } kind = kAuto;
  int index = -1;  // of kVulkan; -1: any
};
constexpr const char* kDeviceNames = "auto, cpu, vulkan or vulkan:N";

/// False, and nothing else, where the text is none of kDeviceNames.
inline bool parse_device(const std::string& text, DeviceName* out) {
  if (text == "auto") return *out = {DeviceName::kAuto, -1}, true;
  if (text == "cpu") return *out = {DeviceName::kCpu, -1}, true;
  if (text == "vulkan") return *out = {DeviceName::kVulkan, -1}, true;
  const std::string digits = text.compare(0, 7, "vulkan:") == 0 ? text.substr(7) : "";
  if (digits.empty() || digits.size() > 6 || digits.find_first_not_of("0123456789") != std::string::npos) return false;
  *out = {DeviceName::kVulkan, std::atoi(digits.c_str())};
  return true;
}

constexpr Precision kPrecisions[] = {Precision::kFp32, Precision::kFp16,       Precision::kInt8,
                                     Precision::kW8A8, Precision::kCheckpoint, Precision::kAuto};
/// The names of to_string(Precision).
inline std::vector<std::string> precision_names() {
  std::vector<std::string> names;
  for (Precision p : kPrecisions) names.push_back(to_string(p));
  return names;
}

inline bool parse_precision(const std::string& text, Precision* out) {
  for (Precision p : kPrecisions)
    if (text == to_string(p)) return *out = p, true;
  return false;
}

}  // namespace vireo
