#version 450
// variants: SHUFFLE=0|1 PHASES=0|1
// Y = epilogue(A W^T) on a register tile: an invocation computes R rows x C groups of 4 columns. A and W are uniform texel buffers,
// so the view's format does the decoding (f32, f16, i8 as SNORM) and reads go through the texture path: by far the cheapest load on
// software drivers, a second cache on GPUs. No shared memory in the loop. SHUFFLE=1 reads A once per subgroup, every lane another
// piece, and broadcasts it; it falls back to plain reads where subgroups are not full or smaller than RL * Q.
// W lies in panels, one per workgroup column, each [K rounded up to 4][LX * C] groups of 4 columns: a workgroup reads it from end to end. (Rows
// of all N columns, a multiple of 4 KiB apart, would fall into the same few sets of a cache.)
// LN: rows of A are normalised first; each workgroup computes the statistics of its R rows, with SHUFFLE=1 each lane those of its own rows.
//
// Bindings: 0 A (T), 1 W (T), 2 wscale, 3 bias, 4 colscale, 5 residual, 6 gain of normalised columns (GAIN), 7 out.
// Constants: 0 LX, 2 W_TYPE, 3 OUT_TYPE, 4 RES_TYPE, 5 ACT, 6 BIAS, 7 COLSCALE, 8 RESIDUAL, 9 LN, 10 R, 11 C, 12 RL, 13 Q,
//            14 UNROLL (steps of Q groups per trip of the loop: software drivers mask every sum once per trip), 15 WHOLE (K is a multiple of
//            4 Q UNROLL), 16 PANELS (done by a workgroup one after the other, with the statistics of its rows computed once), 17 GAIN.
// Push constants: M, N, K, a_ld4, o_ld4, r_ld4, a_off4, m0, eps.
// Grid: x = ceil((M - m0) / R), y = ceil(N4 / (LX * C * PANELS)); rows run fastest, so that a block of W stays in the cache.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if PHASES
#extension GL_ARB_shader_clock : require
#endif
#if SHUFFLE
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
#include "types.glsl"
#include "activation.glsl"
#define OUT_BINDING 7
#include "epilogue.glsl"
#define PHASES_BINDING (OUT_BINDING + 1)
#include "phases.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 9) const uint LN = 0u;
layout(constant_id = 10) const uint R = 8u;
layout(constant_id = 11) const uint C = 1u;
layout(constant_id = 15) const uint WHOLE = 0u;
layout(constant_id = 16) const uint PANELS_STEP = 1u;
layout(constant_id = 17) const uint GAIN = 0u;
const uint PANELS = PANELS_STEP == 0u ? 1u : PANELS_STEP;
#if SHUFFLE
layout(constant_id = 12) const uint RL = 8u;
layout(constant_id = 13) const uint Q_STEP = 1u;
const uint Q = Q_STEP == 0u ? 1u : Q_STEP;   // 0, "not given", would never end the loop
layout(constant_id = 14) const uint UNROLL_STEPS = 1u;
const uint UNROLL = UNROLL_STEPS == 0u ? 1u : UNROLL_STEPS;
#endif

layout(set = 0, binding = 0) uniform samplerBuffer a;
layout(set = 0, binding = 1) uniform samplerBuffer w;
layout(set = 0, binding = 6) readonly buffer Gain { vec4 gain[]; };

layout(push_constant) uniform Push { uint M, N, K, a_ld4, o_ld4, r_ld4, a_off4, m0; float eps; } p;

shared float partial[LN != 0u ? LX : 1u];
shared float row_mean[LN != 0u ? R : 1u];
shared float row_rstd[LN != 0u ? R : 1u];

uint row_start(uint row) { return p.a_off4 + min(row, p.M - 1u) * p.a_ld4; }

// Sum of the partial sums of row `r`; every invocation has stored its own at [share * R + r].
float row_total(uint r, uint shares)
{
    float total = 0.0;
    for (uint i = 0u; i < shares; ++i) total += partial[i * R + r];
    return total;
}

float sum_of_squares(vec4 d, uint k)
{
    const bvec4 inside = lessThan(uvec4(k * 4u) + uvec4(0u, 1u, 2u, 3u), uvec4(p.K));
    return dot(mix(vec4(0.0), d * d, inside), vec4(1.0));
}

// Two passes (mean, then squares of differences), each invocation a strided share of one row; whole rows where there are more rows than invocations.
void row_statistics(uint m, uint k4)
{
    const uint t = gl_LocalInvocationID.x;
    const uint shares = max(LX / R, 1u);
    const uint share = t / R;
    for (uint r = t % R; r < R; r += LX) {
        const uint start = row_start(m + r);
        float sum = 0.0;
        if (share < shares)
            for (uint k = share; k < k4; k += shares) sum += dot(texelFetch(a, int(start + k)), vec4(1.0));
        if (LX < R) {
            const float mean = sum / float(p.K);
            sum = 0.0;
            for (uint k = 0u; k < k4; ++k) sum += sum_of_squares(texelFetch(a, int(start + k)) - mean, k);
            row_mean[r] = mean;
            row_rstd[r] = inversesqrt(sum / float(p.K) + p.eps);
            continue;
        }
        partial[t] = sum;
    }
    barrier();
    if (LX >= R) {
        const uint r = t % R;
        if (t < R) row_mean[t] = row_total(t, shares) / float(p.K);
        barrier();
        const float mean = row_mean[r];
        float sum = 0.0;
        if (share < shares)
            for (uint k = share; k < k4; k += shares) sum += sum_of_squares(texelFetch(a, int(row_start(m + r) + k)) - mean, k);
        partial[t] = sum;
        barrier();
        if (t < R) row_rstd[t] = inversesqrt(row_total(t, shares) / float(p.K) + p.eps);
        barrier();
    }
}

void main()
{
    const uint k4 = (p.K + 3u) / 4u, n4 = (p.N + 3u) / 4u;
    const uint m = p.m0 + gl_WorkGroupID.x * R;
    const uint row4 = LX * C;   // groups in a panel's row
    PHASES_START()

#if SHUFFLE
    // A lane fills, per block of RL rows, one register: row (lane % RL), k-group (lane / RL) of the step. All lane numbers read below are constants:
    // some drivers broadcast from a constant lane in one instruction and take a loop for any other.
    const uint BLOCKS = (R + RL - 1u) / RL;
    const bool shuffled = gl_SubgroupSize >= RL * Q && gl_NumSubgroups * gl_SubgroupSize == LX;
    const uint my_row = gl_SubgroupInvocationID % RL, my_k = gl_SubgroupInvocationID / RL % Q;
    uint piece_start[BLOCKS];
    float piece_mean[BLOCKS], piece_rstd[BLOCKS];
    if (shuffled) {
        [[unroll]] for (uint b = 0u; b < BLOCKS; ++b) piece_start[b] = row_start(m + b * RL + my_row);
        if (LN != 0u) {   // of the rows whose pieces this lane will read: nothing to share, no barrier
            vec4 sum[BLOCKS], squares[BLOCKS];
            [[unroll]] for (uint b = 0u; b < BLOCKS; ++b) sum[b] = squares[b] = vec4(0.0);
            for (uint k = 0u; k < k4; ++k)
                [[unroll]] for (uint b = 0u; b < BLOCKS; ++b) sum[b] += texelFetch(a, int(piece_start[b] + k));
            [[unroll]] for (uint b = 0u; b < BLOCKS; ++b) piece_mean[b] = dot(sum[b], vec4(1.0)) / float(p.K);
            for (uint k = 0u; k < k4; ++k)
                [[unroll]] for (uint b = 0u; b < BLOCKS; ++b) {
                    const vec4 d = texelFetch(a, int(piece_start[b] + k)) - piece_mean[b];
                    if (WHOLE != 0u) squares[b] += d * d;
                    else squares[b].x += sum_of_squares(d, k);
                }
            [[unroll]] for (uint b = 0u; b < BLOCKS; ++b) piece_rstd[b] = inversesqrt(dot(squares[b], vec4(1.0)) / float(p.K) + p.eps);
        }
    } else
#endif
    if (LN != 0u) row_statistics(m, k4);

    for (uint turn = 0u; turn < PANELS; ++turn) {
        const uint y = gl_WorkGroupID.y * PANELS + turn;
        if (y * row4 >= n4) break;
        const uint panel = y * (4u * k4 * row4) + gl_LocalInvocationID.x;
        vec4 acc[R * C];
        [[unroll]] for (uint i = 0u; i < R * C; ++i) acc[i] = vec4(0.0);

#if SHUFFLE
        if (shuffled) {
            for (uint k0 = 0u; k0 < k4; k0 += UNROLL * Q)
                [[unroll]] for (uint u = 0u; u < UNROLL; ++u) {
                    const uint k = k0 + u * Q;
                    vec4 piece[BLOCKS];
                    [[unroll]] for (uint b = 0u; b < BLOCKS; ++b) {
                        const uint ka = k + (Q == 1u ? 0u : my_k);
                        piece[b] = texelFetch(a, int(piece_start[b] + (WHOLE != 0u ? ka : min(ka, k4 - 1u))));
                        if (LN != 0u) piece[b] = (piece[b] - piece_mean[b]) * piece_rstd[b];
                        if (GAIN != 0u) piece[b] *= gain[WHOLE != 0u ? ka : min(ka, k4 - 1u)];
                        if (WHOLE == 0u && ka >= k4) piece[b] = vec4(0.0);
                    }
                    [[unroll]] for (uint q = 0u; q < Q; ++q) {
                        const uint at = panel + (WHOLE != 0u ? k + q : min(k + q, k4 - 1u)) * 4u * row4;
                        vec4 wv[4u * C];
                        [[unroll]] for (uint j = 0u; j < 4u; ++j)
                            [[unroll]] for (uint c = 0u; c < C; ++c) wv[j * C + c] = texelFetch(w, int(at + j * row4 + c * LX));
                        PHASE_END(LOAD)
                        [[unroll]] for (uint r = 0u; r < R; ++r) {
                            const vec4 av = subgroupShuffle(piece[r / RL], q * RL + r % RL);
                            [[unroll]] for (uint c = 0u; c < C; ++c) {
                                vec4 s = acc[r * C + c];
                                s = fma(vec4(av.x), wv[c], s);
                                s = fma(vec4(av.y), wv[C + c], s);
                                s = fma(vec4(av.z), wv[2u * C + c], s);
                                acc[r * C + c] = fma(vec4(av.w), wv[3u * C + c], s);
                            }
                        }
                        PHASE_END(COMPUTE)
                    }
                }
        } else
#endif
        {
            uint start[R];
            [[unroll]] for (uint r = 0u; r < R; ++r) start[r] = row_start(m + r);
            float mean[R], rstd[R];
            [[unroll]] for (uint r = 0u; r < R; ++r) {
                mean[r] = LN != 0u ? row_mean[r] : 0.0;
                rstd[r] = LN != 0u ? row_rstd[r] : 1.0;
            }
            for (uint k = 0u; k < k4; ++k) {
                vec4 wv[4u * C];
                [[unroll]] for (uint j = 0u; j < 4u; ++j)
                    [[unroll]] for (uint c = 0u; c < C; ++c) wv[j * C + c] = texelFetch(w, int(panel + (k * 4u + j) * row4 + c * LX));
#if PHASES   // all rows first, to tell reading from arithmetic
                vec4 loaded[R];
                [[unroll]] for (uint r = 0u; r < R; ++r) loaded[r] = texelFetch(a, int(start[r] + k));
#define ROW_OF_A(r) loaded[r]
#else
#define ROW_OF_A(r) texelFetch(a, int(start[r] + k))
#endif
                PHASE_END(LOAD)
                [[unroll]] for (uint r = 0u; r < R; ++r) {
                    vec4 av = ROW_OF_A(r);
                    if (LN != 0u) av = (av - mean[r]) * rstd[r];
                    if (GAIN != 0u) av *= gain[k];
                    [[unroll]] for (uint c = 0u; c < C; ++c) {
                        vec4 s = acc[r * C + c];
                        s = fma(vec4(av.x), wv[c], s);
                        s = fma(vec4(av.y), wv[C + c], s);
                        s = fma(vec4(av.z), wv[2u * C + c], s);
                        acc[r * C + c] = fma(vec4(av.w), wv[3u * C + c], s);
                    }
                }
                PHASE_END(COMPUTE)
            }
        }

        [[unroll]] for (uint c = 0u; c < C; ++c) {
            const uint n = y * row4 + c * LX + gl_LocalInvocationID.x;
            if (n < n4) {
                const Columns cols = load_columns(n, 127.0);
                [[unroll]] for (uint r = 0u; r < R; ++r)
                    if (m + r < p.M) finish(acc[r * C + c], cols, (m + r) * p.o_ld4 + n, (m + r) * p.r_ld4 + n);
            }
        }
        PHASE_END(WRITE)
    }
    PHASES_STORE()
}
