// linear: y = residual + scale * act(norm(x) W^T + bias). x [.., k] (activation), W [n, k], bias and scale [1, n]
// (constants), residual like y. `ln` normalises the rows of x first, gain * (x - mean) / sqrt(var + eps) + offset, with
// affine = gain, [1, k], gain and offset, [2, k], or absent: both are folded into a W of floats and the bias, while a W
// of codes would no longer hold the same numbers.
#include "ops/linear.h"

#include <algorithm>

#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;
using linear::kAct, linear::kNorm, linear::kEps;
using linear::kX, linear::kWeight, linear::kBias, linear::kScaleIn, linear::kResidualIn, linear::kAffine;
using linear::sizes;
using linear::Sizes;

constexpr AttrDef kAttrs[] = {{"act", 0, kActNames}, {"ln", 0}, {"eps", 1e-6}, {nullptr, 0}};

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(kX) || !c.input(kWeight)) return shape_error(c, "operand", "missing", "an input and a weight");
  const Sizes s = sizes(c);
  if (c.in[kX]->layout != Layout::kRows || c.in[kX]->shape.c() != s.k)
    return shape_error(c, "weight", got(c.in[kWeight]),
                       fmt::format("[.., {}] for an input of {} channels", c.in[kX]->shape.c(), c.in[kX]->shape.c()));
  if (s.n < 1) return shape_error(c, "weight", got(c.in[kWeight]), "at least one output channel");
  if (c.input(kBias) && !is_vector(c.in[kBias], s.n))
    return shape_error(c, "bias", got(c.in[kBias]), fmt::format("{} values", s.n));
  if (c.input(kScaleIn) && !is_vector(c.in[kScaleIn], s.n))
    return shape_error(c, "scale", got(c.in[kScaleIn]), fmt::format("{} values", s.n));
  if (c.input(kAffine) && (c.in[kAffine]->shape.w() > 2 || c.in[kAffine]->shape.c() != s.k))
    return shape_error(c, "affine", got(c.in[kAffine]), fmt::format("[1, {}] or [2, {}]", s.k, s.k));
  if (c.input(kAffine) && c.iattr(kNorm) == 0)
    return shape_error(c, "affine", "given without 'ln'", "rows to normalise");
  TensorDesc out;
  out.shape = c.in[kX]->shape;
  out.shape.d[3] = s.n;
  if (c.input(kResidualIn) && c.in[kResidualIn]->shape != out.shape)
    return shape_error(c, "residual", got(c.in[kResidualIn]), to_string(out.shape));
  return out;
}

void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  const Sizes s = sizes(c);
  std::vector<double> row(size_t(s.k));
  for (int64_t m = 0; m < s.m; ++m) {
    const double* x = r.in[kX]->data() + m * s.k;
    row.assign(x, x + s.k);
    if (c.iattr(kNorm)) {
      double mean = 0, var = 0;
      for (double v : row) mean += v / double(s.k);
      for (double v : row) var += (v - mean) * (v - mean) / double(s.k);
      for (double& v : row) v = (v - mean) / std::sqrt(var + c.attr(kEps));
      if (c.input(kAffine))
        for (int64_t k = 0; k < s.k; ++k)
          row[size_t(k)] = row[size_t(k)] * (*r.in[kAffine])[size_t(k)] +
                           (c.in[kAffine]->shape.w() == 2 ? (*r.in[kAffine])[size_t(s.k + k)] : 0);
    }
    for (int64_t n = 0; n < s.n; ++n) {
      double sum = c.input(kBias) ? (*r.in[kBias])[size_t(n)] : 0;
      for (int64_t k = 0; k < s.k; ++k) sum += row[size_t(k)] * (*r.in[kWeight])[size_t(n * s.k + k)];
      sum = act_reference(int(c.iattr(kAct)), sum);
      if (c.input(kScaleIn)) sum *= (*r.in[kScaleIn])[size_t(n)];
      if (c.input(kResidualIn)) sum += (*r.in[kResidualIn])[size_t(m * s.n + n)];
      (*r.out)[size_t(m * s.n + n)] = sum;
    }
  }
}

Cost cost(const OpCall& c) {
  const Sizes s = sizes(c);
  return cost_of(c, 2.0 * double(s.m) * double(s.n) * double(s.k) + (c.iattr(kNorm) ? 8.0 * double(s.m * s.k) : 0));
}

double tolerance(const OpCall& c) { return rounding_bound(sizes(c).k); }

OpCase make(std::string label, int64_t batch, int64_t tokens, int64_t n, int64_t k, int act, bool ln, bool bias,
            bool scale, bool residual, float amplitude = 1.f, bool gain = false) {
  const Shape none{{1, 1, 1, 0}};
  OpCase o;
  o.label = std::move(label);
  o.in = {tokens_shape(batch, tokens, k),
          Shape{{1, 1, n, k}},
          bias ? Shape{{1, 1, 1, n}} : none,
          scale ? Shape{{1, 1, 1, n}} : none,
          residual ? tokens_shape(batch, tokens, n) : none,
          gain ? Shape{{1, 1, 1, k}} : none};
  o.constant = {false, true, true, true, false, true};
  o.attrs = attrs_of({double(act), double(ln), 1e-6});
  o.scale = amplitude;
  return o;
}

std::vector<OpCase> cases() {
  return {
      make("vit-ti qkv", 1, 197, 576, 192, 0, true, true, false, false),
      make("vit-ti fc1", 1, 197, 768, 192, 1, true, true, false, false),
      make("vit-ti fc2", 1, 197, 192, 768, 0, false, true, false, true),
      make("vit-b proj", 1, 65, 768, 768, 0, false, true, true, true),
      make("dinov2-s fc2", 2, 65, 384, 1536, 0, false, true, true, true),
      make("head", 1, 1, 1000, 192, 0, true, true, false, false),
      make("qkv with a gain", 1, 197, 576, 192, 0, true, true, false, false, 1.f, true),
      make("primes with a gain", 3, 13, 31, 37, 2, true, true, true, true, 1.f, true),
      make("batch of heads", 5, 1, 10, 96, 0, true, true, false, false),
      make("three rows of a head", 3, 1, 65, 70, 2, true, true, true, true, 1.f, true),
      make("primes", 3, 13, 31, 37, 2, true, true, true, true),
      make("odd width", 1, 11, 65, 65, 3, false, false, false, false),
      make("one by one", 1, 1, 1, 1, 0, false, true, false, false),
      make("k of one", 1, 7, 9, 1, 4, false, true, false, false),
      make("n of three", 1, 129, 3, 64, 5, false, true, false, true),
      make("large values", 1, 33, 40, 48, 1, false, true, false, false, 50.f),
      make("tile edges", 1, 64, 128, 16, 0, false, true, false, false),
      make("one past the tile", 1, 65, 129, 17, 0, true, true, false, true),
  };
}

}  // namespace

namespace linear {

Sizes sizes(const OpCall& c) { return {c.in[kX]->shape.rows(), c.in[kWeight]->shape.w(), c.in[kWeight]->shape.c()}; }

Consts add_vectors(const OpCall& c, int64_t n, Lowering& l) {
  Consts r;
  if (c.input(kBias)) r.bias = int(l.consts.size()), l.consts.push_back(vector_const(kBias, n));
  if (c.input(kScaleIn)) r.scale = int(l.consts.size()), l.consts.push_back(vector_const(kScaleIn, n));
  if (c.input(kAffine))
    r.affine = int(l.consts.size()), l.consts.push_back(rows_const(kAffine, c.in[kAffine]->shape.w(), sizes(c).k));
  return r;
}

}  // namespace linear

extern const OpDef kLinearOp;
const OpDef kLinearOp = [] {
  OpDef d = {"linear", kAttrs,         infer, reference,
             cost,     tolerance,      cases, {true, 1u << linear::kX | 1u << linear::kResidualIn},
             nullptr,  linear::kWeight};
  d.slots = {kAct, kNorm, kEps, kBias, kScaleIn, kResidualIn, kAffine};
  // Rows that are a multiple of 4 KiB apart fall into the same sets of a CPU's first cache, and a GEMM that reads a
  // dozen of them at once evicts what it is about to need.
  d.row_conflict = [](const Attrs&, const Shape&, const Shape&) -> int64_t { return 4096; };
  d.row_gaps = true;
  return d;
}();

}  // namespace vireo
