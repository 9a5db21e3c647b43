#version 450
// Mean over tokens first..last-1 of every image, per channel, f32. LY invocations share a group of channels.
//
// Bindings: 0 x [B*tokens], 1 out [B]. Constants: 0 LX, 1 IN_TYPE, 3 OUT_TYPE, 10 LY (local size y).
// Push constants: B, tokens, first, last, ld4. Grid: x = ceil(ld4 / LX), y = B.
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#define OUT_BINDING 1
#include "rows.glsl"

layout(local_size_x_id = 0, local_size_y_id = 10) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 10) const uint LY = 1u;

layout(push_constant) uniform Push { uint B, tokens, first, last, ld4; } p;

shared vec4 partial[LX * LY];

void main()
{
    const uint g = gl_WorkGroupID.x * LX + gl_LocalInvocationID.x, image = gl_WorkGroupID.y;
    const uint tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y;
    vec4 sum = vec4(0.0);
    if (g < p.ld4)
        for (uint t = p.first + ty; t < p.last; t += LY) sum += load_x((image * p.tokens + t) * p.ld4 + g);
    if (LY > 1u) {
        partial[ty * LX + tx] = sum;
        barrier();
        if (ty == 0u)
            for (uint i = 1u; i < LY; ++i) sum += partial[i * LX + tx];
    }
    if (ty == 0u && g < p.ld4) store_out(image * p.ld4 + g, sum / float(p.last - p.first));
}
