// Kernel choice and constants per device class: the one table of defaults.
#pragma once

#include <vector>

#include "device/caps.h"

namespace vireo {

/// One tile of linear.tile: a workgroup computes bm x bn outputs in steps of bk, an invocation tm x tn of them.
struct LinearTile {
  uint32_t bm, bn, bk, tm, tn;
};

/// Constants of the kernels that have a choice; names are those of shaders/README.md.
struct Tuning {
  bool texel = false;    // linear, attention and conv2d read operands through uniform texel buffers
  bool shuffle = false;  // linear.texel broadcasts by subgroupShuffle (where the device has it)

  /// Of these a linear takes the one that costs least for its shape (linear::choose_tile).
  std::vector<LinearTile> linear_tiles{{64, 128, 16, 8, 8}, {64, 64, 16, 8, 8}, {32, 64, 16, 4, 8}, {16, 32, 16, 4, 4}};
  /// Tiles of linear.half, which sums in packed fp16; used by fp16 plans where the device has shaderFloat16 and a tile
  /// costs less than the best of linear.tile. A session checks the device's accuracy first (runtime/half_check.h).
  std::vector<LinearTile> half_tiles;
  bool skip_rows = false;  // tile kernels: subgroups without a real row skip the products
  /// rl: rows per broadcast register; unroll: steps of K per trip of the loop; panels: column blocks that a workgroup
  /// does one after the other with the same rows, whose statistics it then computes once.
  struct {
    uint32_t lx, r, c, rl, unroll, panels;
  } linear_texel{32, 8, 1, 8, 1, 1};
  /// dc and vc are the most that is staged at once: of these and the rest an attention takes what costs least for its
  /// heads' width.
  struct {
    uint32_t lx, tx, tm, tn, dc, vc;
  } attention_tile{64, 8, 4, 4, 16, 16};
  struct {
    uint32_t lx, qi, kb;
  } attention_texel{32, 2, 8};
  /// Tiles of conv2d.tile, likewise; without any, or where it cannot be had, conv2d with the constants below.
  std::vector<LinearTile> conv_tiles{{64, 128, 16, 8, 8}, {64, 64, 16, 8, 8}, {32, 64, 16, 4, 8}, {16, 32, 16, 4, 4}};
  struct {
    uint32_t lx, ly, r;
  } conv{16, 4, 4};
  double max_dispatch_flops = 1e11;  // longer work is split into several dispatches: weak boards kill long ones

  /// What the choice of a tile takes the device for: its cores, and the registers and shared memory of each.
  struct {
    uint32_t cores, registers, workgroup_registers, shared_bytes;
  } machine{8, 65536, 65536, 65536};
};

/// The class's constants, cut down to what the device's limits allow.
Tuning tuning_for(const DeviceCaps& caps);

}  // namespace vireo
