// hardswish: x * min(max(x + 3, 0), 6) / 6 (Howard et al. 2019, MobileNetV3).
#include "ops/elementwise.h"

namespace vireo {
extern const OpDef kHardswishOp;
const OpDef kHardswishOp = ops::unary_op<6>();
extern const KernelDef kHardswishVulkan, kHardswishCpu;
const KernelDef kHardswishVulkan = ops::unary_vulkan<6>("hardswish", OpKind::kHardswish);
const KernelDef kHardswishCpu = ops::unary_cpu<6>("hardswish.simd", OpKind::kHardswish);
}  // namespace vireo
