// Element types, 4-D shapes and tensor descriptions. Pure data.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "tensor/format.h"

namespace vireo {

inline int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }
inline int64_t div_up(int64_t x, int64_t by) { return (x + by - 1) / by; }

/// Every tensor is [n, h, w, c]. Tokens are [batch, 1, tokens, channels]; a feature map is [batch, height, width,
/// channels]; a logits row is [batch, 1, 1, classes]. Logical order is always channels last.
struct Shape {
  std::array<int64_t, 4> d{1, 1, 1, 1};

  int64_t n() const { return d[0]; }
  int64_t h() const { return d[1]; }
  int64_t w() const { return d[2]; }
  int64_t c() const { return d[3]; }
  int64_t rows() const { return d[0] * d[1] * d[2]; }
  int64_t elements() const { return rows() * d[3]; }
  bool operator==(const Shape& o) const { return d == o.d; }
  bool operator!=(const Shape& o) const { return d != o.d; }
};

std::string to_string(const Shape& s);  // "[1, 1, 197, 768]"

/// How the elements lie in memory.
enum class Layout : uint8_t {
  kRows,  ///< rows() rows of c() elements, each row padded with zeros to a multiple of 4 elements: what every operator
          ///< reads and writes
  kPlanar,  ///< dense [n, c, h, w] (PyTorch's NCHW): only for the model's picture input
};

struct TensorDesc {
  DType dtype = DType::kF32;
  Shape shape;
  Layout layout = Layout::kRows;
  int32_t gap =
      0;  ///< elements between a row's padding and the next row: another value's columns (a multiple of 4; kRows only)
  Grid grid = {};      ///< of codes (dtype kI8); their scales and zero points are not counted in bytes()
  RowCodes rows = {};  ///< of a coded weight: what becomes of the rows that it multiplies

  Format format() const { return {dtype, grid}; }
  /// Elements from one row to the next (kRows only).
  int64_t row_stride() const { return round_up(shape.c(), 4) + gap; }
  size_t bytes() const {
    if (layout == Layout::kPlanar) return size_t(shape.elements()) * dtype_size(dtype);
    return size_t(shape.rows() == 0 ? 0 : shape.rows() * row_stride() - gap) *
           dtype_size(dtype);  // no gap behind the last row
  }
};

std::string to_string(const TensorDesc& t);  // "f32[1, 1, 197, 768]", "i4g32[1, 1, 768, 192]"

}  // namespace vireo
