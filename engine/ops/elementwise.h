// The element-wise operators share one shader (elementwise.comp) and most of their rules; each still is one file with
// its OpDef.
#pragma once

#include "ops/common.h"

namespace vireo::ops {

/// Constants of elementwise.comp that differ between operators.
struct Elementwise {
  int act = 0;
  bool scale = false;  // operand 1 is a per-column constant
  bool add = false;    // operand 1 is added
};

/// Of the operators that lower_elementwise() lowers: a constant operand has no stride.
inline constexpr StridedRows kElementwiseStrided{true, 0b11};

Result<TensorDesc> infer_same(const OpCall& call);
Result<Lowering> lower_elementwise(const OpCall& call, const LowerContext& ctx, const Elementwise& e);
std::vector<OpCase> elementwise_cases(int operands, bool second_is_vector);

/// An activation function as an operator.
template <int kAct>
struct Unary {
  static Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
    return lower_elementwise(c, ctx, {kAct, false, false});
  }
  static Result<Lowering> lower_cpu(const OpCall&, const LowerContext&) {
    Lowering l;
    l.kernel = kActNames[kAct];
    return l;
  }
  static void cpu(const CpuCall& call) {
    const OpCall& c = *call.op;
    simd::UnaryArgs a;
    a.x = call.rows(0), a.ldx = c.in[0]->row_stride(), a.rows = c.out.shape.rows(), a.cols = c.out.shape.c();
    a.act = simd::Act(kAct), a.out = call.result(), a.ldo = c.out.row_stride();
    run_kernel(call, call.kernels->unary, a);
  }
  static void reference(const RefCall& r) {
    for (size_t i = 0; i < r.out->size(); ++i) (*r.out)[i] = act_reference(kAct, (*r.in[0])[i]);
  }
  static Cost cost(const OpCall& c) { return cost_of(c, 10.0 * double(c.out.shape.elements())); }
  /// One evaluation: a few roundings, and the polynomial's own error (at most 5e-7).
  static double tolerance(const OpCall&) { return 1e-6; }
  static std::vector<OpCase> cases() { return elementwise_cases(1, false); }
};

inline constexpr AttrDef kNoAttrs[] = {{nullptr, 0}};

template <int kAct>
constexpr OpDef unary_op() {
  using U = Unary<kAct>;
  OpDef def = {kActNames[kAct], kNoAttrs,     infer_same, U::reference,
               U::cost,         U::tolerance, U::cases,   kElementwiseStrided};
  def.activation = kAct;
  return def;
}

template <int kAct>
constexpr KernelDef unary_vulkan(const char* name, OpKind op) {
  return vulkan_kernel(name, op, Unary<kAct>::lower);
}
template <int kAct>
constexpr KernelDef unary_cpu(const char* name, OpKind op) {
  return cpu_kernel(name, op, Unary<kAct>::lower_cpu, Unary<kAct>::cpu);
}

}  // namespace vireo::ops
