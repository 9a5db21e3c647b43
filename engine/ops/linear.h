// What others must know of the two matrix products: attribute and operand numbers, for the rewrites that add to their
// epilogues, and the choice of a tile, for tests.
#pragma once

#include <cstdint>

#include "device/tuning.h"

namespace vireo::linear {
// y = residual + scale * act(norm(x) W^T + bias), norm optional (LayerNorm; its gain and offset are an operand where
// they are not in W and the bias)
enum Attr { kAct, kNorm, kEps };
enum In { kX, kWeight, kBias, kScaleIn, kResidualIn, kAffine };

/// What linear.tile (linear.half, if `half`) does for a product of [m, k] and [n, k] with this tile on this device.
struct TileWork {
  bool legal = false;       // the device can run it
  uint32_t lx = 0;          // invocations of a workgroup
  int64_t slack = 0;        // groups of 4 behind the packed weights that the last loads read
  double issued_flops = 0;  // with rows and columns beyond the edges and idle lanes
  double cost = 0;          // instruction slots of one core; more where subgroups are too few to hide latency
};
TileWork tile_work(const LinearTile& tile, bool half, const Tuning& tuning, const DeviceCaps& caps, int64_t m,
                   int64_t n, int64_t k);

/// The legal tile of least cost; tile is null if there is none. `half`: tiles of linear.half may be taken.
struct TileChoice {
  const LinearTile* tile = nullptr;
  bool half = false;
};
TileChoice choose_tile(const Tuning& tuning, const DeviceCaps& caps, bool half, int64_t m, int64_t n, int64_t k);

/// How far linear.half's sums may be off, as a part of the largest: BK products are summed in fp16 before they are
/// added in fp32. A sum of j terms of size s is around s sqrt(j), and each addition rounds it by 2^-12 of itself on
/// average: together s 2^-12 BK / sqrt(6), and over the trips 2^-12 sqrt(BK / 6) of the result's size. Results reach 4
/// times that size and so may errors; the operands' own rounding is the 1. Twice that, for small outputs with few terms
/// to average.
double half_error(uint32_t bk);
}  // namespace vireo::linear

namespace vireo::conv2d {
enum Attr { kKernelH, kKernelW, kStrideH, kStrideW, kPadH, kPadW, kAct, kDilationH, kDilationW, kGroups };
enum In { kX, kWeight, kBias };

/// Every channel has a kernel of its own. Such weights stay fp32 in every precision: they are a few numbers per
/// channel, so that fewer bits would save nothing, while their sums are too short for rounding errors to average out.
inline bool is_depthwise(int64_t groups, int64_t cin, int64_t cout) {
  return groups > 1 && groups == cin && groups == cout;
}
}  // namespace vireo::conv2d
