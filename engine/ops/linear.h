// What others must know of the two matrix products: attribute and operand numbers, for the rewrites that add to their
// epilogues, and the choice of a tile, for tests.
#pragma once

#include <cstdint>

#include "device/tuning.h"

namespace vireo::linear {
// y = residual + scale * act(norm(x) W^T + bias), norm optional (LayerNorm without gain and offset)
enum Attr { kAct, kNorm, kEps };
enum In { kX, kWeight, kBias, kScaleIn, kResidualIn };

/// What linear.tile does for a product of [m, k] and [n, k] with this tile on this device.
struct TileWork {
  bool legal = false;          // the device can run it
  double issued_flops = 0;     // with rows and columns beyond the edges and idle lanes
  double cost = 0;             // instruction slots of one core; more where subgroups are too few to hide latency
};
TileWork tile_work(const LinearTile& tile, const Tuning& tuning, const DeviceCaps& caps, int64_t m, int64_t n,
                   int64_t k);

/// The legal tile of least cost, null if there is none.
const LinearTile* choose_tile(const Tuning& tuning, const DeviceCaps& caps, int64_t m, int64_t n, int64_t k);
}  // namespace vireo::linear

namespace vireo::conv2d {
enum Attr { kKernelH, kKernelW, kStrideH, kStrideW, kPadH, kPadW, kAct };
enum In { kX, kWeight, kBias };
}  // namespace vireo::conv2d
