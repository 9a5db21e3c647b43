// What both attention shaders declare: the output's binding, constants and push constants, and the store of an output group. Needs types.glsl.

layout(constant_id = 3) const uint OUT_TYPE = 0u;
layout(constant_id = 10) const uint HD = 64u;
layout(constant_id = 11) const uint ALIGNED = 1u;
layout(constant_id = 30) const uint VD = 64u;   // width of a head's values and output; HD is that of its queries and keys

#if PARTITION == 1
#define OUT_BINDING 5   // behind bias and pad
#elif PARTITION == 2
#define OUT_BINDING 4   // behind the keys' bias
#else
#define OUT_BINDING 3
#endif
// Heads that are not a multiple of 4 wide share groups, so each writes its own elements: floats, or pairs of halves where VD is even.
layout(set = 0, binding = OUT_BINDING) writeonly buffer Out32 { vec4 out32[]; };
layout(set = 0, binding = OUT_BINDING) writeonly buffer Out16 { uvec2 out16[]; };
layout(set = 0, binding = OUT_BINDING) writeonly buffer Out32s { float out32s[]; };
layout(set = 0, binding = OUT_BINDING) writeonly buffer Out16s { uint out16s[]; };

layout(push_constant) uniform Push
{
    uint n_q, n_kv, heads, q_ld4, k_ld4, v_ld4, o_ld4, q_off, k_off, v_off;
    float scale;
    uint q0;
#if PARTITION == 1
    uint z0;
#endif
} p;

const uint HD4 = (HD + 3u) / 4u, VD4 = (VD + 3u) / 4u;
// Finite, so that (no score yet) - (no score yet) is 0 and not NaN.
const float NO_SCORE = -3.0e38;
const float LOG2E = 1.44269504;

// Writes elements 4*d4.. of the head's slice of one output row.
void store_out(uint row, uint head, uint d4, vec4 v)
{
    if (ALIGNED != 0u) {
        const uint g = row * p.o_ld4 + head * VD4 + d4;
        if (OUT_TYPE == F32) out32[g] = v;
        else out16[g] = to_half4(v);
    } else {
        const uint e = row * p.o_ld4 * 4u + head * VD + d4 * 4u;
        if (OUT_TYPE == F32) {
            [[unroll]] for (uint i = 0u; i < 4u; ++i)
                if (d4 * 4u + i < VD) out32s[e + i] = v[i];
        } else {
            if (d4 * 4u < VD) out16s[e / 2u] = packHalf2x16(v.xy);
            if (d4 * 4u + 2u < VD) out16s[e / 2u + 1u] = packHalf2x16(v.zw);
        }
    }
}

// The padding columns of a row, by the last head (there are none when ALIGNED).
void store_padding(uint row, uint head)
{
    if (ALIGNED != 0u || head + 1u != p.heads) return;
    if (OUT_TYPE == F32) {
        for (uint c = p.heads * VD; c < p.o_ld4 * 4u; ++c) out32s[row * p.o_ld4 * 4u + c] = 0.0;
    } else {
        for (uint c = p.heads * VD / 2u; c < p.o_ld4 * 2u; ++c) out16s[row * p.o_ld4 * 2u + c] = 0u;
    }
}

// Elements s..s+3 of the eight in (lo, hi), s in 0..3.
vec4 shifted(vec4 lo, vec4 hi, uint s)
{
    vec4 v = lo;
    v = s == 1u ? vec4(lo.yzw, hi.x) : v;
    v = s == 2u ? vec4(lo.zw, hi.xy) : v;
    return s == 3u ? vec4(lo.w, hi.xyz) : v;
}

// Zeroes what lies beyond the head's last dimension (only in its last group, only if its width is not a multiple of 4).
vec4 within_head(vec4 v, uint d4, uint width)
{
    if (width % 4u == 0u) return v;
    return mix(vec4(0.0), v, lessThan(uvec4(d4 * 4u) + uvec4(0u, 1u, 2u, 3u), uvec4(width)));
}
