// integer_norm: I-LayerNorm (integer.h) of codes of `bits`, with a step for each row, or one for all of an image; gain
// and offset as LayerNorm has them.
#include "ops/rounded_op.h"

namespace vireo {
namespace {
using namespace ops;

enum Attr { kBits, kTensor };
enum In { kX, kGamma, kBeta };
constexpr AttrDef kAttrs[] = {{"bits", 8}, {"tensor", 0}, {nullptr, 0}};

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(kX) || c.in[kX]->layout != Layout::kRows) return shape_error(c, "operand", got(c.input(kX)), "rows");
  const int64_t n = c.in[kX]->shape.c();
  if (!is_vector(c.input(kGamma), n)) return shape_error(c, "gamma", got(c.input(kGamma)), fmt::format("{} values", n));
  if (!is_vector(c.input(kBeta), n)) return shape_error(c, "beta", got(c.input(kBeta)), fmt::format("{} values", n));
  if (c.iattr(kBits) < 2 || c.iattr(kBits) > 16)
    return shape_error(c, "bits", fmt::format("{}", c.iattr(kBits)), "2 to 16");
  TensorDesc out;
  out.shape = c.in[kX]->shape;
  return out;
}

IntegerFunction how(const OpCall& c) { return {int(c.iattr(kBits)), c.iattr(kTensor) != 0}; }

Result<Lowering> lower_cpu(const OpCall& c, const LowerContext&) {
  Lowering l;
  const int64_t n = c.in[kX]->shape.c();
  l.consts = {vector_const(kGamma, n), vector_const(kBeta, n)};
  l.kernel = fmt::format("integers of {} bits", c.iattr(kBits));
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  for (int64_t i = 0; i < c.out.shape.n(); ++i)
    integer_norm_rows(how(c), image_rows(call.in[kX], *c.in[kX], i), reinterpret_cast<const float*>(call.consts[0]),
                      reinterpret_cast<const float*>(call.consts[1]), image_rows(call.out, c.out, i));
  clear_padding(call);
}

void reference(const RefCall& r) {
  const Shape& s = r.op->out.shape;
  std::vector<float> x = as_floats(*r.in[kX]), gain = as_floats(*r.in[kGamma]), offset = as_floats(*r.in[kBeta]);
  const int64_t rows = s.h() * s.w(), cols = s.c();
  for (int64_t i = 0; i < s.n(); ++i) {
    const FloatRows image{x.data() + i * rows * cols, rows, cols, cols};
    integer_norm_rows(how(*r.op), image, gain.data(), offset.data(), image);
  }
  r.out->assign(x.begin(), x.end());
}

Cost cost(const OpCall& c) { return cost_of(c, 12.0 * double(c.out.shape.elements())); }
/// The same integers.
double tolerance(const OpCall&) { return 0; }

std::vector<OpCase> cases() {
  const auto make = [](std::string label, int64_t batch, int64_t tokens, int64_t n, double bits, double tensor) {
    OpCase o;
    o.label = std::move(label);
    o.in = {tokens_shape(batch, tokens, n), Shape{{1, 1, 1, n}}, Shape{{1, 1, 1, n}}};
    o.constant = {false, true, true};
    o.attrs = attrs_of({bits, tensor});
    return o;
  };
  return {make("vit-ti", 1, 197, 192, 8, 0), make("primes, one step", 3, 13, 37, 16, 1),
          make("width 2", 1, 5, 2, 8, 0)};
}

}  // namespace

extern const OpDef kIntegerNormOp;
const OpDef kIntegerNormOp = {"integer_norm", kAttrs, infer, reference, cost, tolerance, cases};

extern const KernelDef kIntegerNormVulkan, kIntegerNormCpu;
const KernelDef kIntegerNormVulkan = no_kernel("integer_norm", OpKind::kIntegerNorm);
const KernelDef kIntegerNormCpu = cpu_kernel("integer_norm.scalar", OpKind::kIntegerNorm, lower_cpu, cpu);

}  // namespace vireo
