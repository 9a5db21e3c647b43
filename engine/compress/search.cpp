// Scale search: of 60 scales from 0.35 to 1.05 times that of the largest magnitude, the one whose rounding errors,
// weighted by what the layer's inputs are, sum to the least. Unweighted, it clips the weights of rare large inputs.
#include <cmath>

#include "compress/method.h"

namespace vireo::compress {
namespace {

constexpr int kSteps = 60;
constexpr double kFrom = 0.35, kTo = 1.05;

/// sum_k importance_k (w_k - code_k scale)^2 over a group.
double error_of(const float* w, const double* importance, int64_t n, float scale, const Grid& grid) {
  // Rounds to the nearest whole number, halves to even, as adding 1.5 * 2^23 does in fp32; faster than a call for each.
  constexpr float kRound = 12582912.f;
  const float inverse = 1.f / scale, least = float(least_code(grid)), most = float(most_code(grid));
  double sum = 0;
  for (int64_t k = 0; k < n; ++k) {
    float code = w[k] * inverse;
    code = code < least ? least : code > most ? most : code;
    code = (code + kRound) - kRound;
    const double off = double(w[k] - code * scale);
    sum += importance[k] * off * off;
  }
  return sum;
}

}  // namespace

Coded scales_by_search(const Weight& w, const Grid& grid, ThreadPool& pool) {
  Coded c = scales_by_max(w, grid);
  const int64_t span = span_of(grid, w.cols), groups = div_up(w.cols, span);
  std::vector<double> importance(size_t(w.cols));
  for (int64_t k = 0; k < w.cols; ++k) importance[size_t(k)] = w.importance(k);
  pool.parallel_for(w.rows, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t first = g * span, n = std::min(span, w.cols - first);
        float& scale = c.scales[size_t(r * groups + g)];
        const double whole = double(scale);
        double least = INFINITY;
        for (int i = 0; i < kSteps; ++i) {
          const float tried = stored_scale(whole * (kFrom + (kTo - kFrom) * i / (kSteps - 1)), c.half_scales);
          const double error = error_of(w.values + r * w.cols + first, importance.data() + first, n, tried, grid);
          if (error < least) least = error, scale = tried;
        }
      }
  });
  return c;
}

namespace {

Result<Coded> search(const Weight& w, const Grid& grid, ThreadPool& pool) {
  Coded c = scales_by_search(w, grid, pool);
  round_all(w, pool, &c);
  return c;
}

}  // namespace

const Method kSearch = {"search", "scales searched for the least error at the layer's output, then the nearest codes",
                        "a grid of scales as in PTQ4ViT (Yuan et al. 2022), weighted by the diagonal of the Hessian",
                        true, search};

}  // namespace vireo::compress
