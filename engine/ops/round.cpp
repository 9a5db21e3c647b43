// round: rows become the numbers of a grid (row_grids.h), each with a scale of its own, or all of an image with one. Of
// a grid that was fitted, `fit` holds what it found. Independent statements of the grids:
// tests/unit/test_simulate*.cpp.
#include "ops/rounded_op.h"

namespace vireo {
namespace {
using namespace ops;

enum Attr { kGrid, kBits, kTensor };
enum In { kX, kFit };
const AttrDef kAttrs[] = {{"grid", 0, kRowGridNames}, {"bits", 8}, {"tensor", 0}, {nullptr, 0}};

Rounding rounding_of(const OpCall& c) {
  return {row_grids()[size_t(c.iattr(kGrid))], int(c.iattr(kBits)), c.iattr(kTensor) != 0};
}

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(kX) || c.in[kX]->layout != Layout::kRows) return shape_error(c, "operand", got(c.input(kX)), "rows");
  if (c.iattr(kGrid) < 0 || size_t(c.iattr(kGrid)) >= row_grids().size())
    return shape_error(c, "grid", fmt::format("{}", c.iattr(kGrid)), fmt::format("0 to {}", row_grids().size() - 1));
  if (c.iattr(kBits) < 2 || c.iattr(kBits) > 8)
    return shape_error(c, "bits", fmt::format("{}", c.iattr(kBits)), "2 to 8");
  const int64_t numbers = row_grids()[size_t(c.iattr(kGrid))]->numbers(c.in[kX]->shape.c());
  if (numbers == 0 ? c.input(kFit) != nullptr : !is_vector(c.input(kFit), numbers))
    return shape_error(c, "fit", got(c.input(kFit)), fmt::format("{} values", numbers));
  TensorDesc out;
  out.shape = c.in[kX]->shape;
  return out;
}

Result<Lowering> lower_cpu(const OpCall& c, const LowerContext&) {
  Lowering l;
  if (c.input(kFit)) l.consts.push_back(vector_const(kFit, c.in[kFit]->shape.c()));
  l.kernel = fmt::format("{} {}", row_grids()[size_t(c.iattr(kGrid))]->name, c.iattr(kBits));
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  const std::vector<double> fit = c.input(kFit) ? fit_of(call.consts[0], c.in[kFit]->shape.c()) : std::vector<double>();
  for (int64_t i = 0; i < c.out.shape.n(); ++i) {
    const FloatRows x = image_rows(call.in[kX], *c.in[kX], i), out = image_rows(call.out, c.out, i);
    for (int64_t r = 0; r < x.rows; ++r) std::copy_n(x.data + r * x.stride, x.cols, out.data + r * out.stride);
    round_rows(rounding_of(c), &fit, out, *call.pool);
  }
  clear_padding(call);
}

void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  const Shape& s = c.out.shape;
  const Rounding how = rounding_of(c);
  std::vector<float> x = as_floats(*r.in[kX]);
  const int64_t rows = s.h() * s.w(), cols = s.c();
  for (int64_t i = 0; i < s.n(); ++i) {
    float* const image = x.data() + i * rows * cols;
    for (int64_t row = 0; row < rows; ++row)
      if (how.fitted()) how.grid->round_fitted(image + row * cols, cols, *r.in[kFit], how.bits);
      else if (!how.tensor) how.grid->round(image + row * cols, cols, how.bits);
    if (!how.fitted() && how.tensor) how.grid->round(image, rows * cols, how.bits);
  }
  r.out->assign(x.begin(), x.end());
}

Cost cost(const OpCall& c) { return cost_of(c, 20.0 * double(c.out.shape.elements())); }
/// The same numbers in the same order.
double tolerance(const OpCall&) { return 0; }

OpCase make(std::string label, const char* grid, int bits, bool tensor, int64_t batch, int64_t tokens, int64_t n) {
  OpCase o;
  o.label = std::move(label);
  const auto& all = row_grids();
  const auto found = std::find(all.begin(), all.end(), find_row_grid(grid));
  const int64_t numbers = (*found)->numbers(n);
  o.in = {tokens_shape(batch, tokens, n), Shape{{1, 1, 1, numbers}}};
  o.constant = {false, true};
  o.attrs = attrs_of({double(found - all.begin()), double(bits), tensor ? 1.0 : 0.0});
  return o;
}
std::vector<OpCase> cases() {
  return {make("vit-ti", "symmetric", 8, false, 1, 197, 192), make("primes", "asymmetric", 6, false, 3, 13, 37),
          make("one scale", "asymmetric", 4, true, 2, 7, 33), make("logs", "rowlog2", 4, false, 2, 5, 12),
          make("one element", "symmetric", 2, false, 1, 1, 1)};
}

}  // namespace

extern const OpDef kRoundOp;
const OpDef kRoundOp = {"round", kAttrs, infer, reference, cost, tolerance, cases};

extern const KernelDef kRoundVulkan, kRoundCpu;
const KernelDef kRoundVulkan = no_kernel("round", OpKind::kRound);
const KernelDef kRoundCpu = cpu_kernel("round.scalar", OpKind::kRound, lower_cpu, cpu);

}  // namespace vireo
