#version 450
// variants: HALF=0|1
// The device's multiply-add peak: register chains, enough of them to hide the latency and few enough for 16 vector registers, no memory in the
// loop, which is long because software drivers pay for every trip. HALF=1: packed fp16.
//
// Bindings: 0 out (one vec4 per invocation).
// Constants: 0 LX. Push constants: trips. Work: 384 multiply-adds per invocation and trip (768 with HALF=1).
// Grid: x = workgroups.
#extension GL_EXT_control_flow_attributes : require
#if HALF
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define VEC f16vec4
#define CHAINS 6
#else
#define VEC vec4
#define CHAINS 3
#endif

layout(local_size_x_id = 0) in;
layout(set = 0, binding = 0) writeonly buffer Out { vec4 result[]; };
layout(push_constant) uniform Push { uint trips; } p;

void main()
{
    // Values of the push constant: nothing can be computed beforehand.
    const VEC x = VEC(0.5 + float(p.trips & 1u)), y = VEC(0.25);
    VEC acc[CHAINS];
    [[unroll]] for (uint i = 0u; i < CHAINS; ++i) acc[i] = VEC(float(gl_LocalInvocationID.x + i));
    for (uint t = 0u; t < p.trips; ++t)
        [[unroll]] for (uint s = 0u; s < 32u; ++s)
            [[unroll]] for (uint i = 0u; i < CHAINS; ++i) acc[i] = fma(acc[i], x, y);
    vec4 sum = vec4(0.0);
    [[unroll]] for (uint i = 0u; i < CHAINS; ++i) sum += vec4(acc[i]);
    result[gl_GlobalInvocationID.x] = sum;
}
