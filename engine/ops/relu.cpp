// relu: ReLU: max(x, 0).
#include "ops/elementwise.h"

namespace vireo {
extern const OpDef kReluOp;
const OpDef kReluOp = ops::unary_op<4>();
}  // namespace vireo
