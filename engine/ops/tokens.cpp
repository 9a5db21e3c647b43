// tokens: patches [b, h, w, d] become rows behind the prefix rows: out[b, 1, p + h w, d] = prefix ++ (patches + pos).
// prefix [p, d] (class token, registers, ... with their positions already added; may be absent), pos [h w, d].
#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;

enum In { kPatches, kPrefix, kPos };
constexpr AttrDef kAttrs[] = {{nullptr, 0}};

int64_t prefix_rows(const OpCall& c) { return c.input(kPrefix) ? c.in[kPrefix]->shape.w() : 0; }

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(kPatches) || !c.input(kPos)) return shape_error(c, "operand", "missing", "patches and a position table");
  const Shape& s = c.in[kPatches]->shape;
  const int64_t n = s.h() * s.w();
  if (c.in[kPos]->shape.w() != n || c.in[kPos]->shape.c() != s.c())
    return shape_error(c, "position table", got(c.in[kPos]), fmt::format("[.., {}, {}]", n, s.c()));
  if (c.input(kPrefix) && c.in[kPrefix]->shape.c() != s.c())
    return shape_error(c, "prefix", got(c.in[kPrefix]), fmt::format("[.., {}]", s.c()));
  TensorDesc out;
  out.shape = tokens_shape(s.n(), prefix_rows(c) + n, s.c());
  return out;
}

Lowering consts(const OpCall& c) {
  Lowering l;
  const Shape& s = c.in[kPatches]->shape;
  l.consts.push_back(rows_const(kPos, s.h() * s.w(), s.c()));
  if (prefix_rows(c)) l.consts.push_back(rows_const(kPrefix, prefix_rows(c), s.c()));
  l.kernel = "tokens";
  return l;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  Lowering l = consts(c);
  const TensorDesc& x = *c.in[kPatches];
  const int64_t hw = x.shape.h() * x.shape.w(), p = prefix_rows(c), ld4 = groups4(x.shape.c());
  const uint32_t local = 64;
  Dispatch d;
  d.shader = "tokens";
  d.spec = {{"LX", local}, {"IN_TYPE", type_code(x.dtype)}, {"OUT_TYPE", type_code(c.out.dtype)}};
  d.push = {{"B", u32(x.shape.n())}, {"HW", u32(hw)}, {"P", u32(p)}, {"ld4", u32(ld4)}};
  d.groups = flat_grid(*ctx.caps, div_up(x.shape.n() * (p + hw) * ld4, local));
  d.operands = {input(kPatches), constant(0), p ? constant(1) : dummy(), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

Result<Lowering> lower_cpu(const OpCall& c, const LowerContext&) { return consts(c); }

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  const Shape& s = c.in[kPatches]->shape;
  const int64_t hw = s.h() * s.w(), p = prefix_rows(c), ld = c.out.row_stride(), table = round_up(s.c(), 4),
                total = p + hw;
  for (int64_t b = 0; b < s.n(); ++b) {
    simd::AddArgs a;
    a.lda = c.in[kPatches]->row_stride(), a.a = call.rows(kPatches) + b * hw * a.lda;
    a.b = reinterpret_cast<const float*>(call.consts[0]), a.ldb = table, a.b_rows = hw;
    a.rows = hw, a.cols = s.c();
    a.out = call.result() + (b * total + p) * ld, a.ldo = ld;
    run_kernel(call, call.kernels->add, a);
  }
  if (!p) return;
  simd::CopyArgs a;
  a.src = reinterpret_cast<const float*>(call.consts[1]), a.lds = table, a.src_group_rows = 0;
  a.dst = call.result(), a.ldd = ld, a.dst_group_rows = total;
  a.groups = s.n(), a.rows = p, a.cols = s.c(), a.zero_cols = table - s.c();
  run_kernel(call, call.kernels->copy, a);
}

void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  const Shape& s = c.in[kPatches]->shape;
  const int64_t hw = s.h() * s.w(), p = prefix_rows(c), d = s.c();
  size_t at = 0;
  for (int64_t b = 0; b < s.n(); ++b) {
    for (int64_t i = 0; i < p * d; ++i) (*r.out)[at++] = (*r.in[kPrefix])[size_t(i)];
    for (int64_t i = 0; i < hw * d; ++i)
      (*r.out)[at++] = (*r.in[kPatches])[size_t(b * hw * d + i)] + (*r.in[kPos])[size_t(i)];
  }
}

Cost cost(const OpCall& c) { return cost_of(c, double(c.out.shape.elements())); }
double tolerance(const OpCall&) { return rounding_bound(1); }

OpCase make(std::string label, Shape patches, int64_t prefix) {
  OpCase o;
  o.label = std::move(label);
  o.in = {patches, prefix ? Shape{{1, 1, prefix, patches.c()}} : Shape{{1, 1, 1, 0}},
          Shape{{1, 1, patches.h() * patches.w(), patches.c()}}};
  o.constant = {false, true, true};
  return o;
}
std::vector<OpCase> cases() {
  return {make("vit", Shape{{1, 14, 14, 192}}, 1), make("registers, batch", Shape{{3, 3, 5, 60}}, 5),
          make("no prefix, odd", Shape{{2, 2, 3, 7}}, 0)};
}

}  // namespace

extern const OpDef kTokensOp;
const OpDef kTokensOp = {"tokens", kAttrs, infer, reference, cost, tolerance, cases};

extern const KernelDef kTokensVulkan, kTokensCpu;
const KernelDef kTokensVulkan = vulkan_kernel("tokens", OpKind::kTokens, lower);
const KernelDef kTokensCpu = cpu_kernel("tokens.simd", OpKind::kTokens, lower_cpu, cpu);

}  // namespace vireo
