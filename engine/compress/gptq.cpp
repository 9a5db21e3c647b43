// GPTQ (Frantar et al. 2022, arXiv 2210.17323): columns are rounded one after another, and what each rounding does to
// the layer's output is made good in the columns that are still to come, as far as the inputs' second moments H allow:
//   e = (w_i - code_i scale) / U_ii,  w_j -= e U_ij for j after i,  with H^-1 = U^T U.
// Columns go by falling diag(H); scales are fixed before by search. The damping is 1 % of each diagonal entry by
// itself: as a share of their mean it would drown the many small ones where one input is a hundred times as large.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "compress/linalg.h"
#include "compress/method.h"

namespace vireo::compress {
namespace {

constexpr double kDamping = 0.01;
constexpr int64_t kGptqRows = 8;  // rows of the weight side by side: each pass over U serves them all

Result<Coded> gptq(const Weight& w, const Grid& grid, ThreadPool& pool) {
  const int64_t n = w.cols, span = span_of(grid, n), groups = div_up(n, span);
  Coded c = scales_by_search(w, grid, pool);
  c.codes.resize(size_t(w.rows * n));

  // Rising diag(H): with L L^T the damped H in this order and M = L^-1, U is M read backwards, so columns are rounded
  // from the last to the first, and row i of M holds what column i does to those before it.
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t(0));
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return w.importance(a) < w.importance(b); });
  std::vector<double> m(size_t(n * n), 0.0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) m[size_t(i * n + j)] = w.hessian[order[size_t(i)] * n + order[size_t(j)]];
    double& own = m[size_t(i * n + i)];
    own = own > 0 ? own * (1 + kDamping) : 1.0;  // an input that was always 0: its weight may be anything
  }
  VIREO_TRY(cholesky(m.data(), n, pool));
  invert_lower(m.data(), n, pool);

  pool.parallel_for(div_up(w.rows, kGptqRows), 1, [&](int64_t begin, int64_t end, int) {
    std::vector<double> left(size_t(n * kGptqRows));  // [column in `order`][row]
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kGptqRows, count = std::min(kGptqRows, w.rows - first);
      std::fill(left.begin(), left.end(), 0.0);
      for (int64_t i = 0; i < n; ++i)
        for (int64_t r = 0; r < count; ++r)
          left[size_t(i * kGptqRows + r)] = double(w.values[(first + r) * n + order[size_t(i)]]);
      for (int64_t i = n - 1; i >= 0; --i) {
        const int64_t k = order[size_t(i)];
        const double* const row = m.data() + i * n;
        double error[kGptqRows] = {};
        for (int64_t r = 0; r < count; ++r) {
          const double scale = double(c.scales[size_t((first + r) * groups + k / span)]);
          const double value = left[size_t(i * kGptqRows + r)];
          const int8_t code = code_of(value, scale, grid);
          c.codes[size_t((first + r) * n + k)] = code;
          error[r] = (value - double(code) * scale) / row[i];
        }
        for (int64_t j = 0; j < i; ++j)
          for (int64_t r = 0; r < kGptqRows; ++r) left[size_t(j * kGptqRows + r)] -= error[r] * row[j];
      }
    }
  });
  return c;
}

}  // namespace

const Method kGptq = {"gptq",
                      "each rounding is made good in the columns still to come, by the inputs of 32 to 64 pictures",
                      "GPTQ (Frantar et al. 2022, arXiv 2210.17323)", true, gptq};

}  // namespace vireo::compress
