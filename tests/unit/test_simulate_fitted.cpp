// Grids that are fitted to pictures, and functions in integers, against statements of their own: every candidate tried,
// and the paper's floating-point form of what shifts do.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "compress/simulate.h"
#include "ops/integer.h"
#include "ops/row_grids.h"

namespace vireo::compress {
namespace {

/// One row at a time, so that every row is looked at.
RangeStatistics seen_of(const std::vector<float>& x, int64_t cols) {
  RangeStatistics s(cols, {false, true});
  for (size_t at = 0; at < x.size(); at += size_t(cols)) s.add({x.data() + at, 1, cols, cols});
  return s;
}

std::vector<float> probabilities(size_t rows, size_t cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<float> all;
  for (size_t r = 0; r < rows; ++r) {
    std::vector<double> e;
    double sum = 0;
    for (size_t k = 0; k < cols; ++k) e.push_back(std::exp(2 * normal(random))), sum += e.back();
    for (const double v : e) all.push_back(float(v / sum));
  }
  return all;
}

/// The number that AdaLog's code k stands for: a shift, and a table whose entries have few bits.
double adalog_number(int k, double scale, int q, int bits) {
  if (k == int(std::pow(2, bits)) - 1) return 0;
  const double whole = std::floor(double(k) * q / 37), rest = std::fmod(double(k) * q, 37.0) / 37;
  const double table = 4 * std::pow(2, bits - 1) - 2;
  return scale * std::pow(2, -whole) * (std::nearbyint(std::pow(2, -rest) * table) / table);
}

double adalog(double x, double scale, int q, int bits) {
  const double last = std::pow(2, bits) - 1;
  double k = last;
  if (x > 0) k = std::nearbyint(-std::log2(x / scale) * 37 / q);
  return adalog_number(int(std::min(last, std::max(0.0, k))), scale, q, bits);
}

TEST(SimulateFitted, AdaLogRoundsByShiftAndTable) {
  for (const auto& [name, shift] :
       {std::pair<const char*, double>{"adalog", 0.0}, {"shiftadalog", 0.16997124254703522}})
    for (const int bits : {3, 4, 6, 8})
      for (const int q : {10, 23, 37, 52}) {
        std::vector<float> x = probabilities(4, 60, unsigned(q));
        x[7] = 0;
        if (shift > 0)
          for (size_t i = 0; i < x.size(); ++i) x[i] = i % 3 == 0 ? float(-shift * double(i) / 240) : 9 * x[i];
        std::vector<float> got = x;
        find_row_grid(name)->round_fitted(got.data(), int64_t(got.size()), {0.7, double(q)}, bits);
        for (size_t i = 0; i < x.size(); ++i)
          EXPECT_NEAR(double(got[i]), adalog(double(x[i]) + shift, 0.7, q, bits) - shift, 1e-6)
              << name << " " << x[i] << " " << bits << " " << q;
      }
}

TEST(SimulateFitted, AdaLogsSearchComesNearToTryingAll) {
  for (const int bits : {3, 4, 6}) {
    const std::vector<float> x = probabilities(8, 60, unsigned(60 + bits));
    const double most = double(*std::max_element(x.begin(), x.end()));
    const auto error = [&](double scale, int q) {
      double sum = 0;
      for (const float v : x) sum += std::pow(double(v) - adalog(double(v), scale, q, bits), 2);
      return sum;
    };
    const std::vector<double> fit = find_row_grid("adalog")->fit(seen_of(x, 60), bits);
    ASSERT_EQ(fit.size(), 2u);
    EXPECT_EQ(fit[1], std::nearbyint(fit[1]));
    const double found = error(fit[0], int(fit[1]));
    double coarse = INFINITY, all = INFINITY;
    for (int s = 1; s <= 64; ++s)
      for (int q = 4; q <= 140; ++q) {
        const double e = error(most * s / 64, q);
        all = std::min(all, e);
        if (s % 4 == 0 && q >= 10 && q <= 134 && (q - 10) % 4 == 0) coarse = std::min(coarse, e);
      }
    EXPECT_LE(found, coarse * (1 + 1e-9)) << bits;
    EXPECT_LE(found, 1.1 * all) << bits;
    EXPECT_LT(found, 0.9 * error(1.0, 37)) << "no better than powers of 2 from 1 down, " << bits;
  }
}

TEST(SimulateFitted, PowersOfTwoByColumnHaveTheLeastError) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  constexpr size_t kRows = 24, kCols = 12;
  std::vector<float> x;
  for (size_t r = 0; r < kRows; ++r)
    for (size_t k = 0; k < kCols; ++k)
      x.push_back(normal(random) * float(std::pow(2.0, double(k % 5) - 2)) + float(k % 3));
  const double least = double(*std::min_element(x.begin(), x.end())),
               most = double(*std::max_element(x.begin(), x.end()));
  for (const int bits : {4, 6, 8}) {
    const double top = std::pow(2, bits) - 1, whole = (most - least) / top, zero = std::nearbyint(-least / whole);
    const auto rounded = [&](double v, double step) {
      return step * (std::min(top, std::max(0.0, std::nearbyint(v / step + zero))) - zero);
    };
    const RowGrid* const ptf = find_row_grid("ptf");
    const std::vector<double> fit = ptf->fit(seen_of(x, kCols), bits);
    std::vector<float> got = x;
    for (size_t r = 0; r < kRows; ++r) ptf->round_fitted(got.data() + r * kCols, kCols, fit, bits);
    size_t factors = 0;
    for (size_t k = 0; k < kCols; ++k) {
      double best = INFINITY, is = 0;
      int by = 0;
      for (int f = 0; f < 4; ++f) {
        double error = 0;
        for (size_t r = 0; r < kRows; ++r)
          error +=
              std::pow(double(x[r * kCols + k]) - rounded(double(x[r * kCols + k]), whole / 8 * std::pow(2, f)), 2);
        if (error < best) best = error, by = f;
      }
      factors |= size_t(1) << by;
      for (size_t r = 0; r < kRows; ++r) is += std::pow(double(x[r * kCols + k]) - double(got[r * kCols + k]), 2);
      EXPECT_NEAR(is, best, 1e-5 * best + 1e-9) << bits << " column " << k;
    }
    EXPECT_GT(factors & (factors - 1), 0u) << "all columns have one factor";
  }
}

TEST(SimulateFitted, ValuesThatAreAllZeroDoNotStopThem) {
  const std::vector<float> zeros(32, 0.f);
  for (const RowGrid* g : row_grids()) {
    if (!g->fitted()) continue;
    std::vector<float> x = zeros;
    g->round_fitted(x.data(), 8, g->fit(seen_of(zeros, 8), 4), 4);
    for (size_t i = 0; i < 8; ++i)
      EXPECT_NEAR(double(x[i]), 0, std::string(g->name) == "shiftadalog" ? 0.1 : 0) << g->name;
  }
}

// ---- integers, as I-ViT's published code has them: floor() of quotients in floating point

double int_exp(double x, double x0, int n, double most_shift) {
  x = x + std::floor(x / 2) - std::floor(x / 16);
  x = std::max(x, most_shift * x0);
  const double q = std::floor(x / x0), r = x - x0 * q;
  return std::max(0.0, std::floor((r / 2 - x0) * std::pow(2, n - q)));
}

constexpr double kWhole = 2147483647;

TEST(SimulateInteger, ShiftmaxIsThePapers) {
  std::mt19937 random(7);
  for (const double step : {0.03125, 0.05, 0.11, 0.4})
    for (const int bits : {8, 16})
      for (const size_t n : {size_t(1), size_t(5), size_t(197)}) {
        std::vector<int32_t> x, got(n);
        for (size_t i = 0; i < n; ++i) x.push_back(int32_t(random() % 255) - 127);
        shiftmax(x.data(), int64_t(n), codes_of_one(step), bits, got.data());
        const double x0 = std::floor(-1 / step), most = double(*std::max_element(x.begin(), x.end()));
        std::vector<double> e;
        double sum = 0;
        for (const int32_t v : x) e.push_back(int_exp(double(v) - most, x0, 15, 15)), sum += e.back();
        const double factor = std::floor(kWhole / std::min(sum, kWhole));
        double total = 0;
        for (size_t i = 0; i < n; ++i) {
          EXPECT_EQ(double(got[i]), std::floor(e[i] * factor / std::pow(2, 32 - bits))) << step << " " << i;
          total += double(got[i]) * std::pow(2, 1 - bits);
        }
        // And it is a softmax, as near as codes of this size, a straight line for 2^-r and a whole factor are.
        const double near = std::pow(2, 1 - bits) + 1 / factor;
        EXPECT_NEAR(total, 1, double(n) * std::pow(2, 1 - bits) + 1 / factor);
        if (step > 0.1) continue;  // 1 / step is far from a whole number of codes
        double exact = 0;
        for (const int32_t v : x) exact += std::exp(step * (double(v) - most));
        for (size_t i = 0; i < n; ++i)
          EXPECT_NEAR(double(got[i]) * std::pow(2, 1 - bits), std::exp(step * (double(x[i]) - most)) / exact,
                      0.05 + near);
      }
}

TEST(SimulateInteger, ShiftGeluIsThePapers) {
  std::mt19937 random(8);
  for (const double step : {0.0078125, 0.02, 0.06, 0.2}) {
    std::vector<int32_t> x;
    for (int i = 0; i < 300; ++i) x.push_back(int32_t(random() % 255) - 127);
    std::vector<int64_t> got(x.size());
    shift_gelu(x.data(), int64_t(x.size()), codes_of_one(1.702 * step), 8, got.data());
    const double x0 = std::floor(-1 / (1.702 * step)), most = double(*std::max_element(x.begin(), x.end()));
    ASSERT_GT(most, 0);
    for (size_t i = 0; i < x.size(); ++i) {
      const double e = int_exp(double(x[i]) - most, x0, 23, 23), zero = int_exp(-most, x0, 23, 23);
      const double factor = std::floor(kWhole / std::min(e + zero, kWhole));  // a small whole number
      EXPECT_EQ(double(got[i]), double(x[i]) * std::floor(e * factor / std::pow(2, 24))) << step << " " << x[i];
      const double v = step * double(x[i]);
      if (step > 0.05) continue;  // 1 / step is far from a whole number of codes
      EXPECT_NEAR(double(got[i]) * step / 128, 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))),
                  0.03 + (0.03 + 1 / factor) * std::fabs(v));
    }
    // Of a row without anything above 0, exponents are counted from 0.
    const int32_t below[] = {-3, -90, -1};
    int64_t out[3];
    shift_gelu(below, 3, codes_of_one(1.702 * step), 8, out);
    for (int i = 0; i < 3; ++i) {
      const double v = step * double(below[i]);
      if (step > 0.05) continue;  // 1 / step is far from a whole number of codes
      EXPECT_NEAR(double(out[i]) * step / 128, 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))),
                  0.03 + 0.03 * std::fabs(v));
    }
  }
}

TEST(SimulateInteger, NormIsThePapers) {
  std::mt19937 random(9);
  std::normal_distribution<double> normal;
  for (const double size : {100.0, 3000.0, 12000.0})
    for (const size_t n : {size_t(8), size_t(192)}) {
      std::vector<int32_t> x;
      for (size_t i = 0; i < n; ++i) x.push_back(int32_t(size * normal(random)) + int32_t(size / 3));
      std::vector<int64_t> got(n);
      integer_norm(x.data(), int64_t(n), got.data());
      double mean = 0, squares = 0, exact = 0;
      for (const int32_t v : x) mean += double(v) / double(n);
      const double real_mean = mean;
      mean = std::nearbyint(mean);
      for (const int32_t v : x) {
        squares += (double(v) - mean) * (double(v) - mean);
        exact += (double(v) - real_mean) * (double(v) - real_mean) / double(n);
      }
      double k = 65536;
      for (int i = 0; i < 10; ++i) k = std::floor((k + std::floor(squares / k)) / 2);
      const double factor = std::floor(kWhole / k);
      for (size_t i = 0; i < n; ++i) {
        EXPECT_EQ(double(got[i]), std::floor((double(x[i]) - mean) * factor / 2)) << i;
        EXPECT_NEAR(double(got[i]) * std::sqrt(double(n)) * std::pow(2, -30),
                    (double(x[i]) - real_mean) / std::sqrt(exact), 0.02 + 0.01 * std::fabs(double(x[i]) / size));
      }
    }
  // Halves go to the even number, below 0 too.
  for (const auto& [a, b, mean] : {std::make_tuple(1, 2, 2), std::make_tuple(2, 3, 2), std::make_tuple(-1, -2, -2),
                                   std::make_tuple(-2, -3, -2), std::make_tuple(-1, 0, 0)}) {
    const int32_t x[] = {a, b};
    int64_t out[2];
    integer_norm(x, 2, out);
    EXPECT_EQ(out[0] == 0, x[0] == mean) << a << " " << b;
  }
}

TEST(SimulateInteger, AStepThatIsNotFiniteDividesByNothing) {
  EXPECT_EQ(codes_of_one(0.3), 4);
  EXPECT_EQ(codes_of_one(0.25), 4);
  EXPECT_EQ(codes_of_one(7), 1);
  EXPECT_EQ(codes_of_one(INFINITY), 1);
  const int32_t x[] = {-127, 0, 127};
  int32_t shares[3];
  shiftmax(x, 3, codes_of_one(INFINITY), 8, shares);
  EXPECT_EQ(shares[0], 0);
}

TEST(SimulateInteger, PolicyLines) {
  const auto p = parse_simulated_policy("integer softmax 8\ninteger gelu 6 tensor\ninteger layernorm 16\n", "f");
  ASSERT_TRUE(p.ok()) << p.error().message;
  EXPECT_EQ(p->integer_softmax.bits, 8);
  EXPECT_FALSE(p->integer_softmax.tensor);
  EXPECT_TRUE(p->integer_gelu.tensor);
  EXPECT_EQ(p->integer_layernorm.bits, 16);
  EXPECT_FALSE(p->needs_pictures());
  const auto fitted = parse_simulated_policy("layernorm ptf 8\nsoftmax adalog 4\ngelu shiftadalog 4\n", "f");
  ASSERT_TRUE(fitted.ok()) << fitted.error().message;
  EXPECT_TRUE(fitted->needs_pictures());
  const std::pair<const char*, const char*> bad[] = {
      {"integer relu 8\n", "'relu' has no form in integers"},
      {"integer softmax 9\n", "'9' is no number of bits; softmax takes codes of 2 to 8"},
      {"integer layernorm 17\n", "layernorm takes codes of 2 to 16"},
      {"integer gelu\n", "'' is no number of bits"},
      {"integer gelu 8 row\n", "neither token nor tensor"},
      {"layernorm asymmetric 8\ninteger layernorm 16\n", "keep one of them"},
      {"softmax adalog 4 tensor\n", "is fitted to pictures and takes no 'tensor'"},
      {"operands adalog 4\n", "which operands of attention are not"}};
  for (const auto& [text, says] : bad) {
    const auto r = parse_simulated_policy(text, "f");
    ASSERT_FALSE(r.ok()) << text;
    EXPECT_NE(r.error().message.find(says), std::string::npos) << r.error().message;
  }
}

}  // namespace
}  // namespace vireo::compress
