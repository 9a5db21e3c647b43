// What token merging does with the rows that token_match.cpp found.
//
// token_merge: x [b, 1, t, c] -> [b, 1, rows, c], each row the mean of its tokens, weighted by how many tokens of the
// picture they stand for. lists [b, 1, 2, t]: of row j the first token, of token i the next of its row, which is
// larger; a number that is none ends the row. log_sizes [b, 1, 1, t]: the logarithms of the weights; absent: all are 1.
// Without lists the tokens from `start` on are the one row.
//
// token_sizes: the logarithms of the sums of those weights, [b, 1, 1, rows]: the next block adds them to its scores.
#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;

enum MergeAttr { kMergeRows, kMergeStart };
enum MergeIn { kX, kLists, kLogSizes };
constexpr AttrDef kMergeAttrs[] = {{"rows", 1}, {"start", 0}, {nullptr, 0}};  // start: without lists

Result<void> check_lists(const OpCall& c, const TensorDesc* lists, const TensorDesc* sizes, int64_t batch,
                         int64_t tokens, int64_t rows) {
  if (lists && (lists->shape != tokens_shape(batch, 2, tokens) || lists->layout != Layout::kRows))
    return shape_error(c, "lists", got(lists), fmt::format("[{}, 1, 2, {}]", batch, tokens));
  if (sizes && (sizes->shape != tokens_shape(batch, 1, tokens) || sizes->layout != Layout::kRows))
    return shape_error(c, "log_sizes", got(sizes), fmt::format("[{}, 1, 1, {}]", batch, tokens));
  if (rows < 1 || rows > tokens)
    return shape_error(c, "rows", fmt::format("{}", rows), fmt::format("1 to {} of as many tokens", tokens));
  return {};
}

/// The tokens of a row, as CPU and shaders follow them: f(token).
template <typename Number, typename F>
void for_tokens(const Number* firsts, const Number* nexts, int64_t row, int64_t tokens, F f) {
  const auto at = [&](Number v, int64_t least) {
    return v >= Number(least) && v < Number(tokens) ? int64_t(v) : int64_t(-1);
  };
  for (int64_t i = at(firsts[row], 0); i >= 0; i = at(nexts[i], i + 1)) f(i);
}

// ---- token_merge

Result<TensorDesc> infer_merge(const OpCall& c) {
  if (!c.input(kX)) return shape_error(c, "operand", "missing", "rows of tokens");
  const Shape& s = c.in[kX]->shape;
  if (s.h() != 1 || c.in[kX]->layout != Layout::kRows)
    return shape_error(c, "tokens", got(c.in[kX]), "rows of tokens, [.., 1, tokens, channels]");
  VIREO_TRY(check_lists(c, c.input(kLists), c.input(kLogSizes), s.n(), s.w(), c.iattr(kMergeRows)));
  const int64_t start = c.iattr(kMergeStart);
  if (c.input(kLists) ? start != 0 : c.iattr(kMergeRows) != 1 || start < 0 || start >= s.w())
    return shape_error(c, "start", fmt::format("{}, {} rows", start, c.iattr(kMergeRows)),
                       fmt::format("0, or without lists one row and a start below {}", s.w()));
  TensorDesc out;
  out.shape = tokens_shape(s.n(), c.iattr(kMergeRows), s.c());
  return out;
}

constexpr uint32_t kLocal = 64;

/// Constants of both shaders; the operand of sizes stands behind that of the lists.
void add_lists(const OpCall& c, size_t lists, int64_t tokens, int64_t rows, Dispatch& d) {
  const TensorDesc* sizes = c.input(lists + 1);
  d.spec.add({{"LX", kLocal},
              {"LIST_TYPE", type_code(c.input(lists) ? c.in[lists]->dtype : DType::kF32)},
              {"SIZE_TYPE", type_code(sizes ? sizes->dtype : DType::kF32)},
              {"SIZES", sizes != nullptr},
              {"TOKENS", u32(tokens)},
              {"ROWS", u32(rows)}});
  d.operands.push_back(c.input(lists) ? input(int(lists)) : dummy());
  d.operands.push_back(sizes ? input(int(lists) + 1) : dummy());
  d.operands.push_back(output());
}

Result<Lowering> lower_merge(const OpCall& c, const LowerContext& ctx) {
  const TensorDesc& x = *c.in[kX];
  const Shape& s = x.shape;
  const int64_t rows = c.iattr(kMergeRows), c4 = groups4(s.c());
  // Neighbours look for the same tokens, which a GPU reads once for all of them and a software driver once for each.
  const int64_t per = c.input(kLists) && ctx.caps->device_class == DeviceClass::kSoftware ? 8 : 1;
  Lowering l;
  Dispatch d;
  d.shader = "token_merge";
  l.kernel = c.input(kLists) ? "token_merge" : "token_merge to one";
  d.spec = {{"IN_TYPE", type_code(x.dtype)},
            {"OUT_TYPE", type_code(c.out.dtype)},
            {"LISTS", c.input(kLists) != nullptr},
            {"START", u32(c.iattr(kMergeStart))},
            {"PER", u32(per)}};
  d.push = {{"B", u32(s.n())}, {"c4", u32(c4)}, {"i_ld4", u32(stride4(x))}, {"o_ld4", u32(stride4(c.out))}};
  d.operands = {input(kX)};
  add_lists(c, kLists, s.w(), rows, d);
  d.groups = flat_grid(*ctx.caps, div_up(s.n() * rows * div_up(c4, per), kLocal));
  l.dispatches.push_back(std::move(d));
  return l;
}

Result<Lowering> lower_merge_cpu(const OpCall& c, const LowerContext&) {
  Lowering l;
  l.kernel = c.input(kLists) ? "means of rows" : "mean by sizes";
  return l;
}

void cpu_merge(const CpuCall& call) {
  const OpCall& c = *call.op;
  const Shape& s = c.in[kX]->shape;
  simd::TokenMergeArgs a;
  a.x = call.rows(kX), a.ldx = c.in[kX]->row_stride();
  if (c.input(kLists)) a.lists = call.rows(kLists), a.ldl = c.in[kLists]->row_stride();
  a.start = c.iattr(kMergeStart);
  if (c.input(kLogSizes)) a.log_sizes = call.rows(kLogSizes), a.lds = c.in[kLogSizes]->row_stride();
  a.batch = s.n(), a.tokens = s.w(), a.rows = c.iattr(kMergeRows), a.cols = s.c();
  a.out = call.result(), a.ldo = c.out.row_stride();
  run_kernel(call, call.kernels->token_merge, a);
}

double weight(const RefCall& r, size_t operand, int64_t at) {
  return r.op->input(operand) ? std::exp((*r.in[operand])[size_t(at)]) : 1.0;
}

void reference_merge(const RefCall& r) {
  const Shape& s = r.op->in[kX]->shape;
  const int64_t tokens = s.w(), rows = r.op->iattr(kMergeRows), width = s.c();
  for (int64_t b = 0; b < s.n(); ++b)
    for (int64_t j = 0; j < rows; ++j) {
      double* out = &(*r.out)[size_t((b * rows + j) * width)];
      std::fill(out, out + width, 0.0);
      double total = 0;
      const auto take = [&](int64_t i) {
        const double w = weight(r, kLogSizes, b * tokens + i);
        total += w;
        for (int64_t e = 0; e < width; ++e) out[e] += w * (*r.in[kX])[size_t((b * tokens + i) * width + e)];
      };
      if (r.op->input(kLists)) {
        const double* firsts = r.in[kLists]->data() + 2 * b * tokens;
        for_tokens(firsts, firsts + tokens, j, tokens, take);
      } else {
        for (int64_t i = r.op->iattr(kMergeStart); i < tokens; ++i) take(i);
      }
      for (int64_t e = 0; e < width && total > 0; ++e) out[e] /= total;
    }
}

Cost cost_merge(const OpCall& c) { return cost_of(c, 2.0 * double(c.in[kX]->shape.elements())); }
/// A mean of as many terms as a row has tokens.
double tolerance_merge(const OpCall& c) { return rounding_bound(c.in[kX]->shape.w()); }

OpCase make_merge(std::string label, int64_t batch, int64_t tokens, int64_t rows, int64_t width, bool sizes,
                  float amplitude) {
  OpCase o;
  o.label = std::move(label);
  o.in = {tokens_shape(batch, tokens, width), tokens_shape(batch, 2, tokens),
          sizes ? tokens_shape(batch, 1, tokens) : Shape{{1, 1, 1, 0}}};
  o.constant = {false, false, false};
  o.attrs = attrs_of({double(rows)});
  o.scale = amplitude;  // of the lists as well: half their numbers are no tokens, and rows share tokens
  return o;
}
/// All tokens from `start` on as one row.
OpCase make_mean(std::string label, int64_t batch, int64_t tokens, int64_t start, int64_t width, bool sizes) {
  OpCase o = make_merge(std::move(label), batch, tokens, 1, width, sizes, 2.f);
  o.in[kLists] = Shape{{1, 1, 1, 0}};
  o.attrs[kMergeStart] = double(start);
  return o;
}
std::vector<OpCase> cases_merge() {
  return {make_mean("all tokens but the first", 2, 53, 1, 36, true),
          make_mean("all tokens", 1, 21, 0, 13, false),
          make_merge("few tokens", 1, 5, 4, 192, true, 5.f),
          make_merge("batch", 3, 7, 5, 32, true, 7.f),
          make_merge("several subgroups, batch", 3, 31, 28, 16, false, 31.f),
          make_merge("all of size 1", 2, 40, 20, 24, false, 40.f),
          make_merge("odd width", 2, 6, 3, 13, true, 6.f),
          make_merge("one row", 1, 9, 1, 64, true, 4.f)};
}

// ---- token_sizes

enum SizesAttr { kSizesRows };
enum SizesIn { kSizesLists, kSizesLogSizes };
constexpr AttrDef kSizesAttrs[] = {{"rows", 1}, {nullptr, 0}};

Result<TensorDesc> infer_sizes(const OpCall& c) {
  const TensorDesc* lists = c.input(kSizesLists);
  if (!lists) return shape_error(c, "lists", "missing", "lists of tokens");
  VIREO_TRY(check_lists(c, lists, c.input(kSizesLogSizes), lists->shape.n(), lists->shape.c(), c.iattr(kSizesRows)));
  TensorDesc out;
  out.shape = tokens_shape(lists->shape.n(), 1, c.iattr(kSizesRows));
  return out;
}

Result<Lowering> lower_sizes(const OpCall& c, const LowerContext& ctx) {
  const Shape& s = c.in[kSizesLists]->shape;
  Lowering l;
  l.out_f32 = true;  // a number of tokens must not become another
  Dispatch d;
  d.shader = l.kernel = "token_sizes";
  d.push = {{"B", u32(s.n())}};
  add_lists(c, kSizesLists, s.c(), c.iattr(kSizesRows), d);
  d.groups = flat_grid(*ctx.caps, div_up(s.n() * groups4(c.iattr(kSizesRows)), kLocal));
  l.dispatches.push_back(std::move(d));
  return l;
}

Result<Lowering> lower_sizes_cpu(const OpCall&, const LowerContext&) {
  Lowering l;
  l.out_f32 = true;
  l.kernel = "sums of sizes";
  return l;
}

void cpu_sizes(const CpuCall& call) {
  const OpCall& c = *call.op;
  const int64_t tokens = c.in[kSizesLists]->shape.c(), rows = c.iattr(kSizesRows), ld = c.in[kSizesLists]->row_stride();
  const TensorDesc* desc = c.input(kSizesLogSizes);
  for (int64_t b = 0; b < c.out.shape.n(); ++b) {
    const float* firsts = call.rows(kSizesLists) + 2 * b * ld;
    const float* sizes = desc ? call.rows(kSizesLogSizes) + b * desc->row_stride() : nullptr;
    float* out = call.result() + b * c.out.row_stride();
    for (int64_t j = 0; j < rows; ++j) {
      // Nearly all rows are one token, whose logarithm is there.
      int64_t members = 0, only = 0;
      float total = 0;
      for_tokens(firsts, firsts + ld, j, tokens, [&](int64_t i) {
        if (members == 1) total = sizes ? std::exp(sizes[only]) : 1.f;
        if (members >= 1) total += sizes ? std::exp(sizes[i]) : 1.f;
        ++members, only = i;
      });
      out[j] = members > 1 ? std::log(total) : members == 1 && sizes ? sizes[only] : 0.f;
    }
    for (int64_t j = rows; j < round_up(rows, 4); ++j) out[j] = 0.f;
  }
}

void reference_sizes(const RefCall& r) {
  const int64_t tokens = r.op->in[kSizesLists]->shape.c(), rows = r.op->iattr(kSizesRows);
  for (int64_t b = 0; b < r.op->in[kSizesLists]->shape.n(); ++b)
    for (int64_t j = 0; j < rows; ++j) {
      const double* firsts = r.in[kSizesLists]->data() + 2 * b * tokens;
      double total = 0;
      for_tokens(firsts, firsts + tokens, j, tokens,
                 [&](int64_t i) { total += weight(r, kSizesLogSizes, b * tokens + i); });
      (*r.out)[size_t(b * rows + j)] = total > 0 ? std::log(total) : 0;
    }
}

Cost cost_sizes(const OpCall& c) { return cost_of(c, 20.0 * double(c.out.shape.elements())); }
/// exp and log: Vulkan allows 3 + 2 |x| units in the last place and 3.
double tolerance_sizes(const OpCall&) { return rounding_bound(1024); }

OpCase make_sizes(std::string label, int64_t batch, int64_t tokens, int64_t rows, bool sizes, float amplitude) {
  OpCase o = make_merge(std::move(label), batch, tokens, rows, 1, sizes, amplitude);
  o.in.erase(o.in.begin());
  o.constant.pop_back();
  return o;
}
std::vector<OpCase> cases_sizes() {
  return {make_sizes("few tokens", 1, 6, 5, true, 6.f), make_sizes("batch", 3, 9, 4, true, 7.f),
          make_sizes("several subgroups, batch", 3, 131, 128, false, 131.f),
          make_sizes("all of size 1", 2, 181, 165, false, 181.f), make_sizes("one row", 2, 5, 1, true, 2.f)};
}

}  // namespace

extern const OpDef kTokenMergeOp, kTokenSizesOp;
const OpDef kTokenMergeOp = {"token_merge", kMergeAttrs,     infer_merge, reference_merge,
                             cost_merge,    tolerance_merge, cases_merge};
const OpDef kTokenSizesOp = {"token_sizes", kSizesAttrs,     infer_sizes, reference_sizes,
                             cost_sizes,    tolerance_sizes, cases_sizes};

extern const KernelDef kTokenMergeVulkan, kTokenSizesVulkan, kTokenMergeCpu, kTokenSizesCpu;
const KernelDef kTokenMergeVulkan = vulkan_kernel("token_merge", OpKind::kTokenMerge, lower_merge);
const KernelDef kTokenSizesVulkan = vulkan_kernel("token_sizes", OpKind::kTokenSizes, lower_sizes);
const KernelDef kTokenMergeCpu = cpu_kernel("token_merge.simd", OpKind::kTokenMerge, lower_merge_cpu, cpu_merge);
const KernelDef kTokenSizesCpu = cpu_kernel("token_sizes.scalar", OpKind::kTokenSizes, lower_sizes_cpu, cpu_sizes);

}  // namespace vireo
