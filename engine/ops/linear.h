// linear's attribute and operand numbers, for the rewrites that add to it, what its kernels share, and the cost of a
// tile, which conv2d.tile has too.
#pragma once

#include <cstdint>

#include "ops/kernel.h"

namespace vireo {
/// A tile: a workgroup computes bm x bn outputs in steps of bk, an invocation tm x tn of them. The constants of
/// linear.tile, linear.half and conv2d.tile.
struct LinearTile {
  uint32_t bm, bn, bk, tm, tn;
};
}  // namespace vireo

namespace vireo::linear {
// y = residual + scale * act(norm(x) W^T + bias), norm optional (LayerNorm; its gain and offset are an operand where
// they are not in W and the bias)
enum Attr { kAct, kNorm, kEps };
enum In { kX, kWeight, kBias, kScaleIn, kResidualIn, kAffine };

struct Sizes {
  int64_t m, n, k;
};
Sizes sizes(const OpCall& c);

/// Constants in the order weight, bias, scale, affine; -1 for the absent ones.
struct Consts {
  int bias = -1, scale = -1, affine = -1;
};
/// Adds all but the weight.
Consts add_vectors(const OpCall& c, int64_t n, Lowering& l);
/// The rows of x sum to zero, so that a weight's row may be moved by a constant.
inline bool centred(const OpCall& c) { return c.iattr(kNorm) != 0 && !c.input(kAffine); }

LinearTile tile_of(const Constants& c);
/// The rules of tile.glsl (shaders/README.md).
bool tile_legal(const Constants& c);

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

/// Of the tiles that the tuning has for the kernel, the legal one of least cost; null if there is none. `group`:
/// columns of K that share a scale, which steps of bk must not straddle; 0: none do.
const Constants* choose_tile(const KernelDef& kernel, const Tuning& tuning, const DeviceCaps& caps, int64_t m,
                             int64_t n, int64_t k, int64_t group = 0, double* cost = nullptr);
/// The rules of half.glsl. Sums in fp16 are at most 64 products long: of codes times 2^-7 and activations up to 1023
/// none then leaves fp16.
bool half_legal(const LinearTile& tile);

/// How far linear.half's sums may be off, as a part of the largest: BK products are summed in fp16 before they are
/// added in fp32. A sum of j terms of size s is around s sqrt(j), and each addition rounds it by 2^-12 of itself on
/// average: together s 2^-12 BK / sqrt(6), and over the trips 2^-12 sqrt(BK / 6) of the result's size. Results reach 4
/// times that size and so may errors; the operands' own rounding is the 1. Twice that, for small outputs with few terms
/// to average. Codes times 2^-7 are exact and their scales are multiplied in fp32, a group's behind its own sums, which
/// err by the same part of their own size: the bound is that of weights in fp16.
double half_error(uint32_t bk);
}  // namespace vireo::linear
