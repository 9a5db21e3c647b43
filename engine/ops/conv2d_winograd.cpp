// conv2d.winograd.tile and conv2d.winograd.half: 3 x 3 convolutions of stride 1 by Winograd's F(2 x 2, 3 x 3) (Lavin
// and Gray 2015), in which a tile of 2 x 2 outputs takes 16 products per pair of channels instead of 36. One dispatch:
// windows are transformed while they are staged, weights were when they were packed, and sums are transformed back
// through the memory of the staging.
#include "ops/common.h"
#include "ops/conv2d.h"

namespace vireo {
namespace {
using namespace ops;
using namespace conv2d;

constexpr int64_t kPlanes = 16;    // products per tile and pair of channels
constexpr int64_t kHalfSums = 64;  // products that are added in fp16

/// Sizes of the shader; the formulas are the shader's.
struct Tile {
  Tile(const Constants& c, bool packed) : bt(c[0]), bn(c[1]), bk(c[2]), tm(c[3]), half(packed), word(packed ? 2 : 1) {
    lx = kPlanes * (bt / tm) * (bn / 8);
    items = bk / word / 2;
    stage = kPlanes * (bk * bt + bk * bn) / word;
    const int64_t sums = kPlanes * bt * bn / word;
    rounds = sums <= stage ? 1 : sums <= 2 * stage ? 2 : sums <= 4 * stage ? 4 : 0;
    a_loads = div_up(items * bt * 2, std::max<int64_t>(1, lx));
    w_loads = div_up(kPlanes * bk * bn / word / 4, std::max<int64_t>(1, lx));
  }
  int64_t bt, bn, bk, tm;  // tiles, outputs and channels of a workgroup's trip; tiles of an invocation
  bool half;
  int64_t word;  // channels in a staged word
  int64_t lx, items, stage, rounds, a_loads, w_loads;

  uint64_t shared_bytes() const { return uint64_t(stage) * 4; }
  int64_t registers() const {
    return tm * 8 / word + tm * 2 + 48;
  }  // sums, results, and what addresses and operands take
  int64_t chunk() const { return half ? kHalfSums / bk * bk : 0; }  // channels whose products are added in fp16
  int64_t trips(int64_t cin) const { return div_up(round_up(cin, 4), bk); }
  int64_t chunks(int64_t cin) const { return half ? div_up(round_up(cin, 4), chunk()) : 1; }
  int64_t products() const { return bk * tm * 8 / word; }  // instructions of a trip

  bool legal(const DeviceCaps& caps, const Tuning& t) const {
    const int64_t subgroups = div_up(lx, caps.subgroup_size) * caps.subgroup_size;
    return lx <= caps.max_workgroup_invocations && lx <= caps.max_workgroup_size[0] &&
           shared_bytes() <= caps.max_shared_bytes && registers() * subgroups <= t.machine.workgroup_registers;
  }

  double issued_flops(int64_t tiles, int64_t cin, int64_t cout, uint32_t subgroup) const {
    return 2.0 * double(div_up(tiles, bt) * div_up(cout, bn) * round_up(lx, subgroup)) *
           double(trips(cin) * products() * word);
  }

  /// In conv2d.tile's unit: instruction slots of a core, more where subgroups are too few to hide latency. A trip is
  /// bound by the words of shared memory that it moves where those take longer: one of 32 invocations takes as long as
  /// 4 instructions. Rounded from what compilers make of the shader.
  double cost(int64_t tiles, int64_t cin, int64_t cout, const Tuning& t, const DeviceCaps& caps) const {
    constexpr double kEnough = 12;
    const double loads = double(bk / word * (tm + 8 * word) / 4);
    const double issue = double(products()) + loads + double(a_loads) * 130 + double(w_loads) * 6 + 24;
    const double words = 4 * loads + double(a_loads) * 28 + double(w_loads) * 5;
    const double sums = double(tm) * (half ? 16 : 24) + double(rounds) * 20 + 40;
    const double each = double(trips(cin)) * std::max(issue, 4 * words) + double(chunks(cin)) * sums + 300;
    const int64_t subgroups = div_up(lx, caps.subgroup_size);
    const int64_t fit = std::min<int64_t>(t.machine.registers / (registers() * subgroups * caps.subgroup_size),
                                          int64_t(t.machine.shared_bytes / shared_bytes()));
    const int64_t resident = std::max<int64_t>(1, fit), workgroups = div_up(tiles, bt) * div_up(cout, bn);
    const auto time = [&](int64_t count) {
      return double(count * subgroups) * each * std::max(1.0, kEnough / double(count * subgroups));
    };
    const int64_t wave = resident * t.machine.cores, rest = workgroups % wave;
    return double(workgroups / wave) * time(resident) + (rest ? time(div_up(rest, t.machine.cores)) : 0);
  }
};

bool legal(const Constants& c, bool half) {
  const auto power = [](int64_t n) { return (n & (n - 1)) == 0; };
  const Tile t(c, half);
  return power(t.bt) && (t.tm == 8 || t.tm == 16) && t.bt % t.tm == 0 && t.bn % 8 == 0 && t.bk % 4 == 0 &&
         t.bk <= kHalfSums && power(t.items) && t.items <= 32 && t.rounds >= t.tm / 8;
}

int64_t tiles_of(const OpCall& c, const Geometry& g) { return c.out.shape.n() * div_up(g.oh, 2) * div_up(g.ow, 2); }

/// The kernel's tile of least cost, or null.
const Constants* choose(const KernelDef& k, const OpCall& c, const LowerContext& ctx, double* cost = nullptr) {
  const Geometry g = geometry(c);
  const Constants* best = nullptr;
  double least = 0;
  for (const Constants& each : ctx.tuning->of(k.name)) {
    const Tile tile(each, k.rate == Rate::kHalf);
    if (!tile.legal(*ctx.caps, *ctx.tuning)) continue;
    const double of_tile = tile.cost(tiles_of(c, g), g.cin, g.cout, *ctx.tuning, *ctx.caps);
    if (!best || of_tile < least) best = &each, least = of_tile;
  }
  if (cost) *cost = least;
  return best;
}

Result<void> accepts(const KernelDef& k, const OpCall& c, const LowerContext& ctx) {
  VIREO_TRY(dense_accepts(c, ctx));
  const Geometry g = geometry(c);
  if (g.planar) return fail(ErrorCode::kUnsupported, "it reads rows, not the planar picture");
  if (g.kh != 3 || g.kw != 3 || g.sh != 1 || g.sw != 1 || g.dh != 1 || g.dw != 1 || g.groups != 1)
    return fail(ErrorCode::kUnsupported, "it takes 3x3 kernels with steps of 1, without dilation and groups");
  if (ctx.tuning->of(k.name).empty())
    return fail(ErrorCode::kUnsupported, "devices of this class do not use it, or its accuracy check failed");
  if (choose(k, c, ctx)) return {};
  return fail(ErrorCode::kUnsupported, "no tile of the class fits {} bytes of shared memory and {} invocations",
              ctx.caps->max_shared_bytes, ctx.caps->max_workgroup_invocations);
}

Result<Lowering> lower(const KernelDef& kernel, const OpCall& c, const LowerContext& ctx) {
  const Constants* chosen = choose(kernel, c, ctx);
  if (!chosen) return fail(ErrorCode::kUnsupported, "no tile");  // accepts() has the words
  const bool half = kernel.rate == Rate::kHalf;
  const Tile q(*chosen, half);
  const Geometry g = geometry(c);
  const TensorDesc& x = *c.in[kX];
  const DType w = half ? DType::kF16 : DType::kF32;
  const int64_t tiles = tiles_of(c, g), cin = round_up(g.cin, 4);
  Lowering l;
  l.consts.push_back(gpu_winograd(kWeight, g.cout, cin, w, q.bn, q.bk));
  set_order(l.consts[0], g, false);
  const bool bias = c.input(kBias) != nullptr;
  if (bias) l.consts.push_back(vector_const(kBias, g.cout));
  Dispatch d;
  d.shader = kernel.name;
  d.spec = {{"LX", u32(q.lx)},        {"W_TYPE", type_code(w)},    {"OUT_TYPE", type_code(c.out.dtype)},
            {"RES_TYPE", 0},          {"ACT", u32(c.iattr(kAct))}, {"BIAS", bias},
            {"COLSCALE", false},      {"RESIDUAL", false},         {"BT", u32(q.bt)},
            {"BN", u32(q.bn)},        {"BK", u32(q.bk)},           {"TM", u32(q.tm)},
            {"IH", u32(x.shape.h())}, {"IW", u32(x.shape.w())},    {"C4", u32(cin / 4)},
            {"OH", u32(g.oh)},        {"OW", u32(g.ow)},           {"PH", u32(g.ph)},
            {"PW", u32(g.pw)},        {"I_LD4", u32(stride4(x))}};
  if (half) d.spec.add("CHUNK", u32(q.chunk()));
  d.push = {{"tiles", u32(tiles)}, {"N", u32(g.cout)}, {"o_ld4", u32(stride4(c.out))}};
  d.operands = {input(kX), constant(0), dummy(), bias ? constant(1) : dummy(), dummy(), dummy(), output()};
  d.groups[1] = u32(div_up(g.cout, q.bn));
  d.work.loops = {{u32(q.trips(g.cin)), u32(q.products())}};
  if (half) d.work.loops.push_back({u32(q.chunks(g.cin)), 0});
  l.constants = *chosen;
  l.kernel = fmt::format("{} {}x{}x{}", d.shader, q.bt, q.bn, q.bk);
  // The definition's, of a tile: at the edges a part of it is no result.
  const double tile_flops =
      2.0 * double(c.out.shape.rows() * g.cout) * double(c.in[kWeight]->shape.c()) / double(tiles);
  const auto issued = [&](int64_t some) { return q.issued_flops(some, g.cin, g.cout, ctx.caps->subgroup_size); };
  VIREO_TRY(cut_rows(c, ctx, d, tiles, q.bt, tile_flops, issued, &l));
  return l;
}

// ---- constants

constexpr const char* kNames[] = {"bt", "bn", "bk", "tm", nullptr};

bool tile_legal(const Constants& c) { return legal(c, false); }
bool half_legal(const Constants& c) { return legal(c, true); }

std::vector<Constants> tile_defaults(const DeviceCaps& caps) {
  if (caps.device_class != DeviceClass::kMaxwell) return {};
  // 32 x 32 moves fewest words of shared memory per product; the others are for few outputs and for small maps.
  return {{32, 32, 8, 8}, {64, 16, 4, 8}, {16, 32, 4, 8}};
}

std::vector<Constants> half_defaults(const DeviceCaps& caps) {
  if (caps.device_class != DeviceClass::kMaxwell) return {};
  return {{32, 32, 16, 8}, {64, 16, 8, 8}, {16, 32, 8, 8}};
}

void add_candidates(const char* word, uint32_t words, const DeviceCaps& caps,
                    const std::function<void(std::string)>& add) {
  for (uint32_t bt : {16, 32, 64})
    for (uint32_t bn : {16, 32, 64})
      for (uint32_t bk : {4 * words, 8 * words}) {
        const uint32_t lx = 16 * (bt / 8) * (bn / 8);
        if (lx >= 32 && lx <= 512 && lx <= caps.max_workgroup_invocations)
          add(fmt::format("texel=0 {}={},{},{},8", word, bt, bn, bk));
      }
}

void tile_candidates(const DeviceCaps& caps, const std::function<void(std::string)>& add) {
  add_candidates("conv_winograd", 1, caps, add);
}
void half_candidates(const DeviceCaps& caps, const std::function<void(std::string)>& add) {
  if (caps.shader_float16) add_candidates("conv_winograd_half", 2, caps, add);
}

constexpr ConstantsDef kTileConstants = {"conv_winograd", kNames, tile_legal, tile_defaults, tile_candidates};
constexpr ConstantsDef kHalfConstants = {"conv_winograd_half", kNames, half_legal, half_defaults, half_candidates};

/// As linear::half_error, of sums that are chunk() products long in each of 16 planes. An output is a sum of 9 of them,
/// whose sizes are 5/3 of its own together: in weights and inputs that know nothing of each other a plane's lines and
/// columns have variances of 1, 3/4, 3/4, 1 in U and of 2 in V, so 4 (1 + 3/4 + 3/4)^2 = 25 where the 9 products of the
/// definition have 9. The 5/2 are the operands' rounding, that of U, V, the planes' sums and of the 24 additions that
/// make outputs of them: 1.15 * 5/3 and 1.6 and 0.6 of that of a half, in squares.
double half_error(const Constants& c) {
  return std::ldexp(2.5 + 5 / 3.0 * std::sqrt(double(Tile(c, true).chunk()) / 6), -11);
}

/// Windows over the edges, an odd map, tiles and columns beyond those of a workgroup, channels that are neither whole
/// trips nor a single chunk.
OpCase test_case(const Constants& c) {
  const int64_t cin = kHalfSums + 4, cout = int64_t(c[1]) + 4;
  OpCase o;
  o.label = "winograd";
  o.in = {Shape{{1, 9, int64_t(c[0]) / 2 + 1, cin}}, Shape{{1, 1, cout, cin * 9}}, Shape{{1, 1, 1, cout}}};
  o.constant = {false, true, true};
  o.attrs = attrs_of({3, 3, 1, 1, 1, 1, 0, 1, 1, 1});
  return o;
}

SelfTest tile_self_test(const Constants& c) { return {test_case(c), Precision::kFp32}; }
SelfTest half_self_test(const Constants& c) { return {test_case(c), Precision::kFp16}; }

}  // namespace

extern const KernelDef kWinogradTile, kWinogradHalf;

namespace {

Result<void> tile_accepts(const OpCall& c, const LowerContext& ctx) {
  // Narrower weights would be rounded once more, by as much as what the definition's products lose altogether.
  if (c.in[kX]->dtype != DType::kF32 || gpu_weight_format(*c.in[kWeight], *c.in[kX]).dtype != DType::kF32)
    return fail(ErrorCode::kUnsupported, "it multiplies fp32 rows by fp32 weights");
  return accepts(kWinogradTile, c, ctx);
}
double tile_cost(const OpCall& c, const LowerContext& ctx) {
  double cost = 0;
  choose(kWinogradTile, c, ctx, &cost);
  return cost;
}
Result<Lowering> lower_tile(const OpCall& c, const LowerContext& ctx) { return lower(kWinogradTile, c, ctx); }

Result<void> half_accepts(const OpCall& c, const LowerContext& ctx) {
  if (!ctx.caps->shader_float16) return fail(ErrorCode::kUnsupported, "the device has no shaderFloat16");
  // Of codes the numbers that they stand for are transformed (of weights that int8 would round while packing, the
  // numbers before that): half of the time for 32/9 of the bytes.
  const Format weights = gpu_weight_format(*c.in[kWeight], *c.in[kX]);
  if (c.in[kX]->dtype != DType::kF16 || (weights.dtype != DType::kF16 && !weights.grid.coded()))
    return fail(ErrorCode::kUnsupported, "it multiplies fp16 rows by weights of fp16 or of codes");
  return accepts(kWinogradHalf, c, ctx);
}
double half_cost(const OpCall& c, const LowerContext& ctx) {
  double cost = 0;
  choose(kWinogradHalf, c, ctx, &cost);
  return cost;
}
Result<Lowering> lower_half(const OpCall& c, const LowerContext& ctx) { return lower(kWinogradHalf, c, ctx); }

}  // namespace

const KernelDef kWinogradTile = {
    "conv2d.winograd.tile", OpKind::kConv2d, DeviceKind::kVulkan, tile_accepts, lower_tile,    nullptr, tile_cost,
    &kTileConstants,        Rate::kF32,      16.0 / 36,           nullptr,      tile_self_test};
const KernelDef kWinogradHalf = {
    "conv2d.winograd.half", OpKind::kConv2d, DeviceKind::kVulkan, half_accepts, lower_half,    nullptr, half_cost,
    &kHalfConstants,        Rate::kHalf,     16.0 / 36,           half_error,   half_self_test};

}  // namespace vireo
