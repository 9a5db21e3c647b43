#version 450
// Y = epilogue(A W^T) by shared-memory tiles: a workgroup computes BM x BN outputs in steps of BK, an invocation TM x TN of them.
// A is transposed while staged, so that both operands are read from shared memory as vec4; i8 weights become floats while staged, by bit
// tricks. The inner loop is multiply-adds and shared loads, nothing else. An invocation's rows are consecutive and
// invocations run along columns first, so that whole warps lie beyond the last row (SKIP_ROWS).
// LN: rows of A are normalised first; each workgroup computes the statistics of its BM rows.
//
// Bindings: 0 A, 1 W, 2 wscale, 3 bias, 4 colscale, 5 residual, 6 out.
// Constants: 0 LX = (BM / TM) * (BN / TN), 1 IN_TYPE, 2 W_TYPE, 3 OUT_TYPE, 4 RES_TYPE, 5 ACT, 6 BIAS, 7 COLSCALE, 8 RESIDUAL, 9 LN,
//            10 BM, 11 BN, 12 BK, 13 TM, 14 TN, 15 K_FULL (1: ceil4(K) % BK == 0),
//            16 SKIP_ROWS (1: warps whose rows all lie beyond M skip the arithmetic; some compilers pay for the branch with register moves).
// Push constants: M, N, K, a_ld4, o_ld4, r_ld4, a_off4, m0, eps.
// Grid: x = ceil((M - m0) / BM), y = ceil(N / BN); rows run fastest, so that tiles sharing weights run together.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"
#include "activation.glsl"
#include "epilogue.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 1) const uint IN_TYPE = 0u;
layout(constant_id = 9) const uint LN = 0u;
layout(constant_id = 10) const uint BM = 64u;
layout(constant_id = 11) const uint BN = 128u;
layout(constant_id = 12) const uint BK = 16u;
layout(constant_id = 13) const uint TM = 8u;
layout(constant_id = 14) const uint TN = 8u;
layout(constant_id = 15) const uint K_FULL = 0u;
layout(constant_id = 16) const uint SKIP_ROWS = 0u;

layout(set = 0, binding = 0) readonly buffer A32 { vec4 a32[]; };
layout(set = 0, binding = 0) readonly buffer A16 { uvec2 a16[]; };
layout(set = 0, binding = 1) readonly buffer W32 { vec4 w32[]; };
layout(set = 0, binding = 1) readonly buffer W16 { uvec2 w16[]; };
layout(set = 0, binding = 1) readonly buffer W8 { uint w8[]; };

layout(push_constant) uniform Push { uint M, N, K, a_ld4, o_ld4, r_ld4, a_off4, m0; float eps; } p;

const uint LDA = BM + 4u;     // floats per staged k; the pad and the skew below keep the transposing stores off each other's banks
const uint BN4 = BN / 4u;
const uint BK4 = BK / 4u;
const uint TN4 = TN / 4u;

const uint A_LOADS = (BM * BK4 + LX - 1u) / LX, W_LOADS = (BK * BN4 + LX - 1u) / LX;
// Where W's groups are no multiple of LX, the last load's surplus goes to a margin that nobody reads: no branch.
shared float as[BK * (LDA + 1u)];     // as[k][m]
shared vec4 ws[W_LOADS * LX];         // ws[k][n / 4]

vec4 load_a(uint g) { return IN_TYPE == F32 ? a32[g] : from_half4(a16[g]); }
vec4 load_w(uint g)
{
    if (W_TYPE == F32) return w32[g];
    if (W_TYPE == F16) return from_half4(w16[g]);
    return from_int8x4(w8[g]);
}

// Where as[k][0] starts, k as group and remainder; the skew spreads the transposing stores of a warp over the banks.
uint a_row(uint k4, uint k) { return (k4 * 4u + k) * LDA + k4 / 2u * (BK4 >= 8u ? 4u : 8u); }

#define SCRATCH_STORE(i, x) as[i] = x
#define SCRATCH_LOAD(i) as[i]
#include "row_norm.glsl"

void main()
{
    const uint t = gl_LocalInvocationID.x;
    const uint tx = t % (BN / TN), ty = t / (BN / TN);
    const uint k4 = (p.K + 3u) / 4u, n4 = (p.N + 3u) / 4u;
    const uint m0 = p.m0 + gl_WorkGroupID.x * BM, col0 = gl_WorkGroupID.y * BN4;
    if (LN != 0u) row_statistics(m0);

    // What this invocation stages of A and where to: rows beyond M repeat the last one.
    const uint kk = t % BK4, row = t / BK4;   // LX is a multiple of BK4: one k-group per invocation
    const uint a_to = a_row(kk, 0u) + row;
    uint a_at[A_LOADS];
    [[unroll]] for (uint i = 0u; i < A_LOADS; ++i)
        a_at[i] = p.a_off4 + min(m0 + i * (LX / BK4) + row, p.M - 1u) * p.a_ld4 + kk;
    uint w_at = gl_WorkGroupID.y * (k4 * 4u * BN4) + t;
    const bool has_rows = m0 + ty * TM < p.M;

    vec4 acc[TM * TN4];
    [[unroll]] for (uint i = 0u; i < TM * TN4; ++i) acc[i] = vec4(0.0);

    const uint a_from = ty * TM;
    [[dont_unroll]] for (uint k0 = 0u; k0 < k4; k0 += BK4) {
        [[unroll]] for (uint i = 0u; i < A_LOADS; ++i) {
            const uint r = i * (LX / BK4) + row;
            if ((i + 1u) * LX <= BM * BK4 || r < BM) {
                vec4 v = vec4(0.0);
                if (K_FULL != 0u || k0 + kk < k4) {
                    v = load_a(a_at[i] + k0);
                    if (LN != 0u) v = fma(v, row_norm[r].xxxx, row_norm[r].yyyy);
                }
                const uint to = a_to + i * (LX / BK4);
                as[to] = v.x;
                as[to + LDA] = v.y;
                as[to + LDA * 2u] = v.z;
                as[to + LDA * 3u] = v.w;
            }
        }
        [[unroll]] for (uint i = 0u; i < W_LOADS; ++i) {
            vec4 v = vec4(0.0);
            if (K_FULL != 0u || k0 + (i * LX + t) / BN4 / 4u < k4) v = load_w(w_at + i * LX);
            ws[i * LX + t] = v;
        }
        w_at += BK * BN4;
        barrier();
        if (SKIP_ROWS == 0u || has_rows) {
            [[unroll]] for (uint k = 0u; k < BK; ++k) {
                const uint from = a_row(k / 4u, k % 4u) + a_from;
                float av[TM];
                [[unroll]] for (uint i = 0u; i < TM; ++i) av[i] = as[from + i];
                [[unroll]] for (uint j = 0u; j < TN4; ++j) {
                    const vec4 wv = ws[k * BN4 + j * (BN / TN) + tx];
                    [[unroll]] for (uint i = 0u; i < TM; ++i) acc[i * TN4 + j] = fma(vec4(av[i]), wv, acc[i * TN4 + j]);
                }
            }
        }
        barrier();
    }

    if (!has_rows) return;
    [[unroll]] for (uint j = 0u; j < TN4; ++j) {
        const uint n = col0 + j * (BN / TN) + tx;
        if (n < n4) {
            const Columns cols = load_columns(n, 1.0);
            [[unroll]] for (uint i = 0u; i < TM; ++i) {
                const uint m = m0 + ty * TM + i;
                if (m < p.M) finish(acc[i * TN4 + j], cols, m * p.o_ld4 + n, m * p.r_ld4 + n);
            }
        }
    }
}
