// What makes tensors smaller, held against statements of the formulae in double precision that share nothing with the
// library's: least squares by elimination, roots of matrices by their eigenvectors, every choice by trying all.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "compress/linalg.h"
#include "compress/obs.h"
#include "compress/structure.h"

namespace vireo::compress {
namespace {

using Matrix = std::vector<std::vector<double>>;

Matrix zeros(size_t rows, size_t cols) { return Matrix(rows, std::vector<double>(cols, 0.0)); }
Matrix times(const Matrix& a, const Matrix& b) {
  Matrix c = zeros(a.size(), b[0].size());
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t k = 0; k < b.size(); ++k)
      for (size_t j = 0; j < b[0].size(); ++j) c[i][j] += a[i][k] * b[k][j];
  return c;
}
Matrix turned(const Matrix& a) {
  Matrix t = zeros(a[0].size(), a.size());
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = 0; j < a[0].size(); ++j) t[j][i] = a[i][j];
  return t;
}
double square(const Matrix& a) {
  double sum = 0;
  for (const auto& row : a)
    for (const double x : row) sum += x * x;
  return sum;
}
Matrix less(Matrix a, const Matrix& b) {
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = 0; j < a[0].size(); ++j) a[i][j] -= b[i][j];
  return a;
}

/// Eigenvalues and, as columns, eigenvectors of a symmetric matrix: Jacobi's two-sided rotations.
void eigen(Matrix a, std::vector<double>* values, Matrix* vectors) {
  const size_t n = a.size();
  Matrix v = zeros(n, n);
  for (size_t i = 0; i < n; ++i) v[i][i] = 1;
  for (int sweep = 0; sweep < 100; ++sweep)
    for (size_t p = 0; p < n; ++p)
      for (size_t q = p + 1; q < n; ++q) {
        if (a[p][q] == 0) continue;
        const double phi = 0.5 * std::atan2(2 * a[p][q], a[q][q] - a[p][p]), c = std::cos(phi), s = std::sin(phi);
        for (size_t k = 0; k < n; ++k) {
          const double x = a[k][p], y = a[k][q];
          a[k][p] = c * x - s * y, a[k][q] = s * x + c * y;
        }
        for (size_t k = 0; k < n; ++k) {
          const double x = a[p][k], y = a[q][k];
          a[p][k] = c * x - s * y, a[q][k] = s * x + c * y;
          const double vx = v[k][p], vy = v[k][q];
          v[k][p] = c * vx - s * vy, v[k][q] = s * vx + c * vy;
        }
      }
  values->clear();
  for (size_t i = 0; i < n; ++i) values->push_back(a[i][i]);
  *vectors = v;
}
Matrix root(const Matrix& a) {
  std::vector<double> d;
  Matrix v;
  eigen(a, &d, &v);
  Matrix s = v;
  for (auto& row : s)
    for (size_t i = 0; i < d.size(); ++i) row[i] *= std::sqrt(std::max(0.0, d[i]));
  return times(s, turned(v));
}

/// Solves a x = b, both square or not, by elimination with the largest pivot.
Matrix solve(Matrix a, Matrix b) {
  const size_t n = a.size(), m = b[0].size();
  for (size_t c = 0; c < n; ++c) {
    size_t best = c;
    for (size_t r = c; r < n; ++r)
      if (std::fabs(a[r][c]) > std::fabs(a[best][c])) best = r;
    std::swap(a[c], a[best]), std::swap(b[c], b[best]);
    for (size_t r = 0; r < n; ++r) {
      if (r == c) continue;
      const double f = a[r][c] / a[c][c];
      for (size_t k = c; k < n; ++k) a[r][k] -= f * a[c][k];
      for (size_t k = 0; k < m; ++k) b[r][k] -= f * b[c][k];
    }
  }
  for (size_t r = 0; r < n; ++r)
    for (size_t k = 0; k < m; ++k) b[r][k] /= a[r][r];
  return b;
}

Matrix random_matrix(size_t rows, size_t cols, unsigned seed, double size = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  Matrix m = zeros(rows, cols);
  for (auto& row : m)
    for (double& x : row) x = double(float(size * normal(random)));
  return m;
}
std::vector<float> flat(const Matrix& m) {
  std::vector<float> all;
  for (const auto& row : m)
    for (const double x : row) all.push_back(float(x));
  return all;
}

TEST(Structure, SingularValuesAreThoseOfTheMatrix) {
  for (const size_t n : {1u, 2u, 7u, 24u}) {
    const Matrix m = random_matrix(n, n, unsigned(n));
    std::vector<double> u, s, v;
    for (const auto& row : m) u.insert(u.end(), row.begin(), row.end());
    svd(&u, &s, &v, int64_t(n));
    Matrix uu = zeros(n, n), vv = zeros(n, n), us = zeros(n, n);
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < n; ++j) uu[i][j] = u[i * n + j], vv[i][j] = v[i * n + j], us[i][j] = uu[i][j] * s[j];
    Matrix one = zeros(n, n);
    for (size_t i = 0; i < n; ++i) one[i][i] = 1;
    EXPECT_LT(square(less(times(us, turned(vv)), m)), 1e-22 * square(m));
    EXPECT_LT(square(less(times(turned(uu), uu), one)), 1e-20);
    EXPECT_LT(square(less(times(turned(vv), vv), one)), 1e-20);
    EXPECT_TRUE(std::is_sorted(s.rbegin(), s.rend()));
  }
  // Of rank 1: nothing is divided by zero.
  std::vector<double> a = {1, 2, 2, 4}, s, v;
  svd(&a, &s, &v, 2);
  EXPECT_NEAR(s[0], 5, 1e-12);
  EXPECT_NEAR(s[1], 0, 1e-12);
  for (const double x : a) EXPECT_TRUE(std::isfinite(x));
}

/// The formula as compress.md has it: SVD of C_q^(1/2) [Wq bq]^T Wk C_k^(1/2), with the whole matrices.
TEST(Structure, LowRankScoresAreTheBestOfTheirRank) {
  ThreadPool pool(2);
  constexpr size_t kInputs = 9, kDim = 5, kHeads = 2, kTokens = 40, kPictures = 3;
  const Matrix wq = random_matrix(kHeads * kDim, kInputs, 1, 0.5), bq = random_matrix(kHeads * kDim, 1, 2),
               wk = random_matrix(kHeads * kDim, kInputs, 3, 0.5), bk = random_matrix(kHeads * kDim, 1, 4, 3);
  Block b;
  b.whole = {kHeads, kDim, kDim, 0};
  BlockMoments moments;
  Matrix cq = zeros(kInputs + 1, kInputs + 1), ck = zeros(kInputs, kInputs);
  for (unsigned p = 0; p < kPictures; ++p) {
    Matrix x = random_matrix(kTokens, kInputs, 10 + p);
    for (auto& row : x)
      for (size_t i = 0; i < kInputs; ++i) row[i] = row[i] * (1 + double(i)) + double(p) + 0.3 * row[0];
    std::vector<double> mean(kInputs, 0.0);
    for (const auto& row : x)
      for (size_t i = 0; i < kInputs; ++i) mean[i] += row[i] / kTokens;
    const size_t stride = 3 * kHeads * kDim + 2;
    std::vector<float> rows(kTokens * stride, 99.f);
    for (size_t t = 0; t < kTokens; ++t) {
      std::vector<double> one = x[t];
      one.push_back(1);
      for (size_t i = 0; i <= kInputs; ++i)
        for (size_t j = 0; j <= kInputs; ++j) cq[i][j] += one[i] * one[j];
      for (size_t i = 0; i < kInputs; ++i)
        for (size_t j = 0; j < kInputs; ++j) ck[i][j] += (x[t][i] - mean[i]) * (x[t][j] - mean[j]);
      for (size_t r = 0; r < kHeads * kDim; ++r) {
        double q = bq[r][0], k = bk[r][0];
        for (size_t i = 0; i < kInputs; ++i) q += wq[r][i] * x[t][i], k += wk[r][i] * x[t][i];
        rows[t * stride + r] = float(q), rows[t * stride + kHeads * kDim + r] = float(k);
      }
    }
    moments.add_qkv({rows.data(), kTokens, int64_t(3 * kHeads * kDim), int64_t(stride)}, b.whole, pool);
  }
  const auto narrowed = kQkRank.run(b, moments, {}, {0, 1}, {4, 2, 1}, pool);
  ASSERT_TRUE(narrowed.ok()) << narrowed.error().message;
  const Matrix rq = root(cq), rk = root(ck);
  for (const Level& level : narrowed->levels) {
    double best = 0, reached = 0;
    for (size_t h = 0; h < kHeads; ++h) {
      Matrix q = zeros(kDim, kInputs + 1), k = zeros(kDim, kInputs), tq = zeros(size_t(level.width), kDim), tk = tq;
      for (size_t r = 0; r < kDim; ++r) {
        for (size_t i = 0; i < kInputs; ++i) q[r][i] = wq[h * kDim + r][i], k[r][i] = wk[h * kDim + r][i];
        q[r][kInputs] = bq[h * kDim + r][0];
      }
      for (size_t r = 0; r < size_t(level.width); ++r)
        for (size_t c = 0; c < kDim; ++c)
          tq[r][c] = narrowed->q[h][r * kDim + c], tk[r][c] = narrowed->k[h][r * kDim + c];
      const Matrix m = times(turned(q), k), n = times(turned(times(tq, q)), times(tk, k));
      const Matrix weighted = times(times(rq, m), rk);
      reached += square(less(weighted, times(times(rq, n), rk)));
      std::vector<double> d;
      Matrix v;
      eigen(times(turned(weighted), weighted), &d, &v);
      std::sort(d.rbegin(), d.rend());
      for (size_t i = size_t(level.width); i < d.size(); ++i) best += d[i];
    }
    EXPECT_NEAR(level.loss, best, 1e-4 * best) << level.width;  // q and k came as fp32
    EXPECT_NEAR(reached, best, 1e-4 * best) << level.width;
  }
}

/// tr((W - W') H' (W - W')^T) at its least with only `kept` columns, H' with the ridge on its diagonal; W' itself.
double least_squares(const Matrix& w, const Matrix& h, const std::vector<size_t>& kept, Matrix* best) {
  Matrix hss = zeros(kept.size(), kept.size()), right = zeros(kept.size(), w.size());
  const Matrix wh = times(w, h);
  for (size_t i = 0; i < kept.size(); ++i) {
    for (size_t j = 0; j < kept.size(); ++j) hss[i][j] = h[kept[i]][kept[j]];
    for (size_t r = 0; r < w.size(); ++r) right[i][r] = wh[r][kept[i]];
  }
  const Matrix x = kept.empty() ? right : solve(hss, right);
  *best = zeros(w.size(), h.size());
  for (size_t i = 0; i < kept.size(); ++i)
    for (size_t r = 0; r < w.size(); ++r) (*best)[r][kept[i]] = x[i][r];
  const Matrix off = less(w, *best);
  const Matrix oh = times(off, h);
  double sum = 0;
  for (size_t r = 0; r < w.size(); ++r)
    for (size_t k = 0; k < h.size(); ++k) sum += oh[r][k] * off[r][k];
  return sum;
}

struct Problem {
  Matrix w, h, damped;
  Problem(size_t rows, size_t cols, unsigned seed) : w(random_matrix(rows, cols, seed)), h(zeros(cols, cols)) {
    Matrix x = random_matrix(3 * cols, cols, seed + 100);
    for (auto& row : x)
      for (size_t k = 0; k < cols; ++k) row[k] = (row[k] + 0.8 * row[0]) * (k % 5 == 2 ? 9 : 0.3 + double(k % 3));
    h = times(turned(x), x);
    damped = h;
    for (size_t k = 0; k < cols; ++k) damped[k][k] *= 1 + kRidge;
  }
  std::vector<double> flat_h() const {
    std::vector<double> all;
    for (const auto& row : h) all.insert(all.end(), row.begin(), row.end());
    return all;
  }
};

TEST(Structure, EachEliminationIsTheCheapestAndTheRefitIsLeastSquares) {
  ThreadPool pool(2);
  const Problem p(4, 11, 5);
  auto e = Elimination::create(flat(p.w), 4, p.flat_h(), kRidge, pool);
  ASSERT_TRUE(e.ok()) << e.error().message;
  std::vector<size_t> kept;
  for (size_t k = 0; k < 11; ++k) kept.push_back(k);
  while (kept.size() > 2) {
    double least = INFINITY;
    size_t which = 0;
    Matrix best, at;
    for (size_t i = 0; i < kept.size(); ++i) {
      std::vector<size_t> rest = kept;
      rest.erase(rest.begin() + int64_t(i));
      const double loss = least_squares(p.w, p.damped, rest, &at);
      if (loss < least) least = loss, which = i, best = at;
    }
    const int64_t went = e->least(0, 11);
    EXPECT_EQ(went, int64_t(kept[which]));
    e->remove(went, pool);
    kept.erase(kept.begin() + int64_t(which));
    EXPECT_NEAR(e->total(), least, 1e-9 * least);
    const std::vector<float> w = e->weight();
    for (size_t r = 0; r < 4; ++r)
      for (size_t k = 0; k < 11; ++k) EXPECT_NEAR(w[r * 11 + k], best[r][k], 1e-5) << r << " " << k;
  }
}

TEST(Structure, AnInputThatIsAlwaysZeroGoesFirst) {
  ThreadPool pool(1);
  Problem p(3, 6, 9);
  for (size_t k = 0; k < 6; ++k) p.h[4][k] = p.h[k][4] = 0;
  for (auto& row : p.w) row[4] = 1e-3;
  auto e = Elimination::create(flat(p.w), 3, p.flat_h(), kRidge, pool);
  ASSERT_TRUE(e.ok()) << e.error().message;
  EXPECT_EQ(e->least(0, 6), 4);
}

/// Moments of rows with this second moment cannot be set, so rows are given.
std::unique_ptr<Moments> moments_of(const Matrix& x, ThreadPool& pool) {
  auto m = std::make_unique<Moments>(int64_t(x[0].size()), std::vector<int64_t>());
  const std::vector<float> rows = flat(x);
  EXPECT_TRUE(m->add({rows.data(), int64_t(x.size()), int64_t(x[0].size()), int64_t(x[0].size())}, simd::best(), pool));
  return m;
}

TEST(Structure, HeadsThatCostLeastGoAndValuesGoAlikeFromEveryHead) {
  ThreadPool pool(2);
  constexpr size_t kHeads = 3, kDim = 4, kCols = kHeads * kDim;
  Block b;
  b.whole = {kHeads, kDim, kDim, 0};
  Matrix x = random_matrix(60, kCols, 21);
  for (auto& row : x)
    for (size_t k = 0; k < kCols; ++k) row[k] = (row[k] + 0.5 * row[1]) * (0.5 + double(k % 4) + double(k / 4));
  const Matrix w = random_matrix(5, kCols, 22);
  BlockMoments m;
  m.mixed = moments_of(x, pool);
  Matrix h = times(turned(x), x);
  for (auto& row : h)
    for (double& v : row) v /= 60;
  for (size_t k = 0; k < kCols; ++k) h[k][k] *= 1 + kRidge;
  const auto rest_of = [&](const std::vector<size_t>& heads) {
    std::vector<size_t> cols;
    for (const size_t head : heads)
      for (size_t k = 0; k < kDim; ++k) cols.push_back(head * kDim + k);
    return cols;
  };
  double least = INFINITY;
  std::vector<int64_t> expected;
  Matrix at;
  for (const std::vector<size_t>& two : {std::vector<size_t>{0, 1}, {0, 2}, {1, 2}})
    if (const double loss = least_squares(w, h, rest_of(two), &at); loss < least)
      least = loss, expected = {int64_t(two[0]), int64_t(two[1])};
  const auto heads = heads_to_keep(b, m, flat(w), 2, pool);
  ASSERT_TRUE(heads.ok()) << heads.error().message;
  EXPECT_EQ(*heads, expected);
  EXPECT_EQ(heads_to_keep(b, m, flat(w), 3, pool)->size(), 3u);

  const auto narrowed = kValueColumns.run(b, m, flat(w), *heads, {3, 2}, pool);
  ASSERT_TRUE(narrowed.ok()) << narrowed.error().message;
  ASSERT_EQ(narrowed->levels.size(), 2u);
  for (const Level& level : narrowed->levels) {
    std::vector<size_t> kept(level.kept.begin(), level.kept.end());
    ASSERT_EQ(kept.size(), 2 * size_t(level.width));
    for (const int64_t head : *heads)
      EXPECT_EQ(std::count_if(kept.begin(), kept.end(), [&](size_t k) { return int64_t(k / kDim) == head; }),
                level.width);
    Matrix best;
    EXPECT_NEAR(level.loss, least_squares(w, h, kept, &best), 1e-4 * level.loss);
    for (size_t r = 0; r < w.size(); ++r)
      for (size_t k = 0; k < kCols; ++k) EXPECT_NEAR(level.weight[r * kCols + k], best[r][k], 1e-3);
  }
}

TEST(Structure, MlpColumnsAreTheEliminations) {
  ThreadPool pool(2);
  Block b;
  b.whole = {0, 0, 0, 10};
  Matrix x = random_matrix(50, 10, 31);
  for (auto& row : x)
    for (size_t k = 0; k < 10; ++k) row[k] = row[k] * (1 + double(k % 3)) + row[(k + 1) % 10];
  const Matrix w = random_matrix(4, 10, 32);
  BlockMoments m;
  m.hidden = moments_of(x, pool);
  Matrix h = times(turned(x), x);
  for (auto& row : h)
    for (double& v : row) v /= 50;
  for (size_t k = 0; k < 10; ++k) h[k][k] *= 1 + kRidge;
  const auto narrowed = kMlpColumns.run(b, m, flat(w), {}, {8, 5}, pool);
  ASSERT_TRUE(narrowed.ok()) << narrowed.error().message;
  std::vector<size_t> kept;
  for (size_t k = 0; k < 10; ++k) kept.push_back(k);
  for (const Level& level : narrowed->levels) {
    Matrix at;
    while (int64_t(kept.size()) > level.width) {
      size_t which = 0;
      double least = INFINITY;
      for (size_t i = 0; i < kept.size(); ++i) {
        std::vector<size_t> rest = kept;
        rest.erase(rest.begin() + int64_t(i));
        if (const double loss = least_squares(w, h, rest, &at); loss < least) least = loss, which = i;
      }
      kept.erase(kept.begin() + int64_t(which));
    }
    EXPECT_EQ(std::vector<size_t>(level.kept.begin(), level.kept.end()), kept);
    EXPECT_NEAR(level.loss, least_squares(w, h, kept, &at), 1e-4 * level.loss);
  }
}

/// No other choice of levels saves as much for less.
TEST(Structure, AllocationIsTheBestForWhatItSaves) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> some(0, 1);
  for (int round = 0; round < 40; ++round) {
    std::vector<Block> blocks(3);
    std::vector<Narrowed> parts;
    double all = 0;
    for (size_t i = 0; i < 3; ++i) {
      blocks[i].whole = {2, 16, 16, 64};
      blocks[i].macs = {10 + 5 * some(random), 7, 2 + some(random)};
      for (const Part p : {Part::kQk, Part::kMlp}) {
        Narrowed n;
        n.block = i, n.part = p;
        double kl = 0;
        for (int l = 1; l <= 3; ++l) {
          Level level;
          level.width = blocks[i].width(p) * (4 - l) / 4;
          level.kl = kl += some(random) * some(random);
          n.levels.push_back(level);
        }
        all += double(blocks[i].width(p)) * 0.75 * blocks[i].macs[size_t(p)];
        parts.push_back(n);
      }
    }
    const double wanted = all * some(random);
    const std::vector<int> taken = allocate(blocks, parts, wanted);
    const auto price = [&](const std::vector<int>& t, double* saved) {
      double kl = 0;
      *saved = 0;
      for (size_t i = 0; i < t.size(); ++i) {
        if (t[i] < 0) continue;
        const Level& l = parts[i].levels[size_t(t[i])];
        kl += l.kl;
        *saved += double(blocks[parts[i].block].width(parts[i].part) - l.width) *
                  blocks[parts[i].block].macs[size_t(parts[i].part)];
      }
      return kl;
    };
    double saved = 0, other_saved = 0;
    const double kl = price(taken, &saved);
    EXPECT_GE(saved, wanted - 1e-9);
    std::vector<int> other(parts.size());
    for (int code = 0; code < 4096; ++code) {
      for (size_t i = 0; i < other.size(); ++i) other[i] = (code >> (2 * i) & 3) - 1;
      const double cost = price(other, &other_saved);
      if (other_saved >= saved - 1e-9) {
        EXPECT_GE(cost, kl - 1e-9) << round << " " << code;
      }
    }
  }
  EXPECT_EQ(allocate({}, {}, 1).size(), 0u);
}

TEST(StructureAllocate, AnAnswerThatIsNoNumberIsNotFree) {
  Block block;
  block.whole = {2, 16, 16, 64};
  block.macs = {10, 7, 2};
  Narrowed n;
  n.block = 0, n.part = Part::kQk;
  for (const int64_t width : {12, 8}) {
    Level level;
    level.width = width, level.kl = width == 8 ? std::nan("") : 0.5;
    n.levels.push_back(level);
  }
  EXPECT_EQ(allocate({block}, {n}, 1), std::vector<int>{0});
  EXPECT_EQ(allocate({block}, {n}, 1e9), std::vector<int>{0});
}

}  // namespace
}  // namespace vireo::compress
