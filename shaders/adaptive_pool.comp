#version 450
// The average of every bin of a map, per channel, f32; bin i of IN positions is floor(i IN / OUT) .. ceil((i + 1) IN / OUT). LY invocations
// share the pixels of a bin.
//
// Bindings: 0 x rows [B*IH*IW], 1 out rows [B*OH*OW]. Constants: 0 LX, 1 IN_TYPE, 3 OUT_TYPE, 10 LY (local size y).
// Push constants: IH, IW, OH, OW, c4 (groups of channels), i_ld4, o_ld4. Grid: x = ceil(c4 / LX), y = OH * OW, z = B.
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#define OUT_BINDING 1
#include "rows.glsl"

layout(local_size_x_id = 0, local_size_y_id = 10) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 10) const uint LY = 1u;

layout(push_constant) uniform Push { uint IH, IW, OH, OW, c4, i_ld4, o_ld4; } p;

shared vec4 partial[LX * LY];

void main()
{
    const uint tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y;
    const uint g = gl_WorkGroupID.x * LX + tx, bin = gl_WorkGroupID.y, image = gl_WorkGroupID.z;
    const uint oy = bin / p.OW, ox = bin % p.OW;
    const uint y0 = oy * p.IH / p.OH, y1 = ((oy + 1u) * p.IH + p.OH - 1u) / p.OH;
    const uint x0 = ox * p.IW / p.OW, x1 = ((ox + 1u) * p.IW + p.OW - 1u) / p.OW;
    const uint across = x1 - x0, count = (y1 - y0) * across;
    vec4 sum = vec4(0.0);
    if (g < p.c4)
        for (uint i = ty; i < count; i += LY)
            sum += load_x(((image * p.IH + y0 + i / across) * p.IW + x0 + i % across) * p.i_ld4 + g);
    if (LY > 1u) {
        partial[ty * LX + tx] = sum;
        barrier();
        if (ty == 0u)
            for (uint i = 1u; i < LY; ++i) sum += partial[i * LX + tx];
    }
    if (ty == 0u && g < p.c4) store_out((image * p.OH * p.OW + bin) * p.o_ld4 + g, sum / float(count));
}
