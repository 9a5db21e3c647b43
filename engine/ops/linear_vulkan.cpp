// The Vulkan kernels of linear: linear.texel, linear.row, linear.tile, and linear.half of weights in fp16, codes and
// groups of codes.
#include <algorithm>

#include "ops/common.h"
#include "ops/linear.h"

namespace vireo {
namespace {
using namespace ops;
using linear::add_vectors, linear::sizes;
using linear::centred;
using linear::Consts, linear::Sizes;
using linear::kAct, linear::kNorm, linear::kEps;
using linear::kX, linear::kWeight, linear::kBias, linear::kScaleIn, linear::kResidualIn, linear::kAffine;

/// Derived sizes of linear.tile and linear.half; the formulas are the shaders'.
struct Tile {
  Tile(const LinearTile& t, bool packed) : size(t), half(packed), lx((t.bm / t.tm) * (t.bn / t.tn)) {
    const int64_t a_groups = int64_t(t.bm) * t.bk / 4, w_groups = int64_t(t.bk) * t.bn / 4;
    a_loads = u32(div_up(half ? a_groups / 2 : a_groups, lx));
    w_loads = u32(div_up(half ? w_groups / 2 : w_groups, lx));
    lanes = std::max(1u, lx / t.bm);
  }
  LinearTile size;
  bool half;  // two rows per load of A, two groups per load of W, two multiply-adds per instruction
  uint32_t lx, a_loads, w_loads;
  uint32_t lanes;  // invocations that share a row when rows are normalised
  /// Of the largest variant, which normalises rows.
  uint64_t shared_bytes() const {
    if (half) return 4 * (uint64_t(size.bk) * (size.bm / 2 + 4) + uint64_t(w_loads) * lx * 4 + 3 * size.bm);
    return 4 * (uint64_t(size.bk) * (size.bm + 5) + uint64_t(w_loads) * lx * 4 + 2 * size.bm);
  }
  int64_t slack() const { return int64_t(w_loads) * lx * (half ? 2 : 1) - int64_t(size.bk) * size.bn / 4; }
  int64_t registers() const {  // sums, operands and addresses
    return size.tm * size.tn * (half ? 3 : 2) / 2 + 32;
  }
  int64_t trips(int64_t k) const { return div_up(groups4(k), size.bk / 4); }
  bool whole_trips(int64_t k) const { return round_up(k, 4) % size.bk == 0; }

  /// Multiply-adds of `rows` rows, counted as the device issues them: whole subgroups, without those that skip.
  double issued_flops(int64_t rows, int64_t n, int64_t k, bool skip_rows, uint32_t subgroup) const {
    const int64_t across = size.bn / size.tn, subgroups = div_up(lx, subgroup);
    const int64_t left = rows % size.bm, last = div_up(div_up(left, size.tm) * across, subgroup);
    const int64_t active = rows / size.bm * subgroups + (skip_rows ? last : left ? subgroups : 0);
    return 2.0 * double(active * subgroup * size.tm * size.tn) * double(div_up(n, size.bn) * trips(k) * size.bk);
  }

  std::vector<Work::Loop> loops(int64_t k, bool norm) const {
    std::vector<Work::Loop> all;
    if (norm) {
      const int64_t full = k / 4, step = 4 * lanes;
      const int64_t by4 = full > 3 * lanes ? div_up(full - 3 * lanes, step) : 0;
      all.push_back({u32(by4), 16});
      all.push_back({u32(div_up(std::max<int64_t>(0, groups4(k) - by4 * step), lanes)), 4});
    }
    all.push_back({u32(trips(k)), size.tm * size.tn * size.bk / (half ? 2 : 1)});
    return all;
  }
};

/// Sizes of linear.texel for a shape; the formulas are the shader's.
struct Texel {
  Texel(const Constants& q, const Tuning& t, const DeviceCaps& caps, const Sizes& s)
      : lx(q[0]), rows(q[1]), c(q[2]), panels(q[5]) {
    rows = u32(div_up(s.m, div_up(s.m, rows)));  // as many workgroups, with their rows shared out evenly
    if (groups4(s.n) < int64_t(lx) * c) c = 1;
    // A broadcast register holds rl rows times as many groups of k as the subgroup has room for.
    rl = std::min(q[3], rows);
    while (rl > caps.subgroup_size) rl /= 2;
    shuffle = t.shuffle && rl > 1;
    if (!shuffle) rl = 1;
    steps = shuffle ? std::max(1u, caps.subgroup_size / rl) : 1;
    unroll = shuffle ? q[4] : 1;
    while (panels > 1 && div_up(s.m, rows) * div_up(s.n, panel() * panels) < 4 * int64_t(t.machine.cores)) panels /= 2;
  }
  int64_t panel() const { return int64_t(lx) * c * 4; }  // columns

  uint32_t lx, rows, c, panels, rl = 1, steps = 1, unroll = 1;
  bool shuffle = false;
};

/// Of a dispatch, what does not depend on the kernel.
struct Product {
  Product(const OpCall& c, const LowerContext& context)
      : call(c),
        ctx(context),
        s(sizes(c)),
        // On the CPU's memory of a software driver codes would save little, and its texel fetches are what is fast.
        staged(staged_codes(*c.in[kWeight], s.k) && !context.tuning->texel),
        format(staged ? c.in[kWeight]->format() : gpu_weight_format(*c.in[kWeight], *c.in[kX])),
        x(*c.in[kX]),
        residual(c.input(kResidualIn)) {
    if (format.grid.scope == Scope::kTensor) format.grid.scope = Scope::kRow;
  }

  /// `rows`: how the rows of x are bound; a texel view of the weights beside one of x.
  Lowering begin(int64_t panel, int64_t slack, BindKind rows, Dispatch* d) const {
    Lowering l;
    l.consts.push_back(gpu_matrix(kWeight, s.n, s.k, format, panel, slack, staged));
    l.consts[0].centre = centred(call);
    const Consts at = add_vectors(call, s.n, l);
    d->spec = {{"W_TYPE", staged ? l.consts[0].wide_rows() ? 5u
                                   : l.consts[0].nibbles() ? 4u
                                                           : 3u
                                 : type_code(format.dtype)},
               {"OUT_TYPE", type_code(call.out.dtype)},
               {"RES_TYPE", residual ? type_code(residual->dtype) : 0},
               {"ACT", u32(call.iattr(kAct))},
               {"BIAS", at.bias >= 0},
               {"COLSCALE", at.scale >= 0},
               {"RESIDUAL", residual != nullptr},
               {"LN", u32(call.iattr(kNorm))},
               {"GAIN", at.affine >= 0}};
    d->push = {{"M", u32(s.m)},
               {"N", u32(s.n)},
               {"K", u32(s.k)},
               {"a_ld4", u32(stride4(x))},
               {"o_ld4", u32(stride4(call.out))},
               {"r_ld4", u32(residual ? stride4(*residual) : groups4(s.n))},
               {"a_off4", 0},
               {"eps", float_word(call.attr(kEps))}};
    const BindKind weights = rows == BindKind::kStorage ? rows : texel_kind(format.dtype);
    d->operands = {input(kX, rows),
                   constant(0, weights),
                   format.dtype == DType::kI8 ? scales(0) : dummy(),
                   at.bias >= 0 ? constant(at.bias) : dummy(),
                   at.scale >= 0 ? constant(at.scale) : dummy(),
                   residual ? input(kResidualIn) : dummy(),
                   at.affine >= 0 ? constant(at.affine) : dummy(),
                   output()};
    return l;
  }

  const OpCall& call;
  const LowerContext& ctx;
  Sizes s;
  bool staged;  // scales are multiplied while W is staged
  Format format;
  const TensorDesc &x, *residual;
};

/// Shaders multiply normalised rows by a gain; an offset they expect in the bias.
Result<void> check_affine(const OpCall& c) {
  if (!c.input(kAffine) || c.in[kAffine]->shape.w() == 1) return {};
  return fail(ErrorCode::kUnsupported, "it takes the gain of normalised rows, but no offset");
}

// ---- linear.texel

Result<void> texel_accepts(const OpCall& c, const LowerContext& ctx) {
  VIREO_TRY(check_affine(c));
  const std::vector<Constants>& choices = ctx.tuning->of("linear.texel");
  if (!ctx.tuning->texel || choices.empty())
    return fail(ErrorCode::kUnsupported, "devices of this class read storage buffers");
  const Product p(c, ctx);
  if (p.staged) return fail(ErrorCode::kUnsupported, "it takes codes of more than 4 bits with a scale per row");
  if (!texel_codes(p.format))
    return fail(ErrorCode::kUnsupported, "a texel view reads the code -128 of {} as -127", to_string(p.format));
  const Texel tx(choices[0], *ctx.tuning, *ctx.caps, p.s);
  const uint64_t weights = uint64_t(round_up(p.s.k, 4) * round_up(p.s.n, tx.panel())) * dtype_size(p.format.dtype);
  if (!texel_fits(*ctx.caps, p.x.bytes(), p.x.dtype) || !texel_fits(*ctx.caps, weights, p.format.dtype))
    return fail(ErrorCode::kUnsupported, "rows or weights are more than the device's {} texels",
                ctx.caps->max_texel_elements);
  return {};
}

Result<Lowering> lower_texel(const OpCall& c, const LowerContext& ctx) {
  const Product p(c, ctx);
  const Constants& chosen = ctx.tuning->of("linear.texel")[0];
  const Texel tx(chosen, *ctx.tuning, *ctx.caps, p.s);
  Dispatch d;
  Lowering l = p.begin(tx.panel(), 0, texel_kind(p.x.dtype), &d);
  d.shader = tx.shuffle ? "linear.texel.SHUFFLE=1" : "linear.texel";
  d.spec.add({{"LX", tx.lx}, {"R", tx.rows}, {"C", tx.c}, {"PANELS_STEP", tx.panels}});
  if (tx.shuffle)
    d.spec.add({{"RL", tx.rl},
                {"Q_STEP", tx.steps},
                {"UNROLL_STEPS", tx.unroll},
                {"WHOLE", p.s.k % (4 * int64_t(tx.steps) * tx.unroll) == 0}});
  d.groups[1] = u32(div_up(p.s.n, tx.panel() * tx.panels));
  l.kernel = fmt::format("{} r{} c{}, weights in panels of {}", d.shader, tx.rows, tx.c, tx.panel());
  l.constants = chosen;
  VIREO_TRY(cut_rows(
      c, ctx, d, p.s.m, tx.rows, 2.0 * double(p.s.n) * double(p.s.k), [](int64_t) { return 0.0; }, &l));
  return l;
}

constexpr const char* kTexelNames[] = {"lx", "r", "c", "rl", "unroll", "panels", nullptr};

bool texel_legal(const Constants& q) {
  const uint32_t r = q[1], c = q[2], rl = q[3], unroll = q[4], panels = q[5];
  return r <= 16 && c <= 4 && r % rl == 0 && unroll <= 8 && panels <= 64;
}

std::vector<Constants> texel_defaults(const DeviceCaps& caps) {
  // What `vireo tune` finds for ViT-Ti and ViT-B on lavapipe, rounded to one choice.
  if (caps.device_class == DeviceClass::kSoftware) return {{8, 16, 1, 8, 2, 8}};
  return {{32, 8, 1, 8, 1, 1}};
}

void texel_candidates(const DeviceCaps& caps, const std::function<void(std::string)>& add) {
  const bool shuffle = caps.subgroup_basic && caps.subgroup_shuffle;
  for (uint32_t lx : {8, 16, 32, 64, 128})
    for (uint32_t r : {4, 8, 16})
      for (uint32_t c : {1, 2})
        for (uint32_t panels : {1, 8}) {
          add(fmt::format("texel=1 shuffle=0 linear_texel={},{},{},1,1,{}", lx, r, c, panels));
          for (uint32_t rl : {4, 8})
            for (uint32_t unroll : {1, 2})
              if (shuffle && rl <= caps.subgroup_size)
                add(fmt::format("texel=1 shuffle=1 linear_texel={},{},{},{},{},{}", lx, r, c, rl, unroll, panels));
        }
}

/// rl: rows per broadcast register; unroll: steps of K per trip of the loop; panels: column blocks that a workgroup
/// does one after the other with the same rows, whose statistics it then computes once.
constexpr ConstantsDef kTexelConstants = {"linear_texel", kTexelNames, texel_legal, texel_defaults, texel_candidates};

// ---- linear.row

constexpr int64_t kFewRows = 4, kRowUnroll = 4;  // rows at most; the shader's loads in flight

Result<void> row_accepts(const OpCall& c, const LowerContext& ctx) {
  VIREO_TRY(check_affine(c));
  const Product p(c, ctx);
  if (p.s.m > kFewRows) return fail(ErrorCode::kUnsupported, "it takes at most {} rows", kFewRows);
  if (p.staged) return fail(ErrorCode::kUnsupported, "it takes codes of more than 4 bits with a scale per row");
  const std::vector<Constants>& choices = ctx.tuning->of("linear.row");
  if (choices.empty()) return fail(ErrorCode::kUnsupported, "the tuning wants another kernel");
  const uint32_t lx = choices[0][0], panel = choices[0][1];
  // Beside the rows the sums of an invocation.
  const int64_t bytes = p.s.m * round_up(round_up(p.s.k, 4), 4 * lx / panel * kRowUnroll) * 4 + lx * 16;
  if (bytes > int64_t(ctx.caps->max_shared_bytes) || lx > ctx.caps->max_workgroup_invocations)
    return fail(ErrorCode::kUnsupported, "a workgroup would have {} invocations and {} bytes of shared memory", lx,
                bytes);
  return {};
}

Result<Lowering> lower_row(const OpCall& c, const LowerContext& ctx) {
  const Product p(c, ctx);
  const Constants& chosen = ctx.tuning->of("linear.row")[0];
  const uint32_t lx = chosen[0], panel = chosen[1];
  Dispatch d;
  Lowering l = p.begin(panel, 0, BindKind::kStorage, &d);
  d.shader = "linear.row";
  d.spec.add({{"LX", lx},
              {"IN_TYPE", type_code(p.x.dtype)},
              {"ROWS", u32(p.s.m)},
              {"PANEL", panel},
              {"K4", u32(groups4(p.s.k))}});
  d.groups[1] = u32(div_up(p.s.n, panel));
  const int64_t trip = 4 * lx / panel * kRowUnroll, trips = div_up(round_up(p.s.k, 4), trip);
  d.work.loops = {{u32(trips), u32(4 * kRowUnroll * p.s.m)}};
  l.kernel = fmt::format("linear.row, weights in panels of {}", panel);
  l.constants = chosen;
  const auto issued = [&](int64_t rows) { return 2.0 * double(rows * round_up(p.s.n, panel)) * double(trips * trip); };
  VIREO_TRY(cut_rows(c, ctx, d, p.s.m, p.s.m, 2.0 * double(p.s.n) * double(p.s.k), issued, &l));
  return l;
}

constexpr const char* kRowNames[] = {"lx", "panel", nullptr};

/// What adds up by halves: invocations to a group of columns, and all of them.
bool row_legal(const Constants& q) {
  const auto power = [](uint32_t x) { return x != 0 && (x & (x - 1)) == 0; };
  return power(q[0]) && power(q[1]) && q[1] >= 4 && 4 * q[0] >= 2 * q[1] && q[0] <= 1024;
}

std::vector<Constants> row_defaults(const DeviceCaps&) { return {{128, 32}}; }

constexpr ConstantsDef kRowConstants = {"linear_row", kRowNames, row_legal, row_defaults, nullptr};

// ---- linear.tile and linear.half

/// The tile of least cost among the kernel's, or null.
const Constants* cheapest(const KernelDef& k, const OpCall& c, const LowerContext& ctx, double* cost = nullptr) {
  const Sizes s = sizes(c);
  const Grid& grid = c.in[kWeight]->grid;
  const bool grouped = k.codes_by_halves && grid.scope == Scope::kGroup && grid.group < s.k;
  return linear::choose_tile(k, *ctx.tuning, *ctx.caps, s.m, s.n, s.k, grouped ? grid.group : 0, cost);
}

Error no_tile(const DeviceCaps& caps) {
  return fail(ErrorCode::kUnsupported, "no tile of the class fits {} bytes of shared memory and {} invocations",
              caps.max_shared_bytes, caps.max_workgroup_invocations);
}

/// What linear.half leaves behind its rows for who normalises them: a pair for each of its workgroups' columns. W's
/// staging bytes must be enough to add them up, or A's for half of the rows (half.glsl).
RowMoments moments_of(const OpCall& c, const LowerContext& ctx, const Tile& tile, const Sizes& s) {
  RowMoments m;
  const LinearTile& q = tile.size;
  if (!ctx.wants_moments || c.out.gap != 0 || s.n % 8 != 0) return m;
  const uint32_t pairs = q.bm * (q.bn / 8 + q.bn / 128);
  if (pairs * 2 > tile.w_loads * tile.lx * 4 && pairs > q.bk * (q.bm / 2 + 4)) return m;
  m.parts = div_up(s.n, q.bn);
  m.columns = q.bn;
  m.offset = uint64_t(round_up(int64_t(c.out.bytes()), 8));
  m.bytes = m.offset + uint64_t(s.m * m.parts) * 8;
  return m;
}

Result<Lowering> lower_tiles(const KernelDef& k, const OpCall& c, const LowerContext& ctx) {
  const Constants* chosen = cheapest(k, c, ctx);
  if (!chosen) return no_tile(*ctx.caps);
  const bool half = k.rate == Rate::kHalf;
  const Tile tile(linear::tile_of(*chosen), half);
  const LinearTile& q = tile.size;
  const Product p(c, ctx);
  Dispatch d;
  Lowering l = p.begin(q.bn, tile.slack(), BindKind::kStorage, &d);
  d.shader = half ? "linear.half" : k.name;
  d.spec.add({{"LX", tile.lx},
              {"BM", q.bm},
              {"BN", q.bn},
              {"BK", q.bk},
              {"TM", q.tm},
              {"K_FULL", tile.whole_trips(p.s.k)},
              // No branch where no subgroup is without rows.
              {"SKIP_ROWS", ctx.tuning->skip_rows && p.s.m % q.bm != 0}});
  d.spec.add("GROUP", p.staged ? u32(p.format.grid.scope == Scope::kGroup ? p.format.grid.group : p.s.k) : 1);
  if (!half)
    d.spec.add({{"IN_TYPE", type_code(p.x.dtype)}, {"TN", q.tn}, {"ZEROS", p.staged && p.format.grid.zero_points}});
  d.groups[1] = u32(div_up(p.s.n, q.bn));
  constexpr int64_t kMostParts = 32;  // that an invocation adds up
  const bool norm = c.iattr(kNorm) != 0,
             known = half && norm && ctx.moments.parts > 0 && ctx.moments.parts <= kMostParts;
  if (half) {
    l.moments = moments_of(c, ctx, tile, p.s);
    d.spec.add({{"OUT_MOMENTS", l.moments.parts > 0},
                {"OUT_MOMENTS_AT", u32(int64_t(l.moments.offset / 8))},
                {"IN_MOMENTS", known ? u32(ctx.moments.parts) : 0},
                {"IN_MOMENTS_AT", known ? u32(int64_t(ctx.moments.offset / 8)) : 0},
                {"IN_COLUMNS", known ? u32(ctx.moments.columns) : 1}});
  }
  d.work.loops = tile.loops(p.s.k, norm && !known);
  l.kernel = fmt::format("{} {}x{}x{}, weights in panels of {}", d.shader, q.bm, q.bn, q.bk, q.bn);
  l.constants = *chosen;
  const auto issued = [&](int64_t rows) {
    return tile.issued_flops(rows, p.s.n, p.s.k, ctx.tuning->skip_rows, ctx.caps->subgroup_size);
  };
  VIREO_TRY(cut_rows(c, ctx, d, p.s.m, q.bm, 2.0 * double(p.s.n) * double(p.s.k), issued, &l));
  return l;
}

}  // namespace

extern const KernelDef kLinearTexel, kLinearRow, kLinearTile, kLinearHalf, kLinearHalfCodes, kLinearHalfGroups;

namespace {

Result<void> tile_accepts(const OpCall& c, const LowerContext& ctx) {
  VIREO_TRY(check_affine(c));
  return cheapest(kLinearTile, c, ctx) ? Result<void>() : no_tile(*ctx.caps);
}

Result<Lowering> lower_tile(const OpCall& c, const LowerContext& ctx) { return lower_tiles(kLinearTile, c, ctx); }

double cost_of_tiles(const KernelDef& k, const OpCall& c, const LowerContext& ctx) {
  double cost = 0;
  cheapest(k, c, ctx, &cost);
  return cost;
}
double tile_cost(const OpCall& c, const LowerContext& ctx) { return cost_of_tiles(kLinearTile, c, ctx); }

/// What all kernels of linear.half ask for; `takes`: the weights, as they are stored.
Result<void> halves_accept(const KernelDef& k, const OpCall& c, const LowerContext& ctx, bool takes,
                           const char* weights) {
  VIREO_TRY(check_affine(c));
  if (!ctx.caps->shader_float16) return fail(ErrorCode::kUnsupported, "the device has no shaderFloat16");
  if (c.in[kX]->dtype != DType::kF16 || !takes)
    return fail(ErrorCode::kUnsupported, "it multiplies fp16 rows by {}", weights);
  if (ctx.tuning->of(k.name).empty())
    return fail(ErrorCode::kUnsupported, "devices of this class multiply fp32 no slower, or its accuracy check failed");
  if (cheapest(k, c, ctx)) return {};
  const Sizes s = sizes(c);
  if (linear::choose_tile(k, *ctx.tuning, *ctx.caps, s.m, s.n, s.k))
    return fail(ErrorCode::kUnsupported, "none of its steps of K divides groups of {} columns",
                c.in[kWeight]->grid.group);
  return no_tile(*ctx.caps);
}

Result<void> half_accepts(const OpCall& c, const LowerContext& ctx) {
  return halves_accept(kLinearHalf, c, ctx, Product(c, ctx).format.dtype == DType::kF16, "fp16 weights");
}
double half_cost(const OpCall& c, const LowerContext& ctx) { return cost_of_tiles(kLinearHalf, c, ctx); }
Result<Lowering> lower_half(const OpCall& c, const LowerContext& ctx) { return lower_tiles(kLinearHalf, c, ctx); }

Result<void> codes_accept(const OpCall& c, const LowerContext& ctx) {
  const Product p(c, ctx);
  return halves_accept(kLinearHalfCodes, c, ctx, p.format.dtype == DType::kI8 && !p.staged,
                       "codes of more than 4 bits with a scale per row");
}
double codes_cost(const OpCall& c, const LowerContext& ctx) { return cost_of_tiles(kLinearHalfCodes, c, ctx); }
Result<Lowering> lower_codes(const OpCall& c, const LowerContext& ctx) { return lower_tiles(kLinearHalfCodes, c, ctx); }

Result<void> groups_accept(const OpCall& c, const LowerContext& ctx) {
  const Product p(c, ctx);
  return halves_accept(kLinearHalfGroups, c, ctx, p.staged && !p.format.grid.zero_points && p.format.grid.wide == 0,
                       "codes of at most 4 bits or with scales of groups, all rows alike and without zero points");
}
double groups_cost(const OpCall& c, const LowerContext& ctx) { return cost_of_tiles(kLinearHalfGroups, c, ctx); }
Result<Lowering> lower_groups(const OpCall& c, const LowerContext& ctx) {
  return lower_tiles(kLinearHalfGroups, c, ctx);
}

constexpr const char* kTileNames[] = {"bm", "bn", "bk", "tm", "tn", nullptr};

bool half_legal(const Constants& c) {
  const LinearTile l = linear::tile_of(c);
  if (!linear::half_legal(l)) return false;
  const uint32_t lx = (l.bm / l.tm) * (l.bn / l.tn);
  return 2 * l.bm * std::max(1u, lx / l.bm) <= l.bk * (l.bm / 2 + 4);
}

std::vector<Constants> tile_defaults(const DeviceCaps& caps) {
  switch (caps.device_class) {
    case DeviceClass::kMaxwell:
      // 104 = 8 * 13: 197 tokens make two tiles of 25 * 8 rows. 192 divides the widths of ViT-Ti, -S and -B, 144, 96,
      // 64 and 32 those of MobileViT. Tall tiles: what a map has most of is rows.
      return {{104, 192, 24, 8, 8}, {104, 192, 16, 8, 8}, {128, 144, 24, 8, 8}, {128, 128, 16, 8, 8},
              {128, 96, 16, 8, 8},  {256, 64, 16, 8, 8},  {128, 64, 16, 8, 8},  {256, 32, 8, 8, 8},
              {64, 128, 16, 8, 8},  {64, 64, 16, 8, 8},   {32, 64, 16, 4, 8},   {16, 32, 16, 4, 4}};
    case DeviceClass::kMali:
    case DeviceClass::kAdreno:
    case DeviceClass::kV3d: return {{32, 64, 16, 4, 8}, {16, 32, 16, 4, 4}};
    default: return {{64, 128, 16, 8, 8}, {64, 64, 16, 8, 8}, {32, 64, 16, 4, 8}, {16, 32, 16, 4, 4}};
  }
}

void tile_candidates(const DeviceCaps& caps, const std::function<void(std::string)>& add) {
  for (uint32_t bm : {16, 32, 64, 104, 128})
    for (uint32_t bn : {32, 64, 128, 192})
      for (uint32_t bk : {8, 16, 24, 32})
        for (uint32_t tm : {4, 8})
          for (uint32_t tn : {4, 8}) {
            const uint32_t lx = bm / tm * (bn / tn);
            if (lx >= 32 && lx <= 512 && lx <= caps.max_workgroup_invocations)
              add(fmt::format("texel=0 linear_tile={},{},{},{},{}", bm, bn, bk, tm, tn));
          }
}

std::vector<Constants> half_defaults(const DeviceCaps& caps) {
  if (caps.device_class != DeviceClass::kMaxwell) return {};
  // 256 columns: a subgroup is 8 rows of them, so that 197 rows are computed as 200. 104 rows as in linear.tile: ViT-Ti
  // has 192 columns, of which tiles of 128 waste a quarter. The last three are for MobileViT: 144 columns, 16 to 64.
  return {{128, 128, 48, 8, 8}, {64, 256, 48, 8, 8}, {104, 96, 48, 8, 8}, {128, 64, 32, 8, 8},
          {112, 72, 36, 8, 8},  {256, 64, 16, 8, 8}, {256, 32, 16, 8, 8}};
}

/// Steps of K that groups of 16, 32 and more columns are multiples of.
std::vector<Constants> groups_defaults(const DeviceCaps& caps) {
  if (caps.device_class != DeviceClass::kMaxwell) return {};
  return {{128, 128, 32, 8, 8}, {128, 64, 32, 8, 8}, {128, 128, 16, 8, 8}, {256, 64, 16, 8, 8}};
}

constexpr ConstantsDef kTileConstants = {"linear_tile", kTileNames, linear::tile_legal, tile_defaults, tile_candidates};
constexpr ConstantsDef kHalfConstants = {"linear_half", kTileNames, half_legal, half_defaults, nullptr};
constexpr ConstantsDef kCodesConstants = {"linear_half_codes", kTileNames, half_legal, half_defaults, nullptr};
constexpr ConstantsDef kGroupsConstants = {"linear_half_groups", kTileNames, half_legal, groups_defaults, nullptr};

double half_error(const Constants& c) { return linear::half_error(linear::tile_of(c).bk); }

/// A normalised product with rows and columns beyond the edges of a tile.
SelfTest half_self_test(const Constants& c) {
  const LinearTile t = linear::tile_of(c);
  const int64_t m = t.bm + 5, n = t.bn + 12, k = int64_t(t.bk) * 4;
  SelfTest test;
  test.what.label = "product";
  test.what.in = {tokens_shape(1, m, k), Shape{{1, 1, n, k}}};
  test.what.constant = {false, true};
  test.what.attrs = attrs_of({0, 1, 1e-6});
  return test;
}
SelfTest codes_self_test(const Constants& c) {
  SelfTest test = half_self_test(c);
  test.weights = "i8";
  return test;
}
/// Groups of as many steps as any format's, the last of them cut short. Bytes are staged as those of kLinearHalfCodes.
SelfTest groups_self_test(const Constants& c) {
  SelfTest test = half_self_test(c);
  test.weights = linear::tile_of(c).bk % 32 == 0 ? "i4g64" : "i4g32";
  test.what.in[kX].d[3] = test.what.in[kWeight].d[3] = 160;
  return test;
}

}  // namespace

namespace linear {

LinearTile tile_of(const Constants& c) { return {c[0], c[1], c[2], c[3], c[4]}; }

bool tile_legal(const Constants& c) {
  const LinearTile l = tile_of(c);
  if (l.tm % 4 || l.tn % 4 || l.bk % 4 || l.bk < 8 || l.bm % l.tm || l.bn % l.tn) return false;
  const uint32_t lx = (l.bm / l.tm) * (l.bn / l.tn);
  return lx && lx % (l.bk / 4) == 0 && 2 * l.bm * std::max(1u, lx / l.bm) <= l.bk * (l.bm + 5);
}

TileWork tile_work(const LinearTile& tile, bool half, const Tuning& tuning, const DeviceCaps& caps, int64_t m,
                   int64_t n, int64_t k) {
  const Tile t(tile, half);
  const auto& machine = tuning.machine;
  const int64_t subgroup = caps.subgroup_size, subgroups = div_up(t.lx, subgroup);
  const int64_t registers = t.registers() * subgroups * subgroup;
  TileWork w;
  w.lx = t.lx;
  w.slack = t.slack();
  w.legal = t.lx <= caps.max_workgroup_invocations && t.lx <= caps.max_workgroup_size[0] &&
            t.shared_bytes() <= caps.max_shared_bytes && registers <= machine.workgroup_registers;
  if (!w.legal) return w;
  w.issued_flops = t.issued_flops(m, n, k, tuning.skip_rows, caps.subgroup_size);

  // Instructions of a subgroup: loads of shared memory beside the multiply-adds; a load and a store of each staged
  // group with their addresses, and the loop; the epilogue. Rounded from what compilers make of the shader.
  const double trip = double(tile.bk * (tile.tm + tile.tn)) / (half ? 8 : 4) + t.a_loads * (half ? 20 : 10) +
                      t.w_loads * 6 + 40 + (half ? tile.tm * tile.tn * 2 : 0) +
                      (t.whole_trips(k) ? 0 : (t.a_loads + t.w_loads) * 6);
  const double epilogue = tile.tm * tile.tn * 8 + 150;
  const int64_t workgroups = div_up(m, tile.bm) * div_up(n, tile.bn);
  const double products = w.issued_flops / ((half ? 4.0 : 2.0) * double(subgroup)) / double(workgroups);
  const double slots = products + double(subgroups) * (double(t.trips(k)) * trip + epilogue);

  // A core works on as many workgroups as fit, then on the rest; few subgroups cannot hide each other's latency.
  const int64_t fit = std::min<int64_t>(machine.registers / registers, machine.shared_bytes / t.shared_bytes());
  const int64_t resident = std::max<int64_t>(1, fit);
  const auto time = [&](int64_t count) {
    constexpr double kEnough = 12;  // subgroups
    return double(count) * slots * std::max(1.0, kEnough / double(count * subgroups));
  };
  const int64_t wave = resident * machine.cores, rest = workgroups % wave;
  w.cost = double(workgroups / wave) * time(resident) + (rest ? time(div_up(rest, machine.cores)) : 0);
  return w;
}

const Constants* choose_tile(const KernelDef& kernel, const Tuning& tuning, const DeviceCaps& caps, int64_t m,
                             int64_t n, int64_t k, int64_t group, double* cost) {
  const Constants* best = nullptr;
  double least = 0;
  for (const Constants& c : tuning.of(kernel.name)) {
    if (group % tile_of(c).bk != 0) continue;
    const TileWork w = tile_work(tile_of(c), kernel.rate == Rate::kHalf, tuning, caps, m, n, k);
    if (w.legal && (!best || w.cost < least)) best = &c, least = w.cost;
  }
  if (cost) *cost = least;
  return best;
}

bool half_legal(const LinearTile& t) {
  return t.tm % 4 == 0 && t.tn == 8 && t.bk % 4 == 0 && t.bk <= 64 && t.bm % 2 == 0 && t.bm % t.tm == 0 &&
         t.bn % 8 == 0;
}

double half_error(uint32_t bk) { return std::ldexp(1 + std::sqrt(bk / 6.0), -11); }

}  // namespace linear

// A class that reads texels does so wherever a view fits: a storage load costs it as much as dozens of multiply-adds.
const KernelDef kLinearTexel = {"linear.texel", OpKind::kLinear, DeviceKind::kVulkan, texel_accepts, lower_texel,
                                nullptr,        nullptr,         &kTexelConstants};
// Few rows wait for the weights: a tile's other rows would be computed for nothing.
const KernelDef kLinearRow = {"linear.row", OpKind::kLinear, DeviceKind::kVulkan, row_accepts, lower_row,
                              nullptr,      nullptr,         &kRowConstants};
const KernelDef kLinearTile = {"linear.tile", OpKind::kLinear, DeviceKind::kVulkan, tile_accepts,
                               lower_tile,    nullptr,         tile_cost,           &kTileConstants};
const KernelDef kLinearHalf = {"linear.half", OpKind::kLinear, DeviceKind::kVulkan, half_accepts, lower_half,
                               nullptr,       half_cost,       &kHalfConstants,     Rate::kHalf,  1,
                               half_error,    half_self_test};
const KernelDef kLinearHalfCodes = {"linear.half.codes",
                                    OpKind::kLinear,
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
const KernelDef kLinearHalfGroups = {"linear.half.groups",
                                     OpKind::kLinear,
                                     DeviceKind::kVulkan,
                                     groups_accept,
                                     lower_groups,
                                     nullptr,
                                     groups_cost,
                                     &kGroupsConstants,
                                     Rate::kHalf,
                                     1,
                                     half_error,
                                     groups_self_test,
                                     nullptr,
                                     true};

}  // namespace vireo
