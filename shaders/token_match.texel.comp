#version 450
// token_match (token_match.comp), for devices that read texel buffers faster than shared memory: every invocation owns QI even tokens, whose
// averaged keys it keeps in registers, and walks over the odd ones; all invocations of a workgroup read the same one at the same time. No
// shared memory, no barriers.
//
// Bindings: 0 qkv rows [B * TOKENS] (T), 1 out rows f32 [B * ceil(TOKENS / 2)]: cosine, number among the odd tokens, 0, 0.
// Constants: 0 LX, 10 HEADS, 11 HD, 12 QI, 13 TOKENS, 14 PREFIX.
// Push constants: ld4 (of the rows).
// Grid: x = ceil(ceil(TOKENS / 2) / (LX * QI)), y = B.
#extension GL_EXT_control_flow_attributes : require

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 8u;
layout(constant_id = 10) const uint HEADS = 1u;
layout(constant_id = 11) const uint HD = 64u;
layout(constant_id = 12) const uint QI = 1u;
layout(constant_id = 13) const uint TOKENS = 197u;
layout(constant_id = 14) const uint PREFIX = 1u;

layout(set = 0, binding = 0) uniform samplerBuffer x;
layout(set = 0, binding = 1) writeonly buffer Out { vec4 found[]; };

layout(push_constant) uniform Push { uint ld4; } p;

const uint EVEN = (TOKENS + 1u) / 2u, ODD = TOKENS / 2u, HD4 = (HD + 3u) / 4u;
const float NEVER = -3.0, NO_COSINE = -2.0;

// Group d4 of a head's keys in the row that begins with group `start`.
vec4 head_group(uint start, uint h, uint d4)
{
    const uint e = (HEADS + h) * HD + d4 * 4u;
    if (HD % 4u == 0u) return texelFetch(x, int(start + e / 4u));
    vec4 v = vec4(0.0);
    [[unroll]] for (uint i = 0u; i < 4u; ++i)
        if (d4 * 4u + i < HD) v[i] = texelFetch(x, int(start + (e + i) / 4u))[(e + i) % 4u];
    return v;
}

// A token's keys, summed over the heads: a factor that no cosine shows.
void load_key(uint token, out vec4 key[HD4])
{
    const uint start = (gl_WorkGroupID.y * TOKENS + token) * p.ld4;
    [[unroll]] for (uint d = 0u; d < HD4; ++d) key[d] = vec4(0.0);
    [[dont_unroll]] for (uint h = 0u; h < HEADS; ++h)
        [[unroll]] for (uint d = 0u; d < HD4; ++d) key[d] += head_group(start, h, d);
}

float sum_of(vec4 v) { return (v.x + v.y) + (v.z + v.w); }
float inverse_norm(vec4 squares) { return 1.0 / max(sqrt(sum_of(squares)), 1e-12); }

void main()
{
    const uint first = gl_WorkGroupID.x * LX * QI + gl_LocalInvocationID.x;
    vec4 mine[QI * HD4];
    float norm[QI], best[QI];
    uint partner[QI];
    [[unroll]] for (uint i = 0u; i < QI; ++i) {
        vec4 key[HD4], squares = vec4(0.0);
        load_key(min(2u * (first + i * LX), TOKENS - 1u), key);
        [[unroll]] for (uint d = 0u; d < HD4; ++d) {
            mine[i * HD4 + d] = key[d];
            squares = fma(key[d], key[d], squares);
        }
        norm[i] = inverse_norm(squares);
        best[i] = NEVER;
        partner[i] = 0u;
    }
    // Odd tokens below PREFIX are nobody's partner.
    [[dont_unroll]] for (uint b = PREFIX / 2u; b < ODD; ++b) {
        vec4 key[HD4], squares = vec4(0.0), dots[QI];
        [[unroll]] for (uint i = 0u; i < QI; ++i) dots[i] = vec4(0.0);
        load_key(2u * b + 1u, key);
        [[unroll]] for (uint d = 0u; d < HD4; ++d) {
            squares = fma(key[d], key[d], squares);
            [[unroll]] for (uint i = 0u; i < QI; ++i) dots[i] = fma(mine[i * HD4 + d], key[d], dots[i]);
        }
        const float other = inverse_norm(squares);
        [[unroll]] for (uint i = 0u; i < QI; ++i) {
            float cosine = sum_of(dots[i]) * (norm[i] * other);
            // By the bits: a compiler may take comparisons with NaN for what it likes.
            if ((floatBitsToUint(cosine) & 0x7FFFFFFFu) > 0x7F800000u) cosine = NO_COSINE;
            const bool better = cosine > best[i];
            best[i] = better ? cosine : best[i];
            partner[i] = better ? b : partner[i];
        }
    }
    [[unroll]] for (uint i = 0u; i < QI; ++i) {
        const uint row = first + i * LX;
        if (row >= EVEN) continue;
        found[gl_WorkGroupID.y * EVEN + row] = vec4(2u * row < PREFIX ? NEVER : best[i], float(partner[i]), 0.0, 0.0);
    }
}
