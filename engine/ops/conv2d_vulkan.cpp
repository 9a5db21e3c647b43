// The Vulkan kernels of conv2d: conv2d.depthwise, conv2d.tile, conv2d.direct, and conv2d.half of weights in fp16 and
// codes.
#include "ops/common.h"
#include "ops/conv2d.h"
#include "ops/linear.h"

namespace vireo {
namespace {
using namespace ops;
using namespace conv2d;

Result<Lowering> lower_depthwise(const OpCall& c, const LowerContext& ctx) {
  const Geometry g = geometry(c);
  const TensorDesc& x = *c.in[kX];
  const bool bias = c.input(kBias) != nullptr;
  Lowering l = depthwise_consts(c, g);
  const bool texel = ctx.tuning->texel && texel_fits(*ctx.caps, x.bytes(), x.dtype) &&
                     texel_fits(*ctx.caps, l.consts[0].bytes, DType::kF32);
  // Neighbouring outputs share what they read of a line as far as it stays in registers.
  const uint32_t local = 64, pixels = g.reach_w() + 3 * g.sw <= 12 ? 4 : 1;
  Dispatch d;
  d.shader = texel ? "conv2d.depthwise.TEXEL=1" : "conv2d.depthwise";
  d.spec = {{"LX", local},     {"OUT_TYPE", type_code(c.out.dtype)},
            {"BIAS", bias},    {"ACT", u32(c.iattr(kAct))},
            {"PX", pixels},    {"PADDED", g.ph > 0 || g.pw > 0},
            {"KH", u32(g.kh)}, {"KW", u32(g.kw)},
            {"SH", u32(g.sh)}, {"SW", u32(g.sw)},
            {"DH", u32(g.dh)}, {"DW", u32(g.dw)}};
  if (!texel) d.spec.add("IN_TYPE", type_code(x.dtype));
  const int64_t c4 = groups4(g.cin), blocks = div_up(g.ow, pixels);
  d.push = {{"B", u32(x.shape.n())},    {"IH", u32(x.shape.h())},
            {"IW", u32(x.shape.w())},   {"OH", u32(g.oh)},
            {"OW", u32(g.ow)},          {"c4", u32(c4)},
            {"pad_h", u32(g.ph)},       {"pad_w", u32(g.pw)},
            {"i_ld4", u32(stride4(x))}, {"o_ld4", u32(stride4(c.out))}};
  d.groups = flat_grid(*ctx.caps, div_up(x.shape.n() * g.oh * blocks * c4, local));
  d.operands = {input(kX, texel ? texel_kind(x.dtype) : BindKind::kStorage),
                constant(0, texel ? BindKind::kTexelF32 : BindKind::kStorage), bias ? constant(1) : dummy(), output()};
  l.kernel = fmt::format("{} p{}", d.shader, pixels);
  l.dispatches.push_back(std::move(d));
  return l;
}

/// What a tile makes of the convolution: its channels in whole steps of bk for every tap. Of a planar picture K has no
/// padding.
linear::TileWork tile_work(const KernelDef& k, const LinearTile& tile, const Geometry& g, const LowerContext& ctx,
                           int64_t rows) {
  const int64_t columns = g.planar ? round_up(g.cin * g.kh * g.kw, 4) : g.kh * g.kw * round_up(g.cin, tile.bk);
  return linear::tile_work(tile, k.rate == Rate::kHalf, *ctx.tuning, *ctx.caps, rows, g.cout, columns);
}

/// Whether a planar picture is read in whole groups of four.
bool by_fours(const OpCall& c, const Geometry& g) {
  return g.planar && c.in[kX]->shape.w() % 4 == 0 && g.kw % 4 == 0 && g.sw % 4 == 0 && g.pw % 4 == 0 && g.dw == 1;
}
int64_t direct_k(const Geometry& g) { return g.planar ? g.cin * g.kh * g.kw : round_up(g.cin, 4) * g.kh * g.kw; }
/// Whether conv2d.direct reads texels: a class that does, and views that fit.
bool reads_texels(const OpCall& c, const Geometry& g, const LowerContext& ctx) {
  const Format format = gpu_weight_format(*c.in[kWeight], *c.in[kX]);
  const TensorDesc& x = *c.in[kX];
  const uint64_t weights = uint64_t(round_up(direct_k(g), 4) * groups4(g.cout) * 4) * dtype_size(format.dtype);
  return ctx.tuning->texel && (!g.planar || by_fours(c, g)) && texel_codes(format) &&
         texel_fits(*ctx.caps, x.bytes(), x.dtype) && texel_fits(*ctx.caps, weights, format.dtype);
}

/// The kernel's tile of least cost, or null.
const Constants* choose_tile(const KernelDef& k, const OpCall& c, const LowerContext& ctx, double* cost = nullptr) {
  const Geometry g = geometry(c);
  const Constants* best = nullptr;
  double least = 0;
  for (const Constants& tile : ctx.tuning->of(k.name)) {
    const linear::TileWork w = tile_work(k, linear::tile_of(tile), g, ctx, c.out.shape.rows());
    if (w.legal && (!best || w.cost < least)) best = &tile, least = w.cost;
  }
  if (cost) *cost = least;
  return best;
}

Result<void> tiles_accept(const KernelDef& k, const OpCall& c, const LowerContext& ctx) {
  VIREO_TRY(dense_accepts(c, ctx));
  const Geometry g = geometry(c);
  if (g.planar && ctx.tuning->texel)
    return fail(ErrorCode::kUnsupported, "devices of this class read the planar picture as conv2d.direct does");
  if (g.planar && c.in[kX]->dtype != DType::kF32)
    return fail(ErrorCode::kUnsupported, "it reads planar pictures in fp32");
  // Rows are windows whose lines and columns have a bit each, which nobody asks where a planar picture has no padding.
  const int64_t columns = by_fours(c, g) ? g.kw / 4 : g.kw;
  if ((g.kh > 16 || columns > 16) && !(g.planar && g.ph == 0 && g.pw == 0))
    return fail(ErrorCode::kUnsupported, "kernels have at most 16x16 taps");
  if (choose_tile(k, c, ctx)) return {};
  return fail(ErrorCode::kUnsupported, "no tile of the class fits {} bytes of shared memory and {} invocations",
              ctx.caps->max_shared_bytes, ctx.caps->max_workgroup_invocations);
}

Result<Lowering> lower_tiles(const KernelDef& kernel, const OpCall& c, const LowerContext& ctx) {
  const Geometry g = geometry(c);
  const Constants* chosen = choose_tile(kernel, c, ctx);
  if (!chosen) return fail(ErrorCode::kUnsupported, "no tile");  // tiles_accept() has the words
  const LinearTile q = linear::tile_of(*chosen);
  const Tuning& t = *ctx.tuning;
  const Format format = gpu_weight_format(*c.in[kWeight], *c.in[kX]);
  const DType w = format.dtype;
  const TensorDesc& x = *c.in[kX];
  // A planar picture is one tap, whose channels are its elements.
  const int64_t taps = g.planar ? 1 : g.kh * g.kw, channels = g.planar ? g.cin * g.kh * g.kw : g.cin;
  const int64_t c4 = groups4(channels), k = c4 * 4 * taps, m = c.out.shape.rows(), n4 = groups4(g.cout);
  // Columns of a planar picture are counted in groups where it is read in groups.
  const int64_t unit = by_fours(c, g) ? 4 : 1;
  const linear::TileWork whole = tile_work(kernel, q, g, ctx, m);
  Lowering l;
  // Behind the last tap a step reads on as far as its channels are padded.
  l.consts.push_back(
      gpu_matrix(kWeight, g.cout, k, format, q.bn, whole.slack + (round_up(channels, q.bk) - c4 * 4) * q.bn / 4));
  set_order(l.consts[0], g, true);
  const bool bias = c.input(kBias) != nullptr;
  if (bias) l.consts.push_back(vector_const(kBias, g.cout));
  Dispatch d;
  d.shader = kernel.rate == Rate::kHalf ? "conv2d.half" : kernel.name;
  d.spec = {{"LX", whole.lx},
            {"W_TYPE", type_code(w)},
            {"OUT_TYPE", type_code(c.out.dtype)},
            {"RES_TYPE", 0},
            {"ACT", u32(c.iattr(kAct))},
            {"BIAS", bias},
            {"COLSCALE", false},
            {"RESIDUAL", false},
            {"BM", q.bm},
            {"BN", q.bn},
            {"BK", q.bk},
            {"TM", q.tm},
            {"SKIP_ROWS", t.skip_rows && m % q.bm != 0},
            {"IH", u32(x.shape.h())},
            {"IW", u32(x.shape.w() / unit)},
            {"C4", u32(c4)},
            {"OH", u32(g.oh)},
            {"OW", u32(g.ow)},
            {"KH", u32(g.kh)},
            {"KW", u32(g.kw / unit)},
            {"SH", u32(g.sh)},
            {"SW", u32(g.sw / unit)},
            {"PH", u32(g.ph)},
            {"PW", u32(g.pw / unit)},
            {"DH", u32(g.dh)},
            {"DW", u32(g.dw)},
            {"I_LD4", g.planar ? 0 : u32(stride4(x))},
            {"PLANAR", g.planar ? unit == 4 ? 2u : 1u : 0u},
            {"PLANES", g.planar ? u32(g.cin) : 1u}};
  if (kernel.rate != Rate::kHalf) d.spec.add({{"IN_TYPE", type_code(x.dtype)}, {"TN", q.tn}});
  d.push = {{"M", u32(m)},      {"N", u32(g.cout)}, {"K", u32(k)}, {"a_ld4", 0}, {"o_ld4", u32(stride4(c.out))},
            {"r_ld4", u32(n4)}, {"a_off4", 0},      {"eps", 0}};
  d.operands = {input(kX), constant(0), w == DType::kI8 ? scales(0) : dummy(), bias ? constant(1) : dummy(), dummy(),
                dummy(),   output()};
  d.groups[1] = u32(div_up(g.cout, q.bn));
  const uint32_t products = q.tm * q.tn * q.bk / (kernel.rate == Rate::kHalf ? 2 : 1);
  d.work.loops = {{u32(taps * div_up(c4 * 4, q.bk)), products}, {u32(taps), 0}};
  l.constants = *chosen;
  l.kernel = fmt::format("{} {}x{}x{}, weights in panels of {}", d.shader, q.bm, q.bn, q.bk, q.bn);
  const double row_flops = 2.0 * double(g.cout) * double(c.in[kWeight]->shape.c());
  const auto issued = [&](int64_t rows) { return tile_work(kernel, q, g, ctx, rows).issued_flops; };
  VIREO_TRY(cut_rows(c, ctx, d, m, q.bm, row_flops, issued, &l));
  return l;
}

/// Without a tile, or with texels, whose class costs less by them than by anything else.
double direct_cost(const OpCall& c, const LowerContext& ctx) {
  return reads_texels(c, geometry(c), ctx) ? 0 : kLastResort;
}

Result<void> direct_accepts(const OpCall& c, const LowerContext& ctx) {
  VIREO_TRY(dense_accepts(c, ctx));
  if (!ctx.tuning->of("conv2d.direct").empty()) return {};
  return fail(ErrorCode::kUnsupported, "the tuning wants another kernel");
}

Result<Lowering> lower_direct(const OpCall& c, const LowerContext& ctx) {
  const Geometry g = geometry(c);
  const Tuning& t = *ctx.tuning;
  const Constants& chosen = t.of("conv2d.direct")[0];
  const uint32_t per_thread = chosen[2];
  const Format format = gpu_weight_format(*c.in[kWeight], *c.in[kX]);
  const DType w = format.dtype;
  const TensorDesc& x = *c.in[kX];
  const int64_t k = direct_k(g), m = c.out.shape.rows(), n4 = groups4(g.cout);
  const bool by4 = by_fours(c, g), texel = reads_texels(c, g, ctx);
  Lowering l;
  l.consts.push_back(gpu_matrix(kWeight, g.cout, k, format));
  set_order(l.consts[0], g, true);
  const bool bias = c.input(kBias) != nullptr;
  if (bias) l.consts.push_back(vector_const(kBias, g.cout));

  Dispatch d;
  d.shader = texel ? "conv2d.TEXEL=1" : "conv2d";
  const uint32_t lx = u32(std::min<int64_t>(chosen[0], n4));
  // Invocations that few channels leave over take further pixels: a subgroup that is half empty issues as much as a
  // full one.
  const uint32_t ly = chosen[1] * std::max(1u, chosen[0] / lx);
  d.spec = {{"LX", lx},
            {"W_TYPE", type_code(w)},
            {"OUT_TYPE", type_code(c.out.dtype)},
            {"RES_TYPE", 0},
            {"ACT", u32(c.iattr(kAct))},
            {"BIAS", bias},
            {"COLSCALE", false},
            {"RESIDUAL", false},
            {"R", per_thread},
            {"PLANAR", by4        ? 2u
                       : g.planar ? 1u
                                  : 0u},
            {"LY", ly},
            {"PADDED", g.ph > 0 || g.pw > 0}};
  if (!texel) d.spec.add("IN_TYPE", type_code(x.dtype));
  d.push = {{"M", u32(m)},
            {"N", u32(g.cout)},
            {"IC", u32(g.cin)},
            {"IH", u32(x.shape.h())},
            {"IW", u32(x.shape.w())},
            {"OH", u32(g.oh)},
            {"OW", u32(g.ow)},
            {"KH", u32(g.kh)},
            {"KW", u32(g.kw)},
            {"stride_h", u32(g.sh)},
            {"stride_w", u32(g.sw)},
            {"pad_h", u32(g.ph)},
            {"pad_w", u32(g.pw)},
            {"dil_h", u32(g.dh)},
            {"dil_w", u32(g.dw)},
            {"i_ld4", u32(g.planar ? 0 : stride4(x))},
            {"o_ld4", u32(stride4(c.out))},
            {"r_ld4", u32(n4)}};
  d.operands = {input(kX, texel ? texel_kind(x.dtype) : BindKind::kStorage),
                constant(0, texel ? texel_kind(w) : BindKind::kStorage),
                w == DType::kI8 ? scales(0) : dummy(),
                bias ? constant(1) : dummy(),
                dummy(),
                dummy(),
                output()};
  l.kernel = d.shader;
  l.constants = chosen;
  const int64_t block = int64_t(per_thread) * ly;
  const double row_flops = 2.0 * double(g.cout) * double(c.in[kWeight]->shape.c());
  d.groups[1] = u32(div_up(n4, lx));
  if (by4) d.work.loops = {{u32(g.cin * g.kh * g.kw / 4), per_thread * 16}, {u32(g.cin * g.kh), 0}, {u32(g.cin), 0}};
  const auto issued = [&](int64_t rows) {
    return 2.0 * double(k) * double(round_up(rows, block)) * double(d.groups[1] * lx * 4);
  };
  VIREO_TRY(cut_rows(c, ctx, d, m, block, row_flops, issued, &l));
  return l;
}

// ---- constants

constexpr const char* kTileNames[] = {"bm", "bn", "bk", "tm", "tn", nullptr};

std::vector<Constants> tile_defaults(const DeviceCaps& caps) {
  switch (caps.device_class) {
    case DeviceClass::kMaxwell:
      // A window's addresses take registers that a row's do not: beside sums of 128 columns NAK moves some of them
      // every trip. 104 rows as in linear.tile, for the patches of a ViT.
      return {{128, 64, 16, 8, 8}, {104, 96, 16, 8, 8}, {64, 96, 16, 8, 8}, {64, 64, 16, 8, 8},
              {32, 160, 16, 4, 8}, {32, 64, 16, 4, 8},  {64, 16, 16, 4, 4}, {16, 32, 16, 4, 4}};
    case DeviceClass::kMali:
    case DeviceClass::kAdreno:
    case DeviceClass::kV3d: return {{32, 64, 16, 4, 8}, {16, 32, 16, 4, 4}};
    default: return {{64, 128, 16, 8, 8}, {64, 64, 16, 8, 8}, {32, 64, 16, 4, 8}, {16, 32, 16, 4, 4}};
  }
}

void tile_candidates(const DeviceCaps& caps, const std::function<void(std::string)>& add) {
  for (uint32_t bm : {32, 64, 104, 128})
    for (uint32_t bn : {32, 64, 96, 128})
      for (uint32_t tm : {4, 8}) {
        const uint32_t lx = bm / tm * (bn / 8);
        if (lx >= 32 && lx <= 512 && lx <= caps.max_workgroup_invocations)
          add(fmt::format("texel=0 conv_tile={},{},16,{},8", bm, bn, tm));
      }
}

constexpr ConstantsDef kTileConstants = {"conv_tile", kTileNames, linear::tile_legal, tile_defaults, tile_candidates};

bool half_legal(const Constants& c) { return linear::half_legal(linear::tile_of(c)); }

std::vector<Constants> half_defaults(const DeviceCaps& caps) {
  if (caps.device_class != DeviceClass::kMaxwell) return {};
  // Of bk, 48 divides the channels of MobileViT, 32 the powers of two; 168 rows make 8 subgroups of 96 columns.
  return {{128, 128, 48, 8, 8}, {128, 128, 32, 8, 8}, {168, 96, 48, 8, 8}, {168, 96, 32, 8, 8}, {128, 64, 32, 8, 8},
          {64, 160, 32, 8, 8},  {64, 64, 32, 8, 8},   {32, 160, 32, 4, 8}, {128, 32, 16, 8, 8}};
}

void half_candidates(const DeviceCaps& caps, const std::function<void(std::string)>& add) {
  if (!caps.shader_float16) return;
  for (uint32_t bm : {64, 128, 256})
    for (uint32_t bn : {8, 32, 64, 96, 128, 160})
      for (uint32_t bk : {16, 32, 48}) {
        const uint32_t lx = bm / 8 * (bn / 8);
        if (lx >= 32 && lx <= 512 && lx <= caps.max_workgroup_invocations)
          add(fmt::format("texel=0 conv_half={},{},{},8,8", bm, bn, bk));
      }
}

constexpr ConstantsDef kHalfConstants = {"conv_half", kTileNames, half_legal, half_defaults, half_candidates};

void codes_candidates(const DeviceCaps& caps, const std::function<void(std::string)>& add) {
  half_candidates(caps, [&add](std::string use) { add(use.replace(use.find("conv_half"), 9, "conv_half_codes")); });
}

constexpr ConstantsDef kCodesConstants = {"conv_half_codes", kTileNames, half_legal, half_defaults, codes_candidates};

constexpr const char* kDirectNames[] = {"lx", "ly", "r", nullptr};

bool direct_legal(const Constants& c) { return c[2] <= 16; }

std::vector<Constants> direct_defaults(const DeviceCaps& caps) {
  if (caps.device_class == DeviceClass::kMaxwell) return {{16, 4, 7}};   // 196 patches are 7 * 28
  if (caps.device_class == DeviceClass::kSoftware) return {{8, 1, 14}};  // a subgroup; weights are fetched the least
  return {{16, 4, 4}};
}

void direct_candidates(const DeviceCaps&, const std::function<void(std::string)>& add) {
  for (uint32_t texel : {0, 1})
    for (uint32_t lx : {4, 8, 16, 32})
      for (uint32_t ly : {1, 2, 4, 8})
        for (uint32_t r : {2, 4, 7, 8, 14}) add(fmt::format("texel={} conv={},{},{}", texel, lx, ly, r));
}

constexpr ConstantsDef kDirectConstants = {"conv", kDirectNames, direct_legal, direct_defaults, direct_candidates};

}  // namespace

extern const KernelDef kConvDepthwise, kConvTile, kConvDirect, kConvHalf, kConvHalfCodes;

namespace {

Result<void> tile_accepts(const OpCall& c, const LowerContext& ctx) { return tiles_accept(kConvTile, c, ctx); }
double tile_cost(const OpCall& c, const LowerContext& ctx) {
  double cost = 0;
  choose_tile(kConvTile, c, ctx, &cost);
  return cost;
}
Result<Lowering> lower_tile(const OpCall& c, const LowerContext& ctx) { return lower_tiles(kConvTile, c, ctx); }

Result<void> halves_accept(const KernelDef& k, const OpCall& c, const LowerContext& ctx, DType weights,
                           const char* described) {
  if (!ctx.caps->shader_float16) return fail(ErrorCode::kUnsupported, "the device has no shaderFloat16");
  // The planar picture's floats are rounded to halves while they are staged, where activations are halves.
  const DType activations = geometry(c).planar ? c.out.dtype : c.in[kX]->dtype;
  if (activations != DType::kF16 || gpu_weight_format(*c.in[kWeight], *c.in[kX]).dtype != weights)
    return fail(ErrorCode::kUnsupported, "it multiplies fp16 rows, or a planar picture, by {}", described);
  if (ctx.tuning->of(k.name).empty())
    return fail(ErrorCode::kUnsupported, "devices of this class multiply fp32 no slower, or its accuracy check failed");
  return tiles_accept(k, c, ctx);
}
double cost_of_tiles(const KernelDef& k, const OpCall& c, const LowerContext& ctx) {
  double cost = 0;
  choose_tile(k, c, ctx, &cost);
  return cost;
}

Result<void> half_accepts(const OpCall& c, const LowerContext& ctx) {
  return halves_accept(kConvHalf, c, ctx, DType::kF16, "fp16 weights");
}
double half_cost(const OpCall& c, const LowerContext& ctx) { return cost_of_tiles(kConvHalf, c, ctx); }
Result<Lowering> lower_half(const OpCall& c, const LowerContext& ctx) { return lower_tiles(kConvHalf, c, ctx); }

Result<void> codes_accept(const OpCall& c, const LowerContext& ctx) {
  return halves_accept(kConvHalfCodes, c, ctx, DType::kI8, "codes with a scale per row");
}
double codes_cost(const OpCall& c, const LowerContext& ctx) { return cost_of_tiles(kConvHalfCodes, c, ctx); }
Result<Lowering> lower_codes(const OpCall& c, const LowerContext& ctx) { return lower_tiles(kConvHalfCodes, c, ctx); }

double half_error(const Constants& c) { return linear::half_error(linear::tile_of(c).bk); }

/// Windows over the edges, pixels and columns beyond those of a tile, and channels that are not whole steps.
SelfTest half_self_test(const Constants& c) {
  const LinearTile t = linear::tile_of(c);
  const int64_t cin = t.bk + 4, cout = t.bn + 4;
  SelfTest test;
  test.what.label = "convolution";
  test.what.in = {Shape{{1, 9, int64_t(t.bm) / 8 + 1, cin}}, Shape{{1, 1, cout, cin * 9}}, Shape{{1, 1, 1, cout}}};
  test.what.constant = {false, true, true};
  test.what.attrs = attrs_of({3, 3, 1, 1, 1, 1, 0, 1, 1, 1});
  return test;
}
SelfTest codes_self_test(const Constants& c) {
  SelfTest test = half_self_test(c);
  test.weights = "i8";
  return test;
}

}  // namespace

const KernelDef kConvDepthwise = {"conv2d.depthwise", OpKind::kConv2d, DeviceKind::kVulkan,
                                  depthwise_accepts,  lower_depthwise, nullptr};
const KernelDef kConvTile = {"conv2d.tile", OpKind::kConv2d, DeviceKind::kVulkan, tile_accepts,
                             lower_tile,    nullptr,         tile_cost,           &kTileConstants};
const KernelDef kConvHalf = {"conv2d.half", OpKind::kConv2d, DeviceKind::kVulkan, half_accepts, lower_half,
                             nullptr,       half_cost,       &kHalfConstants,     Rate::kHalf,  1,
                             half_error,    half_self_test};
const KernelDef kConvHalfCodes = {"conv2d.half.codes",
                                  OpKind::kConv2d,
                                  DeviceKind::kVulkan,
                                  codes_accept,
                                  lower_codes,
                                  nullptr,
                                  codes_cost,
                                  &kCodesConstants,
                                  Rate::kHalf,
                                  1,
                                  half_error,
                                  codes_self_test,
                                  nullptr,
                                  true};
const KernelDef kConvDirect = {"conv2d.direct", OpKind::kConv2d, DeviceKind::kVulkan, direct_accepts,
                               lower_direct,    nullptr,         direct_cost,         &kDirectConstants};

}  // namespace vireo
