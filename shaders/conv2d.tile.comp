#version 450
// variants: PHASES=0|1
// Convolution of NHWC rows as the matrix product of linear.tile, whose rows of A are windows: a group of 4 channels of one tap is read where the
// picture has it, while A is staged; nothing else differs from a linear.
//
// Bindings and the constants 0 to 16: as linear.tile, without LN. 17 IH, 18 IW, 19 C4 (groups of input channels), 20 OH, 21 OW, 22 KH,
//            23 KW, 24 SH, 25 SW (strides), 26 PH, 27 PW (padding, top and left), 28 DH, 29 DW (dilations), 30 I_LD4. 15 K_FULL is not asked.
//            31 PLANAR, 32 PLANES: as in conv2d.comp, a planar picture of f32 instead of rows; with PLANAR = 2 IW, KW, SW and PW count groups.
// K order of W: (ky, kx, cin padded to a multiple of 4); planar (cin, ky, kx).
// Push constants: M = B * OH * OW, N, K = KH * KW * C4 * 4 (planar: PLANES * KH * KW elements to a multiple of 4), unused, o_ld4, r_ld4, unused, m0, unused. Grid: as linear.tile.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if PHASES
#extension GL_ARB_shader_clock : require
#endif
#define CONV 1
#include "tile.glsl"
