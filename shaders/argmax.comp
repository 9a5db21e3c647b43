#version 450
// variants: TEXEL=0|1
// Per pixel the number of the largest of C channels, the first of equals, or -1 where a score is no finite number; with TAPS > 1 of the map brought to MH x MW and from
// there to OH x OW, bilinear without aligned corners, of which nothing is stored: the weights of both ways are multiplied. An invocation walks over the channels of PX
// pixels, one after the other in the map: where they lie is worked out once, or twice where a line ends among them. Where there is one way and a map at least four times
// as wide as the scores, they lie between three columns at most, and what is between two lines there is worked out once for all.
// TEXEL=1 reads through a uniform texel buffer.
//
// Bindings: 0 x rows [B*IH*IW], 1 out rows f32, one channel, or single floats (DENSE); of the pixels first .. first + count - 1 of [B*OH*OW].
// Constants: 0 LX, 1 IN_TYPE (TEXEL=0), 10 TAPS (positions along an axis that have a part in a pixel: 1 all sizes are one; 2 there is one way; 3 for 2 * IH <= MH; 4 any), 11 DENSE.
// Push constants: first, count, IH, IW, MH, MW, OH, OW, C, ratio_h, ratio_w (float: input positions per position of the middle), mid_ratio_h, mid_ratio_w (of that per output position).
// Grid: flat, ceil(count / (LX * PX)) workgroups, PX = 4.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 10) const uint TAPS = 2u;
layout(constant_id = 11) const uint DENSE = 0u;
const uint PX = 4u;

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
    if (TAPS == 2u) {  // one of the two ways goes nowhere
        const uint first = from(o, mid == size ? mid_ratio : ratio, size, f);
        at = uvec4(first, min(first + 1u, size - 1u), uvec2(0u));
        return vec4(1.0 - f, f, 0.0, 0.0);
    }
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
    uint n = ((gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * LX + gl_LocalInvocationID.x) * PX;
    const uint end = min(n + PX, p.count), ld4 = (p.C + 3u) / 4u;
    const bool near = TAPS == 2u && PX * p.IW <= p.OW;
    while (n < end) {
        const uint i = p.first + n, ox = i % p.OW, line = i / p.OW, oy = line % p.OH, image = line / p.OH;
        const uint run = TAPS == 1u ? end - n : min(end - n, p.OW - ox);   // pixels of this pass; the others are worked out for nothing
        uvec4 row = uvec4(i * ld4), column[PX];
        vec4 wy = vec4(1.0), wx[PX];
        uvec3 columns = uvec3(0u);   // near: of all pixels
        bool at_left[PX];            // a pixel lies between the first and the second of them, not behind
        if (TAPS > 1u) {
            wy = through(oy, p.mid_ratio_h, p.MH, p.ratio_h, p.IH, row);
            row = (image * p.IH + row) * (p.IW * ld4);
            [[unroll]] for (uint j = 0u; j < PX; ++j) wx[j] = through(ox + j, p.mid_ratio_w, p.MW, p.ratio_w, p.IW, column[j]);
            const uint left = column[0].x;
            columns = min(uvec3(left, left + 1u, left + 2u), uvec3(p.IW - 1u)) * ld4;
            [[unroll]] for (uint j = 0u; j < PX; ++j) {
                at_left[j] = column[j].x == left;
                column[j] *= ld4;
            }
        }
        float top[PX];
        uint winner[PX], largest_exponent[PX];   // by the bits: a compiler may take comparisons with NaN for what it likes
        [[unroll]] for (uint j = 0u; j < PX; ++j) {
            top[j] = uintBitsToFloat(0xFF800000u);  // minus infinity
            winner[j] = largest_exponent[j] = 0u;
        }
        for (uint g = 0u; g < ld4; ++g) {
            vec4 v[PX];
            if (TAPS == 1u) {
                [[unroll]] for (uint j = 0u; j < PX; ++j) v[j] = LOAD_X(row.x + min(j, run - 1u) * ld4 + g);
            } else if (near) {
                vec4 between[3];
                [[unroll]] for (uint k = 0u; k < 3u; ++k)
                    between[k] = LOAD_X(row.x + columns[k] + g) * wy.x + LOAD_X(row.y + columns[k] + g) * wy.y;
                // Chosen, not weighted with 0: what is no number in a column is no other pixel's.
                [[unroll]] for (uint j = 0u; j < PX; ++j)
                    v[j] = (at_left[j] ? between[0] : between[1]) * wx[j].x + (at_left[j] ? between[1] : between[2]) * wx[j].y;
            } else {
                [[unroll]] for (uint j = 0u; j < PX; ++j) {
                    v[j] = across(row.x + g, column[j], wx[j]) * wy.x + across(row.y + g, column[j], wx[j]) * wy.y;
                    if (TAPS > 2u && wy.z != 0.0) v[j] += across(row.z + g, column[j], wx[j]) * wy.z;  // few lines have a third, and all pixels of one
                    if (TAPS > 3u) v[j] += across(row.w + g, column[j], wx[j]) * wy.w;
                }
            }
            [[unroll]] for (uint e = 0u; e < 4u; ++e) {
                const uint c = g * 4u + e;
                if (e == 0u || c < p.C) {   // of all pixels alike
                    [[unroll]] for (uint j = 0u; j < PX; ++j) {
                        // Selects, no branches: most of what a compiler makes of these lines would be jumps.
                        largest_exponent[j] = max(largest_exponent[j], floatBitsToUint(v[j][e]) & 0x7F800000u);
                        const bool better = v[j][e] > top[j];
                        top[j] = better ? v[j][e] : top[j];
                        winner[j] = better ? c : winner[j];
                    }
                }
            }
        }
        [[unroll]] for (uint j = 0u; j < PX; ++j) {
            if (j < run) {
                const float answer = largest_exponent[j] < 0x7F800000u ? float(winner[j]) : -1.0;
                if (DENSE != 0u) out1[n + j] = answer;
                else out32[n + j] = vec4(answer, 0.0, 0.0, 0.0);
            }
        }
        n += run;
    }
}
