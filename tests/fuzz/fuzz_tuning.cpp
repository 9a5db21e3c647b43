// libFuzzer target: a file of tuned constants (in the cache folder, or within a capture) from a stranger. What parses
// keeps the rules of the shaders and prints as it was read, or gives an Error. The device it names is taken for this
// one: a refusal as stale hides the rest.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "fuzz/small_model.h"
#include "ops/tuned.h"
#include "ops/tuning.h"
#include "plan/plan.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vireo;
  const std::string text(reinterpret_cast<const char*>(data), size);
  fuzz::check_refusal(parse_tuning(text, {}));
  TuningId id;
  if (const size_t at = text.find("\ndevice "); at != std::string::npos)
    id.device = text.substr(at + 8, text.find('\n', at + 1) - at - 8);
  id.driver_version = 0x801c000, id.shader_hash = 0x1f2e3d;
  const auto steps = parse_tuning(text, id);
  fuzz::check_refusal(steps);
  if (!steps) return 0;
  for (const auto& [key, step] : *steps) {
    DeviceCaps caps;
    caps.max_stage_storage_buffers = 16, caps.max_workgroup_invocations = 1024, caps.max_shared_bytes = 49152;
    Tuning tuning = tuning_for(caps);
    if (!apply_tuning(step.use, &tuning) || !check_tuning(tuning)) std::abort();
    // The constants go into shaders: a plan with them is legal on the device or is refused.
    if (steps->size() > 4) continue;
    PlanOptions options;
    options.tuning = tuning;
    auto graph = build_graph(fuzz::small_model(), {});
    if (!graph) std::abort();
    fuzz::check_refusal(make_plan(std::move(*graph), caps, options));
  }
  const auto again = parse_tuning(tuning_text(id, *steps), id);
  if (!again || again->size() != steps->size()) std::abort();
  return 0;
}
