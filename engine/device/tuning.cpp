#include "device/tuning.h"

namespace vireo {
namespace {

Tuning class_defaults(DeviceClass c) {
  Tuning t;
  switch (c) {
    case DeviceClass::kMaxwell:
      t.max_dispatch_flops = 8e9;  // about 70 ms at half of the Nano's fp32 peak; its driver kills long kernels
      break;
    case DeviceClass::kSoftware:
      // A storage load of 8 lanes costs lavapipe as much as 40 multiply-adds, a texel fetch a tenth of that.
      t.texel = true;
      t.shuffle = true;
      break;
    case DeviceClass::kMali:
    case DeviceClass::kAdreno:
    case DeviceClass::kV3d:
      t.linear_tile = {32, 64, 16, 4, 8};
      t.max_dispatch_flops = 8e9;
      break;
    default: break;
  }
  return t;
}

uint32_t tile_shared_bytes(const Tuning& t) {  // the formula of shaders/README.md, with the LayerNorm prologue
  const auto& l = t.linear_tile;
  return 4 * (l.bk * (l.bm + 4) + 16 + l.bk * l.bn + 2 * l.bm);
}

}  // namespace

Tuning tuning_for(const DeviceCaps& caps) {
  Tuning t = class_defaults(caps.device_class);
  t.shuffle = t.shuffle && caps.subgroup_basic && caps.subgroup_shuffle;
  auto& l = t.linear_tile;
  while ((l.bm / l.tm) * (l.bn / l.tn) > caps.max_workgroup_invocations || tile_shared_bytes(t) > caps.max_shared_bytes) {
    if (l.bn > 32) l.bn /= 2;
    else if (l.bm > 16) l.bm /= 2;
    else break;
  }
  return t;
}

}  // namespace vireo
