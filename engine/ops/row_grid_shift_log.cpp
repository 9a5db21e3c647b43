#include <algorithm>
#include <cmath>

#include "ops/row_grids.h"

namespace vireo {
namespace {

void round(float* x, int64_t n, int bits) {
  const double base = std::sqrt(2.0);
  double most = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, double(x[i]) + kLeastOfGelu);
  for (int64_t i = 0; i < n; ++i) {
    const int code = log_code(double(x[i]) + kLeastOfGelu, most, base, bits);
    x[i] = float(of_log_code(code, most, base, bits) - kLeastOfGelu);
  }
}

}  // namespace

const RowGrid kShiftLogGrid = {"shiftlog",
                               "powers of the root of 2 down from the largest, of what is shifted by the least that "
                               "GELU gives, for the rows behind it",
                               "shift-log as in AdaLog (Wu et al. 2024, arXiv 2407.12951), relative to the token",
                               round};

}  // namespace vireo
