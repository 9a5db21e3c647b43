#include <algorithm>
#include <cmath>

#include "ops/row_grids.h"

namespace vireo {
namespace {

void round(float* x, int64_t n, int bits) {
  const double top = double((1 << bits) - 1);
  double least = 0, most = 0;
  for (int64_t i = 0; i < n; ++i) least = std::min(least, double(x[i])), most = std::max(most, double(x[i]));
  if (most <= least) return;
  const double step = (most - least) / top, zero = nearest_code(-least, step, 0, top);
  for (int64_t i = 0; i < n; ++i) x[i] = float(step * nearest_code(double(x[i]), step, -zero, top - zero));
}

}  // namespace

const RowGrid kAsymmetricGrid = {"asymmetric",
                                 "evenly spaced from the least to the largest, 0 among them, with a zero point",
                                 "min-max (Jacob et al. 2018, arXiv 1712.05877)", round};

}  // namespace vireo
