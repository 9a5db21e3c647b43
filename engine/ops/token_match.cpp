// Which tokens token merging makes one of (Bolya et al. 2023, arXiv 2210.09461), in two steps that each look at all
// tokens of an image. Tokens 0, 2, 4, ... are set A and tokens 1, 3, 5, ... set B.
//
// token_match: the partner of every token of A. qkv rows [b, 1, t, heads (2 qk + v)] -> [b, 1, ceil(t / 2), 2]: the
// cosine between its key and the most similar one of B, keys averaged over the heads, and that one's number in B; of
// equal ones the first. The first `prefix` tokens (class, distillation, registers) are not merged and nobody's partner.
//
// token_route: the `count` tokens of A with the most similar partners, of equal ones the earlier, join them. [b, 1,
// ceil(t / 2), 2] -> [b, 1, 2, t]: for row j of what is left, which keeps the order that tokens had (a merged row that
// of its B), its first token; and for every token the next of its row. Each row's tokens grow; -1 ends them.
#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;

// ---- token_match

enum MatchAttr { kHeads, kPrefix, kQkDim };
constexpr AttrDef kMatchAttrs[] = {{"heads", 1}, {"prefix", 1}, {"qk_dim", 0}, {nullptr, 0}};

struct Match {
  int64_t batch, tokens, even, odd, heads, dim, prefix;
};
Match match_of(const OpCall& c) {
  const Shape& s = c.in[0]->shape;
  const int64_t heads = c.iattr(kHeads), tokens = s.h() * s.w();
  const int64_t dim = c.iattr(kQkDim) > 0 ? c.iattr(kQkDim) : heads > 0 ? s.c() / (3 * heads) : 0;
  return {s.n(), tokens, div_up(tokens, 2), tokens / 2, heads, dim, c.iattr(kPrefix)};
}

Result<TensorDesc> infer_match(const OpCall& c) {
  if (!c.input(0)) return shape_error(c, "operand", "missing", "the qkv rows");
  const Match m = match_of(c);
  if (m.heads < 1 || m.dim < 1 || m.dim > 128 || c.in[0]->shape.c() < 2 * m.heads * m.dim ||
      c.in[0]->layout != Layout::kRows)
    return shape_error(c, "qkv", got(c.in[0]),
                       fmt::format("queries and keys of {} heads of 1 to 128 channels", m.heads));
  if (m.prefix < 0 || m.prefix >= m.tokens)
    return shape_error(c, "prefix", fmt::format("{}", m.prefix), fmt::format("fewer than the {} tokens", m.tokens));
  TensorDesc out;
  out.shape = tokens_shape(m.batch, m.even, 2);
  return out;
}

/// What both shaders take. Results are fp32: fp16 counts tokens to 2048 only.
Dispatch match_dispatch(const Match& m, const TensorDesc& x, const char* shader, Lowering* l) {
  l->out_f32 = true;
  Dispatch d;
  d.shader = l->kernel = shader;
  d.spec = {{"HEADS", u32(m.heads)}, {"HD", u32(m.dim)}, {"TOKENS", u32(m.tokens)}, {"PREFIX", u32(m.prefix)}};
  d.push = {{"ld4", u32(groups4(x.shape.c()))}};
  return d;
}

// ---- token_match.texel

Result<void> match_texel_accepts(const OpCall& c, const LowerContext& ctx) {
  const TensorDesc& x = *c.in[0];
  if (!ctx.tuning->texel) return fail(ErrorCode::kUnsupported, "devices of this class read storage buffers");
  if (!texel_fits(*ctx.caps, x.bytes(), x.dtype))
    return fail(ErrorCode::kUnsupported, "rows are more than the device's {} texels", ctx.caps->max_texel_elements);
  return {};
}

Result<Lowering> lower_match_texel(const OpCall& c, const LowerContext& ctx) {
  const TensorDesc& x = *c.in[0];
  const Match m = match_of(c);
  const uint32_t lx = std::max(1u, std::min(ctx.caps->subgroup_size, ctx.caps->max_workgroup_invocations));
  // Each takes dim registers, and shares the odd tokens' keys with the others: as many as leave two workgroups.
  constexpr int64_t kMost = 7;
  const uint32_t queries =
      m.dim > 64 || m.dim % 4 != 0 ? 1 : u32(std::min(kMost, div_up(m.even, int64_t(2) * int64_t(lx))));
  Lowering l;
  Dispatch d = match_dispatch(m, x, "token_match.texel", &l);
  d.spec.add({{"LX", lx}, {"QI", queries}});
  d.groups = {u32(div_up(m.even, int64_t(lx) * queries)), u32(m.batch), 1};
  VIREO_TRY(check_grid(c, *ctx.caps, d.groups));
  d.operands = {input(0, texel_kind(x.dtype)), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

// ---- token_match, of storage buffers

constexpr uint32_t kMatchLocal = 64;

Result<Lowering> lower_match(const OpCall& c, const LowerContext& ctx) {
  const TensorDesc& x = *c.in[0];
  const Match m = match_of(c);
  const uint32_t rows = m.dim > 64 ? 8 : 16;  // of A, and of B at a time, in shared memory
  Lowering l;
  Dispatch d = match_dispatch(m, x, "token_match", &l);
  d.spec.add(
      {{"LX", kMatchLocal}, {"IN_TYPE", type_code(x.dtype)}, {"OUT_TYPE", type_code(DType::kF32)}, {"ROWS", rows}});
  const int64_t shared = 4 * (2 * rows * (round_up(m.dim, 4) + 4) + 2 * rows + 2 * kMatchLocal);
  if (shared > ctx.caps->max_shared_bytes)
    return fail(ErrorCode::kUnsupported, "token_match needs {} bytes of shared memory, the device has {}", shared,
                ctx.caps->max_shared_bytes);
  d.groups = {u32(div_up(m.even, rows)), u32(m.batch), 1};
  VIREO_TRY(check_grid(c, *ctx.caps, d.groups));
  d.operands = {input(0), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

simd::TokenMatchArgs match_args(const OpCall& c) {
  const Match m = match_of(c);
  simd::TokenMatchArgs a;
  a.ld = c.in[0]->row_stride(), a.batch = m.batch, a.tokens = m.tokens, a.heads = m.heads, a.dim = m.dim;
  a.prefix = m.prefix, a.ldo = c.out.row_stride();
  return a;
}

Result<Lowering> lower_match_cpu(const OpCall& c, const LowerContext& ctx) {
  Lowering l;
  l.out_f32 = true;
  l.kernel = "bipartite matching";
  l.scratch_bytes = scratch_for(ctx, kernels_for(*ctx.caps).token_match, match_args(c));
  return l;
}

void cpu_match(const CpuCall& call) {
  simd::TokenMatchArgs a = match_args(*call.op);
  const Match m = match_of(*call.op);
  a.keys = call.rows(0) + m.heads * m.dim;
  a.out = call.result();
  run_kernel(call, call.kernels->token_match, a);
}

void reference_match(const RefCall& r) {
  const OpCall& c = *r.op;
  const Match m = match_of(c);
  const int64_t width = c.in[0]->shape.c();
  const auto key = [&](int64_t b, int64_t token) {
    std::vector<double> k(size_t(m.dim), 0.0);
    double squares = 0;
    for (int64_t i = 0; i < m.dim; ++i) {
      for (int64_t h = 0; h < m.heads; ++h)
        k[size_t(i)] += (*r.in[0])[size_t((b * m.tokens + token) * width + (m.heads + h) * m.dim + i)];
      squares += k[size_t(i)] * k[size_t(i)];
    }
    for (double& v : k) v /= std::max(std::sqrt(squares), 1e-12);
    return k;
  };
  for (int64_t b = 0; b < m.batch; ++b)
    for (int64_t i = 0; i < m.even; ++i) {
      const std::vector<double> mine = key(b, 2 * i);
      double best = double(simd::kNeverMerged);
      int64_t partner = 0;
      for (int64_t j = 0; j < m.odd; ++j) {
        const std::vector<double> other = key(b, 2 * j + 1);
        double cosine = 0;
        for (size_t e = 0; e < mine.size(); ++e) cosine += mine[e] * other[e];
        if (std::isnan(cosine)) cosine = double(simd::kNoCosine);
        if (2 * j + 1 >= m.prefix && cosine > best) best = cosine, partner = j;
      }
      double* out = &(*r.out)[size_t((b * m.even + i) * 2)];
      out[0] = 2 * i < m.prefix ? double(simd::kNeverMerged) : best;
      out[1] = double(partner);
    }
}

Cost cost_match(const OpCall& c) {
  const Match m = match_of(c);
  return cost_of(c, double(m.batch) * (2.0 * double(m.even) * double(m.odd) * double(m.dim) +
                                       double(m.tokens) * double(m.dim) * double(m.heads + 2)));
}
/// A cosine's products have a sum of squares of one; partners' numbers, of which there are more, are exact.
double tolerance_match(const OpCall& c) {
  return rounding_bound(match_of(c).dim) / double(std::max<int64_t>(1, match_of(c).odd));
}

OpCase make_match(std::string label, int64_t batch, int64_t tokens, double heads, int64_t dim, double prefix,
                  int64_t qk = 0, float amplitude = 1.f) {
  OpCase o;
  o.label = std::move(label);
  o.in = {tokens_shape(batch, tokens, int64_t(heads) * (qk > 0 ? 2 * qk + dim : 3 * dim))};
  o.constant = {false};
  o.attrs = attrs_of({heads, prefix, double(qk)});
  o.scale = amplitude;
  return o;
}
std::vector<OpCase> cases_match() {
  return {make_match("vit-ti", 1, 197, 3, 64, 1),
          make_match("vit-b, batch", 2, 69, 12, 64, 1),
          make_match("distilled", 1, 38, 2, 36, 2),
          make_match("registers", 2, 66, 3, 32, 5),
          make_match("no prefix", 1, 64, 2, 32, 0),
          make_match("dim 13", 2, 29, 5, 13, 1),
          make_match("dim 128", 1, 33, 1, 128, 1),
          make_match("dim 127", 1, 35, 2, 127, 1),
          make_match("dim 2", 1, 9, 3, 2, 1),
          make_match("two tokens", 2, 2, 1, 8, 1),
          make_match("one token", 1, 1, 1, 8, 0),
          make_match("keys narrower than values", 1, 50, 3, 64, 1, 24),
          make_match("large", 1, 41, 2, 24, 1, 0, 100.f)};
}

// ---- token_route

enum RouteAttr { kTokens, kCount };
constexpr AttrDef kRouteAttrs[] = {{"tokens", 1}, {"count", 1}, {nullptr, 0}};

struct Route {
  int64_t batch, tokens, even, odd, count;
};
Route route_of(const OpCall& c) {
  const int64_t tokens = c.iattr(kTokens);
  return {c.in[0]->shape.n(), tokens, div_up(tokens, 2), tokens / 2, c.iattr(kCount)};
}

Result<TensorDesc> infer_route(const OpCall& c) {
  if (!c.input(0)) return shape_error(c, "operand", "missing", "partners of tokens");
  const Route t = route_of(c);
  if (c.in[0]->shape != tokens_shape(t.batch, t.even, 2) || c.in[0]->layout != Layout::kRows)
    return shape_error(c, "partners", got(c.in[0]), fmt::format("[.., 1, {}, 2] for {} tokens", t.even, t.tokens));
  if (t.count < 1 || t.count > t.even || t.odd < 1)
    return shape_error(c, "count", fmt::format("{}", t.count), fmt::format("1 to {} of {} tokens", t.even, t.tokens));
  TensorDesc out;
  out.shape = tokens_shape(t.batch, 2, t.tokens);
  return out;
}

Result<Lowering> lower_route(const OpCall& c, const LowerContext& ctx) {
  const TensorDesc& x = *c.in[0];
  const Route t = route_of(c);
  Lowering l;
  l.out_f32 = true;
  Dispatch d;
  d.shader = l.kernel = "token_route";
  d.spec = {{"LX", std::min<uint32_t>(128, u32(ctx.caps->max_workgroup_invocations))},
            {"IN_TYPE", type_code(x.dtype)},
            {"TOKENS", u32(t.tokens)},
            {"COUNT", u32(t.count)}};
  if (8 * t.even > ctx.caps->max_shared_bytes)
    return fail(ErrorCode::kUnsupported, "token_route needs {} bytes of shared memory for {} tokens, the device has {}",
                8 * t.even, t.tokens, ctx.caps->max_shared_bytes);
  d.groups = flat_grid(*ctx.caps, t.batch);
  d.push = {{"B", u32(t.batch)}};
  d.operands = {input(0), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

/// Where the scores and partners of one image are read from and its lists are written to.
struct RouteImage {
  const float* partners;
  int64_t ld;
  float* firsts;
  float* nexts;
  int32_t* order;  // [even]
  int32_t* later;  // [odd]
};

void route_image(const Route& t, const RouteImage& i, int64_t padded) {
  const auto partner = [&](int64_t a) {
    const float p = i.partners[a * i.ld + 1];
    return p >= 1.0f ? std::min(p < 2147483648.0f ? int64_t(p) : t.odd, t.odd - 1) : 0;
  };
  for (int64_t a = 0; a < t.even; ++a) i.order[a] = int32_t(a);
  // A total order, so that the set does not depend on the algorithm.
  std::nth_element(i.order, i.order + t.count - 1, i.order + t.even, [&](int32_t a, int32_t b) {
    const float x = i.partners[a * i.ld], y = i.partners[b * i.ld];
    return x != y ? x > y : a < b;
  });
  std::fill(i.nexts, i.nexts + padded, -1.0f);
  for (int64_t k = 0; k < t.count; ++k)
    i.nexts[2 * i.order[k]] = 0.0f;  // marks those that join another; below it becomes which
  std::fill(i.later, i.later + t.odd, -1);
  // Backwards, so that each token meets the next one of its row.
  for (int64_t token = t.tokens - 1; token >= 0; --token) {
    const bool b = token % 2 == 1;
    if (!b && i.nexts[token] < 0) continue;
    int32_t& later = i.later[b ? token / 2 : partner(token / 2)];
    const float next = float(later);
    later = int32_t(token);
    i.nexts[token] = b ? next : next - 0.5f;  // halves mark those that joined; next >= -1, so all differ from -1
  }
  int64_t row = 0;
  for (int64_t token = 0; token < t.tokens; ++token) {
    if (token % 2 == 1) {
      i.firsts[row++] = float(i.later[token / 2]);
    } else if (i.nexts[token] == std::floor(i.nexts[token])) {
      i.firsts[row++] = float(token);
    } else {
      i.nexts[token] += 0.5f;
    }
  }
  for (; row < padded; ++row) i.firsts[row] = row < t.tokens ? -1.0f : 0.0f;
  for (int64_t c = t.tokens; c < padded; ++c) i.nexts[c] = 0.0f;
}

Result<Lowering> lower_route_cpu(const OpCall& c, const LowerContext& ctx) {
  const Route t = route_of(c);
  Lowering l;
  l.out_f32 = true;
  l.kernel = "lists of rows";
  l.scratch_bytes = uint64_t(round_up((t.even + t.odd) * 4, 64)) * ctx.caps->threads;
  return l;
}

void cpu_route(const CpuCall& call) {
  const Route t = route_of(*call.op);
  const int64_t ld = call.op->in[0]->row_stride(), ldo = call.op->out.row_stride(), padded = round_up(t.tokens, 4);
  call.pool->parallel_for(t.batch, 1, [&](int64_t begin, int64_t end, int thread) {
    int32_t* const scratch = reinterpret_cast<int32_t*>(call.scratch + thread * round_up((t.even + t.odd) * 4, 64));
    for (int64_t b = begin; b < end; ++b)
      route_image(t,
                  {call.rows(0) + b * t.even * ld, ld, call.result() + 2 * b * ldo, call.result() + (2 * b + 1) * ldo,
                   scratch, scratch + t.even},
                  padded);
  });
}

/// By the words at the top: rows as sets of tokens.
void reference_route(const RefCall& r) {
  const Route t = route_of(*r.op);
  for (int64_t b = 0; b < t.batch; ++b) {
    const double* x = r.in[0]->data() + b * t.even * 2;
    std::vector<int64_t> order(static_cast<size_t>(t.even));
    for (int64_t a = 0; a < t.even; ++a) order[size_t(a)] = a;
    std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return x[2 * i] > x[2 * j]; });
    std::vector<std::vector<int64_t>> rows(static_cast<size_t>(t.tokens));
    for (int64_t token = 0; token < t.tokens; ++token) rows[size_t(token)] = {token};
    for (int64_t k = 0; k < t.count; ++k) {
      const int64_t a = order[size_t(k)];
      const int64_t partner = std::clamp<int64_t>(int64_t(x[2 * a + 1]), 0, t.odd - 1);
      rows[size_t(2 * partner + 1)].push_back(2 * a);
      rows[size_t(2 * a)].clear();
    }
    double* firsts = r.out->data() + b * 2 * t.tokens;
    double* nexts = firsts + t.tokens;
    std::fill(firsts, firsts + 2 * t.tokens, -1.0);
    for (std::vector<int64_t>& row : rows) {
      if (row.empty()) continue;
      std::sort(row.begin(), row.end());
      *firsts++ = double(row[0]);
      for (size_t k = 0; k + 1 < row.size(); ++k) nexts[row[k]] = double(row[k + 1]);
    }
  }
}

/// Comparing every two of the even tokens, and looking for every token's next among them.
Cost cost_route(const OpCall& c) {
  const Route t = route_of(c);
  return cost_of(c, double(t.batch) * double(t.even) * double(t.even + 2 * t.tokens));
}
double tolerance_exact(const OpCall&) { return 0; }

OpCase make_route(std::string label, int64_t batch, int64_t tokens, int64_t count, float amplitude) {
  OpCase o;
  o.label = std::move(label);
  o.in = {tokens_shape(batch, div_up(tokens, 2), 2)};
  o.constant = {false};
  o.attrs = attrs_of({double(tokens), double(count)});
  o.scale = amplitude;  // numbers beyond the set's become its first or last
  return o;
}
std::vector<OpCase> cases_route() {
  return {make_route("vit-ti", 1, 197, 16, 110.f),
          make_route("batch", 3, 50, 9, 26.f),
          make_route("all", 2, 31, 16, 9.f),
          make_route("one", 1, 30, 1, 15.f),
          make_route("all to the first", 1, 40, 11, 1.f),
          make_route("two tokens", 2, 2, 1, 3.f),
          make_route("more than a workgroup", 1, 601, 200, 300.f)};
}

}  // namespace

extern const OpDef kTokenMatchOp, kTokenRouteOp;
const OpDef kTokenMatchOp = {"token_match", kMatchAttrs,     infer_match, reference_match,
                             cost_match,    tolerance_match, cases_match};
const OpDef kTokenRouteOp = {"token_route", kRouteAttrs,     infer_route, reference_route,
                             cost_route,    tolerance_exact, cases_route};

extern const KernelDef kTokenMatchTexel, kTokenMatchVulkan, kTokenRouteVulkan, kTokenMatchCpu, kTokenRouteCpu;
const KernelDef kTokenMatchTexel = {"token_match.texel", OpKind::kTokenMatch, DeviceKind::kVulkan,
                                    match_texel_accepts, lower_match_texel,   nullptr};
const KernelDef kTokenMatchVulkan = vulkan_kernel("token_match", OpKind::kTokenMatch, lower_match);
const KernelDef kTokenRouteVulkan = vulkan_kernel("token_route", OpKind::kTokenRoute, lower_route);
const KernelDef kTokenMatchCpu = cpu_kernel("token_match.simd", OpKind::kTokenMatch, lower_match_cpu, cpu_match);
const KernelDef kTokenRouteCpu = cpu_kernel("token_route.scalar", OpKind::kTokenRoute, lower_route_cpu, cpu_route);

}  // namespace vireo
