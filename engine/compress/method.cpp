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

}  // namespace vireo::compress
