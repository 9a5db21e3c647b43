// conv2d.depthwise.half: depthwise convolution of fp16 rows in packed fp16 arithmetic.
#include "ops/common.h"
#include "ops/conv2d.h"
#include "ops/linear.h"

namespace vireo {
namespace {
using namespace ops;
using namespace conv2d;

constexpr int64_t kMostTaps = 25;  // whose products are added in fp16
constexpr int64_t kInvocations = 64;

/// Of the picture, what a block of px x py outputs reads.
struct Block {
  Block(const Constants& c, const Geometry& g)
      : px(c[0]), py(c[1]), span((px - 1) * g.sw + g.reach_w()), lines((py - 1) * g.sh + g.reach_h()) {}
  int64_t px, py, span, lines;
  /// Words of 32 bits: a line's pixels, the sums, the weights, and what else compilers hold.
  int64_t registers(const Geometry& g) const { return 4 * (span + px * py + g.kh * g.kw) + 4; }
  int64_t blocks(const Geometry& g) const { return div_up(g.ow, px) * div_up(g.oh, py); }
};

/// The block that reads least for the map, of those that leave a core subgroups enough to hide memory's latency: by
/// their registers, and by their number. Null if none fits.
const Constants* choose(const OpCall& call, const Geometry& g, const LowerContext& ctx) {
  constexpr int64_t kEnough = 16 * 32;  // invocations of a core
  const auto& machine = ctx.tuning->machine;
  const Constants* best = nullptr;
  double least = 0;
  for (const Constants& c : ctx.tuning->of("conv2d.depthwise.half")) {
    const Block b(c, g);
    if (b.registers(g) * kEnough > int64_t(machine.registers)) continue;
    const double invocations = double(call.in[kX]->shape.n() * b.blocks(g) * (g.cin / 8));
    const double reads =
        double(b.blocks(g) * b.span * b.lines) * std::max(1.0, double(kEnough) * double(machine.cores) / invocations);
    if (!best || reads < least) best = &c, least = reads;
  }
  return best;
}

Result<void> accepts(const OpCall& c, const LowerContext& ctx) {
  VIREO_TRY(depthwise_accepts(c, ctx));
  const Geometry g = geometry(c);
  if (!ctx.caps->shader_float16) return fail(ErrorCode::kUnsupported, "the device has no shaderFloat16");
  if (c.in[kX]->dtype != DType::kF16) return fail(ErrorCode::kUnsupported, "it multiplies fp16 rows");
  if (c.in[kWeight]->dtype == DType::kF32) return fail(ErrorCode::kUnsupported, "the policy keeps the weights fp32");
  if (g.cin % 8 != 0 || c.in[kX]->row_stride() % 8 != 0 || c.out.row_stride() % 8 != 0)
    return fail(ErrorCode::kUnsupported, "it takes channels in groups of 8");
  if (g.kh * g.kw > kMostTaps)
    return fail(ErrorCode::kUnsupported, "more than {} products are no sum for fp16", int(kMostTaps));
  if (ctx.tuning->of("conv2d.depthwise.half").empty())
    return fail(ErrorCode::kUnsupported, "devices of this class multiply fp32 no slower, or its accuracy check failed");
  if (choose(c, g, ctx)) return {};
  return fail(ErrorCode::kUnsupported, "no block of the class leaves registers for enough subgroups");
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const Geometry g = geometry(c);
  const Constants* chosen = choose(c, g, ctx);
  if (!chosen) return fail(ErrorCode::kUnsupported, "no block");  // accepts() has the words
  const Block b(*chosen, g);
  const TensorDesc& x = *c.in[kX];
  const bool bias = c.input(kBias) != nullptr;
  Lowering l;
  l.consts.push_back(gpu_matrix(kWeight, g.cout, g.kh * g.kw, {DType::kF16, {}}));
  if (bias) l.consts.push_back(vector_const(kBias, g.cout));
  Dispatch d;
  d.shader = "conv2d.depthwise.half";
  d.spec = {{"LX", u32(kInvocations)},
            {"OUT_TYPE", type_code(c.out.dtype)},
            {"BIAS", bias},
            {"ACT", u32(c.iattr(kAct))},
            {"PX", u32(b.px)},
            {"PY", u32(b.py)},
            {"KH", u32(g.kh)},
            {"KW", u32(g.kw)},
            {"SH", u32(g.sh)},
            {"SW", u32(g.sw)},
            {"DH", u32(g.dh)},
            {"DW", u32(g.dw)},
            {"IH", u32(x.shape.h())},
            {"IW", u32(x.shape.w())},
            {"OH", u32(g.oh)},
            {"OW", u32(g.ow)},
            {"PH", u32(g.ph)},
            {"PW", u32(g.pw)}};
  const int64_t c8 = g.cin / 8;
  d.push = {{"B", u32(x.shape.n())},
            {"c8", u32(c8)},
            {"i_ld8", u32(x.row_stride() / 8)},
            {"o_ld8", u32(c.out.row_stride() / 8)}};
  d.groups = flat_grid(*ctx.caps, div_up(x.shape.n() * b.blocks(g) * c8, kInvocations));
  d.operands = {input(kX), constant(0), bias ? constant(1) : dummy(), output()};
  l.kernel = fmt::format("{} p{}x{}", d.shader, b.py, b.px);
  l.constants = *chosen;
  l.dispatches.push_back(std::move(d));
  return l;
}

constexpr const char* kNames[] = {"px", "py", nullptr};

bool legal(const Constants& c) { return c[0] <= 8 && c[1] <= 8; }

std::vector<Constants> defaults(const DeviceCaps& caps) {
  if (caps.device_class != DeviceClass::kMaxwell) return {};
  return {{4, 4}, {4, 3}, {4, 2}, {4, 1}, {2, 1}, {1, 1}};
}

void candidates(const DeviceCaps& caps, const std::function<void(std::string)>& add) {
  if (!caps.shader_float16) return;
  for (uint32_t px : {1, 2, 4, 8})
    for (uint32_t py : {1, 2, 3, 4}) add(fmt::format("texel=0 conv_depthwise_half={},{}", px, py));
}

/// px, py: pixels of an invocation along a line and down.
constexpr ConstantsDef kConstants = {"conv_depthwise_half", kNames, legal, defaults, candidates};

/// linear.half's bound for sums as long as the longest that it takes; the 1 in it is the weights' rounding.
double error(const Constants&) { return linear::half_error(uint32_t(kMostTaps)); }

/// A 3x3 kernel, which every block takes, over every edge, with pixels beyond those of the last block.
SelfTest self_test(const Constants& c) {
  SelfTest test;
  test.what.label = "depthwise convolution";
  test.what.in = {Shape{{1, 2 * int64_t(c[1]) + 1, 2 * int64_t(c[0]) + 1, 24}}, Shape{{1, 1, 24, 9}},
                  Shape{{1, 1, 1, 24}}};
  test.what.constant = {false, true, true};
  test.what.attrs = attrs_of({3, 3, 1, 1, 1, 1, 0, 1, 1, 24});
  return test;
}

}  // namespace

extern const KernelDef kConvDepthwiseHalf;
const KernelDef kConvDepthwiseHalf = {"conv2d.depthwise.half",
                                      OpKind::kConv2d,
                                      DeviceKind::kVulkan,
                                      accepts,
                                      lower,
                                      nullptr,
                                      nullptr,
                                      &kConstants,
                                      Rate::kHalf,
                                      1,
                                      error,
                                      self_test};

}  // namespace vireo
