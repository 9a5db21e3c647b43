#include "base/rounding.h"

#include <cstring>

namespace vireo {

// In a file of its own: where GCC knows the bounds it makes branches of them, and no vectors.
void round_to_codes(const float* __restrict w, int64_t n, float scale, float zero, float least, float most,
                    int8_t* __restrict q) {
  for (int64_t i = 0; i < n; ++i) q[i] = int8_t(rounded_code(w[i] / scale + zero, least, most));
}

// The bits of floats without their sign are in the order of their magnitudes.
float max_magnitude(const float* x, int64_t n) {
  int32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    int32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    bits &= 0x7fffffff;
    largest = largest < bits ? bits : largest;
  }
  float magnitude;
  std::memcpy(&magnitude, &largest, sizeof magnitude);
  return magnitude;
}

}  // namespace vireo
