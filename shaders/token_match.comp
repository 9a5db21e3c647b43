#version 450
// Token merging: for every even token of an image the most similar odd one, by the cosine of keys that are averaged over the heads, and
// that cosine. Of equal ones the first. Even tokens below PREFIX get NEVER, odd ones are nobody's partner; a cosine that is no number counts
// as NO_COSINE. A workgroup has ROWS even tokens and walks over the odd ones, ROWS at a time; both are in shared memory.
//
// Bindings: 0 qkv rows [B * TOKENS], 1 out rows [B * ceil(TOKENS / 2)]: cosine, number among the odd tokens, 0, 0.
// Constants: 0 LX, 1 IN_TYPE, 3 OUT_TYPE, 10 HEADS, 11 HD, 12 ROWS (LX is a multiple), 13 TOKENS, 14 PREFIX.
// Push constants: ld4 (of the rows).
// Grid: x = ceil(ceil(TOKENS / 2) / ROWS), y = B.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"
#define OUT_BINDING 1
#include "rows.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 10) const uint HEADS = 1u;
layout(constant_id = 11) const uint HD = 64u;
layout(constant_id = 12) const uint ROWS = 16u;
layout(constant_id = 13) const uint TOKENS = 197u;
layout(constant_id = 14) const uint PREFIX = 1u;

layout(push_constant) uniform Push { uint ld4; } p;

const uint EVEN = (TOKENS + 1u) / 2u, ODD = TOKENS / 2u;
const uint HD4 = (HD + 3u) / 4u, LD = HD4 + 1u;   // groups from row to row: an odd number spreads them over the banks where HD4 is even
const uint SHARE = LX / ROWS;                     // invocations of an even token
const uint EACH = (ROWS + SHARE - 1u) / SHARE;    // odd tokens of an invocation, per step
const float NEVER = -3.0, NO_COSINE = -2.0;

shared vec4 mine[ROWS * LD];
shared vec4 other[ROWS * LD];
shared float my_norm[ROWS];
shared float other_norm[ROWS];
shared vec2 found[LX];

// Group d4 of a token's keys, summed over the heads: a factor that no cosine shows.
vec4 key(uint token, uint d4)
{
    const uint start = (gl_WorkGroupID.y * TOKENS + token) * p.ld4;
    vec4 sum = vec4(0.0);
    for (uint h = 0u; h < HEADS; ++h) {
        const uint e = (HEADS + h) * HD + d4 * 4u;
        if (HD % 4u == 0u) {
            sum += load_x(start + e / 4u);
        } else {
            [[unroll]] for (uint i = 0u; i < 4u; ++i)
                if (d4 * 4u + i < HD) sum[i] += load_x(start + (e + i) / 4u)[(e + i) % 4u];
        }
    }
    return sum;
}

void main()
{
    const uint t = gl_LocalInvocationID.x, row = t / SHARE, share = t % SHARE, first = gl_WorkGroupID.x * ROWS;
    for (uint i = t; i < ROWS * HD4; i += LX) mine[i / HD4 * LD + i % HD4] = key(min(2u * (first + i / HD4), TOKENS - 1u), i % HD4);
    float best = NEVER;
    uint partner = 0u;
    [[dont_unroll]] for (uint b0 = 0u; b0 < ODD; b0 += ROWS) {
        barrier();   // what was read of the last step
        for (uint i = t; i < ROWS * HD4; i += LX) other[i / HD4 * LD + i % HD4] = key(min(2u * (b0 + i / HD4) + 1u, TOKENS - 1u), i % HD4);
        barrier();
        for (uint i = t; i < 2u * ROWS; i += LX) {
            vec4 squares = vec4(0.0);
            for (uint d = 0u; d < HD4; ++d) {
                vec4 v;
                if (i < ROWS) v = mine[i * LD + d];
                else v = other[(i - ROWS) * LD + d];
                squares = fma(v, v, squares);
            }
            const float inverse = 1.0 / max(sqrt((squares.x + squares.y) + (squares.z + squares.w)), 1e-12);
            if (i < ROWS) my_norm[i] = inverse;
            else other_norm[i - ROWS] = inverse;
        }
        barrier();
        vec4 dots[EACH];
        [[unroll]] for (uint j = 0u; j < EACH; ++j) dots[j] = vec4(0.0);
        for (uint d = 0u; d < HD4; ++d) {
            const vec4 a = mine[row * LD + d];
            [[unroll]] for (uint j = 0u; j < EACH; ++j) dots[j] = fma(a, other[min(j * SHARE + share, ROWS - 1u) * LD + d], dots[j]);
        }
        [[unroll]] for (uint j = 0u; j < EACH; ++j) {
            const uint r = j * SHARE + share, b = b0 + r;
            float cosine = ((dots[j].x + dots[j].y) + (dots[j].z + dots[j].w)) * (my_norm[row] * other_norm[min(r, ROWS - 1u)]);
            // By the bits: a compiler may take comparisons with NaN for what it likes.
            if ((floatBitsToUint(cosine) & 0x7FFFFFFFu) > 0x7F800000u) cosine = NO_COSINE;
            const bool better = r < ROWS && b < ODD && 2u * b + 1u >= PREFIX && cosine > best;
            best = better ? cosine : best;
            partner = better ? b : partner;
        }
    }
    found[t] = vec2(best, uintBitsToFloat(partner));
    barrier();
    if (share != 0u || first + row >= EVEN) return;
    for (uint j = 1u; j < SHARE; ++j) {
        const float score = found[t + j].x;
        const uint b = floatBitsToUint(found[t + j].y);
        const bool better = score > best || (score == best && b < partner);
        best = better ? score : best;
        partner = better ? b : partner;
    }
    if (2u * (first + row) < PREFIX) best = NEVER;
    store_out(gl_WorkGroupID.y * EVEN + first + row, vec4(best, float(partner), 0.0, 0.0));
}
