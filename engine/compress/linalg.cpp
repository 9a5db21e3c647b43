#include "compress/linalg.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace vireo::compress {
namespace {

constexpr int64_t kBlock = 64;  // 32 KiB of doubles: a block stays in the first cache
constexpr int kLanes = 8;       // sums side by side, so that a compiler can use vectors without changing their order

/// The scalar product of n neighbouring numbers with another n of them.
double dot(const double* a, const double* b, int64_t n) {
  double sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) sums[l] += a[i + l] * b[i + l];
  for (int l = 0; i < n; ++i, ++l) sums[l] += a[i] * b[i];
  double sum = 0;
  for (const double s : sums) sum += s;
  return sum;
}

}  // namespace

Result<void> cholesky(double* a, int64_t n, ThreadPool& pool) {
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t last = std::min(n, first + kBlock);
    // What the columns before take off these columns, row by row; then the block on the diagonal; then what is below.
    pool.parallel_for(n - first, 8, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = first + begin; i < first + end; ++i)
        for (int64_t j = first; j < std::min(last, i + 1); ++j) a[i * n + j] -= dot(a + i * n, a + j * n, first);
    });
    for (int64_t j = first; j < last; ++j) {
      const double pivot = a[j * n + j] - dot(a + j * n + first, a + j * n + first, j - first);
      if (!(pivot > 0))
        return fail(ErrorCode::kInvalidArgument, "cholesky: pivot {} of {} is {}, expected above 0", j, n, pivot);
      a[j * n + j] = std::sqrt(pivot);
      for (int64_t i = j + 1; i < last; ++i)
        a[i * n + j] = (a[i * n + j] - dot(a + i * n + first, a + j * n + first, j - first)) / a[j * n + j];
    }
    pool.parallel_for(n - last, 8, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = last + begin; i < last + end; ++i)
        for (int64_t j = first; j < last; ++j)
          a[i * n + j] = (a[i * n + j] - dot(a + i * n + first, a + j * n + first, j - first)) / a[j * n + j];
    });
  }
  return {};
}

void invert_lower(double* l, int64_t n, ThreadPool& pool) {
  // Row i of the inverse from the rows above it: x_i = -(sum_{k < i} l_ik x_k) / l_ii, with 1 / l_ii on the diagonal.
  // Blocks of rows go downwards; within one, columns are independent of each other.
  std::vector<double> factors;
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t last = std::min(n, first + kBlock), rows = last - first;
    factors.assign(size_t(rows * last), 0.0);
    for (int64_t r = 0; r < rows; ++r) std::copy_n(l + (first + r) * n, first + r + 1, factors.data() + r * last);
    pool.parallel_for((last + kBlock - 1) / kBlock, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t left = begin * kBlock; left < std::min(last, end * kBlock); left += kBlock) {
        const int64_t right = std::min(last, left + kBlock), width = right - left;
        double sum[kBlock];
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t i = first + r;
          const double* const f = factors.data() + r * last;
          std::fill_n(sum, size_t(width), 0.0);
          for (int64_t k = left; k < i; ++k) {  // rows above `left` are 0 in these columns
            const double* const above = l + k * n + left;
            const int64_t filled = std::min(width, k - left + 1);
            for (int64_t j = 0; j < filled; ++j) sum[j] += f[k] * above[j];
          }
          for (int64_t j = left; j < std::min(right, i + 1); ++j)
            l[i * n + j] = ((j == i ? 1.0 : 0.0) - sum[j - left]) / f[i];
        }
      }
    });
  }
}

void svd(std::vector<double>* a, std::vector<double>* s, std::vector<double>* v, int64_t n) {
  constexpr int kSweeps = 60;
  constexpr double kEnough = 1e-14;  // cosine between two columns
  // Columns are rows here, [column][row], so that a rotation runs over neighbours.
  std::vector<double> u(size_t(n * n)), w(size_t(n * n), 0.0);
  for (int64_t i = 0; i < n; ++i) {
    w[size_t(i * n + i)] = 1;
    for (int64_t j = 0; j < n; ++j) u[size_t(j * n + i)] = (*a)[size_t(i * n + j)];
  }
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    bool turned = false;
    for (int64_t p = 0; p < n; ++p)
      for (int64_t q = p + 1; q < n; ++q) {
        double *const x = u.data() + p * n, *const y = u.data() + q * n;
        const double xx = dot(x, x, n), yy = dot(y, y, n), xy = dot(x, y, n);
        if (std::fabs(xy) <= kEnough * std::sqrt(xx * yy) || xy == 0) continue;
        turned = true;
        const double zeta = (yy - xx) / (2 * xy);
        const double t = (zeta >= 0 ? 1.0 : -1.0) / (std::fabs(zeta) + std::sqrt(1 + zeta * zeta));
        const double c = 1 / std::sqrt(1 + t * t), d = c * t;
        double *const vx = w.data() + p * n, *const vy = w.data() + q * n;
        for (int64_t i = 0; i < n; ++i) {
          const double xi = x[i], vi = vx[i];
          x[i] = c * xi - d * y[i], y[i] = d * xi + c * y[i];
          vx[i] = c * vi - d * vy[i], vy[i] = d * vi + c * vy[i];
        }
      }
    if (!turned) break;
  }
  std::vector<double> lengths(static_cast<size_t>(n));
  std::vector<int64_t> order(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    lengths[size_t(i)] = std::sqrt(dot(u.data() + i * n, u.data() + i * n, n));
    order[size_t(i)] = i;
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t x, int64_t y) { return lengths[size_t(x)] > lengths[size_t(y)]; });
  s->resize(size_t(n)), v->resize(size_t(n * n));
  for (int64_t i = 0; i < n; ++i) {
    const int64_t from = order[size_t(i)];
    const double length = (*s)[size_t(i)] = lengths[size_t(from)];
    for (int64_t r = 0; r < n; ++r) {
      (*a)[size_t(r * n + i)] = length > 0 ? u[size_t(from * n + r)] / length : 0;
      (*v)[size_t(r * n + i)] = w[size_t(from * n + r)];
    }
  }
}

}  // namespace vireo::compress
