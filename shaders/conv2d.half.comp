#version 450
// variants: PHASES=0|1
// Convolution of NHWC rows as the matrix product of linear.half, whose rows of A are windows as in conv2d.tile. Needs shaderFloat16.
//
// Bindings: as conv2d.tile; rows are halves (a planar picture floats, which become halves while staged), W halves or codes with a scale per row (W_TYPE 1 or 2), as in linear.half.
// Constants: those of conv2d.tile without IN_TYPE, TM, TN and K_FULL's rules as linear.half.
// K order of W, push constants and grid: as conv2d.tile.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if PHASES
#extension GL_ARB_shader_clock : require
#endif
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define CONV 1
#include "half.glsl"
