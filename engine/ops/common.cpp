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

Result<void> accepts_integers(const TensorDesc& weight, int64_t k, const LowerContext& ctx, bool by_columns) {
  const auto no = [](const char* why) { return fail(ErrorCode::kUnsupported, "{}", why); };
  if (!weight.grid.coded()) return no("it takes codes");
  const bool grouped = weight.grid.scope == Scope::kGroup;
  if (!by_columns && (grouped || weight.grid.zero_points || weight.grid.bits <= 4))
    return no("it takes codes of more than 4 bits with a scale per row and no zero points");
  if (grouped && (weight.grid.group % simd::kI8Step != 0 || k % weight.grid.group != 0))
    return no("its steps along the columns do not fit the groups");
  if (!weight.rows.coded()) return no("the policy leaves the rows floats");
  // Not within a Vulkan plan: there int8 is the weight's format alone.
  if (ctx.caps->kind != DeviceKind::kCpu) return no("steps of a Vulkan plan are the same on every CPU");
  // simd::I8GemmArgs: differences to a zero point are twice as large.
  if (k > (weight.rows.zero != 0 || weight.grid.zero_points ? 32768 : 65536))
    return no("sums of so many products do not fit 32 bits");
  return {};
}

std::string integer_kernel(const TensorDesc& weight, const LowerContext& ctx) {
  return fmt::format("gemm {}, rows by {}", kernels_for(*ctx.caps).int8_name,
                     weight.rows.kind == RowCodes::Kind::kStatic ? "tensor" : "token");
}

int64_t i8_stride(int64_t k) {
  const int64_t padded = round_up(k, 64);
  return padded % 1024 == 0 ? padded + 64 : padded;
}

namespace {
int64_t column_groups(const simd::GemmArgs& a) { return a.b_group > 0 ? div_up(a.k, a.b_group) : 1; }
/// Codes of the rows, which take two bytes where no product takes bytes; behind them scales and sums.
uint64_t code_bytes(const simd::GemmArgs& a) { return uint64_t(round_up(a.m * i8_stride(a.k) * 2, 64)); }
}  // namespace

uint64_t i8_bytes(const simd::GemmArgs& a) {
  return code_bytes(a) + uint64_t(round_up(a.m * 4, 64) + round_up(a.m * column_groups(a) * 4, 64));
}

uint64_t i8_scratch(const simd::GemmArgs& a, bool normalise, const LowerContext& ctx) {
  const simd::Kernels& k = kernels_for(*ctx.caps);
  simd::ToI8Args rows;
  rows.rows = a.m, rows.cols = a.k, rows.normalise = normalise;
  return i8_bytes(a) + std::max(scratch_for(ctx, k.to_i8, rows), scratch_for(ctx, k.gemm_i8, {a}));
}

void run_integers(const CpuCall& call, size_t weight, simd::GemmArgs a, const float* x, int64_t ldx, bool normalise,
                  float eps, const float* gain, const float* offset) {
  const RowCodes& codes = call.op->in[weight]->rows;
  simd::ToI8Args rows;
  rows.x = x, rows.ldx = ldx, rows.rows = a.m, rows.cols = a.k, rows.normalise = normalise, rows.eps = eps;
  rows.gain = gain, rows.offset = offset, rows.group = a.b_group;
  if (codes.kind == RowCodes::Kind::kStatic) rows.fixed = codes.scale, rows.zero = codes.zero;
  rows.out = call.scratch, rows.ldo = i8_stride(a.k);
  uint8_t* at = call.scratch + code_bytes(a);
  rows.scales = reinterpret_cast<float*>(at);
  rows.sums = reinterpret_cast<int32_t*>(at + round_up(a.m * 4, 64));
  CpuCall rest = call;
  rest.scratch += i8_bytes(a);
  run_kernel(rest, call.kernels->to_i8, rows);
  simd::I8GemmArgs g{a, rows.out, rows.ldo, rows.scales, rows.sums};
  // Behind the scales, as pack.cpp leaves them: zero points, then sums of the weight's rows.
  const PackedConst& pack = call.packs[0];
  const int64_t each = pack.grid.groups(a.k) * round_up(a.n, simd::kPanel);
  const auto* next = reinterpret_cast<const int32_t*>(a.b_scales + each);
  if (pack.grid.zero_points) g.b_zeros = next, next += each;
  if (pack.column_sums) g.b_sums = next, g.a_zero = rows.zero;
  run_kernel(rest, call.kernels->gemm_i8, g);
}

Format cpu_weight_format(const TensorDesc& weight, bool bf16_rows) {
  if (weight.dtype == DType::kF16 && bf16_rows) return {DType::kBF16, {}};
  Format f = weight.format();
  if (f.grid.scope == Scope::kTensor) f.grid.scope = Scope::kRow;  // one scale for all is the same scale for every row
  return f;
}

namespace {
/// `surplus`: columns beyond the last that a kernel may read.
PackedConst with_wide_rows(PackedConst p, int64_t rows, int64_t k, int64_t surplus) {
  if (!p.wide_rows()) return p;
  p.wide_offset = p.bytes;
  p.bytes += uint64_t(rows + p.grid.wide * div_up(k, 8) + div_up(surplus, 8)) * 4;
  return p;
}

PackedConst with_scales(PackedConst p, int64_t n, int64_t k) {
  if (!p.grid.coded()) return p;
  p.scales_offset = uint64_t(round_up(int64_t(p.bytes), 256));  // 256: no device asks for a larger alignment
  const bool panels = p.by_group() || p.pack == Pack::kCpuInteger;
  const int64_t columns = panels ? round_up(n, simd::kPanel) : round_up(n, 4);
  p.bytes = p.scales_offset + uint64_t(p.grid.groups(k) * columns * (1 + p.grid.zero_points + p.column_sums)) * 4;
  return with_wide_rows(p, round_up(n, simd::kPanel), k, 0);
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

PackedConst gpu_matrix(int operand, int64_t n, int64_t k, const Format& f, int64_t panel, int64_t slack, bool staged) {
  PackedConst p;
  p.operand = operand;
  p.pack = Pack::kGpuMatrix;
  p.dtype = f.dtype;
  p.grid = f.grid;
  p.panel = int32_t(panel);
  p.staged = staged;
  p.bytes = uint64_t(round_up(k, 4) * round_up(n, panel ? panel : 4) + slack * 4) * dtype_size(f.dtype);
  if (p.nibbles()) p.bytes = (p.bytes + 7) / 8 * 4;  // whole words
  if (staged) {
    const int64_t span = f.grid.scope == Scope::kGroup ? f.grid.group : k;
    p.scale_rows = int32_t(f.grid.groups(k) + div_up(div_up(slack, panel / 4), span));
    p.scales_offset = uint64_t(round_up(int64_t(p.bytes), 256));
    p.bytes = p.scales_offset + uint64_t(round_up(n, panel) * p.scale_rows * (1 + f.grid.zero_points)) * 4;
    return with_wide_rows(p, round_up(n, panel), k, div_up(slack, panel / 4) + 8);
  }
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
  a.b_nibbles = pack.nibbles();
  const bool grouped = pack.grid.coded() && pack.grid.scope == Scope::kGroup;
  if (pack.pack == Pack::kCpuInteger) a.b_group = grouped ? pack.grid.group : 0;
  else if (pack.by_group()) a.b_group = grouped ? pack.grid.group : std::max<int64_t>(a.k, 1);
  if (bytes == nullptr || !pack.grid.coded()) return;
  if (pack.wide_rows()) {
    a.b_wide = reinterpret_cast<const int32_t*>(bytes + pack.wide_offset);
    a.b_high = reinterpret_cast<const uint32_t*>(a.b_wide) + round_up(a.n, simd::kPanel);
  }
  a.b_scales = reinterpret_cast<const float*>(bytes + pack.scales_offset);
  if (pack.pack == Pack::kCpuInteger) return;  // run_integers() knows what is behind them
  if (pack.grid.zero_points) a.b_offsets = a.b_scales + pack.grid.groups(a.k) * round_up(a.n, simd::kPanel);
}

PackedConst cpu_integer(int operand, int64_t n, int64_t k, const TensorDesc& weight) {
  PackedConst p;
  p.operand = operand;
  p.pack = Pack::kCpuInteger;
  p.dtype = weight.dtype;
  p.grid = weight.grid;
  if (p.grid.scope == Scope::kTensor) p.grid.scope = Scope::kRow;
  p.column_sums = weight.rows.zero != 0;
  p.bytes = simd::integer_weight_bytes(n, k, p.nibbles());
  return with_scales(p, n, k);
}

PackedConst gpu_dots(int operand, int64_t n, int64_t k, const TensorDesc& weight) {
  PackedConst p;
  p.operand = operand;
  p.pack = Pack::kGpuMatrix;
  p.dots = true;
  p.dtype = weight.dtype;
  p.grid = weight.grid;
  p.grid.scope = Scope::kRow;  // one scale for all is the same scale for every row
  p.column_sums = weight.rows.zero != 0;
  p.bytes = uint64_t(round_up(k, 4) * round_up(n, 4));
  return with_scales(p, n, k);
}

PackedConst cpu_winograd(int operand, int64_t n, int64_t c) {
  PackedConst p;
  p.operand = operand;
  p.pack = Pack::kCpuWinograd;
  p.bytes = simd::winograd_weight_bytes(n, c);
  return p;
}

PackedConst gpu_winograd(int operand, int64_t n, int64_t c, DType type, int64_t panel, int64_t step) {
  PackedConst p;
  p.operand = operand;
  p.pack = Pack::kGpuWinograd;
  p.dtype = type;
  p.panel = int32_t(panel);
  p.step = int32_t(step);
  p.bytes = uint64_t(simd::kWinogradProducts * round_up(n, panel) * round_up(c, step)) * dtype_size(type);
  return p;
}

Format gpu_weight_format(const TensorDesc& weight, const TensorDesc& x) {
  Format f = weight.format();
  if (!f.grid.coded()) return f;
  if (f.grid.scope == Scope::kGroup || f.grid.zero_points) return {x.dtype, {}};
  f.grid.scope = Scope::kRow;                             // one scale for all is the same scale for every row
  if (f.grid.wide > 0) f.grid.bits = 8, f.grid.wide = 0;  // a byte each
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
  if (caps.simd.empty()) return simd::best();
  if (const simd::Kernels* k = simd::find(caps.simd.c_str())) return *k;
  const simd::Kernels* last = &simd::best();
  for (int i = 0; const simd::Kernels* k = simd::supported(i); ++i) last = k;
  return *last;
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

namespace vireo {

simd::Caches caches_for(const DeviceCaps& caps) {
  const CpuCaches& c = caps.caches;
  constexpr uint64_t kMost = uint64_t(1) << 40;  // more than any has: a caps file may say what it likes
  const auto share = [&](uint64_t bytes, uint32_t cores) {
    return int64_t(std::min(bytes, kMost) / std::max(1u, std::min(cores, caps.threads)));
  };
  return {int64_t(std::min(c.l1_bytes, kMost)), share(c.l2_bytes, c.l2_cores) + share(c.l3_bytes, c.l3_cores)};
}

}  // namespace vireo
