#version 450
// Copies a range of tokens of every image and a range of their channels, from a and, as the following channels, from b (CONCAT). Channel ranges
// start anywhere; types may differ. Padding channels become zero.
//
// Bindings: 0 a, 1 b (CONCAT), 2 out. Constants: 0 LX, 1 IN_TYPE, 3 OUT_TYPE, 4 RES_TYPE (type of b), 10 CONCAT.
// Push constants: B, count, a_tokens, a_first, a_ld4, a_c, a_channels, b_tokens, b_first, b_ld4, b_c, b_channels, o_tokens, o_first, o_ld4.
// Grid: flat, ceil(B * count * ceil((a_channels + b_channels) / 4) / LX) workgroups.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"
#define OUT_BINDING 2
#include "rows.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 4) const uint RES_TYPE = 0u;
layout(constant_id = 10) const uint CONCAT = 0u;

layout(set = 0, binding = 1) readonly buffer B32 { vec4 b32[]; };
layout(set = 0, binding = 1) readonly buffer B16 { uvec2 b16[]; };

layout(push_constant) uniform Push
{
    uint B, count, a_tokens, a_first, a_ld4, a_c, a_channels, b_tokens, b_first, b_ld4, b_c, b_channels, o_tokens, o_first, o_ld4;
} p;

void main()
{
    const uint i = flat_workgroup() * LX + gl_LocalInvocationID.x;
    const uint channels = p.a_channels + p.b_channels, groups = (channels + 3u) / 4u;
    const uint row = i / groups, g = i % groups;
    const uint image = row / p.count, token = row % p.count;
    if (image >= p.B) return;
    const uint a_row = (image * p.a_tokens + p.a_first + token) * p.a_ld4;
    const uint b_row = (image * p.b_tokens + p.b_first + token) * p.b_ld4;

    vec4 v = vec4(0.0);
    if (p.a_c % 4u == 0u && g * 4u + 4u <= p.a_channels) {
        v = load_x(a_row + p.a_c / 4u + g);
    } else {
        [[unroll]] for (uint e = 0u; e < 4u; ++e) {
            const uint c = g * 4u + e;
            if (c < p.a_channels) {
                const uint from = p.a_c + c;
                v[e] = load_x(a_row + from / 4u)[from % 4u];
            } else if (CONCAT != 0u && c < channels) {
                const uint from = p.b_c + c - p.a_channels;
                v[e] = RES_TYPE == F32 ? b32[b_row + from / 4u][from % 4u] : from_half4(b16[b_row + from / 4u])[from % 4u];
            }
        }
    }
    store_out((image * p.o_tokens + p.o_first + token) * p.o_ld4 + g, v);
}
