#version 450
// Stored pixels of a picture of any format to RGB, and Pillow's filter along the columns: 22-bit weights, levels of 8 bits between
// the two ways, as engine/simd/picture.cpp, bit for bit. A workgroup makes LX / 2 outputs of 4 rows from a tile of converted pixels.
//
// Bindings: 0 the picture as words, 1 weights [taps4][outputs] of 4 taps, 2 the first pixel of each output, 3 out [rows][outputs] words: R, G, B from the lowest byte.
// Constants: 0 LX, 10 FORMAT (vireo::PixelFormat), 11 TURNED (rows are stored columns), 12 LUMA (Pillow's grey in all channels), 13 ONE (the tile holds all that a workgroup reads), 14 FOURS (taps4, or 0: not unrolled).
// Push constants: outputs, rows, groups (of 4 pixels in a stored row), height (stored rows), span (pixels of the tile along the filter), chunks, taps4, stride0, stride1, plane1, plane2 (words), yy, rv, gu, gv, bu (factors in 1/65536), base_r, base_g, base_b (of luma and chroma 0, with half a level).
// Grid: (ceil(outputs / (LX / 2)), ceil(rows / 4), 1). What reads beyond the picture has no weight.
#extension GL_EXT_control_flow_attributes : require

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 128u;
layout(constant_id = 10) const uint FORMAT = 0u;
layout(constant_id = 11) const uint TURNED = 0u;
layout(constant_id = 12) const uint LUMA = 0u;
layout(constant_id = 13) const uint ONE = 1u;
layout(constant_id = 14) const uint FOURS = 0u;

layout(set = 0, binding = 0) readonly buffer Picture { uint picture[]; };
layout(set = 0, binding = 1) readonly buffer Weights { ivec4 weights[]; };
layout(set = 0, binding = 2) readonly buffer Begins { uint begins[]; };
layout(set = 0, binding = 3) writeonly buffer Out { uint result[]; };

layout(push_constant) uniform Push { uint outputs, rows, groups, height, span, chunks, taps4, stride0, stride1, plane1, plane2; int yy, rv, gu, gv, bu, base_r, base_g, base_b; } p;

const uint CHUNK = 256u;
const uint PITCH = CHUNK + 1u;              // 4 rows and 8 outputs side by side meet 32 banks
shared uint tile[4u * PITCH + CHUNK];       // taps without weight may lie behind the last row

const uint RGB = 0u, BGR = 1u, RGBA = 2u, BGRA = 3u, GREY = 4u, GREY16 = 5u, NV12 = 6u, NV21 = 7u, I420 = 8u, I422 = 9u, I444 = 10u, YUYV = 11u;

uint byte_of(uint word, uint i) { return (word >> (8u * i)) & 255u; }
uint swapped(uint v) { return (v >> 16) | (v & 0xFF00u) | ((v & 255u) << 16); }

// The sums of red, green and blue but for luma's part, in 1/65536 of a level.
ivec3 chroma(uint u, uint v)
{
    return ivec3(p.rv * int(v) + p.base_r, p.gu * int(u) + p.gv * int(v) + p.base_g, p.bu * int(u) + p.base_b);
}
uint rgb(uint y, ivec3 c)
{
    const ivec3 sum = clamp(int(y) * p.yy + c, ivec3(0), ivec3(0xFFFFFF));
    return uint(sum.r >> 16) | (uint(sum.g >> 8) & 0xFF00u) | (uint(sum.b) & 0xFF0000u);
}
uint grey(uint v) { return v | (v << 8) | (v << 16); }
uint grey_of(uint v)
{
    return grey(((v & 255u) * 19595u + ((v >> 8) & 255u) * 38470u + (v >> 16) * 7471u + 0x8000u) >> 16);
}

// The 4 pixels of group g of the stored row y.
uvec4 pixels(uint g, uint y)
{
    uvec4 v;
    const uint row = y * p.stride0;
    if (FORMAT <= BGR) {
        const uint at = row + 3u * g;
        const uint a = picture[at], b = picture[at + 1u], c = picture[at + 2u];
        v = uvec4(a & 0xFFFFFFu, (a >> 24) | ((b & 0xFFFFu) << 8), (b >> 16) | ((c & 255u) << 16), c >> 8);
        if (FORMAT == BGR) v = uvec4(swapped(v.x), swapped(v.y), swapped(v.z), swapped(v.w));
    } else if (FORMAT <= BGRA) {
        const uint at = row + 4u * g;
        v = uvec4(picture[at], picture[at + 1u], picture[at + 2u], picture[at + 3u]) & 0xFFFFFFu;
        if (FORMAT == BGRA) v = uvec4(swapped(v.x), swapped(v.y), swapped(v.z), swapped(v.w));
    } else if (FORMAT == GREY) {
        const uint a = picture[row + g];
        v = uvec4(grey(a & 255u), grey(byte_of(a, 1u)), grey(byte_of(a, 2u)), grey(a >> 24));
    } else if (FORMAT == GREY16) {
        const uint a = picture[row + 2u * g], b = picture[row + 2u * g + 1u];
        v = (uvec4(a & 0xFFFFu, a >> 16, b & 0xFFFFu, b >> 16) * 255u + 32895u) >> 16;
        v = uvec4(grey(v.x), grey(v.y), grey(v.z), grey(v.w));
    } else if (FORMAT >= YUYV) {
        const uint a = picture[row + 2u * g], b = picture[row + 2u * g + 1u];
        const uint l = FORMAT == YUYV ? 0u : 1u;  // the byte of the first luma
        const ivec3 first = chroma(byte_of(a, 1u - l), byte_of(a, 3u - l)), second = chroma(byte_of(b, 1u - l), byte_of(b, 3u - l));
        v = uvec4(rgb(byte_of(a, l), first), rgb(byte_of(a, l + 2u), first), rgb(byte_of(b, l), second), rgb(byte_of(b, l + 2u), second));
    } else if (FORMAT == I444) {
        const uint a = picture[row + g], u = picture[p.plane1 + y * p.stride1 + g], w = picture[p.plane2 + y * p.stride1 + g];
        v = uvec4(rgb(byte_of(a, 0u), chroma(byte_of(u, 0u), byte_of(w, 0u))), rgb(byte_of(a, 1u), chroma(byte_of(u, 1u), byte_of(w, 1u))),
                  rgb(byte_of(a, 2u), chroma(byte_of(u, 2u), byte_of(w, 2u))), rgb(byte_of(a, 3u), chroma(byte_of(u, 3u), byte_of(w, 3u))));
    } else {
        const uint a = picture[row + g];
        const uint line = (FORMAT == I422 ? y : y >> 1) * p.stride1;
        ivec3 first, second;
        if (FORMAT <= NV21) {
            const uint c = picture[p.plane1 + line + g];
            const uint at = FORMAT == NV12 ? 0u : 1u;  // the byte of the first U
            first = chroma(byte_of(c, at), byte_of(c, 1u - at)), second = chroma(byte_of(c, 2u + at), byte_of(c, 3u - at));
        } else {
            const uint at = line + (g >> 1), half_word = 16u * (g & 1u);
            const uint u = picture[p.plane1 + at] >> half_word, w = picture[p.plane2 + at] >> half_word;
            first = chroma(u & 255u, w & 255u), second = chroma(byte_of(u, 1u), byte_of(w, 1u));
        }
        v = uvec4(rgb(a & 255u, first), rgb(byte_of(a, 1u), first), rgb(byte_of(a, 2u), second), rgb(a >> 24, second));
    }
    if (LUMA != 0u) v = uvec4(grey_of(v.x), grey_of(v.y), grey_of(v.z), grey_of(v.w));
    return v;
}

// Four taps from pixel `at` of a line of the tile, which wraps round where it was in an earlier chunk.
void add_four(uint line, uint at, ivec4 w, inout ivec3 sum)
{
    const uint start = line * PITCH + at;
    [[unroll]] for (uint e = 0u; e < 4u; ++e) {
        const uint v = tile[ONE != 0u ? start + e : line * PITCH + min(at + e, CHUNK - 1u)];
        sum += (ONE != 0u || at + e < CHUNK ? w[e] : 0) * ivec3(v & 255u, (v >> 8) & 255u, v >> 16);
    }
}

void main()
{
    const uint lid = gl_LocalInvocationID.x, row4 = gl_WorkGroupID.y * 4u, line = lid & 3u;
    const uint block = gl_WorkGroupID.x * (LX / 2u);
    const uvec2 mine = block + (lid >> 2) + uvec2(0u, LX / 4u), o = min(mine, uvec2(p.outputs - 1u));
    // A picture that is turned round begins with its last pixel.
    const uint first = min(begins[block], begins[min(block + LX / 2u, p.outputs) - 1u]) & ~3u;
    uvec2 from = uvec2(begins[o.x], begins[o.y]) - first;  // in the tile, once it has got there
    ivec3 sums[2];
    sums[0] = sums[1] = ivec3(1 << 21);
    for (uint chunk = 0u; chunk < p.chunks; ++chunk) {
        if (ONE == 0u) barrier();
        for (uint i = lid; i < p.span; i += LX) {
            if (TURNED != 0u) {
                const uvec4 v = pixels(gl_WorkGroupID.y, min(first + chunk * CHUNK + i, p.height - 1u));
                [[unroll]] for (uint e = 0u; e < 4u; ++e) tile[e * PITCH + i] = v[e];
            } else {
                const uvec4 v = pixels(min((first >> 2) + chunk * (CHUNK / 4u) + (i >> 2), p.groups - 1u), min(row4 + line, p.height - 1u));
                const uint to = line * PITCH + (i & ~3u);  // LX is a multiple of 4: the line stays
                [[unroll]] for (uint e = 0u; e < 4u; ++e) tile[to + e] = v[e];
            }
        }
        barrier();
        [[unroll]] for (uint q = 0u; q < 2u; ++q) {
            if (FOURS != 0u) {  // few are unrolled
                [[unroll]] for (uint k = 0u; k < FOURS; ++k) add_four(line, from[q] + 4u * k, weights[o[q] + k * p.outputs], sums[q]);
            } else {
                for (uint k = 0u; k < p.taps4; ++k) add_four(line, from[q] + 4u * k, weights[o[q] + k * p.outputs], sums[q]);
            }
        }
        from -= CHUNK;
    }
    if (row4 + line >= p.rows) return;
    [[unroll]] for (uint q = 0u; q < 2u; ++q) {
        if (mine[q] >= p.outputs) continue;
        const ivec3 v = clamp(sums[q], ivec3(0), ivec3((256 << 22) - 1));
        result[(row4 + line) * p.outputs + mine[q]] = uint(v.r >> 22) | (uint(v.g >> 22) << 8) | (uint(v.b >> 22) << 16);
    }
}
