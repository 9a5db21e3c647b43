#include "compress/moments.h"

#include <algorithm>
#include <cmath>

#include "base/aligned.h"
#include "tensor/tensor.h"

namespace vireo::compress {
namespace {

constexpr double kHalf = 0.5, kLastAll = 0.2, kLastShrink = 0.3;

}  // namespace

Moments::Moments(int64_t cols, std::vector<int64_t> answer_tokens, bool products)
    : cols_(cols),
      answer_tokens_(std::move(answer_tokens)),
      products_(products),
      gram_(products ? size_t(cols * round_up(cols, 4)) : 0, 0.f),
      largest_(size_t(cols), 0.f),
      sums_(size_t(cols), 0.0),
      magnitudes_(size_t(cols), 0.0) {}

bool Moments::add(const Rows& x, const simd::Kernels& kernels, ThreadPool& pool) {
  // x^T, so that both factors of the product have the rows along their columns.
  const int64_t stride = round_up(x.rows, 4);
  std::vector<float> turned(size_t(cols_ * stride), 0.f);
  bool finite = true;
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t k = 0; k < cols_; ++k) {
      const float v = x.data[r * x.stride + k];
      finite = finite && std::isfinite(v);
      turned[size_t(k * stride + r)] = v;
    }
  if (!finite) return false;
  for (int64_t k = 0; k < cols_; ++k)
    for (int64_t r = 0; r < x.rows; ++r) {
      const float v = turned[size_t(k * stride + r)];
      largest_[size_t(k)] = std::max(largest_[size_t(k)], std::fabs(v));
      sums_[size_t(k)] += double(v), magnitudes_[size_t(k)] += std::fabs(double(v));
    }
  rows_ += x.rows;
  ++pictures_;
  if (!products_) return true;
  for (const int64_t t : answer_tokens_)
    answer_.insert(answer_.end(), x.data + t * x.stride, x.data + t * x.stride + cols_);

  AlignedBuffer packed(simd::packed_weight_bytes(cols_, stride, DType::kF32));
  if (!packed) throw std::bad_alloc();
  simd::pack_weight(turned.data(), 0, cols_, cols_, stride, DType::kF32, packed.data(), nullptr);
  simd::GemmArgs product;
  product.a = turned.data(), product.lda = stride;
  product.m = cols_, product.n = cols_, product.k = stride;
  product.b = packed.data();
  product.out = gram_.data(), product.ldo = round_up(cols_, 4);
  if (pictures_ > 1) product.residual = gram_.data(), product.ldr = product.ldo;
  run_kernel(kernels.gemm, product, pool);
  return true;
}

std::vector<double> Moments::means() const {
  std::vector<double> all = sums_;
  for (double& s : all) s /= double(std::max<int64_t>(rows_, 1));
  return all;
}

std::vector<double> Moments::mean_magnitudes() const {
  std::vector<double> all = magnitudes_;
  for (double& s : all) s /= double(std::max<int64_t>(rows_, 1));
  return all;
}

bool Moments::has_outlier_column() const {
  constexpr float kTimes = 6;
  std::vector<float> sorted = largest_;
  std::sort(sorted.begin(), sorted.end());
  const size_t rank = size_t(std::ceil(0.99 * double(sorted.size())));  // nearest rank
  return !sorted.empty() && sorted.back() > kTimes * sorted[std::max<size_t>(rank, 1) - 1];
}

std::vector<double> Moments::hessian(bool last) const {
  const int64_t answers = int64_t(answer_.size()) / std::max<int64_t>(cols_, 1);
  const double share = answers == 0 ? 1.0 : last ? kLastAll : kHalf;
  return weighted(share / double(std::max<int64_t>(rows_, 1)), (1 - share) / double(std::max<int64_t>(answers, 1)),
                  last && answers > 0 ? kLastShrink : 0);
}

std::vector<double> Moments::hessian_times(double times) const {
  const int64_t answers = int64_t(answer_.size()) / std::max<int64_t>(cols_, 1);
  const double all = double(rows_) + (times - 1) * double(answers);
  return weighted(1 / std::max(all, 1.0), (times - 1) / std::max(all, 1.0), 0);
}

/// `all` of every row's x x^T and `one` more of every row of the answer's; what is off the diagonal `shrink` less.
std::vector<double> Moments::weighted(double all, double one, double shrink) const {
  const int64_t stride = round_up(cols_, 4), answers = int64_t(answer_.size()) / std::max<int64_t>(cols_, 1);
  std::vector<double> h(size_t(cols_ * cols_));
  for (int64_t i = 0; i < cols_; ++i)
    for (int64_t j = 0; j <= i; ++j) h[size_t(i * cols_ + j)] = all * double(gram_[size_t(i * stride + j)]);
  if (answers > 0)
    for (int64_t a = 0; a < answers; ++a) {
      const float* const x = answer_.data() + a * cols_;
      for (int64_t i = 0; i < cols_; ++i) {
        const double xi = one * double(x[i]);
        for (int64_t j = 0; j <= i; ++j) h[size_t(i * cols_ + j)] += xi * double(x[j]);
      }
    }
  for (int64_t i = 0; i < cols_; ++i)
    for (int64_t j = 0; j < i; ++j) {
      double& below = h[size_t(i * cols_ + j)];
      if (shrink > 0) below *= 1 - shrink;
      h[size_t(j * cols_ + i)] = below;
    }
  return h;
}

}  // namespace vireo::compress
