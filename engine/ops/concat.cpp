// concat: the channels of a, then those of b, row by row.
#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;

constexpr AttrDef kAttrs[] = {{nullptr, 0}};

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(0) || !c.input(1)) return shape_error(c, "operand", "missing", "two inputs");
  TensorDesc out;
  out.shape = c.in[0]->shape;
  out.shape.d[3] += c.in[1]->shape.c();
  Shape other = c.in[1]->shape;
  other.d[3] = out.shape.c();
  if (other != out.shape) return shape_error(c, "second input", got(c.in[1]), "the first one's shape but for the channels, " + got(c.in[0]));
  return out;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const TensorDesc &a = *c.in[0], &b = *c.in[1];
  const int64_t rows = c.out.shape.rows(), ld4 = groups4(c.out.shape.c());
  const uint32_t local = 64;
  Lowering l;
  Dispatch d;
  d.shader = l.kernel = "copy_rows";
  d.spec.assign(11, 0);
  d.spec[0] = local, d.spec[1] = type_code(a.dtype), d.spec[3] = type_code(c.out.dtype), d.spec[4] = type_code(b.dtype), d.spec[10] = 1;
  d.push = {1, u32(rows), u32(rows), 0, u32(groups4(a.shape.c())), 0, u32(a.shape.c()),
            u32(rows), 0, u32(groups4(b.shape.c())), 0, u32(b.shape.c()), u32(rows), 0, u32(ld4)};
  d.groups = flat_grid(*ctx.caps, div_up(rows * ld4, local));
  d.operands = {input(0), input(1), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

Lowering lower_cpu(const OpCall&, const LowerContext&) {
  Lowering l;
  l.kernel = "copy";
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  simd::CopyArgs a;
  a.groups = 1, a.rows = c.out.shape.rows(), a.src_group_rows = a.dst_group_rows = a.rows;
  a.ldd = c.out.row_stride();
  a.src = call.in[0], a.lds = c.in[0]->row_stride(), a.dst = call.out, a.cols = c.in[0]->shape.c();
  run_kernel(call, call.kernels->copy, a);
  a.src = call.in[1], a.lds = c.in[1]->row_stride(), a.dst = call.out + a.cols, a.cols = c.in[1]->shape.c();
  a.zero_cols = a.ldd - c.out.shape.c();
  run_kernel(call, call.kernels->copy, a);
}

void reference(const RefCall& r) {
  const int64_t a = r.op->in[0]->shape.c(), b = r.op->in[1]->shape.c();
  for (int64_t i = 0; i < r.op->out.shape.rows(); ++i) {
    std::copy_n(r.in[0]->begin() + i * a, a, r.out->begin() + i * (a + b));
    std::copy_n(r.in[1]->begin() + i * b, b, r.out->begin() + i * (a + b) + a);
  }
}

Cost cost(const OpCall& c) { return cost_of(c, 0); }
double tolerance(const OpCall&) { return 0; }  // a copy is exact

OpCase make(std::string label, Shape a, int64_t b) {
  OpCase o;
  o.label = std::move(label);
  Shape second = a;
  second.d[3] = b;
  o.in = {a, second};
  o.constant = {false, false};
  return o;
}
std::vector<OpCase> cases() {
  return {make("class token and mean", tokens_shape(3, 1, 384), 384), make("odd", tokens_shape(2, 5, 7), 6), make("one channel each", tokens_shape(1, 3, 1), 1)};
}

}  // namespace

extern const OpDef kConcatOp;
const OpDef kConcatOp = {"concat", kAttrs, infer, lower, lower_cpu, cpu, reference, cost, tolerance, cases};

}  // namespace vireo
