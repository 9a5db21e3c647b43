#version 450
// variants: PARTITION=0|1|2 PHASES=0|1
// out = softmax(q k^T * scale) v per head, by online softmax: every invocation owns QI queries, keeps q and the output sums in registers and
// walks over the keys in blocks of KB with one rescale each. Scores are never stored. q, k and v are uniform texel buffers (the view decodes
// f32 or f16); all invocations of a workgroup read the same key at the same time. No shared memory, no subgroup operations.
// PARTITION=1: tokens are those of a group of a map (groups.glsl), scores have a bias and a mask. PARTITION=2: a number per key is added to its scores.
//
// Bindings: 0 q (T), 1 k (T), 2 v (T), 3 out; PARTITION=1: 3 bias f32 [heads * tokens][ceil4(tokens)] (T, BIAS), 4 pad f32 (T, PAD), 5 out;
//           PARTITION=2: 3 key bias rows [batch][ceil4(n_kv)] (T), 4 out.
// Constants: 0 LX, 3 OUT_TYPE, 10 HD, 11 ALIGNED, 12 QI, 13 KB, 30 VD; PARTITION=1: 20 to 29, see groups.glsl.
// Push constants: n_q, n_kv, heads, q_ld4, k_ld4, v_ld4, o_ld4, q_off, k_off, v_off, scale (float), q0; PARTITION=1: z0.
// Grid: x = ceil((n_q - q0) / (LX * QI)), y = heads, z = batch; PARTITION=1: z = batch * groups - z0.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if PHASES
#extension GL_ARB_shader_clock : require
#endif
#include "types.glsl"
#include "attention.glsl"
#define PHASES_BINDING (OUT_BINDING + 1)
#include "phases.glsl"
#if PARTITION == 1
#define TEXEL_PAD
#include "groups.glsl"
layout(set = 0, binding = 3) uniform samplerBuffer bias;
#elif PARTITION == 2
layout(set = 0, binding = 3) uniform samplerBuffer key_bias;
#endif

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 12) const uint QI = 1u;
layout(constant_id = 13) const uint KB = 4u;

layout(set = 0, binding = 0) uniform samplerBuffer q;
layout(set = 0, binding = 1) uniform samplerBuffer k;
layout(set = 0, binding = 2) uniform samplerBuffer v;

// Group d4 of the head's slice. start: first group of the row; e0: first element of the head in the row.
#define LOAD(b, start, ld4, e0, d4, width)                                                                                            \
    (ALIGNED != 0u ? texelFetch(b, int((start) + (e0) / 4u + (d4)))                                                            \
                   : within_head(shifted(texelFetch(b, int((start) + (e0) / 4u + (d4))),                                       \
                                         texelFetch(b, int((start) + min((e0) / 4u + (d4) + 1u, (ld4) - 1u))), (e0) % 4u), d4, width))

#if PARTITION == 1
// The same of a row that may be no pixel's.
vec4 pad_group(uint e0, uint d4, uint ld4, uint width)
{
    if (ALIGNED != 0u) return load_pad(e0 / 4u + d4);
    return within_head(shifted(load_pad(e0 / 4u + d4), load_pad(min(e0 / 4u + d4 + 1u, ld4 - 1u)), e0 % 4u), d4, width);
}
vec4 pick(vec4 pixel, vec4 beyond, uint row) { return mix(pixel, beyond, bvec4(row == NO_ROW)); }   // both were read: no branch
#define LOAD_ROW(b, row, ld4, e0, d4, width)                                                                                 \
    (!PADDED ? LOAD(b, (row) * (ld4), ld4, e0, d4, width)                                                                    \
             : pick(LOAD(b, ((row) == NO_ROW ? 0u : (row)) * (ld4), ld4, e0, d4, width), PAD != 0u ? pad_group(e0, d4, ld4, width) : vec4(0.0), row))
#define ROW(n, token) group_row(image, group, token)
#else
#define LOAD_ROW(b, row, ld4, e0, d4, width) LOAD(b, (row) * (ld4), ld4, e0, d4, width)
#define ROW(n, token) (image * (n) + (token))
#endif

void main()
{
#if PARTITION == 1
    const uint head = gl_WorkGroupID.y, z = p.z0 + gl_WorkGroupID.z, image = z / (DOWN * ACROSS), group = z % (DOWN * ACROSS);
    const float unscale = 1.0 / p.scale;
#else
    const uint head = gl_WorkGroupID.y, image = gl_WorkGroupID.z;
#endif
    const uint first = p.q0 + gl_WorkGroupID.x * LX * QI + gl_LocalInvocationID.x;
    const uint q_e = p.q_off + head * HD, k_e = p.k_off + head * HD, v_e = p.v_off + head * VD;
    const float scale = p.scale * LOG2E;

    PHASES_START()
    vec4 qv[QI * HD4], sum[QI * VD4];
    float top[QI], weight[QI];
    [[unroll]] for (uint i = 0u; i < QI; ++i) {
        const uint from = ROW(p.n_q, min(first + i * LX, p.n_q - 1u));
        [[unroll]] for (uint d = 0u; d < HD4; ++d) qv[i * HD4 + d] = LOAD_ROW(q, from, p.q_ld4, q_e, d, HD);
        [[unroll]] for (uint d = 0u; d < VD4; ++d) sum[i * VD4 + d] = vec4(0.0);
        top[i] = NO_SCORE;
        weight[i] = 0.0;
    }

    for (uint k0 = 0u; k0 < p.n_kv; k0 += KB) {
        float s[QI * KB];
        uint row[KB];
        [[unroll]] for (uint j = 0u; j < KB; ++j) {
            row[j] = ROW(p.n_kv, min(k0 + j, p.n_kv - 1u));
            vec4 dots[QI];
            [[unroll]] for (uint i = 0u; i < QI; ++i) dots[i] = vec4(0.0);
#if PHASES   // a key's groups first, to tell reading from arithmetic; likewise its values below
            vec4 key[HD4];
            [[unroll]] for (uint d = 0u; d < HD4; ++d) key[d] = LOAD_ROW(k, row[j], p.k_ld4, k_e, d, HD);
#define KEY(d) key[d]
#else
#define KEY(d) LOAD_ROW(k, row[j], p.k_ld4, k_e, d, HD)
#endif
            PHASE_END(LOAD)
            [[unroll]] for (uint d = 0u; d < HD4; ++d) {
                const vec4 kv = KEY(d);
                [[unroll]] for (uint i = 0u; i < QI; ++i) dots[i] = fma(kv, qv[i * HD4 + d], dots[i]);
            }
            const bool real = k0 + j < p.n_kv;
            [[unroll]] for (uint i = 0u; i < QI; ++i)
                s[i * KB + j] = real ? (dots[i].x + dots[i].y) + (dots[i].z + dots[i].w) : NO_SCORE;
            PHASE_END(COMPUTE)
        }
#if PARTITION == 1
        // Scores are scaled when they become powers, so what is added to them is divided before.
        if (BIAS != 0u)
            [[unroll]] for (uint i = 0u; i < QI; ++i) {
                const uint start = (head * p.n_q + min(first + i * LX, p.n_q - 1u)) * BIAS_LD4;
                vec4 b = vec4(0.0);
                [[unroll]] for (uint j = 0u; j < KB; ++j) {
                    if (j % 4u == 0u || KB % 4u != 0u) b = texelFetch(bias, int(start + min((k0 + j) / 4u, BIAS_LD4 - 1u)));
                    s[i * KB + j] += b[KB % 4u == 0u ? j % 4u : (k0 + j) % 4u] * unscale;
                }
            }
        if (has_seam(group))
            [[unroll]] for (uint i = 0u; i < QI; ++i) {
                const uint side = token_region(group, first + i * LX);
                [[unroll]] for (uint j = 0u; j < KB; ++j)
                    s[i * KB + j] += token_region(group, k0 + j) != side ? MASKED * unscale : 0.0;
            }
#elif PARTITION == 2
        const uint bias_ld4 = (p.n_kv + 3u) / 4u;
        vec4 kb = vec4(0.0);
        [[unroll]] for (uint j = 0u; j < KB; ++j) {
            if (j % 4u == 0u || KB % 4u != 0u) kb = texelFetch(key_bias, int(image * bias_ld4 + min((k0 + j) / 4u, bias_ld4 - 1u))) / p.scale;
            [[unroll]] for (uint i = 0u; i < QI; ++i) s[i * KB + j] += kb[KB % 4u == 0u ? j % 4u : (k0 + j) % 4u];
        }
#endif
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
            [[unroll]] for (uint d = 0u; d < VD4; ++d) sum[i * VD4 + d] *= shrink;
        }
        PHASE_END(COMPUTE)
        [[unroll]] for (uint j = 0u; j < KB; ++j)
#if PHASES
        {
            vec4 value[VD4];
            [[unroll]] for (uint d = 0u; d < VD4; ++d) value[d] = LOAD_ROW(v, row[j], p.v_ld4, v_e, d, VD);
            PHASE_END(LOAD)
#define VALUE(d) value[d]
#else
#define VALUE(d) LOAD_ROW(v, row[j], p.v_ld4, v_e, d, VD)
#endif
            [[unroll]] for (uint d = 0u; d < VD4; ++d) {
                const vec4 vv = VALUE(d);
                [[unroll]] for (uint i = 0u; i < QI; ++i) sum[i * VD4 + d] = fma(vec4(s[i * KB + j]), vv, sum[i * VD4 + d]);
            }
#if PHASES
            PHASE_END(COMPUTE)
        }
#endif
    }

    [[unroll]] for (uint i = 0u; i < QI; ++i) {
        const uint query = first + i * LX;
        if (query < p.n_q) {
            const float norm = 1.0 / weight[i];
            const uint out_row = ROW(p.n_q, query);
#if PARTITION == 1
            if (PADDED && out_row == NO_ROW) continue;
#endif
            [[unroll]] for (uint d = 0u; d < VD4; ++d) store_out(out_row, head, d, sum[i * VD4 + d] * norm);
            store_padding(out_row, head);
        }
    }
    PHASES_STORE()
}
