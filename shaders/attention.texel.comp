#version 450
// out = softmax(q k^T * scale) v per head, by online softmax: every invocation owns QI queries, keeps q and the output sums in registers and
// walks over the keys in blocks of KB with one rescale each. Scores are never stored. q, k and v are uniform texel buffers (the view decodes
// f32 or f16); all invocations of a workgroup read the same key at the same time. No shared memory, no subgroup operations.
//
// Bindings: 0 q (T), 1 k (T), 2 v (T), 3 out.
// Constants: 0 LX, 3 OUT_TYPE, 10 HD, 11 ALIGNED, 12 QI, 13 KB.
// Push constants: n_q, n_kv, heads, q_ld4, k_ld4, v_ld4, o_ld4, q_off, k_off, v_off, scale (float), q0.
// Grid: x = ceil((n_q - q0) / (LX * QI)), y = heads, z = batch.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"
#include "attention.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 12) const uint QI = 1u;
layout(constant_id = 13) const uint KB = 4u;

layout(set = 0, binding = 0) uniform samplerBuffer q;
layout(set = 0, binding = 1) uniform samplerBuffer k;
layout(set = 0, binding = 2) uniform samplerBuffer v;

// Group d4 of the head's slice. start: first group of the row; e0: first element of the head in the row.
#define LOAD(b, start, ld4, e0, d4)                                                                                            \
    (ALIGNED != 0u ? texelFetch(b, int((start) + (e0) / 4u + (d4)))                                                            \
                   : within_head(shifted(texelFetch(b, int((start) + (e0) / 4u + (d4))),                                       \
                                         texelFetch(b, int((start) + min((e0) / 4u + (d4) + 1u, (ld4) - 1u))), (e0) % 4u), d4))

void main()
{
    const uint head = gl_WorkGroupID.y, image = gl_WorkGroupID.z;
    const uint first = p.q0 + gl_WorkGroupID.x * LX * QI + gl_LocalInvocationID.x;
    const uint q_e = p.q_off + head * HD, k_e = p.k_off + head * HD, v_e = p.v_off + head * HD;
    const float scale = p.scale * LOG2E;

    vec4 qv[QI * HD4], sum[QI * HD4];
    float top[QI], weight[QI];
    [[unroll]] for (uint i = 0u; i < QI; ++i) {
        const uint start = (image * p.n_q + min(first + i * LX, p.n_q - 1u)) * p.q_ld4;
        [[unroll]] for (uint d = 0u; d < HD4; ++d) {
            qv[i * HD4 + d] = LOAD(q, start, p.q_ld4, q_e, d);
            sum[i * HD4 + d] = vec4(0.0);
        }
        top[i] = NO_SCORE;
        weight[i] = 0.0;
    }

    for (uint k0 = 0u; k0 < p.n_kv; k0 += KB) {
        float s[QI * KB];
        uint row[KB];
        [[unroll]] for (uint j = 0u; j < KB; ++j) {
            row[j] = image * p.n_kv + min(k0 + j, p.n_kv - 1u);
            vec4 dots[QI];
            [[unroll]] for (uint i = 0u; i < QI; ++i) dots[i] = vec4(0.0);
            [[unroll]] for (uint d = 0u; d < HD4; ++d) {
                const vec4 kv = LOAD(k, row[j] * p.k_ld4, p.k_ld4, k_e, d);
                [[unroll]] for (uint i = 0u; i < QI; ++i) dots[i] = fma(kv, qv[i * HD4 + d], dots[i]);
            }
            const bool real = k0 + j < p.n_kv;
            [[unroll]] for (uint i = 0u; i < QI; ++i)
                s[i * KB + j] = real ? (dots[i].x + dots[i].y) + (dots[i].z + dots[i].w) : NO_SCORE;
        }
        [[unroll]] for (uint i = 0u; i < QI; ++i) {
            float t = top[i];
            [[unroll]] for (uint j = 0u; j < KB; ++j) t = max(t, s[i * KB + j]);
            const float shrink = exp2((top[i] - t) * scale);
            top[i] = t;
            weight[i] *= shrink;
            [[unroll]] for (uint j = 0u; j < KB; ++j) {
                const float e = exp2((s[i * KB + j] - t) * scale);
                s[i * KB + j] = k0 + j < p.n_kv ? e : 0.0;
                weight[i] += s[i * KB + j];
            }
            [[unroll]] for (uint d = 0u; d < HD4; ++d) sum[i * HD4 + d] *= shrink;
        }
        [[unroll]] for (uint j = 0u; j < KB; ++j)
            [[unroll]] for (uint d = 0u; d < HD4; ++d) {
                const vec4 vv = LOAD(v, row[j] * p.v_ld4, p.v_ld4, v_e, d);
                [[unroll]] for (uint i = 0u; i < QI; ++i) sum[i * HD4 + d] = fma(vec4(s[i * KB + j]), vv, sum[i * HD4 + d]);
            }
    }

    [[unroll]] for (uint i = 0u; i < QI; ++i) {
        const uint query = first + i * LX;
        if (query < p.n_q) {
            const float norm = 1.0 / weight[i];
            const uint out_row = image * p.n_q + query;
            [[unroll]] for (uint d = 0u; d < HD4; ++d) store_out(out_row, head, d, sum[i * HD4 + d] * norm);
            store_padding(out_row, head);
        }
    }
}
