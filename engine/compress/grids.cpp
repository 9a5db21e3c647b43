#include "compress/grids.h"

#include <algorithm>
#include <cmath>

namespace vireo::compress {

const std::vector<const RowGrid*>& row_grids() {
  static const std::vector<const RowGrid*> all = {
#define ROW_GRID(name) &name,
#include "compress/grids.def"
#undef ROW_GRID
  };
  return all;
}

const RowGrid* find_row_grid(const std::string& name) {
  for (const RowGrid* g : row_grids())
    if (name == g->name) return g;
  return nullptr;
}

double nearest_code(double x, double step, double least, double most) {
  return std::max(least, std::min(most, std::nearbyint(x / step)));
}

int log_code(double x, double from, double base, int bits) {
  const int last = (1 << bits) - 1;
  if (!(x > 0) || !(from > 0)) return last;
  const double code = std::nearbyint(std::log2(from / x) / std::log2(base));
  return int(std::max(0.0, std::min(double(last), code)));
}

double of_log_code(int code, double from, double base, int bits) {
  return code == (1 << bits) - 1 ? 0 : from * std::exp2(-double(code) * std::log2(base));
}

void round_by_row_log(float* x, int64_t n, int bits, double base) {
  double most = 0, before = 0, after = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, double(x[i])), before += double(x[i]);
  for (int64_t i = 0; i < n; ++i) {
    x[i] = float(of_log_code(log_code(double(x[i]), most, base, bits), most, base, bits));
    after += double(x[i]);
  }
  if (after <= 0) return;
  for (int64_t i = 0; i < n; ++i) x[i] = float(double(x[i]) * (before / after));
}

}  // namespace vireo::compress
