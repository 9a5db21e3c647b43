#version 450
// Rows [q | k | v] of HEADS heads each: q and k of every head are divided by their norm (at least 1e-12), q then multiplied by the head's
// scale; v is copied. A workgroup takes ROWS rows: it measures their heads first, the factors wait in shared memory.
//
// Bindings: 0 x rows, 1 scale f32 [HEADS], 2 out rows. Constants: 0 LX, 1 IN_TYPE, 3 OUT_TYPE, 10 HEADS, 11 HD, 12 ROWS.
// Push constants: rows, ld4. Grid: flat, ceil(rows / ROWS) workgroups. Shared bytes: 8 * ROWS * HEADS.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"
#define OUT_BINDING 2
#include "rows.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 10) const uint HEADS = 1u;
layout(constant_id = 11) const uint HD = 32u;
layout(constant_id = 12) const uint ROWS = 1u;

layout(set = 0, binding = 1) readonly buffer Scale { float head_scale[]; };

layout(push_constant) uniform Push { uint rows, ld4; } p;

shared float factor[ROWS * 2u * HEADS];

void main()
{
    const uint first = flat_workgroup() * ROWS, t = gl_LocalInvocationID.x;
    for (uint i = t; i < ROWS * 2u * HEADS; i += LX) {
        const uint slice = i % (2u * HEADS), begin = slice * HD, end = begin + HD;
        const uint start = min(first + i / (2u * HEADS), p.rows - 1u) * p.ld4;
        vec4 squares = vec4(0.0);
        for (uint g = begin / 4u; g * 4u < end; ++g) {
            const uvec4 c = uvec4(g * 4u) + uvec4(0u, 1u, 2u, 3u);
            vec4 v = load_x(start + g);
            if (HD % 4u != 0u) {
                v = mix(vec4(0.0), v, greaterThanEqual(c, uvec4(begin)));
                v = mix(vec4(0.0), v, lessThan(c, uvec4(end)));
            }
            squares = fma(v, v, squares);
        }
        const float norm = max(sqrt((squares.x + squares.y) + (squares.z + squares.w)), 1e-12);
        factor[i] = (slice < HEADS ? head_scale[slice] : 1.0) / norm;
    }
    barrier();
    for (uint i = t; i < ROWS * p.ld4; i += LX) {
        const uint r = i / p.ld4, g = i % p.ld4;
        if (first + r >= p.rows) return;
        vec4 v = load_x((first + r) * p.ld4 + g);
        [[unroll]] for (uint e = 0u; e < 4u; ++e) {
            const uint slice = (g * 4u + e) / HD;
            if (slice < 2u * HEADS) v[e] *= factor[r * 2u * HEADS + slice];
        }
        store_out((first + r) * p.ld4 + g, mix(vec4(0.0), v, real_channels(g, 3u * HEADS * HD)));
    }
}
