#version 450
// variants: TEXEL=0|1
// Per pixel the number of the largest of C channels, the first of equals, or -1 where a score is no finite number; with RESIZE of the map at OH x OW, bilinear without aligned corners,
// of which nothing is stored. An invocation walks over the channels of one pixel. TEXEL=1 reads through a uniform texel buffer.
//
// Bindings: 0 x rows [B*IH*IW], 1 out rows f32 [B*OH*OW], one channel. Constants: 0 LX, 1 IN_TYPE (TEXEL=0), 10 RESIZE.
// Push constants: B, IH, IW, OH, OW, C, ratio_h, ratio_w (float: input positions per output position).
// Grid: flat, ceil(B * OH * OW / LX) workgroups.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"
#include "interpolate.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 10) const uint RESIZE = 1u;

#if TEXEL
layout(set = 0, binding = 0) uniform samplerBuffer x;
#define LOAD_X(g) texelFetch(x, int(g))
#else
layout(constant_id = 1) const uint IN_TYPE = 0u;
layout(set = 0, binding = 0) readonly buffer X32 { vec4 x32[]; };
layout(set = 0, binding = 0) readonly buffer X16 { uvec2 x16[]; };
#define LOAD_X(g) (IN_TYPE == F32 ? x32[g] : from_half4(x16[g]))
#endif
layout(set = 0, binding = 1) writeonly buffer Out32 { vec4 out32[]; };

layout(push_constant) uniform Push { uint B, IH, IW, OH, OW, C; float ratio_h, ratio_w; } p;

void main()
{
    const uint i = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * LX + gl_LocalInvocationID.x;
    const uint ox = i % p.OW, line = i / p.OW, oy = line % p.OH, image = line / p.OH;
    if (image >= p.B) return;
    const uint ld4 = (p.C + 3u) / 4u, first = image * p.IH * p.IW;
    uint at[4];   // the pixels around
    float fy = 0.0, fx = 0.0;
    if (RESIZE != 0u) {
        const uint y0 = linear_from(oy, p.ratio_h, false, p.IH, fy), x0 = linear_from(ox, p.ratio_w, false, p.IW, fx);
        const uint y1 = min(y0 + 1u, p.IH - 1u), x1 = min(x0 + 1u, p.IW - 1u);
        at[0] = (first + y0 * p.IW + x0) * ld4;
        at[1] = (first + y0 * p.IW + x1) * ld4;
        at[2] = (first + y1 * p.IW + x0) * ld4;
        at[3] = (first + y1 * p.IW + x1) * ld4;
    } else {
        at[0] = i * ld4;
    }
    float top = 0.0;
    uint winner = 0u;
    bool finite = true;   // by the bits: a compiler may take comparisons with NaN for what it likes
    for (uint g = 0u; g < ld4; ++g) {
        vec4 v = LOAD_X(at[0] + g);
        if (RESIZE != 0u) {
            const vec4 upper = v * (1.0 - fx) + LOAD_X(at[1] + g) * fx;
            v = upper * (1.0 - fy) + (LOAD_X(at[2] + g) * (1.0 - fx) + LOAD_X(at[3] + g) * fx) * fy;
        }
        [[unroll]] for (uint e = 0u; e < 4u; ++e) {
            const uint c = g * 4u + e;
            finite = finite && (c >= p.C || (floatBitsToUint(v[e]) & 0x7F800000u) != 0x7F800000u);
            if (c == 0u || (c < p.C && v[e] > top)) {
                top = v[e];
                winner = c;
            }
        }
    }
    out32[i] = vec4(finite ? float(winner) : -1.0, 0.0, 0.0, 0.0);
}
