// Queries and keys of a head on fewer dimensions. Its scores are x~_i^T M x_j with M = [Wq bq]^T Wk and x~ = [x; 1]:
// K's bias adds the same to every key's score and drops, and so does the keys' mean. Of all M' of rank r the one of
// least
//   | C_q^(1/2) (M - M') C_k^(1/2) |_F,  C_q = E x~ x~^T, C_k = E (x - mean)(x - mean)^T
// is the truncated SVD (Eckart and Young 1936; as in DRONE, Chen et al. 2021) split as sqrt(S) sqrt(S). With q = Wq x +
// bq and k = Wk x, only q's and k's own moments G_q = E q q^T = A A^T and G_k = B B^T are needed: the singular values
// are those of A^T B = U S V^T, and the new rows are sqrt(S) U^T A^-1 [Wq bq] and sqrt(S) V^T B^-1 Wk.
#include <algorithm>
#include <cmath>

#include "compress/linalg.h"
#include "compress/narrow.h"

namespace vireo::compress {
namespace {

constexpr double kNoDirection = 1e-12;  // of the largest eigenvalue: calibration saw nothing there

/// root = E sqrt(D) with G = E D E^T, [n, n], and its inverse, zero where D is.
void root_of(std::vector<double> g, int64_t n, std::vector<double>* root, std::vector<double>* inverse) {
  std::vector<double> d, e;
  svd(&g, &d, &e, n);
  root->assign(size_t(n * n), 0.0), inverse->assign(size_t(n * n), 0.0);
  for (int64_t i = 0; i < n; ++i) {
    if (!(d[size_t(i)] > kNoDirection * d[0])) continue;
    const double s = std::sqrt(d[size_t(i)]);
    for (int64_t r = 0; r < n; ++r) {
      (*root)[size_t(r * n + i)] = e[size_t(r * n + i)] * s;
      (*inverse)[size_t(i * n + r)] = e[size_t(r * n + i)] / s;
    }
  }
}

/// sqrt(S) U^T A^-1, u [n, n] by columns.
std::vector<double> projection(const std::vector<double>& u, const std::vector<double>& s,
                               const std::vector<double>& inverse, int64_t n) {
  std::vector<double> t(size_t(n * n), 0.0);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t r = 0; r < n; ++r) {
      const double f = std::sqrt(s[size_t(i)]) * u[size_t(r * n + i)];
      for (int64_t c = 0; c < n; ++c) t[size_t(i * n + c)] += f * inverse[size_t(r * n + c)];
    }
  return t;
}

Result<Narrowed> qk_rank(const Block& b, const BlockMoments& m, const std::vector<float>&,
                         const std::vector<int64_t>& heads, const std::vector<int64_t>& widths, ThreadPool& pool) {
  const int64_t n = b.whole.qk, count = int64_t(heads.size());
  Narrowed all;
  all.part = Part::kQk;
  all.q.resize(size_t(b.whole.heads)), all.k.resize(size_t(b.whole.heads));
  std::vector<std::vector<double>> singular(heads.size());
  pool.parallel_for(count, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const size_t h = size_t(heads[size_t(i)]);
      std::vector<double> a, a_inverse, k, k_inverse, v;
      root_of(m.queries[h], n, &a, &a_inverse);
      root_of(m.keys[h], n, &k, &k_inverse);
      std::vector<double> x(size_t(n * n), 0.0);  // A^T B
      for (int64_t r = 0; r < n; ++r)
        for (int64_t p = 0; p < n; ++p)
          for (int64_t c = 0; c < n; ++c) x[size_t(p * n + c)] += a[size_t(r * n + p)] * k[size_t(r * n + c)];
      std::vector<double>& s = singular[size_t(i)];
      svd(&x, &s, &v, n);
      all.q[h] = projection(x, s, a_inverse, n);
      all.k[h] = projection(v, s, k_inverse, n);
    }
  });
  for (const int64_t width : widths) {
    Level level;
    level.width = width;
    for (const std::vector<double>& s : singular)
      for (int64_t i = width; i < n; ++i) level.loss += s[size_t(i)] * s[size_t(i)];
    all.levels.push_back(std::move(level));
  }
  return all;
}

}  // namespace

void BlockMoments::add_qkv(const Rows& x, const BlockSizes& s, ThreadPool& pool) {
  const int64_t n = s.qk;
  if (queries.empty()) {
    queries.assign(size_t(s.heads), std::vector<double>(size_t(n * n), 0.0));
    keys = queries;
  }
  pool.parallel_for(2 * s.heads, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const bool key = i >= s.heads;
      std::vector<double>& sum = (key ? keys : queries)[size_t(i % s.heads)];
      const float* const from = x.data + i * n;  // keys' heads follow those of queries
      std::vector<double> mean(size_t(n), 0.0), row(static_cast<size_t>(n));
      if (key) {
        for (int64_t r = 0; r < x.rows; ++r)
          for (int64_t c = 0; c < n; ++c) mean[size_t(c)] += double(from[r * x.stride + c]) / double(x.rows);
      }
      for (int64_t r = 0; r < x.rows; ++r) {
        for (int64_t c = 0; c < n; ++c) row[size_t(c)] = double(from[r * x.stride + c]) - mean[size_t(c)];
        for (int64_t c = 0; c < n; ++c)
          for (int64_t d = 0; d < n; ++d) sum[size_t(c * n + d)] += row[size_t(c)] * row[size_t(d)];
      }
    }
  });
}

const Narrower kQkRank = {
    "qk-rank",
    "queries and keys of each head on fewer dimensions, those that its scores need most; the scale "
    "stays",
    "truncated SVD weighted by the inputs' moments, as in DRONE (Chen et al. 2021)", Part::kQk, qk_rank};

}  // namespace vireo::compress
