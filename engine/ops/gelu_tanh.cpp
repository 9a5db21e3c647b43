// gelu_tanh: GELU by tanh: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). Another operator than gelu_erf: results
// differ by up to 5e-4.
#include "ops/elementwise.h"

namespace vireo {
extern const OpDef kGeluTanhOp;
const OpDef kGeluTanhOp = ops::unary_op<2>();
extern const KernelDef kGeluTanhVulkan, kGeluTanhCpu;
const KernelDef kGeluTanhVulkan = ops::unary_vulkan<2>("gelu_tanh", OpKind::kGeluTanh);
const KernelDef kGeluTanhCpu = ops::unary_cpu<2>("gelu_tanh.simd", OpKind::kGeluTanh);
}  // namespace vireo
