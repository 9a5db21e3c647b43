#include <algorithm>
#include <cmath>

#include "ops/row_grids.h"

namespace vireo {
namespace {

/// One bit of the code says which of the two grids it is on.
double rounded(double x, double split, double top) {
  if (x > split) return nearest_code(std::min(x, 1.0), 1 / top, 0, top) / top;
  const double step = split / top;
  return step * nearest_code(std::max(x, 0.0), step, 0, top);
}

void round(float* x, int64_t n, int bits) {
  const double top = double((1 << (bits - 1)) - 1);
  double least = INFINITY, best = 1;
  for (int i = 0; i < 20; ++i) {
    const double split = std::exp2(-i);
    double error = 0;
    for (int64_t k = 0; k < n; ++k) {
      const double off = double(x[k]) - rounded(double(x[k]), split, top);
      error += off * off;
    }
    if (error < least) least = error, best = split;
  }
  for (int64_t k = 0; k < n; ++k) x[k] = float(rounded(double(x[k]), best, top));
}

}  // namespace

const RowGrid kTwinSoftmaxGrid = {
    "twinsoftmax", "two even grids, from 0 to a power of 2 that is searched and from there to 1, for softmax",
    "PTQ4ViT (Yuan et al. 2022, arXiv 2111.12293)", round};

}  // namespace vireo
