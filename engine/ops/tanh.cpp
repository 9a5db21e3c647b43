// tanh: Hyperbolic tangent.
#include "ops/elementwise.h"

namespace vireo {
extern const OpDef kTanhOp;
const OpDef kTanhOp = ops::unary_op<5>();
extern const KernelDef kTanhVulkan, kTanhCpu;
const KernelDef kTanhVulkan = ops::unary_vulkan<5>("tanh", OpKind::kTanh);
const KernelDef kTanhCpu = ops::unary_cpu<5>("tanh.simd", OpKind::kTanh);
}  // namespace vireo
