#include <algorithm>
#include <cmath>

#include "ops/row_grids.h"

namespace vireo {
namespace {

void round(float* x, int64_t n, int bits) {
  const double base = std::sqrt(2.0);
  for (int64_t i = 0; i < n; ++i) x[i] = float(of_log_code(log_code(double(x[i]), 1, base, bits), 1, base, bits));
}

}  // namespace

const RowGrid kLogSqrt2Grid = {"logsqrt2", "powers of the root of 2 from 1 down, for softmax",
                               "RepQ-ViT (Li et al. 2023, arXiv 2212.08254)", round};

}  // namespace vireo
