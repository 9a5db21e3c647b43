// The kernel of conv2d.winograd.tile and conv2d.winograd.half; HALF says which. Both files describe it.

#include "types.glsl"
#include "activation.glsl"
#define OUT_BINDING 6
#include "epilogue.glsl"
#define PHASES_BINDING (OUT_BINDING + 1)
#include "phases.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 256u;
layout(constant_id = 10) const uint BT = 32u;
layout(constant_id = 11) const uint BN = 32u;
layout(constant_id = 12) const uint BK = 16u;
layout(constant_id = 13) const uint TM = 8u;
layout(constant_id = 14) const uint CHUNK = 64u;
layout(constant_id = 17) const uint IH = 1u;
layout(constant_id = 18) const uint IW = 1u;
layout(constant_id = 19) const uint C4 = 1u;
layout(constant_id = 20) const uint OH = 1u;
layout(constant_id = 21) const uint OW = 1u;
layout(constant_id = 22) const uint PH = 0u;
layout(constant_id = 23) const uint PW = 0u;
layout(constant_id = 24) const uint I_LD4 = 1u;   // groups from one pixel to the next

// A staged word is a channel in fp32, two in packed halves; an item is two words of a pixel or of a plane.
#if HALF
#define Item f16vec4
const uint WORD = 2u;
layout(set = 0, binding = 0) readonly buffer A16 { uvec2 a16[]; };
layout(set = 0, binding = 1) readonly buffer W16 { uvec4 w16[]; };
#else
#define Item vec2
const uint WORD = 1u;
layout(set = 0, binding = 0) readonly buffer A32 { uvec2 a32[]; };
layout(set = 0, binding = 1) readonly buffer W32 { uvec4 w32[]; };
#endif

layout(push_constant) uniform Push { uint tiles, N, o_ld4, m0; } p;

const uint TN = 8u, PLANES = 16u;
const uint KW = BK / WORD, KQ = KW / 2u;   // words and items of a trip's channels
const uint SWAP = 32u / KQ;                // spreads the items of neighbouring invocations over the banks
const uint PLANE = KW * BT;
const uint V_WORDS = PLANES * PLANE, U_WORDS = PLANES * BK * BN / WORD, M_WORDS = PLANES * BT * BN / WORD;
const uint WORDS = V_WORDS + U_WORDS;
// Planes of products go back through the same memory, some of the tiles at a time.
const uint ROUNDS = M_WORDS <= WORDS ? 1u : M_WORDS <= 2u * WORDS ? 2u : 4u;
const uint TR = BT / ROUNDS, TMR = TM / ROUNDS;   // tiles of a round: all, and those of an invocation
const uint ROUND_ITEMS = TR * BN / 4u;            // tiles times groups of 4 outputs
const uint SHARES = LX / ROUND_ITEMS;             // rounds that are done by different invocations
const uint OWN = ROUNDS / SHARES;
const uint A_ITEMS = KQ * BT * 2u, A_LOADS = (A_ITEMS + LX - 1u) / LX;
const uint W_GROUPS = U_WORDS / 4u, W_LOADS = (W_GROUPS + LX - 1u) / LX;
const bool PADDED = PH != 0u || PW != 0u;
// Whether the middle ones of a window's four lines and columns may lie in the padding.
const bool INNER_ROWS = PH > 1u || OH % 2u != 0u, INNER_COLS = PW > 1u || OW % 2u != 0u;
const uint TILES_X = (OW + 1u) / 2u, TILES_Y = (OH + 1u) / 2u;

shared uint stage[WORDS];

#if HALF
Item load_pixel(uint at, uint mask)
{
    const uvec2 raw = a16[at] & uvec2(mask);
    return Item(unpackFloat2x16(raw.x), unpackFloat2x16(raw.y));
}
uint word_of(Item v, uint w) { return packFloat2x16(w == 0u ? v.xy : v.zw); }
#else
Item load_pixel(uint at, uint mask) { return uintBitsToFloat(a32[at] & uvec2(mask)); }
uint word_of(Item v, uint w) { return floatBitsToUint(w == 0u ? v.x : v.y); }
#endif

// Every bit where 0 <= i < n, none elsewhere: no comparison, so that a compiler masks by it instead of selecting.
uint all_if_within(int i, uint n) { return uint(~((i | int(n) - 1 - i) >> 31)); }

void main()
{
    const uint t = gl_LocalInvocationID.x;
    PHASES_START()

    // Of products: a plane, TM tiles of it and 8 outputs.
    const uint tx = t % (BN / TN), ty = t / (BN / TN) % (BT / TM), plane = t / (BN / TN * (BT / TM));

    // Of staging: the upper or the lower half of an item's planes, which are sums of three lines of pixels. The lower half takes them
    // from the bottom, so that both are the same sums but for a sign.
    uint a_row[A_LOADS * 3u], a_col[A_LOADS * 4u], row_mask[A_LOADS * 3u], col_mask[A_LOADS * 4u], to_outer[A_LOADS], to_inner[A_LOADS];
    Item sign[A_LOADS];
    [[unroll]] for (uint i = 0u; i < A_LOADS; ++i) {
        const uint e = i * LX + t, kq = e % KQ, tile = e / KQ % BT, lower = e / (KQ * BT);
        const uint at = min(p.m0 + gl_WorkGroupID.x * BT + tile, p.tiles - 1u);
        const uint line = at / TILES_X, image = line / TILES_Y;
        const int y0 = int(line % TILES_Y * 2u) - int(PH), x0 = int(at % TILES_X * 2u) - int(PW);
        [[unroll]] for (uint r = 0u; r < 3u; ++r) {
            const int y = y0 + int(lower != 0u ? 3u - r : r), inside = clamp(y, 0, int(IH) - 1);
            row_mask[i * 3u + r] = all_if_within(y, IH);
            a_row[i * 3u + r] = (image * IH + uint(inside)) * IW * I_LD4 * (4u / (2u * WORD)) + kq;
        }
        [[unroll]] for (uint c = 0u; c < 4u; ++c) {
            const int x = x0 + int(c), inside = clamp(x, 0, int(IW) - 1);
            col_mask[i * 4u + c] = all_if_within(x, IW);
            a_col[i * 4u + c] = uint(inside) * I_LD4 * (4u / (2u * WORD));
        }
        const uint place = kq * 2u * BT + (tile ^ (kq * SWAP & (BT - 1u)));
        to_outer[i] = place + (lower != 0u ? 12u : 0u) * PLANE;
        to_inner[i] = place + (lower != 0u ? 8u : 4u) * PLANE;
#if HALF
        sign[i] = f16vec4(float16_t(lower != 0u ? -1.0 : 1.0));
#else
        sign[i] = vec2(lower != 0u ? -1.0 : 1.0);
#endif
    }
    uint w_at = gl_WorkGroupID.y * ((C4 * 4u + BK - 1u) / BK * W_GROUPS) + t;

    vec4 y[OWN * 4u];   // a group of 4 outputs of the tile's pixels
    [[unroll]] for (uint i = 0u; i < OWN * 4u; ++i) y[i] = vec4(0.0);

    // Of halves, sum[4 i + 3 - j] is of outputs 2 j and 2 j + 1: in this order NAK gives the words of one store registers side by side.
#if HALF
    [[dont_unroll]] for (uint chunk = 0u; chunk < C4 * 4u; chunk += CHUNK) {
        const uint end = min(chunk + CHUNK, C4 * 4u);
        f16vec2 sum[TM * 4u];
        [[unroll]] for (uint i = 0u; i < TM * 4u; ++i) sum[i] = f16vec2(0.0);
#else
    {
        const uint chunk = 0u, end = C4 * 4u;
        vec4 sum[TM * 2u];
        [[unroll]] for (uint i = 0u; i < TM * 2u; ++i) sum[i] = vec4(0.0);
#endif
        [[dont_unroll]] for (uint k0 = chunk; k0 < end; k0 += BK) {
            [[unroll]] for (uint i = 0u; i < A_LOADS; ++i) {
                const uint e = i * LX + t;
                if ((i + 1u) * LX <= A_ITEMS || e < A_ITEMS) {
                    uint from = k0 / (2u * WORD);
                    // Behind the last channel the last one again, for weights that are zero.
                    if (C4 * 4u % BK != 0u) from = uint(min(int(from), int(C4 * 2u / WORD) - 1 - int(e % KQ)));
                    Item outer[4], inner[4];
                    [[unroll]] for (uint c = 0u; c < 4u; ++c) {
                        Item d[3];
                        [[unroll]] for (uint r = 0u; r < 3u; ++r) {
                            uint mask = 0xFFFFFFFFu;
                            if (PADDED && (r == 0u || INNER_ROWS)) mask = row_mask[i * 3u + r];
                            if (PADDED && (c == 0u || c == 3u || INNER_COLS)) mask &= col_mask[i * 4u + c];
                            d[r] = load_pixel(a_row[i * 3u + r] + a_col[i * 4u + c] + from, mask);
                        }
                        outer[c] = d[0] - d[2];
                        inner[c] = fma(d[2], sign[i], d[1]);
                    }
                    [[unroll]] for (uint w = 0u; w < 2u; ++w) {
                        stage[to_outer[i] + w * BT] = word_of(outer[0] - outer[2], w);
                        stage[to_outer[i] + w * BT + PLANE] = word_of(outer[1] + outer[2], w);
                        stage[to_outer[i] + w * BT + PLANE * 2u] = word_of(outer[2] - outer[1], w);
                        stage[to_outer[i] + w * BT + PLANE * 3u] = word_of(outer[3] - outer[1], w);
                        stage[to_inner[i] + w * BT] = word_of(inner[0] - inner[2], w);
                        stage[to_inner[i] + w * BT + PLANE] = word_of(inner[1] + inner[2], w);
                        stage[to_inner[i] + w * BT + PLANE * 2u] = word_of(inner[2] - inner[1], w);
                        stage[to_inner[i] + w * BT + PLANE * 3u] = word_of(inner[3] - inner[1], w);
                    }
                }
            }
            [[unroll]] for (uint i = 0u; i < W_LOADS; ++i) {
                const uint e = i * LX + t;
                if ((i + 1u) * LX <= W_GROUPS || e < W_GROUPS) {
#if HALF
                    const uvec4 u = w16[w_at + i * LX];
#else
                    const uvec4 u = w32[w_at + i * LX];
#endif
                    [[unroll]] for (uint j = 0u; j < 4u; ++j) stage[V_WORDS + e * 4u + j] = u[j];
                }
            }
            w_at += W_GROUPS;
            barrier();
            PHASE_END(LOAD)
            const uint u_from = V_WORDS + plane * (BK * BN / WORD) + tx * 4u;
            [[unroll]] for (uint kw = 0u; kw < KW; ++kw) {
                const uint swap = kw / 2u * SWAP & (BT - 1u);
                const uint from = plane * PLANE + kw * BT + ((ty * TM) ^ (swap - swap % TM));
#if HALF
                uvec4 u[2];
                [[unroll]] for (uint h = 0u; h < 2u; ++h)
                    [[unroll]] for (uint j = 0u; j < 4u; ++j) u[h][j] = stage[u_from + (kw * 2u + h) * (BN / 2u) + j];
#else
                vec4 u[2];
                [[unroll]] for (uint j = 0u; j < 2u; ++j)
                    [[unroll]] for (uint c = 0u; c < 4u; ++c) u[j][c] = uintBitsToFloat(stage[u_from + kw * BN + j * (BN / 2u) + c]);
#endif
                [[unroll]] for (uint i4 = 0u; i4 < TM; i4 += 4u) {
                    uvec4 v;
                    [[unroll]] for (uint i = 0u; i < 4u; ++i) v[i] = stage[from + ((i4 + i) ^ swap % TM)];
#if HALF
                    [[unroll]] for (uint h = 0u; h < 2u; ++h)
                        [[unroll]] for (uint j = 0u; j < 4u; ++j)
                            [[unroll]] for (uint i = 0u; i < 4u; ++i) {
                                const uint to = (i4 + i) * 4u + 3u - j;
                                sum[to] = fma(f16vec2(unpackFloat2x16(v[i])[h]), unpackFloat2x16(u[h][j]), sum[to]);
                            }
#else
                    [[unroll]] for (uint j = 0u; j < 2u; ++j)
                        [[unroll]] for (uint i = 0u; i < 4u; ++i) {
                            const uint to = (i4 + i) * 2u + j;
                            sum[to] = fma(vec4(uintBitsToFloat(v[i])), u[j], sum[to]);
                        }
#endif
                }
            }
            barrier();
            PHASE_END(COMPUTE)
        }

        [[unroll]] for (uint r = 0u; r < ROUNDS; ++r) {
            [[unroll]] for (uint i = 0u; i < TMR; ++i) {
#if HALF
                const uint to = (plane * TR + ty * TMR + i) * (BN / 2u) + tx * 4u;
                [[unroll]] for (uint j = 0u; j < 4u; ++j) stage[to + j] = packFloat2x16(sum[(r * TMR + i) * 4u + 3u - j]);
#else
                [[unroll]] for (uint j = 0u; j < 2u; ++j) {
                    const uint to = (plane * TR + ty * TMR + i) * BN + (j * (BN / TN) + tx) * 4u;
                    [[unroll]] for (uint c = 0u; c < 4u; ++c) stage[to + c] = floatBitsToUint(sum[(r * TMR + i) * 2u + j][c]);
                }
#endif
            }
            barrier();
            if (SHARES == 1u || t / ROUND_ITEMS == r % SHARES) {
                const uint from = (SHARES == 1u ? t : t % ROUND_ITEMS) * (4u / WORD);
#if HALF
                f16vec4 top[4], bottom[4];
#define PRODUCTS(i) f16vec4(unpackFloat2x16(stage[from + (i) * (TR * BN / 2u)]), unpackFloat2x16(stage[from + (i) * (TR * BN / 2u) + 1u]))
#else
                vec4 top[4], bottom[4];
#define AT(i, j) stage[from + (i) * (TR * BN) + j]
#define PRODUCTS(i) uintBitsToFloat(uvec4(AT(i, 0u), AT(i, 1u), AT(i, 2u), AT(i, 3u)))
#endif
                [[unroll]] for (uint c = 0u; c < 4u; ++c) {
                    top[c] = PRODUCTS(c) + PRODUCTS(c + 4u) + PRODUCTS(c + 8u);
                    bottom[c] = PRODUCTS(c + 4u) - PRODUCTS(c + 8u) + PRODUCTS(c + 12u);
                }
                const uint own = r / SHARES * 4u;
                y[own] += vec4(top[0] + top[1] + top[2]);
                y[own + 1u] += vec4(top[1] - top[2] + top[3]);
                y[own + 2u] += vec4(bottom[0] + bottom[1] + bottom[2]);
                y[own + 3u] += vec4(bottom[1] - bottom[2] + bottom[3]);
            }
            barrier();
        }
    }

    const uint n4 = (p.N + 3u) / 4u, n = gl_WorkGroupID.y * (BN / 4u) + t % (BN / 4u);
    if (n < n4) {
        const Columns cols = load_columns(n, 1.0);
        [[unroll]] for (uint i = 0u; i < OWN; ++i) {
            const uint r = SHARES == 1u ? i : i * SHARES + t / ROUND_ITEMS;
            const uint item = SHARES == 1u ? t : t % ROUND_ITEMS, place = item / (BN / 4u);
            // A round has TMR tiles of each invocation.
            const uint at = p.m0 + gl_WorkGroupID.x * BT + place / TMR * TM + r * TMR + place % TMR;
            const uint line = at / TILES_X, oy = line % TILES_Y * 2u, ox = at % TILES_X * 2u;
            const uint pixel = (line / TILES_Y * OH + oy) * OW + ox;
            if (at < p.tiles) {
                [[unroll]] for (uint q = 0u; q < 4u; ++q)
                    if ((OH % 2u == 0u || oy + q / 2u < OH) && (OW % 2u == 0u || ox + q % 2u < OW))
                        finish(y[i * 4u + q], cols, (pixel + q / 2u * OW + q % 2u) * p.o_ld4 + n, 0u);
            }
        }
    }
#if PHASES
    barrier();
#endif
    PHASES_STORE()
}
