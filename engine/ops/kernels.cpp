// The table of kernels, from kernels.def, and the choice between them.
#include "ops/kernel.h"

namespace vireo {

#define KERNEL(def) extern const KernelDef def;
#include "ops/kernels.def"
#undef KERNEL

const std::vector<const KernelDef*>& all_kernels() {
  static const std::vector<const KernelDef*> kernels = {
#define KERNEL(def) &def,
#include "ops/kernels.def"
#undef KERNEL
  };
  return kernels;
}

const KernelDef* find_kernel(const std::string& name) {
  for (const KernelDef* k : all_kernels())
    if (name == k->name) return k;
  return nullptr;
}

bool multiplies_codes_by_halves(const DeviceCaps& caps, const Tuning& tuning) {
  for (const KernelDef* k : all_kernels())
    if (k->codes_by_halves && k->device == caps.kind && caps.shader_float16 && !tuning.of(k->name).empty()) return true;
  return false;
}

Result<Lowering> lower_op(OpKind op, DeviceKind device, const OpCall& call, const LowerContext& ctx) {
  const KernelDef* best = nullptr;
  double least = 0;
  std::string reasons;
  for (const KernelDef* k : all_kernels()) {
    if (k->op != op || k->device != device) continue;
    if (k->accepts) {
      const Result<void> accepted = k->accepts(call, ctx);
      if (!accepted && accepted.error().code != ErrorCode::kUnsupported) return accepted.error();
      if (!accepted) {
        reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", k->name, accepted.error().message);
        continue;
      }
    }
    const double cost = k->cost ? k->cost(call, ctx) : 0;
    if (!best || cost < least) best = k, least = cost;
  }
  if (!best) return fail(ErrorCode::kUnsupported, "{}", reasons.empty() ? "no kernel is listed" : reasons);
  Result<Lowering> lowered = best->lower(call, ctx);
  if (lowered) lowered->by = best;
  return lowered;
}

}  // namespace vireo
