#include <algorithm>
#include <cmath>

#include "ops/row_grids.h"

namespace vireo {
namespace {

void round(float* x, int64_t n, int bits) { round_by_row_log(x, n, bits, std::exp2(0.25)); }

}  // namespace

const RowGrid kRowLogQuarterGrid = {
    "rowlogquarter", "powers of 2^(1/4) down from the largest of the row, which keeps its sum, for softmax of 6 bits",
    "a finer base as in AdaLog (Wu et al. 2024, arXiv 2407.12951), relative to the row and renormalised", round};

}  // namespace vireo
