// silu: SiLU: x / (1 + exp(-x)).
#include "ops/elementwise.h"

namespace vireo {
extern const OpDef kSiluOp;
const OpDef kSiluOp = ops::unary_op<3>();
}  // namespace vireo
