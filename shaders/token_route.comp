#version 450
// Token merging: the COUNT even tokens whose partners are most similar, of equal ones the earlier, join them. A workgroup has an image. Each
// even token counts those before it; then every token counts the rows before its own and looks for the next token of its row.
//
// Bindings: 0 rows [B * ceil(TOKENS / 2)]: cosine, number of the partner among the odd tokens; 1 out rows f32 [B * 2][TOKENS]: the first token
// of every row that is left, in the order of tokens (that of a merged row is its odd token's), then for every token the next of its row;
// -1 where there is none.
// Constants: 0 LX, 1 IN_TYPE, 10 TOKENS, 11 COUNT. Push constants: B. Grid: flat, B workgroups. Shared bytes: 8 * ceil(TOKENS / 2).
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 1) const uint IN_TYPE = 0u;
layout(constant_id = 10) const uint TOKENS = 197u;
layout(constant_id = 11) const uint COUNT = 16u;

layout(set = 0, binding = 0) readonly buffer X32 { vec4 x32[]; };
layout(set = 0, binding = 0) readonly buffer X16 { uvec2 x16[]; };
layout(set = 0, binding = 1) writeonly buffer Out1 { float out1[]; };

layout(push_constant) uniform Push { uint B; } p;

const uint EVEN = (TOKENS + 1u) / 2u, ODD = TOKENS / 2u, LD = (TOKENS + 3u) / 4u * 4u;
const uint STAYS = 0xFFFFFFFFu, NONE = 0xFFFFFFFFu;

shared uint order[EVEN];     // cosines as numbers that grow with them
shared uint joined[EVEN];    // the partner, or STAYS

void main()
{
    const uint t = gl_LocalInvocationID.x, image = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (image >= p.B) return;
    for (uint i = t; i < EVEN; i += LX) {
        const vec4 x = IN_TYPE == F32 ? x32[image * EVEN + i] : from_half4(x16[image * EVEN + i]);
        const uint bits = floatBitsToUint(x.x + 0.0);
        order[i] = (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
        joined[i] = uint(clamp(x.y, 0.0, float(ODD - 1u)));
    }
    barrier();
    for (uint i = t; i < EVEN; i += LX) {
        const uint mine = order[i];
        uint before = 0u;
        for (uint j = 0u; j < EVEN; ++j) before += order[j] > mine || (order[j] == mine && j < i) ? 1u : 0u;
        if (before >= COUNT) joined[i] = STAYS;   // nobody else reads or writes it before the barrier
    }
    barrier();
    const uint firsts = image * 2u * LD, nexts = firsts + LD;
    for (uint token = t; token < TOKENS; token += LX) {
        const uint half_ = token / 2u;
        const bool odd = token % 2u == 1u;
        const uint partner = odd ? half_ : joined[half_];
        const bool alone = partner == STAYS;
        uint gone = 0u, lowest = NONE, next = NONE;
        for (uint j = 0u; j < EVEN; ++j) {
            const uint to = joined[j], other = 2u * j;
            gone += to != STAYS && other < token ? 1u : 0u;
            const bool same = !alone && to == partner;
            lowest = min(lowest, same ? other : NONE);
            next = min(next, same && other > token ? other : NONE);
        }
        if (!odd && !alone && 2u * partner + 1u > token) next = min(next, 2u * partner + 1u);
        if (odd || alone) out1[firsts + token - gone] = float(min(token, lowest));
        out1[nexts + token] = next == NONE ? -1.0 : float(next);
    }
    for (uint i = TOKENS - COUNT + t; i < LD; i += LX) out1[firsts + i] = i < TOKENS ? -1.0 : 0.0;
    for (uint i = TOKENS + t; i < LD; i += LX) out1[nexts + i] = 0.0;
}
