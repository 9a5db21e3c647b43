// Constants of a graph: matrices that are read row by row, as numbers or as the codes that their file holds, so a
// checkpoint is never copied whole and never quantised twice.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tensor/format.h"

namespace vireo {

/// A matrix [rows, cols] of fp32 values produced on demand. Vectors are [1, n]. Immutable; read() is safe from any
/// thread.
class Constant {
 public:
  Constant(int64_t rows, int64_t cols) : rows_(rows), cols_(cols) {}
  virtual ~Constant() = default;

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

  /// Writes rows [first, first + count) to `out`, dense, cols() floats each. Throws Failure (base/error.h) where its
  /// file cannot be read.
  virtual void read(int64_t first, int64_t count, float* out) const = 0;

  /// The grid of the codes that the values are stored as; not coded() where they are floats.
  virtual Grid grid() const { return {}; }
  /// Of a constant with grid().coded(): the codes of rows [first, first + count), dense, cols() each, and the scales of
  /// the same rows, grid().groups(cols()) each (one for Scope::kTensor, again in every row); zero points likewise where
  /// the grid has them, else `zeros` is not written. read() gives decode() of these (tensor/format.h). Throws Failure.
  virtual void read_codes(int64_t first, int64_t count, int8_t* codes, float* scales, int8_t* zeros) const;
  /// Of a grid with wide rows: whether this row is one, its codes of 8 bits.
  virtual bool wide(int64_t row) const { return (void)row, false; }
  /// Of a coded weight: how its file wants the rows that it multiplies.
  virtual RowCodes row_codes() const { return {}; }
  /// Appends the checkpoint's names of the tensors whose rows these are, scaled or not, in the order of the rows; none
  /// for what was computed.
  virtual void tensors(std::vector<std::string>* names) const { (void)names; }

  std::vector<float> read_all() const {
    std::vector<float> v(size_t(rows_ * cols_));
    read(0, rows_, v.data());
    return v;
  }

 private:
  int64_t rows_, cols_;
};

using ConstantPtr = std::shared_ptr<const Constant>;

/// Values owned by the constant itself (small things: positions, biases, tests). values.size() == rows * cols.
ConstantPtr make_constant(int64_t rows, int64_t cols, std::vector<float> values);
/// All elements equal.
ConstantPtr fill_constant(int64_t rows, int64_t cols, float value);
/// Normal(0, sigma) + mean from a counter-based generator: element i depends on (seed, i) only. For benchmarks without
/// a checkpoint.
ConstantPtr random_constant(int64_t rows, int64_t cols, uint64_t seed, float sigma, float mean = 0.f);
/// A matrix of codes in memory: codes [rows * cols], scales and zeros [rows * grid.groups(cols)] (zeros empty without
/// zero points). `wide`: by row, of a grid with wide rows. For tests and quantisers.
ConstantPtr coded_constant(int64_t rows, int64_t cols, Grid grid, std::vector<int8_t> codes, std::vector<float> scales,
                           std::vector<int8_t> zeros, std::vector<bool> wide = {});
/// What read() of a coded constant does: read_codes() and decode().
void read_decoded(const Constant& c, int64_t first, int64_t count, float* out);
/// parts stacked along rows; all have the same cols. Codes stay codes where all parts are coded on one kind of grid.
ConstantPtr stack_rows(std::vector<ConstantPtr> parts);
/// parts side by side along columns; all have the same rows.
ConstantPtr stack_cols(std::vector<ConstantPtr> parts);
/// factor * inner; codes stay, their scales are multiplied.
ConstantPtr scale_constant(ConstantPtr inner, float factor);
/// inner with column k multiplied by gamma[0, k]: LayerNorm's gain folded into the linear that follows.
ConstantPtr scale_columns(ConstantPtr inner, ConstantPtr gamma);
/// bias' = bias + weight * beta, [1, weight.rows]; bias may be null: LayerNorm's offset folded into the linear that
/// follows.
ConstantPtr fold_bias(ConstantPtr weight, ConstantPtr beta, ConstantPtr bias);

/// inner with row r multiplied by gain[0, r]; codes stay, their scales are multiplied.
ConstantPtr scale_rows(ConstantPtr inner, ConstantPtr gain);
/// inner, a kernel per row [cin, kh, kw], with `top` and `left` zeros before its rows and columns: [cin, top + kh, left
/// + kw]. Codes stay where rows have one scale and no zero point.
ConstantPtr pad_kernel(ConstantPtr inner, int64_t cin, int64_t kh, int64_t kw, int64_t top, int64_t left);

}  // namespace vireo
