#include "plan/quantise.h"

#include <algorithm>
#include <cmath>

#include "base/rounding.h"

namespace vireo {

void centre_row(float* row, int64_t k) {
  if (k < 1) return;
  const auto [low, high] = std::minmax_element(row, row + k);
  const float middle = 0.5f * (*low + *high);
  for (int64_t i = 0; i < k; ++i) row[i] -= middle;
}

float quantise_row(const float* row, int64_t k, int8_t* q) {
  const float scale = max_magnitude(row, k) / 127.f;
  if (!(scale > 0.f)) {
    std::fill(q, q + k, int8_t(0));
    return scale;
  }
  round_to_codes(row, k, scale, 0, -127.f, 127.f, q);
  return scale;
}

float quantise_group(const float* w, int64_t n, int bits, bool zero_point, int8_t* q, int8_t* zero) {
  const float least_code = -float(1 << (bits - 1)), most_code = -least_code - 1;
  float least = 0, most = 0;
  for (int64_t i = 0; i < n; ++i) least = std::min(least, w[i]), most = std::max(most, w[i]);
  const float steps = most_code - least_code;
  float scale = zero_point ? (most - least) / steps : std::max(-least, most) / (steps / 2);
  if (!(scale > 0)) scale = 1;
  *zero = 0;
  if (zero_point) *zero = int8_t(std::max(least_code, std::min(most_code, std::nearbyint(least_code - least / scale))));
  round_to_codes(w, n, scale, float(*zero), least_code, most_code, q);
  return scale;
}

void balance_roundings(const float* row, float scale, int64_t n, int64_t step, int8_t* q) {
  if (!(scale > 0.f)) return;
  const auto error = [&](int64_t i) { return double(q[i * step]) - double(row[i * step]) / double(scale); };
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += error(i);
  const int turn = sum > 0 ? -1 : 1;  // what is added to a weight to bring the sum back
  for (int64_t flips = int64_t(std::floor(std::fabs(sum) + 0.5)); flips > 0; --flips) {
    int64_t best = -1;
    for (int64_t i = 0; i < n; ++i) {
      const int next = q[i * step] + turn;
      if (next < -127 || next > 127 || error(i) * turn >= 0) continue;  // rounded the other way, or turned already
      if (best < 0 || std::fabs(error(i)) > std::fabs(error(best))) best = i;
    }
    if (best < 0) return;
    q[best * step] = int8_t(q[best * step] + turn);
  }
}

}  // namespace vireo
