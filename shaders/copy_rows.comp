#version 450
// Copies tokens a_first .. a_first + count - 1 of every image of a to tokens o_first .. of out, padding included. Types may differ.
//
// Bindings: 0 a, 1 out. Constants: 0 LX, 1 IN_TYPE, 3 OUT_TYPE. Push constants: B, count, a_tokens, a_first, ld4, o_tokens, o_first.
// Grid: flat, ceil(B * count * ld4 / LX) workgroups.
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#define OUT_BINDING 1
#include "rows.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;

layout(push_constant) uniform Push { uint B, count, a_tokens, a_first, ld4, o_tokens, o_first; } p;

void main()
{
    const uint i = flat_workgroup() * LX + gl_LocalInvocationID.x;
    const uint row = i / p.ld4, g = i % p.ld4;
    const uint image = row / p.count, token = row % p.count;
    if (image >= p.B) return;
    store_out((image * p.o_tokens + p.o_first + token) * p.ld4 + g, load_x((image * p.a_tokens + p.a_first + token) * p.ld4 + g));
}
