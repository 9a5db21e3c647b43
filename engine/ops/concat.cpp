// concat: the channels of 2 to 8 inputs side by side, row by row; [n, h, w, c_i] -> [n, h, w, sum c_i]. A step only
// where its inputs cannot be written in place (find_parts in plan/lower.cpp).
#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;

constexpr AttrDef kAttrs[] = {{nullptr, 0}};
constexpr size_t kMost = 8;         // inputs
constexpr size_t kPerDispatch = 4;  // inputs that the shader binds: a group of 4 channels never has more

Result<TensorDesc> infer(const OpCall& c) {
  if (!c.input(0) || !c.input(1)) return shape_error(c, "operand", "missing", "two inputs");
  if (c.in.size() > kMost)
    return shape_error(c, "operands", fmt::format("{} of them", c.in.size()), fmt::format("at most {}", kMost));
  TensorDesc out;
  out.shape = c.in[0]->shape;
  for (size_t i = 1; i < c.in.size(); ++i) {
    if (!c.input(i)) return shape_error(c, "operand", "missing", fmt::format("all of {} inputs", c.in.size()));
    Shape like = c.in[i]->shape;
    like.d[3] = c.in[0]->shape.c();
    if (like != c.in[0]->shape)
      return shape_error(c, fmt::format("input {}", i + 1).c_str(), got(c.in[i]),
                         "the first one's shape but for the channels, " + got(c.in[0]));
    out.shape.d[3] += c.in[i]->shape.c();
  }
  return out;
}

Result<Lowering> lower(const OpCall& c, const LowerContext& ctx) {
  const int64_t rows = c.out.shape.rows(), ld4 = groups4(c.out.shape.c());
  const uint32_t local = 64;
  Lowering l;
  l.kernel = "concat";
  // A dispatch writes the groups of up to four inputs; a group that several share belongs to the dispatch of the first.
  std::vector<int64_t> end(c.in.size());  // channel behind input i
  for (size_t i = 0; i < c.in.size(); ++i) end[i] = (i ? end[i - 1] : 0) + c.in[i]->shape.c();
  int64_t group = 0;
  for (size_t first = 0; first < c.in.size() && group < ld4;) {
    while (end[first] <= group * 4) ++first;
    const size_t last = std::min(c.in.size(), first + kPerDispatch);
    const int64_t stop = last == c.in.size() ? ld4 : end[last - 1] / 4;
    Dispatch d;
    d.shader = "concat";
    d.spec = {{"LX", local}, {"OUT_TYPE", type_code(c.out.dtype)}};
    d.push = {{"rows", u32(rows)}, {"o_ld4", u32(ld4)}, {"g0", u32(group)}, {"count", u32(stop - group)}};
    static constexpr const char* kTypes[] = {"A_TYPE", "B_TYPE", "C_TYPE", "D_TYPE"};
    static constexpr const char* kBegins[] = {"begin_a", "begin_b", "begin_c", "begin_d"};
    static constexpr const char* kStrides[] = {"ld_a", "ld_b", "ld_c", "ld_d"};
    bool aligned = end[last - 1] % 4 == 0;
    for (size_t i = 0; i < kPerDispatch; ++i) {
      const bool there = first + i < last;
      const int64_t begin = !there ? end.back() : first + i ? end[first + i - 1] : 0;
      d.operands.push_back(there ? input(int(first + i)) : dummy());
      d.spec.add(kTypes[i], there ? type_code(c.in[first + i]->dtype) : 0);
      d.push.add(kBegins[i], u32(begin));
      d.push.add(kStrides[i], there ? u32(groups4(c.in[first + i]->shape.c())) : 1);
      aligned = aligned && begin % 4 == 0;
    }
    d.push.add("end", u32(end[last - 1]));
    d.spec.add("ALIGNED", aligned);
    d.operands.push_back(output());
    d.groups = flat_grid(*ctx.caps, div_up(rows * (stop - group), local));
    l.dispatches.push_back(std::move(d));
    group = stop;
    first = last - 1;  // it may share the next group
  }
  return l;
}

Result<Lowering> lower_cpu(const OpCall&, const LowerContext&) {
  Lowering l;
  l.kernel = "copy";
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  simd::CopyArgs a;
  a.groups = 1, a.rows = c.out.shape.rows(), a.src_group_rows = a.dst_group_rows = a.rows;
  a.dst = call.result(), a.ldd = c.out.row_stride();
  for (size_t i = 0; i < c.in.size(); ++i, a.dst += a.cols) {
    a.src = call.rows(i), a.lds = c.in[i]->row_stride(), a.cols = c.in[i]->shape.c();
    if (i + 1 == c.in.size()) a.zero_cols = round_up(c.out.shape.c(), 4) - c.out.shape.c();
    run_kernel(call, call.kernels->copy, a);
  }
}

void reference(const RefCall& r) {
  auto to = r.out->begin();
  for (int64_t row = 0; row < r.op->out.shape.rows(); ++row)
    for (size_t i = 0; i < r.in.size(); ++i) {
      const int64_t n = r.op->in[i]->shape.c();
      to = std::copy_n(r.in[i]->begin() + row * n, n, to);
    }
}

Cost cost(const OpCall& c) { return cost_of(c, 0); }
double tolerance(const OpCall&) { return 0; }  // a copy is exact

OpCase make(std::string label, Shape first, std::initializer_list<int64_t> others) {
  OpCase o;
  o.label = std::move(label);
  o.in = {first};
  for (int64_t n : others) {
    Shape s = first;
    s.d[3] = n;
    o.in.push_back(s);
  }
  o.constant.assign(o.in.size(), false);
  return o;
}
std::vector<OpCase> cases() {
  return {make("class token and mean", tokens_shape(3, 1, 384), {384}),
          make("odd", tokens_shape(2, 5, 7), {6}),
          make("one channel each", tokens_shape(1, 3, 1), {1}),
          make("mobilevit fusion", Shape{{1, 32, 32, 96}}, {96}),
          make("pyramid pooling", Shape{{1, 8, 8, 96}}, {64, 64, 64, 64}),
          make("eight, ragged", Shape{{2, 3, 5, 7}}, {1, 2, 13, 4, 1, 1, 6}),
          make("eight of one channel", Shape{{1, 2, 3, 1}}, {1, 1, 1, 1, 1, 1, 1}),
          make("seven, the fourth ends a group", Shape{{1, 2, 2, 4}}, {4, 4, 4, 3, 2, 8})};
}

}  // namespace

extern const OpDef kConcatOp;
const OpDef kConcatOp = [] {
  OpDef d = {"concat", kAttrs, infer, reference, cost, tolerance, cases};
  d.gather = true;
  return d;
}();

extern const KernelDef kConcatVulkan, kConcatCpu;
const KernelDef kConcatVulkan = vulkan_kernel("concat", OpKind::kConcat, lower);
const KernelDef kConcatCpu = cpu_kernel("concat.simd", OpKind::kConcat, lower_cpu, cpu);

}  // namespace vireo
