// Fits a position table to another grid of patches, as PyTorch's bicubic interpolation does.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"

namespace vireo {

/// `table` holds from_h * from_w rows of `dim` floats; the answer to_h * to_w rows. Sums are in double.
std::vector<float> resample_positions(const std::vector<float>& table, int64_t from_h, int64_t from_w, int64_t to_h,
                                      int64_t to_w, int64_t dim, PosResample kind);

}  // namespace vireo
