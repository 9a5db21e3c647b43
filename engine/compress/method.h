// Methods that turn a weight matrix into codes. One file and one line of methods.def each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "tensor/format.h"
#include "tensor/tensor.h"

namespace vireo::compress {

/// A weight as codes with a scale for each group of columns: w = code * scale. What is written, and what is read again.
struct Coded {
  Grid grid;                            // symmetric: no zero points
  std::vector<int8_t> codes;            // [rows, cols]
  std::vector<float> scales;            // [rows, groups]; numbers of binary16 where `half_scales`
  bool half_scales = true;              // false: a scale lies where binary16 has too few digits, so all stay fp32
  std::vector<int32_t> wide_rows = {};  // rows of 8 bits beside those of grid.bits, rising (mix_rows.h)
};

/// What a method may look at.
struct Weight {
  const float* values = nullptr;  // [rows, cols]
  int64_t rows = 0, cols = 0;
  /// sum over calibration rows of x x^T, weighted as hessian() says, [cols, cols]; null where there are none.
  const double* hessian = nullptr;

  double importance(int64_t col) const { return hessian ? hessian[col * cols + col] : 1.0; }
};

struct Method {
  const char* name;
  const char* what;     // for --list
  const char* source;   // where it is from
  bool needs_pictures;  // it reads Weight::hessian
  Result<Coded> (*run)(const Weight& weight, const Grid& grid, ThreadPool& pool);
};

#define METHOD(name) extern const Method name;
#include "compress/methods.def"
#undef METHOD

/// All methods, in the order of methods.def; null where there is none of that name.
const std::vector<const Method*>& methods();
const Method* find_method(const std::string& name);

// ---- what methods share

/// The largest code of a grid without zero points: 127 of 8 bits, 7 of 4.
inline int most_code(const Grid& g) { return (1 << (g.bits - 1)) - 1; }
/// The least: of 8 bits -127, as a product of codes is then never 2^14; of fewer bits -8 of 4, whose one code more is
/// worth having.
inline int least_code(const Grid& g) { return g.bits == 8 ? -127 : -(1 << (g.bits - 1)); }
/// Columns that share a scale.
inline int64_t span_of(const Grid& g, int64_t cols) {
  return g.scope == Scope::kGroup && g.group < cols ? g.group : cols;
}

/// A scale as it will be stored: rounded to binary16 where `half`. 0 (a group of zeros) becomes 1.
float stored_scale(double scale, bool half);
/// Whether binary16 holds all these scales with at least 10 binary digits.
bool fits_half(const std::vector<double>& scales);
/// round_half_even(value / scale), within the grid.
int8_t code_of(double value, double scale, const Grid& grid);
/// Codes of all weights, each rounded by itself.
void round_all(const Weight& weight, ThreadPool& pool, Coded* coded);

/// sum over rows of off H off^T, `off` [rows, cols] times what the inputs are: a squared error at the output; H is
/// symmetric. Without a Hessian the sum of squares. Does not depend on the number of threads.
double output_square(const std::vector<double>& off, int64_t rows, int64_t cols, const double* hessian,
                     ThreadPool& pool);
/// w - code * scale of all weights.
std::vector<double> rounding_errors(const Weight& weight, const Coded& coded);

/// The scales that search() finds, and rtn()'s.
Coded scales_by_max(const Weight& weight, const Grid& grid);
Coded scales_by_search(const Weight& weight, const Grid& grid, ThreadPool& pool);

}  // namespace vireo::compress
