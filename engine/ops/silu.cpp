// silu: SiLU: x / (1 + exp(-x)).
#include "ops/elementwise.h"

namespace vireo {
extern const OpDef kSiluOp;
const OpDef kSiluOp = ops::unary_op<3>();
extern const KernelDef kSiluVulkan, kSiluCpu;
const KernelDef kSiluVulkan = ops::unary_vulkan<3>("silu", OpKind::kSilu);
const KernelDef kSiluCpu = ops::unary_cpu<3>("silu.simd", OpKind::kSilu);
}  // namespace vireo
