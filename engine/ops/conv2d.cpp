// conv2d: y = act(conv(x, W) + bias). x is NHWC rows or the planar picture; W [cout, cin / groups * kh * kw] in
// PyTorch's order (cin, kh, kw). Output [n, oh, ow, cout], oh = (h + 2 pad - dilation (kernel - 1) - 1) / stride + 1.
// Where every channel is a group of its own (depthwise) it is an algorithm of its own; other groups become zeros in a
// dense matrix.
#include "ops/common.h"
#include "ops/linear.h"

namespace vireo {
namespace {
using namespace ops;
using namespace conv2d;

constexpr AttrDef kAttrs[] = {{"kernel_h", 1},   {"kernel_w", 1}, {"stride_h", 1},       {"stride_w", 1},
                              {"pad_h", 0},      {"pad_w", 0},    {"act", 0, kActNames}, {"dilation_h", 1},
                              {"dilation_w", 1}, {"groups", 1},   {nullptr, 0}};

struct Geometry {
  int64_t kh, kw, sh, sw, ph, pw, dh, dw, groups, cin, cout, oh, ow;
  bool planar;
  bool depthwise() const { return is_depthwise(groups, cin, cout) && !planar; }
  int64_t reach_h() const { return dh * (kh - 1) + 1; }  // pixels from a kernel's first to its last row
  int64_t reach_w() const { return dw * (kw - 1) + 1; }
};

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

/// Rows of the picture are read as NHWC; the weights' rows follow.
void set_order(PackedConst& p, const Geometry& g, bool pad_channels) {
  p.taps = int32_t(g.kh * g.kw);
  p.groups = int32_t(g.groups);
  if (g.planar) return;
  p.permute = {int32_t(g.cin), int32_t(g.kh), int32_t(g.kw)};
  p.pad_channels = pad_channels;
}

/// Weights and bias of the depthwise kernels, the same on every device: fp32 [kh * kw][c].
Lowering depthwise_consts(const OpCall& c, const Geometry& g) {
  Lowering l;
  l.consts.push_back(gpu_matrix(kWeight, g.cout, g.kh * g.kw, {DType::kF32, {}}));
  if (c.input(kBias)) l.consts.push_back(vector_const(kBias, g.cout));
  return l;
}

Result<Lowering> lower_depthwise(const OpCall& c, const Geometry& g, const LowerContext& ctx) {
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

/// What a tile makes of the convolution: its channels in whole steps of bk for every tap.
linear::TileWork tile_work(const LinearTile& tile, const Geometry& g, const LowerContext& ctx, int64_t rows) {
  return linear::tile_work(tile, false, *ctx.tuning, *ctx.caps, rows, g.cout, g.kh * g.kw * round_up(g.cin, tile.bk));
}

/// The tile of least cost, or null: rows are windows whose lines and columns have a bit each.
const LinearTile* choose_tile(const OpCall& c, const Geometry& g, const LowerContext& ctx) {
  const LinearTile* best = nullptr;
  double least = 0;
  if (g.planar || g.kh > 16 || g.kw > 16) return nullptr;
  for (const LinearTile& tile : ctx.tuning->conv_tiles) {
    const linear::TileWork w = tile_work(tile, g, ctx, c.out.shape.rows());
    if (w.legal && (!best || w.cost < least)) best = &tile, least = w.cost;
  }
  return best;
}

Result<Lowering> lower_tile(const OpCall& c, const Geometry& g, const LinearTile& q, const LowerContext& ctx) {
  const Tuning& t = *ctx.tuning;
  const Format format = gpu_weight_format(*c.in[kWeight], *c.in[kX]);
  const DType w = format.dtype;
  const TensorDesc& x = *c.in[kX];
  const int64_t c4 = groups4(g.cin), taps = g.kh * g.kw, k = c4 * 4 * taps, m = c.out.shape.rows(),
                n4 = groups4(g.cout);
  const linear::TileWork whole = tile_work(q, g, ctx, m);
  Lowering l;
  // Behind the last tap a step reads on as far as its channels are padded.
  l.consts.push_back(
      gpu_matrix(kWeight, g.cout, k, format, q.bn, whole.slack + (round_up(g.cin, q.bk) - c4 * 4) * q.bn / 4));
  set_order(l.consts[0], g, true);
  const bool bias = c.input(kBias) != nullptr;
  if (bias) l.consts.push_back(vector_const(kBias, g.cout));
  Dispatch d;
  d.shader = "conv2d.tile";
  d.spec = {{"LX", whole.lx},
            {"IN_TYPE", type_code(x.dtype)},
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
            {"TN", q.tn},
            {"SKIP_ROWS", t.skip_rows && m % q.bm != 0},
            {"IH", u32(x.shape.h())},
            {"IW", u32(x.shape.w())},
            {"C4", u32(c4)},
            {"OH", u32(g.oh)},
            {"OW", u32(g.ow)},
            {"KH", u32(g.kh)},
            {"KW", u32(g.kw)},
            {"SH", u32(g.sh)},
            {"SW", u32(g.sw)},
            {"PH", u32(g.ph)},
            {"PW", u32(g.pw)},
            {"DH", u32(g.dh)},
            {"DW", u32(g.dw)},
            {"I_LD4", u32(stride4(x))}};
  d.push = {{"M", u32(m)},      {"N", u32(g.cout)}, {"K", u32(k)}, {"a_ld4", 0}, {"o_ld4", u32(stride4(c.out))},
            {"r_ld4", u32(n4)}, {"a_off4", 0},      {"eps", 0}};
  d.operands = {input(kX), constant(0), w == DType::kI8 ? scales(0) : dummy(), bias ? constant(1) : dummy(), dummy(),
                dummy(),   output()};
  d.groups[1] = u32(div_up(g.cout, q.bn));
  d.work.loops = {{u32(taps * div_up(c4 * 4, q.bk)), q.tm * q.tn * q.bk}, {u32(taps), 0}};
  l.kernel = fmt::format("conv2d.tile {}x{}x{}, weights in panels of {}", q.bm, q.bn, q.bk, q.bn);
  // A long dispatch is cut along the rows.
  const int64_t blocks = div_up(m, q.bm);
  const double row_flops = 2.0 * double(g.cout) * double(c.in[kWeight]->shape.c());
  const int64_t per_part = blocks_per_dispatch(row_flops * double(m), t.max_dispatch_flops, blocks);
  for (int64_t first = 0; first < blocks; first += per_part) {
    const int64_t begin = first * q.bm, rows = std::min(m, (first + per_part) * q.bm) - begin;
    Dispatch part = d;
    part.push.add("m0", u32(begin));
    part.groups[0] = u32(div_up(rows, q.bm));
    part.work.flops = row_flops * double(rows);
    part.work.issued_flops = tile_work(q, g, ctx, rows).issued_flops;
    VIREO_TRY(check_grid(c, *ctx.caps, part.groups));
    l.dispatches.push_back(std::move(part));
  }
  return l;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const Geometry g = geometry(c);
  if (g.depthwise()) return lower_depthwise(c, g, ctx);
  const Tuning& t = *ctx.tuning;
  const Format format = gpu_weight_format(*c.in[kWeight], *c.in[kX]);
  const DType w = format.dtype;
  const TensorDesc& x = *c.in[kX];
  const int64_t k = g.planar ? g.cin * g.kh * g.kw : round_up(g.cin, 4) * g.kh * g.kw;
  const int64_t m = c.out.shape.rows(), n4 = groups4(g.cout);
  const bool by4 = g.planar && x.shape.w() % 4 == 0 && g.kw % 4 == 0 && g.sw % 4 == 0 && g.pw % 4 == 0 && g.dw == 1;
  const bool texel = t.texel && (!g.planar || by4) && texel_codes(format) &&
                     texel_fits(*ctx.caps, x.bytes(), x.dtype) &&
                     texel_fits(*ctx.caps, uint64_t(round_up(k, 4) * n4 * 4) * dtype_size(w), w);
  if (const LinearTile* tile = texel ? nullptr : choose_tile(c, g, ctx)) return lower_tile(c, g, *tile, ctx);
  Lowering l;
  l.consts.push_back(gpu_matrix(kWeight, g.cout, k, format));
  set_order(l.consts[0], g, true);
  const bool bias = c.input(kBias) != nullptr;
  if (bias) l.consts.push_back(vector_const(kBias, g.cout));

  Dispatch d;
  d.shader = texel ? "conv2d.TEXEL=1" : "conv2d";
  const uint32_t lx = u32(std::min<int64_t>(t.conv.lx, n4));
  d.spec = {{"LX", lx},
            {"W_TYPE", type_code(w)},
            {"OUT_TYPE", type_code(c.out.dtype)},
            {"RES_TYPE", 0},
            {"ACT", u32(c.iattr(kAct))},
            {"BIAS", bias},
            {"COLSCALE", false},
            {"RESIDUAL", false},
            {"R", t.conv.r},
            {"PLANAR", by4        ? 2u
                       : g.planar ? 1u
                                  : 0u},
            {"LY", t.conv.ly},
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
  // A long dispatch is cut along the rows.
  const int64_t block = int64_t(t.conv.r) * t.conv.ly, blocks = div_up(m, block);
  const double row_flops = 2.0 * double(g.cout) * double(c.in[kWeight]->shape.c());
  const int64_t per_part = blocks_per_dispatch(row_flops * double(m), t.max_dispatch_flops, blocks);
  d.groups[1] = u32(div_up(n4, lx));
  if (by4) d.work.loops = {{u32(g.cin * g.kh * g.kw / 4), t.conv.r * 16}, {u32(g.cin * g.kh), 0}, {u32(g.cin), 0}};
  for (int64_t first = 0; first < blocks; first += per_part) {
    const int64_t begin = first * block, rows = std::min(m, (first + per_part) * block) - begin;
    Dispatch part = d;
    part.push.add("m0", u32(begin));
    part.groups[0] = u32(div_up(rows, block));
    part.work.flops = row_flops * double(rows);
    part.work.issued_flops = 2.0 * double(k) * double(part.groups[0] * block) * double(part.groups[1] * lx * 4);
    VIREO_TRY(check_grid(c, *ctx.caps, part.groups));
    l.dispatches.push_back(std::move(part));
  }
  return l;
}

simd::ConvArgs conv_args(const OpCall& c) {
  const Geometry g = geometry(c);
  simd::ConvArgs a;
  a.geometry.ldx = c.in[kX]->row_stride();
  a.geometry.planar = g.planar;
  a.geometry.n = c.in[kX]->shape.n(), a.geometry.h = c.in[kX]->shape.h(), a.geometry.w = c.in[kX]->shape.w(),
  a.geometry.c = g.cin;
  a.geometry.kernel_h = g.kh, a.geometry.kernel_w = g.kw, a.geometry.stride_y = g.sh, a.geometry.stride_x = g.sw;
  a.geometry.pad_y = g.ph, a.geometry.pad_x = g.pw, a.geometry.dilation_y = g.dh, a.geometry.dilation_x = g.dw,
  a.geometry.out_h = g.oh, a.geometry.out_w = g.ow;
  a.gemm.m = a.geometry.rows(), a.gemm.k = a.geometry.k(), a.gemm.n = g.cout;
  a.gemm.act = simd::Act(c.iattr(kAct));
  a.gemm.ldo = c.out.row_stride();
  return a;
}

/// Rows of patches that are written out at once, as fp32 and then as bfloat16: as many as fill a few MiB, however large
/// the map.
int64_t patch_rows(const simd::ConvArgs& a) {
  constexpr int64_t kBytes = 4 << 20, kLeast = 256;  // with fewer the weights come from memory too often
  return std::min(a.gemm.m, std::max(kLeast, kBytes / (a.gemm.k * 4)));
}
uint64_t patch_bytes(const simd::ConvArgs& a) {
  return uint64_t(round_up(patch_rows(a) * round_up(a.gemm.k, 4) * 4, 64));
}

/// Where 16 products instead of 36 outweigh what the transforms add and the weights grow by: channels enough that a
/// tile's products outnumber its sums, and tiles enough per weight. Only in fp32: a narrow weight would be rounded once
/// more.
bool use_winograd(const Geometry& g, int64_t images, DType weights) {
  constexpr int64_t kChannels = 32, kTiles = 16;
  return weights == DType::kF32 && !g.planar && g.groups == 1 && g.kh == 3 && g.kw == 3 && g.sh == 1 && g.sw == 1 &&
         g.dh == 1 && g.dw == 1 && g.cin >= kChannels && g.cout >= kChannels &&
         images * div_up(g.oh, 2) * div_up(g.ow, 2) >= kTiles;
}

Lowering lower_cpu(const OpCall& c, const LowerContext& ctx) {
  const Geometry g = geometry(c);
  if (g.depthwise()) {
    Lowering l = depthwise_consts(c, g);
    l.kernel = "depthwise";
    return l;
  }
  Lowering l;
  simd::ConvArgs a = conv_args(c);
  if (cpu_integers(*c.in[kWeight], g.cin * g.kh * g.kw, ctx, false)) {
    l.consts.push_back(cpu_integer(kWeight, g.cout, g.cin * g.kh * g.kw, *c.in[kWeight]));
    set_order(l.consts[0], g, false);
    if (c.input(kBias)) l.consts.push_back(vector_const(kBias, g.cout));
    a.gemm.m = patch_rows(a);
    l.scratch_bytes = patch_bytes(a) + i8_scratch(a.gemm, false, ctx);
    l.kernel = "im2col+" + integer_kernel(*c.in[kWeight], ctx);
    return l;
  }
  Format format = cpu_weight_format(*c.in[kWeight], ctx, a.gemm.m);
  // Groups are columns of (cin, kh, kw), which the map's order (kh, kw, cin) scatters.
  // The zeros that other groups' channels become are no code of a grid with zero points.
  const bool scattered = format.grid.scope == Scope::kGroup && (!g.planar || g.groups > 1);
  if (format.grid.coded() && (scattered || (format.grid.zero_points && g.groups > 1))) format = {DType::kF32, {}};
  const DType dtype = format.dtype;
  const bool winograd = use_winograd(g, c.out.shape.n(), dtype);
  l.consts.push_back(winograd ? cpu_winograd(kWeight, g.cout, g.cin)
                              : cpu_panels(kWeight, g.cout, g.cin * g.kh * g.kw, format));
  set_order(l.consts[0], g, false);
  if (c.input(kBias)) l.consts.push_back(vector_const(kBias, g.cout));
  if (dtype == DType::kBF16) {
    const simd::Kernels& k = kernels_for(*ctx.caps);
    a.gemm.m = patch_rows(a);
    l.scratch_bytes = bf16_bytes(a.gemm.m, a.gemm.k) + patch_bytes(a) + scratch_for(ctx, k.gemm_bf16, {a.gemm});
    l.kernel = fmt::format("im2col+gemm {}", k.bf16_name);
    return l;
  }
  set_weight(l.consts[0], nullptr, a.gemm);
  const simd::Kernels& k = kernels_for(*ctx.caps);
  l.scratch_bytes = scratch_for(ctx, winograd ? k.winograd : k.conv, a);
  l.kernel = winograd ? "winograd" : "im2col+gemm";
  return l;
}

void cpu(const CpuCall& call) {
  simd::ConvArgs a = conv_args(*call.op);
  a.geometry.x = call.in[kX];
  if (geometry(*call.op).depthwise()) {
    simd::DepthwiseArgs d;
    d.geometry = a.geometry;
    d.weight = reinterpret_cast<const float*>(call.consts[0]), d.ldw = round_up(a.geometry.c, 4);
    if (call.op->input(kBias)) d.bias = reinterpret_cast<const float*>(call.consts[1]);
    d.act = a.gemm.act, d.out = call.out, d.ldo = a.gemm.ldo;
    run_kernel(call, call.kernels->depthwise, d);
    return;
  }
  set_weight(call.packs[0], call.consts[0], a.gemm);
  if (call.op->input(kBias)) a.gemm.bias = reinterpret_cast<const float*>(call.consts[1]);
  a.gemm.out = call.out;
  if (call.packs[0].pack == Pack::kCpuInteger) {
    CpuCall rest = call;
    simd::Im2colArgs gather;
    gather.geometry = a.geometry, gather.out = reinterpret_cast<float*>(call.scratch),
    gather.ldo = round_up(a.gemm.k, 4);
    rest.scratch += patch_bytes(a);
    const int64_t all = a.gemm.m, together = patch_rows(a);
    for (gather.first = 0; gather.first < all; gather.first += together) {
      gather.count = a.gemm.m = std::min(together, all - gather.first);
      a.gemm.out = call.out + gather.first * a.gemm.ldo;
      run_kernel(rest, call.kernels->im2col, gather);
      run_integers(rest, kWeight, a.gemm, gather.out, gather.ldo, false, 0);
    }
    return;
  }
  if (a.gemm.type == DType::kBF16) {
    CpuCall rest = call;
    simd::ToBf16Args rows;
    rows.cols = a.gemm.k, rows.out = reinterpret_cast<uint16_t*>(call.scratch);
    rows.ldo = bf16_stride(rows.cols), rows.ldx = round_up(rows.cols, 4);
    simd::Im2colArgs gather;
    const int64_t all = a.gemm.m, together = patch_rows(a);
    rest.scratch += bf16_bytes(together, rows.cols);
    gather.geometry = a.geometry, gather.out = reinterpret_cast<float*>(rest.scratch), gather.ldo = rows.ldx;
    rows.x = gather.out;
    rest.scratch += patch_bytes(a);
    for (gather.first = 0; gather.first < all; gather.first += together) {
      gather.count = rows.rows = a.gemm.m = std::min(together, all - gather.first);
      a.gemm.out = call.out + gather.first * a.gemm.ldo;
      run_kernel(rest, call.kernels->im2col, gather);
      run_kernel(rest, call.kernels->to_bf16, rows);
      run_kernel(rest, call.kernels->gemm_bf16, {a.gemm, rows.out, rows.ldo});
    }
    return;
  }
  run_kernel(call, call.packs[0].pack == Pack::kCpuWinograd ? call.kernels->winograd : call.kernels->conv, a);
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

std::vector<OpCase> cases() {
  return {
      make("patches 16 of 224", Shape{{1, 224, 224, 3}}, 192, 16, 16, 0, 0, true),
      make("patches 14, batch", Shape{{2, 42, 56, 3}}, 60, 14, 14, 0, 0, true),
      make("patches 5 of 13x17, remainder", Shape{{1, 13, 17, 3}}, 7, 5, 5, 0, 0, true, false),
      make("patches 4, one channel", Shape{{3, 28, 28, 1}}, 13, 4, 4, 0, 0, true),
      make("3x3 stride 2 planar", Shape{{2, 33, 31, 3}}, 16, 3, 2, 1, 3, true),
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

extern const OpDef kConv2dOp;
const OpDef kConv2dOp = {
    "conv2d", kAttrs,         infer, lower, lower_cpu, cpu, reference, cost, tolerance, cases, {true, 1u << conv2d::kX},
    nullptr,  conv2d::kWeight};

}  // namespace vireo
