#include <algorithm>
#include <cmath>

#include "ops/row_grids.h"

namespace vireo {
namespace {

constexpr int kSteps = 16;
constexpr double kStep = 0.03;

struct Even {
  double step, zero, top;
  double nearest(double x) const { return step * nearest_code(x, step, -zero, top - zero); }
};

Even grid(double least, double most, double top) {
  const double step = (most - least) / top;
  return {step, nearest_code(-least, step, 0, top), top};
}

void round(float* x, int64_t n, int bits) {
  const double top = double((1 << bits) - 1);
  double least = 0, most = 0;
  for (int64_t i = 0; i < n; ++i) least = std::min(least, double(x[i])), most = std::max(most, double(x[i]));
  if (most <= least) return;
  Even best = grid(least, most, top);
  double smallest = INFINITY;
  for (int s = 0; s < kSteps; ++s) {
    const Even g = grid(least * (1 - kStep * s), most * (1 - kStep * s), top);
    double error = 0;
    for (int64_t i = 0; i < n && error < smallest; ++i) {
      const double off = double(x[i]) - g.nearest(double(x[i]));
      error += off * off;
    }
    if (error < smallest) smallest = error, best = g;
  }
  for (int64_t i = 0; i < n; ++i) x[i] = float(best.nearest(double(x[i])));
}

}  // namespace

const RowGrid kAsymmetricMseGrid = {
    "asymmetricmse",
    "as asymmetric, of 16 ranges, each 3 % of it smaller, that with the least squared error of what shares the scale",
    "OMSE (Choukroun et al. 2019, arXiv 1902.06822), for each row while running", round};

}  // namespace vireo
