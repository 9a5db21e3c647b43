// How far apart two answers are.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace vireo {

/// KL(p || q) = sum p (log p - log q) of n scores each, with the softmax of either for p and q, in double precision.
inline double kl_divergence(const float* p, const float* q, int64_t n) {
  const auto log_sum = [n](const float* x) {
    const double most = double(*std::max_element(x, x + n));
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += std::exp(double(x[i]) - most);
    return most + std::log(sum);
  };
  const double there = log_sum(p), here = log_sum(q);
  double divergence = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double log_p = double(p[i]) - there;
    divergence += std::exp(log_p) * (log_p - (double(q[i]) - here));
  }
  return divergence;
}

}  // namespace vireo
