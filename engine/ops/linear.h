// Attribute and operand numbers of the two matrix products, for the rewrites that add to their epilogues.
#pragma once

namespace vireo::linear {
// y = residual + scale * act(norm(x) W^T + bias), norm optional (LayerNorm without gain and offset)
enum Attr { kAct, kNorm, kEps };
enum In { kX, kWeight, kBias, kScaleIn, kResidualIn };
}  // namespace vireo::linear

namespace vireo::conv2d {
enum Attr { kKernelH, kKernelW, kStrideH, kStrideW, kPadH, kPadW, kAct };
enum In { kX, kWeight, kBias };
}  // namespace vireo::conv2d
