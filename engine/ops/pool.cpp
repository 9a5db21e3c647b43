// pool: maximum or average over kernel x kernel windows of NHWC rows; an average counts only real pixels.
#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;

enum Attr { kMode, kKernel, kStride, kPad };
constexpr const char* kModes[] = {"average", "max", nullptr};
constexpr AttrDef kAttrs[] = {{"mode", 0, kModes}, {"kernel", 2}, {"stride", 2}, {"pad", 0}, {nullptr, 0}};

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(0)) return shape_error(c, "operand", "missing", "an input");
  const Shape& s = c.in[0]->shape;
  const int64_t k = c.iattr(kKernel), st = c.iattr(kStride), p = c.iattr(kPad);
  if (k < 1 || st < 1 || p < 0 || p >= k || c.in[0]->layout != Layout::kRows)
    return shape_error(c, "window", fmt::format("{} stride {} pad {}", k, st, p),
                       "kernel and stride of 1 or more, pad below the kernel, rows");
  if (s.h() + 2 * p < k || s.w() + 2 * p < k)
    return shape_error(c, "input", to_string(s), fmt::format("at least {0}x{0} with its padding", k));
  TensorDesc out;
  out.shape = Shape{{s.n(), (s.h() + 2 * p - k) / st + 1, (s.w() + 2 * p - k) / st + 1, s.c()}};
  return out;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const TensorDesc& x = *c.in[0];
  const int64_t c4 = groups4(x.shape.c()), m = c.out.shape.rows();
  const uint32_t local = 64, k = u32(c.iattr(kKernel)), st = u32(c.iattr(kStride)), p = u32(c.iattr(kPad));
  Lowering l;
  Dispatch d;
  d.shader = l.kernel = "pool";
  d.spec = {{"LX", local},
            {"IN_TYPE", type_code(x.dtype)},
            {"OUT_TYPE", type_code(c.out.dtype)},
            {"MODE", u32(c.iattr(kMode))}};
  d.push = {{"M", u32(m)},
            {"c4", u32(c4)},
            {"i_ld4", u32(stride4(x))},
            {"o_ld4", u32(stride4(c.out))},
            {"IH", u32(x.shape.h())},
            {"IW", u32(x.shape.w())},
            {"OH", u32(c.out.shape.h())},
            {"OW", u32(c.out.shape.w())},
            {"KH", k},
            {"KW", k},
            {"stride_h", st},
            {"stride_w", st},
            {"pad_h", p},
            {"pad_w", p}};
  d.groups = flat_grid(*ctx.caps, div_up(m * c4, local));
  d.operands = {input(0), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

Result<Lowering> lower_cpu(const OpCall&, const LowerContext&) {
  Lowering l;
  l.kernel = "pool";
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  const Shape& s = c.in[0]->shape;
  simd::PoolArgs a;
  auto& g = a.geometry;
  g.x = call.rows(0), g.ldx = c.in[0]->row_stride(), g.n = s.n(), g.h = s.h(), g.w = s.w(), g.c = s.c();
  g.kernel_h = g.kernel_w = c.iattr(kKernel), g.stride_y = g.stride_x = c.iattr(kStride),
  g.pad_y = g.pad_x = c.iattr(kPad);
  g.out_h = c.out.shape.h(), g.out_w = c.out.shape.w();
  a.average = c.iattr(kMode) == 0;
  a.out = call.result(), a.ldo = c.out.row_stride();
  run_kernel(call, call.kernels->pool, a);
}

void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  const Shape &s = c.in[0]->shape, &o = c.out.shape;
  const int64_t k = c.iattr(kKernel), st = c.iattr(kStride), p = c.iattr(kPad);
  size_t at = 0;
  for (int64_t b = 0; b < o.n(); ++b)
    for (int64_t y = 0; y < o.h(); ++y)
      for (int64_t x = 0; x < o.w(); ++x)
        for (int64_t e = 0; e < o.c(); ++e) {
          double sum = 0, top = -INFINITY, count = 0;
          for (int64_t ky = 0; ky < k; ++ky)
            for (int64_t kx = 0; kx < k; ++kx) {
              const int64_t iy = y * st - p + ky, ix = x * st - p + kx;
              if (iy < 0 || ix < 0 || iy >= s.h() || ix >= s.w()) continue;
              const double v = (*r.in[0])[size_t(((b * s.h() + iy) * s.w() + ix) * s.c() + e)];
              sum += v, count += 1, top = std::max(top, v);
            }
          (*r.out)[at++] = c.iattr(kMode) == 0 ? sum / count : top;
        }
}

Cost cost(const OpCall& c) { return cost_of(c, double(c.out.shape.elements() * c.iattr(kKernel) * c.iattr(kKernel))); }
double tolerance(const OpCall& c) { return c.iattr(kMode) ? 0 : rounding_bound(c.iattr(kKernel) * c.iattr(kKernel)); }

OpCase make(std::string label, Shape in, double mode, double kernel, double stride, double pad) {
  OpCase o;
  o.label = std::move(label);
  o.in = {in};
  o.constant = {false};
  o.attrs = attrs_of({mode, kernel, stride, pad});
  return o;
}
std::vector<OpCase> cases() {
  return {make("max 3x3 stride 2", Shape{{2, 15, 13, 24}}, 1, 3, 2, 1),
          make("average 2x2", Shape{{1, 8, 6, 7}}, 0, 2, 2, 0),
          make("average padded", Shape{{2, 5, 5, 5}}, 0, 3, 1, 1)};
}

}  // namespace

extern const OpDef kPoolOp;
const OpDef kPoolOp = {"pool", kAttrs, infer, reference, cost, tolerance, cases, {true, 1}};

extern const KernelDef kPoolVulkan, kPoolCpu;
const KernelDef kPoolVulkan = vulkan_kernel("pool", OpKind::kPool, lower);
const KernelDef kPoolCpu = cpu_kernel("pool.simd", OpKind::kPool, lower_cpu, cpu);

}  // namespace vireo
