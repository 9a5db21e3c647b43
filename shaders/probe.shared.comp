#version 450
// The device's shared-memory bandwidth: every invocation reads vec4s that its neighbours wrote, without bank conflicts.
//
// Bindings: 0 out (one vec4 per invocation). Constants: 0 LX. Push constants: trips. Work: 8 reads of 16 bytes per invocation and trip.
// Grid: x = workgroups.
#extension GL_EXT_control_flow_attributes : require
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(set = 0, binding = 0) writeonly buffer Out { vec4 result[]; };
layout(push_constant) uniform Push { uint trips; } p;

shared vec4 tile[2u * LX];

void main()
{
    const uint t = gl_LocalInvocationID.x;
    tile[t] = vec4(t);
    tile[t + LX] = vec4(t + 1u);
    barrier();
    vec4 sum = vec4(0.0);
    uint at = t;
    for (uint i = 0u; i < p.trips; ++i)
        [[unroll]] for (uint s = 0u; s < 8u; ++s) {
            sum += tile[at];
            at = at + 1u == 2u * LX ? 0u : at + 1u;
        }
    result[gl_GlobalInvocationID.x] = sum;
}
