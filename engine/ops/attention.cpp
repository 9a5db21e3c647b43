// attention: softmax(q k^T * scale + bias + mask) v for every head; x [b, h, w, heads (2 qk + v)] holds q, k and v
// heads side by side, output [b, h, w, heads v]. A head's queries and keys may be narrower or wider than its values
// (low-rank scores, pruned values); without qk_dim all are a third of the row. The scores are never stored (online
// softmax: Milakov and Gimelshein 2018; Dao et al. 2022). All tokens of an image attend to each other, or those of a
// group (simd::TokenGroups): windows, shifted and masked (Swin, Liu et al. 2021), or equal positions of patches
// (MobileViT, Mehta and Rastegari 2022). bias [heads * tokens, tokens] is a constant per pair of tokens of a group; pad
// the row of x of tokens beyond the map's edge (the qkv bias), zeros if absent. key_bias [b, 1, 1, tokens] is added to
// every score of a key and is found while running: the logarithm of how many tokens a merged one stands for
// (proportional attention, Bolya et al. 2023).
#include "ops/attention_vulkan.h"

namespace vireo {
namespace {
using namespace ops;

using attention::Attention, attention::Attr, attention::add_consts, attention::Consts, attention::scale_of,
    attention::sizes, attention::Sizes;
using attention::kHeads, attention::kGroupH, attention::kGroupW, attention::kStepH, attention::kStepW;
using attention::kShiftH, attention::kShiftW, attention::kScale, attention::kQkDim, attention::kX, attention::kBias,
    attention::kPad, attention::kKeyBias;

constexpr AttrDef kAttrs[] = {{"heads", 1},   {"group_h", 0}, {"group_w", 0}, {"step_h", 1}, {"step_w", 1},
                              {"shift_h", 0}, {"shift_w", 0}, {"scale", 0},   {"qk_dim", 0}, {nullptr, 0}};

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(kX)) return shape_error(c, "operand", "missing", "the qkv rows");
  for (Attr a : {kGroupH, kGroupW, kShiftH, kShiftW, kQkDim})
    if (c.iattr(a) < 0) return shape_error(c, kAttrs[a].name, fmt::format("{}", c.iattr(a)), "0 or more");
  for (Attr a : {kStepH, kStepW})
    if (c.iattr(a) < 1) return shape_error(c, kAttrs[a].name, fmt::format("{}", c.iattr(a)), "1 or more");
  if (c.attr(kScale) < 0)
    return shape_error(c, "scale", fmt::format("{:g}", c.attr(kScale)), "a positive factor, or 0 for 1 / sqrt(dim)");
  const Sizes s = sizes(c);
  if (s.heads < 1 || c.in[kX]->shape.c() != s.row() || s.dim < 1 || s.dim > 128 || s.vdim < 1 || s.vdim > 128 ||
      (c.iattr(kQkDim) == 0 && s.vdim != s.dim))
    return shape_error(c, "qkv", got(c.in[kX]),
                       c.iattr(kQkDim) > 0
                           ? fmt::format("{} heads of {} channels in q and in k and 1 to 128 in v", s.heads, s.dim)
                           : fmt::format("3 x {} heads of 1 to 128 channels each", s.heads));
  const simd::TokenGroups& g = s.groups;
  if (g.shift_h >= g.group_h || g.shift_w >= g.group_w ||
      ((g.shift_h > 0 || g.shift_w > 0) && (g.step_h > 1 || g.step_w > 1)))
    return shape_error(c, "shift", fmt::format("{}x{}", g.shift_h, g.shift_w),
                       fmt::format("less than the {}x{} window, and a step of 1", g.group_h, g.group_w));
  const TensorDesc* bias = c.input(kBias);
  if (bias && (bias->shape.w() != s.heads * s.tokens || bias->shape.c() != s.tokens))
    return shape_error(
        c, "bias", got(bias),
        fmt::format("[.., {}, {}] for {} heads and {} tokens", s.heads * s.tokens, s.tokens, s.heads, s.tokens));
  if (c.input(kPad) && !is_vector(c.input(kPad), s.row()))
    return shape_error(c, "pad", got(c.input(kPad)), fmt::format("{} values", s.row()));
  if (const TensorDesc* keys = c.input(kKeyBias)) {
    if (keys->shape != tokens_shape(s.batch, 1, s.tokens) || keys->layout != Layout::kRows)
      return shape_error(c, "key_bias", got(keys), fmt::format("[{}, 1, 1, {}]", s.batch, s.tokens));
    if (!s.plain || c.input(kPad))
      return shape_error(c, "key_bias", got(keys), "attention of all tokens to each other, without bias and pad");
  }
  TensorDesc out;
  out.shape = c.in[kX]->shape;
  out.shape.d[3] = s.width();
  return out;
}

/// Sizes of attention.tile for a shape; the formulas are the shader's.
struct Tile {
  int64_t lx, tx, tm, tn, dc, vc;
  int64_t vx, vm;  // invocations that share a query in p v, and queries of each
  bool parts;      // probabilities wait in registers, vc keys at a time are in shared memory
  int64_t rows() const { return lx / tx * tm; }
  int64_t keys() const { return tx * tn; }
  int64_t groups(int64_t vdim) const { return div_up(groups4(vdim), vx); }
  bool same_rows() const { return vx == tx && vm == tm; }
  bool may_be_in_parts() const { return same_rows() && tn == 4 && (vc == tx || vc == 2 * tx || vc == 4 * tx); }
  int64_t shared_bytes(int64_t vdim) const {
    const int64_t scores = dc * (rows() + 5) + dc * (keys() + 5), values = vc * round_up(vdim, 4);
    if (parts) return 4 * (std::max({scores, tx * (rows() + 4), values + vc * (rows() + 4)}) + 2 * rows() + 4);
    return 4 * (std::max({scores, tx * rows(), values}) + keys() * (rows() + 4) + (same_rows() ? 4 : rows()) + 4);
  }
  /// Scores, sums, maxima (of parts, in shared memory) and the rest.
  int64_t registers(int64_t vdim) const { return tm * tn + 4 * vm * groups(vdim) + (parts ? tm + 48 : 2 * tm + 56); }
  /// Subgroups that have some of `queries` queries in q k^T, and in p v.
  int64_t score_subgroups(int64_t queries, int64_t subgroup) const {
    return div_up(div_up(queries, tm) * tx, subgroup);
  }
  int64_t value_subgroups(int64_t queries, int64_t subgroup) const {
    return div_up(div_up(queries, vm) * vx, subgroup);
  }
  int64_t value_trips(int64_t tokens) const {
    if (parts) return div_up(tokens, keys()) * (keys() / vc);  // each has some of every invocation's keys
    return tokens / keys() * div_up(keys(), vc) + div_up(tokens % keys(), vc);
  }

  /// Instruction slots of a core for all queries of one head, or four for each word of shared memory that a subgroup
  /// moves where those take longer; more where subgroups are too few to hide latency. Rounded from what compilers make
  /// of the shader: beside the products, what stages them (per load and per trip) and what turns scores into powers.
  double cost(const Sizes& s, const Tuning& t, int64_t subgroup) const {
    constexpr double kEnough = 16;   // subgroups of a core: there are several barriers per block of keys
    constexpr double kIdle = 0.125;  // of a subgroup's p v, where it has no query: it stages and waits like the others
    const int64_t g = groups(s.vdim), all = div_up(lx, subgroup), blocks = div_up(s.tokens, keys()),
                  chunks = blocks * div_up(groups4(s.dim), dc / 4), trips = value_trips(s.tokens);
    const auto loads = [&](int64_t elements) { return double(div_up(elements, 4 * lx)); };
    const double qk_loads = loads(rows() * dc) + loads(keys() * dc), v_loads = loads(vc * groups4(s.vdim) * 4);
    const double powers = double(8 * tm * tn + 100 + 4 * vm * g + (same_rows() ? 0 : 12));
    const double power_words =
        double(tm * tn + (parts ? 3 * tm + div_up(rows(), lx) * (tx + 3) : tm * (tx + 1)) + (same_rows() ? 0 : vm));
    const auto of = [&](int64_t queries) {
      const int64_t summing = value_subgroups(queries, subgroup);
      const double scorers = double(score_subgroups(queries, subgroup)),
                   summers = double(summing) + kIdle * double(all - summing);
      const double slots =
          double(chunks) * (scorers * double(dc * (tm * tn + tm / 4 + tn / 4)) + double(all) * (qk_loads * 16 + 30)) +
          double(blocks * all) * powers +
          double(trips) * (summers * double(vc * (4 * vm * g + div_up(vm, 4) + g)) + double(all) * (v_loads * 25 + 30));
      const double words = double(chunks) * (scorers * double(dc * (tm + tn)) + double(all) * qk_loads * 4) +
                           double(blocks * all) * power_words +
                           double(trips) * (double(summing * vc * (vm + 4 * g)) + double(all) * v_loads * 4);
      return std::max(slots, 4 * words);
    };
    const int64_t full = s.tokens / rows(), rest = s.tokens % rows();
    const double slots = double(full) * of(rows()) + (rest == 0 ? 0 : of(t.skip_rows ? rest : rows()));
    const int64_t fit = std::min(t.machine.registers / (registers(s.vdim) * all * subgroup),
                                 t.machine.shared_bytes / shared_bytes(s.vdim));
    const double resident = double(std::max<int64_t>(1, fit) * all);
    return slots * std::max(1.0, kEnough / resident);
  }
};

/// The tile of least cost with one of the class's blocks of scores, and which of them it is; its dc and vc are at most
/// that one's. Where none can be had, the one that needs the least shared memory.
struct Choice {
  Tile tile{};
  const Constants* constants = nullptr;
};

Choice choose_tile(const Sizes& s, const Tuning& t, const DeviceCaps& caps) {
  Choice best, smallest;
  double least = 0;
  const auto consider = [&](const Constants& c, Tile tile) {
    const int64_t all = div_up(tile.lx, caps.subgroup_size) * caps.subgroup_size;
    if (tile.parts && tile.registers(s.vdim) * all > t.machine.workgroup_registers) return;
    const int64_t bytes = tile.shared_bytes(s.vdim);
    if (!smallest.constants || bytes < smallest.tile.shared_bytes(s.vdim)) smallest = {tile, &c};
    if (bytes > caps.max_shared_bytes) return;
    const double cost = tile.cost(s, t, caps.subgroup_size);
    if (!best.constants || cost < least) best = {tile, &c}, least = cost;
  };
  for (const Constants& c : t.of("attention.tile")) {
    if (c[0] > caps.max_workgroup_invocations && &c != &t.of("attention.tile")[0]) continue;
    const int64_t lx = c[0], tx = c[1], tm = c[2], tn = c[3], rows = lx / tx * tm;
    const auto split = [&](int64_t vx, int64_t vm) {
      if (rows % vm || lx / vx * vm < rows) return;
      for (int64_t dc = std::min<int64_t>(c[4], round_up(s.dim, 4)); dc >= 4; dc -= 4)
        for (int64_t vc = c[5]; vc >= 4; vc /= 2) {
          if (tx * tn % vc) continue;
          Tile tile{lx, tx, tm, tn, dc, vc, vx, vm, false};
          consider(c, tile);
          tile.parts = tile.may_be_in_parts();
          if (tile.parts) consider(c, tile);
        }
    };
    split(tx, tm);  // first, because it needs no exchange between the products
    for (int64_t vm = 1; vm <= 8; vm *= 2)
      for (int64_t vx = 1; vx <= std::min<int64_t>(groups4(s.vdim), lx); ++vx) split(vx, vm);
  }
  return best.constants ? best : smallest;
}

/// attention.tile's work for one dispatch of `queries` queries of `depth` images or groups.
Work tile_work(const Sizes& s, const Tile& t, int64_t queries, int64_t depth, bool skip_rows, uint32_t subgroup) {
  const int64_t trips = div_up(s.tokens, t.keys()) * div_up(groups4(s.dim), t.dc / 4), values = t.value_trips(s.tokens);
  const int64_t score = t.tm * t.tn * t.dc, value = t.vm * t.groups(s.vdim) * 4 * t.vc;  // multiply-adds of one run
  Work w;
  w.loops = {{u32(div_up(s.tokens, t.keys())), 0}, {u32(trips), u32(score)}, {u32(values), u32(value)}};
  const int64_t full = queries / t.rows(), rest = queries % t.rows(), left = rest && !skip_rows ? t.rows() : rest;
  const int64_t scorers = full * div_up(t.lx, subgroup) + t.score_subgroups(left, subgroup);
  const int64_t valuers = full * t.value_subgroups(t.rows(), subgroup) + t.value_subgroups(left, subgroup);
  w.issued_flops =
      2.0 * double(s.heads * depth * subgroup) * double(scorers * trips * score + valuers * values * value);
  return w;
}

// ---- attention.texel

Result<void> texel_accepts(const OpCall& c, const LowerContext& ctx) {
  if (!ctx.tuning->texel || ctx.tuning->of("attention.texel").empty())
    return fail(ErrorCode::kUnsupported, "devices of this class read storage buffers");
  const Attention a(c, ctx);
  const TensorDesc* keys = c.input(kKeyBias);
  if (!texel_fits(*ctx.caps, a.x.bytes(), a.x.dtype) || (keys && !texel_fits(*ctx.caps, keys->bytes(), keys->dtype)) ||
      (a.at.bias >= 0 && !texel_fits(*ctx.caps, a.lowering.consts[size_t(a.at.bias)].bytes, DType::kF32)))
    return fail(ErrorCode::kUnsupported, "rows or bias are more than the device's {} texels",
                ctx.caps->max_texel_elements);
  return {};
}

Result<Lowering> lower_texel(const OpCall& c, const LowerContext& ctx) {
  Attention a(c, ctx);
  const Sizes& s = a.s;
  const Constants& chosen = ctx.tuning->of("attention.texel")[0];
  const uint32_t lx = chosen[0], qi = chosen[1], kb = chosen[2];
  // The query, the accumulator and kb scores of every query live in registers: wide heads leave room for one query.
  // In groups it is one of each: where a row lies is worked out for every load, and a software driver's compiler took
  // minutes for more.
  const bool few = std::max(s.dim, s.vdim) > 64 || !a.aligned;
  const uint32_t queries = few || !s.plain ? 1 : qi, keys = !s.plain ? 1 : few ? std::min(kb, 2u) : kb;
  Dispatch d = a.begin("attention.texel", texel_kind(a.x.dtype));
  d.spec.add({{"LX", lx}, {"QI", queries}, {"KB", keys}});
  a.lowering.kernel = fmt::format("attention.texel q{} k{}", queries, keys);
  a.lowering.constants = chosen;
  return a.finish(d, int64_t(lx) * queries, [](int64_t, int64_t) { return Work(); });
}

constexpr const char* kTexelNames[] = {"lx", "qi", "kb", nullptr};

bool texel_legal(const Constants& c) { return c[1] <= 4 && c[2] <= 16; }

std::vector<Constants> texel_defaults(const DeviceCaps& caps) {
  if (caps.device_class == DeviceClass::kSoftware) return {{8, 4, 4}};
  return {{32, 2, 8}};
}

void texel_candidates(const DeviceCaps&, const std::function<void(std::string)>& add) {
  for (uint32_t lx : {8, 16, 32, 64})
    for (uint32_t qi : {1, 2, 3, 4})
      for (uint32_t kb : {2, 4, 8}) add(fmt::format("texel=1 attention_texel={},{},{}", lx, qi, kb));
}

constexpr ConstantsDef kTexelConstants = {"attention_texel", kTexelNames, texel_legal, texel_defaults,
                                          texel_candidates};

// ---- attention.tile

Result<void> tile_accepts(const OpCall& c, const LowerContext& ctx) {
  if (ctx.tuning->of("attention.tile").empty()) return fail(ErrorCode::kUnsupported, "the tuning wants another kernel");
  const Sizes s = sizes(c);
  const Tile tile = choose_tile(s, *ctx.tuning, *ctx.caps).tile;
  const int64_t shared = tile.shared_bytes(s.vdim);
  if (shared > ctx.caps->max_shared_bytes || tile.lx > ctx.caps->max_workgroup_invocations)
    return fail(ErrorCode::kUnsupported,
                "it needs {} bytes of shared memory and {} invocations; the device has {} and {}", shared, tile.lx,
                ctx.caps->max_shared_bytes, ctx.caps->max_workgroup_invocations);
  return {};
}

double tile_cost(const OpCall& c, const LowerContext& ctx) {
  const Sizes s = sizes(c);
  return choose_tile(s, *ctx.tuning, *ctx.caps).tile.cost(s, *ctx.tuning, ctx.caps->subgroup_size);
}

Result<Lowering> lower_tile(const OpCall& c, const LowerContext& ctx) {
  Attention a(c, ctx);
  const Sizes& s = a.s;
  const Choice chosen = choose_tile(s, *ctx.tuning, *ctx.caps);
  const Tile& tile = chosen.tile;
  const int64_t rows = tile.rows();  // queries per workgroup
  Dispatch d = a.begin("attention.tile", BindKind::kStorage);
  d.spec.add({{"LX", u32(tile.lx)},
              {"IN_TYPE", type_code(a.x.dtype)},
              {"WHOLE", s.tokens % tile.keys() == 0},
              {"TX", u32(tile.tx)},
              {"TM", u32(tile.tm)},
              {"TN", u32(tile.tn)},
              {"DC", u32(tile.dc)},
              {"VC", u32(tile.vc)},
              // No branch where no subgroup is without queries.
              {"SKIP_ROWS", ctx.tuning->skip_rows && s.tokens % rows != 0},
              {"VX", u32(tile.vx)},
              {"VM", u32(tile.vm)},
              {"PARTS", tile.parts}});
  a.lowering.kernel = fmt::format("attention.tile q{} k{} d{} v{}x{}", rows, tile.keys(), tile.dc, tile.vx, tile.vm);
  if (tile.parts) a.lowering.kernel += fmt::format(" p{}", tile.vc);
  a.lowering.constants = *chosen.constants;
  return a.finish(d, rows, [&](int64_t queries, int64_t depth) {
    return tile_work(s, tile, queries, depth, ctx.tuning->skip_rows, ctx.caps->subgroup_size);
  });
}

constexpr const char* kTileNames[] = {"lx", "tx", "tm", "tn", "dc", "vc", nullptr};

bool tile_legal(const Constants& c) {
  const uint32_t lx = c[0], tx = c[1], tm = c[2], tn = c[3], dc = c[4], vc = c[5];
  return lx % tx == 0 && tm % 4 == 0 && tn % 4 == 0 && dc >= 4 && dc <= 64 && dc % 4 == 0 && vc >= 4 &&
         tx * tn % vc == 0;
}

std::vector<Constants> tile_defaults(const DeviceCaps& caps) {
  // Where words of shared memory are the bound, tiles of 8 queries move fewer of them. tx is a head's groups, so that
  // no invocation is without work in either product, and lx what comes close to whole subgroups.
  if (caps.device_class == DeviceClass::kMaxwell && caps.max_workgroup_invocations >= 256)
    return {{128, 8, 4, 4, 16, 32},  {252, 6, 8, 4, 24, 24},  {252, 9, 8, 4, 36, 36}, {252, 12, 8, 4, 24, 48},
            {256, 16, 8, 4, 32, 64}, {252, 18, 8, 4, 36, 72}, {128, 8, 8, 4, 32, 32}, {128, 16, 8, 4, 32, 64}};
  Constants c =
      caps.device_class == DeviceClass::kMaxwell ? Constants{128, 8, 4, 4, 16, 32} : Constants{64, 8, 4, 4, 16, 16};
  while (c[0] > 32 && c[0] > caps.max_workgroup_invocations) c[0] /= 2;
  return {c};
}

void tile_candidates(const DeviceCaps& caps, const std::function<void(std::string)>& add) {
  for (uint32_t lx : {64, 128, 256})
    for (uint32_t tx : {8, 16})
      for (uint32_t tn : {4, 8})
        for (uint32_t dc : {16, 32})
          for (uint32_t vc : {16, 32}) add(fmt::format("texel=0 attention_tile={},{},4,{},{},{}", lx, tx, tn, dc, vc));
  // tx for heads of 24, 32, 36, 48, 64 and 72 channels, lx the most within 4 or 8 subgroups of 32.
  for (uint32_t tx : {6, 8, 9, 12, 16, 18})
    for (uint32_t most : {128, 256})
      if (most <= caps.max_workgroup_invocations)
        for (uint32_t dc : {16, 36})
          add(fmt::format("texel=0 attention_tile={},{},8,4,{},{}", most / tx * tx, tx, dc, 4 * tx));
}

/// dc and vc are the most that is staged at once: of these and the rest an attention takes what costs least for its
/// heads' width.
constexpr ConstantsDef kTileConstants = {"attention_tile", kTileNames, tile_legal, tile_defaults, tile_candidates};

/// Pads and rolls the map as PyTorch's models do, then attends within each group; written apart from simd::TokenGroups.
void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  const Sizes s = sizes(c);
  const simd::TokenGroups& g = s.groups;
  const double scale = scale_of(c);
  const std::vector<double>& x = *r.in[kX];
  const int64_t ld = s.row(), h = g.h, w = g.w, tile_h = g.group_h * g.step_h, tile_w = g.group_w * g.step_w;
  const int64_t ph = round_up(h, tile_h), pw = round_up(w, tile_w);
  const auto side = [](int64_t at, int64_t size, int64_t window, int64_t shift) {
    return at < size - window ? 0 : at < size - shift ? 1 : 2;
  };
  struct Token {
    const double* row;  // null: zeros
    int64_t out;        // row of the output, or -1
    int64_t region;
  };
  std::vector<double> p(size_t(s.tokens));
  std::vector<Token> tokens(size_t(s.tokens));
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t top = 0; top < ph; top += tile_h)
      for (int64_t left = 0; left < pw; left += tile_w)
        for (int64_t phase = 0; phase < g.step_h * g.step_w; ++phase) {
          for (int64_t t = 0; t < s.tokens; ++t) {
            // On the rolled map; there lies what was shift further on.
            const int64_t ry = top + t / g.group_w * g.step_h + phase / g.step_w,
                          rx = left + t % g.group_w * g.step_w + phase % g.step_w;
            const int64_t y = (ry + g.shift_h) % ph, xx = (rx + g.shift_w) % pw, at = (b * h + y) * w + xx;
            const bool real = y < h && xx < w;
            const bool masked = g.shift_h > 0 || g.shift_w > 0;
            tokens[size_t(t)] = {
                real            ? &x[size_t(at * ld)]
                : c.input(kPad) ? r.in[kPad]->data()
                                : nullptr,
                real ? at : -1,
                masked ? 3 * side(ry, ph, g.group_h, g.shift_h) + side(rx, pw, g.group_w, g.shift_w) : 0};
          }
          for (int64_t head = 0; head < s.heads; ++head)
            for (int64_t i = 0; i < s.tokens; ++i) {
              if (tokens[size_t(i)].out < 0) continue;
              const double* q = tokens[size_t(i)].row + head * s.dim;
              double highest = -INFINITY, sum = 0;
              for (int64_t j = 0; j < s.tokens; ++j) {
                const Token& key = tokens[size_t(j)];
                double score = 0;
                for (int64_t e = 0; key.row && e < s.dim; ++e) score += q[e] * key.row[s.keys_at() + head * s.dim + e];
                score *= scale;
                if (c.input(kBias)) score += (*r.in[kBias])[size_t((head * s.tokens + i) * s.tokens + j)];
                if (c.input(kKeyBias)) score += (*r.in[kKeyBias])[size_t(b * s.tokens + j)];
                if (key.region != tokens[size_t(i)].region) score -= 100;
                p[size_t(j)] = score;
                highest = std::max(highest, score);
              }
              for (double& v : p) sum += v = std::exp(v - highest);
              double* out = &(*r.out)[size_t(tokens[size_t(i)].out * s.width() + head * s.vdim)];
              std::fill(out, out + s.vdim, 0.0);
              for (int64_t j = 0; j < s.tokens; ++j)
                for (int64_t e = 0; tokens[size_t(j)].row && e < s.vdim; ++e)
                  out[e] += p[size_t(j)] / sum * tokens[size_t(j)].row[s.values_at() + head * s.vdim + e];
            }
        }
}

Cost cost(const OpCall& c) {
  const Sizes s = sizes(c);
  return cost_of(c, double(s.batch * s.groups.count() * s.heads) * double(s.tokens) * double(s.tokens) *
                        (2.0 * double(s.dim + s.vdim) + 5));
}

/// A score's error is rounding_bound(dim) times its size and becomes a relative error of exp; with values in [-1, 1]
/// and scores of a few units a factor 4 covers it, plus the weighted sum of n terms. Larger scores come with a larger
/// bound.
double tolerance(const OpCall& c) {
  const Sizes s = sizes(c);
  return 4 * rounding_bound(s.dim) + rounding_bound(s.tokens);
}

/// vdim 0: values as wide as queries. Otherwise with a scale, as of a head that was wider once.
OpCase make(std::string label, int64_t batch, int64_t tokens, int64_t heads, int64_t dim, float amplitude = 1.f,
            int64_t vdim = 0) {
  OpCase o;
  o.label = std::move(label);
  o.in = {tokens_shape(batch, tokens, heads * (2 * dim + (vdim ? vdim : dim)))};
  o.constant = {false};
  o.attrs = attrs_of({double(heads), 0, 0, 1, 1});
  if (vdim) o.attrs[kScale] = 0.125, o.attrs[kQkDim] = double(dim);
  o.scale = amplitude;
  return o;
}

/// The same with a bias of every key.
OpCase make_keys(std::string label, int64_t batch, int64_t tokens, int64_t heads, int64_t dim, float amplitude = 1.f) {
  OpCase o = make(std::move(label), batch, tokens, heads, dim, amplitude);
  const Shape none{{1, 1, 1, 0}};
  o.in.insert(o.in.end(), {none, none, tokens_shape(batch, 1, tokens)});
  o.constant = {false, true, true, false};
  return o;
}

/// A map in groups; attributes in the order of kAttrs behind heads.
OpCase make_groups(std::string label, Shape map, int64_t heads, int64_t dim, std::initializer_list<double> rest,
                   bool bias, bool pad, int64_t vdim = 0) {
  OpCase o;
  o.label = std::move(label);
  map.d[3] = heads * (2 * dim + (vdim ? vdim : dim));
  o.attrs = attrs_of({double(heads)});
  std::copy(rest.begin(), rest.end(), o.attrs.begin() + 1);
  if (vdim) o.attrs[kScale] = 0.125, o.attrs[kQkDim] = double(dim);
  for (int a : {kStepH, kStepW}) o.attrs[size_t(a)] = std::max(1.0, o.attrs[size_t(a)]);
  const TensorDesc x{DType::kF32, map};
  const OpCall call{"", &o.attrs, {&x}, {}};
  const int64_t tokens = sizes(call).tokens;
  const Shape none{{1, 1, 1, 0}};
  o.in = {map, bias ? Shape{{1, 1, heads * tokens, tokens}} : none, pad ? Shape{{1, 1, 1, map.c()}} : none};
  o.constant = {false, true, true};
  return o;
}

std::vector<OpCase> cases() {
  std::vector<OpCase> all = {
      make("vit-ti", 1, 197, 3, 64),
      make("dinov2 registers", 1, 261, 2, 64),
      make("batch", 3, 50, 4, 32),
      make("one token", 2, 1, 2, 16),
      make("dim 1", 1, 17, 3, 1),
      make("dim 13", 2, 19, 5, 13),
      make("dim 36", 1, 38, 2, 36),
      make("dim 18", 1, 26, 3, 18),
      make("dim 128", 1, 65, 1, 128),
      make("dim 127", 1, 33, 2, 127),
      make("peaked", 1, 70, 2, 24, 4.f),
      make("narrow q and k", 1, 197, 3, 32, 1.f, 64),
      make("narrow v", 2, 50, 2, 64, 1.f, 44),
      make("wide v, one channel of q", 1, 65, 2, 1, 1.f, 128),
      make("wide q, one channel of v", 1, 34, 3, 128, 1.f, 1),
      make("primes", 2, 37, 3, 13, 1.f, 31),
      make("odd q, whole groups of v", 1, 70, 3, 7, 1.f, 16),
  };
  const auto add = [&all](OpCase o) { all.push_back(std::move(o)); };
  add(make_groups("swin-t shifted and padded", Shape{{2, 16, 16, 0}}, 2, 32, {7, 7, 1, 1, 3, 3}, true, true));
  add(make_groups("swinv2-t, scale 1", Shape{{1, 16, 16, 0}}, 3, 32, {8, 8, 1, 1, 4, 4, 1}, true, false));
  add(make_groups("one window of 16, wide heads", Shape{{1, 16, 16, 0}}, 1, 68, {16, 16}, true, false));
  add(make_groups("mobilevit-s at 512", Shape{{1, 32, 32, 0}}, 1, 48, {0, 0, 2, 2}, false, false));
  add(make_groups("mobilevit-s, heads of 36, whole blocks of keys", Shape{{1, 16, 16, 0}}, 2, 36, {0, 0, 2, 2}, false,
                  false));
  add(make_groups("mobilevit-xs", Shape{{2, 8, 6, 0}}, 4, 30, {0, 0, 2, 2}, false, false));
  add(make_groups("grid of windows, padded, odd dim", Shape{{1, 11, 7, 0}}, 3, 5, {2, 3, 2, 3}, true, true));
  add(make_groups("shift along x only, zeros beyond the edge", Shape{{1, 3, 10, 0}}, 2, 8, {4, 4, 1, 1, 0, 2}, false,
                  false));
  add(make_keys("vit-ti after merging", 1, 165, 3, 64));
  add(make_keys("key bias, batch", 3, 50, 4, 32));
  add(make_keys("key bias, one token", 2, 1, 2, 16));
  add(make_keys("key bias, whole blocks", 2, 64, 2, 64));
  add(make_keys("key bias, odd", 2, 37, 3, 13));
  add(make_keys("key bias, several blocks, large", 1, 301, 1, 20, 6.f));
  add(make_groups("shifted and padded windows of narrow q and k", Shape{{2, 9, 11, 0}}, 2, 12, {4, 4, 1, 1, 2, 2}, true,
                  true, 32));
  add(make_groups("patches of narrow, odd v", Shape{{1, 6, 8, 0}}, 3, 20, {0, 0, 2, 2}, false, false, 9));
  return all;
}

}  // namespace

namespace attention {

Sizes sizes(const OpCall& c) {
  const Shape& s = c.in[kX]->shape;
  const int64_t heads = c.iattr(kHeads), each = heads > 0 ? s.c() / heads : 0;
  const int64_t dim = c.iattr(kQkDim) > 0 ? c.iattr(kQkDim) : each / 3;
  simd::TokenGroups g;
  g.h = s.h(), g.w = s.w();
  g.step_h = std::max<int64_t>(1, c.iattr(kStepH)), g.step_w = std::max<int64_t>(1, c.iattr(kStepW));
  g.group_h = c.iattr(kGroupH) > 0 ? c.iattr(kGroupH) : div_up(g.h, g.step_h);
  g.group_w = c.iattr(kGroupW) > 0 ? c.iattr(kGroupW) : div_up(g.w, g.step_w);
  g.shift_h = c.iattr(kShiftH), g.shift_w = c.iattr(kShiftW);
  const bool plain = g.count() == 1 && !g.padded() && g.shift_h == 0 && g.shift_w == 0 && !c.input(kBias);
  return {s.n(), g.tokens(), heads, dim, each - 2 * dim, g, plain};
}
double scale_of(const OpCall& c) { return c.attr(kScale) > 0 ? c.attr(kScale) : 1.0 / std::sqrt(double(sizes(c).dim)); }

Consts add_consts(const OpCall& c, const Sizes& s, Lowering& l) {
  Consts r;
  if (c.input(kBias))
    r.bias = int(l.consts.size()), l.consts.push_back(rows_const(kBias, s.heads * s.tokens, s.tokens));
  if (c.input(kPad)) r.pad = int(l.consts.size()), l.consts.push_back(vector_const(kPad, s.row()));
  return r;
}

}  // namespace attention

extern const OpDef kAttentionOp;
const OpDef kAttentionOp = {"attention", kAttrs, infer, reference, cost, tolerance, cases};

extern const KernelDef kAttentionTexel, kAttentionTile;
const KernelDef kAttentionTexel = {"attention.texel", OpKind::kAttention, DeviceKind::kVulkan,
                                   texel_accepts,     lower_texel,        nullptr,
                                   nullptr,           &kTexelConstants};
const KernelDef kAttentionTile = {"attention.tile", OpKind::kAttention, DeviceKind::kVulkan, tile_accepts, lower_tile,
                                  nullptr,          tile_cost,          &kTileConstants};

}  // namespace vireo
