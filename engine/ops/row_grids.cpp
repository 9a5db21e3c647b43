#include "ops/row_grids.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace vireo {

const std::vector<const RowGrid*>& row_grids() {
  static const std::vector<const RowGrid*> all = {
#define ROW_GRID(name) &name,
#include "ops/row_grids.def"
#undef ROW_GRID
  };
  return all;
}

extern const char* const kRowGridNames[];
const char* const kRowGridNames[] = {"symmetric", "asymmetric",    "unsigned",    "log2",     "logsqrt2",
                                     "rowlog2",   "rowlogquarter", "twinsoftmax", "twingelu", "shiftlog",
                                     "adalog",    "shiftadalog",   "ptf",         nullptr};

int64_t RowGrid::numbers(int64_t cols) const { return !fitted() ? 0 : by_column ? cols + 2 : 2; }

bool RowGrid::sound(const std::vector<double>& fit, int64_t cols) const {
  if (int64_t(fit.size()) != numbers(cols)) return false;
  if (!fitted()) return true;
  if (!(fit[0] >= FLT_MIN) || !(fit[0] <= FLT_MAX) || fit[1] != std::nearbyint(fit[1])) return false;
  if (!by_column) return fit[1] >= 1 && fit[1] <= 4096;                                          // the base's q
  return fit[1] >= 0 && fit[1] <= 255 && std::all_of(fit.begin() + 2, fit.end(), [](double f) {  // the zero point
           return f == 1 || f == 2 || f == 4 || f == 8;
         });
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

}  // namespace vireo
