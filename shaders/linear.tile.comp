#version 450
// variants: PHASES=0|1
// Y = epilogue(A W^T) by shared-memory tiles: a workgroup computes BM x BN outputs in steps of BK, an invocation TM x TN of them.
// A is transposed while staged, so that both operands are read from shared memory as vec4; i8 weights become floats while staged, by bit
// tricks. The inner loop is multiply-adds and shared loads, nothing else. An invocation's rows are consecutive and
// invocations run along columns first, so that whole warps lie beyond the last row (SKIP_ROWS).
// LN: rows of A are normalised first; each workgroup computes the statistics of its BM rows. GAIN: then times gain[k].
//
// Bindings: 0 A, 1 W, 2 wscale, 3 bias, 4 colscale, 5 residual, 6 gain, 7 out.
// Constants: 0 LX = (BM / TM) * (BN / TN), 1 IN_TYPE, 2 W_TYPE, 3 OUT_TYPE, 4 RES_TYPE, 5 ACT, 6 BIAS, 7 COLSCALE, 8 RESIDUAL, 9 LN,
//            10 BM, 11 BN, 12 BK, 13 TM, 14 TN, 15 K_FULL (1: ceil4(K) % BK == 0),
//            16 SKIP_ROWS (1: warps whose rows all lie beyond M skip the arithmetic; some compilers pay for the branch with register moves), 17 GAIN, 18 GROUP, 19 ZEROS (W_TYPE 3, 4 and 5: codes in bytes, in nibbles, and in nibbles with rows of 8 bits among them, whose scales are applied while staging).
// Push constants: M, N, K, a_ld4, o_ld4, r_ld4, a_off4, m0, eps.
// Grid: x = ceil((M - m0) / BM), y = ceil(N / BN); rows run fastest, so that tiles sharing weights run together.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if PHASES
#extension GL_ARB_shader_clock : require
#endif
#define CONV 0
#include "tile.glsl"
