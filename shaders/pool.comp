#version 450
// Average or maximum over a KH x KW window of NHWC rows. Pixels outside the picture do not count, neither as value nor in the divisor.
//
// Bindings: 0 x [B*IH*IW], 1 out [B*OH*OW]. Constants: 0 LX, 1 IN_TYPE, 3 OUT_TYPE, 10 MODE (0 average, 1 maximum).
// Push constants: M = B * OH * OW, c4 (groups of channels), i_ld4, o_ld4, IH, IW, OH, OW, KH, KW, stride_h, stride_w, pad_h, pad_w (top and left).
// Grid: flat, ceil(M * c4 / LX) workgroups.
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#define OUT_BINDING 1
#include "rows.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 10) const uint MODE = 0u;

layout(push_constant) uniform Push { uint M, c4, i_ld4, o_ld4, IH, IW, OH, OW, KH, KW, stride_h, stride_w, pad_h, pad_w; } p;

void main()
{
    const uint i = flat_workgroup() * LX + gl_LocalInvocationID.x;
    const uint pixel = i / p.c4, g = i % p.c4;
    if (pixel >= p.M) return;
    const uint image = pixel / (p.OH * p.OW), in_image = pixel % (p.OH * p.OW);
    const int y0 = int(in_image / p.OW * p.stride_h) - int(p.pad_h), x0 = int(in_image % p.OW * p.stride_w) - int(p.pad_w);
    const uint top = uint(max(y0, 0)), bottom = uint(max(min(y0 + int(p.KH), int(p.IH)), 0));
    const uint left = uint(max(x0, 0)), right = uint(max(min(x0 + int(p.KW), int(p.IW)), 0));

    vec4 v = vec4(0.0);
    uint count = 0u;
    for (uint y = top; y < bottom; ++y)
        for (uint x = left; x < right; ++x) {
            const vec4 e = load_x(((image * p.IH + y) * p.IW + x) * p.i_ld4 + g);
            // max() may drop a NaN; this keeps it, whether it came first or comes now.
            if (MODE == 0u) v += e;
            else v = count == 0u ? e : mix(mix(e, v, greaterThanEqual(v, e)), v, isnan(v));
            ++count;
        }
    if (MODE == 0u && count != 0u) v /= float(count);
    store_out(pixel * p.o_ld4 + g, v);
}
