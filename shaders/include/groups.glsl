// Attention within groups of a map's tokens (PARTITION=1 of attention.*): where the row of a token lies, the mask between the sides of a
// shifted map's seams, and what stands in for tokens beyond its edge. Group (gy, gx), token (ty, tx) is the pixel
//     y = gy / STEP_H * GROUP_H * STEP_H + ty * STEP_H + gy % STEP_H + SHIFT_H, modulo the padded height; x likewise.
// Constants: 20 MAP_H, 21 MAP_W, 22 GROUP_H, 23 GROUP_W, 24 STEP_H, 25 STEP_W, 26 SHIFT_H, 27 SHIFT_W, 28 BIAS, 29 PAD (binding 4 holds the
// row of tokens beyond the edge; 0: zeros). Push constant z0: the first of image * groups + group.

layout(constant_id = 20) const uint MAP_H = 1u;
layout(constant_id = 21) const uint MAP_W = 1u;
layout(constant_id = 22) const uint GROUP_H = 1u;
layout(constant_id = 23) const uint GROUP_W = 1u;
layout(constant_id = 24) const uint STEP_H = 1u;
layout(constant_id = 25) const uint STEP_W = 1u;
layout(constant_id = 26) const uint SHIFT_H = 0u;
layout(constant_id = 27) const uint SHIFT_W = 0u;
layout(constant_id = 28) const uint BIAS = 0u;
layout(constant_id = 29) const uint PAD = 0u;

const uint TILE_H = GROUP_H * STEP_H, TILE_W = GROUP_W * STEP_W;   // pixels that a block of groups covers
const uint DOWN = (MAP_H + TILE_H - 1u) / TILE_H * STEP_H, ACROSS = (MAP_W + TILE_W - 1u) / TILE_W * STEP_W;   // groups
const uint PADDED_H = DOWN * GROUP_H, PADDED_W = ACROSS * GROUP_W;
const bool PADDED = PADDED_H != MAP_H || PADDED_W != MAP_W;
const bool SHIFTED = SHIFT_H != 0u || SHIFT_W != 0u;
const uint BIAS_LD4 = (GROUP_H * GROUP_W + 3u) / 4u;
const uint NO_ROW = 0xFFFFFFFFu;
const float MASKED = -100.0;

#ifdef TEXEL_PAD
layout(set = 0, binding = 4) uniform samplerBuffer pad;   // software drivers write a loop over the lanes for each storage load, and there are many here
vec4 load_pad(uint g) { return texelFetch(pad, int(g)); }
#else
layout(set = 0, binding = 4) readonly buffer Pad { vec4 pad[]; };
vec4 load_pad(uint g) { return pad[g]; }
#endif

uint group_row(uint image, uint group, uint token)
{
    const uint gy = group / ACROSS, gx = group % ACROSS;
    uint y = gy / STEP_H * TILE_H + token / GROUP_W * STEP_H + gy % STEP_H + SHIFT_H;
    uint x = gx / STEP_W * TILE_W + token % GROUP_W * STEP_W + gx % STEP_W + SHIFT_W;
    // No && and no ?: with work in it: each would be a branch, there are dozens once loops are unrolled, and a software driver's compiler
    // takes minutes for them.
    if (SHIFTED) {
        y -= y >= PADDED_H ? PADDED_H : 0u;
        x -= x >= PADDED_W ? PADDED_W : 0u;
    }
    const uint row = (image * MAP_H + y) * MAP_W + x;
    if (!PADDED) return row;
    const bool beyond = any(greaterThanEqual(uvec2(y, x), uvec2(MAP_H, MAP_W)));
    return beyond ? NO_ROW : row;
}

// The side of the seams on which a token lies, a bit per axis; only the last groups have any.
uint token_region(uint group, uint token)
{
    const bvec4 sides = bvec4(group / ACROSS == DOWN - 1u, token / GROUP_W >= GROUP_H - SHIFT_H, group % ACROSS == ACROSS - 1u,
                              token % GROUP_W >= GROUP_W - SHIFT_W);   // of an axis without a shift the second is never true
    return (all(sides.xy) ? 1u : 0u) + (all(sides.zw) ? 2u : 0u);
}
bool has_seam(uint group) { return SHIFTED && (group / ACROSS == DOWN - 1u || group % ACROSS == ACROSS - 1u); }
