#version 450
// variants: PHASES=0|1
// Y = epilogue(A W^T) like linear.tile, with fp16 operands multiplied and added as pairs (packed fp16 arithmetic: twice the
// rate of fp32 where a GPU has it). The BK products of a trip are summed in fp16, the trips in fp32. Needs shaderFloat16.
// Rows are staged in pairs, as[k][m / 2], columns in pairs as they come; W is in panels like linear.tile's.
// LN: rows are normalised while staged, in fp16 like everything staged; what 1/sqrt(var) loses by rounding to fp16 is made good
// in the epilogue.
//
// Bindings: 0 A, 1 W, 2 wscale, 3 bias, 4 colscale, 5 residual, 6 gain of normalised columns (GAIN), 7 out.
// Constants: those of linear.tile with IN_TYPE = 1, W_TYPE 1, 2, 3 or 4 and without ZEROS; TM even, TN = 8, BM even, BN a multiple of 8.
// Codes (W_TYPE 2 to 4) become halves while staged. Their scales are multiplied in fp32: of rows in the epilogue, of groups where a trip's sums
// are added (GROUP a multiple of BK, or all of K).
// OUT_MOMENTS, IN_MOMENTS and theirs: moments of rows from producer to LN, shaders/README.md.
// Push constants and grid: as linear.tile.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if PHASES
#extension GL_ARB_shader_clock : require
#endif
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define CONV 0
#include "half.glsl"
