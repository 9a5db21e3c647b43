// Element types of the conventions in shaders/README.md, and how groups of four of them become vec4.
// 16-bit values travel as uvec2 and unpackHalf2x16: Vulkan 1.1 core, no 16-bit storage feature needed.

const uint F32 = 0u, F16 = 1u, I8 = 2u;
// Weights only: codes whose scales belong to groups of K columns and are multiplied while staged; two in a byte, plus 8.
const uint I8_GROUPS = 3u, I4_GROUPS = 4u;
// The latter where some rows of W have 8 bits: their codes are 16 high + low, the low parts stand where others have their codes.
const uint I4_WIDE = 5u;

vec4 from_half4(uvec2 h) { return vec4(unpackHalf2x16(h.x), unpackHalf2x16(h.y)); }
uvec2 to_half4(vec4 v) { return uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw)); }

// Four signed bytes to four floats without an integer conversion (a quarter-rate instruction on Maxwell): a biased byte
// placed in the mantissa of 2^23 is the float 2^23 + byte. The xor sets the exponent and adds the bias of 128. All exact.
vec4 from_int8x4(uint q)
{
    const uvec4 bytes = uvec4(q & 0xFFu, (q >> 8) & 0xFFu, (q >> 16) & 0xFFu, q >> 24);
    return uintBitsToFloat(bytes ^ 0x4B000080u) - 8388736.0;
}

// The same of four codes of 4 bits plus 8, the first in the lowest bits.
vec4 from_int4x4(uint q)
{
    const uvec4 nibbles = uvec4(q, q >> 4, q >> 8, q >> 12) & 15u;
    return uintBitsToFloat(nibbles | 0x4B000000u) - 8388616.0;
}

// 16 (high - 8) + 8 of a nibble of the word, from bit `at` on: what a low part less 8 lacks of its code.
float from_high_part(uint word, uint at) { return uintBitsToFloat(((word >> at) & 15u) << 4 | 0x4B000000u) - 8388728.0; }
