#include "profile/roofs_file.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <sstream>

#include "base/number.h"

namespace vireo {
namespace {

constexpr const char* kFirstLine = "vireo-roofs 1";

struct Field {
  const char* name;
  double DeviceRoofs::*at;
  bool is_time;  // less is better
};
constexpr Field kFields[] = {
    {"fma_gflops", &DeviceRoofs::fma_gflops, false},  {"half_fma_gflops", &DeviceRoofs::half_fma_gflops, false},
    {"copy_gbs", &DeviceRoofs::copy_gbs, false},      {"shared_gbs", &DeviceRoofs::shared_gbs, false},
    {"dispatch_us", &DeviceRoofs::dispatch_us, true}, {"submit_us", &DeviceRoofs::submit_us, true},
};

std::string one_line(std::string text) {  // a driver chooses its own name
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

RoofsId roofs_id(const DeviceCaps& caps, uint64_t shader_hash) {
  if (caps.kind == DeviceKind::kCpu)
    return {fmt::format("roofs-cpu-{}-{}.txt", caps.simd, caps.threads), one_line(caps.name),
            fmt::format("vireo {} simd {} threads {}", VIREO_VERSION, caps.simd, caps.threads)};
  std::string state = fmt::format("driver {:x} shaders {:x}", caps.driver_version, shader_hash);
  if (caps.device_class == DeviceClass::kSoftware) state += " simd " + caps.simd;  // a folder may travel to another CPU
  return {fmt::format("roofs-{:x}-{:x}.txt", caps.vendor_id, caps.device_id), one_line(caps.name), std::move(state)};
}

std::string roofs_text(const RoofsId& id, const KeptRoofs& kept) {
  std::string s = fmt::format(
      "{}\n# Measured by `vireo profile`, the best of all times; delete the file to forget them.\ndevice {}\nfor "
      "{}\ndate {}\n",
      kFirstLine, id.device, id.state, kept.date);
  for (const Field& f : kFields) s += fmt::format("{} {:.6g}\n", f.name, kept.roofs.*f.at);
  return s;
}

Result<KeptRoofs> parse_roofs(const std::string& text, const RoofsId& id) {
  constexpr double kMost = 1e9;  // beyond any device, in every unit here
  KeptRoofs kept;
  std::istringstream lines(text);
  std::string line;
  std::set<std::string> seen;
  for (int number = 1; std::getline(lines, line); ++number) {
    const auto broken = [number](const std::string& what) {
      return fail(ErrorCode::kCorrupt, "line {}: {}", number, what);
    };
    if (number == 1 && line != kFirstLine) return fail(ErrorCode::kCorrupt, "its first line is not '{}'", kFirstLine);
    if (number == 1 || line.empty() || line[0] == '#') continue;
    const size_t space = std::min(line.find(' '), line.size());
    const std::string word = line.substr(0, space), rest = line.substr(std::min(space + 1, line.size()));
    if (!seen.insert(word).second) return broken(fmt::format("'{}' is there twice", word));
    if (word == "device") {
      if (rest != id.device) return fail(ErrorCode::kCorrupt, "stale: of device '{}', this is '{}'", rest, id.device);
    } else if (word == "for") {
      if (rest != id.state) return fail(ErrorCode::kCorrupt, "stale: of {}, this is {}", rest, id.state);
    } else if (word == "date") {
      if (rest.empty() || rest.size() > 40) return broken("the date is none");
      kept.date = rest;
    } else {
      const auto field =
          std::find_if(std::begin(kFields), std::end(kFields), [&word](const Field& f) { return word == f.name; });
      if (field == std::end(kFields)) return broken(fmt::format("'{}' is no word of this format", word));
      double value = 0;
      if (!parse_number(rest, &value) || !(value >= 0 && value <= kMost))
        return broken(fmt::format("{} is '{}', expected a number from 0 to {:g}", word, rest, kMost));
      kept.roofs.*field->at = value;
    }
  }
  for (const char* word : {"device", "for", "date"})
    if (!seen.count(word)) return fail(ErrorCode::kCorrupt, "'{}' is missing; the file is truncated", word);
  for (const Field& f : kFields)
    if (!seen.count(f.name)) return fail(ErrorCode::kCorrupt, "'{}' is missing; the file is truncated", f.name);
  if (!(kept.roofs.fma_gflops > 0) || !(kept.roofs.copy_gbs > 0))
    return fail(ErrorCode::kCorrupt, "a rate is 0, which no device has");
  return kept;
}

DeviceRoofs best_of(const DeviceRoofs& a, const DeviceRoofs& b) {
  DeviceRoofs best;
  for (const Field& f : kFields) {
    const double x = a.*f.at, y = b.*f.at;
    // A time of 0 is one that the device does not have.
    best.*f.at = !f.is_time ? std::max(x, y) : x == 0 ? y : y == 0 ? x : std::min(x, y);
  }
  return best;
}

}  // namespace vireo
