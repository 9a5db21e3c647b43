// layer_norm: (x - mean) / sqrt(var + eps) * gamma + beta over the channels of each row (Ba et al. 2016, var biased),
// plus an optional residual like x (a norm behind the branch, as in Swin V2).
#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;

enum Attr { kEps };
enum In { kX, kGamma, kBeta, kResidual };
constexpr AttrDef kAttrs[] = {{"eps", 1e-6}, {nullptr, 0}};

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(kX)) return shape_error(c, "operand", "missing", "an input");
  const int64_t n = c.in[kX]->shape.c();
  if (!is_vector(c.input(kGamma), n)) return shape_error(c, "gamma", got(c.input(kGamma)), fmt::format("{} values", n));
  if (!is_vector(c.input(kBeta), n)) return shape_error(c, "beta", got(c.input(kBeta)), fmt::format("{} values", n));
  if (c.input(kResidual) && c.in[kResidual]->shape != c.in[kX]->shape)
    return shape_error(c, "residual", got(c.in[kResidual]), got(c.in[kX]));
  TensorDesc out;
  out.shape = c.in[kX]->shape;
  return out;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const TensorDesc &x = *c.in[kX], *r = c.input(kResidual);
  const int64_t n = x.shape.c();
  Lowering l;
  l.consts = {vector_const(kGamma, n), vector_const(kBeta, n)};
  const uint32_t per_row = 8, local = 64;
  Dispatch d;
  d.shader = l.kernel = "layer_norm";
  d.spec = {{"LX", local},
            {"IN_TYPE", type_code(x.dtype)},
            {"OUT_TYPE", type_code(c.out.dtype)},
            {"RES_TYPE", r ? type_code(r->dtype) : 0},
            {"RESIDUAL", r != nullptr},
            {"TPR", per_row}};
  d.push = {{"rows", u32(x.shape.rows())},       {"C", u32(n)},
            {"i_ld4", u32(stride4(x))},          {"o_ld4", u32(stride4(c.out))},
            {"r_ld4", u32(r ? stride4(*r) : 0)}, {"i_off4", 0},
            {"eps", float_word(c.attr(kEps))}};
  d.groups = flat_grid(*ctx.caps, div_up(x.shape.rows(), local / per_row));
  d.operands = {input(kX), constant(0), constant(1), r ? input(kResidual) : dummy(), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

Result<Lowering> lower_cpu(const OpCall& c, const LowerContext&) {
  Lowering l;
  l.consts = {vector_const(kGamma, c.in[kX]->shape.c()), vector_const(kBeta, c.in[kX]->shape.c())};
  l.kernel = "layer_norm";
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  simd::LayerNormArgs a;
  a.x = call.rows(kX), a.ldx = c.in[kX]->row_stride(), a.rows = c.in[kX]->shape.rows(), a.cols = c.in[kX]->shape.c();
  a.gamma = reinterpret_cast<const float*>(call.consts[0]), a.beta = reinterpret_cast<const float*>(call.consts[1]);
  if (c.input(kResidual)) a.residual = call.rows(kResidual), a.ldr = c.in[kResidual]->row_stride();
  a.eps = float(c.attr(kEps)), a.out = call.result(), a.ldo = c.out.row_stride();
  run_kernel(call, call.kernels->layer_norm, a);
}

void reference(const RefCall& r) {
  const Shape& s = r.op->in[kX]->shape;
  const int64_t n = s.c();
  for (int64_t row = 0; row < s.rows(); ++row) {
    const double* x = r.in[kX]->data() + row * n;
    double mean = 0, var = 0;
    for (int64_t i = 0; i < n; ++i) mean += x[i] / double(n);
    for (int64_t i = 0; i < n; ++i) var += (x[i] - mean) * (x[i] - mean) / double(n);
    for (int64_t i = 0; i < n; ++i)
      (*r.out)[size_t(row * n + i)] = (x[i] - mean) / std::sqrt(var + r.op->attr(kEps)) * (*r.in[kGamma])[size_t(i)] +
                                      (*r.in[kBeta])[size_t(i)] +
                                      (r.op->input(kResidual) ? (*r.in[kResidual])[size_t(row * n + i)] : 0);
  }
}

Cost cost(const OpCall& c) { return cost_of(c, 8.0 * double(c.out.shape.elements())); }
/// Mean and variance are sums of n terms; the division doubles their relative error.
double tolerance(const OpCall& c) { return 2 * rounding_bound(c.out.shape.c()); }

OpCase make(std::string label, int64_t batch, int64_t tokens, int64_t n, double eps, float amplitude = 1.f,
            bool residual = false) {
  OpCase o;
  o.label = std::move(label);
  o.in = {tokens_shape(batch, tokens, n), Shape{{1, 1, 1, n}}, Shape{{1, 1, 1, n}},
          residual ? tokens_shape(batch, tokens, n) : Shape{{1, 1, 1, 0}}};
  o.constant = {false, true, true, false};
  o.attrs = attrs_of({eps});
  o.scale = amplitude;
  return o;
}
std::vector<OpCase> cases() {
  return {make("vit-b", 1, 197, 768, 1e-12),
          make("vit-ti", 2, 50, 192, 1e-6),
          make("primes", 3, 13, 37, 1e-6),
          make("width 2", 1, 5, 2, 1e-6),
          make("width 65", 1, 9, 65, 1e-5),
          make("large", 1, 7, 100, 1e-6, 1000.f),
          make("swinv2-t residual", 1, 256, 96, 1e-5, 1.f, true),
          make("residual, primes", 2, 7, 37, 1e-6, 1.f, true)};
}

}  // namespace

extern const OpDef kLayerNormOp;
const OpDef kLayerNormOp = [] {
  OpDef d = {"layer_norm", kAttrs, infer, reference, cost, tolerance, cases, {true, 1u << kX | 1u << kResidual}};
  d.slots.norm_eps = kEps;
  d.slots.bias = kBeta;
  d.slots.scale = kGamma;
  d.slots.residual = kResidual;
  return d;
}();

extern const KernelDef kLayerNormVulkan, kLayerNormCpu;
const KernelDef kLayerNormVulkan = vulkan_kernel("layer_norm", OpKind::kLayerNorm, lower);
const KernelDef kLayerNormCpu = cpu_kernel("layer_norm.simd", OpKind::kLayerNorm, lower_cpu, cpu);

}  // namespace vireo
