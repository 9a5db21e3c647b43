#include "ops/integer.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace vireo {
namespace {

constexpr int64_t kWhole = (int64_t(1) << 31) - 1;
constexpr int kSoftmaxShift = 15, kGeluShift = 23, kRootSteps = 10;

/// floor(x / 2^by): C++17 leaves shifts of negative numbers to the compiler.
int64_t floor_shift(int64_t x, int by) { return x >= 0 ? x >> by : ~(~x >> by); }

/// ShiftExp: e^(x / one) for x <= 0 in codes of 1 / (one 2^shift), log2 e as 1.0111b and 2^-r as 1 - r / 2.
int64_t shift_exp(int64_t x, int64_t one, int shift) {
  x += floor_shift(x, 1) - floor_shift(x, 4);
  x = std::max(x, -one * shift);
  const int64_t octaves = -x / one, rest = x + octaves * one;
  return ((rest + 2 * one) << (shift - octaves)) >> 1;
}

/// exp / sum in codes of 2^-(bits - 1).
int64_t share(int64_t exp, int64_t sum, int bits) {
  const int64_t factor = kWhole / std::max<int64_t>(1, std::min(sum, kWhole));
  return (exp * factor) >> (32 - bits);
}

/// round_half_even(sum / n), n above 0.
int64_t nearest(int64_t sum, int64_t n) {
  const int64_t below = sum >= 0 ? sum / n : -((-sum + n - 1) / n), twice = 2 * (sum - below * n);
  return below + (twice > n || (twice == n && below % 2 != 0) ? 1 : 0);
}

}  // namespace

int64_t codes_of_one(double step) { return std::max<int64_t>(1, int64_t(std::ceil(1 / step))); }

void shiftmax(const int32_t* x, int64_t n, int64_t one, int bits, int32_t* out) {
  if (n == 0) return;
  const int64_t most = *std::max_element(x, x + n);
  std::vector<int64_t> exps(static_cast<size_t>(n));
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += exps[size_t(i)] = shift_exp(int64_t(x[i]) - most, one, kSoftmaxShift);
  for (int64_t i = 0; i < n; ++i) out[i] = int32_t(share(exps[size_t(i)], sum, bits));
}

void shift_gelu(const int32_t* x, int64_t n, int64_t one, int bits, int64_t* out) {
  if (n == 0) return;
  const int64_t most = std::max<int64_t>(0, *std::max_element(x, x + n));
  const int64_t of_zero = shift_exp(-most, one, kGeluShift);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t exp = shift_exp(int64_t(x[i]) - most, one, kGeluShift);
    out[i] = int64_t(x[i]) * share(exp, exp + of_zero, bits);
  }
}

void integer_norm(const int32_t* x, int64_t n, int64_t* out) {
  if (n == 0) return;
  int64_t sum = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  const int64_t mean = nearest(sum, n);
  for (int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  int64_t root = int64_t(1) << 16;
  for (int i = 0; i < kRootSteps; ++i) root = (root + squares / root) >> 1;
  const int64_t factor = kWhole / root;
  for (int64_t i = 0; i < n; ++i) out[i] = floor_shift((x[i] - mean) * factor, 1);
}

}  // namespace vireo
