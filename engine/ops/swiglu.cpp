// swiglu: silu(x[:h]) * x[h:] along the channels; [.., 2h] -> [.., h] (Shazeer 2020; DINOv2's gated MLP).
#include "ops/elementwise.h"

namespace vireo {
namespace {
using namespace ops;

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(0) || c.in[0]->shape.c() % 2)
    return shape_error(c, "input", got(c.input(0)), "an even number of channels");
  TensorDesc out;
  out.shape = c.in[0]->shape;
  out.shape.d[3] /= 2;
  return out;
}
Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const int64_t rows = c.out.shape.rows(), h = c.out.shape.c();
  const uint32_t local = 64;
  Lowering l;
  Dispatch d;
  d.shader = l.kernel = "swiglu";
  d.spec = {{"LX", local}, {"IN_TYPE", type_code(c.in[0]->dtype)}, {"OUT_TYPE", type_code(c.out.dtype)}};
  d.push = {{"rows", u32(rows)}, {"H", u32(h)}};
  d.groups = flat_grid(*ctx.caps, div_up(rows * groups4(h), local));
  d.operands = {input(0), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}
Result<Lowering> lower_cpu(const OpCall&, const LowerContext&) {
  Lowering l;
  l.kernel = "swiglu";
  return l;
}
void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  simd::SwigluArgs a;
  a.x = call.rows(0), a.ldx = c.in[0]->row_stride(), a.rows = c.out.shape.rows(), a.hidden = c.out.shape.c(),
  a.out = call.result(), a.ldo = c.out.row_stride();
  run_kernel(call, call.kernels->swiglu, a);
}
void reference(const RefCall& r) {
  const size_t h = size_t(r.op->out.shape.c());
  for (size_t i = 0; i < r.out->size(); ++i) {
    const size_t row = i / h, e = i % h;
    (*r.out)[i] = act_reference(int(simd::Act::kSilu), (*r.in[0])[row * 2 * h + e]) * (*r.in[0])[row * 2 * h + h + e];
  }
}
Cost cost(const OpCall& c) { return cost_of(c, 8.0 * double(c.out.shape.elements())); }
double tolerance(const OpCall&) { return 2e-6; }  // silu's own error and one product
std::vector<OpCase> cases() {
  std::vector<OpCase> list;
  for (const auto& [label, tokens, c] :
       {std::tuple{"dinov2", 65, 768}, std::tuple{"odd half", 9, 14}, std::tuple{"one", 1, 2}}) {
    OpCase o;
    o.label = label;
    o.in = {tokens_shape(2, tokens, c)};
    o.constant = {false};
    o.scale = 3.f;
    list.push_back(std::move(o));
  }
  return list;
}

}  // namespace

extern const OpDef kSwigluOp;
const OpDef kSwigluOp = {"swiglu", kNoAttrs, infer, reference, cost, tolerance, cases};

extern const KernelDef kSwigluVulkan, kSwigluCpu;
const KernelDef kSwigluVulkan = vulkan_kernel("swiglu", OpKind::kSwiglu, lower);
const KernelDef kSwigluCpu = cpu_kernel("swiglu.simd", OpKind::kSwiglu, lower_cpu, cpu);

}  // namespace vireo
