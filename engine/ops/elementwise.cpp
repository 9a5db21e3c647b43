#include "ops/elementwise.h"

namespace vireo::ops {

Result<TensorDesc> infer_same(const OpCall& c) {
  if (!c.input(0)) return shape_error(c, "operand", "missing", "an input");
  TensorDesc out;
  out.shape = c.in[0]->shape;
  return out;
}

Result<Lowering> lower_elementwise(const OpCall& c, const LowerContext& ctx, const Elementwise& e) {
  const TensorDesc& x = *c.in[0];
  const int64_t rows = x.shape.rows(), c4 = groups4(x.shape.c());
  const uint32_t local = 64;
  Lowering l;
  if (e.scale) l.consts.push_back(vector_const(1, x.shape.c()));
  Dispatch d;
  d.shader = l.kernel = "elementwise";
  d.spec = {{"LX", local},
            {"IN_TYPE", type_code(x.dtype)},
            {"OUT_TYPE", type_code(c.out.dtype)},
            {"RES_TYPE", e.add ? type_code(c.in[1]->dtype) : 0},
            {"ACT", u32(e.act)},
            {"BIAS", false},
            {"COLSCALE", e.scale},
            {"RESIDUAL", e.add},
            {"ACT_AFTER", 0}};
  d.push = {{"rows", u32(rows)},
            {"c4", u32(c4)},
            {"y_rows", u32(rows)},
            {"x_ld4", u32(stride4(x))},
            {"y_ld4", u32(e.add ? stride4(*c.in[1]) : 0)},
            {"o_ld4", u32(stride4(c.out))}};
  d.groups = flat_grid(*ctx.caps, div_up(rows * c4, local));
  d.operands = {input(0), dummy(), e.scale ? constant(0) : dummy(), e.add ? input(1) : dummy(), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

std::vector<OpCase> elementwise_cases(int operands, bool second_is_vector) {
  std::vector<OpCase> list;
  const auto add = [&](std::string label, Shape s, float amplitude) {
    OpCase o;
    o.label = std::move(label);
    o.in = {s};
    o.constant = {false};
    if (operands == 2) {
      o.in.push_back(second_is_vector ? Shape{{1, 1, 1, s.c()}} : s);
      o.constant.push_back(second_is_vector);
    }
    o.scale = amplitude;
    list.push_back(std::move(o));
  };
  add("vit-ti", tokens_shape(1, 197, 192), 4.f);
  add("primes", tokens_shape(3, 7, 13), 1.f);
  add("one element", tokens_shape(1, 1, 1), 1.f);
  add("wide range", tokens_shape(1, 31, 50), 100.f);
  return list;
}

}  // namespace vireo::ops
