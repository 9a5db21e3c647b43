#include "compress/mix_rows.h"

#include <algorithm>
#include <numeric>

namespace vireo::compress {

std::vector<double> row_errors(const Weight& w, const Coded& c) {
  const std::vector<double> off = rounding_errors(w, c);
  std::vector<double> errors(size_t(w.rows), 0.0);
  for (int64_t r = 0; r < w.rows; ++r)
    for (int64_t k = 0; k < w.cols; ++k)
      errors[size_t(r)] += w.importance(k) * off[size_t(r * w.cols + k)] * off[size_t(r * w.cols + k)];
  return errors;
}

std::vector<int32_t> worst_rows(const std::vector<double>& errors, int64_t count) {
  std::vector<int32_t> rows(errors.size());
  std::iota(rows.begin(), rows.end(), 0);
  std::stable_sort(rows.begin(), rows.end(),
                   [&](int32_t a, int32_t b) { return errors[size_t(a)] > errors[size_t(b)]; });
  rows.resize(size_t(std::min(count, int64_t(rows.size()))));
  std::sort(rows.begin(), rows.end());
  return rows;
}

Result<Coded> mix_rows(const Weight& w, const Method& method, const Grid& grid, std::vector<int32_t> wide,
                       ThreadPool& pool) {
  Grid narrow = grid;
  narrow.wide = 0;
  VIREO_ASSIGN(Coded c, method.run(w, narrow, pool));
  if (grid.wide == 0) return c;
  if (wide.empty()) wide = worst_rows(row_errors(w, c), grid.wide);
  std::vector<float> values(wide.size() * size_t(w.cols));
  for (size_t i = 0; i < wide.size(); ++i)
    std::copy_n(w.values + wide[i] * w.cols, w.cols, values.begin() + int64_t(i) * w.cols);
  Grid eight = narrow;
  eight.bits = 8;
  VIREO_ASSIGN(const Coded rows, kRtn.run({values.data(), int64_t(wide.size()), w.cols, nullptr}, eight, pool));
  const int64_t groups = int64_t(c.scales.size()) / std::max<int64_t>(w.rows, 1);
  for (size_t i = 0; i < wide.size(); ++i) {
    std::copy_n(rows.codes.begin() + int64_t(i) * w.cols, w.cols, c.codes.begin() + wide[i] * w.cols);
    std::copy_n(rows.scales.begin() + int64_t(i) * groups, groups, c.scales.begin() + wide[i] * groups);
  }
  c.half_scales = c.half_scales && rows.half_scales;  // numbers of binary16 are numbers of fp32
  c.grid.wide = int32_t(wide.size());
  c.wide_rows = std::move(wide);
  return c;
}

}  // namespace vireo::compress
