#include "ops/common.h"

#include "base/half.h"

namespace vireo::ops {

uint32_t float_word(double v) { return float_to_bits(float(v)); }

// No default in these: a new enumerator must say what it is, and -Wswitch asks.
uint32_t type_code(DType t) {
  switch (t) {
    case DType::kF32: return 0;
    case DType::kF16: return 1;
    case DType::kI8: return 2;
    case DType::kBF16:
    case DType::kU8:
    case DType::kI32: break;  // no shader reads or writes them
  }
  return 2;
}

DType weight_dtype(Precision p) {
  switch (p) {
    case Precision::kFp32: return DType::kF32;
    case Precision::kFp16: return DType::kF16;
    case Precision::kInt8: break;
  }
  return DType::kI8;
}

bool cpu_bf16_rows(const LowerContext& ctx, int64_t rows) {
  // A few rows wait for memory, not for products: there bfloat16 would cost accuracy and win nothing.
  // Not within a Vulkan plan either: it is the same on every host.
  return ctx.precision != Precision::kFp32 && ctx.caps->kind == DeviceKind::kCpu && rows >= kBf16Rows &&
         kernels_for(*ctx.caps).gemm_bf16.run != nullptr;
}

DType cpu_weight_dtype(const LowerContext& ctx, int64_t rows) {
  return ctx.precision == Precision::kFp16 && cpu_bf16_rows(ctx, rows) ? DType::kBF16 : weight_dtype(ctx.precision);
}

simd::WeightType simd_type(DType t) {
  switch (t) {
    case DType::kF32: return simd::WeightType::kF32;
    case DType::kF16: return simd::WeightType::kF16;
    case DType::kBF16: return simd::WeightType::kBF16;
    case DType::kI8: break;
    case DType::kU8:
    case DType::kI32: break;  // of no weight
  }
  return simd::WeightType::kI8;
}

namespace {
PackedConst with_scales(PackedConst p, int64_t n) {
  if (p.dtype != DType::kI8) return p;
  p.scales_offset = uint64_t(round_up(int64_t(p.bytes), 256));  // 256: no device asks for a larger alignment
  p.bytes = p.scales_offset + uint64_t(round_up(n, 4)) * 4;
  return p;
}
}  // namespace

PackedConst vector_const(int operand, int64_t n) { return rows_const(operand, 1, n); }

PackedConst rows_const(int operand, int64_t rows, int64_t cols) {
  PackedConst p;
  p.operand = operand;
  p.pack = rows == 1 ? Pack::kVector : Pack::kRows;
  p.bytes = uint64_t(rows * round_up(cols, 4)) * 4;
  return p;
}

PackedConst gpu_matrix(int operand, int64_t n, int64_t k, DType t, int64_t panel, int64_t slack) {
  PackedConst p;
  p.operand = operand;
  p.pack = Pack::kGpuMatrix;
  p.dtype = t;
  p.panel = int32_t(panel);
  p.bytes = uint64_t(round_up(k, 4) * round_up(n, panel ? panel : 4) + slack * 4) * dtype_size(t);
  return with_scales(p, n);
}

PackedConst cpu_panels(int operand, int64_t n, int64_t k, DType t) {
  PackedConst p;
  p.operand = operand;
  p.pack = Pack::kCpuPanels;
  p.dtype = t;
  p.bytes = simd::packed_weight_bytes(n, k, simd_type(t));
  return with_scales(p, n);
}

PackedConst cpu_winograd(int operand, int64_t n, int64_t c) {
  PackedConst p;
  p.operand = operand;
  p.pack = Pack::kCpuWinograd;
  p.bytes = simd::winograd_weight_bytes(n, c);
  return p;
}

BindKind texel_kind(DType t) {
  switch (t) {
    case DType::kF32: return BindKind::kTexelF32;
    case DType::kF16: return BindKind::kTexelF16;
    case DType::kI8: break;
    case DType::kBF16:
    case DType::kU8:
    case DType::kI32: break;  // of no shader
  }
  return BindKind::kTexelSnorm8;
}

bool texel_fits(const DeviceCaps& caps, uint64_t bytes, DType t) {
  return bytes / (4 * dtype_size(t)) <= caps.max_texel_elements;
}

std::array<uint32_t, 3> flat_grid(const DeviceCaps& caps, int64_t groups) {
  const int64_t x = std::min<int64_t>(std::max<int64_t>(groups, 1), caps.max_workgroup_count[0]);
  return {u32(x), u32(div_up(std::max<int64_t>(groups, 1), x)), 1};
}

Result<void> check_grid(const OpCall& call, const DeviceCaps& caps, const std::array<uint32_t, 3>& groups) {
  for (size_t i = 0; i < 3; ++i)
    if (groups[i] > caps.max_workgroup_count[i])
      return fail(ErrorCode::kUnsupported, "{} needs {} workgroups in dimension {}, the device takes {}", call.name,
                  groups[i], i, caps.max_workgroup_count[i]);
  return {};
}

int64_t blocks_per_dispatch(double flops, double limit, int64_t blocks) {
  const double parts = std::min(double(blocks), std::max(1.0, std::ceil(flops / limit)));
  return div_up(blocks, int64_t(parts));
}

std::string got(const TensorDesc* t) { return t ? to_string(t->shape) : "nothing"; }

Error shape_error(const OpCall& call, const char* operand, const std::string& got_text, const std::string& expected) {
  return fail(ErrorCode::kInvalidArgument,
              "'{}': {} is {}, expected {}. The file may belong to a model of another size.", call.name, operand,
              got_text, expected);
}

const simd::Kernels& kernels_for(const DeviceCaps& caps) {
  const simd::Kernels* k = caps.simd.empty() ? nullptr : simd::find(caps.simd.c_str());
  return k ? *k : simd::best();
}

double act_reference(int act, double x) {
  switch (simd::Act(act)) {
    case simd::Act::kNone: return x;
    case simd::Act::kGeluErf: return 0.5 * x * (1 + std::erf(x * 0.70710678118654752440));
    case simd::Act::kGeluTanh: return 0.5 * x * (1 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case simd::Act::kSilu: return x / (1 + std::exp(-x));
    case simd::Act::kRelu: return x > 0 ? x : 0;
    case simd::Act::kTanh: return std::tanh(x);
    case simd::Act::kHardswish: return x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) / 6;
  }
  return x;
}

Cost cost_of(const OpCall& call, double flops) {
  const auto moved = [](TensorDesc t) {
    t.gap = 0;  // another value's
    return double(t.bytes());
  };
  Cost c;
  c.flops = flops;
  for (const TensorDesc* t : call.in)
    if (t) c.read_bytes += moved(*t);
  c.write_bytes = moved(call.out);
  return c;
}

Attrs attrs_of(std::initializer_list<double> values) {
  Attrs a{};
  std::copy(values.begin(), values.end(), a.begin());
  return a;
}

Shape tokens_shape(int64_t batch, int64_t tokens, int64_t width) { return Shape{{batch, 1, tokens, width}}; }

}  // namespace vireo::ops
