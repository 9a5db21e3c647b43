#version 450
// variants: TEXEL=0|1
// Per pixel the number of the largest of C channels, the first of equals, or -1 where a score is no finite number; with TAPS > 1 of the map brought to MH x MW and from
// there to OH x OW, bilinear without aligned corners, of which nothing is stored: the weights of both ways are multiplied. An invocation walks over the channels of one pixel.
// TEXEL=1 reads through a uniform texel buffer.
//
// Bindings: 0 x rows [B*IH*IW], 1 out rows f32, one channel, or single floats (DENSE); of the pixels first .. first + count - 1 of [B*OH*OW].
// Constants: 0 LX, 1 IN_TYPE (TEXEL=0), 10 TAPS (positions along an axis that have a part in a pixel: 1 all sizes are one; 2 there is one way; 3 for 2 * IH <= MH; 4 any), 11 DENSE.
// Push constants: first, count, IH, IW, MH, MW, OH, OW, C, ratio_h, ratio_w (float: input positions per position of the middle), mid_ratio_h, mid_ratio_w (of that per output position).
// Grid: flat, ceil(count / LX) workgroups.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 10) const uint TAPS = 2u;
layout(constant_id = 11) const uint DENSE = 0u;

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
layout(set = 0, binding = 1) writeonly buffer Out1 { float out1[]; };

layout(push_constant) uniform Push { uint first, count, IH, IW, MH, MW, OH, OW, C; float ratio_h, ratio_w, mid_ratio_h, mid_ratio_w; } p;

// The first of two positions and the weight of the second. A position far right has few bits left for the weight, so that is computed
// from the product itself, which a fused multiply-add has whole.
uint from(uint i, float ratio, uint size, out float f)
{
    const float centre = float(i) + 0.5;
    precise float at = centre * ratio - 0.5;
    const uint first = min(uint(max(at, 0.0)), size - 1u);
    const float rest = fma(centre, ratio, -(float(first) + 0.5));
    const float back = rest < 0.0 && first > 0u ? 1.0 : 0.0;  // `at` was rounded up
    f = max(rest + back, 0.0);
    return first - uint(back);
}

// The positions that output position o is read from by way of the middle, and their weights.
vec4 through(uint o, float mid_ratio, uint mid, float ratio, uint size, out uvec4 at)
{
    float f, g0, g1;
    const uint m = from(o, mid_ratio, mid, f), a = from(m, ratio, size, g0), b = from(min(m + 1u, mid - 1u), ratio, size, g1);
    const vec2 near = vec2((1.0 - f) * (1.0 - g0), (1.0 - f) * g0), far = vec2(f * (1.0 - g1), f * g1);
    if (TAPS == 4u) {
        at = min(uvec4(a, a + 1u, b, b + 1u), uvec4(size - 1u));
        return vec4(near, far);
    }
    at = min(uvec4(a, a + 1u, b + 1u, b + 1u), uvec4(size - 1u));
    return a == b ? vec4(near + far, 0.0, 0.0) : vec4(near.x, near.y + far.x, far.y, 0.0);
}

vec4 across(uint start, uvec4 column, vec4 w)
{
    vec4 sum = LOAD_X(start + column.x) * w.x + LOAD_X(start + column.y) * w.y;
    if (TAPS > 2u) sum += LOAD_X(start + column.z) * w.z;
    if (TAPS > 3u) sum += LOAD_X(start + column.w) * w.w;
    return sum;
}

void main()
{
    const uint n = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * LX + gl_LocalInvocationID.x;
    if (n >= p.count) return;
    const uint i = p.first + n, ox = i % p.OW, line = i / p.OW, oy = line % p.OH, image = line / p.OH;
    const uint ld4 = (p.C + 3u) / 4u;
    uvec4 row = uvec4(i * ld4), column = uvec4(0u);
    vec4 wy = vec4(1.0), wx = vec4(1.0);
    if (TAPS > 1u) {
        wy = through(oy, p.mid_ratio_h, p.MH, p.ratio_h, p.IH, row);
        wx = through(ox, p.mid_ratio_w, p.MW, p.ratio_w, p.IW, column);
        row = (image * p.IH + row) * (p.IW * ld4);
        column *= ld4;
    }
    float top = uintBitsToFloat(0xFF800000u);  // minus infinity
    uint winner = 0u, largest_exponent = 0u;   // by the bits: a compiler may take comparisons with NaN for what it likes
    for (uint g = 0u; g < ld4; ++g) {
        vec4 v;
        if (TAPS == 1u) {
            v = LOAD_X(row.x + g);
        } else {
            v = across(row.x + g, column, wx) * wy.x + across(row.y + g, column, wx) * wy.y;
            if (TAPS > 2u && wy.z != 0.0) v += across(row.z + g, column, wx) * wy.z;  // few lines have a third, and all pixels of one
            if (TAPS > 3u) v += across(row.w + g, column, wx) * wy.w;
        }
        [[unroll]] for (uint e = 0u; e < 4u; ++e) {
            const uint c = g * 4u + e;
            // Selects, no branches: most of what a compiler makes of these lines would be jumps.
            largest_exponent = max(largest_exponent, c < p.C ? floatBitsToUint(v[e]) & 0x7F800000u : 0u);
            const bool better = c < p.C && v[e] > top;
            top = better ? v[e] : top;
            winner = better ? c : winner;
        }
    }
    const float answer = largest_exponent < 0x7F800000u ? float(winner) : -1.0;
    if (DENSE != 0u) out1[n] = answer;
    else out32[n] = vec4(answer, 0.0, 0.0, 0.0);
}
