// relu: ReLU: max(x, 0).
#include "ops/elementwise.h"

namespace vireo {
extern const OpDef kReluOp;
const OpDef kReluOp = ops::unary_op<4>();
extern const KernelDef kReluVulkan, kReluCpu;
const KernelDef kReluVulkan = ops::unary_vulkan<4>("relu", OpKind::kRelu);
const KernelDef kReluCpu = ops::unary_cpu<4>("relu.simd", OpKind::kRelu);
}  // namespace vireo
