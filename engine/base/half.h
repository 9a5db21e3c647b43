// Scalar conversions between float and the 16-bit formats (IEEE binary16, bfloat16), round to nearest even.
#pragma once

#include <cstdint>
#include <cstring>

namespace vireo {

inline float bits_to_float(uint32_t u) {
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
inline uint32_t float_to_bits(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return u;
}

inline float half_to_float(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000u) << 16;
  const uint32_t exp = (h >> 10) & 0x1f;
  const uint32_t man = h & 0x3ffu;
  if (exp == 31) return bits_to_float(sign | 0x7f800000u | (man << 13));
  if (exp != 0) return bits_to_float(sign | ((exp + 112) << 23) | (man << 13));
  const float v = float(man) * 5.9604644775390625e-8f;  // man * 2^-24: zero and subnormals, exact
  return sign ? -v : v;
}

inline uint16_t float_to_half(float f) {
  const uint32_t u = float_to_bits(f);
  const uint16_t sign = uint16_t((u >> 16) & 0x8000u);
  const uint32_t a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return sign | 0x7e00u;
  if (a >= 0x47800000u) return sign | 0x7c00u;  // >= 65536: infinity (65520..65535 round up below)
  if (a < 0x38800000u) {                        // below 2^-14: subnormal, by adding 0.5 in the right place
    const float r = bits_to_float(a) + 0.5f;    // 0.5 has an ulp of 2^-24, the subnormal step
    return sign | uint16_t(float_to_bits(r) - 0x3f000000u);
  }
  const uint32_t odd = (a >> 13) & 1;
  return sign | uint16_t((a - 0x38000000u + 0xfffu + odd) >> 13);
}

/// Rounds to nearest even; NaN stays NaN.
inline uint16_t float_to_bf16(float x) {
  const uint32_t b = float_to_bits(x);
  if ((b & 0x7fffffffu) > 0x7f800000u) return uint16_t(b >> 16 | 0x40);
  return uint16_t((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

inline float bf16_to_float(uint16_t b) { return bits_to_float(uint32_t(b) << 16); }

}  // namespace vireo
