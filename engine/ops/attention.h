// attention's attribute and operand numbers, and what its kernels share.
#pragma once

#include "ops/kernel.h"

namespace vireo::attention {
// group_*: tokens of a group along y and x, 0 for as many as the map has; step_*: pixels between them; shift_*: cyclic
// shift in pixels, which also turns the mask on; scale: 0 for 1 / sqrt(width of a head's queries); qk_dim: that
// width, 0 for the values'. A head whose queries were made narrower keeps the scale that it had, so it must be given.
enum Attr { kHeads, kGroupH, kGroupW, kStepH, kStepW, kShiftH, kShiftW, kScale, kQkDim };
enum In { kX, kBias, kPad, kKeyBias };

struct Sizes {
  int64_t batch, tokens, heads;  // tokens: of a group
  int64_t dim, vdim;             // of a head: of its queries and keys, of its values
  simd::TokenGroups groups;
  bool plain;  // one group of everything and no bias: the kernels without addresses to work out
  int64_t keys_at() const { return heads * dim; }
  int64_t values_at() const { return 2 * heads * dim; }
  int64_t row() const { return heads * (2 * dim + vdim); }
  int64_t width() const { return heads * vdim; }  // of the output
};
Sizes sizes(const OpCall& c);
/// What a score is multiplied by.
double scale_of(const OpCall& c);

/// Constants in the order bias, pad; -1 for what is absent or not needed.
struct Consts {
  int bias = -1, pad = -1;
};
/// Behind a kernel's text where the policy asks for rounded products that it does not have: said, as every fallback is.
constexpr const char* kStayFloats = ", products stay floats";
Consts add_consts(const OpCall& c, const Sizes& s, Lowering& l);
}  // namespace vireo::attention
