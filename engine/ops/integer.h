// I-ViT's functions in integers alone (Li and Gu 2023, arXiv 2207.01405): sums, products, shifts and one division a
// row. What is real about codes, their step, enters as one whole number that is worked out before anything runs. No
// device computes them here: they are the reference that such a kernel would have to equal bit by bit.
#pragma once

#include <cstdint>

namespace vireo {

/// How many codes of this step make up 1, as ShiftExp counts: ceil(1 / step), and 1 where the step is not finite.
int64_t codes_of_one(double step);

/// Shiftmax: probabilities of a row, in codes of 2^-(bits - 1). `one`: codes_of_one of the scores' step. Exact in 64
/// bits; the row's sum is clamped to 31 as the paper's is.
void shiftmax(const int32_t* x, int64_t n, int64_t one, int bits, int32_t* out);

/// ShiftGELU: x sigmoid(1.702 x) of a row, in codes of step * 2^-(bits - 1). `one`: codes_of_one(1.702 step). Exponents
/// are those of x less the largest of the row and 0, so none is above 0.
void shift_gelu(const int32_t* x, int64_t n, int64_t one, int bits, int64_t* out);

/// I-LayerNorm without gain and offset: (x - mean) / deviation of a row, in codes of sqrt(n) * 2^-30. The root is by 10
/// steps of Newton's iteration from 2^16.
void integer_norm(const int32_t* x, int64_t n, int64_t* out);

}  // namespace vireo
