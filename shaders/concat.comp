#version 450
// The channels of up to four inputs side by side: groups g0 .. g0 + count - 1 of every output row, of which each invocation writes one.
// Inputs may begin anywhere in a group; their types may differ. Channels behind the last become zero.
//
// Bindings: 0 to 3 inputs, rows, 4 out.
// Constants: 0 LX, 3 OUT_TYPE, 10 to 13 types of the inputs, 14 ALIGNED (1: every input begins and ends with a group).
// Push constants: rows, o_ld4, g0, count, begin of each input (output channel), end of the last, ld4 of each input.
// Grid: flat, ceil(rows * count / LX) workgroups.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 3) const uint OUT_TYPE = 0u;
layout(constant_id = 10) const uint A_TYPE = 0u;
layout(constant_id = 11) const uint B_TYPE = 0u;
layout(constant_id = 12) const uint C_TYPE = 0u;
layout(constant_id = 13) const uint D_TYPE = 0u;
layout(constant_id = 14) const uint ALIGNED = 0u;

layout(set = 0, binding = 0) readonly buffer A32 { vec4 a32[]; };
layout(set = 0, binding = 0) readonly buffer A16 { uvec2 a16[]; };
layout(set = 0, binding = 1) readonly buffer B32 { vec4 b32[]; };
layout(set = 0, binding = 1) readonly buffer B16 { uvec2 b16[]; };
layout(set = 0, binding = 2) readonly buffer C32 { vec4 c32[]; };
layout(set = 0, binding = 2) readonly buffer C16 { uvec2 c16[]; };
layout(set = 0, binding = 3) readonly buffer D32 { vec4 d32[]; };
layout(set = 0, binding = 3) readonly buffer D16 { uvec2 d16[]; };
layout(set = 0, binding = 4) writeonly buffer Out32 { vec4 out32[]; };
layout(set = 0, binding = 4) writeonly buffer Out16 { uvec2 out16[]; };

layout(push_constant) uniform Push
{
    uint rows, o_ld4, g0, count;
    uint begin_a, begin_b, begin_c, begin_d, end;
    uint ld_a, ld_b, ld_c, ld_d;
} p;

vec4 load(uint input_number, uint g)
{
    if (input_number == 0u) return A_TYPE == F32 ? a32[g] : from_half4(a16[g]);
    if (input_number == 1u) return B_TYPE == F32 ? b32[g] : from_half4(b16[g]);
    if (input_number == 2u) return C_TYPE == F32 ? c32[g] : from_half4(c16[g]);
    return D_TYPE == F32 ? d32[g] : from_half4(d16[g]);
}

// Which input holds output channel c.
uint owner(uint c) { return c < p.begin_b ? 0u : c < p.begin_c ? 1u : c < p.begin_d ? 2u : 3u; }

// v[n] by selects: an index known only at run time would put v into local memory.
uint pick(uvec4 v, uint n) { return n == 0u ? v.x : n == 1u ? v.y : n == 2u ? v.z : v.w; }

void main()
{
    const uint i = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * LX + gl_LocalInvocationID.x;
    const uint row = i / p.count, g = p.g0 + i % p.count;
    if (row >= p.rows) return;
    const uvec4 begin = uvec4(p.begin_a, p.begin_b, p.begin_c, p.begin_d), ld = uvec4(p.ld_a, p.ld_b, p.ld_c, p.ld_d);
    const uint first = owner(g * 4u), from = g * 4u - pick(begin, first);
    vec4 v = vec4(0.0);
    if (ALIGNED != 0u || (from % 4u == 0u && g * 4u + 4u <= p.end && owner(g * 4u + 3u) == first)) {
        v = load(first, row * pick(ld, first) + from / 4u);
    } else {
        [[dont_unroll]] for (uint e = 0u; e < 4u; ++e) {   // rare: short code
            const uint c = g * 4u + e;
            if (c < p.end) {
                const uint n = owner(c), channel = c - pick(begin, n);
                v[e] = load(n, row * pick(ld, n) + channel / 4u)[channel % 4u];
            }
        }
    }
    if (OUT_TYPE == F32) out32[row * p.o_ld4 + g] = v;
    else out16[row * p.o_ld4 + g] = to_half4(v);
}
