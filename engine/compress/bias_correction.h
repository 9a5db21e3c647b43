// Bias correction (Nagel et al. 2019; of vision transformers Liu et al. 2021): rounding a weight moves the mean of what
// its linear answers, and the bias can take that back: b' = b + (W - W') E[x].
#pragma once

#include <vector>

#include "compress/encode.h"
#include "compress/method.h"

namespace vireo::compress {

/// (W - W') E[x] by row; `means` of the weight's inputs, by column.
std::vector<float> bias_shift(const Weight& weight, const Coded& coded, const std::vector<double>& means);

/// Whether the file has a bias of its own for this layer, which can be moved.
bool has_bias(const LoadedModel& model, const Layer& layer);
/// That bias and what it moves by, as the file stores floats. Errors: those of Checkpoint::constant.
Result<StoredTensor> moved_bias(const LoadedModel& model, const Layer& layer, const std::vector<float>& shift);

}  // namespace vireo::compress
