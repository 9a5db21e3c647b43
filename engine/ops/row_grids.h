// Grids that numbers may be rounded to while a model runs, which no device multiplies: each turns the numbers that
// share a scale (a token's row, or a whole value) into the numbers that their codes stand for. One file and one line of
// row_grids.def each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vireo {

/// What a grid is fitted to: rows of a value, and how far all of it reaches.
struct GridSample {
  const std::vector<float>& rows;  // [n, cols]
  int64_t cols = 0;
  double least = 0, most = 0;
};

struct RowGrid {
  const char* name;
  const char* what;    // for --list
  const char* source;  // where it is from
  /// Rounds x[0..n) in place, to codes of `bits`, 2 to 8. Null: of a grid that is fitted to pictures first.
  void (*round)(float* x, int64_t n, int bits);
  /// What such a grid finds in the values that the pictures give, of which it looks at rows, and rounding by it.
  std::vector<double> (*fit)(const GridSample& seen, int bits) = nullptr;
  void (*round_fitted)(float* row, int64_t cols, const std::vector<double>& fit, int bits) = nullptr;
  bool by_column = false;  // beside its first two numbers it finds one for each column

  bool fitted() const { return fit != nullptr; }
  /// How many numbers fit() finds for rows of `cols`; 0 of a grid that is not fitted.
  int64_t numbers(int64_t cols) const;
  /// Whether numbers from somewhere else are ones that fit() can find.
  bool sound(const std::vector<double>& fit, int64_t cols) const;
};

#define ROW_GRID(name) extern const RowGrid name;
#include "ops/row_grids.def"
#undef ROW_GRID

/// Their names in the order of row_grids.def; the last is null.
extern const char* const kRowGridNames[];
/// All, in the order of row_grids.def; null where there is none of that name.
const std::vector<const RowGrid*>& row_grids();
const RowGrid* find_row_grid(const std::string& name);

// ---- what grids share

/// Minus the least value that GELU gives: log grids for the rows behind it count from there.
constexpr double kLeastOfGelu = 0.16997124254703522;

/// round_half_even(x / step), from `least` to `most`.
double nearest_code(double x, double step, double least, double most);
/// -log_base(x / from), rounded to a code from 0 to 2^bits - 1; the last code stands for 0, as does x <= 0.
int log_code(double x, double from, double base, int bits);
/// from * base^-code, 0 for the last code.
double of_log_code(int code, double from, double base, int bits);
/// The numbers of [0, inf) of a row as log codes relative to its largest, then multiplied so that the row keeps its
/// sum.
void round_by_row_log(float* x, int64_t n, int bits, double base);

}  // namespace vireo
