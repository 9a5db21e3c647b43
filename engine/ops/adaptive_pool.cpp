// adaptive_pool: the average of each of out_h x out_w bins of a map; bin i of `in` positions is floor(i in / out) ..
// ceil((i + 1) in / out), as in torch.nn.AdaptiveAvgPool2d. [n, h, w, c] -> [n, out_h, out_w, c]. One bin of everything
// is `mean`.
#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;

enum Attr { kOutH, kOutW };
constexpr AttrDef kAttrs[] = {{"out_h", 1}, {"out_w", 1}, {nullptr, 0}};

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(0)) return shape_error(c, "operand", "missing", "an input");
  if (c.iattr(kOutH) < 1 || c.iattr(kOutW) < 1 || c.in[0]->layout != Layout::kRows)
    return shape_error(c, "size", fmt::format("{}x{}", c.iattr(kOutH), c.iattr(kOutW)), "1 or more, of rows");
  TensorDesc out;
  out.shape = Shape{{c.in[0]->shape.n(), c.iattr(kOutH), c.iattr(kOutW), c.in[0]->shape.c()}};
  return out;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const TensorDesc& x = *c.in[0];
  const Shape& o = c.out.shape;
  const int64_t c4 = groups4(x.shape.c());
  const uint32_t lx = 8, ly = 8;
  Lowering l;
  Dispatch d;
  d.shader = l.kernel = "adaptive_pool";
  d.spec = {{"LX", lx}, {"IN_TYPE", type_code(x.dtype)}, {"OUT_TYPE", type_code(c.out.dtype)}, {"LY", ly}};
  d.push = {{"IH", u32(x.shape.h())},
            {"IW", u32(x.shape.w())},
            {"OH", u32(o.h())},
            {"OW", u32(o.w())},
            {"c4", u32(c4)},
            {"i_ld4", u32(stride4(x))},
            {"o_ld4", u32(stride4(c.out))}};
  d.groups = {u32(div_up(c4, lx)), u32(o.h() * o.w()), u32(o.n())};
  VIREO_TRY(check_grid(c, *ctx.caps, d.groups));
  d.operands = {input(0), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

Result<Lowering> lower_cpu(const OpCall&, const LowerContext&) {
  Lowering l;
  l.kernel = "adaptive_pool";
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  const Shape& s = c.in[0]->shape;
  simd::AdaptivePoolArgs a;
  a.x = call.rows(0), a.ldx = c.in[0]->row_stride(), a.n = s.n(), a.h = s.h(), a.w = s.w(), a.c = s.c();
  a.out_h = c.out.shape.h(), a.out_w = c.out.shape.w(), a.out = call.result(), a.ldo = c.out.row_stride();
  run_kernel(call, call.kernels->adaptive_pool, a);
}

void reference(const RefCall& r) {
  const Shape &s = r.op->in[0]->shape, &o = r.op->out.shape;
  const auto first = [](int64_t i, int64_t in, int64_t out) { return i * in / out; };
  const auto last = [](int64_t i, int64_t in, int64_t out) { return div_up((i + 1) * in, out); };
  size_t at = 0;
  for (int64_t b = 0; b < o.n(); ++b)
    for (int64_t y = 0; y < o.h(); ++y)
      for (int64_t x = 0; x < o.w(); ++x)
        for (int64_t e = 0; e < o.c(); ++e) {
          double sum = 0, count = 0;
          for (int64_t iy = first(y, s.h(), o.h()); iy < last(y, s.h(), o.h()); ++iy)
            for (int64_t ix = first(x, s.w(), o.w()); ix < last(x, s.w(), o.w()); ++ix)
              sum += (*r.in[0])[size_t(((b * s.h() + iy) * s.w() + ix) * s.c() + e)], count += 1;
          (*r.out)[at++] = sum / count;
        }
}

Cost cost(const OpCall& c) { return cost_of(c, double(std::max(c.in[0]->shape.elements(), c.out.shape.elements()))); }
double tolerance(const OpCall& c) {
  const Shape &s = c.in[0]->shape, &o = c.out.shape;
  return rounding_bound((div_up(s.h(), o.h()) + 1) * (div_up(s.w(), o.w()) + 1));
}

OpCase make(std::string label, Shape in, double out_h, double out_w) {
  OpCase o;
  o.label = std::move(label);
  o.in = {in};
  o.constant = {false};
  o.attrs = attrs_of({out_h, out_w});
  return o;
}
std::vector<OpCase> cases() {
  return {make("upernet: 16x16 to 6x6", Shape{{1, 16, 16, 96}}, 6, 6),
          make("upernet: 16x16 to 3x3", Shape{{1, 16, 16, 96}}, 3, 3), make("everything", Shape{{2, 16, 16, 40}}, 1, 1),
          make("primes", Shape{{2, 13, 11, 7}}, 5, 3), make("more bins than pixels", Shape{{1, 2, 3, 5}}, 4, 5)};
}

}  // namespace

extern const OpDef kAdaptivePoolOp;
const OpDef kAdaptivePoolOp = {"adaptive_pool", kAttrs, infer, reference, cost, tolerance, cases, {true, 1}};

extern const KernelDef kAdaptivePoolVulkan, kAdaptivePoolCpu;
const KernelDef kAdaptivePoolVulkan = vulkan_kernel("adaptive_pool", OpKind::kAdaptivePool, lower);
const KernelDef kAdaptivePoolCpu = cpu_kernel("adaptive_pool.simd", OpKind::kAdaptivePool, lower_cpu, cpu);

}  // namespace vireo
