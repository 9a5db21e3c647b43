// Rounding in loops over weights. std::nearbyint is a call for each number, and std::max keeps GCC from vectors; these
// become vectors, with the same bits.
#pragma once

#include <cfloat>
#include <cstdint>

#ifdef __FAST_MATH__
#error "-ffast-math takes the roundings below away, and with them every code of an integer weight"
#endif
static_assert(FLT_EVAL_METHOD == 0 || FLT_EVAL_METHOD == 16, "floats are rounded to floats");

namespace vireo {

/// The nearest integer code to x, half to even, in [least, most], both codes of at most 22 bits. The bounds first:
/// beyond 2^23 a float holds integers only, so that adding 1.5 * 2^23 rounds.
inline int32_t rounded_code(float x, float least, float most) {
  constexpr float kThreeHalves = 12582912.f;  // 1.5 * 2^23
  x = x < most ? x : most;
  x = x > least ? x : least;
  return int32_t((x + kThreeHalves) - kThreeHalves);
}

/// q[i] = rounded_code(w[i] / scale + zero) of n weights; scale > 0.
void round_to_codes(const float* w, int64_t n, float scale, float zero, float least, float most, int8_t* q);

/// max |x[i]|, 0 of none; of finite numbers.
float max_magnitude(const float* x, int64_t n);

}  // namespace vireo
