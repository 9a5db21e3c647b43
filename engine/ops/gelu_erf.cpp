// gelu_erf: GELU, exact: x/2 (1 + erf(x / sqrt 2)) (Hendrycks and Gimpel 2016).
#include "ops/elementwise.h"

namespace vireo {
extern const OpDef kGeluErfOp;
const OpDef kGeluErfOp = ops::unary_op<1>();
}  // namespace vireo
