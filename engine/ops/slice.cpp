// slice: tokens start .. start + count of every image, in a row or as the rows of a map of that height. With one image
// it is a view of its operand's bytes and costs nothing.
#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;

enum Attr { kStart, kCount, kHeight };
constexpr AttrDef kAttrs[] = {{"start", 0}, {"count", 1}, {"height", 1}, {nullptr, 0}};

int64_t tokens(const OpCall& c) { return c.in[0]->shape.h() * c.in[0]->shape.w(); }

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(0)) return shape_error(c, "operand", "missing", "an input");
  if (c.iattr(kStart) < 0 || c.iattr(kCount) < 1 || c.iattr(kStart) + c.iattr(kCount) > tokens(c))
    return shape_error(c, "range", fmt::format("{}..{}", c.iattr(kStart), c.iattr(kStart) + c.iattr(kCount)),
                       fmt::format("within {} tokens", tokens(c)));
  const int64_t height = c.iattr(kHeight);
  if (height < 1 || c.iattr(kCount) % height != 0)
    return shape_error(c, "height", fmt::format("{}", height), fmt::format("a divisor of {} tokens", c.iattr(kCount)));
  TensorDesc out;
  out.shape = Shape{{c.in[0]->shape.n(), height, c.iattr(kCount) / height, c.in[0]->shape.c()}};
  return out;
}

bool as_view(const OpCall& c, const LowerContext& ctx, Lowering& l) {
  const uint64_t offset = uint64_t(c.iattr(kStart) * c.in[0]->row_stride()) * dtype_size(c.in[0]->dtype);
  const uint64_t alignment = std::max(ctx.caps->storage_alignment, ctx.caps->texel_alignment);
  if (!ctx.allow_views || c.in[0]->shape.n() != 1 || c.in[0]->dtype != c.out.dtype || c.in[0]->layout != Layout::kRows)
    return false;
  if (ctx.caps->kind == DeviceKind::kVulkan && offset % alignment) return false;
  l.view_of = 0;
  l.view_offset = offset;
  l.kernel = "view";
  return true;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  Lowering l;
  if (as_view(c, ctx, l)) return l;
  const TensorDesc& x = *c.in[0];
  const int64_t ld4 = groups4(x.shape.c()), count = c.iattr(kCount);
  const uint32_t local = 64;
  Dispatch d;
  d.shader = l.kernel = "copy_rows";
  d.spec = {{"LX", local}, {"IN_TYPE", type_code(x.dtype)}, {"OUT_TYPE", type_code(c.out.dtype)}};
  d.push = {{"B", u32(x.shape.n())},
            {"count", u32(count)},
            {"a_tokens", u32(tokens(c))},
            {"a_first", u32(c.iattr(kStart))},
            {"ld4", u32(ld4)},
            {"o_tokens", u32(count)},
            {"o_first", 0}};
  d.groups = flat_grid(*ctx.caps, div_up(x.shape.n() * count * ld4, local));
  d.operands = {input(0), output()};
  l.dispatches.push_back(std::move(d));
  return l;
}

Result<Lowering> lower_cpu(const OpCall& c, const LowerContext& ctx) {
  Lowering l;
  // A CPU step inside a Vulkan plan copies: its rows may be converted copies of fp16 ones.
  if (ctx.caps->kind == DeviceKind::kVulkan || !as_view(c, ctx, l)) l.kernel = "copy";
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  simd::CopyArgs a;
  a.lds = c.in[0]->row_stride(), a.ldd = c.out.row_stride();
  a.src = call.rows(0) + c.iattr(kStart) * a.lds, a.src_group_rows = tokens(c);
  a.dst = call.result(), a.dst_group_rows = c.iattr(kCount);
  a.groups = c.out.shape.n(), a.rows = c.iattr(kCount), a.cols = c.out.shape.c(),
  a.zero_cols = round_up(a.cols, 4) - a.cols;
  run_kernel(call, call.kernels->copy, a);
}

void reference(const RefCall& r) {
  const OpCall& c = *r.op;
  const int64_t d = c.out.shape.c(), part = c.iattr(kCount) * d;
  for (int64_t b = 0; b < c.out.shape.n(); ++b)
    std::copy_n(r.in[0]->begin() + (b * tokens(c) + c.iattr(kStart)) * d, part, r.out->begin() + b * part);
}

Cost cost(const OpCall& c) { return {0, double(c.out.bytes()), double(c.out.bytes())}; }
double tolerance(const OpCall&) { return 0; }  // a copy is exact

OpCase make(std::string label, Shape in, double start, double count, double height = 1) {
  OpCase o;
  o.label = std::move(label);
  o.in = {in};
  o.constant = {false};
  o.attrs = attrs_of({start, count, height});
  return o;
}
std::vector<OpCase> cases() {
  return {make("class token, batch", tokens_shape(3, 50, 96), 0, 1),
          make("second token", tokens_shape(2, 38, 72), 1, 1), make("odd width", tokens_shape(2, 9, 13), 4, 5),
          make("one image", tokens_shape(1, 11, 7), 3, 2), make("as a map", tokens_shape(2, 13, 12), 1, 12, 3)};
}

}  // namespace

extern const OpDef kSliceOp;
const OpDef kSliceOp = [] {
  OpDef d = {"slice", kAttrs, infer, reference, cost, tolerance, cases};
  d.view = true;
  return d;
}();

extern const KernelDef kSliceVulkan, kSliceCpu;
const KernelDef kSliceVulkan = vulkan_kernel("slice", OpKind::kSlice, lower);
const KernelDef kSliceCpu = cpu_kernel("slice.simd", OpKind::kSlice, lower_cpu, cpu);

}  // namespace vireo
