#version 450
// LayerNorm over the C channels of each row: (x - mean) / sqrt(variance + eps) * gamma + beta (+ residual), two passes, f32. TPR invocations
// share a row.
//
// Bindings: 0 x, 1 gamma, 2 beta, 3 residual rows (RESIDUAL), 4 out.
// Constants: 0 LX, 1 IN_TYPE, 3 OUT_TYPE, 4 RES_TYPE, 8 RESIDUAL, 10 TPR (divides LX; 1 needs no barrier).
// Push constants: rows, C, i_ld4, o_ld4, r_ld4, i_off4 (first group of row 0), eps (float).
// Grid: flat, ceil(rows / (LX / TPR)) workgroups.
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#define OUT_BINDING 4
#include "rows.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 4) const uint RES_TYPE = 0u;
layout(constant_id = 8) const uint RESIDUAL = 0u;
layout(constant_id = 10) const uint TPR = 1u;

layout(set = 0, binding = 1) readonly buffer Gamma { vec4 gamma[]; };
layout(set = 0, binding = 2) readonly buffer Beta { vec4 beta[]; };
layout(set = 0, binding = 3) readonly buffer Res32 { vec4 res32[]; };
layout(set = 0, binding = 3) readonly buffer Res16 { uvec2 res16[]; };

layout(push_constant) uniform Push { uint rows, C, i_ld4, o_ld4, r_ld4, i_off4; float eps; } p;

shared float partial[LX];

// Sum of v over the invocations that share the row.
float row_sum(float v)
{
    if (TPR == 1u) return v;
    const uint t = gl_LocalInvocationID.x;
    barrier();
    partial[t] = v;
    barrier();
    float total = 0.0;
    for (uint i = 0u; i < TPR; ++i) total += partial[t / TPR * TPR + i];
    return total;
}

void main()
{
    const uint share = gl_LocalInvocationID.x % TPR;
    const uint row = flat_workgroup() * (LX / TPR) + gl_LocalInvocationID.x / TPR;
    const uint start = p.i_off4 + min(row, p.rows - 1u) * p.i_ld4;   // no early return: everybody meets at the barriers
    const uint c4 = (p.C + 3u) / 4u;

    float sum = 0.0;
    for (uint g = share; g < c4; g += TPR) sum += dot(load_x(start + g), vec4(1.0));
    const float mean = row_sum(sum) / float(p.C);

    sum = 0.0;
    for (uint g = share; g < c4; g += TPR) {
        const vec4 d = mix(vec4(0.0), load_x(start + g) - mean, real_channels(g, p.C));
        sum += dot(d, d);
    }
    const float rstd = inversesqrt(row_sum(sum) / float(p.C) + p.eps);

    if (row >= p.rows) return;
    for (uint g = share; g < c4; g += TPR) {
        vec4 v = (load_x(start + g) - mean) * rstd * gamma[g] + beta[g];
        if (RESIDUAL != 0u) {
            const uint from = row * p.r_ld4 + g;
            v += RES_TYPE == F32 ? res32[from] : from_half4(res16[from]);
        }
        store_out(row * p.o_ld4 + g, mix(vec4(0.0), v, real_channels(g, p.C)));
    }
}
