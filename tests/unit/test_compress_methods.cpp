// How weights become codes, held against statements of the formulae in double precision that share nothing with the
// library's: inverses by elimination, sums in their order, one weight at a time.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "base/half.h"
#include "compress/linalg.h"
#include "compress/method.h"
#include "compress/moments.h"

namespace vireo::compress {
namespace {

using Matrix = std::vector<std::vector<double>>;

Matrix square(int64_t n) { return Matrix(size_t(n), std::vector<double>(size_t(n), 0.0)); }

/// Gauss and Jordan, with the largest pivot.
Matrix inverse(Matrix a) {
  const size_t n = a.size();
  Matrix b = square(int64_t(n));
  for (size_t i = 0; i < n; ++i) b[i][i] = 1;
  for (size_t c = 0; c < n; ++c) {
    size_t best = c;
    for (size_t r = c; r < n; ++r)
      if (std::fabs(a[r][c]) > std::fabs(a[best][c])) best = r;
    std::swap(a[c], a[best]), std::swap(b[c], b[best]);
    const double pivot = a[c][c];
    for (size_t k = 0; k < n; ++k) a[c][k] /= pivot, b[c][k] /= pivot;
    for (size_t r = 0; r < n; ++r) {
      if (r == c) continue;
      const double f = a[r][c];
      for (size_t k = 0; k < n; ++k) a[r][k] -= f * a[c][k], b[r][k] -= f * b[c][k];
    }
  }
  return b;
}

/// A layer with inputs of very different size, some of them like each other, and a Hessian of them.
struct Sample {
  int64_t rows, cols;
  std::vector<float> weights;
  std::vector<double> hessian;

  Sample(int64_t r, int64_t c, unsigned seed) : rows(r), cols(c), hessian(size_t(c * c), 0.0) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < r * c; ++i) weights.push_back(float(0.05 * normal(random)));
    std::vector<double> x(static_cast<size_t>(c));
    for (int64_t n = 0; n < 3 * c; ++n) {
      const double shared = normal(random);
      for (int64_t k = 0; k < c; ++k)
        x[size_t(k)] = (normal(random) + shared) * (k % 7 == 3 ? 20.0 : 0.1 + double(k % 5));
      for (int64_t i = 0; i < c; ++i)
        for (int64_t j = 0; j < c; ++j) hessian[size_t(i * c + j)] += x[size_t(i)] * x[size_t(j)] / double(3 * c);
    }
  }
  Weight weight() const { return {weights.data(), rows, cols, hessian.data()}; }
  double h(int64_t i, int64_t j) const { return hessian[size_t(i * cols + j)]; }
};

Grid grid_of(const std::string& text) {
  Format f;
  EXPECT_TRUE(parse_format(text, &f)) << text;
  return f.grid;
}

double half(double x) { return double(half_to_float(float_to_half(float(x)))); }
double clamped(double code, int bits) {
  const double most = std::pow(2.0, bits - 1) - 1;
  return std::min(most, std::max(bits == 8 ? -most : -most - 1, code));
}

TEST(CompressMethods, RtnIsTheNearestCodeOfTheLargestWeightsScale) {
  ThreadPool pool(2);
  for (const char* format : {"i8", "i4", "i4g16", "i3g32", "i2g16", "i8g16"}) {
    const Sample s(5, 64, 1);
    const Grid g = grid_of(format);
    const auto c = kRtn.run(s.weight(), g, pool);
    ASSERT_TRUE(c.ok()) << c.error().message;
    const int64_t span = g.scope == Scope::kGroup ? g.group : 64;
    for (int64_t r = 0; r < s.rows; ++r)
      for (int64_t k = 0; k < s.cols; ++k) {
        double most = 0;
        for (int64_t j = k / span * span; j < (k / span + 1) * span; ++j)
          most = std::max(most, std::fabs(double(s.weights[size_t(r * 64 + j)])));
        const double scale = half(most / (std::pow(2.0, g.bits - 1) - 1));
        ASSERT_EQ(double(c->scales[size_t(r * (64 / span) + k / span)]), scale) << format;
        ASSERT_EQ(double(c->codes[size_t(r * 64 + k)]),
                  clamped(std::nearbyint(double(s.weights[size_t(r * 64 + k)]) / scale), g.bits))
            << format << " row " << r << " column " << k;
      }
  }
}

TEST(CompressMethods, ZerosAndTinyWeightsKeepAScale) {
  ThreadPool pool(1);
  std::vector<float> w(32, 0.f);
  w[16] = 3e-9f, w[17] = -1e-9f;  // the second row: binary16 has no such scales
  for (const Method* m : {&kRtn, &kSearch}) {
    const auto c = m->run({w.data(), 2, 16, nullptr}, grid_of("i4"), pool);
    ASSERT_TRUE(c.ok());
    EXPECT_FALSE(c->half_scales) << m->name;
    EXPECT_GT(c->scales[0], 0.1f) << m->name;
    EXPECT_GT(c->scales[1], 0.f) << m->name;
    EXPECT_LT(c->scales[1], 1e-8f) << m->name;
    EXPECT_EQ(c->codes[0], 0) << m->name;
    EXPECT_EQ(c->codes[16], 7) << m->name;
  }
}

TEST(CompressMethods, SearchFindsTheScaleOfTheLeastWeightedError) {
  ThreadPool pool(2);
  for (const char* format : {"i4g16", "i4", "i3g32"}) {
    const Sample s(6, 64, 2);
    const Grid g = grid_of(format);
    const auto c = kSearch.run(s.weight(), g, pool);
    ASSERT_TRUE(c.ok());
    const int64_t span = g.scope == Scope::kGroup ? g.group : 64;
    int clipped = 0;
    for (int64_t r = 0; r < s.rows; ++r)
      for (int64_t first = 0; first < 64; first += span) {
        const auto error = [&](double scale) {
          double sum = 0;
          for (int64_t k = first; k < first + span; ++k) {
            const double w = double(s.weights[size_t(r * 64 + k)]);
            const double off = w - clamped(std::nearbyint(w / scale), g.bits) * scale;
            sum += s.h(k, k) * off * off;
          }
          return sum;
        };
        double most = 0, least = INFINITY, whole = 0;
        for (int64_t k = first; k < first + span; ++k)
          most = std::max(most, std::fabs(double(s.weights[size_t(r * 64 + k)])));
        whole = half(most / (std::pow(2.0, g.bits - 1) - 1));
        for (int i = 0; i < 60; ++i) least = std::min(least, error(half(whole * (0.35 + 0.7 * i / 59.0))));
        const double found = double(c->scales[size_t(r * (64 / span) + first / span)]);
        // fp32 products may round a weight that lies between two codes the other way.
        EXPECT_LE(error(found), least * (1 + 1e-5)) << format << " row " << r;
        clipped += found < whole ? 1 : 0;
      }
    EXPECT_GT(clipped, 0) << format << ": a search that never changes anything finds nothing";
  }
}

/// Optimal brain surgery one column at a time: the inverse of what is left of H is made anew for every column.
std::vector<int> naive_gptq(const Sample& s, int64_t row, const Coded& scales, int64_t span, int bits) {
  const int64_t n = s.cols;
  std::vector<int64_t> left(static_cast<size_t>(n));
  std::iota(left.begin(), left.end(), int64_t(0));
  std::stable_sort(left.begin(), left.end(), [&](int64_t a, int64_t b) { return s.h(a, a) > s.h(b, b); });
  std::vector<double> w(static_cast<size_t>(n));
  for (int64_t k = 0; k < n; ++k) w[size_t(k)] = double(s.weights[size_t(row * n + k)]);
  std::vector<int> codes(static_cast<size_t>(n));
  while (!left.empty()) {
    Matrix h = square(int64_t(left.size()));
    for (size_t i = 0; i < left.size(); ++i)
      for (size_t j = 0; j < left.size(); ++j) h[i][j] = s.h(left[i], left[j]) * (i == j ? 1.01 : 1.0);
    const Matrix inv = inverse(h);
    const int64_t k = left[0];
    const double scale = double(scales.scales[size_t(row * (n / span) + k / span)]);
    codes[size_t(k)] = int(clamped(std::nearbyint(w[size_t(k)] / scale), bits));
    const double off = (w[size_t(k)] - codes[size_t(k)] * scale) / inv[0][0];
    for (size_t j = 1; j < left.size(); ++j) w[size_t(left[j])] -= off * inv[0][j];
    left.erase(left.begin());
  }
  return codes;
}

TEST(CompressMethods, GptqIsOptimalBrainSurgeryColumnByColumn) {
  for (const char* format : {"i4g16", "i4", "i3g16"}) {
    const Sample s(11, 48, 3);  // more rows than go side by side
    const Grid g = grid_of(format);
    const int64_t span = g.scope == Scope::kGroup ? g.group : 48;
    std::vector<int8_t> one_thread;
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      const auto c = kGptq.run(s.weight(), g, pool);
      ASSERT_TRUE(c.ok()) << c.error().message;
      if (threads == 1) one_thread = c->codes;
      EXPECT_EQ(c->codes, one_thread) << "depends on the number of threads";
      for (int64_t r = 0; r < s.rows; ++r) {
        const std::vector<int> naive = naive_gptq(s, r, *c, span, g.bits);
        for (int64_t k = 0; k < 48; ++k)
          ASSERT_EQ(int(c->codes[size_t(r * 48 + k)]), naive[size_t(k)]) << format << " row " << r << " column " << k;
      }
    }
  }
}

double output_error(const Sample& s, const Coded& c, int64_t span) {
  double sum = 0;
  for (int64_t r = 0; r < s.rows; ++r) {
    std::vector<double> off(static_cast<size_t>(s.cols));
    for (int64_t k = 0; k < s.cols; ++k)
      off[size_t(k)] =
          double(s.weights[size_t(r * s.cols + k)]) -
          double(c.codes[size_t(r * s.cols + k)]) * double(c.scales[size_t(r * (s.cols / span) + k / span)]);
    for (int64_t i = 0; i < s.cols; ++i)
      for (int64_t j = 0; j < s.cols; ++j) sum += off[size_t(i)] * s.h(i, j) * off[size_t(j)];
  }
  return sum;
}

TEST(CompressMethods, EachOfThemLosesLessThanTheOneBefore) {
  ThreadPool pool(2);
  const Sample s(32, 64, 4);
  const Grid g = grid_of("i3g32");
  const auto a = kRtn.run(s.weight(), g, pool), b = kSearch.run(s.weight(), g, pool),
             c = kGptq.run(s.weight(), g, pool);
  ASSERT_TRUE(a.ok() && b.ok() && c.ok());
  EXPECT_LT(output_error(s, *b, 32), output_error(s, *a, 32));
  EXPECT_LT(output_error(s, *c, 32), 0.7 * output_error(s, *b, 32));
}

TEST(CompressMethods, AnInputThatIsAlwaysZeroDoesNotStopGptq) {
  ThreadPool pool(1);
  Sample s(3, 16, 5);
  for (int64_t k = 0; k < 16; ++k) s.hessian[size_t(7 * 16 + k)] = s.hessian[size_t(k * 16 + 7)] = 0;
  const auto c = kGptq.run(s.weight(), grid_of("i4"), pool);
  ASSERT_TRUE(c.ok()) << c.error().message;
  for (int64_t r = 0; r < 3; ++r)
    EXPECT_EQ(double(c->codes[size_t(r * 16 + 7)]),
              clamped(std::nearbyint(double(s.weights[size_t(r * 16 + 7)]) / double(c->scales[size_t(r)])), 4));
}

TEST(CompressLinalg, FactorsAndInverts) {
  for (const int64_t n : {1, 2, 63, 64, 65, 130, 200}) {
    const Sample s(1, n, unsigned(n));
    std::vector<double> one;
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      std::vector<double> l = s.hessian;
      for (int64_t i = 0; i < n; ++i) l[size_t(i * n + i)] *= 1.01;
      ASSERT_TRUE(cholesky(l.data(), n, pool).ok());
      double worst = 0;
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j <= i; ++j) {
          double sum = 0;
          for (int64_t k = 0; k <= j; ++k) sum += l[size_t(i * n + k)] * l[size_t(j * n + k)];
          const double wanted = s.h(i, j) * (i == j ? 1.01 : 1.0);
          worst = std::max(worst, std::fabs(sum - wanted) / std::sqrt(s.h(i, i) * s.h(j, j)));
        }
      EXPECT_LT(worst, 1e-12) << n;
      std::vector<double> m = l;
      invert_lower(m.data(), n, pool);
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j <= i; ++j) {
          double sum = 0, terms = 0;
          for (int64_t k = j; k <= i; ++k) {
            sum += l[size_t(i * n + k)] * m[size_t(k * n + j)];
            terms += std::fabs(l[size_t(i * n + k)] * m[size_t(k * n + j)]);
          }
          EXPECT_NEAR(sum, i == j ? 1.0 : 0.0, 1e-11 * std::max(1.0, terms)) << n << ": " << i << ", " << j;
        }
      if (threads == 1) one = m;
      EXPECT_EQ(m, one) << "depends on the number of threads";
    }
  }
  ThreadPool pool(1);
  std::vector<double> not_definite = {1, 0, 2, 1};
  const auto r = cholesky(not_definite.data(), 2, pool);
  ASSERT_FALSE(r.ok());
  EXPECT_NE(r.error().message.find("pivot 1 of 2 is -3"), std::string::npos) << r.error().message;
}

TEST(CompressMoments, AreThoseOfAllRowsAndOfTheAnswers) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const int64_t rows = 9, cols = 37, stride = 44, pictures = 3;
  for (const bool last : {false, true})
    for (const auto& tokens : {std::vector<int64_t>{}, std::vector<int64_t>{0}, std::vector<int64_t>{0, 1}}) {
      ThreadPool pool(2);
      Moments m(cols, tokens);
      Matrix all = square(cols), answer = square(cols);
      std::vector<float> largest(size_t(cols), 0.f);
      std::vector<double> mean(size_t(cols), 0.0), magnitude(size_t(cols), 0.0);
      for (int64_t p = 0; p < pictures; ++p) {
        std::vector<float> x(size_t(rows * stride), NAN);  // nobody may look at what lies between rows
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t k = 0; k < cols; ++k) x[size_t(r * stride + k)] = normal(random) * float(1 + k % 4);
        ASSERT_TRUE(m.add({x.data(), rows, cols, stride}, simd::best(), pool));
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t i = 0; i < cols; ++i) {
            const double xi = double(x[size_t(r * stride + i)]);
            largest[size_t(i)] = std::max(largest[size_t(i)], float(std::fabs(xi)));
            mean[size_t(i)] += xi / double(rows * pictures),
                magnitude[size_t(i)] += std::fabs(xi) / double(rows * pictures);
            for (int64_t j = 0; j < cols; ++j) {
              const double product = xi * double(x[size_t(r * stride + j)]);
              all[size_t(i)][size_t(j)] += product / double(rows * pictures);
              if (std::find(tokens.begin(), tokens.end(), r) != tokens.end())
                answer[size_t(i)][size_t(j)] += product / double(pictures * int64_t(tokens.size()));
            }
          }
      }
      EXPECT_EQ(m.largest(), largest);
      for (int64_t i = 0; i < cols; ++i) {
        EXPECT_NEAR(m.means()[size_t(i)], mean[size_t(i)], 1e-12) << i;
        EXPECT_NEAR(m.mean_magnitudes()[size_t(i)], magnitude[size_t(i)], 1e-12) << i;
      }
      const std::vector<double> h = m.hessian(last);
      const double share = tokens.empty() ? 1.0 : last ? 0.2 : 0.5;
      for (int64_t i = 0; i < cols; ++i)
        for (int64_t j = 0; j < cols; ++j) {
          double wanted = share * all[size_t(i)][size_t(j)] + (1 - share) * answer[size_t(i)][size_t(j)];
          if (last && !tokens.empty() && i != j) wanted *= 0.7;
          // fp32 sums of 27 products of numbers of this size.
          const double size = std::sqrt(all[size_t(i)][size_t(i)] * all[size_t(j)][size_t(j)]);
          EXPECT_NEAR(h[size_t(i * cols + j)], wanted, 3e-6 * size) << i << ", " << j;
        }
    }
}

TEST(CompressMoments, AColumnThatIsSixTimesAllOthersIsFound) {
  for (const float largest : {5.9f, 6.1f}) {
    ThreadPool pool(1);
    Moments m(200, {}, false);
    std::vector<float> x(200, 1.f);
    x[77] = -largest, x[3] = -0.5f;
    ASSERT_TRUE(m.add({x.data(), 1, 200, 200}, simd::best(), pool));
    EXPECT_EQ(m.has_outlier_column(), largest > 6);
    EXPECT_TRUE(m.gram().empty());
  }
}

TEST(CompressMoments, RowsThatAreNotFiniteAreRefused) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    ThreadPool pool(1);
    Moments m(8, {});
    std::vector<float> x(16, 1.f);
    x[11] = bad;
    EXPECT_FALSE(m.add({x.data(), 2, 8, 8}, simd::best(), pool));
    EXPECT_EQ(m.rows(), 0);
    x[11] = 1;
    EXPECT_TRUE(m.add({x.data(), 2, 8, 8}, simd::best(), pool));
    EXPECT_NEAR(m.hessian(false)[0], 1.0, 1e-6);
  }
}

}  // namespace
}  // namespace vireo::compress
