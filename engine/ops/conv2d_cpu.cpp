// The CPU kernels of conv2d: depthwise, and dense ones with int8, bfloat16 and fp32 products, Winograd's among them.
#include "ops/common.h"
#include "ops/conv2d.h"

namespace vireo {
namespace {
using namespace ops;
using namespace conv2d;

simd::ConvArgs conv_args(const OpCall& c) {
  const Geometry g = geometry(c);
  simd::ConvArgs a;
  a.geometry.ldx = c.in[kX]->row_stride();
  a.geometry.planar = g.planar;
  a.geometry.n = c.in[kX]->shape.n(), a.geometry.h = c.in[kX]->shape.h(), a.geometry.w = c.in[kX]->shape.w(),
  a.geometry.c = g.cin;
  a.geometry.kernel_h = g.kh, a.geometry.kernel_w = g.kw, a.geometry.stride_y = g.sh, a.geometry.stride_x = g.sw;
  a.geometry.pad_y = g.ph, a.geometry.pad_x = g.pw, a.geometry.dilation_y = g.dh, a.geometry.dilation_x = g.dw,
  a.geometry.out_h = g.oh, a.geometry.out_w = g.ow;
  a.gemm.m = a.geometry.rows(), a.gemm.k = a.geometry.k(), a.gemm.n = g.cout;
  a.gemm.act = simd::Act(c.iattr(kAct));
  a.gemm.ldo = c.out.row_stride();
  return a;
}

/// Rows of patches that are written out at once, as fp32 and then as bfloat16: as many as fill a few MiB, however large
/// the map.
int64_t patch_rows(const simd::ConvArgs& a) {
  constexpr int64_t kBytes = 4 << 20, kLeast = 256;  // with fewer the weights come from memory too often
  return std::min(a.gemm.m, std::max(kLeast, kBytes / (a.gemm.k * 4)));
}
uint64_t patch_bytes(const simd::ConvArgs& a) {
  return uint64_t(round_up(patch_rows(a) * round_up(a.gemm.k, 4) * 4, 64));
}

/// Where 16 products instead of 36 outweigh what the transforms add and the weights grow by: channels enough that a
/// tile's products outnumber its sums, and tiles enough per weight. Only in fp32: a narrow weight would be rounded once
/// more.
bool use_winograd(const Geometry& g, int64_t images, DType weights) {
  constexpr int64_t kChannels = 32, kTiles = 16;
  return weights == DType::kF32 && !g.planar && g.groups == 1 && g.kh == 3 && g.kw == 3 && g.sh == 1 && g.sw == 1 &&
         g.dh == 1 && g.dw == 1 && g.cin >= kChannels && g.cout >= kChannels &&
         images * div_up(g.oh, 2) * div_up(g.ow, 2) >= kTiles;
}

/// The weight of a CPU's product, as assigned where its order lets the codes be.
Format dense_format(const OpCall& c, const Geometry& g, bool bf16) {
  const Format format = cpu_weight_format(*c.in[kWeight], bf16);
  // Groups are columns of (cin, kh, kw), which the map's order (kh, kw, cin) scatters.
  // The zeros that other groups' channels become are no code of a grid with zero points.
  const bool scattered = format.grid.scope == Scope::kGroup && (!g.planar || g.groups > 1);
  const bool decoded = format.grid.coded() && (scattered || (format.grid.zero_points && g.groups > 1));
  return decoded ? Format{DType::kF32, {}} : format;
}

Lowering cpu_weight(const OpCall& c, const Geometry& g, PackedConst weight) {
  Lowering l;
  l.consts.push_back(weight);
  set_order(l.consts[0], g, false);
  if (c.input(kBias)) l.consts.push_back(vector_const(kBias, g.cout));
  return l;
}

simd::ConvArgs cpu_args(const CpuCall& call) {
  simd::ConvArgs a = conv_args(*call.op);
  a.geometry.x = call.rows(kX);
  set_weight(call.packs[0], call.consts[0], a.gemm);
  if (call.op->input(kBias)) a.gemm.bias = reinterpret_cast<const float*>(call.consts[1]);
  a.gemm.out = call.result();
  return a;
}

/// Calls `multiply` for as many rows of patches at a time as patch_rows() allows, with them in `patches`.
template <typename Multiply>
void by_patches(const CpuCall& call, simd::ConvArgs a, float* patches, const Multiply& multiply) {
  simd::Im2colArgs gather;
  gather.geometry = a.geometry, gather.out = patches, gather.ldo = round_up(a.gemm.k, 4);
  const int64_t all = a.gemm.m, together = patch_rows(a);
  for (gather.first = 0; gather.first < all; gather.first += together) {
    gather.count = a.gemm.m = std::min(together, all - gather.first);
    a.gemm.out = call.result() + gather.first * a.gemm.ldo;
    run_kernel(call, call.kernels->im2col, gather);
    multiply(a.gemm, gather);
  }
}

Result<Lowering> lower_depthwise_cpu(const OpCall& c, const LowerContext&) {
  Lowering l = depthwise_consts(c, geometry(c));
  l.kernel = "depthwise";
  return l;
}

void run_depthwise(const CpuCall& call) {
  simd::ConvArgs a = conv_args(*call.op);
  a.geometry.x = call.rows(kX);
  simd::DepthwiseArgs d;
  d.geometry = a.geometry;
  d.weight = reinterpret_cast<const float*>(call.consts[0]), d.ldw = round_up(a.geometry.c, 4);
  if (call.op->input(kBias)) d.bias = reinterpret_cast<const float*>(call.consts[1]);
  d.act = a.gemm.act, d.out = call.result(), d.ldo = a.gemm.ldo;
  run_kernel(call, call.kernels->depthwise, d);
}

Result<void> int8_accepts(const OpCall& c, const LowerContext& ctx) {
  VIREO_TRY(dense_accepts(c, ctx));
  const Geometry g = geometry(c);
  return accepts_integers(*c.in[kWeight], g.cin * g.kh * g.kw, ctx, false);
}

Result<Lowering> lower_int8(const OpCall& c, const LowerContext& ctx) {
  const Geometry g = geometry(c);
  Lowering l = cpu_weight(c, g, cpu_integer(kWeight, g.cout, g.cin * g.kh * g.kw, *c.in[kWeight]));
  simd::ConvArgs a = conv_args(c);
  a.gemm.m = patch_rows(a);
  l.scratch_bytes = patch_bytes(a) + i8_scratch(a.gemm, false, ctx);
  l.kernel = "im2col+" + integer_kernel(*c.in[kWeight], ctx);
  return l;
}

void run_int8(const CpuCall& call) {
  const simd::ConvArgs a = cpu_args(call);
  CpuCall rest = call;
  rest.scratch += patch_bytes(a);
  by_patches(rest, a, reinterpret_cast<float*>(call.scratch), [&](const simd::GemmArgs& gemm, const auto& gather) {
    run_integers(rest, kWeight, gemm, gather.out, gather.ldo, false, 0);
  });
}

/// Of fp16 weights only: codes are multiplied as fp32.
Result<void> bf16_accepts(const OpCall& c, const LowerContext& ctx) {
  VIREO_TRY(dense_accepts(c, ctx));
  if (c.in[kWeight]->dtype != DType::kF16) return fail(ErrorCode::kUnsupported, "it takes fp16 weights");
  return accepts_bf16(*c.in[kWeight], ctx, conv_args(c).gemm.m);
}

Result<Lowering> lower_bf16(const OpCall& c, const LowerContext& ctx) {
  const Geometry g = geometry(c);
  Lowering l = cpu_weight(c, g, cpu_panels(kWeight, g.cout, g.cin * g.kh * g.kw, dense_format(c, g, true)));
  simd::ConvArgs a = conv_args(c);
  a.gemm.m = patch_rows(a);
  const simd::Kernels& k = kernels_for(*ctx.caps);
  l.scratch_bytes = bf16_bytes(a.gemm.m, a.gemm.k) + patch_bytes(a) + scratch_for(ctx, k.gemm_bf16, {a.gemm});
  l.kernel = fmt::format("im2col+gemm {}", k.bf16_name);
  return l;
}

void run_bf16(const CpuCall& call) {
  const simd::ConvArgs a = cpu_args(call);
  CpuCall rest = call;
  simd::ToBf16Args rows;
  rows.cols = a.gemm.k, rows.out = reinterpret_cast<uint16_t*>(call.scratch);
  rows.ldo = bf16_stride(rows.cols), rows.ldx = round_up(rows.cols, 4);
  rest.scratch += bf16_bytes(patch_rows(a), rows.cols);
  float* const patches = reinterpret_cast<float*>(rest.scratch);
  rows.x = patches;
  rest.scratch += patch_bytes(a);
  by_patches(rest, a, patches, [&](const simd::GemmArgs& gemm, const auto& gather) {
    rows.rows = gather.count;
    run_kernel(rest, call.kernels->to_bf16, rows);
    run_kernel(rest, call.kernels->gemm_bf16, {gemm, rows.out, rows.ldo});
  });
}

Result<void> winograd_accepts(const OpCall& c, const LowerContext& ctx) {
  VIREO_TRY(dense_accepts(c, ctx));
  const Geometry g = geometry(c);
  if (use_winograd(g, c.out.shape.n(), dense_format(c, g, false).dtype)) return {};
  return fail(ErrorCode::kUnsupported,
              "it takes fp32 weights, and 3x3 kernels with steps of 1 on enough channels and pixels");
}
double winograd_cost(const OpCall&, const LowerContext&) { return 16.0 / 36; }

Result<Lowering> lower_winograd(const OpCall& c, const LowerContext& ctx) {
  const Geometry g = geometry(c);
  Lowering l = cpu_weight(c, g, cpu_winograd(kWeight, g.cout, g.cin));
  simd::ConvArgs a = conv_args(c);
  set_weight(l.consts[0], nullptr, a.gemm);
  l.scratch_bytes = scratch_for(ctx, kernels_for(*ctx.caps).winograd, a);
  l.kernel = "winograd";
  return l;
}

void run_winograd(const CpuCall& call) { run_kernel(call, call.kernels->winograd, cpu_args(call)); }

Result<Lowering> lower_gemm(const OpCall& c, const LowerContext& ctx) {
  const Geometry g = geometry(c);
  Lowering l = cpu_weight(c, g, cpu_panels(kWeight, g.cout, g.cin * g.kh * g.kw, dense_format(c, g, false)));
  simd::ConvArgs a = conv_args(c);
  set_weight(l.consts[0], nullptr, a.gemm);
  l.scratch_bytes = scratch_for(ctx, kernels_for(*ctx.caps).conv, a);
  l.kernel = "im2col+gemm";
  return l;
}

void run_gemm(const CpuCall& call) { run_kernel(call, call.kernels->conv, cpu_args(call)); }

}  // namespace

extern const KernelDef kConvDepthwiseCpu, kConvInt8Cpu, kConvBf16Cpu, kConvWinogradCpu, kConvGemmCpu;
const KernelDef kConvDepthwiseCpu = {"conv2d.depthwise.simd", OpKind::kConv2d,     DeviceKind::kCpu,
                                     depthwise_accepts,       lower_depthwise_cpu, run_depthwise};
const KernelDef kConvInt8Cpu = {"conv2d.int8", OpKind::kConv2d, DeviceKind::kCpu, int8_accepts, lower_int8,
                                run_int8,      integer_cost,    nullptr,          Rate::kInt8};
const KernelDef kConvBf16Cpu = {"conv2d.bf16", OpKind::kConv2d, DeviceKind::kCpu, bf16_accepts, lower_bf16,
                                run_bf16,      bf16_cost,       nullptr,          Rate::kHalf};
/// F(2x2,3x3) multiplies 16 times where the definition does 36 times.
const KernelDef kConvWinogradCpu = {"conv2d.winograd", OpKind::kConv2d, DeviceKind::kCpu, winograd_accepts,
                                    lower_winograd,    run_winograd,    winograd_cost,    nullptr,
                                    Rate::kF32,        16.0 / 36};
const KernelDef kConvGemmCpu = {"conv2d.gemm", OpKind::kConv2d, DeviceKind::kCpu, dense_accepts,
                                lower_gemm,    run_gemm,        fp32_cost};

}  // namespace vireo
