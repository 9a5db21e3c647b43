// Convolution windows of a planar picture of floats, for tile.glsl and half.glsl: K is in the order (plane, line, column) and has no
// padding. PLANAR 1: element by element, any kernel. PLANAR 2: kernels' lines are whole groups of four that begin at whole groups: IW, KW
// and SW count groups, and so does everything here. Needs the sizes of a convolution and what window[] holds of it.
layout(constant_id = 31) const uint PLANAR = 0u;   // 0: rows, as in NHWC
layout(constant_id = 32) const uint PLANES = 1u;
layout(set = 0, binding = 0) readonly buffer Planes1 { float planes1[]; };
layout(set = 0, binding = 0) readonly buffer Planes4 { vec4 planes4[]; };

const uint PLANAR_K = PLANES * KH * KW;                                        // elements or groups
const uint PLANAR_K4 = PLANAR == 2u ? PLANAR_K : (PLANAR_K + 3u) / 4u;   // groups

// Columns 4 g to 4 g + 3 of K: where they lie from a window's beginning on, and its bits that say whether they are in the picture.
struct PlanarGroup { uvec4 at, bits; };
PlanarGroup planar_group(uint g)
{
    PlanarGroup of;
    [[unroll]] for (uint j = 0u; j < (PLANAR == 2u ? 1u : 4u); ++j) {
        const uint k = PLANAR == 2u ? g : g * 4u + j;
        const uint line = k / KW, kx = k % KW, ky = line % KH;
        of.at[j] = k < PLANAR_K ? (line / KH * IH + ky * DH) * IW + kx * DW : OUTSIDE;
        of.bits[j] = 1u << ky | 0x10000u << kx;
    }
    return of;
}

// What lies outside is read where something is, and dropped: a branch a load costs more.
vec4 load_planar(uvec2 from, PlanarGroup of)
{
    vec4 v;
    [[unroll]] for (uint j = 0u; j < (PLANAR == 2u ? 1u : 4u); ++j) {
        const bool real = of.at[j] != OUTSIDE && (!PADDED || (from.y & of.bits[j]) == of.bits[j]);
        const uint at = mix(0u, from.x + of.at[j], real);
        if (PLANAR == 2u) v = mix(vec4(0.0), planes4[at], bvec4(real));
        else v[j] = real ? planes1[at] : 0.0;
    }
    return v;
}
