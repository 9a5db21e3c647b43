// mean: the average of the tokens (or pixels) from `start` to the end of every image; [b, h, w, d] -> [b, 1, 1, d].
#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;

enum Attr { kStart };
constexpr AttrDef kAttrs[] = {{"start", 0}, {nullptr, 0}};

int64_t tokens(const OpCall& c) { return c.in[0]->shape.h() * c.in[0]->shape.w(); }

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(0)) return shape_error(c, "operand", "missing", "an input");
  if (c.iattr(kStart) < 0 || c.iattr(kStart) >= tokens(c))
    return shape_error(c, "start", fmt::format("{}", c.iattr(kStart)), fmt::format("less than {} tokens", tokens(c)));
  TensorDesc out;
  out.shape = tokens_shape(c.in[0]->shape.n(), 1, c.in[0]->shape.c());
  return out;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const TensorDesc& x = *c.in[0];
  const int64_t ld4 = groups4(x.shape.c());
  const uint32_t lx = 8, ly = 8;
  Lowering l;
  Dispatch d;
  d.shader = l.kernel = "mean";
  d.spec = {{"LX", lx}, {"IN_TYPE", type_code(x.dtype)}, {"OUT_TYPE", type_code(c.out.dtype)}, {"LY", ly}};
  d.push = {{"B", u32(x.shape.n())},
            {"tokens", u32(tokens(c))},
            {"first", u32(c.iattr(kStart))},
            {"last", u32(tokens(c))},
            {"ld4", u32(ld4)}};
  d.groups = {u32(div_up(ld4, lx)), u32(x.shape.n()), 1};
  VIREO_TRY(check_grid(c, *ctx.caps, d.groups));
  d.operands = {input(0), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

Result<Lowering> lower_cpu(const OpCall&, const LowerContext&) {
  Lowering l;
  l.kernel = "mean";
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  simd::MeanArgs a;
  a.x = call.rows(0), a.ldx = c.in[0]->row_stride();
  a.groups = c.out.shape.n(), a.group_rows = tokens(c), a.first = c.iattr(kStart), a.count = tokens(c) - a.first,
  a.cols = c.out.shape.c();
  a.out = call.result(), a.ldo = c.out.row_stride();
  run_kernel(call, call.kernels->mean, a);
}

void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  const int64_t n = tokens(c), d = c.out.shape.c(), first = c.iattr(kStart);
  for (int64_t b = 0; b < c.out.shape.n(); ++b)
    for (int64_t e = 0; e < d; ++e) {
      double sum = 0;
      for (int64_t t = first; t < n; ++t) sum += (*r.in[0])[size_t((b * n + t) * d + e)];
      (*r.out)[size_t(b * d + e)] = sum / double(n - first);
    }
}

Cost cost(const OpCall& c) { return cost_of(c, double(c.in[0]->shape.elements())); }
double tolerance(const OpCall& c) { return rounding_bound(tokens(c)); }

OpCase make(std::string label, Shape in, double start) {
  OpCase o;
  o.label = std::move(label);
  o.in = {in};
  o.constant = {false};
  o.attrs = attrs_of({start});
  return o;
}
std::vector<OpCase> cases() {
  return {make("patches of vit", tokens_shape(2, 197, 192), 1), make("feature map", Shape{{3, 7, 9, 40}}, 0),
          make("odd", tokens_shape(2, 5, 3), 4)};
}

}  // namespace

extern const OpDef kMeanOp;
const OpDef kMeanOp = {"mean", kAttrs, infer, reference, cost, tolerance, cases};

extern const KernelDef kMeanVulkan, kMeanCpu;
const KernelDef kMeanVulkan = vulkan_kernel("mean", OpKind::kMean, lower);
const KernelDef kMeanCpu = cpu_kernel("mean.simd", OpKind::kMean, lower_cpu, cpu);

}  // namespace vireo
