#version 450
// Builds the token rows of every image: P prefix tokens (class, registers; their position already added), then the patches plus position.
//
// Bindings: 0 patches [B*HW], 1 pos f32 [HW], 2 prefix f32 [P] (not read if P = 0), 3 out [B*(P+HW)].
// Constants: 0 LX, 1 IN_TYPE, 3 OUT_TYPE. Push constants: B, HW, P, ld4.
// Grid: flat, ceil(B * (P + HW) * ld4 / LX) workgroups.
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#define OUT_BINDING 3
#include "rows.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;

layout(set = 0, binding = 1) readonly buffer Pos { vec4 pos[]; };
layout(set = 0, binding = 2) readonly buffer Prefix { vec4 prefix[]; };

layout(push_constant) uniform Push { uint B, HW, P, ld4; } p;

void main()
{
    const uint i = flat_workgroup() * LX + gl_LocalInvocationID.x;
    const uint row = i / p.ld4, g = i % p.ld4;
    const uint image = row / (p.P + p.HW), token = row % (p.P + p.HW);
    if (image >= p.B) return;
    if (token < p.P) {
        store_out(i, prefix[token * p.ld4 + g]);
    } else {
        const uint patch_ = token - p.P;
        store_out(i, load_x((image * p.HW + patch_) * p.ld4 + g) + pos[patch_ * p.ld4 + g]);
    }
}
