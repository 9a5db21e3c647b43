#include <algorithm>
#include <cmath>

#include "ops/row_grids.h"

namespace vireo {
namespace {

void round(float* x, int64_t n, int bits) {
  const double half = double(1 << (bits - 1));
  double most = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, double(x[i]));
  const double up = most > 0 ? most / (half - 1) : 1, down = kLeastOfGelu / half;
  for (int64_t i = 0; i < n; ++i)
    x[i] = x[i] >= 0 ? float(up * nearest_code(double(x[i]), up, 0, half - 1))
                     : float(down * nearest_code(double(x[i]), down, -half, 0));
}

}  // namespace

const RowGrid kTwinGeluGrid = {
    "twingelu", "two even grids, down to the least that GELU gives and up to the largest, for the rows behind it",
    "PTQ4ViT (Yuan et al. 2022, arXiv 2111.12293)", round};

}  // namespace vireo
