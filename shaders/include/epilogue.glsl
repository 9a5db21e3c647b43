// What every matrix product does with its sums: v = act(acc * wscale + bias) * colscale + residual, stored as OUT_TYPE.
// Declares bindings 2 to 5 and OUT_BINDING, which the file that includes this defines, and constants 2 to 8 of linear.* and conv2d.
// Needs types.glsl and activation.glsl.

layout(constant_id = 2) const uint W_TYPE = 0u;
layout(constant_id = 3) const uint OUT_TYPE = 0u;
layout(constant_id = 4) const uint RES_TYPE = 0u;
layout(constant_id = 5) const uint ACT = 0u;
layout(constant_id = 6) const uint BIAS = 0u;
layout(constant_id = 7) const uint COLSCALE = 0u;
layout(constant_id = 8) const uint RESIDUAL = 0u;

layout(set = 0, binding = 2) readonly buffer WScale { vec4 wscale[]; };
layout(set = 0, binding = 3) readonly buffer Bias { vec4 bias[]; };
layout(set = 0, binding = 4) readonly buffer ColScale { vec4 colscale[]; };
layout(set = 0, binding = 5) readonly buffer Res32 { vec4 res32[]; };
layout(set = 0, binding = 5) readonly buffer Res16 { uvec2 res16[]; };
layout(set = 0, binding = OUT_BINDING) writeonly buffer Out32 { vec4 out32[]; };
layout(set = 0, binding = OUT_BINDING) writeonly buffer Out16 { uvec2 out16[]; };

// The vectors of one column group, loaded once for all rows.
struct Columns { vec4 wscale, bias, colscale; };

// unit: the real value of one i8 step as the main loop saw it (127 where a SNORM view divided by it, else 1).
Columns load_columns(uint n4, float unit)
{
    Columns c = Columns(vec4(1.0), vec4(0.0), vec4(1.0));
    if (W_TYPE == I8) c.wscale = wscale[n4] * unit;
    if (BIAS != 0u) c.bias = bias[n4];
    if (COLSCALE != 0u) c.colscale = colscale[n4];
    return c;
}

// Gives what it stores, before that is rounded.
vec4 finish(vec4 acc, Columns c, uint out_group, uint res_group)
{
    vec4 v = acc;
    if (W_TYPE == I8) v *= c.wscale;
    if (BIAS != 0u) v += c.bias;
    v = activate(v, ACT, COLSCALE != 0u ? F32 : OUT_TYPE);   // a factor would enlarge what it is off
    if (COLSCALE != 0u) v *= c.colscale;
    if (RESIDUAL != 0u) v += RES_TYPE == F32 ? res32[res_group] : from_half4(res16[res_group]);
    if (OUT_TYPE == F32) out32[out_group] = v;
    else out16[out_group] = to_half4(v);
    return v;
}
