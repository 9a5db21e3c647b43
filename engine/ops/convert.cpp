// convert: the same numbers in rows of another type. Models have no such nodes: the planner puts them around steps that
// do not take their operands' type (a step on the CPU computes on fp32 rows), and the type is that of the value which
// it plans for the output.
#include "ops/elementwise.h"

namespace vireo {
namespace {
using namespace ops;
using Same = Unary<0>;

Result<Lowering> lower_cpu(const OpCall& c, const LowerContext&) {
  Lowering l;
  l.kernel = fmt::format("{} to {}", to_string(Format{c.in[0]->dtype, {}}), to_string(Format{c.out.dtype, {}}));
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  const int64_t rows = c.out.shape.rows(), cols = c.out.shape.c();
  const bool from_half = c.in[0]->dtype == DType::kF16, to_half = c.out.dtype == DType::kF16;
  if (from_half) {
    simd::FromHalfArgs a;
    a.x = call.half_rows(0), a.ldx = c.in[0]->row_stride(), a.rows = rows, a.cols = cols;
    a.out = call.result(), a.ldo = c.out.row_stride();
    return run_kernel(call, call.kernels->from_half, a);
  }
  if (!to_half) return Same::cpu(call);
  simd::ToHalfArgs a;
  a.x = call.rows(0), a.ldx = c.in[0]->row_stride(), a.rows = rows, a.cols = cols;
  a.out = call.half_result(), a.ldo = c.out.row_stride();
  run_kernel(call, call.kernels->to_half, a);
}

void reference(const RefCall& r) { *r.out = *r.in[0]; }
Cost cost(const OpCall& c) { return cost_of(c, 0); }
double tolerance(const OpCall&) { return 0; }  // what rounding to the output's type costs is that type's

}  // namespace

extern const OpDef kConvertOp;
const OpDef kConvertOp = [] {
  OpDef d = {"convert", kNoAttrs, infer_same, reference, cost, tolerance, Same::cases, kElementwiseStrided};
  d.conversion = true;
  return d;
}();

extern const KernelDef kConvertVulkan, kConvertCpu;
const KernelDef kConvertVulkan = vulkan_kernel("convert", OpKind::kConvert, Same::lower);
const KernelDef kConvertCpu = cpu_kernel("convert.simd", OpKind::kConvert, lower_cpu, cpu);

}  // namespace vireo
