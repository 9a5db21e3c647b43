// Access for the shaders that read rows at binding 0: constants IN_TYPE and OUT_TYPE, and a flat index over any two-dimensional grid.
// The file that includes this defines OUT_BINDING. Needs types.glsl.

layout(constant_id = 1) const uint IN_TYPE = 0u;
layout(constant_id = 3) const uint OUT_TYPE = 0u;
layout(set = 0, binding = 0) readonly buffer X32 { vec4 x32[]; };
layout(set = 0, binding = 0) readonly buffer X16 { uvec2 x16[]; };
layout(set = 0, binding = OUT_BINDING) writeonly buffer Out32 { vec4 out32[]; };
layout(set = 0, binding = OUT_BINDING) writeonly buffer Out16 { uvec2 out16[]; };

vec4 load_x(uint g) { return IN_TYPE == F32 ? x32[g] : from_half4(x16[g]); }

void store_out(uint g, vec4 v)
{
    if (OUT_TYPE == F32) out32[g] = v;
    else out16[g] = to_half4(v);
}

uint flat_workgroup() { return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x; }

// Which of the group's four channels lie below `channels`.
bvec4 real_channels(uint g, uint channels) { return lessThan(uvec4(g * 4u) + uvec4(0u, 1u, 2u, 3u), uvec4(channels)); }
