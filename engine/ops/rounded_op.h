// What the operators of rounded numbers and of functions in integers share. They run on the CPU alone: a plan for a GPU
// has their steps there, and says so.
#pragma once

#include "ops/common.h"
#include "ops/rounded.h"

namespace vireo::ops {

inline Result<void> no_shader(const OpCall&, const LowerContext&) {
  return fail(ErrorCode::kUnsupported, "grids and functions in integers are computed on the CPU alone");
}
inline Result<Lowering> lower_nowhere(const OpCall& c, const LowerContext& ctx) {
  const Result<void> why = no_shader(c, ctx);
  return why.error();
}
constexpr KernelDef no_kernel(const char* name, OpKind op) {
  return {name, op, DeviceKind::kVulkan, no_shader, lower_nowhere, nullptr};
}

/// Rows of image `item`, which lie behind one another.
inline FloatRows image_rows(const void* data, const TensorDesc& t, int64_t item) {
  const int64_t rows = t.shape.h() * t.shape.w(), stride = t.row_stride();
  return {static_cast<float*>(const_cast<void*>(data)) + item * rows * stride, rows, t.shape.c(), stride};
}
/// Zeros in the output's padding columns, which the loops over numbers leave alone.
inline void clear_padding(const CpuCall& call) {
  const TensorDesc& t = call.op->out;
  const int64_t cols = t.shape.c(), end = round_up(cols, 4), stride = t.row_stride();
  float* const out = call.result();
  for (int64_t r = 0; r < t.shape.rows(); ++r) std::fill(out + r * stride + cols, out + r * stride + end, 0.f);
}
/// The reference's numbers as floats, which they are, [rows, cols].
inline std::vector<float> as_floats(const std::vector<double>& x) { return {x.begin(), x.end()}; }

/// A CPU call's numbers of a constant vector, and the reference's.
inline std::vector<double> fit_of(const uint8_t* packed, int64_t n) {
  const float* const f = reinterpret_cast<const float*>(packed);
  return {f, f + n};
}

}  // namespace vireo::ops
