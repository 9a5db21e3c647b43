// The packed product of linear.half and conv2d.half; CONV says which. Both files describe it.

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
#if CONV
const uint LN = 0u, GAIN = 0u, K_FULL = 1u;
#else
layout(constant_id = 9) const uint LN = 0u;
layout(constant_id = 15) const uint K_FULL = 0u;
layout(constant_id = 17) const uint GAIN = 0u;
// Moments of a row are behind the rows: for every BN columns of its producer their mean and the sum of squares of what they are off it.
layout(constant_id = 19) const uint OUT_MOMENTS = 0u;      // 1: of out's rows, for who normalises them. N is a multiple of 8
layout(constant_id = 20) const uint OUT_MOMENTS_AT = 0u;   // in pairs from out's beginning
layout(constant_id = 21) const uint IN_MOMENTS = 0u;       // LN: how many pairs A's rows have; 0: none, they are worked out
layout(constant_id = 22) const uint IN_MOMENTS_AT = 0u;
layout(constant_id = 23) const uint IN_COLUMNS = 1u;       // that a pair is of; the last has what is left of K
layout(constant_id = 18) const uint GROUP = 1u;   // of W_TYPE I8_GROUPS and I4_GROUPS: columns of K that share a scale, whole trips
#endif
layout(constant_id = 10) const uint BM = 128u;
layout(constant_id = 11) const uint BN = 128u;
layout(constant_id = 12) const uint BK = 48u;
layout(constant_id = 13) const uint TM = 8u;
layout(constant_id = 16) const uint SKIP_ROWS = 0u;

layout(set = 0, binding = 0) readonly buffer A16 { uvec2 a16[]; };
layout(set = 0, binding = 1) readonly buffer W16 { uvec4 w16[]; };
layout(set = 0, binding = 1) readonly buffer W8 { uvec2 w8[]; };
layout(set = 0, binding = 1) readonly buffer W4 { uint w4[]; };
#if !CONV
layout(set = 0, binding = 6) readonly buffer Gain { vec4 gain[]; };
layout(set = 0, binding = 0) readonly buffer InMoments { vec2 in_moments[]; };
layout(set = 0, binding = OUT_BINDING) writeonly buffer OutMoments { vec2 out_moments[]; };
#endif

layout(push_constant) uniform Push { uint M, N, K, a_ld4, o_ld4, r_ld4, a_off4, m0; float eps; } p;

const uint TN = 8u;
const uint BM2 = BM / 2u, BN8 = BN / 8u, BK4 = BK / 4u, TM2 = TM / 2u;
const uint LDA = BM2 + 4u;            // words of two rows per staged k
const uint A_LOADS = (BM2 * BK4 + LX - 1u) / LX, W_LOADS = (BK * BN8 + LX - 1u) / LX;
shared uint as[BK * LDA];             // as[k][m / 2]
shared uvec4 ws[W_LOADS * LX];        // ws[k][n / 8], with a margin for the last load's surplus
#if !CONV
// OUT_MOMENTS: W's bytes are enough for all rows at once, or A's for half of them. Of every two rows of an invocation [rows / 2][LDM] the mean
// and the squares; from 128 columns on a margin keeps rows off each other's banks.
const uint LDM = BN8 + BN8 / 16u;
const bool MOMENTS_IN_W = BM * LDM * 2u <= W_LOADS * LX * 4u;
const uint RUN_TM = MOMENTS_IN_W ? TM : TM2;   // rows of an invocation at a time
void keep_moments(uint at, vec4 two)
{
    if (MOMENTS_IN_W) ws[at] = floatBitsToUint(two);
    else [[unroll]] for (uint i = 0u; i < 4u; ++i) as[at * 4u + i] = floatBitsToUint(two[i]);
}
vec2 moments(uint at, uint odd)
{
    if (MOMENTS_IN_W) return uintBitsToFloat(odd != 0u ? ws[at].zw : ws[at].xy);
    return uintBitsToFloat(uvec2(as[at * 4u + odd * 2u], as[at * 4u + odd * 2u + 1u]));
}
#endif

// Codes are multiplied as halves of code * 2^-7, which is exact: a sum of 64 products with activations up to 1023 stays below 65504. No
// conversion: a code that is moved to begin at 0 stands in the last places of 8, which are 2^-7 each. What makes a pair is what lies 16 bits
// apart in a word: bytes 0 and 2, 1 and 3, nibbles i and i + 4. Sums come in that order, quad() brings them back to that of the columns.
const float CODE_UNIT = 128.0;
const bool GROUPS = W_TYPE == I8_GROUPS || W_TYPE == I4_GROUPS;
uint half_codes(uint q, uint mask, uint first, float zero)
{
    return packFloat2x16(unpackFloat2x16((q & mask) ^ first) - f16vec2(float16_t(zero)));
}
uvec4 load_w(uint g)
{
    if (W_TYPE == F16) return w16[g];
    if (W_TYPE == I4_GROUPS) {
        const uint q = w4[g];
        uvec4 v;
        [[unroll]] for (uint j = 0u; j < 4u; ++j) v[j] = half_codes(q >> 4u * j, 0x000F000Fu, 0x48004800u, 8.0625);
        return v;
    }
    const uvec2 q = w8[g];
    return uvec4(half_codes(q.x, 0x00FF00FFu, 0x48804880u, 9.0), half_codes(q.x >> 8u, 0x00FF00FFu, 0x48804880u, 9.0),
                 half_codes(q.y, 0x00FF00FFu, 0x48804880u, 9.0), half_codes(q.y >> 8u, 0x00FF00FFu, 0x48804880u, 9.0));
}
// Columns 4 h to 4 h + 3 of a row's four sums.
vec4 quad(f16vec2 a, f16vec2 b, f16vec2 c, f16vec2 d, uint h)
{
    if (W_TYPE == I4_GROUPS) return vec4(a[h], b[h], c[h], d[h]);
    if (h == 1u) a = c, b = d;
    return W_TYPE == F16 ? vec4(vec2(a), vec2(b)) : vec4(a.x, b.x, a.y, b.y);
}

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
// its lines (bits 0 to 15) and columns (16 to 31) lie in the picture. tap_at: where the tap that is being multiplied lies.
shared uvec2 window[BM];
shared uint tap_at[BM];
#include "planar.glsl"
#else
shared vec4 group_scale[GROUPS ? BN / 4u : 1u];   // of the trip's columns of K
shared uvec2 pair_norm[LN != 0u ? BM2 : 2u];   // LN: scale and offset of two rows, as halves

vec4 load_a(uint g) { return from_half4(a16[g]); }
#define SCRATCH_STORE(i, x) as[i] = floatBitsToUint(x)
#define SCRATCH_LOAD(i) uintBitsToFloat(as[i])
#include "row_norm.glsl"

// row_norm of rows whose producer left their moments (Chan et al. 1983).
void row_moments(uint m)
{
    [[unroll]] for (uint first = 0u; first < BM; first += LX) {
        const uint r = first + gl_LocalInvocationID.x;
        if (r < BM) {
            const uint at = IN_MOMENTS_AT + min(m + r, p.M - 1u) * IN_MOMENTS;
            float mean = 0.0, squares = 0.0;
            vec2 part[IN_MOMENTS != 0u ? IN_MOMENTS : 1u];
            [[unroll]] for (uint i = 0u; i < IN_MOMENTS; ++i) {
                part[i] = in_moments[at + i];
                mean = fma(float(min(IN_COLUMNS, p.K - i * IN_COLUMNS)), part[i].x, mean);
            }
            mean /= float(p.K);
            [[unroll]] for (uint i = 0u; i < IN_MOMENTS; ++i) {
                const float d = part[i].x - mean;
                squares += fma(float(min(IN_COLUMNS, p.K - i * IN_COLUMNS)) * d, d, part[i].y);
            }
            const float rstd = inversesqrt(squares / float(p.K) + p.eps);
            row_norm[r] = vec2(rstd, -mean * rstd);
        }
    }
    barrier();
}

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
#endif

// The same dimension of two rows side by side.
uvec4 pairs(uvec2 a, uvec2 b)
{
    const f16vec2 a0 = unpackFloat2x16(a.x), a1 = unpackFloat2x16(a.y), b0 = unpackFloat2x16(b.x), b1 = unpackFloat2x16(b.y);
    return uvec4(packFloat2x16(f16vec2(a0.x, b0.x)), packFloat2x16(f16vec2(a0.y, b0.y)), packFloat2x16(f16vec2(a1.x, b1.x)),
                 packFloat2x16(f16vec2(a1.y, b1.y)));
}

void main()
{
    const uint t = gl_LocalInvocationID.x;
    const uint tx = t % (BN / TN), ty = t / (BN / TN);
    const uint k4 = (p.K + 3u) / 4u, n4 = (p.N + 3u) / 4u;
    const uint m0 = p.m0 + gl_WorkGroupID.x * BM, col0 = gl_WorkGroupID.y * (BN / 4u);
    PHASES_START()
#if !CONV
    if (LN != 0u) {
        if (IN_MOMENTS != 0u) row_moments(m0);
        else row_statistics(m0);
        round_norms();
    }
#endif

    // Each load takes the same k-group of two neighbouring rows; rows beyond M repeat the last one.
    uint a_at[A_LOADS], a_to[A_LOADS];
#if !CONV
    bool a_pair[A_LOADS];   // the second row exists
    uint a_next[A_LOADS];   // from a row to the second one; used where there are registers to keep it (A_LOADS < 3)
#endif
    [[unroll]] for (uint i = 0u; i < A_LOADS; ++i) {
        const uint e = i * LX + t, kk = e % BK4, r = e / BK4;
        a_to[i] = kk * 4u * LDA + r;
#if CONV
        a_at[i] = kk;
#else
        a_at[i] = p.a_off4 + min(m0 + r * 2u, p.M - 1u) * p.a_ld4 + kk;
        a_pair[i] = m0 + r * 2u + 1u < p.M;
        a_next[i] = a_pair[i] ? p.a_ld4 : 0u;
#endif
    }
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
#endif
    uint w_at = gl_WorkGroupID.y * (k4 * 4u * BN8) + t;
    const bool has_rows = m0 + ty * TM < p.M;
#if !CONV
    // wscale[panels][groups, and some that only the last load's surplus reads][BN], as in tile.glsl.
    const uint scale_rows = (p.K + GROUP - 1u) / GROUP + ((W_LOADS * LX - BK * BN8 + BN8 - 1u) / BN8 + GROUP - 1u) / GROUP;
    const uint scales_at = gl_WorkGroupID.y * scale_rows * (BN / 4u);
#endif

    vec4 acc[TM * 2u];
    [[unroll]] for (uint i = 0u; i < TM * 2u; ++i) acc[i] = vec4(0.0);

#if CONV
    // Tap by tap, so that what is worked out for a tap lasts for all its channels. An invocation's windows are its own until the barrier
    // behind the staging: others read tap_at only between that of the tap's last trip and this one. A planar picture is one tap: what lies
    // where is worked out for each group of K.
    const uint taps = PLANAR != 0u ? 1u : KH * KW, c4 = PLANAR != 0u ? PLANAR_K4 : C4;
    [[dont_unroll]] for (uint tap = 0u; tap < taps; ++tap) {
    const uint ky = tap / KW, kx = tap % KW, both = 1u << ky | 0x10000u << kx;
    [[unroll]] for (uint first = 0u; first < BM; first += LX) {
        const uint r = first + t;
        if (first + LX <= BM || r < BM) {
            const uvec2 from = window[r];
            const uint at = (from.x + ky * DH * IW + kx * DW) * I_LD4;
            tap_at[r] = !PADDED || (from.y & both) == both ? at : OUTSIDE;
        }
    }
    barrier();
    w_at = gl_WorkGroupID.y * (k4 * 4u * BN8) + tap * (c4 * 4u * BN8) + t;
    [[dont_unroll]] for (uint k0 = 0u; k0 < c4; k0 += BK4) {
#else
    [[dont_unroll]] for (uint k0 = 0u; k0 < k4; k0 += BK4) {
#endif
        [[unroll]] for (uint i = 0u; i < A_LOADS; ++i) {
            const uint e = i * LX + t;
            if ((i + 1u) * LX <= BM2 * BK4 || e < BM2 * BK4) {
#if CONV
                // What lies outside is read where something is, and dropped: two branches a load cost more.
                const uint r = e / BK4;
                uvec4 pair;
                if (PLANAR != 0u) {
                    const PlanarGroup group = planar_group(k0 + a_at[i]);
                    pair = pairs(to_half4(load_planar(window[r * 2u], group)), to_half4(load_planar(window[r * 2u + 1u], group)));
                } else {
                const uint at_a = tap_at[r * 2u], at_b = tap_at[r * 2u + 1u];
                const bool channel = C4 % BK4 == 0u || k0 + a_at[i] < C4;
                const bool real_a = channel && (!PADDED || at_a != OUTSIDE), real_b = channel && (!PADDED || at_b != OUTSIDE);
                const uvec2 a = a16[mix(0u, at_a + k0 + a_at[i], real_a)], b = a16[mix(0u, at_b + k0 + a_at[i], real_b)];
                pair = pairs(mix(uvec2(0u), a, bvec2(real_a)), mix(uvec2(0u), b, bvec2(real_b)));
                }
#else
                uvec4 pair = uvec4(0u);
                if (K_FULL != 0u || k0 + e % BK4 < k4) {
                    pair = pairs(a16[a_at[i] + k0], a16[a_at[i] + k0 + (A_LOADS < 3u ? a_next[i] : a_pair[i] ? p.a_ld4 : 0u)]);
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
#endif
                [[unroll]] for (uint j = 0u; j < 4u; ++j) as[a_to[i] + j * LDA] = pair[j];
            }
        }
        [[unroll]] for (uint i = 0u; i < W_LOADS; ++i) {
            uvec4 v = uvec4(0u);
            if (K_FULL != 0u || k0 + (i * LX + t) / BN8 / 4u < k4) v = load_w(w_at + i * LX);
            ws[i * LX + t] = v;
        }
#if !CONV
        if (GROUPS) {
            [[unroll]] for (uint first = 0u; first < BN / 4u; first += LX) {
                const uint n = first + t;
                if (n < BN / 4u) group_scale[n] = wscale[scales_at + k0 * 4u / GROUP * (BN / 4u) + n] * CODE_UNIT;
            }
        }
#endif
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
            [[unroll]] for (uint i = 0u; i < TM * 2u; ++i) {
                const uint at = i / 2u * 4u;
                const vec4 part = quad(sum[at], sum[at + 1u], sum[at + 2u], sum[at + 3u], i % 2u);
#if !CONV
                if (GROUPS) acc[i] = fma(part, group_scale[tx * 2u + i % 2u], acc[i]);
                else
#endif
                    acc[i] += part;
            }
        }
        barrier();
        PHASE_END(COMPUTE)
    }

#if CONV
    }
#endif

#if CONV
    const uint OUT_MOMENTS = 0u;
#endif
#if !PHASES   // as in tile.glsl
    if (OUT_MOMENTS == 0u && !has_rows) return;
#endif
    [[unroll]] for (uint j = 0u; j < 2u; ++j) {
        const uint n = col0 + tx * 2u + j;
        if (n < n4) {
            const Columns cols = load_columns(n, CODE_UNIT);
            [[unroll]] for (uint i = 0u; i < TM; ++i) {
                const uint m = m0 + ty * TM + i;
#if CONV
                const float scale = 1.0;
#else
                const float scale = LN != 0u ? row_norm[ty * TM + i].x : 1.0;
#endif
                if (m < p.M) acc[i * 2u + j] = finish(acc[i * 2u + j] * scale, cols, m * p.o_ld4 + n, m * p.r_ld4 + n);
            }
        }
    }
#if !CONV
    // An invocation's 8 columns of each row, then all of a row.
    if (OUT_MOMENTS != 0u) {
        const uint parts = min(BN8, p.N / 8u - gl_WorkGroupID.y * BN8);
        [[unroll]] for (uint run = 0u; run < TM / RUN_TM; ++run) {
            if (run != 0u) barrier();
            [[unroll]] for (uint i = 0u; i < RUN_TM; i += 2u) {
                vec4 two;
                [[unroll]] for (uint j = 0u; j < 2u; ++j) {
                    const vec4 a = acc[(run * RUN_TM + i + j) * 2u], b = acc[(run * RUN_TM + i + j) * 2u + 1u];
                    const float mean = dot(a + b, vec4(0.125));
                    two[j * 2u] = mean;
                    two[j * 2u + 1u] = dot(a - mean, a - mean) + dot(b - mean, b - mean);
                }
                keep_moments((ty * RUN_TM + i) / 2u * LDM + tx, two);
            }
            barrier();
            [[unroll]] for (uint first = 0u; first < BM / TM * RUN_TM; first += LX) {
                const uint r = first + t, m = m0 + r / RUN_TM * TM + run * RUN_TM + r % RUN_TM;
                if (r < BM / TM * RUN_TM && m < p.M) {
                    float mean = 0.0, squares = 0.0, means[BN8];
                    [[unroll]] for (uint i = 0u; i < BN8; ++i) {
                        const bool real = i < parts;
                        const vec2 part = moments(r / 2u * LDM + i, r % 2u);
                        means[i] = part.x;
                        mean += real ? part.x : 0.0;
                        squares += real ? part.y : 0.0;
                    }
                    mean /= float(parts);
                    [[unroll]] for (uint i = 0u; i < BN8; ++i) {
                        const float d = i < parts ? means[i] - mean : 0.0;
                        squares = fma(8.0 * d, d, squares);
                    }
                    out_moments[OUT_MOMENTS_AT + m * gl_NumWorkGroups.y + gl_WorkGroupID.y] = vec2(mean, squares);
                }
            }
        }
    }
#endif
#if PHASES
    barrier();
#endif
    PHASES_STORE()
}
