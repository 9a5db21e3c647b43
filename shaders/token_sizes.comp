#version 450
// Token merging: the logarithm of how many tokens each row stands for.
//
// Bindings: 0 lists rows [B * 2][TOKENS], 1 logarithms of sizes rows [B][TOKENS] (SIZES), 2 out rows f32 [B][ROWS].
// Constants: 0 LX; see lists.glsl. Push constants: B. Grid: flat, ceil(B * ceil(ROWS / 4) / LX).
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"
#define LISTS_BINDING 0
#include "lists.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(set = 0, binding = 2) writeonly buffer Out32 { vec4 out32[]; };

layout(push_constant) uniform Push { uint B; } p;

float size_of(uint image, uint row)
{
    const float first = token_in(2u * image, row);
    if (first < 0.0) return 0.0;
    uint token = uint(first), members = 1u;
    const float alone = log_size(image, token);
    float total = exp(alone);
    for (;;) {
        const float next = token_in(2u * image + 1u, token);
        if (next < float(token + 1u)) break;
        token = uint(next);
        total += exp(log_size(image, token));
        ++members;
    }
    return members == 1u ? alone : log(total);
}

void main()
{
    const uint groups = (ROWS + 3u) / 4u, n = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * LX + gl_LocalInvocationID.x;
    if (n >= p.B * groups) return;
    vec4 sizes = vec4(0.0);
    for (uint i = 0u; i < 4u; ++i)
        if (n % groups * 4u + i < ROWS) sizes[i] = size_of(n / groups, n % groups * 4u + i);
    out32[n] = sizes;
}
