// linear: y = residual + scale * act(norm(x) W^T + bias). x [.., k] (activation), W [n, k], bias and scale [1, n]
// (constants), residual like y. `ln` normalises the rows of x first, gain * (x - mean) / sqrt(var + eps) + offset, with
// affine = gain and offset, [2, k], or absent: they are folded into a W of floats and the bias, while a W of codes
// would no longer hold the same numbers.
#include "ops/linear.h"

#include <algorithm>

#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;
using linear::kAct, linear::kNorm, linear::kEps;
using linear::kX, linear::kWeight, linear::kBias, linear::kScaleIn, linear::kResidualIn, linear::kAffine;

constexpr AttrDef kAttrs[] = {{"act", 0, kActNames}, {"ln", 0}, {"eps", 1e-6}, {nullptr, 0}};

struct Sizes {
  int64_t m, n, k;
};
Sizes sizes(const OpCall& c) { return {c.in[kX]->shape.rows(), c.in[kWeight]->shape.w(), c.in[kWeight]->shape.c()}; }

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(kX) || !c.input(kWeight)) return shape_error(c, "operand", "missing", "an input and a weight");
  const Sizes s = sizes(c);
  if (c.in[kX]->layout != Layout::kRows || c.in[kX]->shape.c() != s.k)
    return shape_error(c, "weight", got(c.in[kWeight]),
                       fmt::format("[.., {}] for an input of {} channels", c.in[kX]->shape.c(), c.in[kX]->shape.c()));
  if (s.n < 1) return shape_error(c, "weight", got(c.in[kWeight]), "at least one output channel");
  if (c.input(kBias) && !is_vector(c.in[kBias], s.n))
    return shape_error(c, "bias", got(c.in[kBias]), fmt::format("{} values", s.n));
  if (c.input(kScaleIn) && !is_vector(c.in[kScaleIn], s.n))
    return shape_error(c, "scale", got(c.in[kScaleIn]), fmt::format("{} values", s.n));
  if (c.input(kAffine) && (c.in[kAffine]->shape.w() != 2 || c.in[kAffine]->shape.c() != s.k))
    return shape_error(c, "affine", got(c.in[kAffine]), fmt::format("[2, {}]", s.k));
  if (c.input(kAffine) && c.iattr(kNorm) == 0)
    return shape_error(c, "affine", "given without 'ln'", "rows to normalise");
  TensorDesc out;
  out.shape = c.in[kX]->shape;
  out.shape.d[3] = s.n;
  if (c.input(kResidualIn) && c.in[kResidualIn]->shape != out.shape)
    return shape_error(c, "residual", got(c.in[kResidualIn]), to_string(out.shape));
  return out;
}

/// Constants in the order weight, bias, scale, affine; -1 for the absent ones.
struct Consts {
  int bias = -1, scale = -1, affine = -1;
};
Consts add_vectors(const OpCall& c, int64_t n, Lowering& l) {
  Consts r;
  if (c.input(kBias)) r.bias = int(l.consts.size()), l.consts.push_back(vector_const(kBias, n));
  if (c.input(kScaleIn)) r.scale = int(l.consts.size()), l.consts.push_back(vector_const(kScaleIn, n));
  if (c.input(kAffine)) r.affine = int(l.consts.size()), l.consts.push_back(rows_const(kAffine, 2, sizes(c).k));
  return r;
}

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
  Texel(const Tuning& t, const DeviceCaps& caps, const Sizes& s)
      : lx(t.linear_texel.lx), rows(t.linear_texel.r), c(t.linear_texel.c), panels(t.linear_texel.panels) {
    const auto& q = t.linear_texel;
    while (rows > 1 && rows / 2 >= s.m) rows /= 2;
    if (groups4(s.n) < int64_t(lx) * c) c = 1;
    // A broadcast register holds rl rows times as many groups of k as the subgroup has room for.
    rl = std::min(q.rl, rows);
    while (rl > caps.subgroup_size) rl /= 2;
    shuffle = t.shuffle && rl > 1 && rows % rl == 0;
    if (!shuffle) rl = 1;
    steps = shuffle ? std::max(1u, caps.subgroup_size / rl) : 1;
    unroll = shuffle ? q.unroll : 1;
    while (panels > 1 && div_up(s.m, rows) * div_up(s.n, panel() * panels) < 4 * int64_t(t.machine.cores)) panels /= 2;
  }
  int64_t panel() const { return int64_t(lx) * c * 4; }  // columns

  uint32_t lx, rows, c, panels, rl = 1, steps = 1, unroll = 1;
  bool shuffle = false;
};

/// The rows of x sum to zero, so that a weight's row may be moved by a constant.
bool centred(const OpCall& c) { return c.iattr(kNorm) != 0 && !c.input(kAffine); }

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const Sizes s = sizes(c);
  const Tuning& t = *ctx.tuning;
  const bool staged = staged_codes(*c.in[kWeight], s.k);
  Format format = staged ? c.in[kWeight]->format() : gpu_weight_format(*c.in[kWeight], *c.in[kX]);
  if (format.grid.scope == Scope::kTensor) format.grid.scope = Scope::kRow;
  const DType w = format.dtype;
  const int64_t n4 = groups4(s.n), k4 = groups4(s.k);
  const TensorDesc &x = *c.in[kX], *r = c.input(kResidualIn);
  const bool norm = c.iattr(kNorm) != 0;
  const Texel tx(t, *ctx.caps, s);
  const bool texel = t.texel && !staged && texel_codes(format) && texel_fits(*ctx.caps, x.bytes(), x.dtype) &&
                     texel_fits(*ctx.caps, uint64_t(k4 * 4 * round_up(s.n, tx.panel())) * dtype_size(w), w);
  const bool half = ctx.caps->shader_float16 && x.dtype == DType::kF16 && w == DType::kF16;
  linear::TileChoice chosen;
  if (!texel) chosen = linear::choose_tile(t, *ctx.caps, half, s.m, s.n, s.k);
  if (!texel && !chosen.tile)
    return fail(ErrorCode::kUnsupported, "linear.tile has no tile for {} bytes of shared memory and {} invocations",
                ctx.caps->max_shared_bytes, ctx.caps->max_workgroup_invocations);
  Lowering l;
  const int64_t panel = texel ? tx.panel() : chosen.tile->bn,
                slack = texel ? 0 : Tile(*chosen.tile, chosen.half).slack();
  l.consts.push_back(gpu_matrix(kWeight, s.n, s.k, format, panel, slack, staged));
  l.consts[0].centre = centred(c);
  const Consts at = add_vectors(c, s.n, l);

  Dispatch d;
  d.spec = {{"W_TYPE", staged ? l.consts[0].nibbles() ? 4u : 3u : type_code(w)},
            {"OUT_TYPE", type_code(c.out.dtype)},
            {"RES_TYPE", r ? type_code(r->dtype) : 0},
            {"ACT", u32(c.iattr(kAct))},
            {"BIAS", at.bias >= 0},
            {"COLSCALE", at.scale >= 0},
            {"RESIDUAL", r != nullptr},
            {"LN", u32(c.iattr(kNorm))},
            {"AFFINE", at.affine >= 0}};
  d.push = {{"M", u32(s.m)},
            {"N", u32(s.n)},
            {"K", u32(s.k)},
            {"a_ld4", u32(stride4(x))},
            {"o_ld4", u32(stride4(c.out))},
            {"r_ld4", u32(r ? stride4(*r) : n4)},
            {"a_off4", 0},
            {"eps", float_word(c.attr(kEps))}};

  int64_t block;  // rows of a workgroup
  if (texel) {
    d.shader = tx.shuffle ? "linear.texel.SHUFFLE=1" : "linear.texel";
    d.spec.add({{"LX", tx.lx}, {"R", tx.rows}, {"C", tx.c}, {"PANELS_STEP", tx.panels}});
    if (tx.shuffle)
      d.spec.add({{"RL", tx.rl},
                  {"Q_STEP", tx.steps},
                  {"UNROLL_STEPS", tx.unroll},
                  {"WHOLE", s.k % (4 * int64_t(tx.steps) * tx.unroll) == 0}});
    block = tx.rows;
    d.groups[1] = u32(div_up(s.n, tx.panel() * tx.panels));
    l.kernel = fmt::format("{} r{} c{}, weights in panels of {}", d.shader, tx.rows, tx.c, tx.panel());
  } else {
    const Tile tile(*chosen.tile, chosen.half);
    const LinearTile& q = tile.size;
    d.shader = chosen.half ? "linear.half" : "linear.tile";
    d.spec.add({{"LX", tile.lx},
                {"BM", q.bm},
                {"BN", q.bn},
                {"BK", q.bk},
                {"TM", q.tm},
                {"K_FULL", tile.whole_trips(s.k)},
                // No branch where no subgroup is without rows.
                {"SKIP_ROWS", t.skip_rows && s.m % q.bm != 0}});
    if (!chosen.half) {
      d.spec.add({{"IN_TYPE", type_code(x.dtype)},
                  {"TN", q.tn},
                  {"GROUP", staged ? u32(format.grid.scope == Scope::kGroup ? format.grid.group : s.k) : 0},
                  {"ZEROS", staged && format.grid.zero_points}});
    }
    block = q.bm;
    d.groups[1] = u32(div_up(s.n, q.bn));
    d.work.loops = tile.loops(s.k, norm);
    l.kernel = fmt::format("{} {}x{}x{}, weights in panels of {}", d.shader, q.bm, q.bn, q.bk, q.bn);
  }
  const BindKind weights = texel ? texel_kind(w) : BindKind::kStorage;
  d.operands = {input(kX, texel ? texel_kind(x.dtype) : BindKind::kStorage),
                constant(0, weights),
                w == DType::kI8 ? scales(0) : dummy(),
                at.bias >= 0 ? constant(at.bias) : dummy(),
                at.scale >= 0 ? constant(at.scale) : dummy(),
                r ? input(kResidualIn) : dummy(),
                at.affine >= 0 ? constant(at.affine) : dummy(),
                output()};
  // A long dispatch is cut along the rows.
  const int64_t blocks = div_up(s.m, block);
  const double row_flops = 2.0 * double(s.n) * double(s.k);
  const int64_t per_part = blocks_per_dispatch(row_flops * double(s.m), t.max_dispatch_flops, blocks);
  for (int64_t first = 0; first < blocks; first += per_part) {
    const int64_t begin = first * block, rows = std::min(s.m, (first + per_part) * block) - begin;
    Dispatch part = d;
    part.push.add("m0", u32(begin));
    part.groups[0] = u32(div_up(rows, block));
    part.work.flops = row_flops * double(rows);
    if (chosen.tile)
      part.work.issued_flops =
          Tile(*chosen.tile, chosen.half).issued_flops(rows, s.n, s.k, t.skip_rows, ctx.caps->subgroup_size);
    VIREO_TRY(check_grid(c, *ctx.caps, part.groups));
    l.dispatches.push_back(std::move(part));
  }
  return l;
}

/// The CPU normalises all rows once into scratch, then multiplies; the GPU does it while staging.
simd::GemmArgs gemm_args(const OpCall& c) {
  const Sizes s = sizes(c);
  simd::GemmArgs a;
  a.m = s.m, a.n = s.n, a.k = s.k;
  a.lda = c.in[kX]->row_stride();
  a.act = simd::Act(c.iattr(kAct));
  a.ldo = c.out.row_stride();
  if (c.input(kResidualIn)) a.ldr = c.in[kResidualIn]->row_stride();
  return a;
}

/// Normalised rows in scratch: floats from one to the next (not a multiple of 4 KiB, see row_gap in plan/lower.cpp).
int64_t norm_stride(int64_t k) {
  const int64_t padded = round_up(k, 4);
  return padded % 1024 == 0 ? padded + 16 : padded;
}

uint64_t norm_bytes(const OpCall& c) {
  return c.iattr(kNorm) ? uint64_t(round_up(c.in[kX]->shape.rows() * norm_stride(c.in[kX]->shape.c()) * 4, 64)) : 0;
}

Lowering lower_cpu(const OpCall& c, const LowerContext& ctx) {
  const Sizes s = sizes(c);
  Lowering l;
  if (cpu_integers(*c.in[kWeight], s.k, ctx, true)) {
    l.consts.push_back(cpu_integer(kWeight, s.n, s.k, *c.in[kWeight]));
    l.consts[0].centre = centred(c);
    add_vectors(c, s.n, l);
    simd::GemmArgs a = gemm_args(c);
    set_weight(l.consts[0], nullptr, a);
    l.scratch_bytes = i8_scratch(a, c.iattr(kNorm) != 0, ctx);
    l.kernel = (c.iattr(kNorm) ? "layer_norm+" : "") + integer_kernel(*c.in[kWeight], ctx);
    return l;
  }
  l.consts.push_back(cpu_panels(kWeight, s.n, s.k, cpu_weight_format(*c.in[kWeight], ctx, s.m)));
  l.consts[0].centre = centred(c);
  add_vectors(c, s.n, l);
  simd::GemmArgs a = gemm_args(c);
  set_weight(l.consts[0], nullptr, a);
  l.consts[0].bf16_rows = cpu_bf16_rows(*c.in[kWeight], ctx, s.m);
  if (l.consts[0].bf16_rows) {
    const simd::Kernels& k = kernels_for(*ctx.caps);
    l.scratch_bytes = bf16_bytes(s.m, s.k) + scratch_for(ctx, k.gemm_bf16, {a});
    l.kernel = fmt::format("{}gemm {}", c.iattr(kNorm) ? "layer_norm+" : "", k.bf16_name);
    return l;
  }
  l.scratch_bytes = norm_bytes(c) + scratch_for(ctx, kernels_for(*ctx.caps).gemm, a);
  l.kernel = c.iattr(kNorm) ? "layer_norm+gemm" : "gemm";
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  simd::GemmArgs a = gemm_args(c);
  a.a = call.in[kX];
  set_weight(call.packs[0], call.consts[0], a);
  int next = 1;
  if (c.input(kBias)) a.bias = reinterpret_cast<const float*>(call.consts[next++]);
  if (c.input(kScaleIn)) a.col_scale = reinterpret_cast<const float*>(call.consts[next++]);
  const float* const gain = c.input(kAffine) ? reinterpret_cast<const float*>(call.consts[next++]) : nullptr;
  const float* const offset = gain ? gain + round_up(a.k, 4) : nullptr;
  if (c.input(kResidualIn)) a.residual = call.in[kResidualIn];
  a.out = call.out;
  if (call.packs[0].pack == Pack::kCpuInteger)
    return run_integers(call, kWeight, a, a.a, a.lda, c.iattr(kNorm) != 0, float(c.attr(kEps)), gain, offset);
  CpuCall rest = call;
  if (call.packs[0].bf16_rows) {
    simd::ToBf16Args rows;
    rows.x = a.a, rows.ldx = a.lda, rows.rows = a.m, rows.cols = a.k;
    rows.normalise = c.iattr(kNorm) != 0, rows.eps = float(c.attr(kEps)), rows.gain = gain, rows.offset = offset;
    rows.out = reinterpret_cast<uint16_t*>(call.scratch), rows.ldo = bf16_stride(a.k);
    rest.scratch += bf16_bytes(a.m, a.k);
    run_kernel(rest, call.kernels->to_bf16, rows);
    run_kernel(rest, call.kernels->gemm_bf16, {a, rows.out, rows.ldo});
    return;
  }
  if (c.iattr(kNorm)) {
    simd::LayerNormArgs n;
    n.x = a.a, n.ldx = a.lda, n.rows = a.m, n.cols = a.k, n.eps = float(c.attr(kEps)), n.gamma = gain, n.beta = offset;
    n.out = reinterpret_cast<float*>(call.scratch), n.ldo = norm_stride(a.k);
    rest.scratch += norm_bytes(c);
    run_kernel(rest, call.kernels->layer_norm, n);
    a.a = n.out, a.lda = n.ldo;
  }
  run_kernel(rest, call.kernels->gemm, a);
}

void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  const Sizes s = sizes(c);
  std::vector<double> row(size_t(s.k));
  for (int64_t m = 0; m < s.m; ++m) {
    const double* x = r.in[kX]->data() + m * s.k;
    row.assign(x, x + s.k);
    if (c.iattr(kNorm)) {
      double mean = 0, var = 0;
      for (double v : row) mean += v / double(s.k);
      for (double v : row) var += (v - mean) * (v - mean) / double(s.k);
      for (double& v : row) v = (v - mean) / std::sqrt(var + c.attr(kEps));
      if (c.input(kAffine))
        for (int64_t k = 0; k < s.k; ++k)
          row[size_t(k)] = row[size_t(k)] * (*r.in[kAffine])[size_t(k)] + (*r.in[kAffine])[size_t(s.k + k)];
    }
    for (int64_t n = 0; n < s.n; ++n) {
      double sum = c.input(kBias) ? (*r.in[kBias])[size_t(n)] : 0;
      for (int64_t k = 0; k < s.k; ++k) sum += row[size_t(k)] * (*r.in[kWeight])[size_t(n * s.k + k)];
      sum = act_reference(int(c.iattr(kAct)), sum);
      if (c.input(kScaleIn)) sum *= (*r.in[kScaleIn])[size_t(n)];
      if (c.input(kResidualIn)) sum += (*r.in[kResidualIn])[size_t(m * s.n + n)];
      (*r.out)[size_t(m * s.n + n)] = sum;
    }
  }
}

Cost cost(const OpCall& c) {
  const Sizes s = sizes(c);
  return cost_of(c, 2.0 * double(s.m) * double(s.n) * double(s.k) + (c.iattr(kNorm) ? 8.0 * double(s.m * s.k) : 0));
}

double tolerance(const OpCall& c) { return rounding_bound(sizes(c).k); }

OpCase make(std::string label, int64_t batch, int64_t tokens, int64_t n, int64_t k, int act, bool ln, bool bias,
            bool scale, bool residual, float amplitude = 1.f, bool affine = false) {
  const Shape none{{1, 1, 1, 0}};
  OpCase o;
  o.label = std::move(label);
  o.in = {tokens_shape(batch, tokens, k),
          Shape{{1, 1, n, k}},
          bias ? Shape{{1, 1, 1, n}} : none,
          scale ? Shape{{1, 1, 1, n}} : none,
          residual ? tokens_shape(batch, tokens, n) : none,
          affine ? Shape{{1, 1, 2, k}} : none};
  o.constant = {false, true, true, true, false, true};
  o.attrs = attrs_of({double(act), double(ln), 1e-6});
  o.scale = amplitude;
  return o;
}

std::vector<OpCase> cases() {
  return {
      make("vit-ti qkv", 1, 197, 576, 192, 0, true, true, false, false),
      make("vit-ti fc1", 1, 197, 768, 192, 1, true, true, false, false),
      make("vit-ti fc2", 1, 197, 192, 768, 0, false, true, false, true),
      make("vit-b proj", 1, 65, 768, 768, 0, false, true, true, true),
      make("dinov2-s fc2", 2, 65, 384, 1536, 0, false, true, true, true),
      make("head", 1, 1, 1000, 192, 0, true, true, false, false),
      make("qkv, affine", 1, 197, 576, 192, 0, true, true, false, false, 1.f, true),
      make("primes, affine", 3, 13, 31, 37, 2, true, true, true, true, 1.f, true),
      make("batch of heads", 5, 1, 10, 96, 0, true, true, false, false),
      make("primes", 3, 13, 31, 37, 2, true, true, true, true),
      make("odd width", 1, 11, 65, 65, 3, false, false, false, false),
      make("one by one", 1, 1, 1, 1, 0, false, true, false, false),
      make("k of one", 1, 7, 9, 1, 4, false, true, false, false),
      make("n of three", 1, 129, 3, 64, 5, false, true, false, true),
      make("large values", 1, 33, 40, 48, 1, false, true, false, false, 50.f),
      make("tile edges", 1, 64, 128, 16, 0, false, true, false, false),
      make("one past the tile", 1, 65, 129, 17, 0, true, true, false, true),
  };
}

}  // namespace

namespace linear {

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

TileChoice choose_tile(const Tuning& tuning, const DeviceCaps& caps, bool half, int64_t m, int64_t n, int64_t k) {
  TileChoice best;
  double least = 0;
  const auto consider = [&](const std::vector<LinearTile>& tiles, bool packed) {
    for (const LinearTile& tile : tiles) {
      const TileWork w = tile_work(tile, packed, tuning, caps, m, n, k);
      if (w.legal && (!best.tile || w.cost < least)) best = {&tile, packed}, least = w.cost;
    }
  };
  consider(tuning.linear_tiles, false);
  if (half) consider(tuning.half_tiles, true);
  return best;
}

double half_error(uint32_t bk) { return std::ldexp(1 + std::sqrt(bk / 6.0), -11); }

}  // namespace linear

extern const OpDef kLinearOp;
const OpDef kLinearOp = {"linear",
                         kAttrs,
                         infer,
                         lower,
                         lower_cpu,
                         cpu,
                         reference,
                         cost,
                         tolerance,
                         cases,
                         {true, 1u << linear::kX | 1u << linear::kResidualIn},
                         nullptr,
                         linear::kWeight};

}  // namespace vireo
