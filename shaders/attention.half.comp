#version 450
// variants: PARTITION=0|1|2 PHASES=0|1
// out = softmax(q k^T * scale) v per head like attention.tile, with both products in packed fp16 arithmetic. A workgroup owns BQ = LX / TX * 8
// queries of one head and walks over the keys in blocks of BKV = TX * TN. An invocation has 8 queries and TN keys in q k^T, VM queries and
// VN values' dimensions in p v. Sums are at most 64 products long in fp16: scores of DC dimensions are added in fp32 where a head is wider than 64,
// a block's part of the output always. Maxima, sums of a row and what a new maximum shrinks them by are fp32. Needs shaderFloat16.
//
// Rows of q and k are staged in pairs, [d][row / 2]; probabilities alike, [key][query / 2]; v as it comes. The three and the exchanged maxima use the
// same shared bytes in turn. Row i of a staged matrix begins 4 words later for every 4 rows, so that the stores of a warp spread over the banks.
// An invocation's keys are TN / 4 runs of 4, 4 * TX apart: p v takes 4 * TX keys at a time, of which every invocation has 4.
// k is multiplied by the power of two in the scale while it is staged, which is exact and keeps scores far from the largest half; the rest of the
// scale is multiplied when scores become powers.
//
// Bindings: as attention.tile; rows are halves, heads multiples of 4 wide (ALIGNED = 1).
// Constants: 0 LX, 3 OUT_TYPE, 9 WHOLE, 10 HD, 11 ALIGNED, 12 TX, 13 SHORT, 14 TN (4 or 8), 15 DC, 16 VN (4, 8 or 12), 17 SKIP_ROWS,
//            18 VX, 19 VM (4 or 8; LX / VX * VM >= BQ, VX * VN >= VD), 30 VD; PARTITION as attention.tile.
// Push constants and grid: as attention.tile; k and v are columns of one buffer's rows, so v_ld4 is k_ld4 and not read.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if PHASES
#extension GL_ARB_shader_clock : require
#endif
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
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
#if PARTITION == 2
layout(constant_id = 4) const uint KEY_TYPE = 0u;
#endif
layout(constant_id = 9) const uint WHOLE = 0u;
layout(constant_id = 12) const uint TX = 8u;
layout(constant_id = 13) const uint SHORT = 0u;   // the last block's keys are in the first 4 of every invocation
layout(constant_id = 14) const uint TN = 8u;
layout(constant_id = 15) const uint DC = 32u;
layout(constant_id = 16) const uint VN = 8u;
layout(constant_id = 17) const uint SKIP_ROWS = 0u;
layout(constant_id = 18) const uint VX = 8u;
layout(constant_id = 19) const uint VM = 8u;

layout(set = 0, binding = 0) readonly buffer Q16 { uvec2 q16[]; };
layout(set = 0, binding = 1) readonly buffer K16 { uvec2 k16[]; };
layout(set = 0, binding = 2) readonly buffer V16 { uvec2 v16[]; };

const uint TM = 8u;
const uint BQ = LX / TX * TM, BQ2 = BQ / 2u;
const uint BKV = TX * TN, BKV2 = BKV / 2u;
const uint VC = TX * 4u;                      // keys of p v at a time
const uint RUN = TX % 2u == 0u ? 8u : 4u;     // keys that p v adds, or leaves out beyond the last key
// Registers are left: for the branches that leave keys out (SHORT's too), and for where queries begin.
#if PARTITION == 1
const bool LIGHT = false;
#else
const bool LIGHT = VM * VN <= 32u;
#endif
const uint DC4 = DC / 4u, CHUNKS = (HD4 + DC4 - 1u) / DC4;
const bool WIDE = HD > 64u;                   // a score is more products than are summed in fp16
const uint VW = VN / 2u;                      // words of v per invocation and key
const uint V8 = VN / 8u, V4 = VN / 4u % 2u;   // which are these many groups of 8 dimensions and of 4
const uint LDV = (VX * VW + 3u) / 4u * 4u;    // words of a staged row of v
const uint OWN = (BQ + LX - 1u) / LX;   // queries whose maximum and sum an invocation looks after
const uint Q_LOADS = (BQ2 * DC4 + LX - 1u) / LX, K_LOADS = (BKV2 * DC4 + LX - 1u) / LX, V_LOADS = (VC * VD4 + LX - 1u) / LX;
const uint K_AT = DC * BQ2 + DC, V_AT = VC * BQ2 + VC;   // where k starts behind q, and v behind the probabilities
const uint QK_SIZE = K_AT + DC * BKV2 + DC, LDM = BQ + 4u, MAX_SIZE = TX * LDM, PV_SIZE = V_AT + VC * LDV;
const uint STAGE = QK_SIZE > MAX_SIZE ? (QK_SIZE > PV_SIZE ? QK_SIZE : PV_SIZE) : (MAX_SIZE > PV_SIZE ? MAX_SIZE : PV_SIZE);

shared uint stage[STAGE];                 // q and k; the row maxima [TX][LDM], in the end the sums; probabilities and v
shared uint parts[TX * (BQ2 + 4u)];       // [TX][query / 2]: sums of an invocation's powers
shared float row_shrink[BQ];              // what a query's sums are multiplied by
shared uint q_rows[BQ];                   // first group of each row
shared uint k_rows[BKV];                  // of k and of v

uint staged(uint row, uint words) { return row * words + row / 4u * 4u; }

#if PARTITION == 1
uint start_of(uint row, uint ld4) { return PADDED && row == NO_ROW ? NO_ROW : row * ld4; }
#define ROW(n, token) group_row(image, group, token)
#define START(n, token, ld4) start_of(group_row(image, group, token), ld4)
#define LOAD(f, start, g) (!PADDED || (start) != NO_ROW ? f[(start) + (g)] : PAD != 0u ? to_half4(load_pad(g)) : uvec2(0u))
#else
#define ROW(n, token) (image * (n) + (token))
#define START(n, token, ld4) ((image * (n) + (token)) * (ld4))
#define LOAD(f, start, g) f[(start) + (g)]
#endif

// Two rows' groups as pairs, one per dimension, times a factor.
uvec4 pairs(uvec2 a, uvec2 b, f16vec2 factor)
{
    const f16vec2 a0 = unpackFloat2x16(a.x), a1 = unpackFloat2x16(a.y), b0 = unpackFloat2x16(b.x), b1 = unpackFloat2x16(b.y);
    return uvec4(packFloat2x16(f16vec2(a0.x, b0.x) * factor), packFloat2x16(f16vec2(a0.y, b0.y) * factor),
                 packFloat2x16(f16vec2(a1.x, b1.x) * factor), packFloat2x16(f16vec2(a1.y, b1.y) * factor));
}

// Of a query's powers in the last block.
float sum_of_parts(uint query)
{
    float sum = 0.0;
    [[unroll]] for (uint x = 0u; x < TX; ++x) {
        const vec2 part = unpackHalf2x16(parts[x * (BQ2 + 4u) + query / 2u]);
        sum += query % 2u == 0u ? part.x : part.y;
    }
    return sum;
}

f16vec2 half_pair(uint i) { return unpackFloat2x16(stage[i]); }

// Of the first N of an invocation's keys, with DC dimensions.
#define ADD_SCORES(N) \
    [[unroll]] for (uint d = 0u; d < DC; ++d) { \
        f16vec2 q[4], k[N / 2u]; \
        [[unroll]] for (uint i = 0u; i < 4u; ++i) q[i] = half_pair(staged(d, BQ2) + ty * 4u + i); \
        [[unroll]] for (uint j = 0u; j < N / 2u; ++j) k[j] = half_pair(K_AT + staged(d, BKV2) + tx * (TN / 2u) + j); \
        [[unroll]] for (uint j = 0u; j < N; ++j) \
            [[unroll]] for (uint i = 0u; i < 4u; ++i) s[j * 4u + i] = fma(f16vec2(k[j / 2u][j % 2u]), q[i], s[j * 4u + i]); \
    }

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
    const uint q_g = p.q_off / 4u + head * HD4, k_g = p.k_off / 4u + head * HD4, v_g = p.v_off / 4u + head * VD4;
    // The power of two in the scale, of those that halves hold well.
    const float power = clamp(uintBitsToFloat(floatBitsToUint(p.scale) & 0x7F800000u), 0.00390625, 1.0);
    const float unscale = power / p.scale, scale = p.scale / power * LOG2E;
    const f16vec2 k_scale = f16vec2(float16_t(power));
    const bool has_rows = SKIP_ROWS == 0u || first + ty * TM < p.n_q;

    [[unroll]] for (uint i = 0u; i < BQ; i += LX)
        if (i + LX <= BQ || i + t < BQ) q_rows[i + t] = START(p.n_q, min(first + i + t, p.n_q - 1u), p.q_ld4);
    [[unroll]] for (uint i = 0u; i < BKV; i += LX)
        if (i + LX <= BKV || i + t < BKV) k_rows[i + t] = START(p.n_kv, min(i + t, p.n_kv - 1u), p.k_ld4);

    // LX is a multiple of DC4, so an invocation's loads of q and k are of the same dimensions, and their pairs of rows lie LX / DC4 apart.
    const uint kk = t % DC4, pair0 = t / DC4;
    const uint q_to = staged(kk * 4u, BQ2) + pair0, k_to = K_AT + staged(kk * 4u, BKV2);
    const uint p_to = staged(tx * 4u, BQ2) + ty * 4u;
    uint v_key[V_LOADS], v_d4[V_LOADS], v_to[V_LOADS];
    [[unroll]] for (uint i = 0u; i < V_LOADS; ++i) {
        v_key[i] = LX % VD4 == 0u ? i * (LX / VD4) + t / VD4 : (i * LX + t) / VD4;
        v_d4[i] = (LX % VD4 == 0u ? t : i * LX + t) % VD4;
        v_to[i] = V_AT + v_key[i] * LDV + v_d4[i] * 2u;
    }

    const uint vx = t % VX, v_row = t / VX * VM;
    const bool has_values = v_row < BQ && (SKIP_ROWS == 0u || first + v_row < p.n_q);
    vec4 acc[VM * VN / 4u];
    [[unroll]] for (uint i = 0u; i < VM * VN / 4u; ++i) acc[i] = vec4(0.0);
    float top[OWN], weight[OWN];   // running maxima and sums of the queries that this invocation looks after
    [[unroll]] for (uint i = 0u; i < OWN; ++i) {
        top[i] = NO_SCORE;
        weight[i] = 0.0;
    }

#if PARTITION == 1
    uint q_side[TM];
    if (has_seam(group))
        [[unroll]] for (uint i = 0u; i < TM; ++i) q_side[i] = token_region(group, first + ty * TM + i);
#endif
    barrier();
    uvec2 q_start[Q_LOADS];
    [[unroll]] for (uint i = 0u; i < Q_LOADS; ++i) {
        const uint r = i * (LX / DC4) + pair0;
        q_start[i] = uvec2(0u);
        if (LIGHT && ((i + 1u) * LX <= BQ2 * DC4 || r < BQ2)) q_start[i] = uvec2(q_rows[r * 2u], q_rows[r * 2u + 1u]);
    }

    [[dont_unroll]] for (uint k0 = 0u; k0 < p.n_kv; k0 += BKV) {
        f16vec2 s[TN * 4u];   // of each key, four pairs of queries
        vec2 wide[WIDE ? TN * 4u : 1u];
        [[unroll]] for (uint i = 0u; i < TN * 4u; ++i) {
            s[i] = f16vec2(0.0);
            if (WIDE) wide[i] = vec2(0.0);
        }
        [[dont_unroll]] for (uint chunk = 0u; chunk < CHUNKS; ++chunk) {
            const uint d4 = chunk * DC4 + kk;
            [[unroll]] for (uint i = 0u; i < Q_LOADS; ++i) {
                const uint r = i * (LX / DC4) + pair0;
                if ((i + 1u) * LX <= BQ2 * DC4 || r < BQ2) {
                    uvec4 x = uvec4(0u);
                    if (CHUNKS * DC4 == HD4 || d4 < HD4)
                        x = pairs(LOAD(q16, LIGHT ? q_start[i].x : q_rows[r * 2u], q_g + d4),
                                  LOAD(q16, LIGHT ? q_start[i].y : q_rows[r * 2u + 1u], q_g + d4), f16vec2(1.0));
                    [[unroll]] for (uint j = 0u; j < 4u; ++j) stage[q_to + i * (LX / DC4) + j * BQ2] = x[j];
                }
            }
            [[unroll]] for (uint i = 0u; i < K_LOADS; ++i) {
                const uint r = i * (LX / DC4) + pair0;
                if ((i + 1u) * LX <= BKV2 * DC4 || r < BKV2) {
                    uvec4 x = uvec4(0u);
                    if (CHUNKS * DC4 == HD4 || d4 < HD4)
                        x = pairs(LOAD(k16, k_rows[r * 2u], k_g + d4), LOAD(k16, k_rows[r * 2u + 1u], k_g + d4), k_scale);
                    const uint run = r / 2u, to = k_to + run % TX * (TN / 2u) + run / TX * 2u + r % 2u;
                    [[unroll]] for (uint j = 0u; j < 4u; ++j) stage[to + j * BKV2] = x[j];
                }
            }
            barrier();
            PHASE_END(LOAD)
            if (has_rows) {
                if (SHORT != 0u && k0 + BKV > p.n_kv) ADD_SCORES(4u)
                else ADD_SCORES(TN)
                if (WIDE)
                    [[unroll]] for (uint i = 0u; i < TN * 4u; ++i) {
                        wide[i] += vec2(s[i]);
                        s[i] = f16vec2(0.0);
                    }
            }
            barrier();
            PHASE_END(COMPUTE)
        }
        if (WIDE)
            [[unroll]] for (uint i = 0u; i < TN * 4u; ++i) s[i] = f16vec2(wide[i]);

#if PARTITION == 1
        // What is added to scores is divided by the part of the scale that they do not have yet.
        if (BIAS != 0u)
            [[unroll]] for (uint i = 0u; i < 4u; ++i) {
                const uint start = (head * p.n_q + min(first + ty * TM + i * 2u, p.n_q - 1u)) * BIAS_LD4;
                const uint next = (head * p.n_q + min(first + ty * TM + i * 2u + 1u, p.n_q - 1u)) * BIAS_LD4;
                [[unroll]] for (uint j = 0u; j < TN / 4u; ++j) {
                    const uint g = min(k0 / 4u + j * TX + tx, BIAS_LD4 - 1u);
                    const vec4 a = bias[start + g] * unscale, b = bias[next + g] * unscale;
                    [[unroll]] for (uint c = 0u; c < 4u; ++c) s[(j * 4u + c) * 4u + i] += f16vec2(vec2(a[c], b[c]));
                }
            }
        if (has_seam(group))
            [[unroll]] for (uint j = 0u; j < TN; ++j) {
                const uint side = token_region(group, k0 + (j / 4u * TX + tx) * 4u + j % 4u);
                [[unroll]] for (uint i = 0u; i < 4u; ++i)
                    s[j * 4u + i] += f16vec2(vec2(side == q_side[i * 2u] ? 0.0 : MASKED, side == q_side[i * 2u + 1u] ? 0.0 : MASKED) * unscale);
            }
#elif PARTITION == 2
        const uint bias_ld4 = (p.n_kv + 3u) / 4u;
        [[unroll]] for (uint j = 0u; j < TN / 4u; ++j) {
            const uint g = image * bias_ld4 + min(k0 / 4u + j * TX + tx, bias_ld4 - 1u);
            const vec4 b = (KEY_TYPE == F32 ? key_bias32[g] : from_half4(key_bias16[g])) * unscale;
            [[unroll]] for (uint c = 0u; c < 4u; ++c)
                [[unroll]] for (uint i = 0u; i < 4u; ++i) s[(j * 4u + c) * 4u + i] += f16vec2(float16_t(b[c]));
        }
#endif

        // Keys beyond the last one: repeated rows were read; give them no weight.
        if (WHOLE == 0u && (PARTITION == 1 || k0 + BKV > p.n_kv))   // with groups a branch would take registers
            [[unroll]] for (uint j = 0u; j < TN; ++j) {
                const bool beyond = k0 + (j / 4u * TX + tx) * 4u + j % 4u >= p.n_kv;
                [[unroll]] for (uint i = 0u; i < 4u; ++i)
                    s[j * 4u + i] = unpackFloat2x16(mix(packFloat2x16(s[j * 4u + i]), 0xFBFFFBFFu, beyond));   // -65504
            }

        [[unroll]] for (uint i = 0u; i < 4u; ++i) {
            vec2 high = vec2(s[i]);
            [[unroll]] for (uint j = 1u; j < TN; ++j) high = max(high, vec2(s[j * 4u + i]));
            stage[tx * LDM + ty * TM + i * 2u] = floatBitsToUint(high.x);
            stage[tx * LDM + ty * TM + i * 2u + 1u] = floatBitsToUint(high.y);
        }
        barrier();
        [[unroll]] for (uint i = 0u; i < OWN; ++i) {
            const uint row = i * LX + t;
            if ((i + 1u) * LX <= BQ || row < BQ) {
                float high = top[i];
                [[unroll]] for (uint x = 0u; x < TX; ++x) high = max(high, uintBitsToFloat(stage[x * LDM + row]));
                const float shrink = exp2((top[i] - high) * scale);
                top[i] = high;
                // With the powers of the block before, whose sums stay until the next ones.
                if (k0 != 0u) weight[i] += sum_of_parts(row);
                weight[i] *= shrink;
                row_shrink[row] = shrink;
                stage[row] = floatBitsToUint(high * scale);   // nobody else reads this row's maxima
            }
        }
        barrier();
        uint powers[TN * 4u];
        [[unroll]] for (uint i = 0u; i < 4u; ++i) {
            const uint row = ty * TM + i * 2u;
            const f16vec2 high = f16vec2(vec2(uintBitsToFloat(stage[row]), uintBitsToFloat(stage[row + 1u])));
            f16vec2 part = f16vec2(0.0);
            [[unroll]] for (uint j = 0u; j < TN; ++j) {
                // Of at most 64 products by powers up to 1/64 no sum leaves fp16, whatever the values; the row's sum of powers,
                // which divides at the end, has the same factor.
                const f16vec2 power = unpackFloat2x16(packHalf2x16(exp2(vec2(fma(s[j * 4u + i], f16vec2(float16_t(scale)), -high))))) * f16vec2(0.015625);
                powers[j * 4u + i] = packFloat2x16(power);
                part += power;
            }
            parts[tx * (BQ2 + 4u) + ty * 4u + i] = packFloat2x16(part);
        }
        barrier();   // the tops lie where the powers go

        PHASE_END(COMPUTE)
        // The first run of 4 keys; the second follows when p v is done with the first.
        [[unroll]] for (uint c = 0u; c < 4u; ++c)
            [[unroll]] for (uint i = 0u; i < 4u; ++i) stage[p_to + staged(c, BQ2) + i] = powers[c * 4u + i];
        if (TN > 4u)
            [[unroll]] for (uint i = 0u; i < VM; ++i) {
                const float by = row_shrink[min(v_row, BQ - VM) + i];
                [[unroll]] for (uint g = 0u; g < VN / 4u; ++g) acc[i * (VN / 4u) + g] *= by;
            }
        const uint keys = WHOLE != 0u ? BKV : min(BKV, p.n_kv - k0);
        [[dont_unroll]] for (uint v0 = 0u; v0 < keys; v0 += VC) {
            [[unroll]] for (uint i = 0u; i < V_LOADS; ++i)
                if ((i + 1u) * LX <= VC * VD4 || i * LX + t < VC * VD4) {
                    const uvec2 x = LOAD(v16, k_rows[v0 + v_key[i]], v_g + v_d4[i]);
                    stage[v_to[i]] = x.x;
                    stage[v_to[i] + 1u] = x.y;
                }
            barrier();
            PHASE_END(LOAD)
            if (has_values) {
                f16vec2 sum[VM * VW];
                [[unroll]] for (uint i = 0u; i < VM * VW; ++i) sum[i] = f16vec2(0.0);
                [[unroll]] for (uint run = 0u; run < VC / RUN; ++run)
                    if (run == 0u || !LIGHT || WHOLE != 0u || v0 + run * RUN < keys)
                        [[unroll]] for (uint j = 0u; j < RUN; ++j) {
                            const uint e = run * RUN + j;
                            f16vec2 pr[VM / 2u], v[VW];
                            [[unroll]] for (uint i = 0u; i < VM / 2u; ++i) pr[i] = half_pair(staged(e, BQ2) + v_row / 2u + i);
                            [[unroll]] for (uint w = 0u; w < V8 * 4u; ++w)
                                v[w] = half_pair(V_AT + e * LDV + (w / 4u * VX + vx) * 4u + w % 4u);
                            [[unroll]] for (uint w = 0u; w < V4 * 2u; ++w)
                                v[V8 * 4u + w] = half_pair(V_AT + e * LDV + V8 * VX * 4u + vx * 2u + w);
                            [[unroll]] for (uint i = 0u; i < VM; ++i)
                                [[unroll]] for (uint w = 0u; w < VW; ++w)
                                    sum[i * VW + w] = fma(f16vec2(pr[i / 2u][i % 2u]), v[w], sum[i * VW + w]);
                        }
                [[unroll]] for (uint i = 0u; i < VM; ++i) {
                    const float by = TN > 4u ? 1.0 : row_shrink[v_row + i];
                    [[unroll]] for (uint g = 0u; g < VN / 4u; ++g) {
                        const uint w = i * VW + g * 2u;
                        acc[w / 2u] = fma(acc[w / 2u], vec4(by), vec4(vec2(sum[w]), vec2(sum[w + 1u])));
                    }
                }
            }
            // The rows of the next block, which nobody reads any more in this one.
            if (v0 + VC >= keys)
                [[unroll]] for (uint i = 0u; i < BKV; i += LX)
                    if (i + LX <= BKV || i + t < BKV) k_rows[i + t] = START(p.n_kv, min(k0 + BKV + i + t, p.n_kv - 1u), p.k_ld4);
            barrier();
            PHASE_END(COMPUTE)
            if (TN > 4u && v0 == 0u)
                [[unroll]] for (uint c = 0u; c < 4u; ++c)
                    [[unroll]] for (uint i = 0u; i < 4u; ++i) stage[p_to + staged(c, BQ2) + i] = powers[(TN - 4u + c) * 4u + i];
        }
    }

    [[unroll]] for (uint i = 0u; i < OWN; ++i)
        if ((i + 1u) * LX <= BQ || i * LX + t < BQ) row_shrink[i * LX + t] = 1.0 / (weight[i] + sum_of_parts(i * LX + t));
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
            [[unroll]] for (uint g = 0u; g < VN / 4u; ++g) {
                const uint d4 = g < V8 * 2u ? (g / 2u * VX + vx) * 2u + g % 2u : V8 * VX * 2u + vx;
                if (d4 < VD4) store_out(row, head, d4, acc[i * (VN / 4u) + g] * row_shrink[v_row + i]);
            }
            if (vx == 0u) store_padding(row, head);
        }
    }
#if PHASES
    barrier();
#endif
    PHASES_STORE()
}
