// int8 weights: how the numbers are chosen. Pure functions on one row (one output channel) of a matrix.
#pragma once

#include <cstdint>

namespace vireo {

/// Subtracts (max + min) / 2 from a row whose operand is normalised: sum_k xhat_k = 0 after LayerNorm, so that any
/// constant added to the whole row changes nothing, and the middle of the range gives the smallest max|w| and with it
/// the finest steps.
void centre_row(float* row, int64_t k);

/// Symmetric: scale = max|w| / 127, q = round_half_even(w / scale), both 0 for a row of zeros. Returns the scale.
float quantise_row(const float* row, int64_t k, int8_t* q);

/// The published formats' plain rounding of n weights that share a scale, with `bits` a code. Symmetric: scale = max|w|
/// /
/// ((2^bits - 1) / 2), q = clamp(round_half_even(w / scale)). With a zero point: the range of the weights and 0 is
/// divided into 2^bits - 1 steps, and zero = clamp(round(-2^(bits - 1) - least / scale)). A scale of 0 becomes 1 with
/// codes of 0. Returns the scale. (compressed-tensors, quantization/utils: calculate_qparams)
float quantise_group(const float* w, int64_t n, int bits, bool zero_point, int8_t* q, int8_t* zero);

/// Turns the roundings of a group of n weights (`step` elements apart) that hurt least until their errors sum to less
/// than one half step (SQuant's kernel-wise rule: Guo et al. 2022, arXiv 2202.07471). Neighbouring pixels are nearly
/// equal, so in a convolution it is that sum which a flat patch sees.
void balance_roundings(const float* row, float scale, int64_t n, int64_t step, int8_t* q);

}  // namespace vireo
