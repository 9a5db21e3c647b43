// Whether all of many floats are numbers. Eight bytes at a time: answers of millions of values are looked at after
// every inference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vireo {

/// False when one of them is infinite or NaN. By the bits, so that -ffast-math or a missing float unit cannot change
/// the answer.
inline bool all_finite(const float* x, size_t count) noexcept {
  constexpr uint64_t kExponents = 0x7F8000007F800000u, kOnes = 0x0080000000800000u, kCarries = 0x8000000080000000u;
  uint64_t found = 0;
  size_t i = 0;
  while (i + 2 <= count && !(found & kCarries)) {
    // An exponent of all ones carries into the (cleared) sign bit when one is added, and no further.
    const size_t end = i + 2 * ((count - i) / 2 < 4096 ? (count - i) / 2 : 4096);
    for (; i < end; i += 2) {
      uint64_t two;
      std::memcpy(&two, x + i, sizeof two);
      found |= (two & kExponents) + kOnes;
    }
  }
  if (found & kCarries) return false;
  if (i == count) return true;
  uint32_t last;
  std::memcpy(&last, x + i, sizeof last);
  return (last & 0x7F800000u) != 0x7F800000u;
}

}  // namespace vireo
