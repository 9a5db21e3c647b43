// Helpers of the CPU kernel tests: matrices between sentinels, error bounds, the fixture for every instruction set.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "simd/kernels.h"
#include "tensor/tensor.h"

namespace vireo::simd {
namespace {

constexpr float kSentinel = 12345.5f;
const float kNan = std::numeric_limits<float>::quiet_NaN();
const float kInf = std::numeric_limits<float>::infinity();
constexpr double kEps = 5.9604644775390625e-8;  // half an ulp at 1: the rounding error of one fp32 operation

struct Random {
  uint64_t s;
  explicit Random(uint64_t seed) : s(seed * 0x9e3779b97f4a7c15ull + 1) {}
  float operator()(float scale = 1.0f) {
    s = s * 6364136223846793005ull + 1442695040888963407ull;
    return scale * (float(int32_t(s >> 32)) * (1.0f / 2147483648.0f));
  }
};

/// Rows of floats with guard bands of sentinels around and in the gaps between rows.
struct Rows {
  int64_t rows, cols, ld;
  std::vector<float> data;
  static constexpr int64_t kGuard = 64;
  Rows(int64_t r, int64_t c, float fill, int64_t extra = 0)
      : rows(r), cols(c), ld(round_up(c, 4) + extra), data(size_t(r * ld + 2 * kGuard), fill) {}
  /// Random values; padding and gaps are NaN.
  static Rows random(int64_t r, int64_t c, uint64_t seed, float scale = 1.0f, int64_t extra = 0) {
    Rows m(r, c, kNan, extra);
    Random rnd(seed);
    for (int64_t i = 0; i < r; ++i) {
      for (int64_t j = 0; j < c; ++j) m(i, j) = rnd(scale);
    }
    return m;
  }
  static Rows output(int64_t r, int64_t c, int64_t extra = 0) { return Rows(r, c, kSentinel, extra); }
  float* p() { return data.data() + kGuard; }
  float& operator()(int64_t i, int64_t j) { return data[size_t(kGuard + i * ld + j)]; }
  float operator()(int64_t i, int64_t j) const { return data[size_t(kGuard + i * ld + j)]; }

  /// Padding to a multiple of 4 is zero, everything beyond it untouched.
  void check_frame(const std::string& what) const {
    int64_t bad = 0;
    for (int64_t i = 0; i < kGuard; ++i) {
      bad += data[size_t(i)] != kSentinel;
      bad += data[data.size() - 1 - size_t(i)] != kSentinel;
    }
    EXPECT_EQ(bad, 0) << what << ": wrote outside the matrix";
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = cols; c < ld; ++c) {
        const float want = c < round_up(cols, 4) ? 0.0f : kSentinel;
        if ((*this)(r, c) != want) {
          ADD_FAILURE() << what << ": padding (" << r << ", " << c << ") is " << (*this)(r, c) << ", not " << want;
          return;
        }
      }
    }
  }
};

struct Vec {
  std::vector<float> v;
  Vec(int64_t n, uint64_t seed, float scale = 1.0f, float shift = 0.0f) : v(size_t(n)) {
    Random r(seed);
    for (float& x : v) x = r(scale) + shift;
  }
  const float* p() const { return v.data(); }
  double operator[](int64_t i) const { return v[size_t(i)]; }
};

template <typename Args>
void run(const Kernel<Args>& k, const Args& a) {
  // Backwards and one by one: items must not depend on each other. Scratch starts as NaN: nothing may be assumed of it.
  AlignedBuffer scratch(k.scratch_bytes(a) + 64);
  std::fill_n(scratch.as<float>(), scratch.size() / 4, kNan);
  for (int64_t i = k.items(a) - 1; i >= 0; --i) k.run(a, i, i + 1, scratch.data());
}

void expect_near(const std::string& what, float got, double want, double bound, int64_t r, int64_t c, int* failures) {
  const bool ok = std::isnan(want)   ? std::isnan(got)
                  : std::isinf(want) ? double(got) == want
                                     : std::fabs(double(got) - want) <= bound;
  if (!ok && ++*failures <= 3) {
    ADD_FAILURE() << what << " (" << r << ", " << c << "): " << got << ", want " << want << " within " << bound;
  }
}

[[maybe_unused]] double ref_act(Act a, double x) {
  switch (a) {
    case Act::kNone: return x;
    case Act::kGeluErf: return x == -HUGE_VAL ? -0.0 : 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Act::kGeluTanh: {
      const double u = std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x);
      return x == -HUGE_VAL ? -0.0 : x / (1.0 + std::exp(-2.0 * u));
    }
    case Act::kSilu: return x == -HUGE_VAL ? -0.0 : x / (1.0 + std::exp(-x));
    case Act::kRelu: return x < 0 ? 0.0 : x;
    case Act::kTanh: return std::tanh(x);
    case Act::kHardswish: return x <= -3 ? -0.0 : x >= 3 ? x : x * (x + 3) / 6;
  }
  return 0.0;
}

/// Whether to_i8 writes codes of 8 bits, as where a product takes bytes, or of 16.
[[maybe_unused]] bool byte_codes(const Kernels& k) {
  const float x[4] = {1, 1, 1, 1};  // four codes of 127
  alignas(64) int16_t codes[64] = {};
  float scale = 0;
  int32_t sum = 0;
  ToI8Args a;
  a.x = x, a.ldx = 4, a.rows = 1, a.cols = 4, a.out = codes, a.ldo = 64, a.scales = &scale, a.sums = &sum;
  run(k.to_i8, a);
  return codes[0] != 127;
}

/// Largest slope of the activations (gelu's is about 1.13).
constexpr double kSlope = 1.13;
const Act kActs[] = {Act::kNone, Act::kGeluErf, Act::kGeluTanh, Act::kSilu, Act::kRelu, Act::kTanh, Act::kHardswish};

class Simd : public ::testing::TestWithParam<int> {
 protected:
  const Kernels& k() const { return *supported(GetParam()); }
  bool slow() const { return k().vector_floats == 1; }
};

std::vector<int> all_targets() {
  std::vector<int> r;
  for (int i = 0; supported(i) != nullptr; ++i) r.push_back(i);
  return r;
}

}  // namespace
}  // namespace vireo::simd
