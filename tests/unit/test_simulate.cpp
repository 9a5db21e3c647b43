// The grids of simulation, each against a statement of its own in double precision that knows only what its codes stand
// for: the nearest of all those numbers is looked for one by one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "compress/simulate.h"
#include "ops/row_grids.h"

namespace vireo::compress {
namespace {

std::vector<float> made(int n, bool positive, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<float> x;
  for (int i = 0; i < n; ++i) {
    const double v = normal(random);
    x.push_back(float(positive ? std::exp(2 * v - 4) : v * v * v));
  }
  return x;
}

std::vector<float> rounded(const char* name, std::vector<float> x, int bits) {
  const RowGrid* g = find_row_grid(name);
  EXPECT_NE(g, nullptr) << name;
  if (g != nullptr) g->round(x.data(), int64_t(x.size()), bits);
  return x;
}

/// Every answer is one of `numbers`, and none of them is nearer to what was asked by `far`.
void expect_nearest(const char* name, const std::vector<float>& x, const std::vector<float>& got,
                    const std::vector<double>& numbers, const std::function<double(double, double)>& far) {
  for (size_t i = 0; i < x.size(); ++i) {
    double least = INFINITY, to_a_number = INFINITY;
    for (const double v : numbers) {
      least = std::min(least, far(double(x[i]), v));
      to_a_number = std::min(to_a_number, std::fabs(double(got[i]) - v));
    }
    EXPECT_LE(to_a_number, 1e-6 * std::max(1.0, std::fabs(double(got[i])))) << name << ": " << x[i] << " to " << got[i];
    EXPECT_LE(far(double(x[i]), double(got[i])), least + 1e-5) << name << ": " << x[i] << " to " << got[i];
  }
}

double apart(double a, double b) { return std::fabs(a - b); }

TEST(SimulateGrids, EvenOnesAreTheNearestNumber) {
  for (int bits = 2; bits <= 8; ++bits) {
    const std::vector<float> x = made(150, false, unsigned(bits)), p = made(150, true, unsigned(bits));
    const double least = std::min(0.0, double(*std::min_element(x.begin(), x.end()))),
                 most = double(*std::max_element(x.begin(), x.end())), largest = std::max(most, -least);
    std::vector<double> even, shifted, up;
    const int half = (1 << (bits - 1)) - 1, all = (1 << bits) - 1;
    for (int c = -half; c <= half; ++c) even.push_back(largest * c / half);
    const double step = (most - least) / all, zero = std::nearbyint(-least / step);
    for (int c = 0; c <= all; ++c) shifted.push_back(step * (c - zero));
    const double top = double(*std::max_element(p.begin(), p.end()));
    for (int c = 0; c <= all; ++c) up.push_back(top * c / all);
    expect_nearest("symmetric", x, rounded("symmetric", x, bits), even, apart);
    expect_nearest("asymmetric", x, rounded("asymmetric", x, bits), shifted, apart);
    expect_nearest("unsigned", p, rounded("unsigned", p, bits), up, apart);
  }
}

TEST(SimulateGrids, LogarithmsAreTheNearestPower) {
  for (int bits = 2; bits <= 8; ++bits) {
    std::vector<float> p = made(150, true, unsigned(10 + bits));
    for (float& v : p) v = std::min(v, 1.f);
    p[3] = 0;
    for (const auto& [name, base] : {std::pair<const char*, double>{"log2", 2.0}, {"logsqrt2", std::sqrt(2.0)}}) {
      const std::vector<float> got = rounded(name, p, bits);
      for (size_t i = 0; i < p.size(); ++i) {
        double code = p[i] > 0 ? std::nearbyint(-std::log(double(p[i])) / std::log(base)) : 1e9;
        code = std::max(0.0, code);
        const double last = std::pow(2.0, bits) - 1, want = code >= last ? 0 : std::pow(base, -code);
        EXPECT_NEAR(double(got[i]), want, 1e-6) << name << " " << p[i];
      }
    }
  }
}

TEST(SimulateGrids, RowLogarithmsKeepTheSum) {
  for (int bits = 3; bits <= 8; ++bits)
    for (const auto& [name, base] :
         {std::pair<const char*, double>{"rowlog2", 2.0}, {"rowlogquarter", std::pow(2, 0.25)}}) {
      const std::vector<float> p = made(100, true, unsigned(20 + bits)), got = rounded(name, p, bits);
      const double most = double(*std::max_element(p.begin(), p.end())), last = std::pow(2.0, bits) - 1;
      std::vector<double> want;
      double before = 0, after = 0;
      for (const float v : p) {
        const double code = std::nearbyint(std::log(most / double(v)) / std::log(base));
        want.push_back(code >= last ? 0 : most * std::pow(base, -code));
        before += double(v), after += want.back();
      }
      for (size_t i = 0; i < p.size(); ++i)
        EXPECT_NEAR(double(got[i]), want[i] * before / after, 1e-5 * most) << name << " " << p[i];
    }
}

TEST(SimulateGrids, TwinsHaveAGridOnEitherSide) {
  constexpr double kGelu = 0.16997124254703522;
  for (int bits = 3; bits <= 8; ++bits) {
    std::vector<float> x = made(150, false, unsigned(30 + bits));
    for (float& v : x) v = std::max(v, float(-kGelu));
    const double half = std::pow(2.0, bits - 1), most = double(*std::max_element(x.begin(), x.end()));
    std::vector<double> above, below;
    for (int c = 0; c < int(half); ++c) above.push_back(most * c / (half - 1));
    for (int c = 0; c <= int(half); ++c) below.push_back(-kGelu * c / half);
    const std::vector<float> got = rounded("twingelu", x, bits);
    for (size_t i = 0; i < x.size(); ++i)
      expect_nearest("twingelu", {x[i]}, {got[i]}, x[i] >= 0 ? above : below, apart);
    // Softmax: the split of the least squared error among 2^-i, found by trying all of them.
    std::vector<float> p = made(150, true, unsigned(40 + bits));
    for (float& v : p) v = std::min(v, 1.f);
    const std::vector<float> twin = rounded("twinsoftmax", p, bits);
    double least = INFINITY, is = 0;
    for (int s = 0; s < 20; ++s) {
      double error = 0;
      for (const float v : p) {
        const double split = std::pow(2.0, -s), unit = double(v) > split ? 1 / (half - 1) : split / (half - 1);
        error += std::pow(double(v) - unit * std::nearbyint(double(v) / unit), 2);
      }
      least = std::min(least, error);
    }
    for (size_t i = 0; i < p.size(); ++i) is += std::pow(double(p[i]) - double(twin[i]), 2);
    EXPECT_NEAR(is, least, 1e-5 * std::max(least, 1e-3));
  }
}

TEST(SimulateGrids, ShiftedLogarithmsCountFromTheLeastOfGelu) {
  constexpr double kGelu = 0.16997124254703522;
  for (int bits = 3; bits <= 8; ++bits) {
    std::vector<float> x = made(150, false, unsigned(50 + bits));
    for (float& v : x) v = std::max(v, float(-kGelu));
    const std::vector<float> got = rounded("shiftlog", x, bits);
    const double most = double(*std::max_element(x.begin(), x.end())) + kGelu, last = std::pow(2.0, bits) - 1;
    for (size_t i = 0; i < x.size(); ++i) {
      const double y = double(x[i]) + kGelu, code = y > 0 ? std::nearbyint(2 * std::log2(most / y)) : last;
      EXPECT_NEAR(double(got[i]), (code >= last ? 0 : most * std::pow(2.0, -code / 2)) - kGelu, 1e-5 * most) << x[i];
    }
  }
}

TEST(SimulateGrids, ZerosStayAndEveryGridSaysWhatItIs) {
  for (const RowGrid* g : row_grids()) {
    EXPECT_NE(std::string(g->what), "") << g->name;
    EXPECT_NE(std::string(g->source), "") << g->name;
    if (g->fitted()) continue;  // test_simulate_fitted.cpp
    std::vector<float> zeros(5, 0.f);
    g->round(zeros.data(), 5, 4);
    for (const float v : zeros) EXPECT_TRUE(std::isfinite(v)) << g->name;
    if (std::string(g->name) == "shiftlog") continue;  // 0 is no number of its own there
    for (const float v : zeros) EXPECT_EQ(v, 0) << g->name;
  }
}

TEST(SimulatePolicy, WhatItSaysAndWhatIsWrong) {
  const auto p = parse_simulated_policy("# six\nweights i6 gptq\nrows asymmetric 6 tensor\nsoftmax rowlog2 4\n", "f");
  ASSERT_TRUE(p.ok()) << p.error().message;
  EXPECT_EQ(p->weights.grid.bits, 6);
  EXPECT_EQ(p->method, &kGptq);
  EXPECT_TRUE(p->rows.tensor);
  EXPECT_EQ(p->softmax.bits, 4);
  EXPECT_EQ(p->operands.grid, nullptr);
  const std::pair<const char*, const char*> bad[] = {{"", "says nothing"},
                                                     {"weights i9\n", "line 1: 'i9' is no format"},
                                                     {"weights i4 gptk\n", "there is no method 'gptk'"},
                                                     {"\nrows assymetric 4\n", "line 2: there is no grid 'assymetric'"},
                                                     {"rows asymmetric 9\n", "'9' is no number of bits"},
                                                     {"rows asymmetric 4 row\n", "neither token nor tensor"},
                                                     {"collumns asymmetric 4\n", "unknown 'collumns'"},
                                                     {"fold maybe\n", "'fold on' or 'fold off'"},
                                                     {"fold on\n", "goes with a line 'rows'"},
                                                     {"rows ptf 8\nfold on\n", "'ptf' is fitted"},
                                                     {"answer-rows 41\n", "answer-rows TIMES TIMES"},
                                                     {"answer-rows 0 41\n", "'0' is no number"}};
  for (const auto& [text, says] : bad) {
    const auto r = parse_simulated_policy(text, "f");
    ASSERT_FALSE(r.ok()) << text;
    EXPECT_NE(r.error().message.find(says), std::string::npos) << r.error().message;
  }
}

}  // namespace
}  // namespace vireo::compress
