// head_norm: cosine attention's queries and keys (Swin V2, Liu et al. 2022). x [.., 3 d] holds q, k and v heads side by
// side; of every head q becomes q / max(|q|, 1e-12) * scale[head] and k becomes k / max(|k|, 1e-12); v stays. scale [1,
// heads] is the constant exp(min(logit_scale, ln 100)). Attention with scale 1 follows.
#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;

enum Attr { kHeads };
enum In { kX, kScale };
constexpr AttrDef kAttrs[] = {{"heads", 1}, {nullptr, 0}};

int64_t head_dim(const OpCall& c) { return c.in[kX]->shape.c() / (3 * c.iattr(kHeads)); }

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(kX)) return shape_error(c, "operand", "missing", "the qkv rows");
  const int64_t heads = c.iattr(kHeads);
  if (heads < 1 || c.in[kX]->shape.c() % (3 * heads) || c.in[kX]->layout != Layout::kRows)
    return shape_error(c, "qkv", got(c.in[kX]), fmt::format("rows of 3 x {} heads", heads));
  if (!is_vector(c.input(kScale), heads))
    return shape_error(c, "scale", got(c.input(kScale)), fmt::format("{} values", heads));
  TensorDesc out;
  out.shape = c.in[kX]->shape;
  return out;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const TensorDesc& x = *c.in[kX];
  const int64_t heads = c.iattr(kHeads), rows = x.shape.rows(), ld4 = groups4(x.shape.c());
  const uint32_t local = 64;
  // As many rows as give every invocation a head to measure; their factors wait in shared memory.
  const uint32_t together = u32(std::max<int64_t>(1, local / (2 * heads)));
  Lowering l;
  l.consts.push_back(vector_const(kScale, heads));
  Dispatch d;
  d.shader = l.kernel = "head_norm";
  d.spec = {{"LX", local},         {"IN_TYPE", type_code(x.dtype)}, {"OUT_TYPE", type_code(c.out.dtype)},
            {"HEADS", u32(heads)}, {"HD", u32(head_dim(c))},        {"ROWS", together}};
  d.push = {{"rows", u32(rows)}, {"ld4", u32(ld4)}};
  if (int64_t(together) * 2 * heads * 4 > ctx.caps->max_shared_bytes)
    return fail(ErrorCode::kUnsupported, "head_norm needs {} bytes of shared memory, the device has {}",
                together * 2 * heads * 4, ctx.caps->max_shared_bytes);
  d.groups = flat_grid(*ctx.caps, div_up(rows, together));
  d.operands = {input(kX), constant(0), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

Result<Lowering> lower_cpu(const OpCall& c, const LowerContext&) {
  Lowering l;
  l.consts.push_back(vector_const(kScale, c.iattr(kHeads)));
  l.kernel = "head_norm";
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  simd::HeadNormArgs a;
  a.x = call.rows(kX), a.ldx = c.in[kX]->row_stride(), a.rows = c.in[kX]->shape.rows(), a.heads = c.iattr(kHeads),
  a.head_dim = head_dim(c);
  a.scale = reinterpret_cast<const float*>(call.consts[0]), a.out = call.result(), a.ldo = c.out.row_stride();
  run_kernel(call, call.kernels->head_norm, a);
}

void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  const int64_t heads = c.iattr(kHeads), dim = head_dim(c), width = c.in[kX]->shape.c();
  for (int64_t row = 0; row < c.in[kX]->shape.rows(); ++row)
    for (int64_t slice = 0; slice < 3 * heads; ++slice) {
      const double* x = r.in[kX]->data() + row * width + slice * dim;
      double squares = 0;
      for (int64_t i = 0; i < dim; ++i) squares += x[i] * x[i];
      const double norm = slice < 2 * heads ? std::max(std::sqrt(squares), 1e-12) : 1;
      const double scale = slice < heads ? (*r.in[kScale])[size_t(slice)] : 1;
      for (int64_t i = 0; i < dim; ++i) (*r.out)[size_t(row * width + slice * dim + i)] = x[i] / norm * scale;
    }
}

Cost cost(const OpCall& c) { return cost_of(c, 3.0 * double(c.out.shape.elements())); }
double tolerance(const OpCall& c) { return rounding_bound(head_dim(c)); }

OpCase make(std::string label, Shape map, double heads, int64_t dim, float amplitude = 1.f) {
  OpCase o;
  o.label = std::move(label);
  map.d[3] = 3 * int64_t(heads) * dim;
  o.in = {map, Shape{{1, 1, 1, int64_t(heads)}}};
  o.constant = {false, true};
  o.attrs = attrs_of({heads});
  o.scale = amplitude;
  return o;
}
std::vector<OpCase> cases() {
  return {make("swinv2-t", Shape{{1, 16, 16, 0}}, 3, 32),
          make("many heads", Shape{{2, 1, 5, 0}}, 24, 32),
          make("dim 30, batch", Shape{{2, 3, 5, 0}}, 4, 30),
          make("primes", Shape{{1, 7, 3, 0}}, 5, 13),
          make("dim 1", Shape{{1, 1, 9, 0}}, 3, 1),
          make("large", Shape{{1, 4, 4, 0}}, 2, 24, 100.f),
          make("more heads than invocations", Shape{{1, 1, 3, 0}}, 40, 4)};
}

}  // namespace

extern const OpDef kHeadNormOp;
const OpDef kHeadNormOp = {"head_norm", kAttrs, infer, reference, cost, tolerance, cases};

extern const KernelDef kHeadNormVulkan, kHeadNormCpu;
const KernelDef kHeadNormVulkan = vulkan_kernel("head_norm", OpKind::kHeadNorm, lower);
const KernelDef kHeadNormCpu = cpu_kernel("head_norm.simd", OpKind::kHeadNorm, lower_cpu, cpu);

}  // namespace vireo
