#version 450
// Pillow's filter along the rows of what picture.columns made, and the numbers that the levels become: planes [channels][H][W].
// An invocation makes all planes of a pixel; what lies beside the picture is black.
//
// Bindings: 0 x [rows][columns] words, 1 table of ints: [rows of the window] of a first row and `taps` weights, then at `levels` floats [channels][256], 2 out f32.
// Constants: 0 LX, 10 CHANNELS (1 or 3), 11 FLIP (planes are blue, green, red), 12 TAPS (taps, or 0: not unrolled).
// Push constants: W, H, x0, y0 (of the window), columns, lines (its size), taps, levels.
// Grid: (ceil(W / LX), H, 1).
#extension GL_EXT_control_flow_attributes : require

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 10) const uint CHANNELS = 3u;
layout(constant_id = 11) const uint FLIP = 0u;
layout(constant_id = 12) const uint TAPS = 0u;

layout(set = 0, binding = 0) readonly buffer X { uint x[]; };
layout(set = 0, binding = 1) readonly buffer Table { int table[]; };
layout(set = 0, binding = 2) writeonly buffer Out { float result[]; };

layout(push_constant) uniform Push { uint W, H, x0, y0, columns, lines, taps, levels; } p;

void add_tap(uint pixel, int weight, inout ivec3 sum)
{
    sum += weight * ivec3(pixel & 255u, (pixel >> 8) & 255u, pixel >> 16);
}

void main()
{
    const uint column = gl_WorkGroupID.x * LX + gl_LocalInvocationID.x, row = gl_WorkGroupID.y;
    if (column >= p.W) return;
    const uint c = column - p.x0, l = row - p.y0;  // wrap round left of it and above
    uvec3 v = uvec3(0u);
    if (c < p.columns && l < p.lines) {
        const uint begin = l * (p.taps + 1u);
        uint at = uint(table[begin]) * p.columns + c;
        ivec3 sum = ivec3(1 << 21);
        if (TAPS != 0u) {  // few are unrolled
            [[unroll]] for (uint k = 0u; k < TAPS; ++k, at += p.columns) add_tap(x[at], table[begin + 1u + k], sum);
        } else {
            for (uint k = 0u; k < p.taps; ++k, at += p.columns) add_tap(x[at], table[begin + 1u + k], sum);
        }
        v = uvec3(clamp(sum, ivec3(0), ivec3((256 << 22) - 1)) >> 22);
    }
    [[unroll]] for (uint e = 0u; e < CHANNELS; ++e) {
        const uint value = v[FLIP != 0u ? CHANNELS - 1u - e : e];
        result[(e * p.H + row) * p.W + column] = intBitsToFloat(table[p.levels + e * 256u + value]);
    }
}
