// linear: y = residual + scale * act(norm(x) W^T + bias). x [.., k] (activation), W [n, k], bias and scale [1, n] (constants),
// residual like y. `ln` normalises the rows of x first, (x - mean) / sqrt(var + eps); gain and offset are folded into W and bias.
#include "ops/linear.h"

#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;
using linear::kAct, linear::kNorm, linear::kEps;
using linear::kX, linear::kWeight, linear::kBias, linear::kScaleIn, linear::kResidualIn;

constexpr AttrDef kAttrs[] = {{"act", 0, kActNames}, {"ln", 0}, {"eps", 1e-6}, {nullptr, 0}};

struct Sizes {
  int64_t m, n, k;
};
Sizes sizes(const OpCall& c) { return {c.in[kX]->shape.rows(), c.in[kWeight]->shape.w(), c.in[kWeight]->shape.c()}; }

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(kX) || !c.input(kWeight)) return shape_error(c, "operand", "missing", "an input and a weight");
  const Sizes s = sizes(c);
  if (c.in[kX]->layout != Layout::kRows || c.in[kX]->shape.c() != s.k)
    return shape_error(c, "weight", got(c.in[kWeight]), fmt::format("[.., {}] for an input of {} channels", c.in[kX]->shape.c(), c.in[kX]->shape.c()));
  if (c.input(kBias) && !is_vector(c.in[kBias], s.n)) return shape_error(c, "bias", got(c.in[kBias]), fmt::format("{} values", s.n));
  if (c.input(kScaleIn) && !is_vector(c.in[kScaleIn], s.n)) return shape_error(c, "scale", got(c.in[kScaleIn]), fmt::format("{} values", s.n));
  TensorDesc out;
  out.shape = c.in[kX]->shape;
  out.shape.d[3] = s.n;
  if (c.input(kResidualIn) && c.in[kResidualIn]->shape != out.shape) return shape_error(c, "residual", got(c.in[kResidualIn]), to_string(out.shape));
  return out;
}

/// Constants in the order weight, bias, scale; -1 for the absent ones.
struct Consts {
  int bias = -1, scale = -1;
};
Consts add_vectors(const OpCall& c, int64_t n, Lowering& l) {
  Consts r;
  if (c.input(kBias)) r.bias = int(l.consts.size()), l.consts.push_back(vector_const(kBias, n));
  if (c.input(kScaleIn)) r.scale = int(l.consts.size()), l.consts.push_back(vector_const(kScaleIn, n));
  return r;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const Sizes s = sizes(c);
  const Tuning t = tuning_for(*ctx.caps);
  const DType w = weight_dtype(ctx.precision);
  const int64_t n4 = groups4(s.n), k4 = groups4(s.k);
  Lowering l;
  l.consts.push_back(gpu_matrix(kWeight, s.n, s.k, w));
  l.consts[0].centre = c.iattr(kNorm) != 0;
  const Consts at = add_vectors(c, s.n, l);
  const TensorDesc &x = *c.in[kX], *r = c.input(kResidualIn);

  Dispatch d;
  d.spec.assign(16, 0);
  d.spec[1] = type_code(x.dtype);
  d.spec[2] = type_code(w);
  d.spec[3] = type_code(c.out.dtype);
  d.spec[4] = r ? type_code(r->dtype) : 0;
  d.spec[5] = u32(c.iattr(kAct));
  d.spec[6] = at.bias >= 0;
  d.spec[7] = at.scale >= 0;
  d.spec[8] = r != nullptr;
  d.spec[9] = u32(c.iattr(kNorm));
  d.push = {u32(s.m), u32(s.n), u32(s.k), u32(k4), u32(n4), u32(n4), 0, 0, float_word(c.attr(kEps))};

  const bool texel = t.texel && texel_fits(*ctx.caps, x.bytes(), x.dtype) &&
                     texel_fits(*ctx.caps, uint64_t(k4 * n4 * 16) * dtype_size(w), w);
  if (texel) {
    const auto& q = t.linear_texel;
    uint32_t rows = q.r;
    while (rows > 1 && rows / 2 >= s.m) rows /= 2;
    const uint32_t c4 = n4 >= int64_t(q.lx) * q.c ? q.c : 1;
    // A broadcast register holds rl rows times as many groups of k as the subgroup has room for.
    uint32_t rl = std::min(q.rl, rows);
    while (rl > ctx.caps->subgroup_size) rl /= 2;
    const bool shuffle = t.shuffle && rl > 1 && rows % rl == 0;
    d.shader = shuffle ? "linear.texel.SHUFFLE=1" : "linear.texel";
    d.spec[0] = std::max(q.lx, rows);
    d.spec[10] = rows;
    d.spec[11] = c4;
    d.spec[12] = shuffle ? rl : 1;
    d.spec[13] = shuffle ? std::max(1u, ctx.caps->subgroup_size / rl) : 1;
    d.groups = {u32(div_up(s.m, rows)), u32(div_up(n4, int64_t(d.spec[0]) * c4)), 1};
    l.kernel = fmt::format("{} r{} c{}", d.shader, rows, c4);
  } else {
    const auto& q = t.linear_tile;
    d.shader = "linear.tile";
    d.spec[0] = (q.bm / q.tm) * (q.bn / q.tn);
    d.spec[10] = q.bm;
    d.spec[11] = q.bn;
    d.spec[12] = q.bk;
    d.spec[13] = q.tm;
    d.spec[14] = q.tn;
    d.spec[15] = round_up(s.k, 4) % q.bk == 0;
    d.groups = {u32(div_up(s.m, q.bm)), u32(div_up(s.n, q.bn)), 1};
    l.kernel = fmt::format("linear.tile {}x{}x{}", q.bm, q.bn, q.bk);
  }
  VIREO_TRY(check_grid(c, *ctx.caps, d.groups));
  const BindKind weights = texel ? texel_kind(w) : BindKind::kStorage;
  d.operands = {input(kX, texel ? texel_kind(x.dtype) : BindKind::kStorage),
                constant(0, weights),
                w == DType::kI8 ? scales(0) : dummy(),
                at.bias >= 0 ? constant(at.bias) : dummy(),
                at.scale >= 0 ? constant(at.scale) : dummy(),
                r ? input(kResidualIn) : dummy(),
                output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

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

uint64_t norm_bytes(const OpCall& c) {
  return c.iattr(kNorm) ? uint64_t(round_up(c.in[kX]->shape.rows() * c.in[kX]->row_stride() * 4, 64)) : 0;
}

Lowering lower_cpu(const OpCall& c, const LowerContext& ctx) {
  const Sizes s = sizes(c);
  Lowering l;
  l.consts.push_back(cpu_panels(kWeight, s.n, s.k, cpu_weight_dtype(ctx, s.m)));
  l.consts[0].centre = c.iattr(kNorm) != 0;
  add_vectors(c, s.n, l);
  simd::GemmArgs a = gemm_args(c);
  if (l.consts[0].dtype == DType::kBF16) {
    const simd::Kernels& k = kernels_for(*ctx.caps);
    l.scratch_bytes = bf16_bytes(s.m, s.k) + scratch_for(ctx, k.gemm_bf16, {a});
    l.kernel = fmt::format("{}gemm {}", c.iattr(kNorm) ? "layer_norm+" : "", k.bf16_name);
    return l;
  }
  a.type = simd_type(l.consts[0].dtype);
  l.scratch_bytes = norm_bytes(c) + scratch_for(ctx, kernels_for(*ctx.caps).gemm, a);
  l.kernel = c.iattr(kNorm) ? "layer_norm+gemm" : "gemm";
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  simd::GemmArgs a = gemm_args(c);
  a.a = call.in[kX];
  a.b = call.consts[0];
  a.type = simd_type(call.packs[0].dtype);
  if (a.type == simd::WeightType::kI8) a.b_scales = reinterpret_cast<const float*>(call.consts[0] + call.packs[0].scales_offset);
  int next = 1;
  if (c.input(kBias)) a.bias = reinterpret_cast<const float*>(call.consts[next++]);
  if (c.input(kScaleIn)) a.col_scale = reinterpret_cast<const float*>(call.consts[next++]);
  if (c.input(kResidualIn)) a.residual = call.in[kResidualIn];
  a.out = call.out;
  CpuCall rest = call;
  if (a.type == simd::WeightType::kBF16) {
    simd::ToBf16Args rows;
    rows.x = a.a, rows.ldx = a.lda, rows.rows = a.m, rows.cols = a.k;
    rows.normalise = c.iattr(kNorm) != 0, rows.eps = float(c.attr(kEps));
    rows.out = reinterpret_cast<uint16_t*>(call.scratch), rows.ldo = bf16_stride(a.k);
    rest.scratch += bf16_bytes(a.m, a.k);
    run_kernel(rest, call.kernels->to_bf16, rows);
    run_kernel(rest, call.kernels->gemm_bf16, {a, rows.out, rows.ldo});
    return;
  }
  if (c.iattr(kNorm)) {
    simd::LayerNormArgs n;
    n.x = a.a, n.ldx = a.lda, n.rows = a.m, n.cols = a.k, n.eps = float(c.attr(kEps));
    n.out = reinterpret_cast<float*>(call.scratch), n.ldo = a.lda;
    rest.scratch += norm_bytes(c);
    run_kernel(rest, call.kernels->layer_norm, n);
    a.a = n.out;
  }
  run_kernel(rest, call.kernels->gemm, a);
}

void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  const Sizes s = sizes(c);
  std::vector<double> row(size_t(s.k));
  for (int64_t m = 0; m < s.m; ++m) {
    const double* x = r.in[kX]->data() + m * s.k;
    row.assign(x, x + s.k);
    if (c.iattr(kNorm)) {
      double mean = 0, var = 0;
      for (double v : row) mean += v / double(s.k);
      for (double v : row) var += (v - mean) * (v - mean) / double(s.k);
      for (double& v : row) v = (v - mean) / std::sqrt(var + c.attr(kEps));
    }
    for (int64_t n = 0; n < s.n; ++n) {
      double sum = c.input(kBias) ? (*r.in[kBias])[size_t(n)] : 0;
      for (int64_t k = 0; k < s.k; ++k) sum += row[size_t(k)] * (*r.in[kWeight])[size_t(n * s.k + k)];
      sum = act_reference(int(c.iattr(kAct)), sum);
      if (c.input(kScaleIn)) sum *= (*r.in[kScaleIn])[size_t(n)];
      if (c.input(kResidualIn)) sum += (*r.in[kResidualIn])[size_t(m * s.n + n)];
      (*r.out)[size_t(m * s.n + n)] = sum;
    }
  }
}

Cost cost(const OpCall& c) {
  const Sizes s = sizes(c);
  return cost_of(c, 2.0 * double(s.m) * double(s.n) * double(s.k) + (c.iattr(kNorm) ? 8.0 * double(s.m * s.k) : 0));
}

double tolerance(const OpCall& c) { return rounding_bound(sizes(c).k); }

OpCase make(std::string label, int64_t batch, int64_t tokens, int64_t n, int64_t k, int act, bool ln, bool bias, bool scale, bool residual, float amplitude = 1.f) {
  const Shape none{{1, 1, 1, 0}};
  OpCase o;
  o.label = std::move(label);
  o.in = {tokens_shape(batch, tokens, k), Shape{{1, 1, n, k}}, bias ? Shape{{1, 1, 1, n}} : none, scale ? Shape{{1, 1, 1, n}} : none,
          residual ? tokens_shape(batch, tokens, n) : none};
  o.constant = {false, true, true, true, false};
  o.attrs = attrs_of({double(act), double(ln), 1e-6});
  o.scale = amplitude;
  return o;
}

std::vector<OpCase> cases() {
  return {
      make("vit-ti qkv", 1, 197, 576, 192, 0, true, true, false, false),
      make("vit-ti fc1", 1, 197, 768, 192, 1, true, true, false, false),
      make("vit-ti fc2", 1, 197, 192, 768, 0, false, true, false, true),
      make("vit-b proj", 1, 65, 768, 768, 0, false, true, true, true),
      make("dinov2-s fc2", 2, 65, 384, 1536, 0, false, true, true, true),
      make("head", 1, 1, 1000, 192, 0, true, true, false, false),
      make("batch of heads", 5, 1, 10, 96, 0, true, true, false, false),
      make("primes", 3, 13, 31, 37, 2, true, true, true, true),
      make("odd width", 1, 11, 65, 65, 3, false, false, false, false),
      make("one by one", 1, 1, 1, 1, 0, false, true, false, false),
      make("k of one", 1, 7, 9, 1, 4, false, true, false, false),
      make("n of three", 1, 129, 3, 64, 5, false, true, false, true),
      make("large values", 1, 33, 40, 48, 1, false, true, false, false, 50.f),
      make("tile edges", 1, 64, 128, 16, 0, false, true, false, false),
      make("one past the tile", 1, 65, 129, 17, 0, true, true, false, true),
  };
}

}  // namespace

extern const OpDef kLinearOp;
const OpDef kLinearOp = {"linear", kAttrs, infer, lower, lower_cpu, cpu, reference, cost, tolerance, cases};

}  // namespace vireo
