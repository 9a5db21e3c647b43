// Kernel choice and constants per device class: the one table of defaults.
#pragma once

#include "device/caps.h"

namespace vireo {

/// Constants of the kernels that have a choice; names are those of shaders/README.md.
struct Tuning {
  bool texel = false;        // linear, attention and conv2d read operands through uniform texel buffers
  bool shuffle = false;      // linear.texel broadcasts by subgroupShuffle (where the device has it)

  struct { uint32_t bm, bn, bk, tm, tn; } linear_tile{64, 128, 16, 8, 8};
  struct { uint32_t lx, r, c, rl; } linear_texel{32, 8, 1, 8};
  struct { uint32_t lx, tx, tm, tn, dc, vc; } attention_tile{64, 8, 4, 4, 16, 16};
  struct { uint32_t lx, qi, kb; } attention_texel{32, 2, 8};
  struct { uint32_t lx, ly, r; } conv{16, 4, 4};
  double max_dispatch_flops = 1e11;  // longer work is split into several dispatches: weak boards kill long ones
};

/// The class's constants, cut down to what the device's limits allow.
Tuning tuning_for(const DeviceCaps& caps);

}  // namespace vireo
