#version 450
// variants: PHASES=0|1
// Y = epilogue(A W^T) like linear.tile, with fp16 operands multiplied and added as pairs (packed fp16 arithmetic: twice the
// rate of fp32 where a GPU has it). The BK products of a trip are summed in fp16, the trips in fp32. Needs shaderFloat16.
// Rows are staged in pairs, as[k][m / 2], columns in pairs as they come; W is in panels like linear.tile's.
// LN: rows are normalised while staged, in fp16 like everything staged; what 1/sqrt(var) loses by rounding to fp16 is made good
// in the epilogue.
//
// Bindings: 0 A, 1 W, 2 wscale, 3 bias, 4 colscale, 5 residual, 6 gain of normalised columns (GAIN), 7 out.
// Constants: those of linear.tile with IN_TYPE = W_TYPE = 1; TM even, TN = 8, BM even, BN a multiple of 8.
// Push constants and grid: as linear.tile.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if PHASES
#extension GL_ARB_shader_clock : require
#endif
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "types.glsl"
#include "activation.glsl"
#define OUT_BINDING 7
#include "epilogue.glsl"
#define PHASES_BINDING (OUT_BINDING + 1)
#include "phases.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 9) const uint LN = 0u;
layout(constant_id = 10) const uint BM = 128u;
layout(constant_id = 11) const uint BN = 128u;
layout(constant_id = 12) const uint BK = 48u;
layout(constant_id = 13) const uint TM = 8u;
layout(constant_id = 15) const uint K_FULL = 0u;
layout(constant_id = 16) const uint SKIP_ROWS = 0u;
layout(constant_id = 17) const uint GAIN = 0u;

layout(set = 0, binding = 0) readonly buffer A16 { uvec2 a16[]; };
layout(set = 0, binding = 1) readonly buffer W16 { uvec4 w16[]; };
layout(set = 0, binding = 6) readonly buffer Gain { vec4 gain[]; };

layout(push_constant) uniform Push { uint M, N, K, a_ld4, o_ld4, r_ld4, a_off4, m0; float eps; } p;

const uint TN = 8u;
const uint BM2 = BM / 2u, BN8 = BN / 8u, BK4 = BK / 4u, TM2 = TM / 2u;
const uint LDA = BM2 + 4u;            // words of two rows per staged k
const uint A_LOADS = (BM2 * BK4 + LX - 1u) / LX, W_LOADS = (BK * BN8 + LX - 1u) / LX;
shared uint as[BK * LDA];             // as[k][m / 2]
shared uvec4 ws[W_LOADS * LX];        // ws[k][n / 8], with a margin for the last load's surplus
shared uvec2 pair_norm[LN != 0u ? BM2 : 2u];   // LN: scale and offset of two rows, as halves

vec4 load_a(uint g) { return from_half4(a16[g]); }
#define SCRATCH_STORE(i, x) as[i] = floatBitsToUint(x)
#define SCRATCH_LOAD(i) uintBitsToFloat(as[i])
#include "row_norm.glsl"

// Halves for the staging; row_norm.x becomes what the rounding of the scale has lost.
void round_norms()
{
    [[unroll]] for (uint first = 0u; first < BM2; first += LX) {
        const uint r = first + gl_LocalInvocationID.x;
        if (r < BM2) {
            const vec2 a = row_norm[r * 2u], b = row_norm[r * 2u + 1u];
            const uint scale = packHalf2x16(vec2(a.x, b.x));
            const vec2 lost = vec2(a.x, b.x) / unpackHalf2x16(scale);
            pair_norm[r] = uvec2(scale, packHalf2x16(vec2(a.y, b.y) / lost));
            row_norm[r * 2u].x = lost.x;
            row_norm[r * 2u + 1u].x = lost.y;
        }
    }
    barrier();
}

void main()
{
    const uint t = gl_LocalInvocationID.x;
    const uint tx = t % (BN / TN), ty = t / (BN / TN);
    const uint k4 = (p.K + 3u) / 4u, n4 = (p.N + 3u) / 4u;
    const uint m0 = p.m0 + gl_WorkGroupID.x * BM, col0 = gl_WorkGroupID.y * (BN / 4u);
    PHASES_START()
    if (LN != 0u) {
        row_statistics(m0);
        round_norms();
    }

    // Each load takes the same k-group of two neighbouring rows; rows beyond M repeat the last one.
    uint a_at[A_LOADS], a_to[A_LOADS];
    bool a_pair[A_LOADS];   // the second row exists
    [[unroll]] for (uint i = 0u; i < A_LOADS; ++i) {
        const uint e = i * LX + t, kk = e % BK4, r = e / BK4;
        a_to[i] = kk * 4u * LDA + r;
        a_at[i] = p.a_off4 + min(m0 + r * 2u, p.M - 1u) * p.a_ld4 + kk;
        a_pair[i] = m0 + r * 2u + 1u < p.M;
    }
    uint w_at = gl_WorkGroupID.y * (k4 * 4u * BN8) + t;
    const bool has_rows = m0 + ty * TM < p.M;

    vec4 acc[TM * 2u];
    [[unroll]] for (uint i = 0u; i < TM * 2u; ++i) acc[i] = vec4(0.0);

    [[dont_unroll]] for (uint k0 = 0u; k0 < k4; k0 += BK4) {
        [[unroll]] for (uint i = 0u; i < A_LOADS; ++i) {
            const uint e = i * LX + t;
            if ((i + 1u) * LX <= BM2 * BK4 || e < BM2 * BK4) {
                uvec4 pair = uvec4(0u);
                if (K_FULL != 0u || k0 + e % BK4 < k4) {
                    const uvec2 a = a16[a_at[i] + k0], b = a16[a_at[i] + k0 + (a_pair[i] ? p.a_ld4 : 0u)];
                    pair = uvec4(a.x & 0xFFFFu | b.x << 16, a.x >> 16 | b.x & 0xFFFF0000u,
                                 a.y & 0xFFFFu | b.y << 16, a.y >> 16 | b.y & 0xFFFF0000u);
                    if (LN != 0u) {
                        const uvec2 norm = pair_norm[e / BK4];
                        const f16vec2 scale = unpackFloat2x16(norm.x), offset = unpackFloat2x16(norm.y);
                        [[unroll]] for (uint j = 0u; j < 4u; ++j)
                            pair[j] = packFloat2x16(fma(unpackFloat2x16(pair[j]), scale, offset));
                        if (GAIN != 0u) {
                            const vec4 g = gain[k0 + e % BK4];
                            [[unroll]] for (uint j = 0u; j < 4u; ++j)
                                pair[j] = packFloat2x16(unpackFloat2x16(pair[j]) * f16vec2(float16_t(g[j])));
                        }
                    }
                }
                [[unroll]] for (uint j = 0u; j < 4u; ++j) as[a_to[i] + j * LDA] = pair[j];
            }
        }
        [[unroll]] for (uint i = 0u; i < W_LOADS; ++i) {
            uvec4 v = uvec4(0u);
            if (K_FULL != 0u || k0 + (i * LX + t) / BN8 / 4u < k4) v = w16[w_at + i * LX];
            ws[i * LX + t] = v;
        }
        w_at += BK * BN8;
        barrier();
        PHASE_END(LOAD)
        if (SKIP_ROWS == 0u || has_rows) {
            f16vec2 sum[TM * 4u];
            [[unroll]] for (uint i = 0u; i < TM * 4u; ++i) sum[i] = f16vec2(0.0);
            [[unroll]] for (uint k = 0u; k < BK; ++k) {
                f16vec2 av[TM2];
                [[unroll]] for (uint i = 0u; i < TM2; ++i) av[i] = unpackFloat2x16(as[k * LDA + ty * TM2 + i]);
                const uvec4 w = ws[k * BN8 + tx];
                [[unroll]] for (uint j = 0u; j < 4u; ++j) {
                    const f16vec2 wv = unpackFloat2x16(w[j]);
                    [[unroll]] for (uint i = 0u; i < TM; ++i)
                        sum[i * 4u + j] = fma(f16vec2(av[i / 2u][i % 2u]), wv, sum[i * 4u + j]);
                }
            }
            [[unroll]] for (uint i = 0u; i < TM * 2u; ++i) acc[i] += vec4(vec2(sum[i * 2u]), vec2(sum[i * 2u + 1u]));
        }
        barrier();
        PHASE_END(COMPUTE)
    }

#if !PHASES   // as in tile.glsl
    if (!has_rows) return;
#endif
    [[unroll]] for (uint j = 0u; j < 2u; ++j) {
        const uint n = col0 + tx * 2u + j;
        if (n < n4) {
            const Columns cols = load_columns(n, 1.0);
            [[unroll]] for (uint i = 0u; i < TM; ++i) {
                const uint m = m0 + ty * TM + i;
                const float scale = LN != 0u ? row_norm[ty * TM + i].x : 1.0;
                if (m < p.M) finish(acc[i * 2u + j] * scale, cols, m * p.o_ld4 + n, m * p.r_ld4 + n);
            }
        }
    }
#if PHASES
    barrier();
#endif
    PHASES_STORE()
}
