// AdaLog (Wu et al. 2024, arXiv 2407.12951): a log grid whose base 2^(q / 37) is searched, with q a whole number, so
// that x' = s 2^-floor(k q / 37) t[k q mod 37] needs a shift and a table of few bits. Scale and base are found by the
// paper's fast progressive combining search: a coarse grid of both, of which the best few are refined step by step.
#include <algorithm>
#include <cmath>

#include "ops/row_grids.h"

namespace vireo {
namespace {

constexpr int kParts = 37;  // of an octave
constexpr int kLeastBase = 10, kBases = 32, kBaseStep = 4, kScales = 16;
constexpr size_t kBeam = 16;
constexpr int kRefinements = 4;  // steps of the base: 4, 2, 1, 1, 1
constexpr size_t kMostValues = 8192;

/// The numbers of a scale and a base: [code].
std::vector<double> numbers(double scale, int q, int bits) {
  const int codes = 1 << bits;
  const double table = 4.0 * double(codes / 2) - 2;  // its entries are whole parts of 1 / this
  std::vector<double> all(static_cast<size_t>(codes));
  for (int k = 0; k + 1 < codes; ++k) {
    const double rest = std::exp2(-double((k * q) % kParts) / kParts);
    all[size_t(k)] = scale * std::exp2(-double(k * q / kParts)) * (std::nearbyint(rest * table) / table);
  }
  return all;  // the last is 0
}

double rounded(double x, double scale, int q, const std::vector<double>& of_codes) {
  const double last = double(of_codes.size() - 1);
  if (!(x > 0)) return 0;
  const double code = std::nearbyint(std::log2(scale / x) * kParts / q);
  return of_codes[size_t(std::max(0.0, std::min(last, code)))];
}

struct Candidate {
  double scale;
  int q;
  double error;
};

/// {scale, q} of the least squared error of values + shift.
std::vector<double> fit(const GridSample& seen, int bits, double shift) {
  std::vector<double> x;
  double most = 0;
  const std::vector<float>& rows = seen.rows;
  const size_t every = rows.size() / kMostValues + 1;
  // Every n-th value would see the same columns of every row, so a row begins one later than the one before.
  const size_t cols = size_t(std::max<int64_t>(seen.cols, 1));
  for (size_t i = 0; i < rows.size(); ++i)
    if ((i + i / cols) % every == 0) x.push_back(double(rows[i]) + shift);
  most = seen.most + shift;
  if (!(most > 0)) return {1.0, double(kParts)};

  std::vector<Candidate> tried;
  const auto consider = [&](double scale, int q) {
    if (!(scale > 0) || q < 1) return;
    if (std::any_of(tried.begin(), tried.end(), [&](const Candidate& c) { return c.scale == scale && c.q == q; }))
      return;
    const std::vector<double> of_codes = numbers(scale, q, bits);
    double error = 0;
    for (const double v : x) {
      const double off = v - rounded(v, scale, q, of_codes);
      error += off * off;
    }
    tried.push_back({scale, q, error});
  };
  double scale_step = most / kScales;
  int q_step = kBaseStep;
  for (int s = 1; s <= kScales; ++s)
    for (int b = 0; b < kBases; ++b) consider(scale_step * s, kLeastBase + kBaseStep * b);
  for (int r = 0; r < kRefinements; ++r) {
    std::stable_sort(tried.begin(), tried.end(),
                     [](const Candidate& a, const Candidate& b) { return a.error < b.error; });
    const std::vector<Candidate> best(tried.begin(), tried.begin() + std::ptrdiff_t(std::min(kBeam, tried.size())));
    scale_step /= 2, q_step = std::max(1, q_step / 2);
    for (const Candidate& c : best)
      for (int s = -1; s <= 1; ++s)
        for (int q = -1; q <= 1; ++q) consider(c.scale + scale_step * s, c.q + q_step * q);
  }
  const auto best = std::min_element(tried.begin(), tried.end(),
                                     [](const Candidate& a, const Candidate& b) { return a.error < b.error; });
  return {best->scale, double(best->q)};
}

void round_row(float* row, int64_t cols, const std::vector<double>& found, int bits, double shift) {
  const int q = int(found[1]);
  const std::vector<double> of_codes = numbers(found[0], q, bits);
  for (int64_t k = 0; k < cols; ++k) row[k] = float(rounded(double(row[k]) + shift, found[0], q, of_codes) - shift);
}

}  // namespace

const RowGrid kAdaLogGrid = {
    "adalog",
    "powers of a base 2^(q / 37) down from a scale, both searched on pictures, for softmax",
    "AdaLog and its FPCS (Wu et al. 2024, arXiv 2407.12951), by the squared error of the values",
    nullptr,
    [](const GridSample& seen, int bits) { return fit(seen, bits, 0); },
    [](float* row, int64_t cols, const std::vector<double>& found, int bits) { round_row(row, cols, found, bits, 0); }};

const RowGrid kShiftAdaLogGrid = {"shiftadalog",
                                  "as adalog, of what is shifted by the least that GELU gives, for the rows behind it",
                                  "AdaLog's shifted log grid (Wu et al. 2024, arXiv 2407.12951)",
                                  nullptr,
                                  [](const GridSample& seen, int bits) { return fit(seen, bits, kLeastOfGelu); },
                                  [](float* row, int64_t cols, const std::vector<double>& found, int bits) {
                                    round_row(row, cols, found, bits, kLeastOfGelu);
                                  }};

}  // namespace vireo
