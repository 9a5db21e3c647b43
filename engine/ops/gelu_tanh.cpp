// gelu_tanh: GELU by tanh: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). Another operator than gelu_erf: results
// differ by up to 5e-4.
#include "ops/elementwise.h"

namespace vireo {
extern const OpDef kGeluTanhOp;
const OpDef kGeluTanhOp = ops::unary_op<2>();
}  // namespace vireo
