// What calibration gathers of a layer's inputs: their second moments over all rows, and over the rows that the answer
// is read from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "compress/runner.h"
#include "simd/kernels.h"

namespace vireo::compress {

/// Sums over the rows of pictures. gram() is in fp32, a picture's rows at a time by the CPU's own matrix product: the
/// damping of 1 % is far above its rounding.
class Moments {
 public:
  /// `products` false: without gram(), and no memory of cols^2.
  Moments(int64_t cols, std::vector<int64_t> answer_tokens, bool products = true);

  /// The rows of one picture. False where one of them is not finite: nothing has been added then.
  bool add(const Rows& x, const simd::Kernels& kernels, ThreadPool& pool);

  int64_t cols() const { return cols_; }
  int64_t rows() const { return rows_; }
  size_t pictures() const { return pictures_; }
  /// sum x x^T, rows of [cols, cols] padded to a multiple of 4.
  const std::vector<float>& gram() const { return gram_; }
  const std::vector<float>& largest() const { return largest_; }  // |x| by column
  std::vector<double> means() const;                              // of x by column
  std::vector<double> mean_magnitudes() const;                    // of |x|
  /// Whether one column's largest |x| is more than 6 times the 99th percentile of all columns': a scale for all would
  /// be that column's alone.
  bool has_outlier_column() const;

  /// What GPTQ is given (compress.md's advice measured on a ViT): the mean of x x^T over all rows and that over the
  /// rows of the answer, half of each. For a layer behind the last attention only the latter reach the answer: 0.2 and
  /// 0.8, and off the diagonal 0.3 less, as they are few. Without such rows, all rows alone.
  std::vector<double> hessian(bool last) const;
  /// The mean of x x^T over all rows, where each row of the answer counts `times` times.
  std::vector<double> hessian_times(double times) const;

  static uint64_t bytes(int64_t cols) { return uint64_t(cols) * uint64_t(cols) * sizeof(float); }

 private:
  std::vector<double> weighted(double all, double one, double shrink) const;

  int64_t cols_, rows_ = 0;
  size_t pictures_ = 0;
  std::vector<int64_t> answer_tokens_;
  bool products_;
  std::vector<float> gram_, largest_;
  std::vector<double> sums_, magnitudes_;  // of x and of |x|, by column
  std::vector<float> answer_;              // [pictures * tokens of the answer, cols]
};

}  // namespace vireo::compress
