// add: a + b of equal shapes.
#include "ops/elementwise.h"

namespace vireo {
namespace {
using namespace ops;

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(0) || !c.input(1)) return shape_error(c, "operand", "missing", "two inputs");
  if (c.in[0]->shape != c.in[1]->shape) return shape_error(c, "second input", got(c.in[1]), got(c.in[0]));
  return infer_same(c);
}
Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) { return lower_elementwise(c, ctx, {0, false, true}); }
Result<Lowering> lower_cpu(const OpCall&, const LowerContext&) {
  Lowering l;
  l.kernel = "add";
  return l;
}
void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  simd::AddArgs a;
  a.a = call.rows(0), a.lda = c.in[0]->row_stride(), a.b = call.rows(1), a.ldb = c.in[1]->row_stride();
  a.rows = a.b_rows = c.out.shape.rows(), a.cols = c.out.shape.c(), a.out = call.result(), a.ldo = c.out.row_stride();
  run_kernel(call, call.kernels->add, a);
}
void reference(const RefCall& r) {
  for (size_t i = 0; i < r.out->size(); ++i) (*r.out)[i] = (*r.in[0])[i] + (*r.in[1])[i];
}
Cost cost(const OpCall& c) { return cost_of(c, double(c.out.shape.elements())); }
double tolerance(const OpCall&) { return rounding_bound(1); }
std::vector<OpCase> cases() { return elementwise_cases(2, false); }

}  // namespace

extern const OpDef kAddOp;
const OpDef kAddOp = {"add", kNoAttrs, infer, reference, cost, tolerance, cases, kElementwiseStrided};

extern const KernelDef kAddVulkan, kAddCpu;
const KernelDef kAddVulkan = vulkan_kernel("add", OpKind::kAdd, lower);
const KernelDef kAddCpu = cpu_kernel("add.simd", OpKind::kAdd, lower_cpu, cpu);

}  // namespace vireo
