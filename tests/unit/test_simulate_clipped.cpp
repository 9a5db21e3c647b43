// The grid that cuts off what is far out where that rounds the rest better, held against a search of its own.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "ops/row_grids.h"

namespace vireo {
namespace {

/// Squared error of the nearest of these numbers.
double error_of(const std::vector<float>& x, const std::vector<double>& numbers) {
  double all = 0;
  for (const float v : x) {
    double least = INFINITY;
    for (const double n : numbers) least = std::min(least, std::pow(double(v) - n, 2));
    all += least;
  }
  return all;
}

TEST(ClippedGrid, IsTheBestOfSmallerRanges) {
  std::mt19937 random(5);
  std::normal_distribution<double> normal;
  for (int bits = 2; bits <= 8; ++bits) {
    std::vector<float> x;
    for (int i = 0; i < 120; ++i) x.push_back(float(std::pow(normal(random), 3) + 0.3));
    std::vector<float> got = x;
    const RowGrid* const g = find_row_grid("asymmetricmse");
    ASSERT_NE(g, nullptr);
    g->round(got.data(), int64_t(got.size()), bits);
    const double low = std::min(0.0, double(*std::min_element(x.begin(), x.end()))),
                 high = double(*std::max_element(x.begin(), x.end()));
    const int all = (1 << bits) - 1;
    double best = INFINITY, whole = 0;
    for (int s = 0; s < 16; ++s) {
      const double by = 1 - 0.03 * s, step = by * (high - low) / all, zero = std::nearbyint(-by * low / step);
      std::vector<double> numbers;
      for (int c = 0; c <= all; ++c) numbers.push_back(step * (c - zero));
      best = std::min(best, error_of(x, numbers));
      if (s == 0) whole = best;
    }
    double is = 0;
    for (size_t i = 0; i < x.size(); ++i) is += std::pow(double(x[i]) - double(got[i]), 2);
    EXPECT_NEAR(is, best, 1e-5 * whole) << bits;
    if (bits <= 4) {
      EXPECT_LT(best, 0.9 * whole) << bits << ": nothing is worth cutting off";
    }
    std::vector<float> zeros(9, 0.f);
    g->round(zeros.data(), 9, bits);
    EXPECT_EQ(zeros, std::vector<float>(9, 0.f));
  }
}

}  // namespace
}  // namespace vireo
