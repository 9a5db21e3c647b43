#include "compress/obs.h"

#include <algorithm>
#include <numeric>

#include "compress/linalg.h"

namespace vireo::compress {

Result<Elimination> Elimination::create(const std::vector<float>& weight, int64_t rows, const std::vector<double>& h,
                                        double ridge, ThreadPool& pool) {
  Elimination e;
  const int64_t n = int64_t(weight.size()) / std::max<int64_t>(rows, 1);
  e.rows_ = rows, e.cols_ = n;
  e.gone_.assign(size_t(n), false);
  e.left_.resize(size_t(n));
  std::iota(e.left_.begin(), e.left_.end(), int64_t(0));
  std::vector<double> l = h;
  for (int64_t i = 0; i < n; ++i) {
    double& own = l[size_t(i * n + i)];
    own = own > 0 ? own * (1 + ridge) : 1.0;  // an input that was always 0: it goes for nothing
  }
  VIREO_TRY(cholesky(l.data(), n, pool));
  invert_lower(l.data(), n, pool);
  // H^-1 = M^T M, with M = L^-1: row by row of M, which is contiguous.
  e.inverse_.assign(size_t(n * n), 0.0);
  pool.parallel_for(n, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t k = begin; k < n; ++k)
      for (int64_t i = begin; i < std::min(end, k + 1); ++i) {
        const double f = l[size_t(k * n + i)];
        const double* const row = l.data() + k * n;
        double* const to = e.inverse_.data() + i * n;
        for (int64_t j = 0; j <= k; ++j) to[j] += f * row[j];
      }
  });
  e.weight_.resize(size_t(n * rows));
  e.norms_.assign(size_t(n), 0.0);
  for (int64_t k = 0; k < n; ++k)
    for (int64_t r = 0; r < rows; ++r) {
      const double w = double(weight[size_t(r * n + k)]);
      e.weight_[size_t(k * rows + r)] = w;
      e.norms_[size_t(k)] += w * w;
    }
  return e;
}

Result<double> Elimination::loss(const std::vector<int64_t>& columns) const {
  // sum over rows of w (H^-1 of these columns)^-1 w^T: with L L^T the block, the squares of L^-1 w^T.
  const int64_t n = int64_t(columns.size());
  std::vector<double> block(size_t(n * n));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j)
      block[size_t(i * n + j)] = inverse_[size_t(columns[size_t(i)] * cols_ + columns[size_t(j)])];
  ThreadPool alone(1);
  VIREO_TRY(cholesky(block.data(), n, alone));
  double sum = 0;
  std::vector<double> x(static_cast<size_t>(n));
  for (int64_t r = 0; r < rows_; ++r)
    for (int64_t i = 0; i < n; ++i) {
      double v = weight_[size_t(columns[size_t(i)] * rows_ + r)];
      for (int64_t j = 0; j < i; ++j) v -= block[size_t(i * n + j)] * x[size_t(j)];
      x[size_t(i)] = v / block[size_t(i * n + i)];
      sum += x[size_t(i)] * x[size_t(i)];
    }
  return sum;
}

void Elimination::remove(int64_t p, ThreadPool& pool) {
  total_ += loss(p);
  const double own = inverse_[size_t(p * cols_ + p)];
  const std::vector<double> row(inverse_.begin() + p * cols_, inverse_.begin() + (p + 1) * cols_);
  const std::vector<double> w(weight_.begin() + p * rows_, weight_.begin() + (p + 1) * rows_);
  gone_[size_t(p)] = true;
  left_.erase(std::lower_bound(left_.begin(), left_.end(), p));
  std::fill_n(inverse_.begin() + p * cols_, cols_, 0.0);
  std::fill_n(weight_.begin() + p * rows_, rows_, 0.0);
  norms_[size_t(p)] = 0;
  pool.parallel_for(int64_t(left_.size()), 32, [&](int64_t begin, int64_t end, int) {
    for (int64_t at = begin; at < end; ++at) {
      const int64_t k = left_[size_t(at)];
      const double f = row[size_t(k)] / own;
      double* const h = inverse_.data() + k * cols_;
      for (int64_t j = 0; j < cols_; ++j) h[j] -= f * row[size_t(j)];
      h[p] = 0;
      double* const v = weight_.data() + k * rows_;
      double square = 0;
      for (int64_t r = 0; r < rows_; ++r) {
        v[r] -= f * w[size_t(r)];
        square += v[r] * v[r];
      }
      norms_[size_t(k)] = square;
    }
  });
}

int64_t Elimination::least(int64_t first, int64_t count) const {
  int64_t best = -1;
  for (auto k = std::lower_bound(left_.begin(), left_.end(), first); k != left_.end() && *k < first + count; ++k)
    if (best < 0 || loss(*k) < loss(best)) best = *k;
  return best;
}

std::vector<float> Elimination::weight() const {
  std::vector<float> w(size_t(rows_ * cols_));
  for (int64_t k = 0; k < cols_; ++k)
    for (int64_t r = 0; r < rows_; ++r) w[size_t(r * cols_ + k)] = float(weight_[size_t(k * rows_ + r)]);
  return w;
}

}  // namespace vireo::compress
