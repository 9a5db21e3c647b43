// Optimal Brain Surgeon on the columns of a linear (Hassibi and Stork 1993; structured: Frantar et al. 2022, Kwon et
// al. 2022): the column whose loss is least goes, and the others make good what they can.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"

namespace vireo::compress {

/// Of all weights W' that have zeros in some columns, the one of least
///   tr((W - W') H (W - W')^T) + ridge sum_k H_kk |w_k - w'_k|^2,
/// kept up to date while columns go one after another. The ridge holds weights to what they were: without it, the refit
/// follows the few pictures that H is from (compress.md measured 0.3).
class Elimination {
 public:
  /// `weight` [rows, cols]; `h` [cols, cols]. Errors: those of cholesky().
  static Result<Elimination> create(const std::vector<float>& weight, int64_t rows, const std::vector<double>& h,
                                    double ridge, ThreadPool& pool);

  int64_t cols() const { return cols_; }
  bool gone(int64_t col) const { return gone_[size_t(col)]; }
  /// By how much the loss grows if this column goes next.
  double loss(int64_t col) const { return norms_[size_t(col)] / inverse_[size_t(col * cols_ + col)]; }
  /// The same for several together (the channels of a head).
  Result<double> loss(const std::vector<int64_t>& columns) const;
  void remove(int64_t col, ThreadPool& pool);
  /// So far.
  double total() const { return total_; }
  /// The least loss() of columns [first, first + count); -1 if all have gone. Of equals, the first.
  int64_t least(int64_t first, int64_t count) const;

  /// W' as it is: columns that have gone are zeros.
  std::vector<float> weight() const;

 private:
  int64_t rows_ = 0, cols_ = 0;
  std::vector<double> weight_;   // W'^T, [cols, rows]
  std::vector<double> inverse_;  // of the damped H of the columns that are left; zeros elsewhere
  std::vector<double> norms_;    // of columns of W'
  std::vector<bool> gone_;
  std::vector<int64_t> left_;
  double total_ = 0;
};

}  // namespace vireo::compress
