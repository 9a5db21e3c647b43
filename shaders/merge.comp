#version 450
// Space to depth of 2 x 2 pixels: the channels of pixels (2y, 2x), (2y+1, 2x), (2y, 2x+1), (2y+1, 2x+1) side by side; zeros outside the map.
//
// Bindings: 0 x rows [B*IH*IW], 1 out rows [B*OH*OW], OH = ceil(IH / 2), OW = ceil(IW / 2). Constants: 0 LX, 1 IN_TYPE, 3 OUT_TYPE.
// Push constants: B, IH, IW, C. Grid: flat, ceil(B * OH * OW * C / LX) workgroups (4 C channels are C groups).
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"
#define OUT_BINDING 1
#include "rows.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;

layout(push_constant) uniform Push { uint B, IH, IW, C; } p;

void main()
{
    const uint i = flat_workgroup() * LX + gl_LocalInvocationID.x;
    const uint oh = (p.IH + 1u) / 2u, ow = (p.IW + 1u) / 2u, ld4 = (p.C + 3u) / 4u;
    const uint pixel = i / p.C, g = i % p.C;
    const uint x0 = pixel % ow * 2u, line = pixel / ow, y0 = line % oh * 2u, image = line / oh;
    if (image >= p.B) return;
    vec4 v = vec4(0.0);
    if (p.C % 4u == 0u) {
        const uint part = g / ld4, y = y0 + part % 2u, x = x0 + part / 2u;
        if (y < p.IH && x < p.IW) v = load_x(((image * p.IH + y) * p.IW + x) * ld4 + g % ld4);
    } else {
        [[unroll]] for (uint e = 0u; e < 4u; ++e) {
            const uint part = (g * 4u + e) / p.C, c = (g * 4u + e) % p.C, y = y0 + part % 2u, x = x0 + part / 2u;
            if (y < p.IH && x < p.IW) v[e] = load_x(((image * p.IH + y) * p.IW + x) * ld4 + c / 4u)[c % 4u];
        }
    }
    store_out(i, v);
}
