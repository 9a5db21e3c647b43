// integer_gelu: ShiftGELU (integer.h) of codes of `bits`, with a step for each row, or one for all of an image.
#include "ops/rounded_op.h"

namespace vireo {
namespace {
using namespace ops;

enum Attr { kBits, kTensor };
constexpr AttrDef kAttrs[] = {{"bits", 8}, {"tensor", 0}, {nullptr, 0}};

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(0) || c.in[0]->layout != Layout::kRows) return shape_error(c, "operand", got(c.input(0)), "rows");
  if (c.iattr(kBits) < 2 || c.iattr(kBits) > 8)
    return shape_error(c, "bits", fmt::format("{}", c.iattr(kBits)), "2 to 8");
  TensorDesc out;
  out.shape = c.in[0]->shape;
  return out;
}

IntegerFunction how(const OpCall& c) { return {int(c.iattr(kBits)), c.iattr(kTensor) != 0}; }

Result<Lowering> lower_cpu(const OpCall& c, const LowerContext&) {
  Lowering l;
  l.kernel = fmt::format("integers of {} bits", c.iattr(kBits));
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  for (int64_t i = 0; i < c.out.shape.n(); ++i)
    integer_gelu_rows(how(c), image_rows(call.in[0], *c.in[0], i), image_rows(call.out, c.out, i));
  clear_padding(call);
}

void reference(const RefCall& r) {
  const Shape& s = r.op->out.shape;
  std::vector<float> x = as_floats(*r.in[0]);
  const int64_t rows = s.h() * s.w(), cols = s.c();
  for (int64_t i = 0; i < s.n(); ++i) {
    const FloatRows image{x.data() + i * rows * cols, rows, cols, cols};
    integer_gelu_rows(how(*r.op), image, image);
  }
  r.out->assign(x.begin(), x.end());
}

Cost cost(const OpCall& c) { return cost_of(c, 30.0 * double(c.out.shape.elements())); }
/// The same integers; a step is a quotient of the same two numbers.
double tolerance(const OpCall&) { return 0; }

std::vector<OpCase> cases() {
  const auto make = [](std::string label, int64_t batch, int64_t tokens, int64_t n, double bits, double tensor) {
    OpCase o;
    o.label = std::move(label);
    o.in = {tokens_shape(batch, tokens, n)};
    o.constant = {false};
    o.attrs = attrs_of({bits, tensor});
    o.scale = 4.f;
    return o;
  };
  return {make("vit-ti", 1, 197, 768, 8, 0), make("primes, one step", 3, 13, 37, 6, 1),
          make("one element", 1, 1, 1, 8, 0)};
}

}  // namespace

extern const OpDef kIntegerGeluOp;
const OpDef kIntegerGeluOp = {"integer_gelu", kAttrs, infer, reference, cost, tolerance, cases};

extern const KernelDef kIntegerGeluVulkan, kIntegerGeluCpu;
const KernelDef kIntegerGeluVulkan = no_kernel("integer_gelu", OpKind::kIntegerGelu);
const KernelDef kIntegerGeluCpu = cpu_kernel("integer_gelu.scalar", OpKind::kIntegerGelu, lower_cpu, cpu);

}  // namespace vireo
