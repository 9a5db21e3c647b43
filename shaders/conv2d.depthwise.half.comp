#version 450
// Depthwise convolution of NHWC rows of halves in packed fp16 arithmetic: an invocation computes PY x PX neighbouring output pixels x 8
// channels, so that what it reads of a line serves several of them. Neighbouring invocations take neighbouring channels. The at most 25
// products of a sum are added in fp16, bias and activation follow in fp32. Needs shaderFloat16. Where the picture ends is known when
// the pipeline is made: only columns that may lie beyond it are checked.
//
// Bindings: 0 x rows f16 [B*IH*IW], 1 w f16 [KH*KW][c8*8], 2 bias f32, 3 out rows [B*OH*OW].
// Constants: 0 LX, 3 OUT_TYPE, 5 ACT, 6 BIAS, 10 PX, 11 KH, 12 KW, 13 SH, 14 SW (strides), 15 DH, 16 DW (dilations), 17 PY, 18 IH, 19 IW, 20 OH, 21 OW,
//            22 PH, 23 PW (padding, top and left).
// Push constants: B, c8, i_ld8, o_ld8 (groups of 8 channels). Grid: flat, ceil(B * ceil(OH / PY) * ceil(OW / PX) * c8 / LX) workgroups.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "types.glsl"
#include "activation.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 3) const uint OUT_TYPE = 0u;
layout(constant_id = 5) const uint ACT = 0u;
layout(constant_id = 6) const uint BIAS = 0u;
layout(constant_id = 10) const uint PX = 4u;
layout(constant_id = 11) const uint KH = 3u;
layout(constant_id = 12) const uint KW = 3u;
layout(constant_id = 13) const uint SH = 1u;
layout(constant_id = 14) const uint SW = 1u;
layout(constant_id = 15) const uint DH = 1u;
layout(constant_id = 16) const uint DW = 1u;
layout(constant_id = 17) const uint PY = 2u;
layout(constant_id = 18) const uint IH = 1u;
layout(constant_id = 19) const uint IW = 1u;
layout(constant_id = 20) const uint OH = 1u;
layout(constant_id = 21) const uint OW = 1u;
layout(constant_id = 22) const uint PH = 0u;
layout(constant_id = 23) const uint PW = 0u;

layout(set = 0, binding = 0) readonly buffer X16 { uvec4 x16[]; };
layout(set = 0, binding = 1) readonly buffer W16 { uvec4 w16[]; };
layout(set = 0, binding = 2) readonly buffer Bias { vec4 bias[]; };
layout(set = 0, binding = 3) writeonly buffer Out32 { vec4 out32[]; };
layout(set = 0, binding = 3) writeonly buffer Out16 { uvec4 out16[]; };

layout(push_constant) uniform Push { uint B, c8, i_ld8, o_ld8; } p;

const uint SPAN = (PX - 1u) * SW + (KW - 1u) * DW + 1u, LINES = (PY - 1u) * SH + (KH - 1u) * DH + 1u;   // of the picture, for a block
const uint ACROSS = (OW + PX - 1u) / PX, DOWN = (OH + PY - 1u) / PY;
// Counted from the padding's edge: the last block's first pixel. A block may have lines above and below the picture.
const uint LAST_X = (ACROSS - 1u) * PX * SW, LAST_Y = (DOWN - 1u) * PY * SH;
const bool ABOVE = PH != 0u, BELOW = LAST_Y + LINES > IH + PH;

void main()
{
    const uint i = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * LX + gl_LocalInvocationID.x;
    const uint g = i % p.c8, block = i / p.c8, below = block / ACROSS;
    const uint ox = block % ACROSS * PX, oy = below % DOWN * PY, image = below / DOWN;
    if (image >= p.B) return;
    const int y0 = int(oy * SH) - int(PH), x0 = int(ox * SW) - int(PW);

    f16vec2 w[KH * KW * 4u];
    [[unroll]] for (uint tap = 0u; tap < KH * KW; ++tap) {
        const uvec4 v = w16[tap * p.c8 + g];
        [[unroll]] for (uint h = 0u; h < 4u; ++h) w[tap * 4u + h] = unpackFloat2x16(v[h]);
    }
    f16vec2 acc[PY * PX * 4u];
    [[unroll]] for (uint j = 0u; j < PY * PX * 4u; ++j) acc[j] = f16vec2(0.0);

    // Before the picture addresses wrap around and are not used.
    uint first = uint((int(image * IH) + y0) * int(IW) + x0) * p.i_ld8 + g;
    [[unroll]] for (uint l = 0u; l < LINES; ++l) {
        if (!(ABOVE || BELOW) || uint(y0 + int(l)) < IH) {
            uvec4 row[SPAN];
            uint at = first;
            [[unroll]] for (uint s = 0u; s < SPAN; ++s) {
                if (s >= PW && LAST_X + s < IW + PW) {
                    row[s] = x16[at];
                } else {
                    const bool real = uint(x0 + int(s)) < IW;
                    const uvec4 v = x16[real ? at : g];
                    row[s] = real ? v : uvec4(0u);
                }
                at += p.i_ld8;
            }
            [[unroll]] for (uint r = 0u; r < PY; ++r)
                [[unroll]] for (uint ky = 0u; ky < KH; ++ky)
                    if (r * SH + ky * DH == l)
                        [[unroll]] for (uint kx = 0u; kx < KW; ++kx)
                            [[unroll]] for (uint j = 0u; j < PX; ++j)
                                [[unroll]] for (uint h = 0u; h < 4u; ++h) {
                                    const uint to = (r * PX + j) * 4u + h;
                                    acc[to] = fma(unpackFloat2x16(row[j * SW + kx * DW][h]), w[(ky * KW + kx) * 4u + h], acc[to]);
                                }
        }
        first += IW * p.i_ld8;
    }

    vec4 low = vec4(0.0), high = vec4(0.0);
    if (BIAS != 0u) low = bias[g * 2u], high = bias[g * 2u + 1u];
    uint line = ((image * OH + oy) * OW + ox) * p.o_ld8 + g;
    [[unroll]] for (uint r = 0u; r < PY; ++r) {
        uint to = line;
        [[unroll]] for (uint j = 0u; j < PX; ++j) {
            if ((OH % PY == 0u || oy + r < OH) && (OW % PX == 0u || ox + j < OW)) {
                const uint at = (r * PX + j) * 4u;
                const vec4 a = activate(vec4(vec2(acc[at]), vec2(acc[at + 1u])) + low, ACT, OUT_TYPE);
                const vec4 b = activate(vec4(vec2(acc[at + 2u]), vec2(acc[at + 3u])) + high, ACT, OUT_TYPE);
                if (OUT_TYPE == F32) out32[to * 2u] = a, out32[to * 2u + 1u] = b;
                else out16[to] = uvec4(to_half4(a), to_half4(b));
            }
            to += p.o_ld8;
        }
        line += OW * p.o_ld8;
    }
}
