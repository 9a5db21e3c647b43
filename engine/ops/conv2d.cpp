// conv2d: y = act(conv(x, W) + bias). x is NHWC rows or the planar picture; W [cout, cin / groups * kh * kw] in
// PyTorch's order (cin, kh, kw). Output [n, oh, ow, cout], oh = (h + 2 pad - dilation (kernel - 1) - 1) / stride + 1.
// Where every channel is a group of its own (depthwise) it is an algorithm of its own; other groups become zeros in a
// dense matrix.
#include "ops/conv2d.h"

#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;
using namespace conv2d;

constexpr AttrDef kAttrs[] = {{"kernel_h", 1},   {"kernel_w", 1}, {"stride_h", 1},       {"stride_w", 1},
                              {"pad_h", 0},      {"pad_w", 0},    {"act", 0, kActNames}, {"dilation_h", 1},
                              {"dilation_w", 1}, {"groups", 1},   {nullptr, 0}};

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(kX) || !c.input(kWeight)) return shape_error(c, "operand", "missing", "an input and a weight");
  const Geometry g = geometry(c);
  if (g.kh < 1 || g.kw < 1 || g.sh < 1 || g.sw < 1 || g.ph < 0 || g.pw < 0 || g.dh < 1 || g.dw < 1)
    return shape_error(
        c, "kernel",
        fmt::format("{}x{} stride {}x{} pad {}x{} dilation {}x{}", g.kh, g.kw, g.sh, g.sw, g.ph, g.pw, g.dh, g.dw),
        "positive sizes and padding of 0 or more");
  if (g.groups < 1 || g.cin % g.groups || g.cout % g.groups)
    return shape_error(c, "groups", fmt::format("{}", g.groups),
                       fmt::format("a divisor of {} input and {} output channels", g.cin, g.cout));
  if (c.in[kWeight]->shape.c() != g.cin / g.groups * g.kh * g.kw)
    return shape_error(c, "weight", got(c.in[kWeight]),
                       fmt::format("[.., {}] for {} channels of a group and a {}x{} kernel",
                                   g.cin / g.groups * g.kh * g.kw, g.cin / g.groups, g.kh, g.kw));
  if (c.in[kX]->shape.h() + 2 * g.ph < g.reach_h() || c.in[kX]->shape.w() + 2 * g.pw < g.reach_w())
    return shape_error(c, "input", got(c.in[kX]),
                       fmt::format("at least {}x{} pixels with its padding", g.reach_h(), g.reach_w()));
  if (g.cout < 1) return shape_error(c, "weight", got(c.in[kWeight]), "at least one output channel");
  if (c.input(kBias) && !is_vector(c.in[kBias], g.cout))
    return shape_error(c, "bias", got(c.in[kBias]), fmt::format("{} values", g.cout));
  TensorDesc out;
  out.shape = Shape{{c.in[kX]->shape.n(), g.oh, g.ow, g.cout}};
  return out;
}

void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  const Geometry g = geometry(c);
  const Shape in = c.in[kX]->shape, out = c.out.shape;
  const int64_t own = g.cin / g.groups;
  size_t at = 0;
  for (int64_t b = 0; b < out.n(); ++b)
    for (int64_t y = 0; y < out.h(); ++y)
      for (int64_t x = 0; x < out.w(); ++x)
        for (int64_t o = 0; o < g.cout; ++o) {
          double sum = c.input(kBias) ? (*r.in[kBias])[size_t(o)] : 0;
          const int64_t first = o / (g.cout / g.groups) * own;  // of the group's input channels
          for (int64_t i = 0; i < own; ++i)
            for (int64_t ky = 0; ky < g.kh; ++ky)
              for (int64_t kx = 0; kx < g.kw; ++kx) {
                const int64_t iy = y * g.sh - g.ph + ky * g.dh, ix = x * g.sw - g.pw + kx * g.dw;
                if (iy < 0 || ix < 0 || iy >= in.h() || ix >= in.w()) continue;
                sum += (*r.in[kX])[size_t(((b * in.h() + iy) * in.w() + ix) * g.cin + first + i)] *
                       (*r.in[kWeight])[size_t(((o * own + i) * g.kh + ky) * g.kw + kx)];
              }
          (*r.out)[at++] = act_reference(int(c.iattr(kAct)), sum);
        }
}

Cost cost(const OpCall& c) {
  return cost_of(c, 2.0 * double(c.out.shape.elements()) * double(c.in[kWeight]->shape.c()));
}

double tolerance(const OpCall& c) { return rounding_bound(c.in[kWeight]->shape.c()); }

OpCase make(std::string label, Shape in, int64_t cout, int64_t kernel, int64_t stride, int64_t pad, int act,
            bool planar, bool bias = true) {
  OpCase o;
  o.label = std::move(label);
  o.in = {in, Shape{{1, 1, cout, in.c() * kernel * kernel}}, bias ? Shape{{1, 1, 1, cout}} : Shape{{1, 1, 1, 0}}};
  o.constant = {false, true, true};
  o.attrs = attrs_of(
      {double(kernel), double(kernel), double(stride), double(stride), double(pad), double(pad), double(act), 1, 1, 1});
  o.planar = planar;
  return o;
}

OpCase make_grouped(std::string label, Shape in, int64_t cout, int64_t kernel, int64_t stride, int64_t pad, int act,
                    int64_t groups, int64_t dilation = 1) {
  OpCase o = make(std::move(label), in, cout, kernel, stride, pad, act, false);
  o.in[kWeight].d[3] /= groups;
  o.attrs[kGroups] = double(groups);
  o.attrs[kDilationH] = o.attrs[kDilationW] = double(dilation);
  return o;
}

OpCase planar(OpCase o) {
  o.planar = true;
  return o;
}

std::vector<OpCase> cases() {
  return {
      make("patches 16 of 224", Shape{{1, 224, 224, 3}}, 192, 16, 16, 0, 0, true),
      make("patches 14, batch", Shape{{2, 42, 56, 3}}, 60, 14, 14, 0, 0, true),
      make("patches 5 of 13x17, remainder", Shape{{1, 13, 17, 3}}, 7, 5, 5, 0, 0, true, false),
      make("patches 4, one channel", Shape{{3, 28, 28, 1}}, 13, 4, 4, 0, 0, true),
      make("3x3 stride 2 planar", Shape{{2, 33, 31, 3}}, 16, 3, 2, 1, 3, true),
      make("7x7 stride 2 planar", Shape{{1, 33, 30, 3}}, 70, 7, 2, 3, 3, true),
      make("8x8 stride 4 planar, padded by groups", Shape{{2, 20, 24, 2}}, 10, 8, 4, 4, 0, true),
      make("patches 32", Shape{{1, 64, 96, 3}}, 40, 32, 32, 0, 0, true),
      planar(make_grouped("dilated planar", Shape{{2, 12, 16, 3}}, 20, 3, 1, 2, 4, 1, 2)),
      make("3x3 stride 1 rows", Shape{{1, 9, 11, 16}}, 24, 3, 1, 1, 4, false),
      make("3x3 stride 2 rows, odd channels", Shape{{2, 8, 7, 5}}, 7, 3, 2, 1, 1, false),
      make("1x1 rows", Shape{{1, 6, 5, 12}}, 20, 1, 1, 0, 0, false),
      make("winograd, odd map and channels, batch", Shape{{2, 7, 9, 35}}, 45, 3, 1, 1, 4, false),
      make("winograd, no padding, a single column of tiles", Shape{{1, 37, 4, 32}}, 33, 3, 1, 0, 0, false, false),
      make("winograd, padding of 2, many channels", Shape{{1, 8, 9, 320}}, 96, 3, 1, 2, 6, false),
      make("mobilevit-s 3x3, rows of a 32x32 map", Shape{{1, 6, 32, 96}}, 96, 3, 1, 1, 3, false),
      make_grouped("dilated 3x3", Shape{{1, 9, 11, 12}}, 20, 3, 1, 2, 4, 1, 2),
      make_grouped("4 groups, odd channels each", Shape{{2, 7, 6, 12}}, 20, 3, 1, 1, 6, 4),
      make_grouped("2 groups of 8", Shape{{1, 5, 7, 16}}, 24, 3, 2, 1, 0, 2),
      make_grouped("channel multiplier", Shape{{1, 5, 6, 6}}, 12, 3, 1, 1, 0, 6),
      make_grouped("depthwise stride 2, mobilevit-s at 512", Shape{{1, 32, 256, 128}}, 128, 3, 2, 1, 3, 128),
      make_grouped("depthwise stride 1, 64x64 map", Shape{{1, 64, 64, 128}}, 128, 3, 1, 1, 3, 128),
      make_grouped("depthwise primes", Shape{{2, 13, 11, 17}}, 17, 3, 1, 1, 6, 17),
      make_grouped("depthwise 5x5 stride 2", Shape{{1, 11, 14, 20}}, 20, 5, 2, 2, 0, 20),
      make_grouped("depthwise 7x7", Shape{{1, 9, 10, 12}}, 12, 7, 1, 3, 1, 12),
      make_grouped("depthwise dilated, no padding", Shape{{1, 12, 9, 7}}, 7, 3, 1, 0, 4, 7, 3),
  };
}

}  // namespace

namespace conv2d {
using namespace ops;

Geometry geometry(const OpCall& c) {
  Geometry g{c.iattr(kKernelH),
             c.iattr(kKernelW),
             c.iattr(kStrideH),
             c.iattr(kStrideW),
             c.iattr(kPadH),
             c.iattr(kPadW),
             c.iattr(kDilationH),
             c.iattr(kDilationW),
             c.iattr(kGroups),
             c.in[kX]->shape.c(),
             c.in[kWeight]->shape.w(),
             0,
             0,
             c.in[kX]->layout == Layout::kPlanar};
  if (g.sh > 0) g.oh = (c.in[kX]->shape.h() + 2 * g.ph - g.reach_h()) / g.sh + 1;
  if (g.sw > 0) g.ow = (c.in[kX]->shape.w() + 2 * g.pw - g.reach_w()) / g.sw + 1;
  return g;
}

void set_order(PackedConst& p, const Geometry& g, bool pad_channels) {
  p.taps = int32_t(g.kh * g.kw);
  p.groups = int32_t(g.groups);
  if (g.planar) return;
  p.permute = {int32_t(g.cin), int32_t(g.kh), int32_t(g.kw)};
  p.pad_channels = pad_channels;
}

Lowering depthwise_consts(const OpCall& c, const Geometry& g) {
  Lowering l;
  l.consts.push_back(gpu_matrix(kWeight, g.cout, g.kh * g.kw, {DType::kF32, {}}));
  if (c.input(kBias)) l.consts.push_back(vector_const(kBias, g.cout));
  return l;
}

Result<void> depthwise_accepts(const OpCall& c, const LowerContext&) {
  if (geometry(c).depthwise()) return {};
  return fail(ErrorCode::kUnsupported, "not every channel is a group of its own");
}
Result<void> dense_accepts(const OpCall& c, const LowerContext&) {
  if (!geometry(c).depthwise()) return {};
  return fail(ErrorCode::kUnsupported, "every channel is a group of its own");
}

}  // namespace conv2d

extern const OpDef kConv2dOp;
const OpDef kConv2dOp = [] {
  OpDef d = {"conv2d", kAttrs,         infer, reference, cost, tolerance, cases, {true, 1u << conv2d::kX},
             nullptr,  conv2d::kWeight};
  d.slots.act = conv2d::kAct;
  d.slots.bias = conv2d::kBias;
  // A depthwise convolution reads two dozen lines at once, and suffers from rows of 1 KiB on.
  d.row_conflict = [](const Attrs& attrs, const Shape& in, const Shape& out) -> int64_t {
    return is_depthwise(int64_t(attrs[conv2d::kGroups]), in.c(), out.c()) ? 1024 : 0;
  };
  return d;
}();

}  // namespace vireo
