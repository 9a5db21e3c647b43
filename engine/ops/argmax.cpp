// argmax: per pixel the number of the largest channel, the first of equals: [n, h, w, c] -> [n, h, w, 1]. With out_h
// and out_w the channels are resized first, bilinearly without aligned corners, so that full-size scores are never
// stored; with mid_h and mid_w they are brought to that size and from there to the output's. A map's height and width
// may be chosen anew for every inference (sized).
#include <algorithm>
#include <cmath>

#include "ops/common.h"
#include "simd/interpolate.h"

namespace vireo {
namespace {
using namespace ops;

enum Attr { kOutH, kOutW, kMidH, kMidW };
constexpr AttrDef kAttrs[] = {{"out_h", 0}, {"out_w", 0}, {"mid_h", 0}, {"mid_w", 0}, {nullptr, 0}};

/// The sizes that the scores go through.
struct Sizes {
  int64_t h, w, mid_h, mid_w, out_h, out_w;
  bool resizes() const { return h != out_h || w != out_w || h != mid_h || w != mid_w; }
};
Sizes sizes(const OpCall& c, int64_t out_h, int64_t out_w) {
  const Shape& s = c.in[0]->shape;
  return {s.h(), s.w(), c.iattr(kMidH) ? c.iattr(kMidH) : out_h, c.iattr(kMidW) ? c.iattr(kMidW) : out_w, out_h, out_w};
}
Sizes sizes(const OpCall& c) { return sizes(c, c.out.shape.h(), c.out.shape.w()); }

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(0)) return shape_error(c, "operand", "missing", "an input");
  const Shape& s = c.in[0]->shape;
  const int64_t h = c.iattr(kOutH), w = c.iattr(kOutW), mid_h = c.iattr(kMidH), mid_w = c.iattr(kMidW);
  const auto bad = [](int64_t y, int64_t x) { return y < 0 || x < 0 || (y == 0) != (x == 0); };
  if (bad(h, w) || bad(mid_h, mid_w) || c.in[0]->layout != Layout::kRows)
    return shape_error(c, "size", fmt::format("{}x{} by way of {}x{}", h, w, mid_h, mid_w),
                       "two positive numbers, or 0x0 for the input's and for no way, of rows");
  TensorDesc out;
  out.shape = Shape{{s.n(), h ? h : s.h(), w ? w : s.w(), 1}};
  return out;
}

/// How many positions along an axis have a part in one of the output's, at most. Where the way's end has twice as many
/// as its beginning, neighbours there share one of theirs whatever the rounding.
uint32_t taps(int64_t in, int64_t mid, int64_t out) { return mid == out || mid == in ? 2 : 2 * in <= mid ? 3 : 4; }

constexpr uint32_t kLocal = 64, kPixels = 4;  // invocations of a workgroup; pixels of an invocation

Dispatch dispatch(const OpCall& c, const LowerContext& ctx, const Sizes& z, uint32_t taps, bool dense, int64_t first,
                  int64_t count) {
  const TensorDesc& x = *c.in[0];
  const bool texel = ctx.tuning->texel && texel_fits(*ctx.caps, x.bytes(), x.dtype);
  const auto ratio = [](int64_t in, int64_t out) { return float_word(double(simd::resize_ratio(in, out, false))); };
  Dispatch d;
  d.shader = texel ? "argmax.TEXEL=1" : "argmax";
  d.spec = {{"LX", kLocal}, {"TAPS", taps}, {"DENSE", dense}};
  if (!texel) d.spec.add("IN_TYPE", type_code(x.dtype));
  d.push = {{"first", u32(first)},
            {"count", u32(count)},
            {"IH", u32(z.h)},
            {"IW", u32(z.w)},
            {"MH", u32(z.mid_h)},
            {"MW", u32(z.mid_w)},
            {"OH", u32(z.out_h)},
            {"OW", u32(z.out_w)},
            {"C", u32(x.shape.c())},
            {"ratio_h", ratio(z.h, z.mid_h)},
            {"ratio_w", ratio(z.w, z.mid_w)},
            {"mid_ratio_h", ratio(z.mid_h, z.out_h)},
            {"mid_ratio_w", ratio(z.mid_w, z.out_w)}};
  d.groups = flat_grid(*ctx.caps, div_up(count, kLocal * kPixels));
  d.operands = {input(0, texel ? texel_kind(x.dtype) : BindKind::kStorage), output()};
  return d;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const Sizes z = sizes(c);
  Lowering l;
  l.out_f32 = true;  // fp16 counts to 2048 only
  const uint32_t most = std::max(taps(z.h, z.mid_h, z.out_h), taps(z.w, z.mid_w, z.out_w));
  l.dispatches.push_back(dispatch(c, ctx, z, z.resizes() ? most : 1, false, 0, c.out.shape.rows()));
  l.kernel = l.dispatches[0].shader;
  return l;
}

double flops_per_pixel(const OpCall& c, double taps) {
  return (taps > 1 ? 2 * taps * taps + 1 : 1) * double(c.in[0]->shape.c());
}

Result<std::vector<SizedDispatch>> sized(const OpCall& c, const LowerContext& ctx, int64_t h, int64_t w) {
  const Sizes z = sizes(c, h, w);
  // Of the plan, not of the size, so that one pipeline serves them all.
  const bool way = c.iattr(kMidH) != 0;
  const uint32_t most = way ? std::max(taps(z.h, z.mid_h, -1), taps(z.w, z.mid_w, -1)) : 2;
  const int64_t pixels = c.in[0]->shape.n() * h * w;
  const double work = std::min(double(pixels), ctx.tuning->max_dispatch_flops / flops_per_pixel(c, most));
  const double room = double(ctx.caps->max_storage_range) / sizeof(float);
  const double grid = double(ctx.caps->max_workgroup_count[0]) * ctx.caps->max_workgroup_count[1] * kLocal * kPixels;
  const int64_t step = 64;  // 256 bytes, of which every device takes multiples as offsets
  const int64_t each = std::max<int64_t>(int64_t(std::min({work, room, grid})) / step * step, step);
  std::vector<SizedDispatch> all;
  for (int64_t first = 0; first < pixels; first += each) {
    const int64_t count = std::min(each, pixels - first);
    all.push_back({dispatch(c, ctx, z, most, true, first, count), uint64_t(first) * sizeof(float),
                   uint64_t(count) * sizeof(float)});
  }
  return all;
}

simd::ArgmaxArgs kernel_args(const OpCall& c, const Sizes& z) {
  simd::ArgmaxArgs a;
  a.ldx = c.in[0]->row_stride(), a.n = c.in[0]->shape.n(), a.h = z.h, a.w = z.w, a.c = c.in[0]->shape.c();
  a.mid_h = z.mid_h, a.mid_w = z.mid_w, a.out_h = z.out_h, a.out_w = z.out_w;
  return a;
}

Result<Lowering> lower_cpu(const OpCall& c, const LowerContext& ctx) {
  Lowering l;
  l.out_f32 = true;
  l.kernel = sizes(c).resizes() ? "bilinear+argmax" : "argmax";
  l.scratch_bytes = scratch_for(ctx, kernels_for(*ctx.caps).argmax, kernel_args(c, sizes(c)));
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  simd::ArgmaxArgs a = kernel_args(c, call.sized ? sizes(c, call.sized->h, call.sized->w) : sizes(c));
  a.x = call.rows(0);
  a.out = call.sized ? call.sized->out : call.result();
  a.ldo = call.sized ? 1 : c.out.row_stride();
  run_kernel(call, call.kernels->argmax, a);
}

void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  const Sizes z = sizes(c);
  const int64_t channels = c.in[0]->shape.c();
  // The scores at the output's size are resize's reference, twice where there is a way between.
  TensorDesc from = *c.in[0];
  std::vector<double> scores = *r.in[0];
  const auto resize = [&](int64_t h, int64_t w) {
    const Attrs attrs = attrs_of({double(h), double(w), double(simd::Interpolation::kBilinear), 0});
    OpCall call = c;
    call.attrs = &attrs;
    call.in = {&from};
    call.out.shape = Shape{{from.shape.n(), h, w, channels}};
    std::vector<double> resized(size_t(call.out.shape.elements()));
    op_def(OpKind::kResize).reference({&call, {&scores}, &resized});
    scores = std::move(resized);
    from.shape = call.out.shape;
  };
  if (c.iattr(kMidH)) resize(z.mid_h, z.mid_w);
  resize(z.out_h, z.out_w);
  for (size_t i = 0; i < r.out->size(); ++i) {
    const auto first = scores.begin() + int64_t(i) * channels;
    const bool finite = std::all_of(first, first + channels, [](double v) { return std::isfinite(v); });
    (*r.out)[i] = finite ? double(std::max_element(first, first + channels) - first) : -1;
  }
}

Cost cost(const OpCall& c) {
  const Sizes z = sizes(c);
  return cost_of(
      c, flops_per_pixel(c, z.resizes() ? std::max(taps(z.h, z.mid_h, z.out_h), taps(z.w, z.mid_w, z.out_w)) : 1) *
             double(c.out.shape.elements()));
}
/// Of the largest score: how far below it the score of another answer may lie, because of rounding.
double tolerance(const OpCall& c) {
  const Sizes z = sizes(c);
  if (!z.resizes()) return 0;
  const auto one = [](int64_t h, int64_t w) {
    return rounding_bound(4) + std::ldexp(8.0 * double(std::max(h, w)), -24);
  };
  return c.iattr(kMidH) ? one(z.h, z.w) + one(z.mid_h, z.mid_w) : one(z.h, z.w);
}

OpCase make(std::string label, Shape in, double out_h, double out_w, double mid_h = 0, double mid_w = 0) {
  OpCase o;
  o.label = std::move(label);
  o.in = {in};
  o.constant = {false};
  o.attrs = attrs_of({out_h, out_w, mid_h, mid_w});
  return o;
}
std::vector<OpCase> cases() {
  return {make("ade20k: 32 to 128", Shape{{1, 32, 32, 150}}, 128, 128),
          make("voc: 16 to 61x53", Shape{{1, 16, 16, 21}}, 61, 53),
          make("the same size", Shape{{2, 9, 7, 19}}, 0, 0),
          make("smaller", Shape{{1, 12, 10, 5}}, 5, 3),
          make("one class", Shape{{1, 3, 4, 1}}, 7, 5),
          make("ade20k: 32 to 128, and to a picture", Shape{{1, 32, 32, 150}}, 97, 171, 128, 128),
          make("way of the output's size", Shape{{2, 12, 16, 3}}, 48, 64, 48, 64),
          make("way of the input's size", Shape{{1, 12, 16, 21}}, 31, 45, 12, 16),
          make("to a smaller picture", Shape{{2, 12, 16, 6}}, 17, 9, 48, 64),
          make("to one pixel", Shape{{1, 12, 16, 7}}, 1, 1, 48, 64),
          make("from one pixel", Shape{{1, 1, 1, 5}}, 6, 7, 4, 3),
          make("a way that hardly widens", Shape{{1, 13, 11, 9}}, 29, 31, 17, 19),
          make("a way that narrows", Shape{{1, 23, 29, 9}}, 19, 31, 11, 7)};
}

}  // namespace

extern const OpDef kArgmaxOp;
const OpDef kArgmaxOp = {"argmax", kAttrs, infer, reference, cost, tolerance, cases, {}, sized};

extern const KernelDef kArgmaxVulkan, kArgmaxCpu;
const KernelDef kArgmaxVulkan = vulkan_kernel("argmax", OpKind::kArgmax, lower);
const KernelDef kArgmaxCpu = cpu_kernel("argmax.simd", OpKind::kArgmax, lower_cpu, cpu);

}  // namespace vireo
