// gelu_erf: GELU, exact: x/2 (1 + erf(x / sqrt 2)) (Hendrycks and Gimpel 2016).
#include "ops/elementwise.h"

namespace vireo {
extern const OpDef kGeluErfOp;
const OpDef kGeluErfOp = ops::unary_op<1>();
extern const KernelDef kGeluErfVulkan, kGeluErfCpu;
const KernelDef kGeluErfVulkan = ops::unary_vulkan<1>("gelu_erf", OpKind::kGeluErf);
const KernelDef kGeluErfCpu = ops::unary_cpu<1>("gelu_erf.simd", OpKind::kGeluErf);
}  // namespace vireo
