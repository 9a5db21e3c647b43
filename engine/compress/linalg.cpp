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

}  // namespace vireo::compress
