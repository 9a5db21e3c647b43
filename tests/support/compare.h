// Comparing outputs so that a NaN is the largest difference of all, wherever it stands.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace vireo::test {

/// The largest |a - b|; infinite when the sizes differ or a difference is no number.
template <typename A, typename B>
double largest_difference(const std::vector<A>& a, const std::vector<B>& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::fabs(double(a[i]) - double(b[i]));
    if (!(d <= worst)) worst = d;
    if (std::isnan(worst)) return INFINITY;
  }
  return worst;
}

}  // namespace vireo::test
