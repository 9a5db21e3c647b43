// FQ-ViT's power-of-two factor (Lin et al. 2022, arXiv 2111.13824): one scale and zero point of a whole value, and for
// each column a factor of 1, 2, 4 or 8 to the scale, so that an integer LayerNorm aligns its columns by shifts.
#include <cmath>

#include "ops/row_grids.h"

namespace vireo {
namespace {

constexpr int kFactors = 4;

double rounded(double x, double step, double zero, double top) {
  const double code = std::nearbyint(x / step + zero);
  return (std::max(0.0, std::min(top, code)) - zero) * step;
}

/// {step, zero, factor of each column}: the step of factor 8 is that of the value's whole range.
std::vector<double> fit(const GridSample& seen, int bits) {
  const double top = double((1 << bits) - 1), least = seen.least, most = seen.most;
  const int64_t cols = seen.cols, rows = int64_t(seen.rows.size()) / std::max<int64_t>(cols, 1);
  const double whole = most > least ? (most - least) / top : 1;
  const double zero = std::max(0.0, std::min(top, std::nearbyint(-least / whole)));
  std::vector<double> found = {whole / 8, zero};
  for (int64_t k = 0; k < cols; ++k) {
    double best = INFINITY, factor = 8;
    for (int f = 0; f < kFactors; ++f) {
      const double by = double(1 << f);
      double error = 0;
      for (int64_t r = 0; r < rows; ++r) {
        const double x = double(seen.rows[size_t(r * cols + k)]), off = x - rounded(x, whole / 8 * by, zero, top);
        error += off * off;
      }
      if (error < best) best = error, factor = by;
    }
    found.push_back(factor);
  }
  return found;
}

void round_row(float* row, int64_t cols, const std::vector<double>& found, int bits) {
  const double top = double((1 << bits) - 1);
  for (int64_t k = 0; k < cols; ++k)
    row[k] = float(rounded(double(row[k]), found[0] * found[size_t(k) + 2], found[1], top));
}

}  // namespace

const RowGrid kPowerOfTwoGrid = {
    "ptf",
    "evenly spaced, a scale for all rows that each column multiplies by 1, 2, 4 or 8, for what LayerNorms are given",
    "power-of-two factor of FQ-ViT (Lin et al. 2022, arXiv 2111.13824)",
    nullptr,
    fit,
    round_row,
    true};

}  // namespace vireo
