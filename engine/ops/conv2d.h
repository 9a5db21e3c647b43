// conv2d's attribute and operand numbers, and what its kernels share.
#pragma once

#include <cstdint>

#include "ops/kernel.h"

namespace vireo::conv2d {
enum Attr { kKernelH, kKernelW, kStrideH, kStrideW, kPadH, kPadW, kAct, kDilationH, kDilationW, kGroups };
enum In { kX, kWeight, kBias };

/// Every channel has a kernel of its own. Such weights are codes in no precision, and fp16 only where halves are
/// multiplied: they are a few numbers per channel, so that fewer bits would save nothing, while their sums are too
/// short for rounding errors to average out.
inline bool is_depthwise(int64_t groups, int64_t cin, int64_t cout) {
  return groups > 1 && groups == cin && groups == cout;
}

struct Geometry {
  int64_t kh, kw, sh, sw, ph, pw, dh, dw, groups, cin, cout, oh, ow;
  bool planar;
  bool depthwise() const { return is_depthwise(groups, cin, cout) && !planar; }
  int64_t reach_h() const { return dh * (kh - 1) + 1; }  // pixels from a kernel's first to its last row
  int64_t reach_w() const { return dw * (kw - 1) + 1; }
};
Geometry geometry(const OpCall& c);

/// Rows of the picture are read as NHWC; the weights' rows follow.
void set_order(PackedConst& p, const Geometry& g, bool pad_channels);
/// Weights and bias of the depthwise kernels, the same on every device: fp32 [kh * kw][c].
Lowering depthwise_consts(const OpCall& c, const Geometry& g);
/// Which of the two the call is.
Result<void> depthwise_accepts(const OpCall& c, const LowerContext& ctx);
Result<void> dense_accepts(const OpCall& c, const LowerContext& ctx);
}  // namespace vireo::conv2d
