// attention's attribute and operand numbers, and what its kernels share.
#pragma once

#include "ops/kernel.h"

namespace vireo::attention {
// group_*: tokens of a group along y and x, 0 for as many as the map has; step_*: pixels between them; shift_*: cyclic
// shift in pixels, which also turns the mask on; scale: 0 for 1 / sqrt(head dimension).
enum Attr { kHeads, kGroupH, kGroupW, kStepH, kStepW, kShiftH, kShiftW, kScale };
enum In { kX, kBias, kPad, kKeyBias };

struct Sizes {
  int64_t batch, tokens, heads, dim, width;  // tokens: of a group
  simd::TokenGroups groups;
  bool plain;  // one group of everything and no bias: the kernels without addresses to work out
};
Sizes sizes(const OpCall& c);
/// What a score is multiplied by.
double scale_of(const OpCall& c);

/// Constants in the order bias, pad; -1 for what is absent or not needed.
struct Consts {
  int bias = -1, pad = -1;
};
/// Behind a kernel's text where the policy asks for products of int8 that it does not have: said, as every fallback is.
constexpr const char* kStayFloats = ", products stay floats";
Consts add_consts(const OpCall& c, const Sizes& s, Lowering& l);
}  // namespace vireo::attention
