#include <algorithm>
#include <cmath>

#include "ops/row_grids.h"

namespace vireo {
namespace {

void round(float* x, int64_t n, int bits) {
  const double top = double((1 << bits) - 1);
  double most = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, double(x[i]));
  const double step = most > 0 ? most / top : 1;
  for (int64_t i = 0; i < n; ++i) x[i] = float(step * nearest_code(double(x[i]), step, 0, top));
}

}  // namespace

const RowGrid kUnsignedGrid = {"unsigned", "evenly spaced from 0 to the largest; what is below becomes 0",
                               "the row scale of compress.md, for softmax", round};

}  // namespace vireo
