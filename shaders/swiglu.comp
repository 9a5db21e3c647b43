#version 450
// out[h] = silu(x[h]) * x[H + h] on rows of 2H channels; H may be any number.
//
// Bindings: 0 x, 1 out. Constants: 0 LX, 1 IN_TYPE, 3 OUT_TYPE. Push constants: rows, H.
// Grid: flat, ceil(rows * ceil(H / 4) / LX) workgroups.
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "activation.glsl"
#define OUT_BINDING 1
#include "rows.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;

layout(push_constant) uniform Push { uint rows, H; } p;

void main()
{
    const uint i = flat_workgroup() * LX + gl_LocalInvocationID.x;
    const uint o_ld4 = (p.H + 3u) / 4u, i_ld4 = (2u * p.H + 3u) / 4u;
    const uint row = i / o_ld4, g = i % o_ld4;
    if (row >= p.rows) return;
    const vec4 a = load_x(row * i_ld4 + g);
    // The second half starts anywhere within a group.
    const uint e = p.H + g * 4u, shift = e % 4u;
    const vec4 lo = load_x(row * i_ld4 + e / 4u);
    const vec4 hi = load_x(row * i_ld4 + min(e / 4u + 1u, i_ld4 - 1u));
    vec4 b = lo;
    if (shift == 1u) b = vec4(lo.yzw, hi.x);
    if (shift == 2u) b = vec4(lo.zw, hi.xy);
    if (shift == 3u) b = vec4(lo.w, hi.xyz);
    store_out(i, mix(vec4(0.0), activate(a, 3u, OUT_TYPE) * b, real_channels(g, p.H)));
}
