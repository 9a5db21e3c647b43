// The roofs of a device as a text file in the cache folder, so that they need not be measured for every profile. Pure
// data here.
#pragma once

#include <string>

#include "base/error.h"
#include "device/caps.h"

#include <vireo/profile.hpp>

namespace vireo {

/// What a roofs file is good for: a GPU with this driver and these probe shaders, or a CPU with these kernels and
/// threads.
struct RoofsId {
  std::string file;    // "roofs-10de-92ba03d7.txt", "roofs-cpu-avx2-4.txt"
  std::string device;  // its name
  std::string state;   // "driver 801c000 shaders 1f2e..." (of a software driver: and its SIMD), "vireo 0.1.0 simd avx2
                       // threads 4"
};
RoofsId roofs_id(const DeviceCaps& caps, uint64_t shader_hash);

struct KeptRoofs {
  DeviceRoofs roofs;
  std::string date;  // of the last measurement: "2024-05-01 12:30 UTC"
};
std::string roofs_text(const RoofsId& id, const KeptRoofs& kept);
/// Errors (kCorrupt) say in one clause why the text must not be used: "stale: ...", "line 4: ...".
Result<KeptRoofs> parse_roofs(const std::string& text, const RoofsId& id);

/// Number by number the better one: a busy machine measures rates that are too low and times that are too long, never
/// the reverse.
DeviceRoofs best_of(const DeviceRoofs& a, const DeviceRoofs& b);

}  // namespace vireo
