// resize: x [n, h, w, c] to [n, out_h, out_w, c] by torch.nn.functional.interpolate's rules (no antialiasing; bicubic
// with a = -0.75), plus an optional residual of the output's shape: the top-down path of a feature pyramid.
#include "ops/common.h"
#include "simd/interpolate.h"

namespace vireo {
namespace {
using namespace ops;

enum Attr { kOutH, kOutW, kMode, kAlignCorners };
enum In { kX, kResidual };
constexpr const char* kModes[] = {"nearest", "bilinear", "bicubic",
                                  nullptr};  // the numbers of simd::Interpolation and the shader
constexpr AttrDef kAttrs[] = {{"out_h", 1}, {"out_w", 1}, {"mode", 0, kModes}, {"align_corners", 0}, {nullptr, 0}};

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(kX)) return shape_error(c, "operand", "missing", "an input");
  if (c.iattr(kOutH) < 1 || c.iattr(kOutW) < 1 || c.in[kX]->layout != Layout::kRows)
    return shape_error(c, "size", fmt::format("{}x{}", c.iattr(kOutH), c.iattr(kOutW)), "1 or more, of rows");
  if (c.iattr(kMode) < 0 || c.iattr(kMode) > 2)
    return shape_error(c, "mode", fmt::format("{}", c.iattr(kMode)), "0 nearest, 1 bilinear or 2 bicubic");
  TensorDesc out;
  const Shape& s = c.in[kX]->shape;
  out.shape = Shape{{s.n(), c.iattr(kOutH), c.iattr(kOutW), s.c()}};
  if (c.input(kResidual) && c.in[kResidual]->shape != out.shape)
    return shape_error(c, "residual", got(c.in[kResidual]), to_string(out.shape));
  return out;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const TensorDesc &x = *c.in[kX], *r = c.input(kResidual);
  const Shape &s = x.shape, &o = c.out.shape;
  const int64_t c4 = groups4(s.c());
  const bool align = c.iattr(kAlignCorners) != 0,
             texel = ctx.tuning->texel && texel_fits(*ctx.caps, x.bytes(), x.dtype);
  const uint32_t local = 64;
  Lowering l;
  Dispatch d;
  d.shader = l.kernel = texel ? "resize.TEXEL=1" : "resize";
  d.spec = {{"LX", local},
            {"OUT_TYPE", type_code(c.out.dtype)},
            {"RES_TYPE", r ? type_code(r->dtype) : 0},
            {"RESIDUAL", r != nullptr},
            {"MODE", u32(c.iattr(kMode))},
            {"ALIGN", align}};
  if (!texel) d.spec.add("IN_TYPE", type_code(x.dtype));
  d.push = {{"B", u32(s.n())},
            {"IH", u32(s.h())},
            {"IW", u32(s.w())},
            {"OH", u32(o.h())},
            {"OW", u32(o.w())},
            {"c4", u32(c4)},
            {"i_ld4", u32(stride4(x))},
            {"o_ld4", u32(stride4(c.out))},
            {"r_ld4", u32(r ? stride4(*r) : 0)},
            {"ratio_h", float_word(double(simd::resize_ratio(s.h(), o.h(), align)))},
            {"ratio_w", float_word(double(simd::resize_ratio(s.w(), o.w(), align)))}};
  d.groups = flat_grid(*ctx.caps, div_up(o.rows() * c4, local));
  d.operands = {input(kX, texel ? texel_kind(x.dtype) : BindKind::kStorage), r ? input(kResidual) : dummy(), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

Result<Lowering> lower_cpu(const OpCall& c, const LowerContext&) {
  Lowering l;
  l.kernel = kModes[c.iattr(kMode)];
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  const Shape& s = c.in[kX]->shape;
  simd::ResizeArgs a;
  a.x = call.rows(kX), a.ldx = c.in[kX]->row_stride(), a.n = s.n(), a.h = s.h(), a.w = s.w(), a.c = s.c();
  a.out_h = c.out.shape.h(), a.out_w = c.out.shape.w();
  a.mode = simd::Interpolation(c.iattr(kMode)), a.align_corners = c.iattr(kAlignCorners) != 0;
  if (c.input(kResidual)) a.residual = call.rows(kResidual), a.ldr = c.in[kResidual]->row_stride();
  a.out = call.result(), a.ldo = c.out.row_stride();
  run_kernel(call, call.kernels->resize, a);
}

/// Position and weights along one axis as PyTorch's documentation states them.
struct Axis {
  std::vector<int64_t> at;
  std::vector<double> weight;
};
Axis axis(int64_t mode, bool align, int64_t in, int64_t out, int64_t i) {
  const auto inside = [in](int64_t p) { return std::min(std::max<int64_t>(p, 0), in - 1); };
  if (mode == 0)
    return {
        {inside(int64_t(std::floor(float(i) * (align ? simd::resize_ratio(in, out, true) : float(in) / float(out)))))},
        {1}};
  const double ratio = !align ? double(in) / double(out) : out > 1 ? double(in - 1) / double(out - 1) : 0;
  double from = align ? double(i) * ratio : (double(i) + 0.5) * ratio - 0.5;
  if (mode == 1) from = std::max(from, 0.0);
  const double first = std::floor(from), f = from - first;
  const int64_t p = int64_t(first);
  if (mode == 1) return {{inside(p), inside(p + 1)}, {1 - f, f}};
  const double a = -0.75;
  const auto cubic = [a](double t) {
    t = std::fabs(t);
    return t <= 1 ? (a + 2) * t * t * t - (a + 3) * t * t + 1 : a * t * t * t - 5 * a * t * t + 8 * a * t - 4 * a;
  };
  return {{inside(p - 1), inside(p), inside(p + 1), inside(p + 2)},
          {cubic(f + 1), cubic(f), cubic(f - 1), cubic(f - 2)}};
}

void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  const Shape &s = c.in[kX]->shape, &o = c.out.shape;
  const bool align = c.iattr(kAlignCorners) != 0;
  size_t at = 0;
  for (int64_t b = 0; b < o.n(); ++b)
    for (int64_t y = 0; y < o.h(); ++y) {
      const Axis ay = axis(c.iattr(kMode), align, s.h(), o.h(), y);
      for (int64_t x = 0; x < o.w(); ++x) {
        const Axis ax = axis(c.iattr(kMode), align, s.w(), o.w(), x);
        for (int64_t e = 0; e < s.c(); ++e, ++at) {
          double sum = c.input(kResidual) ? (*r.in[kResidual])[at] : 0;
          for (size_t i = 0; i < ay.at.size(); ++i)
            for (size_t j = 0; j < ax.at.size(); ++j)
              sum += ay.weight[i] * ax.weight[j] *
                     (*r.in[kX])[size_t(((b * s.h() + ay.at[i]) * s.w() + ax.at[j]) * s.c() + e)];
          (*r.out)[at] = sum;
        }
      }
    }
}

Cost cost(const OpCall& c) {
  const double taps[] = {1, 4, 16};
  return cost_of(c, 2 * taps[c.iattr(kMode)] * double(c.out.shape.elements()));
}

/// A position is rounded to 2^-24 of its size, which moves a weight by as much, and a weight meets differences of up
/// to 2.
double tolerance(const OpCall& c) {
  if (c.iattr(kMode) == 0) return c.input(kResidual) ? rounding_bound(1) : 0;
  return rounding_bound(16) + std::ldexp(8.0 * double(std::max(c.in[kX]->shape.h(), c.in[kX]->shape.w())), -24);
}

OpCase make(std::string label, Shape in, double out_h, double out_w, double mode, bool align = false,
            bool residual = false) {
  OpCase o;
  o.label = std::move(label);
  o.in = {in, residual ? Shape{{in.n(), int64_t(out_h), int64_t(out_w), in.c()}} : Shape{{1, 1, 1, 0}}};
  o.constant = {false, false};
  o.attrs = attrs_of({out_h, out_w, mode, double(align)});
  return o;
}
std::vector<OpCase> cases() {
  return {
      make("upernet: 16 to 32, plus the lateral", Shape{{1, 16, 16, 64}}, 32, 32, 1, false, true),
      make("upernet: 16 to 128", Shape{{1, 16, 16, 16}}, 128, 128, 1),
      make("pyramid pooling: 6 to 16", Shape{{1, 6, 6, 20}}, 16, 16, 1),
      make("one pixel", Shape{{2, 1, 1, 5}}, 4, 3, 1),
      make("smaller, primes", Shape{{2, 13, 11, 7}}, 5, 7, 1),
      make("corners", Shape{{1, 7, 9, 6}}, 13, 11, 1, true),
      make("corners, one pixel out", Shape{{1, 7, 9, 6}}, 1, 1, 1, true),
      make("nearest", Shape{{2, 5, 7, 9}}, 13, 11, 0, false, true),
      make("nearest, smaller", Shape{{1, 17, 19, 3}}, 6, 10, 0),
      make("bicubic", Shape{{2, 7, 6, 5}}, 11, 17, 2),
      make("bicubic, smaller", Shape{{1, 19, 14, 8}}, 6, 5, 2, false, true),
      make("bicubic, corners", Shape{{1, 6, 5, 4}}, 9, 10, 2, true),
      make("the same size", Shape{{1, 4, 5, 8}}, 4, 5, 1),
  };
}

}  // namespace

extern const OpDef kResizeOp;
const OpDef kResizeOp = [] {
  OpDef d = {"resize", kAttrs, infer, reference, cost, tolerance, cases, {true, 1u << kX | 1u << kResidual}};
  d.slots.residual = kResidual;
  return d;
}();

extern const KernelDef kResizeVulkan, kResizeCpu;
const KernelDef kResizeVulkan = vulkan_kernel("resize", OpKind::kResize, lower);
const KernelDef kResizeCpu = cpu_kernel("resize.simd", OpKind::kResize, lower_cpu, cpu);

}  // namespace vireo
