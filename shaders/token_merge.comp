#version 450
// variants: TEXEL=0|1
// Token merging: rows that are the means of their tokens, weighted by how many each stands for. Rows of one token are copied. Without LISTS
// all tokens of an image from START on are its one row. An invocation makes EACH groups of a row, for which it reads the lists once. TEXEL=1 reads x through a uniform texel buffer.
//
// Bindings: 0 x rows [B * TOKENS], 1 lists rows [B * 2][TOKENS] (LISTS), 2 logarithms of sizes rows [B][TOKENS] (SIZES), 3 out rows [B * ROWS].
// Constants: 0 LX, 1 IN_TYPE (TEXEL=0), 3 OUT_TYPE, 12 LISTS, 13 START, 14 EACH; see lists.glsl. Push constants: B, c4, i_ld4, o_ld4.
// Grid: flat, ceil(B * ROWS * ceil(c4 / EACH) / LX).
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"
#define OUT_BINDING 3
#if TEXEL
#define TEXEL_X
#endif
#include "rows.glsl"
#define LISTS_BINDING 1
#include "lists.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;

layout(constant_id = 12) const uint LISTS = 1u;
layout(constant_id = 13) const uint START = 0u;
layout(constant_id = 14) const uint EACH = 1u;

layout(push_constant) uniform Push { uint B, c4, i_ld4, o_ld4; } p;

float first_token(uint image, uint row)
{
    if (LISTS != 0u) return token_in(2u * image, row);
    return float(START);
}
float next_token(uint image, uint token)
{
    if (LISTS != 0u) return token_in(2u * image + 1u, token);
    return token + 1u < TOKENS ? float(token + 1u) : -1.0;
}

void main()
{
    const uint n = flat_workgroup() * LX + gl_LocalInvocationID.x, apart = (p.c4 + EACH - 1u) / EACH;
    if (n >= p.B * ROWS * apart) return;
    const uint part = n % apart, row = n / apart, image = row / ROWS;
    const float first = first_token(image, row % ROWS);
    vec4 sum[EACH];
    [[unroll]] for (uint i = 0u; i < EACH; ++i) sum[i] = vec4(0.0);
    if (first >= 0.0) {
        uint token = uint(first);
        const float next_one = next_token(image, token);
        const uint at = (image * TOKENS + token) * p.i_ld4;
        [[unroll]] for (uint i = 0u; i < EACH; ++i) sum[i] = load_x(at + min(part + i * apart, p.c4 - 1u));
        if (next_one >= float(token + 1u)) {
            float next = next_one, size = exp(log_size(image, token)), total = size;
            [[unroll]] for (uint i = 0u; i < EACH; ++i) sum[i] *= size;
            for (;;) {
                token = uint(next);
                size = exp(log_size(image, token));
                const uint start = (image * TOKENS + token) * p.i_ld4;
                [[unroll]] for (uint i = 0u; i < EACH; ++i)
                    sum[i] = fma(vec4(size), load_x(start + min(part + i * apart, p.c4 - 1u)), sum[i]);
                total += size;
                next = next_token(image, token);
                if (next < float(token + 1u)) break;
            }
            [[unroll]] for (uint i = 0u; i < EACH; ++i) sum[i] /= total;
        }
    }
    [[unroll]] for (uint i = 0u; i < EACH; ++i)
        if (part + i * apart < p.c4) store_out(row * p.o_ld4 + part + i * apart, sum[i]);
}
