// tanh: Hyperbolic tangent.
#include "ops/elementwise.h"

namespace vireo {
extern const OpDef kTanhOp;
const OpDef kTanhOp = ops::unary_op<5>();
}  // namespace vireo
