// The dense linear algebra that GPTQ needs, in double precision over a thread pool. Our own, because it is two
// functions: a library for them would be one more package on every machine that only runs models.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "base/thread_pool.h"

namespace vireo::compress {

/// The lower triangular L of a = L L^T, in the place of a's lower triangle; a is [n, n], row by row, and what lies
/// above the diagonal is neither read nor written. The answer does not depend on the number of threads. Errors:
/// kInvalidArgument, with the first pivot that is not above 0: a is not positive definite.
Result<void> cholesky(double* a, int64_t n, ThreadPool& pool);

/// The inverse of a lower triangular matrix, itself lower triangular, in its place.
void invert_lower(double* l, int64_t n, ThreadPool& pool);

}  // namespace vireo::compress
