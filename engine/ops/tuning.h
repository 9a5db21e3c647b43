// What a device's class is like, and the constants that its kernels may take there.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "device/caps.h"

namespace vireo {

/// One choice of a kernel's constants, in the order of ConstantsDef::names (ops/kernel.h).
using Constants = std::vector<uint32_t>;

/// Kernel choice and constants on a device.
struct Tuning {
  bool texel = false;                // operands are read through uniform texel buffers, where a kernel can and they fit
  bool shuffle = false;              // values are passed within subgroups, where the device can
  bool skip_rows = false;            // tile kernels: subgroups without a real row skip the products
  double max_dispatch_flops = 1e11;  // longer work is split into several dispatches: weak boards kill long ones

  /// What costs take the device for: its cores, and the registers and shared memory of each.
  struct {
    uint32_t cores, registers, workgroup_registers, shared_bytes;
  } machine{8, 65536, 65536, 65536};

  /// By kernel: what it may take. A kernel that has constants and none here is not used.
  std::map<std::string, std::vector<Constants>> constants;
  const std::vector<Constants>& of(const char* kernel) const;
};

/// The class's: the kernels say what is theirs.
Tuning tuning_for(const DeviceCaps& caps);

}  // namespace vireo
