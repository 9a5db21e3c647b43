#version 450
// The device's copy bandwidth: neighbouring invocations copy neighbouring vec4s.
//
// Bindings: 0 from, 1 to. Constants: 0 LX. Push constants: groups (of 4 floats).
// Grid: x = workgroups; a workgroup strides over the whole range, so any grid is right.
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(set = 0, binding = 0) readonly buffer From { vec4 from[]; };
layout(set = 0, binding = 1) writeonly buffer To { vec4 to[]; };
layout(push_constant) uniform Push { uint groups; } p;

void main()
{
    for (uint i = gl_GlobalInvocationID.x; i < p.groups; i += gl_NumWorkGroups.x * LX) to[i] = from[i];
}
