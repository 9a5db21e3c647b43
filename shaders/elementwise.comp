#version 450
// out = act_after(act(x + bias) * colscale (+ or *) y) on rows; each part is switched by a constant. y's row is row % y_rows.
//
// Bindings: 0 x, 1 bias (BIAS), 2 colscale (COLSCALE), 3 y rows (RESIDUAL), 4 out.
// Constants: 0 LX, 1 IN_TYPE, 3 OUT_TYPE, 4 RES_TYPE, 5 ACT, 6 BIAS, 7 COLSCALE, 8 RESIDUAL (0 none, 1 add, 2 multiply), 10 ACT_AFTER.
// Push constants: rows, c4 (groups of channels), y_rows, x_ld4, y_ld4, o_ld4. Grid: flat, ceil(rows * c4 / LX) workgroups.
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "activation.glsl"
#define OUT_BINDING 4
#include "rows.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 4) const uint RES_TYPE = 0u;
layout(constant_id = 5) const uint ACT = 0u;
layout(constant_id = 6) const uint BIAS = 0u;
layout(constant_id = 7) const uint COLSCALE = 0u;
layout(constant_id = 8) const uint RESIDUAL = 0u;
layout(constant_id = 10) const uint ACT_AFTER = 0u;

layout(set = 0, binding = 1) readonly buffer Bias { vec4 bias[]; };
layout(set = 0, binding = 2) readonly buffer ColScale { vec4 colscale[]; };
layout(set = 0, binding = 3) readonly buffer Y32 { vec4 y32[]; };
layout(set = 0, binding = 3) readonly buffer Y16 { uvec2 y16[]; };

layout(push_constant) uniform Push { uint rows, c4, y_rows, x_ld4, y_ld4, o_ld4; } p;

void main()
{
    const uint i = flat_workgroup() * LX + gl_LocalInvocationID.x;
    const uint row = i / p.c4, g = i % p.c4;
    if (row >= p.rows) return;
    vec4 v = load_x(row * p.x_ld4 + g);
    if (BIAS != 0u) v += bias[g];
    v = activate(v, ACT, COLSCALE != 0u || RESIDUAL == 2u ? F32 : OUT_TYPE);   // a factor would enlarge what it is off
    if (COLSCALE != 0u) v *= colscale[g];
    if (RESIDUAL != 0u) {
        const uint from = row % p.y_rows * p.y_ld4 + g;
        const vec4 y = RES_TYPE == F32 ? y32[from] : from_half4(y16[from]);
        v = RESIDUAL == 1u ? v + y : v * y;
    }
    store_out(row * p.o_ld4 + g, activate(v, ACT_AFTER, OUT_TYPE));
}
