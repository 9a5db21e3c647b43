// What `vireo tune` found out about a device: per step the constants that were fastest there. A text file beside the
// pipeline cache, one per device; pure data here.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ops/kernel.h"

namespace vireo {

/// One step's choice. `use` names switches of Tuning and constants of kernels: "texel=1 shuffle=1
/// linear_texel=32,16,1,8,2,8".
struct TunedStep {
  std::string use;
  double ms = 0, default_ms = 0;  // as measured, for the reader
};

/// By step_key (plan/plan.h).
using TunedSteps = std::map<std::string, TunedStep>;

/// What a tuning file is good for: this device, this driver, these shaders.
struct TuningId {
  std::string device;
  uint32_t vendor = 0, device_id = 0, driver_version = 0;
  uint64_t shader_hash = 0;
};
TuningId tuning_id(const DeviceCaps& caps, uint64_t shader_hash);

/// "tuning-10de-92ba03d7.txt"
std::string tuning_file_name(const TuningId& id);
std::string tuning_text(const TuningId& id, const TunedSteps& steps);
/// Errors (kCorrupt) say in one clause why the text must not be used: "stale: ...", "line 7: ...".
Result<TunedSteps> parse_tuning(const std::string& text, const TuningId& id);

/// The rules of shaders/README.md, which the kernels state. Errors: kCorrupt, naming the constants that break one.
Result<void> check_tuning(const Tuning& tuning);

/// Every choice of constants worth a look for an operator on a device, in `apply_tuning`'s words. Empty: the operator
/// has no choice.
std::vector<std::string> tuning_candidates(OpKind op, const DeviceCaps& caps);

/// Takes constants from all other kernels of the same operator that have some, so that these are not used.
void only_kernel(const KernelDef& kernel, Tuning* tuning);

/// Replaces what `use` names. A kernel whose constants it names is the operator's only one that has some. Errors:
/// kCorrupt, naming the word, or the kernel's constants that break a rule.
Result<void> apply_tuning(const std::string& use, Tuning* tuning);

}  // namespace vireo
