// Numbers that are rounded to grids, and functions that are computed in integers, while a model runs: what simulation
// does to a plan's values, and what a checkpoint may ask for (model/number_grids.h).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "ops/integer.h"
#include "ops/row_grids.h"

namespace vireo {

/// Numbers that share a scale, and the grid that they are rounded to. Without a grid they stay.
struct Rounding {
  const RowGrid* grid = nullptr;
  int bits = 8;
  bool tensor = false;  // one scale for all rows of a picture instead of one each

  bool fitted() const { return grid != nullptr && grid->fitted(); }
};

/// A function that is computed in integers (integer.h), from codes of these bits; 0: in floats.
struct IntegerFunction {
  int bits = 0;
  bool tensor = false;  // one step for all rows instead of one each
};

/// What becomes of a network's values.
struct NumberGrids {
  Rounding rows;       // that linears within the network multiply
  Rounding gelu;       // instead, behind an activation function
  Rounding operands;   // of attention: queries and keys by token, values by channel, each head by itself
  Rounding softmax;    // of attention: a row of probabilities
  Rounding layernorm;  // what LayerNorms are given
  IntegerFunction integer_softmax, integer_gelu, integer_layernorm;
  /// What fitted grids found: by value of what linears multiply, by node and " in" of what others are given.
  std::map<std::string, std::vector<double>> fits;

  /// Attention is computed by RoundedAttention.
  bool attends() const { return operands.grid != nullptr || softmax.grid != nullptr || integer_softmax.bits > 0; }
  bool any() const {
    return rows.grid != nullptr || gelu.grid != nullptr || layernorm.grid != nullptr || attends() ||
           integer_gelu.bits > 0 || integer_layernorm.bits > 0;
  }
  bool fitted() const { return rows.fitted() || gelu.fitted() || softmax.fitted() || layernorm.fitted(); }
};

/// Rows in memory, `stride` floats apart.
struct FloatRows {
  float* data = nullptr;
  int64_t rows = 0, cols = 0, stride = 0;
};

/// Whether all are numbers. Codes would hide what is none, and with it that something overflowed.
bool all_numbers(const float* x, int64_t n);
/// Rounds rows of one picture in place; a row that is no numbers becomes NaN, as do all that share its scale. `fit`: of
/// a fitted grid.
void round_rows(const Rounding& r, const std::vector<double>* fit, const FloatRows& x, ThreadPool& pool);
/// ShiftGELU of rows of one picture; `x` and `out` may be the same.
void integer_gelu_rows(const IntegerFunction& how, const FloatRows& x, const FloatRows& out);
/// I-LayerNorm of rows of one picture with gain and offset, [cols] each.
void integer_norm_rows(const IntegerFunction& how, const FloatRows& x, const float* gain, const float* offset,
                       const FloatRows& out);

/// Attention of one picture with its operands and probabilities rounded.
struct RoundedAttention {
  int64_t tokens = 0, heads = 0, dim = 0, vdim = 0;
  double scale = 1;
  const float* x = nullptr;  // [tokens, heads * (2 dim + vdim)], `ldx` floats apart: all queries, keys, values
  int64_t ldx = 0;
  const float* key_bias = nullptr;  // [tokens], of every score; null: none
  float* out = nullptr;             // [tokens, heads * vdim]
  int64_t ldo = 0;
  Rounding operands, softmax;
  std::vector<double> fit;  // of the softmax's grid, where that is fitted
  IntegerFunction integer_softmax;
  std::vector<std::vector<float>>* seen = nullptr;  // instead of being rounded, probabilities are gathered, by head

  void run(ThreadPool& pool) const;

 private:
  void run_head(int64_t head, std::vector<float>* probabilities) const;
};

}  // namespace vireo
