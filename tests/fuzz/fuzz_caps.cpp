// libFuzzer target: the description of a device (vireo devices --caps) from a stranger. What parses prints as it was
// read, plans, and is predicted for, or gives an Error.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include <vireo/predict.hpp>

#include "device/caps.h"
#include "fuzz/small_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vireo;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto caps = caps_from_text(text, "caps.txt");
  fuzz::check_refusal(caps);
  if (!caps) return 0;
  const auto again = caps_from_text(to_text(*caps), "again");
  if (!again || to_text(*again) != to_text(*caps)) std::abort();

  PredictOptions options;
  options.machine = caps->kind == DeviceKind::kVulkan ? "jetson-nano" : "";
  constexpr Precision kPrecisions[] = {Precision::kFp32, Precision::kFp16, Precision::kInt8};
  options.session.precision = kPrecisions[size % 3];  // one of them: planning is slow beside reading
  const auto plan = plan_text(fuzz::small_model(), text, options.session, size % 2 != 0);
  fuzz::check_refusal(plan);
  if (!plan) return 0;
  const auto predicted = predict(fuzz::small_model(), text, options);
  fuzz::check_refusal(predicted);
  if (predicted && (!std::isfinite(predicted->us) || predicted->us < 0 || prediction_json(*predicted).empty()))
    std::abort();
  return 0;
}
