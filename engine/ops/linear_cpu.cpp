// The CPU kernels of linear: linear.int8, linear.bf16 and linear.gemm.
#include "ops/common.h"
#include "ops/linear.h"

namespace vireo {
namespace {
using namespace ops;
using linear::add_vectors, linear::centred, linear::sizes;
using linear::Consts, linear::Sizes;
using linear::kAct, linear::kNorm, linear::kEps;
using linear::kX, linear::kWeight, linear::kBias, linear::kScaleIn, linear::kResidualIn, linear::kAffine;

/// The CPU normalises all rows once into scratch, then multiplies; the GPU does it while staging.
simd::GemmArgs gemm_args(const OpCall& c) {
  const Sizes s = sizes(c);
  simd::GemmArgs a;
  a.m = s.m, a.n = s.n, a.k = s.k;
  a.lda = c.in[kX]->row_stride();
  a.act = simd::Act(c.iattr(kAct));
  a.ldo = c.out.row_stride();
  if (c.input(kResidualIn)) a.ldr = c.in[kResidualIn]->row_stride();
  return a;
}

/// Normalised rows in scratch: floats from one to the next (not a multiple of 4 KiB, see row_gap in plan/lower.cpp).
int64_t norm_stride(int64_t k) {
  const int64_t padded = round_up(k, 4);
  return padded % 1024 == 0 ? padded + 16 : padded;
}

uint64_t norm_bytes(const OpCall& c) {
  return c.iattr(kNorm) ? uint64_t(round_up(c.in[kX]->shape.rows() * norm_stride(c.in[kX]->shape.c()) * 4, 64)) : 0;
}

/// The steps of a CPU take one of three kernels; what they share.
Lowering cpu_weight(const OpCall& c, PackedConst weight) {
  Lowering l;
  l.consts.push_back(weight);
  l.consts[0].centre = centred(c);
  add_vectors(c, sizes(c).n, l);
  return l;
}

struct CpuArgs {
  simd::GemmArgs a;
  const float* gain = nullptr;  // of normalised columns, or null
  const float* offset = nullptr;
};
CpuArgs cpu_args(const CpuCall& call) {
  const OpCall& c = *call.op;
  CpuArgs r;
  simd::GemmArgs& a = r.a = gemm_args(c);
  a.a = call.rows(kX);
  set_weight(call.packs[0], call.consts[0], a);
  int next = 1;
  if (c.input(kBias)) a.bias = reinterpret_cast<const float*>(call.consts[next++]);
  if (c.input(kScaleIn)) a.col_scale = reinterpret_cast<const float*>(call.consts[next++]);
  if (c.input(kAffine)) r.gain = reinterpret_cast<const float*>(call.consts[next++]);
  if (r.gain && c.in[kAffine]->shape.w() == 2) r.offset = r.gain + round_up(a.k, 4);
  if (c.input(kResidualIn)) a.residual = call.rows(kResidualIn);
  a.out = call.result();
  return r;
}

const char* norm_text(const OpCall& c) { return c.iattr(kNorm) ? "layer_norm+" : ""; }

// ---- linear.int8: both factors are codes

Result<void> int8_accepts(const OpCall& c, const LowerContext& ctx) {
  return accepts_integers(*c.in[kWeight], sizes(c).k, ctx, true);
}

Result<Lowering> lower_int8(const OpCall& c, const LowerContext& ctx) {
  const Sizes s = sizes(c);
  Lowering l = cpu_weight(c, cpu_integer(kWeight, s.n, s.k, *c.in[kWeight]));
  simd::GemmArgs a = gemm_args(c);
  set_weight(l.consts[0], nullptr, a);
  l.scratch_bytes = i8_scratch(a, c.iattr(kNorm) != 0, ctx);
  l.kernel = norm_text(c) + integer_kernel(*c.in[kWeight], ctx);
  return l;
}

void run_int8(const CpuCall& call) {
  const CpuArgs args = cpu_args(call);
  const simd::GemmArgs& a = args.a;
  run_integers(call, kWeight, a, a.a, a.lda, call.op->iattr(kNorm) != 0, float(call.op->attr(kEps)), args.gain,
               args.offset);
}

// ---- linear.bf16: rows are rounded to bfloat16

Result<void> bf16_accepts(const OpCall& c, const LowerContext& ctx) {
  return accepts_bf16(*c.in[kWeight], ctx, sizes(c).m);
}

Result<Lowering> lower_bf16(const OpCall& c, const LowerContext& ctx) {
  const Sizes s = sizes(c);
  Lowering l = cpu_weight(c, cpu_panels(kWeight, s.n, s.k, cpu_weight_format(*c.in[kWeight], true)));
  l.consts[0].bf16_rows = true;
  simd::GemmArgs a = gemm_args(c);
  set_weight(l.consts[0], nullptr, a);
  const simd::Kernels& k = kernels_for(*ctx.caps);
  l.scratch_bytes = bf16_bytes(s.m, s.k) + scratch_for(ctx, k.gemm_bf16, {a});
  l.kernel = fmt::format("{}gemm {}", norm_text(c), k.bf16_name);
  return l;
}

void run_bf16(const CpuCall& call) {
  const CpuArgs args = cpu_args(call);
  const simd::GemmArgs& a = args.a;
  CpuCall rest = call;
  simd::ToBf16Args rows;
  rows.x = a.a, rows.ldx = a.lda, rows.rows = a.m, rows.cols = a.k;
  rows.normalise = call.op->iattr(kNorm) != 0, rows.eps = float(call.op->attr(kEps));
  rows.gain = args.gain, rows.offset = args.offset;
  rows.out = reinterpret_cast<uint16_t*>(call.scratch), rows.ldo = bf16_stride(a.k);
  rest.scratch += bf16_bytes(a.m, a.k);
  run_kernel(rest, call.kernels->to_bf16, rows);
  run_kernel(rest, call.kernels->gemm_bf16, {a, rows.out, rows.ldo});
}

// ---- linear.gemm: fp32 rows, weights of any format

Result<Lowering> lower_gemm(const OpCall& c, const LowerContext& ctx) {
  const Sizes s = sizes(c);
  Lowering l = cpu_weight(c, cpu_panels(kWeight, s.n, s.k, cpu_weight_format(*c.in[kWeight], false)));
  simd::GemmArgs a = gemm_args(c);
  set_weight(l.consts[0], nullptr, a);
  l.scratch_bytes = norm_bytes(c) + scratch_for(ctx, kernels_for(*ctx.caps).gemm, a);
  l.kernel = fmt::format("{}gemm", norm_text(c));
  return l;
}

void run_gemm(const CpuCall& call) {
  const OpCall& c = *call.op;
  const CpuArgs args = cpu_args(call);
  simd::GemmArgs a = args.a;
  CpuCall rest = call;
  if (c.iattr(kNorm)) {
    simd::LayerNormArgs n;
    n.x = a.a, n.ldx = a.lda, n.rows = a.m, n.cols = a.k, n.eps = float(c.attr(kEps));
    n.gamma = args.gain, n.beta = args.offset;
    n.out = reinterpret_cast<float*>(call.scratch), n.ldo = norm_stride(a.k);
    rest.scratch += norm_bytes(c);
    run_kernel(rest, call.kernels->layer_norm, n);
    a.a = n.out, a.lda = n.ldo;
  }
  run_kernel(rest, call.kernels->gemm, a);
}

}  // namespace

extern const KernelDef kLinearInt8Cpu, kLinearBf16Cpu, kLinearGemmCpu;
const KernelDef kLinearInt8Cpu = {"linear.int8", OpKind::kLinear, DeviceKind::kCpu, int8_accepts, lower_int8,
                                  run_int8,      integer_cost,    nullptr,          Rate::kInt8};
const KernelDef kLinearBf16Cpu = {"linear.bf16", OpKind::kLinear, DeviceKind::kCpu, bf16_accepts, lower_bf16,
                                  run_bf16,      bf16_cost,       nullptr,          Rate::kHalf};
const KernelDef kLinearGemmCpu = {"linear.gemm", OpKind::kLinear, DeviceKind::kCpu, nullptr,
                                  lower_gemm,    run_gemm,        fp32_cost};

}  // namespace vireo
