#version 450
// variants: PARTITION=0|1|2 PHASES=0|1
// out = softmax(q k^T * scale) v per head, by online softmax on tiles: a workgroup owns BQ = LX / TX * TM queries of one head and walks over the
// keys in blocks of BKV = TX * TN. Both products are register-tiled matrix products over shared memory: TM x TN scores per invocation, then
// VM queries x ceil(VD4 / VX) groups of output, by as many invocations as that takes: heads need not be a multiple of TX groups wide.
// q and k are staged transposed, DC dimensions at a time; v VC keys at a time; all three use the same shared bytes in turn. Scores live in
// registers, probabilities in shared memory for one block; neither reaches global memory.
// Row maxima are exchanged through shared memory, row sums only once, after the last block.
// PARTS=1: a block's probabilities wait in registers and are in shared memory VC / TX keys of every invocation at a time, over the bytes that q and
// k leave, which makes room for twice the queries and scores of an invocation; each row's maxima are compared by one invocation.
// PARTITION=1: tokens are those of a group of a map (groups.glsl), scores have a bias and a mask; a workgroup takes one head of a group.
// PARTITION=2: a number per key is added to its scores.
//
// Bindings: 0 q, 1 k, 2 v, 3 out; PARTITION=1: 3 bias f32 [heads * tokens][ceil4(tokens)] (BIAS), 4 pad f32 (PAD), 5 out;
//           PARTITION=2: 3 key bias rows [batch][ceil4(n_kv)], 4 out.
// Constants: 0 LX, 1 IN_TYPE, 3 OUT_TYPE, 9 WHOLE (1: n_kv is a multiple of BKV), 10 HD, 11 ALIGNED, 12 TX, 13 TM, 14 TN, 15 DC, 16 VC,
//            17 SKIP_ROWS (1: warps whose queries all lie beyond n_q skip the products), 18 VX, 19 VM (LX / VX * VM >= BQ), 31 PARTS (1: VX = TX, VM = TM, TN = 4, VC = TX, 2 TX or 4 TX), 30 VD;
//            PARTITION=1: 20 to 29, see groups.glsl; PARTITION=2: 4 KEY_TYPE.
// Push constants: n_q, n_kv, heads, q_ld4, k_ld4, v_ld4, o_ld4, q_off, k_off, v_off, scale (float), q0; PARTITION=1: z0.
// Grid: x = ceil((n_q - q0) / BQ), y = heads, z = batch; PARTITION=1: z = batch * groups - z0.
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
#include "groups.glsl"
layout(set = 0, binding = 3) readonly buffer BiasRows { vec4 bias[]; };
#elif PARTITION == 2
layout(set = 0, binding = 3) readonly buffer KeyBias32 { vec4 key_bias32[]; };
layout(set = 0, binding = 3) readonly buffer KeyBias16 { uvec2 key_bias16[]; };
#endif

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 1) const uint IN_TYPE = 0u;
#if PARTITION == 2
layout(constant_id = 4) const uint KEY_TYPE = 0u;
#endif
layout(constant_id = 9) const uint WHOLE = 0u;
layout(constant_id = 12) const uint TX = 8u;
layout(constant_id = 13) const uint TM = 4u;
layout(constant_id = 14) const uint TN = 4u;
layout(constant_id = 15) const uint DC = 16u;
layout(constant_id = 16) const uint VC = 16u;
layout(constant_id = 17) const uint SKIP_ROWS = 0u;
layout(constant_id = 18) const uint VX = 8u;
layout(constant_id = 19) const uint VM = 4u;
layout(constant_id = 31) const uint PARTS = 0u;

layout(set = 0, binding = 0) readonly buffer Q32 { vec4 q32[]; };
layout(set = 0, binding = 0) readonly buffer Q16 { uvec2 q16[]; };
layout(set = 0, binding = 1) readonly buffer K32 { vec4 k32[]; };
layout(set = 0, binding = 1) readonly buffer K16 { uvec2 k16[]; };
layout(set = 0, binding = 2) readonly buffer V32 { vec4 v32[]; };
layout(set = 0, binding = 2) readonly buffer V16 { uvec2 v16[]; };

const uint BQ = LX / TX * TM;
const uint BKV = TX * TN;
const uint LDQ = BQ + 4u;         // padded so that the transposing stores spread over the banks
const uint LDK = BKV + 4u;
const uint DC4 = DC / 4u;
const uint CHUNKS = (HD4 + DC4 - 1u) / DC4;
const uint GROUPS = (VD4 + VX - 1u) / VX;    // groups of output per invocation
const uint TM4 = TM / 4u, TN4 = TN / 4u;
const bool SAME_ROWS = VX == TX && VM == TM;  // an invocation has the same queries in both products
const uint Q_LOADS = (BQ * DC4 + LX - 1u) / LX, K_LOADS = (BKV * DC4 + LX - 1u) / LX, V_LOADS = (VC * VD4 + LX - 1u) / LX;
const uint K_AT = DC * (LDQ + 1u);           // where k starts behind q
const uint VL = VC / TX;                     // PARTS: keys of an invocation at a time
const uint P_AT = PARTS != 0u ? VC * VD4 * 4u : 0u;   // PARTS: where the probabilities start behind v
const uint QK_SIZE = K_AT + DC * (LDK + 1u), MAX_SIZE = TX * (PARTS != 0u ? LDQ : BQ), V_SIZE = VC * VD4 * 4u + (PARTS != 0u ? VC * LDQ : 0u);
const uint KEPT = PARTS != 0u && VL < TN ? TN - VL : 0u;   // and those that still wait
const uint OWN = PARTS != 0u ? (BQ + LX - 1u) / LX : 1u;   // rows whose maximum an invocation looks after
const uint STAGE = QK_SIZE > MAX_SIZE ? (QK_SIZE > V_SIZE ? QK_SIZE : V_SIZE) : (MAX_SIZE > V_SIZE ? MAX_SIZE : V_SIZE);

shared float stage[STAGE];                // q and k, or the row maxima [TX][BQ], or v [VC][VD4]; PARTS: in the end the row sums
shared float prob[PARTS != 0u ? 4u : BKV * LDQ];   // [key][query]; at the end the row sums [TX][BQ]
shared float row_shrink[SAME_ROWS && PARTS == 0u ? 4u : BQ];   // what the sums of a query are multiplied by before the next block
shared float row_top[PARTS != 0u ? BQ : 4u];                   // PARTS: the maximum of its scores

vec4 load_q(uint g) { return IN_TYPE == F32 ? q32[g] : from_half4(q16[g]); }
vec4 load_k(uint g) { return IN_TYPE == F32 ? k32[g] : from_half4(k16[g]); }
vec4 load_v(uint g) { return IN_TYPE == F32 ? v32[g] : from_half4(v16[g]); }

// Group d4 of the head's slice. start: first group of the row; e0: first element of the head in the row.
#define LOAD(f, start, ld4, e0, d4, width)                                                                                   \
    (ALIGNED != 0u ? f((start) + (e0) / 4u + (d4))                                                                    \
                   : within_head(shifted(f((start) + (e0) / 4u + (d4)),                                               \
                                         f((start) + min((e0) / 4u + (d4) + 1u, (ld4) - 1u)), (e0) % 4u), d4, width))

#if PARTITION == 1
// The same of a row that may be no pixel's.
#define LOAD_ROW(f, start, ld4, e0, d4, width)                                                                               \
    (!PADDED || (start) != NO_ROW ? LOAD(f, start, ld4, e0, d4, width) : PAD != 0u ? LOAD(load_pad, 0u, ld4, e0, d4, width) : vec4(0.0))
uint start_of(uint row, uint ld4) { return PADDED && row == NO_ROW ? NO_ROW : row * ld4; }
#define ROW(n, token) group_row(image, group, token)
#define START(n, token, ld4) start_of(group_row(image, group, token), ld4)
#else
#define LOAD_ROW(f, start, ld4, e0, d4, width) LOAD(f, start, ld4, e0, d4, width)
#define ROW(n, token) (image * (n) + (token))
#define START(n, token, ld4) ((image * (n) + (token)) * (ld4))
#endif

// Where a transposed row d = 4 * d4 + j starts; the skew spreads the stores of a warp over the banks.
uint skewed(uint d4, uint j, uint ld) { return (d4 * 4u + j) * ld + d4 / 2u * (DC4 >= 8u ? 4u : 8u); }

void stage_transposed(uint at, vec4 x, uint ld)
{
    stage[at] = x.x;
    stage[at + ld] = x.y;
    stage[at + ld * 2u] = x.z;
    stage[at + ld * 3u] = x.w;
}

// Row and group of dimensions of load i. Where DC4 divides LX, an invocation's loads differ in their rows by constants.
uint staged_row(uint i)
{
    const uint t = gl_LocalInvocationID.x;
    return LX % DC4 == 0u ? i * (LX / DC4) + t / DC4 : (i * LX + t) / DC4;
}
uint staged_group(uint i) { return (LX % DC4 == 0u ? gl_LocalInvocationID.x : i * LX + gl_LocalInvocationID.x) % DC4; }

uint key_at(uint k) { return WHOLE != 0u ? k : min(k, p.n_kv - 1u); }

vec4 staged4(uint i) { return vec4(stage[i], stage[i + 1u], stage[i + 2u], stage[i + 3u]); }

void main()
{
    const uint t = gl_LocalInvocationID.x;
    const uint tx = t % TX, ty = t / TX;
    PHASES_START()
#if PARTITION == 1
    const uint head = gl_WorkGroupID.y, z = p.z0 + gl_WorkGroupID.z, image = z / (DOWN * ACROSS), group = z % (DOWN * ACROSS);
#else
    const uint head = gl_WorkGroupID.y, image = gl_WorkGroupID.z;
#endif
    const uint first = p.q0 + gl_WorkGroupID.x * BQ;
    const uint q_e = p.q_off + head * HD, k_e = p.k_off + head * HD, v_e = p.v_off + head * VD;
    const float scale = p.scale * LOG2E;
    const bool has_rows = SKIP_ROWS == 0u || first + ty * TM < p.n_q;

    // What does not change is computed here, because not every compiler takes it out of the loops: which row and group of
    // dimensions each load takes, and where it goes.
    uint q_at[Q_LOADS], q_to[Q_LOADS], k_to[K_LOADS];
    [[unroll]] for (uint i = 0u; i < Q_LOADS; ++i) {
        q_at[i] = START(p.n_q, min(first + staged_row(i), p.n_q - 1u), p.q_ld4);
        q_to[i] = skewed(staged_group(i), 0u, LDQ) + staged_row(i);
    }
    if (PARTS != 0u)
        [[unroll]] for (uint i = 0u; i < OWN; ++i)
            if ((i + 1u) * LX <= BQ || i * LX + t < BQ) row_top[i * LX + t] = NO_SCORE;
    [[unroll]] for (uint i = 0u; i < K_LOADS; ++i) k_to[i] = K_AT + skewed(staged_group(i), 0u, LDK) + staged_row(i);

    const uint vx = t % VX, v_row = t / VX * VM;
    const bool has_values = SAME_ROWS ? has_rows : v_row < BQ && (SKIP_ROWS == 0u || first + v_row < p.n_q);
    vec4 sum[VM * GROUPS];
    [[unroll]] for (uint i = 0u; i < VM * GROUPS; ++i) sum[i] = vec4(0.0);
    vec4 top[TM4], weight[TM4];
    [[unroll]] for (uint i = 0u; i < TM4; ++i) {
        top[i] = vec4(NO_SCORE);
        weight[i] = vec4(0.0);
    }

#if PARTITION == 1
    const float unscale = 1.0 / p.scale;
    uint q_side[TM];
    [[unroll]] for (uint i = 0u; i < TM; ++i) q_side[i] = token_region(group, first + ty * TM + i);
#endif

    PHASE_END(LOAD)
    [[dont_unroll]] for (uint k0 = 0u; k0 < p.n_kv; k0 += BKV) {
        vec4 s[TN * TM4];   // four queries of one key
        [[unroll]] for (uint i = 0u; i < TN * TM4; ++i) s[i] = vec4(0.0);

        uint k_at[K_LOADS];
        [[unroll]] for (uint i = 0u; i < K_LOADS; ++i) k_at[i] = START(p.n_kv, key_at(k0 + staged_row(i)), p.k_ld4);
        [[dont_unroll]] for (uint chunk = 0u; chunk < CHUNKS; ++chunk) {
            [[unroll]] for (uint i = 0u; i < Q_LOADS; ++i)
                if ((i + 1u) * LX <= BQ * DC4 || i * LX + t < BQ * DC4) {
                    const uint d = chunk * DC4 + staged_group(i);
                    vec4 x = vec4(0.0);
                    if (CHUNKS * DC4 == HD4 || d < HD4) x = LOAD_ROW(load_q, q_at[i], p.q_ld4, q_e, d, HD);
                    stage_transposed(q_to[i], x, LDQ);
                }
            [[unroll]] for (uint i = 0u; i < K_LOADS; ++i)
                if ((i + 1u) * LX <= BKV * DC4 || i * LX + t < BKV * DC4) {
                    const uint d = chunk * DC4 + staged_group(i);
                    vec4 x = vec4(0.0);
                    if (CHUNKS * DC4 == HD4 || d < HD4) x = LOAD_ROW(load_k, k_at[i], p.k_ld4, k_e, d, HD);
                    stage_transposed(k_to[i], x, LDK);
                }
            barrier();
            PHASE_END(LOAD)
            if (has_rows) {
                [[unroll]] for (uint e = 0u; e < DC; ++e) {
                    vec4 qv[TM4];
                    [[unroll]] for (uint i = 0u; i < TM4; ++i) qv[i] = staged4(skewed(e / 4u, e % 4u, LDQ) + ty * TM + i * 4u);
                    [[unroll]] for (uint j = 0u; j < TN4; ++j) {
                        const vec4 kv = staged4(K_AT + skewed(e / 4u, e % 4u, LDK) + (j * TX + tx) * 4u);
                        [[unroll]] for (uint c = 0u; c < 4u; ++c)
                            [[unroll]] for (uint i = 0u; i < TM4; ++i)
                                s[(j * 4u + c) * TM4 + i] = fma(qv[i], vec4(kv[c]), s[(j * 4u + c) * TM4 + i]);
                    }
                }
            }
            barrier();
            PHASE_END(COMPUTE)
        }

#if PARTITION == 1
        // Scores are scaled when they become powers, so what is added to them is divided before.
        if (BIAS != 0u)
            [[unroll]] for (uint i = 0u; i < TM; ++i) {
                const uint start = (head * p.n_q + min(first + ty * TM + i, p.n_q - 1u)) * BIAS_LD4;
                [[unroll]] for (uint j = 0u; j < TN4; ++j) {
                    const vec4 b = bias[start + min(k0 / 4u + j * TX + tx, BIAS_LD4 - 1u)] * unscale;
                    [[unroll]] for (uint c = 0u; c < 4u; ++c) s[(j * 4u + c) * TM4 + i / 4u][i % 4u] += b[c];
                }
            }
        if (has_seam(group))
            [[unroll]] for (uint j = 0u; j < TN; ++j) {
                const uint side = token_region(group, k0 + (j / 4u * TX + tx) * 4u + j % 4u);
                [[unroll]] for (uint i = 0u; i < TM; ++i)
                    s[j * TM4 + i / 4u][i % 4u] += side == q_side[i] ? 0.0 : MASKED * unscale;
            }
#elif PARTITION == 2
        // Scores are scaled when they become powers, so what is added to them is divided before.
        const uint bias_ld4 = (p.n_kv + 3u) / 4u;
        [[unroll]] for (uint j = 0u; j < TN4; ++j) {
            const uint g = image * bias_ld4 + min(k0 / 4u + j * TX + tx, bias_ld4 - 1u);
            const vec4 kb = (KEY_TYPE == F32 ? key_bias32[g] : from_half4(key_bias16[g])) / p.scale;
            [[unroll]] for (uint c = 0u; c < 4u; ++c)
                [[unroll]] for (uint i = 0u; i < TM4; ++i) s[(j * 4u + c) * TM4 + i] += vec4(kb[c]);
        }
#endif

        // Keys beyond the last one: repeated rows were read; give them no weight.
        if (WHOLE == 0u)
            [[unroll]] for (uint j = 0u; j < TN; ++j)
                if (k0 + (j / 4u * TX + tx) * 4u + j % 4u >= p.n_kv)
                    [[unroll]] for (uint i = 0u; i < TM4; ++i) s[j * TM4 + i] = vec4(NO_SCORE);

        vec4 high[TM4];
        [[unroll]] for (uint i = 0u; i < TM4; ++i) {
            high[i] = s[i];
            [[unroll]] for (uint j = 1u; j < TN; ++j) high[i] = max(high[i], s[j * TM4 + i]);
        }
        [[unroll]] for (uint i = 0u; i < TM4; ++i)
            [[unroll]] for (uint c = 0u; c < 4u; ++c) stage[tx * (PARTS != 0u ? LDQ : BQ) + ty * TM + i * 4u + c] = high[i][c];
        barrier();
        vec4 shrink[TM4];
        if (PARTS != 0u) {
            [[unroll]] for (uint i = 0u; i < OWN; ++i) {
                const uint row = i * LX + t;
                if ((i + 1u) * LX <= BQ || row < BQ) {
                    const float before = row_top[row];
                    float most = before;
                    [[unroll]] for (uint x = 0u; x < TX; ++x) most = max(most, stage[x * LDQ + row]);
                    row_shrink[row] = exp2((before - most) * scale);
                    row_top[row] = most;
                }
            }
            barrier();
            [[unroll]] for (uint i = 0u; i < TM; ++i) high[i / 4u][i % 4u] = row_top[ty * TM + i];
            [[unroll]] for (uint i = 0u; i < TM; ++i) shrink[i / 4u][i % 4u] = row_shrink[ty * TM + i];
        }
        [[unroll]] for (uint i = 0u; i < TM4; ++i) {
            if (PARTS == 0u) {
                high[i] = top[i];
                [[unroll]] for (uint x = 0u; x < TX; ++x) high[i] = max(high[i], staged4(x * BQ + ty * TM + i * 4u));
                shrink[i] = exp2((top[i] - high[i]) * scale);
                top[i] = high[i];
            }
            weight[i] *= shrink[i];
        }
        [[unroll]] for (uint j = 0u; j < TN; ++j) {
            const uint key = (j / 4u * TX + tx) * 4u + j % 4u;
            [[unroll]] for (uint i = 0u; i < TM4; ++i) {
                // NO_SCORE - high is hugely negative (a block has at least one real key), so padding keys come out as 0.
                const vec4 e = exp2((s[j * TM4 + i] - high[i]) * scale);
                weight[i] += e;
                if (PARTS != 0u) s[j * TM4 + i] = e;
                else
                    [[unroll]] for (uint c = 0u; c < 4u; ++c) prob[key * LDQ + ty * TM + i * 4u + c] = e[c];
            }
        }
        if (!SAME_ROWS && tx == 0u)
            [[unroll]] for (uint i = 0u; i < TM; ++i) row_shrink[ty * TM + i] = shrink[i / 4u][i % 4u];
        if (PARTS == 0u) barrier();
        [[unroll]] for (uint i = 0u; i < VM; ++i) {
            float by;
            if (SAME_ROWS) by = shrink[i / 4u][i % 4u];
            else by = row_shrink[min(v_row, BQ - VM) + i];
            [[unroll]] for (uint g = 0u; g < GROUPS; ++g) sum[i * GROUPS + g] *= by;
        }

        PHASE_END(COMPUTE)
        const uint keys = WHOLE != 0u || PARTS != 0u ? BKV : min(BKV, p.n_kv - k0);
        [[dont_unroll]] for (uint v0 = 0u; v0 < keys; v0 += VC) {
            [[unroll]] for (uint i = 0u; i < V_LOADS; ++i) {
                const uint e = i * LX + t;
                if ((i + 1u) * LX <= VC * VD4 || e < VC * VD4) {
                    // PARTS: VL keys of every invocation, whose four lie side by side.
                    const uint key = PARTS != 0u ? e / VD4 / VL * 4u + v0 / TX + e / VD4 % VL : v0 + e / VD4;
                    const uint start = START(p.n_kv, key_at(k0 + key), p.v_ld4);
                    const vec4 x = LOAD_ROW(load_v, start, p.v_ld4, v_e, e % VD4, VD);
                    [[unroll]] for (uint c = 0u; c < 4u; ++c) stage[e * 4u + c] = x[c];
                }
            }
            if (PARTS != 0u)
                [[unroll]] for (uint j = 0u; j < VL; ++j)
                    [[unroll]] for (uint i = 0u; i < TM; ++i) stage[P_AT + (tx * VL + j) * LDQ + ty * TM + i] = s[j * TM4 + i / 4u][i % 4u];
            barrier();
            PHASE_END(LOAD)
            if (has_values) {
                [[unroll]] for (uint e = 0u; e < VC; ++e) {
                    float pr[VM];
                    [[unroll]] for (uint i = 0u; i < VM; ++i) pr[i] = PARTS != 0u ? stage[P_AT + e * LDQ + v_row + i] : prob[(v0 + e) * LDQ + v_row + i];
                    [[unroll]] for (uint g = 0u; g < GROUPS; ++g) {
                        const vec4 vv = staged4((e * VD4 + min(g * VX + vx, VD4 - 1u)) * 4u);
                        [[unroll]] for (uint i = 0u; i < VM; ++i) sum[i * GROUPS + g] = fma(vec4(pr[i]), vv, sum[i * GROUPS + g]);
                    }
                }
            }
            barrier();
            PHASE_END(COMPUTE)
            if (PARTS != 0u)   // the next keys' probabilities come to the front
                [[unroll]] for (uint j = 0u; j < KEPT; ++j)
                    [[unroll]] for (uint i = 0u; i < TM4; ++i) s[j * TM4 + i] = s[(TN - KEPT + j) * TM4 + i];
        }
    }

    [[unroll]] for (uint i = 0u; i < TM; ++i) {
        if (PARTS != 0u) stage[tx * LDQ + ty * TM + i] = weight[i / 4u][i % 4u];
        else prob[tx * LDQ + ty * TM + i] = weight[i / 4u][i % 4u];
    }
    barrier();
    PHASE_END(COMPUTE)
#if PHASES
    if (v_row < BQ)   // all invocations meet once more at the end
#else
    if (v_row >= BQ) return;
#endif
    [[unroll]] for (uint i = 0u; i < VM; ++i) {
        const uint query = first + v_row + i;
        if (query < p.n_q) {
            const uint row = ROW(p.n_q, query);
#if PARTITION == 1
            if (PADDED && row == NO_ROW) continue;
#endif
            float all = 0.0;
            [[unroll]] for (uint x = 0u; x < TX; ++x) all += PARTS != 0u ? stage[x * LDQ + v_row + i] : prob[x * LDQ + v_row + i];
            all = 1.0 / all;
            [[unroll]] for (uint g = 0u; g < GROUPS; ++g)
                if (g * VX + vx < VD4) store_out(row, head, g * VX + vx, sum[i * GROUPS + g] * all);
            if (vx == 0u) store_padding(row, head);
        }
    }
#if PHASES
    barrier();
#endif
    PHASES_STORE()
}
