// The dense linear algebra that GPTQ needs, in double precision over a thread pool. Our own, because it is three
// functions: a library for them would be one more package on every machine that only runs models.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"

namespace vireo::compress {

/// The lower triangular L of a = L L^T, in the place of a's lower triangle; a is [n, n], row by row, and what lies
/// above the diagonal is neither read nor written. The answer does not depend on the number of threads. Errors:
/// kInvalidArgument, with the first pivot that is not above 0: a is not positive definite.
Result<void> cholesky(double* a, int64_t n, ThreadPool& pool);

/// The inverse of a lower triangular matrix, itself lower triangular, in its place.
void invert_lower(double* l, int64_t n, ThreadPool& pool);

/// a = u diag(s) v^T of a square matrix [n, n], s falling; u takes a's place. By one-sided Jacobi rotations (Hestenes
/// 1958), which keep small singular values exact. Of a symmetric matrix without negative eigenvalues, v holds the
/// eigenvectors and s the eigenvalues. u's columns of singular values 0 are zeros.
void svd(std::vector<double>* a, std::vector<double>* s, std::vector<double>* v, int64_t n);

}  // namespace vireo::compress
