// merge: space to depth of 2 x 2 pixels, Swin's patch merging: [n, h, w, c] -> [n, ceil(h/2), ceil(w/2), 4 c], the
// channels of pixels (2y, 2x), (2y + 1, 2x), (2y, 2x + 1), (2y + 1, 2x + 1); odd sizes are padded with zeros at the
// bottom and right.
#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;

constexpr AttrDef kAttrs[] = {{nullptr, 0}};

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(0)) return shape_error(c, "operand", "missing", "an input");
  if (c.in[0]->layout != Layout::kRows) return shape_error(c, "input", "a planar picture", "rows");
  const Shape& s = c.in[0]->shape;
  TensorDesc out;
  out.shape = Shape{{s.n(), div_up(s.h(), 2), div_up(s.w(), 2), 4 * s.c()}};
  return out;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const TensorDesc& x = *c.in[0];
  const Shape& o = c.out.shape;
  const uint32_t local = 64;
  Lowering l;
  Dispatch d;
  d.shader = l.kernel = "merge";
  d.spec = {{"LX", local}, {"IN_TYPE", type_code(x.dtype)}, {"OUT_TYPE", type_code(c.out.dtype)}};
  d.push = {{"B", u32(o.n())}, {"IH", u32(x.shape.h())}, {"IW", u32(x.shape.w())}, {"C", u32(x.shape.c())}};
  d.groups = flat_grid(*ctx.caps, div_up(o.rows() * x.shape.c(), local));  // 4 c channels are c groups
  d.operands = {input(0), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

Result<Lowering> lower_cpu(const OpCall&, const LowerContext&) {
  Lowering l;
  l.kernel = "merge";
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  const Shape& s = c.in[0]->shape;
  simd::MergeArgs a;
  a.x = call.rows(0), a.ldx = c.in[0]->row_stride(), a.n = s.n(), a.h = s.h(), a.w = s.w(), a.c = s.c();
  a.out = call.result(), a.ldo = c.out.row_stride();
  run_kernel(call, call.kernels->merge, a);
}

void reference(const RefCall& r) {
  const Shape &s = r.op->in[0]->shape, &o = r.op->out.shape;
  constexpr int64_t kDy[] = {0, 1, 0, 1}, kDx[] = {0, 0, 1, 1};
  size_t at = 0;
  for (int64_t b = 0; b < o.n(); ++b)
    for (int64_t y = 0; y < o.h(); ++y)
      for (int64_t x = 0; x < o.w(); ++x)
        for (int part = 0; part < 4; ++part)
          for (int64_t e = 0; e < s.c(); ++e) {
            const int64_t iy = 2 * y + kDy[part], ix = 2 * x + kDx[part];
            (*r.out)[at++] =
                iy < s.h() && ix < s.w() ? (*r.in[0])[size_t(((b * s.h() + iy) * s.w() + ix) * s.c() + e)] : 0;
          }
}

Cost cost(const OpCall& c) { return cost_of(c, 0); }
double tolerance(const OpCall&) { return 0; }  // a copy is exact

OpCase make(std::string label, Shape in) {
  OpCase o;
  o.label = std::move(label);
  o.in = {in};
  o.constant = {false};
  return o;
}
std::vector<OpCase> cases() {
  return {make("swin-t", Shape{{1, 16, 16, 96}}), make("odd sides", Shape{{2, 7, 9, 12}}),
          make("odd everything", Shape{{2, 5, 3, 7}}), make("one pixel", Shape{{1, 1, 1, 2}})};
}

}  // namespace

extern const OpDef kMergeOp;
const OpDef kMergeOp = {"merge", kAttrs, infer, reference, cost, tolerance, cases};

extern const KernelDef kMergeVulkan, kMergeCpu;
const KernelDef kMergeVulkan = vulkan_kernel("merge", OpKind::kMerge, lower);
const KernelDef kMergeCpu = cpu_kernel("merge.simd", OpKind::kMerge, lower_cpu, cpu);

}  // namespace vireo
