// rounded_attention: attention of all tokens of an image to each other whose operands and probabilities are rounded to
// grids (row_grids.h), or whose softmax is Shiftmax (integer.h). Operands as attention has them: x, and key_bias, what
// is added to every score of a key; `fit` is of the softmax's grid. A grid of 0 is none, else its number and 1.
#include "ops/rounded_op.h"

namespace vireo {
namespace {
using namespace ops;

enum Attr {
  kHeads,
  kScale,
  kQkDim,
  kOperands,
  kOperandBits,
  kOperandTensor,
  kSoftmax,
  kSoftmaxBits,
  kSoftmaxTensor,
  kIntegerBits,
  kIntegerTensor
};
enum In { kX, kFit, kKeyBias };
constexpr AttrDef kAttrs[] = {{"heads", 1},          {"scale", 0},          {"qk_dim", 0},         {"operands", 0},
                              {"operand_bits", 8},   {"operand_tensor", 0}, {"softmax", 0},        {"softmax_bits", 8},
                              {"softmax_tensor", 0}, {"integer_bits", 0},   {"integer_tensor", 0}, {nullptr, 0}};

Rounding rounding_of(const OpCall& c, Attr grid, Attr bits, Attr tensor) {
  Rounding r;
  if (c.iattr(grid) > 0) r.grid = row_grids()[size_t(c.iattr(grid) - 1)];
  r.bits = int(c.iattr(bits)), r.tensor = c.iattr(tensor) != 0;
  return r;
}

RoundedAttention attention_of(const OpCall& c) {
  RoundedAttention a;
  const Shape& s = c.in[kX]->shape;
  a.tokens = s.h() * s.w(), a.heads = c.iattr(kHeads);
  const int64_t each = a.heads > 0 ? s.c() / a.heads : 0;
  a.dim = c.iattr(kQkDim) > 0 ? c.iattr(kQkDim) : each / 3, a.vdim = each - 2 * a.dim;
  a.scale = c.attr(kScale) > 0 ? c.attr(kScale) : 1 / std::sqrt(double(std::max<int64_t>(a.dim, 1)));
  a.operands = rounding_of(c, kOperands, kOperandBits, kOperandTensor);
  a.softmax = rounding_of(c, kSoftmax, kSoftmaxBits, kSoftmaxTensor);
  a.integer_softmax = {int(c.iattr(kIntegerBits)), c.iattr(kIntegerTensor) != 0};
  return a;
}

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(kX) || c.in[kX]->layout != Layout::kRows) return shape_error(c, "qkv", got(c.input(kX)), "rows");
  for (const Attr a : {kOperands, kSoftmax})
    if (c.iattr(a) < 0 || size_t(c.iattr(a)) > row_grids().size())
      return shape_error(c, kAttrs[a].name, fmt::format("{}", c.iattr(a)), fmt::format("0 to {}", row_grids().size()));
  for (const Attr a : {kOperandBits, kSoftmaxBits})
    if (c.iattr(a) < 2 || c.iattr(a) > 8)
      return shape_error(c, kAttrs[a].name, fmt::format("{}", c.iattr(a)), "2 to 8");
  if (c.iattr(kIntegerBits) != 0 && (c.iattr(kIntegerBits) < 2 || c.iattr(kIntegerBits) > 8))
    return shape_error(c, "integer_bits", fmt::format("{}", c.iattr(kIntegerBits)), "0, or 2 to 8");
  const RoundedAttention a = attention_of(c);
  if (a.heads < 1 || a.dim < 1 || a.dim > 128 || a.vdim < 1 || a.vdim > 128 ||
      c.in[kX]->shape.c() != a.heads * (2 * a.dim + a.vdim))
    return shape_error(c, "qkv", got(c.in[kX]), fmt::format("{} heads of 1 to 128 channels", a.heads));
  const int64_t numbers = a.softmax.grid != nullptr ? a.softmax.grid->numbers(a.tokens) : 0;
  if (numbers == 0 ? c.input(kFit) != nullptr : !is_vector(c.input(kFit), numbers))
    return shape_error(c, "fit", got(c.input(kFit)), fmt::format("{} values", numbers));
  if (const TensorDesc* keys = c.input(kKeyBias); keys && keys->shape != tokens_shape(c.in[kX]->shape.n(), 1, a.tokens))
    return shape_error(c, "key_bias", got(keys), fmt::format("[{}, 1, 1, {}]", c.in[kX]->shape.n(), a.tokens));
  TensorDesc out;
  out.shape = c.in[kX]->shape;
  out.shape.d[3] = a.heads * a.vdim;
  return out;
}

Result<Lowering> lower_cpu(const OpCall& c, const LowerContext&) {
  Lowering l;
  if (c.input(kFit)) l.consts.push_back(vector_const(kFit, c.in[kFit]->shape.c()));
  const RoundedAttention a = attention_of(c);
  const auto add = [&l](const std::string& what) { l.kernel += (l.kernel.empty() ? "" : ", ") + what; };
  if (a.operands.grid) add(fmt::format("operands {} {}", a.operands.grid->name, a.operands.bits));
  if (a.softmax.grid) add(fmt::format("softmax {} {}", a.softmax.grid->name, a.softmax.bits));
  if (a.integer_softmax.bits > 0) add(fmt::format("softmax in integers of {} bits", a.integer_softmax.bits));
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  RoundedAttention a = attention_of(c);
  if (c.input(kFit)) a.fit = fit_of(call.consts[0], c.in[kFit]->shape.c());
  for (int64_t i = 0; i < c.out.shape.n(); ++i) {
    const FloatRows x = image_rows(call.in[kX], *c.in[kX], i), out = image_rows(call.out, c.out, i);
    a.x = x.data, a.ldx = x.stride, a.out = out.data, a.ldo = out.stride;
    a.key_bias = c.input(kKeyBias) ? call.rows(kKeyBias) + i * c.in[kKeyBias]->row_stride() : nullptr;
    a.run(*call.pool);
  }
  clear_padding(call);
}

void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  RoundedAttention a = attention_of(c);
  if (c.input(kFit)) a.fit = *r.in[kFit];
  const std::vector<float> x = as_floats(*r.in[kX]);
  const std::vector<float> bias = c.input(kKeyBias) ? as_floats(*r.in[kKeyBias]) : std::vector<float>();
  std::vector<float> out(r.out->size());
  ThreadPool pool(1);
  const int64_t row = a.heads * (2 * a.dim + a.vdim);
  for (int64_t i = 0; i < c.out.shape.n(); ++i) {
    a.x = x.data() + i * a.tokens * row, a.ldx = row;
    a.out = out.data() + i * a.tokens * a.heads * a.vdim, a.ldo = a.heads * a.vdim;
    a.key_bias = bias.empty() ? nullptr : bias.data() + i * a.tokens;
    a.run(pool);
  }
  r.out->assign(out.begin(), out.end());
}

Cost cost(const OpCall& c) {
  const RoundedAttention a = attention_of(c);
  return cost_of(
      c, double(c.out.shape.n() * a.heads) * double(a.tokens) * double(a.tokens) * (2.0 * double(a.dim + a.vdim) + 20));
}
/// The same sums in the same order, on any number of threads.
double tolerance(const OpCall&) { return 0; }

OpCase make(std::string label, int64_t batch, int64_t tokens, int64_t heads, int64_t dim, const Attrs& attrs,
            bool bias = false) {
  OpCase o;
  o.label = std::move(label);
  o.in = {tokens_shape(batch, tokens, heads * 3 * dim), Shape{{1, 1, 1, 0}},
          bias ? tokens_shape(batch, 1, tokens) : Shape{{1, 1, 1, 0}}};
  o.constant = {false, true, false};
  o.attrs = attrs;
  return o;
}
std::vector<OpCase> cases() {
  const auto& all = row_grids();
  const auto number = [&](const char* grid) {
    return double(std::find(all.begin(), all.end(), find_row_grid(grid)) - all.begin() + 1);
  };
  return {make("softmax rowlog2", 2, 17, 3, 8, attrs_of({3, 0, 0, 0, 8, 0, number("rowlog2"), 4, 0, 0, 0})),
          make("operands", 1, 50, 2, 32, attrs_of({2, 0, 0, number("symmetric"), 8, 0, 0, 8, 0, 0, 0})),
          make("shiftmax, key bias", 2, 13, 1, 5, attrs_of({1, 0.5, 0, 0, 8, 0, 0, 8, 0, 8, 1}), true)};
}

}  // namespace

extern const OpDef kRoundedAttentionOp;
const OpDef kRoundedAttentionOp = {"rounded_attention", kAttrs, infer, reference, cost, tolerance, cases};

extern const KernelDef kRoundedAttentionVulkan, kRoundedAttentionCpu;
const KernelDef kRoundedAttentionVulkan = no_kernel("rounded_attention", OpKind::kRoundedAttention);
const KernelDef kRoundedAttentionCpu =
    cpu_kernel("rounded_attention.scalar", OpKind::kRoundedAttention, lower_cpu, cpu);

}  // namespace vireo
