// scale: x * gamma per column (LayerScale: Touvron et al. 2021).
#include "ops/elementwise.h"

namespace vireo {
namespace {
using namespace ops;

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(0)) return shape_error(c, "operand", "missing", "an input");
  if (!is_vector(c.input(1), c.in[0]->shape.c()))
    return shape_error(c, "gamma", got(c.input(1)), fmt::format("{} values", c.in[0]->shape.c()));
  return infer_same(c);
}
Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) { return lower_elementwise(c, ctx, {0, true, false}); }
Result<Lowering> lower_cpu(const OpCall& c, const LowerContext&) {
  Lowering l;
  l.consts = {vector_const(1, c.in[0]->shape.c())};
  l.kernel = "scale";
  return l;
}
void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  simd::AffineArgs a;
  a.x = call.rows(0), a.ldx = c.in[0]->row_stride(), a.rows = c.out.shape.rows(), a.cols = c.out.shape.c();
  a.scale = reinterpret_cast<const float*>(call.consts[0]), a.out = call.result(), a.ldo = c.out.row_stride();
  run_kernel(call, call.kernels->affine, a);
}
void reference(const RefCall& r) {
  const size_t d = size_t(r.op->out.shape.c());
  for (size_t i = 0; i < r.out->size(); ++i) (*r.out)[i] = (*r.in[0])[i] * (*r.in[1])[i % d];
}
Cost cost(const OpCall& c) { return cost_of(c, double(c.out.shape.elements())); }
double tolerance(const OpCall&) { return rounding_bound(1); }
std::vector<OpCase> cases() { return elementwise_cases(2, true); }

}  // namespace

extern const OpDef kScaleOp;
const OpDef kScaleOp = {"scale", kNoAttrs, infer, reference, cost, tolerance, cases, kElementwiseStrided};

extern const KernelDef kScaleVulkan, kScaleCpu;
const KernelDef kScaleVulkan = vulkan_kernel("scale", OpKind::kScale, lower);
const KernelDef kScaleCpu = cpu_kernel("scale.simd", OpKind::kScale, lower_cpu, cpu);

}  // namespace vireo
