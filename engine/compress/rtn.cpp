// Round to nearest: the scale is the group's largest magnitude over the largest code, every weight goes to the nearest
// code. No pictures are needed.
#include <algorithm>
#include <cmath>

#include "compress/method.h"

namespace vireo::compress {

Coded scales_by_max(const Weight& w, const Grid& grid) {
  const int64_t span = span_of(grid, w.cols), groups = div_up(w.cols, span);
  std::vector<double> scales(size_t(w.rows * groups));
  for (int64_t r = 0; r < w.rows; ++r)
    for (int64_t k = 0; k < w.cols; ++k) {
      double& s = scales[size_t(r * groups + k / span)];
      s = std::max(s, std::fabs(double(w.values[r * w.cols + k])) / most_code(grid));
    }
  Coded c;
  c.grid = grid;
  c.half_scales = fits_half(scales);
  for (const double s : scales) c.scales.push_back(stored_scale(s, c.half_scales));
  return c;
}

namespace {

Result<Coded> rtn(const Weight& w, const Grid& grid, ThreadPool& pool) {
  Coded c = scales_by_max(w, grid);
  round_all(w, pool, &c);
  return c;
}

}  // namespace

const Method kRtn = {"rtn", "each weight to the nearest code, the scale by the largest weight that shares it",
                     "the published format's own rounding (compressed-tensors)", false, rtn};

}  // namespace vireo::compress
