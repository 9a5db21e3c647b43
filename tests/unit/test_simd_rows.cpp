// The row kernels on every instruction set this machine has, against scalar double references.
// Outputs lie in buffers full of sentinels; input padding is NaN, so that reading it shows.
#include "test_simd.h"

#include <utility>

#include "base/half.h"

namespace vireo::simd {
namespace {

class SimdRows : public Simd {};

INSTANTIATE_TEST_SUITE_P(Targets, SimdRows, ::testing::ValuesIn(all_targets()),
                         [](const auto& info) { return std::string(supported(info.param)->name); });

const std::pair<int64_t, int64_t> kRowCases[] = {{1, 1},  {3, 2},  {5, 3},  {2, 4},  {7, 5},     {4, 13},   {3, 16},
                                                 {2, 17}, {9, 31}, {5, 64}, {3, 67}, {197, 192}, {11, 768}, {2, 1000}};

TEST_P(SimdRows, LayerNorm) {
  uint64_t seed = 300;
  for (auto [rows, cols] : kRowCases) {
    for (float shift : {0.0f, 100.0f}) {
      for (int variant = 0; variant < 3; ++variant) {
        Rows x = Rows::random(rows, cols, ++seed), out = Rows::output(rows, cols, variant == 1 ? 4 : 0);
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t c = 0; c < cols; ++c) x(r, c) += shift;
        }
        const Vec gamma(cols, ++seed), beta(cols, ++seed);
        LayerNormArgs a;
        a.x = x.p(), a.ldx = x.ld, a.rows = rows, a.cols = cols, a.eps = 1e-5f, a.out = out.p(), a.ldo = out.ld;
        if (variant != 0) a.gamma = gamma.p(), a.beta = beta.p();
        run(k().layer_norm, a);
        out.check_frame("layer_norm");
        int failures = 0;
        for (int64_t r = 0; r < rows; ++r) {
          double mean = 0.0, var = 0.0;
          for (int64_t c = 0; c < cols; ++c) mean += double(x(r, c)) / double(cols);
          for (int64_t c = 0; c < cols; ++c) var += std::pow(double(x(r, c)) - mean, 2) / double(cols);
          const double inverse = 1.0 / std::sqrt(var + double(a.eps));
          for (int64_t c = 0; c < cols; ++c) {
            double y = (double(x(r, c)) - mean) * inverse;
            // The mean is off by up to (log2-ish depth of the sum) ulps of its size; the rest is relative.
            double bound = inverse * (shift + 1.0) * kEps * (8.0 + double(cols) / 16.0) + std::fabs(y) * 1e-5;
            if (variant != 0) y = y * gamma[c] + beta[c];
            bound += 1e-6;
            expect_near("layer_norm " + std::to_string(cols), out(r, c), y, bound, r, c, &failures);
          }
        }
      }
    }
  }
}

TEST_P(SimdRows, ElementWise) {
  uint64_t seed = 400;
  for (const auto& row_case : kRowCases) {
    const int64_t rows = row_case.first, cols = row_case.second;  // clang 14 does not let lambdas capture bindings
    Rows x = Rows::random(rows, cols, ++seed, 3.0f), y = Rows::random(rows, cols, ++seed, 3.0f, 4);
    const Vec scale(cols, ++seed), shift(cols, ++seed);
    int failures = 0;
    const auto check = [&](const std::string& what, const Rows& out, auto want, double bound) {
      out.check_frame(what);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < out.cols; ++c) expect_near(what, out(r, c), want(r, c), bound, r, c, &failures);
      }
    };
    for (Act act : kActs) {
      Rows out = Rows::output(rows, cols);
      UnaryArgs a;
      a.x = x.p(), a.ldx = x.ld, a.rows = rows, a.cols = cols, a.act = act, a.out = out.p(), a.ldo = out.ld;
      run(k().unary, a);
      check(
          "unary", out, [&](int64_t r, int64_t c) { return ref_act(act, double(x(r, c))); }, 1e-6);
    }
    for (int64_t b_rows : {int64_t(1), rows, (rows + 1) / 2}) {
      Rows out = Rows::output(rows, cols);
      AddArgs a;
      a.a = x.p(), a.lda = x.ld, a.b = y.p(), a.ldb = y.ld, a.b_rows = b_rows, a.rows = rows, a.cols = cols;
      a.out = out.p(), a.ldo = out.ld;
      run(k().add, a);
      check(
          "add", out, [&](int64_t r, int64_t c) { return double(x(r, c)) + double(y(r % b_rows, c)); }, 6 * kEps);
    }
    {
      Rows out = Rows::output(rows, cols, 12);
      AffineArgs a;
      a.x = x.p(), a.ldx = x.ld, a.rows = rows, a.cols = cols, a.scale = scale.p(), a.shift = shift.p();
      a.out = out.p(), a.ldo = out.ld;
      run(k().affine, a);
      check(
          "affine", out, [&](int64_t r, int64_t c) { return double(x(r, c)) * scale[c] + shift[c]; }, 10 * kEps);
    }
    if (cols % 2 == 0) {
      const int64_t hidden = cols / 2;
      Rows out = Rows::output(rows, hidden);
      SwigluArgs a;
      a.x = x.p(), a.ldx = x.ld, a.rows = rows, a.hidden = hidden, a.out = out.p(), a.ldo = out.ld;
      run(k().swiglu, a);
      check(
          "swiglu", out,
          [&](int64_t r, int64_t c) { return ref_act(Act::kSilu, double(x(r, c))) * double(x(r, hidden + c)); }, 3e-6);
    }
    {
      const int64_t first = rows / 3, count = rows - first, groups = 1;
      Rows out = Rows::output(groups, cols);
      MeanArgs a;
      a.x = x.p(), a.ldx = x.ld, a.groups = groups, a.group_rows = rows, a.first = first, a.count = count;
      a.cols = cols, a.out = out.p(), a.ldo = out.ld;
      run(k().mean, a);
      out.check_frame("mean");
      for (int64_t c = 0; c < cols; ++c) {
        double sum = 0.0;
        for (int64_t r = first; r < rows; ++r) sum += double(x(r, c));
        expect_near("mean", out(0, c), sum / double(count), 3 * 64 * kEps, 0, c, &failures);
      }
    }
  }
}

TEST_P(SimdRows, MeanOfGroupsAndCopies) {
  Rows x = Rows::random(12, 9, 1);
  Rows out = Rows::output(3, 9);
  MeanArgs m;
  m.x = x.p(), m.ldx = x.ld, m.groups = 3, m.group_rows = 4, m.first = 1, m.count = 2, m.cols = 9;
  m.out = out.p(), m.ldo = out.ld;
  run(k().mean, m);
  for (int64_t g = 0; g < 3; ++g) {
    for (int64_t c = 0; c < 9; ++c) {
      EXPECT_NEAR(out(g, c), (double(x(g * 4 + 1, c)) + double(x(g * 4 + 2, c))) / 2, 1e-7);
    }
  }
  // A class token in front of each of 3 images of 4 tokens, then the tokens.
  Rows cat = Rows::output(15, 9), token = Rows::random(1, 9, 2);
  CopyArgs c;
  c.src = token.p(), c.lds = token.ld, c.src_group_rows = 0, c.dst = cat.p(), c.ldd = cat.ld, c.dst_group_rows = 5;
  c.groups = 3, c.rows = 1, c.cols = 9, c.zero_cols = 3;
  run(k().copy, c);
  c.src = x.p(), c.lds = x.ld, c.src_group_rows = 4, c.dst = cat.p() + cat.ld, c.rows = 4;
  run(k().copy, c);
  cat.check_frame("copy");
  for (int64_t r = 0; r < 15; ++r) {
    for (int64_t j = 0; j < 9; ++j) EXPECT_EQ(cat(r, j), r % 5 == 0 ? token(0, j) : x(r / 5 * 4 + r % 5 - 1, j));
  }
}

TEST_P(SimdRows, HalfConversions) {
  // Every binary16 value, and floats around every rounding boundary.
  const int64_t cols = 257, rows = 255;
  std::vector<uint16_t> h(size_t(rows * 260), 0), back(size_t(rows * 260), 0xabcd);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) h[size_t(r * 260 + c)] = uint16_t(r * cols + c);
  }
  Rows out = Rows::output(rows, cols);
  FromHalfArgs f;
  f.x = h.data(), f.ldx = 260, f.rows = rows, f.cols = cols, f.out = out.p(), f.ldo = out.ld;
  run(k().from_half, f);
  out.check_frame("from_half");
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      const float want = half_to_float(uint16_t(r * cols + c));
      if (std::isnan(want)) {
        ASSERT_TRUE(std::isnan(out(r, c)));
      } else {
        ASSERT_EQ(out(r, c), want);
      }
    }
  }
  for (double nudge : {0.0, 0.4999, 0.5, 0.5001}) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const uint16_t u = uint16_t(r * cols + c);
        const double a = half_to_float(u), b = half_to_float(uint16_t(u + 1));
        const bool between = std::isfinite(a) && std::isfinite(b) && std::signbit(a) == std::signbit(b);
        out(r, c) = float(between ? a + (b - a) * nudge : a);
      }
    }
    ToHalfArgs t;
    t.x = out.p(), t.ldx = out.ld, t.rows = rows, t.cols = cols, t.out = back.data(), t.ldo = 260;
    run(k().to_half, t);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < 260; ++c) {
        const uint16_t got = back[size_t(r * 260 + c)];
        if (c >= cols) {
          ASSERT_EQ(got, 0);
        } else if (std::isnan(out(r, c))) {
          ASSERT_TRUE(std::isnan(half_to_float(got)));
        } else {
          ASSERT_EQ(got, float_to_half(out(r, c))) << out(r, c);
        }
      }
    }
  }
}

/// The elementary functions over a dense range of floats: the error figures that the comments in vec-inl.h state.
TEST_P(SimdRows, ActivationsAreAccurate) {
  std::vector<float> v;
  for (int i = -120000; i <= 120000; ++i) v.push_back(float(i) * 1e-4f);
  for (int e = -126; e <= 127; ++e) {
    for (float m : {1.0f, 1.3f, 1.7f}) v.push_back(std::ldexp(m, e)), v.push_back(-std::ldexp(m, e));
  }
  const float special[] = {0.0f,
                           -0.0f,
                           kInf,
                           -kInf,
                           kNan,
                           -kNan,
                           std::numeric_limits<float>::max(),
                           std::numeric_limits<float>::lowest(),
                           std::numeric_limits<float>::denorm_min()};
  v.insert(v.end(), std::begin(special), std::end(special));
  const int64_t n = int64_t(v.size());
  Rows x(1, n, kNan), out = Rows::output(1, n);
  std::copy(v.begin(), v.end(), x.p());
  const double bounds[] = {0.0, 2.5e-7, 8e-7, 8e-7, 0.0, 2e-7, 2e-7};  // absolute, up to |y| = 1; relative beyond
  for (Act act : kActs) {
    UnaryArgs a;
    a.x = x.p(), a.ldx = x.ld, a.rows = 1, a.cols = n, a.act = act, a.out = out.p(), a.ldo = out.ld;
    run(k().unary, a);
    double worst = 0.0, relative = 0.0;
    for (int64_t i = 0; i < n; ++i) {
      const double in = double(x(0, i)), want = ref_act(act, in);
      const float got = out(0, i);
      if (std::isnan(in)) {
        EXPECT_TRUE(std::isnan(got)) << int(act);
      } else if (std::isinf(want)) {
        EXPECT_EQ(double(got), want) << int(act);
      } else {
        const double e = std::fabs(double(got) - want) / std::max(1.0, std::fabs(want));
        worst = std::max(worst, e);
        if (act == Act::kTanh && std::fabs(want) > 1e-30) {
          relative = std::max(relative, std::fabs(double(got) - want) / std::fabs(want));
        }
        ASSERT_LE(e, bounds[int(act)]) << "act " << int(act) << " of " << in << ": " << got << ", want " << want;
      }
    }
    RecordProperty("act" + std::to_string(int(act)), std::to_string(worst));
    EXPECT_LE(relative, 4e-7);
  }
}

TEST_P(SimdRows, RowKernelsKeepNan) {
  Rows x = Rows::random(3, 37, 1);
  x(1, 20) = kNan;
  Rows out = Rows::output(3, 37);
  LayerNormArgs ln;
  ln.x = x.p(), ln.ldx = x.ld, ln.rows = 3, ln.cols = 37, ln.out = out.p(), ln.ldo = out.ld;
  run(k().layer_norm, ln);
  out.check_frame("layer_norm");
  for (int64_t r = 0; r < 3; ++r) EXPECT_EQ(std::isnan(out(r, 0)), r == 1);
}

}  // namespace
}  // namespace vireo::simd
