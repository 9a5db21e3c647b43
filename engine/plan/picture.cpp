#include "plan/picture.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace vireo {
namespace {

// What shaders/picture.columns.comp has by these names.
constexpr int64_t kLocal = 128, kBlock = kLocal / 2, kChunk = 256;
// Loops of so few taps are unrolled, in a pipeline of their own.
constexpr int64_t kUnrolledFours = 4, kUnrolledTaps = 8;

/// A value of a plan made by hand.
int32_t add_value(Plan& plan, const char* name, DType type, Shape shape, Region region, Layout layout) {
  PlanValue v;
  v.name = name;
  v.desc.dtype = type;
  v.desc.shape = shape;
  v.desc.layout = layout;
  v.where.region = region;
  plan.values.push_back(std::move(v));
  return int32_t(plan.values.size()) - 1;
}

Result<void> add_step(Plan& plan, const char* name, const Dispatch& d, const std::vector<int32_t>& inputs,
                      int32_t output) {
  Step s;
  s.name = name;
  s.op = OpKind::kConvert;
  s.kernel = d.shader;
  s.inputs = inputs;
  s.operand_present.assign(inputs.size(), true);
  s.output = output;
  VIREO_ASSIGN(PlanDispatch p, resolve_words(name, d));
  const int32_t number = int32_t(plan.steps.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    Binding b;
    b.source = {Operand::What::kInput, inputs[i]};
    p.bindings.push_back(b);
    plan.values[size_t(inputs[i])].last_step = number;
    s.cost.read_bytes += double(plan.values[size_t(inputs[i])].desc.bytes());
  }
  Binding out;
  out.source = {Operand::What::kOutput, output};
  out.reads = false, out.writes = true;
  p.bindings.push_back(out);
  plan.values[size_t(output)].first_step = number;
  s.cost.write_bytes = double(plan.values[size_t(output)].desc.bytes());
  s.dispatches.push_back(std::move(p));
  plan.steps.push_back(std::move(s));
  return {};
}

Result<Plan> finished(Plan plan, int32_t output) {
  for (size_t i = 0; i < plan.values.size(); ++i)
    if (plan.values[i].where.region == Region::kInput) plan.inputs.push_back(int32_t(i));
  plan.values[size_t(output)].last_step = int32_t(plan.steps.size());
  plan.outputs = {output};
  place(plan, false);
  order(plan);
  VIREO_TRY(verify(plan));
  return plan;
}

Plan empty_plan(const char* name, const DeviceCaps& caps) {
  Plan plan;
  plan.model = name;
  plan.caps = caps;
  plan.caps_name = caps.name;
  plan.device = caps.kind;
  plan.policy = "fp32";
  return plan;
}

/// How much of the picture a workgroup of the first step reads, at most, in pixels from a multiple of 4.
int64_t widest_block(const StoredFilter& f) {
  int64_t widest = 0;
  for (int64_t first = 0; first < f.outputs; first += kBlock) {
    const int64_t last = std::min(first + kBlock, f.outputs) - 1;
    const int64_t a = f.begin[size_t(first)], b = f.begin[size_t(last)];
    widest = std::max(widest, std::max(a, b) + f.taps - std::min(a, b) / 4 * 4);
  }
  return round_up(widest, 4);
}

}  // namespace

std::vector<std::vector<int32_t>> picture_tables(const PictureInput& in) {
  const StoredFilter &c = in.columns, &r = in.rows;
  const int64_t fours = div_up(c.taps, 4);
  std::vector<int32_t> weights(size_t(4 * fours * c.outputs), 0), rows;
  for (int64_t i = 0; i < c.outputs; ++i)
    for (int64_t k = 0; k < c.taps; ++k)
      weights[size_t((k / 4 * c.outputs + i) * 4 + k % 4)] = c.weights[size_t(i * c.taps + k)];
  for (int64_t i = 0; i < r.outputs; ++i) {
    rows.push_back(r.begin[size_t(i)]);
    rows.insert(rows.end(), r.weights.begin() + i * r.taps, r.weights.begin() + (i + 1) * r.taps);
  }
  const size_t levels = rows.size();
  rows.resize(levels + in.levels.size());
  std::memcpy(rows.data() + levels, in.levels.data(), in.levels.size() * sizeof(float));
  return {std::move(weights), c.begin, std::move(rows)};
}

Result<Plan> plan_picture(const PictureInput& in, const DeviceCaps& caps) {
  if (caps.kind != DeviceKind::kVulkan)
    return fail(ErrorCode::kUnsupported, "the device is no GPU, and the CPU's own way needs no bytes brought to it");
  const simd::PictureSource& s = in.source;
  const PackedPart& part = in.part;
  const StoredFilter &c = in.columns, &r = in.rows;
  const bool turned = s.turned();
  const int64_t rows = turned ? part.width : part.height, window_rows = r.outputs, fours = div_up(c.taps, 4);
  const int64_t span = widest_block(c), chunks = div_up(span, kChunk);
  const auto planar = [](int64_t lines, int64_t columns) { return Shape{{1, 1, lines, columns}}; };
  Plan plan = empty_plan("picture", caps);
  const auto input = [&](const char* name, DType type, Shape shape) {
    return add_value(plan, name, type, shape, Region::kInput, Layout::kPlanar);
  };
  const int32_t bytes = input("picture", DType::kU8, planar(1, part.bytes));
  const int32_t weights = input("column weights", DType::kI32, planar(fours, 4 * c.outputs));
  const int32_t begins = input("column begins", DType::kI32, planar(1, c.outputs));
  const int32_t table =
      input("rows and levels", DType::kI32, planar(1, window_rows * (r.taps + 1) + int64_t(in.levels.size())));
  const int32_t filtered =
      add_value(plan, "columns", DType::kI32, planar(rows, c.outputs), Region::kArena, Layout::kPlanar);
  const int32_t out = add_value(plan, "pixels", DType::kF32, Shape{{1, in.channels, in.input_h, in.input_w}},
                                Region::kOutput, Layout::kPlanar);
  const auto u = [](int64_t v) { return uint32_t(v); };
  // Sums in 1/65536 of a level, of which a level is the third byte: those of the CPU, in 1/16384, four times.
  const int32_t base = (1 << 13) - s.black * s.yy;
  Dispatch first;
  first.shader = "picture.columns";
  first.spec = {
      {"LX", u(kLocal)},          {"FORMAT", uint32_t(s.format)}, {"TURNED", turned ? 1u : 0u},
      {"LUMA", s.luma ? 1u : 0u}, {"ONE", chunks == 1 ? 1u : 0u}, {"FOURS", fours <= kUnrolledFours ? u(fours) : 0u}};
  first.push = {{"outputs", u(c.outputs)},
                {"rows", u(rows)},
                {"groups", u(part.groups)},
                {"height", u(part.height)},
                {"span", u(chunks == 1 ? span : kChunk)},
                {"chunks", u(chunks)},
                {"taps4", u(fours)},
                {"stride0", u(part.stride[0] / 4)},
                {"stride1", u(part.stride[1] / 4)},
                {"plane1", u(part.offset[1] / 4)},
                {"plane2", u(part.offset[2] / 4)},
                {"yy", u(4 * s.yy)},
                {"rv", u(4 * s.rv)},
                {"gu", u(4 * s.gu)},
                {"gv", u(4 * s.gv)},
                {"bu", u(4 * s.bu)},
                {"base_r", u(4 * (base - 128 * s.rv))},
                {"base_g", u(4 * (base - 128 * (s.gu + s.gv)))},
                {"base_b", u(4 * (base - 128 * s.bu))}};
  first.groups = {u(div_up(c.outputs, kBlock)), u(turned ? part.groups : div_up(rows, 4)), 1};
  VIREO_TRY(add_step(plan, "picture.columns", first, {bytes, weights, begins}, filtered));
  constexpr int64_t kPixels = 64;
  Dispatch second;
  second.shader = "picture.rows";
  second.spec = {{"LX", u(kPixels)},
                 {"CHANNELS", u(in.channels)},
                 {"FLIP", in.flip ? 1u : 0u},
                 {"TAPS", r.taps <= kUnrolledTaps ? u(r.taps) : 0u}};
  second.push = {{"W", u(in.input_w)},      {"H", u(in.input_h)},
                 {"x0", u(in.window.x)},    {"y0", u(in.window.y)},
                 {"columns", u(c.outputs)}, {"lines", u(window_rows)},
                 {"taps", u(r.taps)},       {"levels", u(window_rows * (r.taps + 1))}};
  second.groups = {u(div_up(in.input_w, kPixels)), u(in.input_h), 1};
  VIREO_TRY(add_step(plan, "picture.rows", second, {filtered, table}, out));
  return finished(std::move(plan), out);
}

Result<Plan> plan_floats(int64_t floats, const DeviceCaps& caps) {
  Plan plan = empty_plan("floats", caps);
  const Shape shape{{1, 1, 1, floats}};
  const int32_t from = add_value(plan, "floats", DType::kF32, shape, Region::kInput, Layout::kRows);
  const int32_t to = add_value(plan, "pixels", DType::kF32, shape, Region::kOutput, Layout::kRows);
  constexpr int64_t kGroups = 64;
  const int64_t fours = div_up(floats, 4), workgroups = div_up(fours, kGroups);
  const int64_t across = std::min<int64_t>(workgroups, caps.max_workgroup_count[0]);
  Dispatch d;
  d.shader = "copy_rows";
  d.spec = {{"LX", uint32_t(kGroups)}, {"IN_TYPE", 0}, {"OUT_TYPE", 0}};
  d.push = {{"B", 1},        {"count", 1},  {"a_tokens", 1}, {"a_first", 0}, {"ld4", uint32_t(fours)},
            {"o_tokens", 1}, {"o_first", 0}};
  d.groups = {uint32_t(across), uint32_t(div_up(workgroups, across)), 1};
  VIREO_TRY(add_step(plan, "floats", d, {from}, to));
  return finished(std::move(plan), to);
}

}  // namespace vireo
