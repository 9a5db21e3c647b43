#include <algorithm>
#include <cmath>

#include "ops/row_grids.h"

namespace vireo {
namespace {

void round(float* x, int64_t n, int bits) {
  for (int64_t i = 0; i < n; ++i) x[i] = float(of_log_code(log_code(double(x[i]), 1, 2, bits), 1, 2, bits));
}

}  // namespace

const RowGrid kLog2Grid = {"log2", "powers of 2 from 1 down, for softmax",
                           "Log-Int-Softmax of FQ-ViT (Lin et al. 2022, arXiv 2111.13824)", round};

}  // namespace vireo
