// attention.half: both products of attention in packed fp16 arithmetic.
#include "ops/attention_vulkan.h"

namespace vireo {
namespace {
using namespace ops;
using attention::Attention, attention::kHeads, attention::kKeyBias, attention::kX, attention::sizes, attention::Sizes;

/// Sizes of the shader for a head's widths; the formulas are the shader's.
struct Tile {
  Tile(const Constants& c, const Sizes& s, int64_t dims)
      : lx(c[0]), tx(c[1]), tn(c[2]), vn(c[3]), vm(c[4]), dc(dims), vx(div_up(s.vdim, vn)) {
    chunks = div_up(s.dim, dc);
    q_loads = div_up(rows() / 2 * dc / 4, lx);
    k_loads = div_up(keys() / 2 * dc / 4, lx);
    v_loads = div_up(values() * groups4(s.vdim), lx);
    wide = s.dim > 64;
    light = s.plain && vm * vn <= 32;
  }
  int64_t lx, tx, tn, vn, vm, dc, vx;
  int64_t chunks, q_loads, k_loads, v_loads;
  bool wide;   // scores are added in fp32
  bool light;  // registers are left: for the branches that leave keys out, and for where queries begin
  int64_t rows() const { return lx / tx * 8; }
  int64_t keys() const { return tx * tn; }
  int64_t values() const { return tx * 4; }  // keys of p v at a time
  uint64_t shared_bytes() const {
    const int64_t pairs = rows() / 2;
    const int64_t stage =
        std::max({dc * (pairs + keys() / 2 + 2), tx * (rows() + 4), values() * (pairs + 1 + round_up(vx * vn / 2, 4))});
    return 4 * uint64_t(stage + tx * (pairs + 4) + 2 * rows() + keys());
  }
  /// Scores beside the sums, or a block's part of the sums and the powers that still wait beside them; and the rest.
  int64_t registers() const {
    return vm * vn + std::max(tn * 4 * (wide ? 3 : 1) + 16, vm * vn / 2 + (tn > 4 ? 16 : 0) + 20) + 12;
  }
  int64_t value_trips(int64_t tokens) const {
    return tokens / keys() * (keys() / values()) + div_up(tokens % keys(), values());
  }
  /// Keys whose values are added: of a last trip only those up to the last key, where registers are left.
  int64_t summed_keys(int64_t tokens) const {
    return light ? round_up(tokens, tx % 2 == 0 ? 8 : 4) : value_trips(tokens) * values();
  }
  /// The last block's keys are in the first 4 of every invocation; the others have none, and are left out as well.
  bool is_short(int64_t tokens) const { return light && tn > 4 && tokens % keys() != 0 && tokens % keys() <= 4 * tx; }
  /// Keys that have scores, beyond the last one as well.
  int64_t scored_keys(int64_t tokens) const {
    return div_up(tokens, keys()) * keys() - (is_short(tokens) ? keys() - 4 * tx : 0);
  }
  int64_t score_products() const { return dc * tn * 4; }  // instructions of one run
  int64_t value_products() const { return values() * vm * vn / 2; }
  /// Subgroups that have some of `queries` queries in q k^T, and in p v.
  int64_t score_subgroups(int64_t queries, int64_t subgroup) const { return div_up(div_up(queries, 8) * tx, subgroup); }
  int64_t value_subgroups(int64_t queries, int64_t subgroup) const {
    return div_up(div_up(queries, vm) * vx, subgroup);
  }

  bool legal(const DeviceCaps& caps, const Tuning& t) const {
    const int64_t subgroups = div_up(lx, caps.subgroup_size) * caps.subgroup_size;
    return lx % (dc / 4) == 0 && lx / vx * vm >= rows() && lx <= caps.max_workgroup_invocations &&
           lx <= caps.max_workgroup_size[0] && shared_bytes() <= caps.max_shared_bytes &&
           registers() * subgroups <= t.machine.workgroup_registers;
  }

  /// Nine in ten invocations have queries in p v.
  bool busy() const { return rows() / vm * vx * 10 >= lx * 9; }

  /// In attention.tile's unit: instruction slots of a core for all queries of one head, more where subgroups are too
  /// few to hide latency. A part is bound by the words of shared memory that it moves where those take longer: one of
  /// 32 invocations takes as long as 4 instructions. Rounded from what compilers make of the shader.
  double cost(const Sizes& s, const Tuning& t, int64_t subgroup) const {
    constexpr double kEnough = 16;  // subgroups of a core: there are several barriers per block of keys
    const auto part = [](double instructions, double words) { return std::max(instructions, 4 * words); };
    const double loads = double(q_loads + k_loads) * 24 + 40;
    const double scores =
        part(double(score_products() + dc * 2) + (wide ? double(tn) * 12 : 0), double(dc * (4 + tn / 2)));
    const double powers = part(60 + 75.0 * double(tn) + (tn > 4 ? double(vm * vn) : 0), 24.0 + double(tx * 2 + tn * 4));
    const double sums =
        part(double(value_products() + values() * (vn == 12 ? 3 : 2) + 2 * vm * vn), double(values() * (vm + vn) / 2));
    const double staging = double(v_loads) * 8 + 60;
    const double all = double(div_up(lx, subgroup)), blocks = double(div_up(s.tokens, keys()));
    const double scored = double(scored_keys(s.tokens)) / double(keys());
    const double summed = double(summed_keys(s.tokens)) / double(values());
    double slots = 0;
    for (int64_t first = 0; first < s.tokens; first += rows()) {
      const int64_t queries = t.skip_rows ? std::min(rows(), s.tokens - first) : rows();
      // The scheduler of a subgroup without a query in p v waits for the others', so all of them count there.
      const double summing =
          all * double(value_subgroups(queries, subgroup)) / double(value_subgroups(rows(), subgroup));
      slots += double(chunks) * (scored * double(score_subgroups(queries, subgroup)) * scores + blocks * all * loads) +
               blocks * all * powers + summed * summing * sums + double(value_trips(s.tokens)) * all * staging;
    }
    const int64_t resident = std::min(t.machine.registers / (round_up(registers(), 8) * int64_t(all) * subgroup),
                                      int64_t(t.machine.shared_bytes / shared_bytes()));
    return slots * std::max(1.0, kEnough / (double(std::max<int64_t>(1, resident)) * all));
  }

  Work work(const Sizes& s, int64_t queries, int64_t depth, bool skip_rows, uint32_t subgroup) const {
    const int64_t trips = div_up(s.tokens, keys()) * chunks, runs = value_trips(s.tokens);
    Work w;
    w.loops = {
        {u32(div_up(s.tokens, keys())), 0}, {u32(trips), u32(score_products())}, {u32(runs), u32(value_products())}};
    const int64_t full = queries / rows(), rest = queries % rows(), left = rest && !skip_rows ? rows() : rest;
    const int64_t scorers = full * div_up(lx, subgroup) + score_subgroups(left, subgroup);
    const int64_t valuers = full * value_subgroups(rows(), subgroup) + value_subgroups(left, subgroup);
    const int64_t scores = scored_keys(s.tokens) / tx * chunks * dc * 4, sums = summed_keys(s.tokens) * vm * vn / 2;
    w.issued_flops = 4.0 * double(s.heads * depth * subgroup) * double(scorers * scores + valuers * sums);
    return w;
  }
};

struct Choice {
  const Constants* constants = nullptr;
  int64_t dc = 0;  // head dimensions staged at a time
  double cost = 0;
};

/// The tile of least cost; one with invocations that only wait while others sum values only where there is no other.
Choice choose(const OpCall& c, const LowerContext& ctx) {
  const Sizes s = sizes(c);
  Choice best, idle;
  for (const Constants& each : ctx.tuning->of("attention.half"))
    for (int64_t dc = std::min<int64_t>(64, s.dim); dc >= 4; dc -= 4) {
      const Tile tile(each, s, dc);
      if (!tile.legal(*ctx.caps, *ctx.tuning)) continue;
      const double cost = tile.cost(s, *ctx.tuning, ctx.caps->subgroup_size);
      Choice& of = tile.busy() ? best : idle;
      if (!of.constants || cost < of.cost) of = {&each, dc, cost};
    }
  return best.constants ? best : idle;
}

Result<void> accepts(const OpCall& c, const LowerContext& ctx) {
  if (!ctx.caps->shader_float16) return fail(ErrorCode::kUnsupported, "the device has no shaderFloat16");
  if (c.in[kX]->dtype != DType::kF16) return fail(ErrorCode::kUnsupported, "it multiplies fp16 rows");
  if (ctx.tuning->of("attention.half").empty())
    return fail(ErrorCode::kUnsupported, "devices of this class multiply fp32 no slower, or its accuracy check failed");
  const Sizes s = sizes(c);
  if (s.dim % 4 != 0 || s.vdim % 4 != 0)
    return fail(ErrorCode::kUnsupported, "it takes heads of a multiple of 4 channels");
  // Cosine attention (Swin V2) has scales up to 100 in q already: what fp16 sums round of such scores would show.
  if (attention::scale_of(c) * std::sqrt(double(s.dim)) > 2)
    return fail(ErrorCode::kUnsupported, "scores of this scale may be too large for sums in fp16");
  if (choose(c, ctx).constants) return {};
  return fail(ErrorCode::kUnsupported,
              "no tile of the class fits heads of {} and {} channels, {} bytes of shared memory and {} invocations",
              s.dim, s.vdim, ctx.caps->max_shared_bytes, ctx.caps->max_workgroup_invocations);
}

double cost(const OpCall& c, const LowerContext& ctx) { return choose(c, ctx).cost; }

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  Attention a(c, ctx);
  const Sizes& s = a.s;
  const Choice chosen = choose(c, ctx);
  if (!chosen.constants) return fail(ErrorCode::kUnsupported, "no tile");  // accepts() has the words
  const Tile tile(*chosen.constants, s, chosen.dc);
  Dispatch d = a.begin("attention.half", BindKind::kStorage);
  d.spec.add({{"LX", u32(tile.lx)},
              {"WHOLE", s.tokens % tile.keys() == 0},
              {"TX", u32(tile.tx)},
              {"SHORT", tile.is_short(s.tokens)},
              {"TN", u32(tile.tn)},
              {"DC", u32(tile.dc)},
              {"VN", u32(tile.vn)},
              // No branch where no subgroup is without queries.
              {"SKIP_ROWS", ctx.tuning->skip_rows && s.tokens % tile.rows() != 0},
              {"VX", u32(tile.vx)},
              {"VM", u32(tile.vm)}});
  a.lowering.kernel =
      fmt::format("attention.half q{} k{} d{} v{}x{}", tile.rows(), tile.keys(), tile.dc, tile.vx, tile.vm);
  a.lowering.constants = *chosen.constants;
  return a.finish(d, tile.rows(), [&](int64_t queries, int64_t depth) {
    return tile.work(s, queries, depth, ctx.tuning->skip_rows, ctx.caps->subgroup_size);
  });
}

constexpr const char* kNames[] = {"lx", "tx", "tn", "vn", "vm", nullptr};

bool legal(const Constants& c) {
  const uint32_t lx = c[0], tx = c[1], tn = c[2], vn = c[3], vm = c[4];
  return lx % tx == 0 && tx <= 16 && (tn == 4 || tn == 8) && (vn == 4 || vn == 8 || vn == 12) && (vm == 4 || vm == 8);
}

std::vector<Constants> defaults(const DeviceCaps& caps) {
  if (caps.device_class != DeviceClass::kMaxwell) return {};
  // tx is a head's width over vn, so that no invocation is without work in either product. Blocks of twice as many keys
  // as a head is wide (tn 8) stage queries half as often; of half as many (vn 8) they fit few tokens better. 256
  // invocations stage keys and values for twice as many queries.
  return {{128, 8, 4, 8, 8},  {256, 16, 8, 4, 8}, {128, 16, 8, 4, 8}, {128, 8, 8, 4, 8}, {64, 8, 8, 4, 8},
          {288, 9, 8, 4, 8},  {192, 12, 8, 4, 8}, {96, 6, 8, 4, 8},   {128, 4, 8, 4, 8}, {144, 9, 4, 8, 8},
          {160, 10, 4, 8, 8}, {192, 12, 4, 8, 8}, {128, 16, 4, 8, 8}};
}

void candidates(const DeviceCaps& caps, const std::function<void(std::string)>& add) {
  if (!caps.shader_float16) return;
  for (uint32_t tx : {4, 6, 8, 9, 10, 12, 16})
    for (uint32_t rows : {8, 16, 32})
      for (uint32_t tn : {4, 8})
        for (uint32_t vn : {4, 8})
          if (tx * rows <= caps.max_workgroup_invocations && tx * rows <= 320)
            add(fmt::format("texel=0 attention_half={},{},{},{},8", tx * rows, tx, tn, vn));
}

/// tn: keys of an invocation in q k^T, of as many queries as 8; vn and vm: dimensions and queries in p v.
constexpr ConstantsDef kConstants = {"attention_half", kNames, legal, defaults, candidates};

/// Of the self-test, in parts of its largest result. The values' part is linear.half's: sums of 4 tx products, and the
/// powers' rounding. The scores' part is larger: the largest of them are 4.7 deviations, a sum of n products rounds
/// n / 3 times at nearly its final size, by 0.58 of half a unit in the last place on average, and what a score is off,
/// its power is off by that share. Where one key has most of the weight nothing averages it out.
double error(const Constants& c) {
  const double products = double(std::min<uint32_t>(64, c[1] * c[3]));
  return std::ldexp(3 + std::sqrt(c[1] * 4 / 6.0) + 4.7 * 0.58 * std::sqrt(products / 3), -11);
}

/// Heads as wide as the tile, and queries and keys beyond the last whole block.
SelfTest self_test(const Constants& c) {
  const int64_t dim = std::min<int64_t>(128, int64_t(c[1]) * c[3]);
  const int64_t tokens = int64_t(c[1]) * c[2] * 2 + 5;
  SelfTest test;
  test.what.label = "attention";
  test.what.in = {tokens_shape(1, tokens, 2 * 3 * dim)};
  test.what.constant = {false};
  test.what.attrs = attrs_of({2, 0, 0, 1, 1});
  return test;
}

}  // namespace

extern const KernelDef kAttentionHalf;
const KernelDef kAttentionHalf = {"attention.half",
                                  OpKind::kAttention,
                                  DeviceKind::kVulkan,
                                  accepts,
                                  lower,
                                  nullptr,
                                  cost,
                                  &kConstants,
                                  Rate::kHalf,
                                  1,
                                  error,
                                  self_test};

}  // namespace vireo
