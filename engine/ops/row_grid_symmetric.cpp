#include <algorithm>
#include <cmath>

#include "ops/row_grids.h"

namespace vireo {
namespace {

void round(float* x, int64_t n, int bits) {
  const double top = double((1 << (bits - 1)) - 1);
  double most = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, std::fabs(double(x[i])));
  if (most <= 0) return;
  const double step = most / top;
  for (int64_t i = 0; i < n; ++i) x[i] = float(step * nearest_code(double(x[i]), step, -top, top));
}

}  // namespace

const RowGrid kSymmetricGrid = {"symmetric", "evenly spaced around 0, as far as the largest magnitude",
                                "max-abs, as compressed-tensors has it", round};

}  // namespace vireo
