// Weights of 4 bits some of whose rows have 8: Quasar-ViT's row-wise mixtures (Li et al. 2024, arXiv 2407.18175), by
// what rounding costs each row instead of by training.
#pragma once

#include <vector>

#include "compress/method.h"

namespace vireo::compress {

/// What rounding moves each output by: sum over the inputs of their H_kk (w - code * scale)^2; without H of the
/// squares.
std::vector<double> row_errors(const Weight& weight, const Coded& coded);

/// The `count` rows with the largest errors, rising; of equal ones the first.
std::vector<int32_t> worst_rows(const std::vector<double>& errors, int64_t count);

/// Codes of grid.bits by `method`, and of 8 by rounding to nearest with scales for as many columns, of the rows `wide`
/// or, where it is empty, of the grid.wide rows that the method leaves the largest errors. Errors: the method's.
Result<Coded> mix_rows(const Weight& weight, const Method& method, const Grid& grid, std::vector<int32_t> wide,
                       ThreadPool& pool);

}  // namespace vireo::compress
