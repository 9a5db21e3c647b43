// Which instruction sets are compiled, and the kernels each of them exports. Include before any Highway header.
#pragma once

// Highway is used as headers only: dispatch.cpp puts every target's kernels into a table, so libhwy (which Debian
// has as a shared library only) is not needed. SVE, SSSE3 and AVX3_DL would add code but no speed to these kernels.
// VIREO_SIMD_WITHOUT: those that a build for one computer leaves out (cmake/HostSimd.cmake).
#ifndef VIREO_SIMD_WITHOUT
#define VIREO_SIMD_WITHOUT 0
#endif
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | VIREO_SIMD_WITHOUT)
#endif
#ifndef HWY_DISABLE_PCLMUL_AES
#define HWY_DISABLE_PCLMUL_AES  // no kernel uses them, so no CPU should be turned away for lacking them
#endif

/// X(member of Kernels, argument struct): one line per kernel.
#define VIREO_SIMD_KERNELS(X)            \
  X(gemm, GemmArgs)                      \
  X(conv, ConvArgs)                      \
  X(winograd, ConvArgs)                  \
  X(im2col, Im2colArgs)                  \
  X(depthwise, DepthwiseArgs)            \
  X(attention, AttentionArgs)            \
  X(group_attention, GroupAttentionArgs) \
  X(attention_i8, AttentionArgs)         \
  X(layer_norm, LayerNormArgs)           \
  X(unary, UnaryArgs)                    \
  X(add, AddArgs)                        \
  X(affine, AffineArgs)                  \
  X(swiglu, SwigluArgs)                  \
  X(mean, MeanArgs)                      \
  X(pool, PoolArgs)                      \
  X(copy, CopyArgs)                      \
  X(head_norm, HeadNormArgs)             \
  X(token_match, TokenMatchArgs)         \
  X(token_merge, TokenMergeArgs)         \
  X(resize, ResizeArgs)                  \
  X(adaptive_pool, AdaptivePoolArgs)     \
  X(merge, MergeArgs)                    \
  X(argmax, ArgmaxArgs)                  \
  X(picture, PictureArgs)                \
  X(picture_rows, PictureRowsArgs)       \
  X(to_i8, ToI8Args)                     \
  X(gemm_i8, I8GemmArgs)                 \
  X(to_half, ToHalfArgs)                 \
  X(from_half, FromHalfArgs)
