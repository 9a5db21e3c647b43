#include "ops/tuning.h"

#include "ops/kernel.h"

namespace vireo {
namespace {

Tuning class_traits(DeviceClass c) {
  Tuning t;
  switch (c) {
    case DeviceClass::kMaxwell:
      t.skip_rows = true;
      t.machine = {1, 65536, 32768, 65536};  // a Nano's GM20B
      t.max_dispatch_flops = 8e9;  // about 70 ms at half of the Nano's fp32 peak; its driver kills long kernels
      break;
    case DeviceClass::kSoftware:
      // A storage load of 8 lanes costs lavapipe as much as 40 multiply-adds, a texel fetch a tenth of that.
      t.texel = true;
      t.shuffle = true;
      break;
    case DeviceClass::kMali:
    case DeviceClass::kAdreno:
    case DeviceClass::kV3d: t.max_dispatch_flops = 8e9; break;
    default: break;
  }
  return t;
}

}  // namespace

const std::vector<Constants>& Tuning::of(const char* kernel) const {
  static const std::vector<Constants> none;
  const auto found = constants.find(kernel);
  return found == constants.end() ? none : found->second;
}

Tuning tuning_for(const DeviceCaps& caps) {
  Tuning t = class_traits(caps.device_class);
  t.shuffle = t.shuffle && caps.subgroup_basic && caps.subgroup_shuffle;
  for (const KernelDef* k : all_kernels())
    if (k->constants) t.constants[k->name] = k->constants->defaults(caps);
  return t;
}

}  // namespace vireo
