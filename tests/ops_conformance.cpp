// Every operator x case x precision x {every SIMD target, every Vulkan device in several classes of tuning} against the
// operator's double reference. The output lies between guard bytes that must survive, starts as NaN (so that an element
// never written shows), and its row padding must end as zeros. Vulkan runs under the validation layer, silent.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <set>
#include <tuple>

#include "base/half.h"
#include "cpu/executable.h"
#include "ops/attention.h"
#include "ops/conv2d.h"
#include "ops/linear.h"
#include "ops/rounded_op.h"
#include "ops/tuned.h"
#include "ops_conformance.h"
#include "plan/plan.h"
#include "plan/quantise.h"
#include "runtime/self_test.h"
#include "support/reference.h"
#include "support/sample.h"
#include "vk/executable.h"

namespace vireo {

using namespace conformance;

constexpr uint64_t kGuard = 4096;

Vulkan& conformance::vulkan() {
  static Vulkan* v = [] {
    auto* made = new Vulkan;
    vk::InstanceOptions o;
    const char* asked = std::getenv("VIREO_TEST_VALIDATION");  // 0: the driver alone, as bench/gpu.py asks first
    o.validation = !asked || std::string(asked) != "0";
    o.on_message = [made](const std::string& m) { made->messages += m + "\n"; };
    Result<std::shared_ptr<vk::Instance>> i = vk::Instance::open(o);
    if (i) made->instance = *i;
    else made->why_not = i.error().message;
    return made;
  }();
  return *v;
}

namespace {

/// VIREO_TEST_TARGETS=text keeps the targets whose label contains the text, for work on one of them.
bool wanted(const std::string& label) {
  const char* filter = std::getenv("VIREO_TEST_TARGETS");
  return !filter || label.find(filter) != std::string::npos;
}

}  // namespace

const std::vector<Target>& conformance::targets() {
  static const std::vector<Target>* all = [] {
    auto* list = new std::vector<Target>;
    for (int i = 0; const simd::Kernels* k = simd::supported(i); ++i) {
      Target t;
      t.label = fmt::format("cpu_{}", k->name);
      t.caps.kind = DeviceKind::kCpu;
      t.caps.simd = k->name;
      t.caps.threads = 2;
      t.caps.storage_alignment = t.caps.texel_alignment = 64;
      t.kernels = k;
      if (wanted(t.label)) list->push_back(t);
      t.label += "_strided";
      t.gap = 12;
      if (wanted(t.label)) list->push_back(t);
    }
    if (!vulkan().instance) return list;
    for (const vk::Physical& p : vulkan().instance->devices()) {
      if (!p.unusable.empty()) continue;
      Result<std::shared_ptr<vk::Gpu>> gpu = vk::Gpu::open(vulkan().instance, p.index);
      if (!gpu) continue;
      const auto add = [&](const char* what, DeviceClass c, bool subgroups, bool split = false, bool strided = false) {
        Target t;
        t.label = fmt::format("vulkan{}_{}", p.index, what);
        t.caps = (*gpu)->caps();
        t.caps.device_class = c;
        t.caps.threads = 2;
        // fp16 products have a test of their own.
        t.caps.shader_float16 = false;
        if (!subgroups)
          t.caps.subgroup_basic = t.caps.subgroup_vote = t.caps.subgroup_ballot = t.caps.subgroup_shuffle =
              t.caps.subgroup_arithmetic = false;
        t.gpu = *gpu;
        if (wanted(t.label)) list->push_back(t);
        // The same with every block of rows in a dispatch of its own.
        Target s = t;
        s.label += "_split";
        s.tuning = tuning_for(t.caps);
        s.tuning->max_dispatch_flops = 1;
        if (split && wanted(s.label)) list->push_back(s);
        // And with rows that have gaps, where the operator takes such.
        t.label += "_strided";
        t.gap = 12;
        if (strided && wanted(t.label)) list->push_back(t);
      };
      // The tuning table's classes choose between the kernels; all must be right on every device.
      add("texel", DeviceClass::kSoftware, true, true, true);
      add("texel_without_subgroups", DeviceClass::kSoftware, false);
      add("tile_maxwell", DeviceClass::kMaxwell, false, true, true);
      add("tile_mali", DeviceClass::kMali, false);
    }
    return list;
  }();
  return *all;
}

namespace {

double half_round(double x) { return double(half_to_float(float_to_half(float(x)))); }
double bf16_round(double x) { return double(bf16_to_float(float_to_bf16(float(x)))); }

/// `bf16`: the plan multiplies bfloat16 rows, by bfloat16 weights or int8 ones. Inputs are bfloat16 values then, so
/// that only a LayerNorm in front of the product leaves something to round: that much is added to the bound.
Prepared prepare_anew(const Case& c, bool half_activations, bool bf16) {
  Prepared p;
  GraphBuilder b("case");
  std::vector<ValueId> operands;
  for (size_t i = 0; i < c.spec.in.size(); ++i) {
    const Shape& s = c.spec.in[i];
    if (s.c() == 0) {
      operands.push_back(kNoValue);
      continue;
    }
    std::vector<double> values = test::noise(size_t(s.elements()), 100 + i, c.spec.scale);
    if (c.spec.constant[i]) {
      operands.push_back(b.constant(fmt::format("const{}", i),
                                    make_constant(s.w(), s.c(), std::vector<float>(values.begin(), values.end()))));
      continue;
    }
    TensorDesc d;
    d.shape = s;
    d.layout = i == 0 && c.spec.planar ? Layout::kPlanar : Layout::kRows;
    if (half_activations && d.layout == Layout::kRows) {
      d.dtype = DType::kF16;
      for (double& v : values) v = half_round(v);
    }
    if (bf16)
      for (double& v : values) v = bf16_round(v);
    operands.push_back(b.input(fmt::format("in{}", i), d));
    p.inputs.push_back(std::move(values));
  }
  std::vector<std::pair<const char*, double>> attrs;
  const OpDef& def = op_def(c.op);
  for (int a = 0; def.attrs[a].name; ++a) attrs.push_back({def.attrs[a].name, c.spec.attrs[size_t(a)]});
  b.output(b.add(c.op, "node", operands, attrs));
  Result<Graph> g = b.finish();
  EXPECT_TRUE(g.ok()) << g.error().message;
  p.graph = std::move(*g);

  // Matrices are stored in the precision; vectors and tables stay fp32.
  double longest_row = 0;  // of the weight matrix: the largest Euclidean norm
  const bool matrix_op = c.op == OpKind::kLinear || c.op == OpKind::kConv2d;
  const bool depthwise = c.op == OpKind::kConv2d && conv2d::is_depthwise(int64_t(c.spec.attrs[conv2d::kGroups]),
                                                                         c.spec.in[0].c(), c.spec.in[1].w());
  const auto storage = [&](const Node&, size_t operand, std::vector<double>& w, int64_t cols) {
    if (!matrix_op || depthwise || operand != 1) return;
    for (size_t row = 0; row < w.size() / size_t(cols); ++row) {
      double* r = &w[row * size_t(cols)];
      if (c.precision == Precision::kFp16)
        for (int64_t k = 0; k < cols; ++k) r[k] = bf16 ? bf16_round(r[k]) : half_round(r[k]);
      double norm = 0;
      for (int64_t k = 0; k < cols; ++k) norm += r[k] * r[k];
      longest_row = std::max(longest_row, std::sqrt(norm));
      if (c.precision == Precision::kInt8) {  // the quantiser has tests of its own; here its numbers are the weights
        std::vector<float> f(r, r + cols);
        std::vector<int8_t> q(f.size());
        if (c.op == OpKind::kLinear && c.spec.attrs[linear::kNorm] != 0 && c.spec.in[size_t(linear::kAffine)].c() == 0)
          centre_row(f.data(), cols);
        const float s = quantise_row(f.data(), cols, q.data());
        const int64_t taps =
            c.op == OpKind::kConv2d ? int64_t(c.spec.attrs[conv2d::kKernelH] * c.spec.attrs[conv2d::kKernelW]) : cols;
        if (c.op == OpKind::kConv2d)
          for (int64_t k = 0; k < cols; k += taps) balance_roundings(&f[size_t(k)], s, taps, 1, &q[size_t(k)]);
        for (int64_t k = 0; k < cols; ++k) r[k] = double(q[size_t(k)]) * double(s);
      }
    }
  };
  const auto values = test::run_reference(p.graph, p.inputs, storage);
  p.expected = values[size_t(p.graph.outputs[0])];
  double largest = 1;
  for (double v : p.expected) largest = std::max(largest, std::fabs(v));
  OpCall call;
  const Node& n = p.graph.nodes[0];
  call.name = n.name.c_str();
  call.attrs = &n.attrs;
  for (ValueId v : n.inputs) call.in.push_back(v == kNoValue ? nullptr : &p.graph.value(v).desc);
  call.out = p.graph.value(n.output).desc;
  p.bound = def.tolerance(call) * largest;
  if (bf16 && c.op == OpKind::kLinear && c.spec.attrs[linear::kNorm] != 0) {
    // A normalised row x has |x| <= sqrt(k) and every element moves by at most 2^-9 of itself, hence each sum by at
    // most 2^-9 |x| |w| (Cauchy and Schwarz); no activation is steeper than 1.13 (GELU), and the scales follow.
    double steepest = 1.13;
    const Shape& scale = c.spec.in[size_t(linear::kScaleIn)];
    if (scale.c() != 0) steepest *= c.spec.scale;  // noise is at most that
    if (c.spec.in[size_t(linear::kAffine)].c() != 0) steepest *= c.spec.scale;
    p.bound += std::ldexp(std::sqrt(double(c.spec.in[0].c())) * longest_row * steepest, -9);
  }
  if (half_activations) p.bound += std::ldexp(largest, -11);  // the output's own rounding to fp16
  return p;
}

}  // namespace

namespace conformance {

/// The same; targets take turns on a case, so the last few answers are kept.
Prepared prepare(const Case& c, bool half_activations, bool bf16) {
  struct Kept {
    std::string key;
    Prepared prepared;
  };
  static std::vector<Kept> kept;
  const std::string key =
      fmt::format("{} {} {} {} {}", int(c.op), c.spec.label, int(c.precision), half_activations, bf16);
  for (const Kept& k : kept)
    if (k.key == key) return k.prepared;
  if (kept.size() >= 4) kept.erase(kept.begin());
  kept.push_back({key, prepare_anew(c, half_activations, bf16)});
  return kept.back().prepared;
}

/// Moves the output away from its region's edges, so that guards fit around it.
void add_guards(Plan& plan) {
  PlanValue& out = plan.values[size_t(plan.outputs[0])];
  out.where.offset += kGuard;
  plan.output_bytes += 2 * kGuard;
  for (Step& s : plan.steps)
    for (PlanDispatch& d : s.dispatches)
      for (Binding& b : d.bindings)
        if (b.source.what == Operand::What::kOutput) b.where = out.where;
}

}  // namespace conformance

void conformance::fill_input(const Plan& plan, const Prepared& p, uint8_t* region) {
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    const PlanValue& v = plan.values[size_t(plan.inputs[i])];
    const TensorDesc& d = v.desc;
    uint8_t* at = region + v.where.offset;
    std::memset(at, 0, v.where.bytes);
    const int64_t cols = d.shape.c(), pixels = d.shape.h() * d.shape.w();
    const uint64_t element = dtype_size(d.dtype);
    for (int64_t r = 0; r + 1 < d.shape.rows() && d.gap != 0;
         ++r)  // NaN between rows: another value's, which counts for nothing
      std::memset(at + uint64_t((r + 1) * d.row_stride() - d.gap) * element, 0xFF, uint64_t(d.gap) * element);
    for (int64_t r = 0; r < d.shape.rows(); ++r)
      for (int64_t c = 0; c < cols; ++c) {
        const float x = float(p.inputs[i][size_t(r * cols + c)]);
        const int64_t k =
            d.layout == Layout::kRows ? r * d.row_stride() + c : (r / pixels * cols + c) * pixels + r % pixels;
        if (d.dtype == DType::kF16) reinterpret_cast<uint16_t*>(at)[k] = float_to_half(x);
        else reinterpret_cast<float*>(at)[k] = x;
      }
  }
}

namespace {

/// What an argmax may answer: a channel whose score is the largest but for rounding, and the first of those exactly
/// equal.
void check_argmax(const Prepared& p, size_t pixel, double got, const std::string& where) {
  const Node& n = p.graph.nodes[0];
  const Shape &in = p.graph.value(n.inputs[0]).desc.shape, &out = p.graph.value(n.output).desc.shape;
  static std::vector<double> scores;  // of the case at hand, at the output's size
  if (pixel == 0) {
    GraphBuilder b("scores");
    ValueId x = b.input("x", {DType::kF32, in});
    if (const double mid_h = n.attrs[2], mid_w = n.attrs[3]; mid_h != 0)
      x = b.add(OpKind::kResize, "way", {x}, {{"out_h", mid_h}, {"out_w", mid_w}, {"mode", 1}});
    b.output(
        b.add(OpKind::kResize, "resize", {x}, {{"out_h", double(out.h())}, {"out_w", double(out.w())}, {"mode", 1}}));
    Result<Graph> g = b.finish();
    ASSERT_TRUE(g.ok()) << g.error().message;
    scores = test::run_reference(*g, p.inputs)[size_t(g->outputs[0])];
  }
  const double* at = &scores[pixel * size_t(in.c())];
  const double best = at[size_t(p.expected[pixel])];
  ASSERT_TRUE(got >= 0 && got < double(in.c()) && got == std::floor(got))
      << where << ": pixel " << pixel << " is of class " << got;
  EXPECT_GE(at[size_t(got)], best - p.bound)
      << where << ": pixel " << pixel << ", expected " << p.expected[pixel] << ", got " << got;
  if (at[size_t(got)] == best && p.bound == 0) {
    EXPECT_EQ(got, p.expected[pixel]) << where << ": the first of equals";
  }
}

void check_output(const Plan& plan, const Prepared& p, const uint8_t* region, const std::string& where) {
  const PlanValue& out = plan.values[size_t(plan.outputs[0])];
  const TensorDesc& d = out.desc;
  for (uint64_t i = 0; i < kGuard; ++i) {
    ASSERT_EQ(region[out.where.offset - kGuard + i], 0xA5)
        << where << ": byte " << i << " before the output was written";
    ASSERT_EQ(region[out.where.offset + out.where.bytes + i], 0xA5)
        << where << ": byte " << i << " after the output was written";
  }
  const uint8_t* at = region + out.where.offset;
  double worst = 0;
  size_t worst_at = 0;
  for (int64_t r = 0; r < d.shape.rows(); ++r)
    for (int64_t c = 0; c < d.row_stride(); ++c) {
      const int64_t k = r * d.row_stride() + c;
      if (c >= round_up(d.shape.c(), 4)) {  // another value's columns; the last row has none
        if (r + 1 < d.shape.rows()) {
          const auto* bytes = at + uint64_t(k) * dtype_size(d.dtype);
          ASSERT_TRUE(std::all_of(bytes, bytes + dtype_size(d.dtype), [](uint8_t b) { return b == 0xFF; }))
              << where << ": between rows " << r << " and " << r + 1;
        }
        continue;
      }
      const double got = d.dtype == DType::kF16 ? double(half_to_float(reinterpret_cast<const uint16_t*>(at)[k]))
                                                : double(reinterpret_cast<const float*>(at)[k]);
      if (c >= d.shape.c()) {
        ASSERT_EQ(got, 0.0) << where << ": padding of row " << r;
        continue;
      }
      const size_t i = size_t(r * d.shape.c() + c);
      if (p.graph.nodes[0].op == OpKind::kArgmax) {
        check_argmax(p, i, got, where);
        continue;
      }
      const double error = std::fabs(got - p.expected[i]);
      if (!(error <= worst)) worst = error, worst_at = i;
      ASSERT_FALSE(std::isnan(got)) << where << ": element " << i << " is no number, or was never written";
    }
  EXPECT_LE(worst, p.bound) << where << ": element " << worst_at << ", expected " << p.expected[worst_at];
}

int splits = 0;             // cases that ran as several dispatches
std::set<std::string> ran;  // cases with the plan's text: where targets on one device plan alike, one run tells for all

/// Puts gaps between the rows of the operands and the output, of those that the operator takes so on a GPU; a shader
/// learns of them by being lowered again.
void spread_rows(Plan& plan, const Target& t) {
  Step& step = plan.steps[0];
  const OpDef& def = op_def(step.op);
  for (size_t i = 0; i < step.inputs.size(); ++i)
    if (step.inputs[i] >= 0 && (!t.gpu || (def.strided.in >> i & 1))) {
      TensorDesc& d = plan.values[size_t(step.inputs[i])].desc;
      if (d.layout == Layout::kRows) d.gap = t.gap + 8 * int32_t(i);  // each its own
    }
  if (!t.gpu || def.strided.out) plan.values[size_t(step.output)].desc.gap = t.gap + 4;
  place(plan, false);
  if (!t.gpu) return;
  const Tuning tuning = t.tuning ? *t.tuning : tuning_for(t.caps);
  Result<Lowering> lowered =
      lower_op(step.op, DeviceKind::kVulkan, op_call(plan, step), {&plan.caps, &tuning, Products::kF32, true});
  ASSERT_TRUE(lowered.ok()) << lowered.error().message;
  ASSERT_EQ(lowered->dispatches.size(), step.dispatches.size());
  for (size_t i = 0; i < step.dispatches.size(); ++i) {
    EXPECT_EQ(lowered->dispatches[i].groups, step.dispatches[i].groups) << "as many channels as before";
    const Result<PlanDispatch> d = resolve_words(step.name, lowered->dispatches[i]);
    ASSERT_TRUE(d.ok()) << d.error().message;
    step.dispatches[i].spec = d->spec;
    step.dispatches[i].push = d->push;
  }
}

}  // namespace

namespace conformance {

/// The class's tuning, with this kernel and these constants alone.
Tuning tuning_with(const DeviceCaps& caps, const char* kernel, const Constants& constants) {
  Tuning t = tuning_for(caps);
  only_kernel(*find_kernel(kernel), &t);
  t.constants[kernel] = {constants};
  return t;
}

void run_case(const Case& c, const Target& t, double extra) {
  PlanOptions options;
  options.precision = c.precision;
  options.fuse = false;
  options.half_outputs = true;
  options.tuning = t.tuning;
  const bool half = t.gpu && policy_for(options, t.caps).activations == DType::kF16;
  Prepared p = prepare(c, half);
  double largest = 1;
  for (double v : p.expected) largest = std::max(largest, std::fabs(v));
  p.bound += extra * largest;
  Result<Planned> planned = make_plan(p.graph, t.caps, options);
  ASSERT_TRUE(planned.ok()) << planned.error().message;
  bool bf16 = false;
  for (const PlanConst& k : planned->plan.consts) bf16 |= k.pack.bf16_rows || k.pack.dtype == DType::kBF16;
  if (bf16) {
    ASSERT_TRUE(t.kernels && t.kernels->gemm_bf16.run && c.precision != Precision::kFp32);
    ASSERT_NE(planned->plan.steps[0].kernel.find("bf16"), std::string::npos) << "the plan says so";
    p = prepare(c, half, true);
    planned = make_plan(p.graph, t.caps, options);
    ASSERT_TRUE(planned.ok()) << planned.error().message;
  }
  if (t.gpu) {
    ASSERT_FALSE(planned->plan.has_cpu_steps()) << t.label << ": no Vulkan kernel: " << planned->plan.steps[0].reason;
  }
  if (t.tuning) splits += planned->plan.dispatch_count() > 1;
  if (t.gap) spread_rows(planned->plan, t);
  if (::testing::Test::HasFatalFailure()) return;
  if (t.gpu && !ran.insert(fmt::format("{}\n{}\n{}", fmt::ptr(t.gpu.get()), c.spec.label, dump(planned->plan))).second)
    return;
  add_guards(planned->plan);
  const Result<void> verified = verify(planned->plan);
  ASSERT_TRUE(verified.ok()) << verified.error().message;
  ThreadPool pool(2);
  const std::string where =
      fmt::format("{} / {} / {} / {}", op_def(c.op).name, c.spec.label, to_string(c.precision), t.label);
  if (t.kernels) {
    auto e = cpu::Executable::create(planned->plan, planned->graph, pool, *t.kernels, 1);
    ASSERT_TRUE(e.ok()) << e.error().message;
    auto* out = reinterpret_cast<uint8_t*>(const_cast<float*>((*e)->output(0)));
    std::memset(out, 0xA5, planned->plan.output_bytes);
    std::memset(out + planned->plan.values[size_t(planned->plan.outputs[0])].where.offset, 0xFF,
                planned->plan.values[size_t(planned->plan.outputs[0])].where.bytes);
    fill_input(planned->plan, p, reinterpret_cast<uint8_t*>((*e)->input(0)));
    (*e)->run(0, pool);
    check_output(planned->plan, p, out, where);
  } else {
    auto e = vk::Executable::create(t.gpu, planned->plan, planned->graph, pool, {});
    ASSERT_TRUE(e.ok()) << where << ": " << e.error().message;
    auto* out = const_cast<uint8_t*>((*e)->read({Region::kOutput, 0, 1}, 0));
    std::memset(out, 0xA5, planned->plan.output_bytes);
    std::memset(out + planned->plan.values[size_t(planned->plan.outputs[0])].where.offset, 0xFF,
                planned->plan.values[size_t(planned->plan.outputs[0])].where.bytes);
    fill_input(planned->plan, p, const_cast<uint8_t*>((*e)->read({Region::kInput, 0, 1}, 0)));
    ASSERT_TRUE((*e)->submit(0).ok());
    const Result<void> waited = (*e)->wait(0);
    ASSERT_TRUE(waited.ok()) << waited.error().message;
    check_output(planned->plan, p, out, where);
  }
}

}  // namespace conformance

namespace {

bool is_matrix_op(OpKind op) { return op == OpKind::kLinear || op == OpKind::kConv2d; }

/// False for operators that are computed on the CPU alone: a plan for a GPU has them there, and says so.
bool has_shader(OpKind op) {
  return std::any_of(all_kernels().begin(), all_kernels().end(), [op](const KernelDef* k) {
    return k->op == op && k->device == DeviceKind::kVulkan && k->lower != ops::lower_nowhere;
  });
}

/// Whether a case of the operator says something of its own in this precision on this target.
bool applies(OpKind op, Precision precision, const Target& t) {
  if (t.gpu && !has_shader(op)) return false;
  const bool matrix_op = is_matrix_op(op);
  if (precision == Precision::kInt8 && !matrix_op) return false;  // int8 stores matrices only: the same case as fp32
  if (precision == Precision::kFp16 && !matrix_op && t.kernels) return false;  // and CPU activations are always fp32
  if (precision != Precision::kFp32 && (t.tuning || (t.gap && t.kernels)))
    return false;  // where rows start has nothing to do with their type
  const OpDef& def = op_def(op);
  return !(t.gpu && t.gap && (precision == Precision::kInt8 || (!def.strided.out && def.strided.in == 0)));
}

const Precision kPrecisions[] = {Precision::kFp32, Precision::kFp16, Precision::kInt8};

/// Which of all operators' runs are done.
const test::Sample& sample() {
  static const test::Sample s = [] {
    size_t runs = 0;
    for (const OpKind op : all_ops()) {
      const size_t cases = op_def(op).cases().size();
      for (const Precision precision : kPrecisions)
        for (const Target& t : targets()) runs += applies(op, precision, t) ? cases : 0;
    }
    const test::Sample chosen(runs);
    std::printf("[   INFO   ] %zu runs (case, precision, target); every %zuth is done\n", runs, chosen.stride());
    return chosen;
  }();
  return s;
}

/// Without attention.tile's tiles of 8 queries an invocation: a software driver takes seconds to compile each form of
/// them. AttentionInParts has them.
Target without_parts(Target t) {
  if (!t.tuning) t.tuning = tuning_for(t.caps);
  std::vector<Constants> tiles = t.tuning->of("attention.tile");
  tiles.erase(std::remove_if(tiles.begin(), tiles.end(), [](const Constants& c) { return c[2] == 8; }), tiles.end());
  t.tuning->constants["attention.tile"] = tiles;
  return t;
}

class Conformance : public ::testing::TestWithParam<OpKind> {};

TEST_P(Conformance, EveryCaseOnEveryTarget) {
  splits = 0;
  const std::vector<OpCase> cases = op_def(GetParam()).cases();
  ASSERT_FALSE(cases.empty());
  for (size_t i = 0; i < cases.size(); ++i) {
    size_t k = 0;
    for (const Precision precision : kPrecisions)
      for (const Target& t : targets()) {
        if (!applies(GetParam(), precision, t) || !sample().takes(i, k++)) continue;
        SCOPED_TRACE(cases[i].label);
        const bool tiles = GetParam() == OpKind::kAttention && t.gpu && t.caps.device_class == DeviceClass::kMaxwell;
        run_case({GetParam(), cases[i], precision}, tiles ? without_parts(t) : t);
      }
  }
  bool split_target = false;
  for (const Target& t : targets()) split_target = split_target || t.tuning;
  if (split_target && sample().all() && (is_matrix_op(GetParam()) || GetParam() == OpKind::kAttention)) {
    EXPECT_GT(splits, 0) << "no case was long enough to be split";
  }
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

INSTANTIATE_TEST_SUITE_P(Ops, Conformance, ::testing::ValuesIn(all_ops()),
                         [](const auto& info) { return std::string(op_def(info.param).name); });

/// The constants of a kernel in all classes, each once.
std::vector<Constants> all_constants(const char* kernel) {
  std::vector<Constants> all;
  for (const DeviceClass c : {DeviceClass::kMaxwell, DeviceClass::kMali, DeviceClass::kOther}) {
    DeviceCaps caps;
    caps.device_class = c;
    const Tuning tuning = tuning_for(caps);
    for (const Constants& t : tuning.of(kernel))
      if (std::find(all.begin(), all.end(), t) == all.end()) all.push_back(t);
  }
  return all;
}

/// The choice of a tile goes by shape; every tile of every class must be right on any shape.
TEST(Tiles, EveryTileOfTheTables) {
  int runs = 0;
  for (Target t : targets()) {
    if (!t.gpu || t.tuning || t.caps.device_class != DeviceClass::kMaxwell) continue;
    for (const Constants& constants : all_constants("linear.tile")) {
      const LinearTile tile = linear::tile_of(constants);
      t.tuning = tuning_with(t.caps, "linear.tile", constants);
      if (!linear::tile_work(tile, false, *t.tuning, t.caps, 1, 1, 1).legal) continue;  // larger than this device takes
      t.label = fmt::format("{}x{}x{} on {}", tile.bm, tile.bn, tile.bk, t.caps.name);
      for (const OpCase& spec : op_def(OpKind::kLinear).cases())
        if (spec.label == "primes" || spec.label == "one past the tile" || spec.label == "vit-ti qkv")
          run_case({OpKind::kLinear, spec, Precision::kFp32}, t), ++runs;
    }
  }
  EXPECT_TRUE(runs > 0 || !vulkan().instance);
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

TEST(Tiles, EveryConvolutionTile) {
  int runs = 0;
  for (Target t : targets()) {
    if (!t.gpu || t.tuning || t.caps.device_class != DeviceClass::kMaxwell) continue;
    for (const Constants& constants : all_constants("conv2d.tile")) {
      const LinearTile tile = linear::tile_of(constants);
      t.tuning = tuning_with(t.caps, "conv2d.tile", constants);
      if (!linear::tile_work(tile, false, *t.tuning, t.caps, 1, 1, 1).legal) continue;  // larger than this device takes
      t.label = fmt::format("{}x{}x{} on {}", tile.bm, tile.bn, tile.bk, t.caps.name);
      for (const OpCase& spec : op_def(OpKind::kConv2d).cases())
        if (spec.label == "dilated 3x3") run_case({OpKind::kConv2d, spec, Precision::kInt8}, t), ++runs;
    }
  }
  EXPECT_TRUE(runs > 0 || !vulkan().instance);
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

}  // namespace
}  // namespace vireo

int main(int argc, char** argv) {
  // SwiftShader, a second driver with another subgroup size, joins the system's drivers where Debian's chromium put it.
  if (std::ifstream(vireo::conformance::kSwiftShader).good())
    setenv("VK_ADD_DRIVER_FILES", vireo::conformance::kSwiftShader, 0);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
