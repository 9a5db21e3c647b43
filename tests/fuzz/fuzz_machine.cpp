// libFuzzer target: the description of a machine for `vireo predict --machine FILE` from a stranger. What parses prints
// as it was read and gives predictions that are numbers, or an Error.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include <vireo/predict.hpp>

#include "device/caps.h"
#include "fuzz/small_model.h"
#include "profile/machine.h"

namespace {

using namespace vireo;

/// Devices that say everything a prediction asks for.
std::string caps_text(DeviceKind kind) {
  DeviceCaps caps;
  caps.name = "fuzz";
  caps.kind = kind;
  if (kind == DeviceKind::kCpu) {
    caps.simd = "avx2";
    return to_text(caps);
  }
  caps.subgroup_size = 32;
  caps.max_workgroup_invocations = 1024;
  caps.max_stage_storage_buffers = 16;
  return to_text(caps);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto machine = machine_from_text(text, "machine.txt");
  fuzz::check_refusal(machine);
  if (!machine) return 0;
  const auto again = machine_from_text(to_text(*machine), "again");
  if (!again || to_text(*again) != to_text(*machine)) std::abort();

  static const std::string kGpu = caps_text(DeviceKind::kVulkan), kCpu = caps_text(DeviceKind::kCpu);
  PredictOptions options;
  options.machine = text + "\n";
  for (const std::string* caps : {&kGpu, &kCpu}) {
    const auto predicted = predict(fuzz::small_model(), *caps, options);
    fuzz::check_refusal(predicted);
    if (!predicted) continue;
    for (const double us : {predicted->us, predicted->low_us, predicted->high_us, predicted->bound_us})
      if (!std::isfinite(us) || us < 0) std::abort();
    if (prediction_json(*predicted).empty() || prediction_csv(*predicted).empty()) std::abort();
  }
  return 0;
}
