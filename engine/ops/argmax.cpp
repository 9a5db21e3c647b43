// argmax: per pixel the number of the largest channel, the first of equals: [n, h, w, c] -> [n, h, w, 1]. With out_h and out_w the
// channels are resized first, bilinearly without aligned corners, so that full-size scores are never stored.
#include <algorithm>
#include <cmath>

#include "ops/common.h"
#include "simd/interpolate.h"

namespace vireo {
namespace {
using namespace ops;

enum Attr { kOutH, kOutW };
constexpr AttrDef kAttrs[] = {{"out_h", 0}, {"out_w", 0}, {nullptr, 0}};

bool resizes(const OpCall& c) { return c.out.shape.h() != c.in[0]->shape.h() || c.out.shape.w() != c.in[0]->shape.w(); }

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(0)) return shape_error(c, "operand", "missing", "an input");
  const Shape& s = c.in[0]->shape;
  const int64_t h = c.iattr(kOutH), w = c.iattr(kOutW);
  if (h < 0 || w < 0 || (h == 0) != (w == 0) || c.in[0]->layout != Layout::kRows)
    return shape_error(c, "size", fmt::format("{}x{}", h, w), "two positive numbers, or 0x0 for the input's, of rows");
  TensorDesc out;
  out.shape = Shape{{s.n(), h ? h : s.h(), w ? w : s.w(), 1}};
  return out;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const TensorDesc& x = *c.in[0];
  const Shape &s = x.shape, &o = c.out.shape;
  const bool texel = ctx.tuning->texel && texel_fits(*ctx.caps, x.bytes(), x.dtype);
  const uint32_t local = 64;
  Lowering l;
  l.out_f32 = true;  // fp16 counts to 2048 only
  Dispatch d;
  d.shader = l.kernel = texel ? "argmax.TEXEL=1" : "argmax";
  d.spec = {local, type_code(x.dtype), 0, 0, 0, 0, 0, 0, 0, 0, resizes(c)};
  d.push = {u32(s.n()), u32(s.h()), u32(s.w()), u32(o.h()), u32(o.w()), u32(s.c()), float_word(double(simd::resize_ratio(s.h(), o.h(), false))),
            float_word(double(simd::resize_ratio(s.w(), o.w(), false)))};
  d.groups = flat_grid(*ctx.caps, div_up(o.rows(), local));
  d.operands = {input(0, texel ? texel_kind(x.dtype) : BindKind::kStorage), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

Lowering lower_cpu(const OpCall& c, const LowerContext&) {
  Lowering l;
  l.out_f32 = true;
  l.kernel = resizes(c) ? "bilinear+argmax" : "argmax";
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  const Shape& s = c.in[0]->shape;
  simd::ArgmaxArgs a;
  a.x = call.in[0], a.ldx = c.in[0]->row_stride(), a.n = s.n(), a.h = s.h(), a.w = s.w(), a.c = s.c();
  a.out_h = c.out.shape.h(), a.out_w = c.out.shape.w(), a.out = call.out, a.ldo = c.out.row_stride();
  run_kernel(call, call.kernels->argmax, a);
}

void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  // The scores at the output's size are resize's reference.
  const Attrs attrs = attrs_of({double(c.out.shape.h()), double(c.out.shape.w()), double(simd::Interpolation::kBilinear), 0});
  OpCall resize = c;
  resize.attrs = &attrs;
  resize.out.shape.d[3] = c.in[0]->shape.c();
  std::vector<double> scores(size_t(resize.out.shape.elements()));
  op_def(OpKind::kResize).reference({&resize, r.in, &scores});
  const int64_t n = c.in[0]->shape.c();
  for (size_t i = 0; i < r.out->size(); ++i) {
    const auto first = scores.begin() + int64_t(i) * n;
    const bool finite = std::all_of(first, first + n, [](double v) { return std::isfinite(v); });
    (*r.out)[i] = finite ? double(std::max_element(first, first + n) - first) : -1;
  }
}

Cost cost(const OpCall& c) {
  return cost_of(c, (resizes(c) ? 9.0 : 1.0) * double(c.out.shape.elements()) * double(c.in[0]->shape.c()));
}
/// Of the largest score: how far below it the score of another answer may lie, because of rounding.
double tolerance(const OpCall& c) {
  return resizes(c) ? rounding_bound(4) + std::ldexp(8.0 * double(std::max(c.in[0]->shape.h(), c.in[0]->shape.w())), -24) : 0;
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
  return {make("ade20k: 32 to 128", Shape{{1, 32, 32, 150}}, 128, 128), make("voc: 16 to 61x53", Shape{{1, 16, 16, 21}}, 61, 53),
          make("the same size", Shape{{2, 9, 7, 19}}, 0, 0), make("smaller", Shape{{1, 12, 10, 5}}, 5, 3), make("one class", Shape{{1, 3, 4, 1}}, 7, 5)};
}

}  // namespace

extern const OpDef kArgmaxOp;
const OpDef kArgmaxOp = {"argmax", kAttrs, infer, lower, lower_cpu, cpu, reference, cost, tolerance, cases};

}  // namespace vireo
