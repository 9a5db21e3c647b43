#include <algorithm>
#include <cmath>

#include "ops/row_grids.h"

namespace vireo {
namespace {

void round(float* x, int64_t n, int bits) { round_by_row_log(x, n, bits, 2); }

}  // namespace

const RowGrid kRowLog2Grid = {"rowlog2",
                              "powers of 2 down from the largest of the row, which keeps its sum, for softmax",
                              "powers of 2 as in FQ-ViT, relative to the row and renormalised", round};

}  // namespace vireo
