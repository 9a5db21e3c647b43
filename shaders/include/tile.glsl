// The kernel of linear.tile and of conv2d.tile, which differ in where a row of A is read: the file that includes this defines CONV. Everything is
// said in linear.tile.comp and conv2d.tile.comp. Needs nothing before it.
#include "types.glsl"
#include "activation.glsl"
#if CONV
#define OUT_BINDING 6
#else
#define OUT_BINDING 7
#endif
#include "epilogue.glsl"
#define PHASES_BINDING (OUT_BINDING + 1)
#include "phases.glsl"

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
#if !CONV
layout(constant_id = 17) const uint GAIN = 0u;
layout(constant_id = 18) const uint GROUP = 1u;   // of W_TYPE I8_GROUPS, I4_GROUPS and I4_WIDE: columns of K that share a scale
layout(constant_id = 19) const uint ZEROS = 0u;   // and have an offset, -zero * scale, behind all scales
layout(set = 0, binding = 6) readonly buffer Gain { vec4 gain[]; };
layout(set = 0, binding = 2) readonly buffer WWide4 { uvec4 wwide4[]; };   // of I4_WIDE, behind scales and offsets: for every
layout(set = 0, binding = 2) readonly buffer WWide { uint wwide[]; };      // row of W where its high parts begin, or ~0; the parts
#endif

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
    if (W_TYPE == I4_GROUPS || W_TYPE == I4_WIDE) return from_int4x4(w8[g / 2u] >> (g % 2u * 16u));
    return from_int8x4(w8[g]);
}

// Where as[k][0] starts, k as group and remainder; the skew spreads the transposing stores of a warp over the banks.
uint a_row(uint k4, uint k) { return (k4 * 4u + k) * LDA + k4 / 2u * (BK4 >= 8u ? 4u : 8u); }

#if CONV
layout(constant_id = 17) const uint IH = 1u;
layout(constant_id = 18) const uint IW = 1u;
layout(constant_id = 19) const uint C4 = 1u;
layout(constant_id = 20) const uint OH = 1u;
layout(constant_id = 21) const uint OW = 1u;
layout(constant_id = 22) const uint KH = 1u;
layout(constant_id = 23) const uint KW = 1u;
layout(constant_id = 24) const uint SH = 1u;
layout(constant_id = 25) const uint SW = 1u;
layout(constant_id = 26) const uint PH = 0u;
layout(constant_id = 27) const uint PW = 0u;
layout(constant_id = 28) const uint DH = 1u;
layout(constant_id = 29) const uint DW = 1u;
layout(constant_id = 30) const uint I_LD4 = 1u;   // groups from one pixel to the next
const bool PADDED = PH != 0u || PW != 0u;
const uint OUTSIDE = 0xFFFFFFFFu;   // the address of what lies in the padding
// A row of A is a window: where it starts (an address before the picture wraps around and comes back with a tap's), and which of
// its lines (bits 0 to 15) and columns (16 to 31) lie in the picture. Read once per tap, so no registers are kept for it.
shared uvec2 window[BM];
#include "planar.glsl"
#else
#define SCRATCH_STORE(i, x) as[i] = x
#define SCRATCH_LOAD(i) as[i]
#include "row_norm.glsl"
#endif

void main()
{
    const uint t = gl_LocalInvocationID.x;
    const uint tx = t % (BN / TN), ty = t / (BN / TN);
    const uint k4 = (p.K + 3u) / 4u, n4 = (p.N + 3u) / 4u;
    const uint m0 = p.m0 + gl_WorkGroupID.x * BM, col0 = gl_WorkGroupID.y * BN4;
    PHASES_START()
#if !CONV
    if (LN != 0u) row_statistics(m0);
#endif

    // What this invocation stages of A and where to: rows beyond M repeat the last one.
    const uint kk = t % BK4, row = t / BK4;   // LX is a multiple of BK4: one k-group per invocation
    const uint a_to = a_row(kk, 0u) + row;
    uint a_at[A_LOADS];
#if CONV
    [[unroll]] for (uint first = 0u; first < BM; first += LX) {
        const uint r = first + t;
        if (first + LX <= BM || r < BM) {
            const uint pixel = min(m0 + r, p.M - 1u), line = pixel / OW;
            const int y = int(line % OH * SH) - int(PH), x = int(pixel % OW * SW) - int(PW);
            uint real = 0u;
            if (PADDED) {
                [[unroll]] for (uint ky = 0u; ky < KH; ++ky) real |= uint(y + int(ky * DH)) < IH ? 1u << ky : 0u;
                [[unroll]] for (uint kx = 0u; kx < KW; ++kx) real |= uint(x + int(kx * DW)) < IW ? 0x10000u << kx : 0u;
            }
            window[r] = uvec2((int(line / OH * (PLANES * IH)) + y) * int(IW) + x, real);
        }
    }
    barrier();
#else
    [[unroll]] for (uint i = 0u; i < A_LOADS; ++i)
        a_at[i] = p.a_off4 + min(m0 + i * (LX / BK4) + row, p.M - 1u) * p.a_ld4 + kk;
#endif
    uint w_at = gl_WorkGroupID.y * (k4 * 4u * BN4) + t;
    const bool has_rows = m0 + ty * TM < p.M;
#if !CONV
    // wscale[panels][groups, and some that only the last load's surplus reads][BN], then as many offsets.
    const uint scale_rows = (p.K + GROUP - 1u) / GROUP + ((W_LOADS * LX - BK * BN4 + BN4 - 1u) / BN4 + GROUP - 1u) / GROUP;
    const uint panels = (p.N + BN - 1u) / BN;
    const uint scales_at = gl_WorkGroupID.y * scale_rows * BN4, zeros_at = panels * scale_rows * BN4;
    const uint wide_at = zeros_at * (1u + ZEROS), high_at = (wide_at + panels * BN4) * 4u;
#endif

    vec4 acc[TM * TN4];
    [[unroll]] for (uint i = 0u; i < TM * TN4; ++i) acc[i] = vec4(0.0);

    const uint a_row0 = ty * TM;
#if CONV
    // Tap by tap, so that what is worked out for a tap lasts for all its channels. Behind a tap's last channel A is zero, whatever W holds there.
    // A planar picture is one tap: what lies where is worked out for each group of K.
    const uint taps = PLANAR != 0u ? 1u : KH * KW, c4 = PLANAR != 0u ? PLANAR_K4 : C4;
    [[dont_unroll]] for (uint tap = 0u; tap < taps; ++tap) {
    const uint ky = tap / KW, kx = tap % KW, both = 1u << ky | 0x10000u << kx;
    [[unroll]] for (uint i = 0u; i < A_LOADS; ++i) {
        const uint r = i * (LX / BK4) + row;
        const uvec2 from = window[(i + 1u) * LX <= BM * BK4 ? r : min(r, BM - 1u)];
        a_at[i] = !PADDED || (from.y & both) == both ? (from.x + ky * DH * IW + kx * DW) * I_LD4 + kk : OUTSIDE;
    }
    w_at = gl_WorkGroupID.y * (k4 * 4u * BN4) + tap * (c4 * 4u * BN4) + t;
    [[dont_unroll]] for (uint k0 = 0u; k0 < c4; k0 += BK4) {
        PlanarGroup group;   // one k-group per invocation, so the same for all its rows
        if (PLANAR != 0u) group = planar_group(k0 + kk);
#else
    [[dont_unroll]] for (uint k0 = 0u; k0 < k4; k0 += BK4) {
#endif
#if !CONV
        vec4 gains;   // one k-group per invocation, so the same for all its rows
        if (GAIN != 0u) gains = gain[K_FULL != 0u ? k0 + kk : min(k0 + kk, k4 - 1u)];
#endif
        [[unroll]] for (uint i = 0u; i < A_LOADS; ++i) {
            const uint r = i * (LX / BK4) + row;
            if ((i + 1u) * LX <= BM * BK4 || r < BM) {
                vec4 v = vec4(0.0);
#if CONV
                if (PLANAR != 0u) v = load_planar(window[r], group);
                else if (a_at[i] != OUTSIDE && (C4 % BK4 == 0u || k0 + kk < C4)) v = load_a(a_at[i] + k0);
#else
                if (K_FULL != 0u || k0 + kk < k4) {
                    v = load_a(a_at[i] + k0);
                    if (LN != 0u) v = fma(v, row_norm[r].xxxx, row_norm[r].yyyy);
                    if (GAIN != 0u) v *= gains;
                }
#endif
                const uint to = a_to + i * (LX / BK4);
                as[to] = v.x;
                as[to + LDA] = v.y;
                as[to + LDA * 2u] = v.z;
                as[to + LDA * 3u] = v.w;
            }
        }
        [[unroll]] for (uint i = 0u; i < W_LOADS; ++i) {
#if CONV
            ws[i * LX + t] = load_w(w_at + i * LX);
#else
            vec4 v = vec4(0.0);
            if (K_FULL != 0u || k0 + (i * LX + t) / BN4 / 4u < k4) {
                v = load_w(w_at + i * LX);
                if (W_TYPE == I4_WIDE) {
                    const uint k = k0 * 4u + (i * LX + t) / BN4, bit = (k & 3u) << 3 | (k & 4u);
                    const uvec4 high = wwide4[wide_at + col0 + (i * LX + t) % BN4];
                    [[unroll]] for (uint c = 0u; c < 4u; ++c)
                        if (high[c] != 0xFFFFFFFFu) v[c] += from_high_part(wwide[high_at + high[c] + k / 8u], bit);
                }
                if (W_TYPE >= I8_GROUPS) {
                    const uint at = scales_at + (k0 * 4u + (i * LX + t) / BN4) / GROUP * BN4 + (i * LX + t) % BN4;
                    v = ZEROS != 0u ? fma(v, wscale[at], wscale[at + zeros_at]) : v * wscale[at];
                }
            }
            ws[i * LX + t] = v;
#endif
        }
        w_at += BK * BN4;
        barrier();
        PHASE_END(LOAD)
        if (SKIP_ROWS == 0u || has_rows) {
            [[unroll]] for (uint k = 0u; k < BK; ++k) {
                const uint from = a_row(k / 4u, k % 4u) + a_row0;
                float av[TM];
                [[unroll]] for (uint i = 0u; i < TM; ++i) av[i] = as[from + i];
                [[unroll]] for (uint j = 0u; j < TN4; ++j) {
                    const vec4 wv = ws[k * BN4 + j * (BN / TN) + tx];
                    [[unroll]] for (uint i = 0u; i < TM; ++i) acc[i * TN4 + j] = fma(vec4(av[i]), wv, acc[i * TN4 + j]);
                }
            }
        }
        barrier();
        PHASE_END(COMPUTE)
    }
#if CONV
    }
#endif

#if !PHASES   // the barrier at the end is for all; below, rows beyond M write nothing anyway
    if (!has_rows) return;
#endif
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
#if PHASES
    barrier();
#endif
    PHASES_STORE()
}
