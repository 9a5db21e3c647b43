#version 450
// Token merging: rows that are the means of their tokens, weighted by how many each stands for. Rows of one token are copied. Without LISTS
// all tokens of an image from START on are its one row.
//
// Bindings: 0 x rows [B * TOKENS], 1 lists rows [B * 2][TOKENS] (LISTS), 2 logarithms of sizes rows [B][TOKENS] (SIZES), 3 out rows [B * ROWS].
// Constants: 0 LX, 1 IN_TYPE, 3 OUT_TYPE, 12 LISTS, 13 START, 14 PER; see lists.glsl. An invocation has PER groups of a row, which look for
// its tokens once. Push constants: B, c4, i_ld4, o_ld4. Grid: flat, ceil(B * ROWS * ceil(c4 / PER) / LX).
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"
#define OUT_BINDING 3
#include "rows.glsl"
#define LISTS_BINDING 1
#include "lists.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;

layout(constant_id = 12) const uint LISTS = 1u;
layout(constant_id = 13) const uint START = 0u;

layout(constant_id = 14) const uint PER = 1u;

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
    const uint n = flat_workgroup() * LX + gl_LocalInvocationID.x, shares = (p.c4 + PER - 1u) / PER;
    if (n >= p.B * ROWS * shares) return;
    const uint g = n % shares, row = n / shares, image = row / ROWS;   // groups g, g + shares, ...: neighbours read neighbours
    const float first = first_token(image, row % ROWS);
    vec4 result[PER];
    [[unroll]] for (uint i = 0u; i < PER; ++i) result[i] = vec4(0.0);
    if (first >= 0.0) {
        uint token = uint(first), members = 1u;
        float total = exp(log_size(image, token));
        [[unroll]] for (uint i = 0u; i < PER; ++i) result[i] = load_x((image * TOKENS + token) * p.i_ld4 + min(g + i * shares, p.c4 - 1u));
        for (;;) {
            const float next = next_token(image, token);
            if (next < float(token + 1u)) break;
            if (members == 1u)
                [[unroll]] for (uint i = 0u; i < PER; ++i) result[i] *= total;
            token = uint(next);
            const float size = exp(log_size(image, token));
            [[unroll]] for (uint i = 0u; i < PER; ++i)
                result[i] = fma(vec4(size), load_x((image * TOKENS + token) * p.i_ld4 + min(g + i * shares, p.c4 - 1u)), result[i]);
            total += size;
            ++members;
        }
        if (members != 1u)
            [[unroll]] for (uint i = 0u; i < PER; ++i) result[i] /= total;
    }
    [[unroll]] for (uint i = 0u; i < PER; ++i)
        if (g + i * shares < p.c4) store_out(row * p.o_ld4 + g + i * shares, result[i]);
}
