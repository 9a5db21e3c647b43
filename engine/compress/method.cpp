#include "compress/method.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"

namespace vireo::compress {

const std::vector<const Method*>& methods() {
  static const std::vector<const Method*> all = {
#define METHOD(name) &name,
#include "compress/methods.def"
#undef METHOD
  };
  return all;
}

const Method* find_method(const std::string& name) {
  for (const Method* m : methods())
    if (name == m->name) return m;
  return nullptr;
}

float stored_scale(double scale, bool half) {
  const float f = half ? half_to_float(float_to_half(float(scale))) : float(scale);
  return f > 0 && std::isfinite(f) ? f : 1.f;
}

bool fits_half(const std::vector<double>& scales) {
  return std::all_of(scales.begin(), scales.end(), [](double s) {
    return s == 0 || (s >= 6.2e-5 && s <= 60000.0);  // its normal numbers, with room for a search around them
  });
}

int8_t code_of(double value, double scale, const Grid& grid) {
  const double code = std::nearbyint(value / scale);
  return int8_t(std::max(double(least_code(grid)), std::min(double(most_code(grid)), code)));
}

void round_all(const Weight& w, ThreadPool& pool, Coded* coded) {
  const int64_t span = span_of(coded->grid, w.cols), groups = div_up(w.cols, span);
  coded->codes.resize(size_t(w.rows * w.cols));
  pool.parallel_for(w.rows, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t k = 0; k < w.cols; ++k)
        coded->codes[size_t(r * w.cols + k)] = code_of(
            double(w.values[r * w.cols + k]), double(coded->scales[size_t(r * groups + k / span)]), coded->grid);
  });
}

std::vector<double> rounding_errors(const Weight& w, const Coded& c) {
  const int64_t span = span_of(c.grid, w.cols), groups = div_up(w.cols, span);
  std::vector<double> off(size_t(w.rows * w.cols));
  for (int64_t r = 0; r < w.rows; ++r)
    for (int64_t k = 0; k < w.cols; ++k)
      off[size_t(r * w.cols + k)] =
          double(w.values[r * w.cols + k]) -
          double(decode(c.codes[size_t(r * w.cols + k)], 0, c.scales[size_t(r * groups + k / span)]));
  return off;
}

double output_square(const std::vector<double>& off, int64_t rows, int64_t cols, const double* hessian,
                     ThreadPool& pool) {
  constexpr int64_t kRows = 8;  // side by side: each pass over H serves them all
  std::vector<double> squares(size_t(rows), 0.0);
  pool.parallel_for(div_up(rows, kRows), 1, [&](int64_t begin, int64_t end, int) {
    std::vector<double> turned(size_t(cols * kRows));
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kRows, count = std::min(kRows, rows - first);
      std::fill(turned.begin(), turned.end(), 0.0);
      for (int64_t r = 0; r < count; ++r)
        for (int64_t k = 0; k < cols; ++k) turned[size_t(k * kRows + r)] = off[size_t((first + r) * cols + k)];
      double sums[kRows] = {};
      for (int64_t i = 0; i < cols; ++i) {
        const double* const own = turned.data() + i * kRows;
        double with[kRows] = {};
        if (hessian == nullptr) {
          std::copy_n(own, kRows, with);
        } else {  // H is symmetric: what stands above its diagonal is what stands below
          for (int64_t j = 0; j < i; ++j)
            for (int64_t r = 0; r < kRows; ++r) with[r] += hessian[i * cols + j] * turned[size_t(j * kRows + r)];
          for (int64_t r = 0; r < kRows; ++r) with[r] = 2 * with[r] + hessian[i * cols + i] * own[r];
        }
        for (int64_t r = 0; r < kRows; ++r) sums[r] += own[r] * with[r];
      }
      for (int64_t r = 0; r < count; ++r) squares[size_t(first + r)] = sums[r];
    }
  });
  double sum = 0;
  for (const double s : squares) sum += s;
  return sum;
}

}  // namespace vireo::compress
