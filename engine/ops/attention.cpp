// attention: softmax(q k^T * scale) v for every head; x [b, 1, n, 3 d] holds q, k and v heads side by side, output [b, 1, n, d].
// The n x n scores are never stored (online softmax: Milakov and Gimelshein 2018; Dao et al. 2022).
#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;

enum Attr { kHeads };
constexpr AttrDef kAttrs[] = {{"heads", 1}, {nullptr, 0}};

struct Sizes {
  int64_t batch, tokens, heads, dim, width;
};
Sizes sizes(const OpCall& c) {
  const Shape& s = c.in[0]->shape;
  const int64_t heads = c.iattr(kHeads), width = s.c() / 3;
  return {s.n(), s.h() * s.w(), heads, heads > 0 ? width / heads : 0, width};
}
double scale_of(const OpCall& c) { return 1.0 / std::sqrt(double(sizes(c).dim)); }

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(0)) return shape_error(c, "operand", "missing", "the qkv rows");
  const Sizes s = sizes(c);
  if (s.heads < 1 || c.in[0]->shape.c() != 3 * s.heads * s.dim || s.dim < 1 || s.dim > 128)
    return shape_error(c, "qkv", got(c.in[0]), fmt::format("3 x {} heads of 1 to 128 channels each", s.heads));
  TensorDesc out;
  out.shape = c.in[0]->shape;
  out.shape.d[3] = s.width;
  return out;
}

/// attention.tile's work for one dispatch of `queries` queries; the sizes are the shader's.
Work tile_work(const Sizes& s, const std::vector<uint32_t>& spec, int64_t queries, bool skip_rows, uint32_t subgroup) {
  const int64_t lx = spec[0], tx = spec[12], tm = spec[13], tn = spec[14], dc = spec[15], vc = spec[16];
  const int64_t rows = lx / tx * tm, keys = tx * tn, d4 = groups4(s.dim);
  const int64_t blocks = div_up(s.tokens, keys), chunks = div_up(d4, dc / 4);
  const int64_t left = s.tokens % keys, values = s.tokens / keys * div_up(keys, vc) + div_up(left, vc);
  const int64_t score = tm * tn * dc, value = tm * div_up(d4, tx) * 4 * vc;  // multiply-adds of one run
  Work w;
  w.loops = {{u32(blocks), 0}, {u32(blocks * chunks), u32(score)}, {u32(values), u32(value)}};
  const int64_t subgroups = div_up(lx, subgroup), rest = queries % rows;
  const int64_t last = skip_rows ? div_up(div_up(rest, tm) * tx, subgroup) : rest ? subgroups : 0;
  const int64_t active = (queries / rows * subgroups + last) * s.heads * s.batch;
  w.issued_flops = 2.0 * double(active * subgroup) * double(blocks * chunks * score + values * value);
  return w;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const Sizes s = sizes(c);
  const Tuning& t = *ctx.tuning;
  const TensorDesc& x = *c.in[0];
  const bool aligned = s.dim % 4 == 0;  // the offsets d and 2d are multiples of it
  Lowering l;
  l.out_f32 = !aligned;  // two heads would share a 32-bit word of halves
  const bool texel = t.texel && texel_fits(*ctx.caps, x.bytes(), x.dtype);
  Dispatch d;
  d.shader = texel ? "attention.texel" : "attention.tile";
  d.spec.assign(texel ? 17 : 18, 0);
  d.spec[1] = type_code(x.dtype);
  d.spec[3] = l.out_f32 ? 0 : type_code(c.out.dtype);
  d.spec[10] = u32(s.dim);
  d.spec[11] = aligned;
  int64_t rows;  // queries per workgroup
  if (texel) {
    const auto& q = t.attention_texel;
    // The query, the accumulator and kb scores of every query live in registers: wide heads leave room for one query.
    const uint32_t queries = s.dim > 64 || !aligned ? 1 : q.qi, keys = s.dim > 64 || !aligned ? std::min(q.kb, 2u) : q.kb;
    d.spec[0] = q.lx;
    d.spec[12] = queries;
    d.spec[13] = keys;
    rows = int64_t(q.lx) * queries;
    l.kernel = fmt::format("attention.texel q{} k{}", queries, keys);
  } else {
    const auto& q = t.attention_tile;
    const uint32_t d4 = u32(round_up(s.dim, 4));
    uint32_t dc = std::min(q.dc, d4);
    while (q.lx % (dc / 4)) dc -= 4;
    d.spec[0] = q.lx;
    d.spec[12] = q.tx;
    d.spec[13] = q.tm;
    d.spec[14] = q.tn;
    d.spec[15] = dc;
    d.spec[16] = q.vc;
    d.spec[17] = t.skip_rows;
    rows = int64_t(q.lx / q.tx) * q.tm;
    const int64_t keys = int64_t(q.tx) * q.tn;
    const int64_t shared = 4 * (std::max<int64_t>({dc * (rows + 4) + 16 + dc * (keys + 4) + 16, q.tx * rows, int64_t(q.vc) * d4}) + keys * (rows + 4));
    if (shared > ctx.caps->max_shared_bytes || q.lx > ctx.caps->max_workgroup_invocations)
      return fail(ErrorCode::kUnsupported, "attention.tile needs {} bytes of shared memory and {} invocations; the device has {} and {}", shared, q.lx,
                  ctx.caps->max_shared_bytes, ctx.caps->max_workgroup_invocations);
    l.kernel = fmt::format("attention.tile q{} k{}", rows, keys);
  }
  d.push = {u32(s.tokens), u32(s.tokens), u32(s.heads), u32(groups4(3 * s.width)), u32(groups4(3 * s.width)), u32(groups4(3 * s.width)),
            u32(groups4(s.width)), 0, u32(s.width), u32(2 * s.width), float_word(scale_of(c)), 0};
  const BindKind kind = texel ? texel_kind(x.dtype) : BindKind::kStorage;
  d.operands = {input(0, kind), input(0, kind), input(0, kind), output()};
  // A long dispatch is cut along the queries.
  const int64_t blocks = div_up(s.tokens, rows);
  const double flops = 4.0 * double(s.batch * s.heads * s.dim) * double(s.tokens) * double(s.tokens);
  const int64_t per_part = blocks_per_dispatch(flops, t.max_dispatch_flops, blocks);
  for (int64_t first = 0; first < blocks; first += per_part) {
    d.push[11] = u32(first * rows);
    const int64_t queries = std::min(s.tokens, (first + per_part) * rows) - first * rows;
    if (!texel) d.work = tile_work(s, d.spec, queries, t.skip_rows, ctx.caps->subgroup_size);
    d.work.flops = flops * double(queries) / double(s.tokens);
    d.groups = {u32(std::min(per_part, blocks - first)), u32(s.heads), u32(s.batch)};
    VIREO_TRY(check_grid(c, *ctx.caps, d.groups));
    l.dispatches.push_back(d);
  }
  return l;
}

simd::AttentionArgs args_of(const OpCall& c, const float* x, float* out) {
  const Sizes s = sizes(c);
  return simd::AttentionArgs::from_qkv(x, c.in[0]->row_stride(), s.batch, s.tokens, s.heads, s.dim, float(scale_of(c)), out, c.out.row_stride());
}

Lowering lower_cpu(const OpCall& c, const LowerContext& ctx) {
  Lowering l;
  l.scratch_bytes = scratch_for(ctx, kernels_for(*ctx.caps).attention, args_of(c, nullptr, nullptr));
  l.kernel = "flash attention";
  return l;
}

void cpu(const CpuCall& call) { run_kernel(call, call.kernels->attention, args_of(*call.op, call.in[0], call.out)); }

void reference(const RefCall& r) {
  const Sizes s = sizes(*r.op);
  const double scale = scale_of(*r.op);
  const std::vector<double>& x = *r.in[0];
  const int64_t ld = 3 * s.width;
  std::vector<double> p(size_t(s.tokens));
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t h = 0; h < s.heads; ++h)
      for (int64_t i = 0; i < s.tokens; ++i) {
        const double* q = &x[size_t((b * s.tokens + i) * ld + h * s.dim)];
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < s.tokens; ++j) {
          const double* k = &x[size_t((b * s.tokens + j) * ld + s.width + h * s.dim)];
          double dot = 0;
          for (int64_t e = 0; e < s.dim; ++e) dot += q[e] * k[e];
          p[size_t(j)] = dot * scale;
          top = std::max(top, p[size_t(j)]);
        }
        for (double& v : p) sum += v = std::exp(v - top);
        double* out = &(*r.out)[size_t((b * s.tokens + i) * s.width + h * s.dim)];
        std::fill(out, out + s.dim, 0.0);
        for (int64_t j = 0; j < s.tokens; ++j) {
          const double* v = &x[size_t((b * s.tokens + j) * ld + 2 * s.width + h * s.dim)];
          for (int64_t e = 0; e < s.dim; ++e) out[e] += p[size_t(j)] / sum * v[e];
        }
      }
}

Cost cost(const OpCall& c) {
  const Sizes s = sizes(c);
  return cost_of(c, double(s.batch * s.heads) * double(s.tokens) * double(s.tokens) * (4.0 * double(s.dim) + 5));
}

/// A score's error is rounding_bound(dim) times its size and becomes a relative error of exp; with values in [-1, 1] and scores
/// of a few units a factor 4 covers it, plus the weighted sum of n terms. Larger scores come with a larger bound.
double tolerance(const OpCall& c) {
  const Sizes s = sizes(c);
  return 4 * rounding_bound(s.dim) + rounding_bound(s.tokens);
}

OpCase make(std::string label, int64_t batch, int64_t tokens, int64_t heads, int64_t dim, float amplitude = 1.f) {
  OpCase o;
  o.label = std::move(label);
  o.in = {tokens_shape(batch, tokens, 3 * heads * dim)};
  o.constant = {false};
  o.attrs = attrs_of({double(heads)});
  o.scale = amplitude;
  return o;
}

std::vector<OpCase> cases() {
  return {
      make("vit-ti", 1, 197, 3, 64), make("dinov2 registers", 1, 261, 2, 64), make("batch", 3, 50, 4, 32), make("one token", 2, 1, 2, 16),
      make("dim 1", 1, 17, 3, 1),    make("dim 13", 2, 19, 5, 13),            make("dim 36", 1, 38, 2, 36), make("dim 18", 1, 26, 3, 18),
      make("dim 128", 1, 65, 1, 128), make("dim 127", 1, 33, 2, 127),         make("peaked", 1, 70, 2, 24, 4.f),
  };
}

}  // namespace

extern const OpDef kAttentionOp;
const OpDef kAttentionOp = {"attention", kAttrs, infer, lower, lower_cpu, cpu, reference, cost, tolerance, cases};

}  // namespace vireo
