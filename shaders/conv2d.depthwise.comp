#version 450
// variants: TEXEL=0|1
// Depthwise convolution of NHWC rows: an invocation computes PX neighbouring output pixels x 4 channels, so that what a line of input and
// the weights hold for several of them is read once. Neighbouring invocations take neighbouring channels. TEXEL=1 reads input and
// weights through uniform texel buffers.
//
// Bindings: 0 x rows [B*IH*IW], 1 w f32 [KH*KW][c4*4], 2 bias, 3 out rows [B*OH*OW].
// Constants: 0 LX, 1 IN_TYPE (TEXEL=0), 3 OUT_TYPE, 5 ACT, 6 BIAS, 10 PX, 11 KH, 12 KW, 13 SH, 14 SW (strides), 15 DH, 16 DW (dilations),
//            17 PADDED (0: there is no padding, nothing is checked but the right edge of a block).
// Push constants: B, IH, IW, OH, OW, c4, pad_h, pad_w (top and left), i_ld4, o_ld4. Grid: flat, ceil(B * OH * ceil(OW / PX) * c4 / LX) workgroups.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
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
layout(constant_id = 17) const uint PADDED = 1u;

#if TEXEL
layout(set = 0, binding = 0) uniform samplerBuffer x;
layout(set = 0, binding = 1) uniform samplerBuffer w;
#define LOAD_X(g) texelFetch(x, int(g))
#define LOAD_W(g) texelFetch(w, int(g))
#else
layout(constant_id = 1) const uint IN_TYPE = 0u;
layout(set = 0, binding = 0) readonly buffer X32 { vec4 x32[]; };
layout(set = 0, binding = 0) readonly buffer X16 { uvec2 x16[]; };
layout(set = 0, binding = 1) readonly buffer W32 { vec4 w32[]; };
#define LOAD_X(g) (IN_TYPE == F32 ? x32[g] : from_half4(x16[g]))
#define LOAD_W(g) w32[g]
#endif
layout(set = 0, binding = 2) readonly buffer Bias { vec4 bias[]; };
layout(set = 0, binding = 3) writeonly buffer Out32 { vec4 out32[]; };
layout(set = 0, binding = 3) writeonly buffer Out16 { uvec2 out16[]; };

layout(push_constant) uniform Push { uint B, IH, IW, OH, OW, c4, pad_h, pad_w, i_ld4, o_ld4; } p;

const uint SPAN = (PX - 1u) * SW + (KW - 1u) * DW + 1u;   // pixels of a line that the block sees

void main()
{
    const uint i = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * LX + gl_LocalInvocationID.x;
    const uint blocks = (p.OW + PX - 1u) / PX;
    const uint g = i % p.c4, block = i / p.c4;
    const uint ox = block % blocks * PX, line = block / blocks;
    const uint oy = line % p.OH, image = line / p.OH;
    if (image >= p.B) return;
    const int y0 = int(oy * SH) - int(p.pad_h), x0 = int(ox * SW) - int(p.pad_w);

    vec4 acc[PX];
    [[unroll]] for (uint j = 0u; j < PX; ++j) acc[j] = BIAS != 0u ? bias[g] : vec4(0.0);
    // Addresses by sums alone: not every compiler makes sums of the products. Before the picture they wrap around and are not used.
    const uint line_groups = p.IW * p.i_ld4;
    uint first = uint((int(image * p.IH) + y0) * int(p.IW) + x0) * p.i_ld4 + g, tap = g;
    [[unroll]] for (uint ky = 0u; ky < KH; ++ky) {
        const uint width = PADDED == 0u || uint(y0 + int(ky * DH)) < p.IH ? p.IW : 0u;   // of a line beyond the picture nothing is real
        vec4 row[SPAN];
        uint at = first;
        [[unroll]] for (uint s = 0u; s < SPAN; ++s) {
            // A block may reach beyond the last pixel on the right, padding or not.
            const bool real = uint(x0 + int(s)) < width;
            const vec4 v = LOAD_X(real ? at : g);
            row[s] = real ? v : vec4(0.0);
            at += p.i_ld4;
        }
        uint w_at = tap;
        [[unroll]] for (uint kx = 0u; kx < KW; ++kx) {
            const vec4 wv = LOAD_W(w_at);
            w_at += p.c4;
            [[unroll]] for (uint j = 0u; j < PX; ++j) acc[j] = fma(row[j * SW + kx * DW], wv, acc[j]);
        }
        first += DH * line_groups;
        tap += KW * p.c4;
    }
    uint to = (line * p.OW + ox) * p.o_ld4 + g;
    [[unroll]] for (uint j = 0u; j < PX; ++j) {
        if (ox + j >= p.OW) break;
        const vec4 v = activate(acc[j], ACT, OUT_TYPE);
        if (OUT_TYPE == F32) out32[to] = v;
        else out16[to] = to_half4(v);
        to += p.o_ld4;
    }
}
