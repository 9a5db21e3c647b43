#version 450
// variants: PHASES=0|1
// conv2d.winograd.tile in packed halves: rows and U are halves, V is. The products of CHUNK channels are added in fp16, then the planes become
// outputs, which are added in fp32. Needs shaderFloat16.
//
// Bindings, push constants and grid: as conv2d.winograd.tile. Constants: the same, W_TYPE F16, and 14 CHUNK, a multiple of BK; BK / 4 is a power of two.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if PHASES
#extension GL_ARB_shader_clock : require
#endif
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define HALF 1
#include "winograd.glsl"
