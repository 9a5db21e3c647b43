#version 450
// variants: PHASES=0|1
// 3 x 3 convolution of stride 1 of NHWC rows by Winograd's F(2 x 2, 3 x 3): a tile of 4 x 4 inputs becomes one of 2 x 2 outputs by 16 products per
// pair of channels instead of 36. A workgroup computes BT tiles x BN outputs, BK channels a trip:
// - Staging: d of a tile is transformed to V = B^T d B, B^T = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 -1 0 1]; an invocation does two channels and two of
//   the four lines of V, which are sums of three lines of d. U = G g G^T is packed so (Pack::kGpuWinograd).
// - Products: each of the 16 planes is a matrix product of its own; an invocation does TM tiles x 8 outputs of one plane.
// - At the end planes go back through the same memory, and an invocation makes the 2 x 2 outputs of a tile and 4 channels of them:
//   A^T m A, A^T = [1 1 1 0; 0 1 -1 1].
//
// Bindings: as conv2d.tile. 1: W [panels of BN outputs][trips][16][BK][BN].
// Constants: 0 LX, 2 to 8 as linear.tile (W_TYPE F32, and rows are), 10 BT (a power of two), 11 BN, 12 BK, 13 TM (8 or 16),
//            17 IH, 18 IW, 19 C4, 20 OH, 21 OW, 22 PH, 23 PW, 24 I_LD4 as conv2d.tile.
//            LX = 16 * (BT / TM) * (BN / 8); BK / 2 is a power of two, at most 32.
// Push constants: tiles = B * ceil(OH / 2) * ceil(OW / 2), N, o_ld4, m0 (the dispatch's first tile).
// Grid: x = ceil((tiles - m0) / BT), y = ceil(N / BN).
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if PHASES
#extension GL_ARB_shader_clock : require
#endif
#define HALF 0
#include "winograd.glsl"
