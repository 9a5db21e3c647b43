#include "ops/common.h"

#include "base/half.h"

namespace vireo::ops {

uint32_t float_word(double v) { return float_to_bits(float(v)); }

uint32_t type_code(DType t) { return u32(dtype_info(t).shader); }

Result<void> accepts_bf16(const TensorDesc& weight, const LowerContext& ctx, int64_t rows) {
  const auto no = [](const char* why) { return fail(ErrorCode::kUnsupported, "{}", why); };
  if (weight.grid.coded() && (weight.grid.scope == Scope::kGroup || weight.grid.zero_points || weight.grid.bits <= 4))
    return no("it takes codes of more than 4 bits with a scale per row and no zero points");
  if (weight.dtype == DType::kF32) return no("fp32 weights would lose bits");
  if (ctx.products != Products::kBf16) return no("the policy does not round rows to bfloat16");
  // Not within a Vulkan plan: it is the same on every host.
  if (ctx.caps->kind != DeviceKind::kCpu) return no("steps of a Vulkan plan are the same on every CPU");
  if (kernels_for(*ctx.caps).gemm_bf16.run == nullptr) return no("this CPU multiplies bfloat16 no faster");
  // A few rows wait for memory, not for products: there bfloat16 would cost accuracy and win nothing.
  if (rows < kBf16Rows) return no("a few rows wait for memory, not for products");
  return {};
}

Result<void> accepts_integers(const TensorDesc& weight, int64_t k, const LowerContext& ctx) {
  const auto no = [](const char* why) { return fail(ErrorCode::kUnsupported, "{}", why); };
  constexpr int64_t kExact = 65536;  // simd::I8GemmArgs
  if (!weight.grid.coded() || weight.grid.scope == Scope::kGroup || weight.grid.zero_points)
    return no("it takes codes with a scale per row and no zero points");
  if (ctx.products != Products::kI8) return no("the policy does not round rows to int8");
  // Not within a Vulkan plan: there int8 is the weight's format alone.
  if (ctx.caps->kind != DeviceKind::kCpu) return no("steps of a Vulkan plan are the same on every CPU");
  if (k > kExact) return no("sums of so many products do not fit 32 bits");
  return {};
}

int64_t i8_stride(int64_t k) {
  const int64_t padded = round_up(k, 64);
  return padded % 1024 == 0 ? padded + 64 : padded;
}

uint64_t i8_bytes(int64_t rows, int64_t k) {
  return uint64_t(round_up(rows * i8_stride(k) * 2, 64) + 2 * round_up(rows * 4, 64));
}

uint64_t i8_scratch(const simd::GemmArgs& a, bool normalise, const LowerContext& ctx) {
  const simd::Kernels& k = kernels_for(*ctx.caps);
  simd::ToI8Args rows;
  rows.rows = a.m, rows.cols = a.k, rows.normalise = normalise;
  return i8_bytes(a.m, a.k) + std::max(scratch_for(ctx, k.to_i8, rows), scratch_for(ctx, k.gemm_i8, {a}));
}

void run_integers(const CpuCall& call, simd::GemmArgs a, const float* x, int64_t ldx, bool normalise, float eps) {
  simd::ToI8Args rows;
  rows.x = x, rows.ldx = ldx, rows.rows = a.m, rows.cols = a.k, rows.normalise = normalise, rows.eps = eps;
  rows.out = call.scratch, rows.ldo = i8_stride(a.k);
  uint8_t* at = call.scratch + round_up(a.m * rows.ldo * 2, 64);
  rows.scales = reinterpret_cast<float*>(at);
  rows.sums = reinterpret_cast<int32_t*>(at + round_up(a.m * 4, 64));
  CpuCall rest = call;
  rest.scratch += i8_bytes(a.m, a.k);
  run_kernel(rest, call.kernels->to_i8, rows);
  run_kernel(rest, call.kernels->gemm_i8, {a, rows.out, rows.ldo, rows.scales, rows.sums});
}

Format cpu_weight_format(const TensorDesc& weight, bool bf16_rows) {
  if (weight.dtype == DType::kF16 && bf16_rows) return {DType::kBF16, {}};
  Format f = weight.format();
  if (f.grid.scope == Scope::kTensor) f.grid.scope = Scope::kRow;  // one scale for all is the same scale for every row
  return f;
}

namespace {
PackedConst with_scales(PackedConst p, int64_t n, int64_t k) {
  if (!p.grid.coded()) return p;
  p.scales_offset = uint64_t(round_up(int64_t(p.bytes), 256));  // 256: no device asks for a larger alignment
  const int64_t columns = p.by_group() ? round_up(n, simd::kPanel) : round_up(n, 4);
  p.bytes = p.scales_offset + uint64_t(p.grid.groups(k) * columns * (p.grid.zero_points ? 2 : 1)) * 4;
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

PackedConst gpu_matrix(int operand, int64_t n, int64_t k, const Format& f, int64_t panel, int64_t slack) {
  PackedConst p;
  p.operand = operand;
  p.pack = Pack::kGpuMatrix;
  p.dtype = f.dtype;
  p.grid = f.grid;
  p.panel = int32_t(panel);
  p.bytes = uint64_t(round_up(k, 4) * round_up(n, panel ? panel : 4) + slack * 4) * dtype_size(f.dtype);
  return with_scales(p, n, k);
}

PackedConst cpu_panels(int operand, int64_t n, int64_t k, const Format& f) {
  PackedConst p;
  p.operand = operand;
  p.pack = Pack::kCpuPanels;
  p.dtype = f.dtype;
  p.grid = f.grid;
  p.bytes = simd::packed_weight_bytes(n, k, f.dtype) / (p.nibbles() ? 2 : 1);
  return with_scales(p, n, k);
}

void set_weight(const PackedConst& pack, const uint8_t* bytes, simd::GemmArgs& a) {
  a.b = bytes;
  a.type = pack.dtype;
  if (pack.by_group()) a.b_group = pack.grid.scope == Scope::kGroup ? pack.grid.group : std::max<int64_t>(a.k, 1);
  a.b_nibbles = pack.nibbles();
  if (bytes == nullptr || !pack.grid.coded()) return;
  a.b_scales = reinterpret_cast<const float*>(bytes + pack.scales_offset);
  if (pack.grid.zero_points) a.b_offsets = a.b_scales + pack.grid.groups(a.k) * round_up(a.n, simd::kPanel);
}

PackedConst cpu_integer(int operand, int64_t n, int64_t k, Format f) {
  PackedConst p;
  p.operand = operand;
  p.pack = Pack::kCpuInteger;
  p.dtype = f.dtype;
  p.grid = f.grid;
  p.grid.scope = Scope::kRow;
  p.bytes = simd::integer_weight_bytes(n, k);
  return with_scales(p, n, k);
}

PackedConst cpu_winograd(int operand, int64_t n, int64_t c) {
  PackedConst p;
  p.operand = operand;
  p.pack = Pack::kCpuWinograd;
  p.bytes = simd::winograd_weight_bytes(n, c);
  return p;
}

Format gpu_weight_format(const TensorDesc& weight, const TensorDesc& x) {
  Format f = weight.format();
  if (!f.grid.coded()) return f;
  if (f.grid.scope == Scope::kGroup || f.grid.zero_points) return {x.dtype, {}};
  f.grid.scope = Scope::kRow;  // one scale for all is the same scale for every row
  return f;
}

BindKind texel_kind(DType t) {
  switch (t) {
    case DType::kF16: return BindKind::kTexelF16;
    case DType::kI8: return BindKind::kTexelSnorm8;
    case DType::kF32:
    case DType::kBF16:
    case DType::kU8:
    case DType::kI32: break;  // type_code() has none for the last three: no shader is given them
  }
  return BindKind::kTexelF32;
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
