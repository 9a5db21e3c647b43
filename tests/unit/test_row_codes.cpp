// A linear whose rows become codes, through planner and executable: what the policy says is what is multiplied.
#include <gtest/gtest.h>

#include <cmath>

#include "cpu/executable.h"
#include "device/caps.h"
#include "graph/graph.h"
#include "ops/kernel.h"
#include "ops/linear.h"
#include "plan/plan.h"

namespace vireo {
namespace {

struct Rule {
  const char* line;
  float fixed;  // scale of the rows; 0: one for each
  int zero;
  bool integers;  // what the plan must say
};

std::vector<float> run_on(const simd::Kernels& kernels, const Graph& graph, const FormatPolicy& policy,
                          const std::vector<float>& x, std::string* kernel) {
  DeviceCaps caps;
  caps.kind = DeviceKind::kCpu;
  caps.simd = kernels.name;
  PlanOptions options;
  options.policy = policy;
  caps.threads = 1, caps.storage_alignment = caps.texel_alignment = 64;
  const Result<Planned> planned = make_plan(graph, caps, options);
  EXPECT_TRUE(planned.ok()) << planned.error().message;
  const Plan& plan = planned->plan;
  EXPECT_EQ(plan.steps.size(), 1u) << "the LayerNorm is the linear's prologue";
  *kernel = plan.steps[0].kernel;
  ThreadPool pool(1);
  const auto e = cpu::Executable::create(plan, planned->graph, pool, kernels, 1);
  EXPECT_TRUE(e.ok()) << e.error().message;
  const TensorDesc &in = plan.values[size_t(plan.inputs[0])].desc, &out = plan.values[size_t(plan.outputs[0])].desc;
  const int64_t k = in.shape.c(), n = out.shape.c();
  for (int64_t i = 0; i < in.shape.elements(); ++i) (*e)->input(0)[i / k * in.row_stride() + i % k] = x[size_t(i)];
  (*e)->run(0, pool);
  std::vector<float> y;
  for (int64_t i = 0; i < out.shape.elements(); ++i) y.push_back((*e)->output(0)[i / n * out.row_stride() + i % n]);
  return y;
}

TEST(RowCodes, ALinearMultipliesWhatThePolicySays) {
  const int64_t m = 37, n = 20, k = 48;
  const Rule rules[] = {{"w i8 i8:0.05:-3", 0.05f, -3, true},
                        {"w u8 i8:0.05:100", 0.05f, 100, true},
                        {"w i4g16 i8:0.04:-128", 0.04f, -128, true},
                        {"w u4g16 i8", 0, 0, true},
                        {"w u3g8 i8:0.03", 0.03f, 0, true},
                        {"w i8tensor i8", 0, 0, true},
                        {"w i8g16 f32", 0, 0, false}};
  for (const Rule& rule : rules) {
    const auto policy = parse_policy(rule.line, "p");
    ASSERT_TRUE(policy.ok()) << policy.error().message;
    GraphBuilder b("rows");
    const ValueId x = b.input("x", {DType::kF32, Shape{{1, 1, m, k}}});
    const ConstantPtr gain = random_constant(1, k, 5, 0.3f, 1.f), offset = random_constant(1, k, 6, 0.3f),
                      weight = random_constant(n, k, 7, 0.2f), bias = random_constant(1, n, 8, 0.5f);
    const ValueId norm =
        b.add(OpKind::kLayerNorm, "norm", {x, b.constant("g", gain), b.constant("o", offset)}, {{"eps", 1e-6}});
    b.output(b.add(OpKind::kLinear, "fc", {norm, b.constant("w", weight), b.constant("b", bias)}));
    const Result<Graph> graph = b.finish();
    ASSERT_TRUE(graph.ok());
    // The numbers that the weight's codes stand for.
    Graph coded = *graph;
    ASSERT_TRUE(assign(coded, *policy).ok());
    ConstantPtr codes;
    for (const Value& v : coded.values)
      if (v.name == "w") codes = v.constant;
    const std::vector<float> w = codes->read_all(), g = gain->read_all(), o = offset->read_all(), c = bias->read_all(),
                             floats = weight->read_all();
    const std::vector<float> rows = random_constant(m, k, 11, 2.f)->read_all();
    std::vector<double> want, size;
    for (int64_t i = 0; i < m; ++i) {
      double mean = 0, var = 0, most = 0;
      for (int64_t j = 0; j < k; ++j) mean += rows[size_t(i * k + j)] / double(k);
      for (int64_t j = 0; j < k; ++j) var += std::pow(rows[size_t(i * k + j)] - mean, 2) / double(k);
      std::vector<double> y;
      for (int64_t j = 0; j < k; ++j)
        y.push_back((rows[size_t(i * k + j)] - mean) / std::sqrt(var + 1e-6) * g[size_t(j)] + o[size_t(j)]);
      for (const double v : y) most = std::max(most, std::fabs(v));
      const double scale = rule.fixed > 0 ? double(rule.fixed) : most / 127.5;
      if (rule.integers)
        for (double& v : y) {
          const double q = v == -most && rule.fixed == 0 ? -128 : std::nearbyint(v / scale + rule.zero);
          v = (std::max(-128.0, std::min(127.0, q)) - rule.zero) * scale;
        }
      for (int64_t r = 0; r < n; ++r) {
        double sum = c[size_t(r)], all = 0;
        for (int64_t j = 0; j < k; ++j) {
          const size_t at = size_t(r * k + j);
          sum += y[size_t(j)] * w[at];
          // Where rows stay floats the offset went into the bias before the weight was rounded.
          if (!rule.integers) sum += o[size_t(j)] * (double(floats[at]) - w[at]);
        }
        for (int64_t j = 0; j < k; ++j) all = std::max(all, std::fabs(double(w[size_t(r * k + j)])));
        want.push_back(sum);
        size.push_back(all * scale);  // what one code more or less of a row moves the answer by, at most
      }
    }
    for (int target = 0; simd::supported(target) != nullptr; ++target) {
      std::string kernel;
      const std::vector<float> got = run_on(*simd::supported(target), *graph, *policy, rows, &kernel);
      const std::string what = std::string(rule.line) + " on " + simd::supported(target)->name + ": " + kernel;
      EXPECT_EQ(kernel.find("int8") != std::string::npos, rule.integers) << what;
      ASSERT_EQ(got.size(), want.size());
      int moved = 0;  // rows hold a value between two codes, which rounds to either
      for (size_t i = 0; i < got.size(); ++i) {
        const double error = std::fabs(double(got[i]) - want[i]);
        if (error > 2e-5) ++moved;
        ASSERT_LE(error, 2e-5 + 1.01 * size[i]) << what << " at " << i;
      }
      EXPECT_LE(moved, 2 * n) << what;
    }
  }
}

TEST(RowCodes, NoShaderDropsAnOffset) {
  DeviceCaps caps;
  caps.kind = DeviceKind::kVulkan, caps.device_class = DeviceClass::kMaxwell, caps.shader_float16 = true;
  caps.max_workgroup_invocations = caps.max_workgroup_size[0] = 1024, caps.max_shared_bytes = 49152;
  caps.subgroup_size = 32, caps.max_workgroup_count = {65535, 65535, 65535};
  const Tuning tuning = tuning_for(caps);
  const OpDef& def = op_def(OpKind::kLinear);
  for (const int64_t rows : {1, 2}) {
    TensorDesc x, w, affine;
    x.shape = Shape{{1, 1, 5, 16}}, w.shape = Shape{{1, 1, 8, 16}}, affine.shape = Shape{{1, 1, rows, 16}};
    Attrs attrs{};
    attrs[linear::kNorm] = 1;
    OpCall call;
    call.name = "fc", call.attrs = &attrs;
    call.in = {&x, &w, nullptr, nullptr, nullptr, &affine};
    const auto out = def.infer(call);
    ASSERT_TRUE(out.ok()) << out.error().message;
    call.out = *out;
    const auto lowered = lower_op(OpKind::kLinear, DeviceKind::kVulkan, call, LowerContext{&caps, &tuning});
    EXPECT_EQ(lowered.ok(), rows == 1) << (lowered ? lowered->kernel : lowered.error().message);
    if (!lowered) {
      EXPECT_NE(lowered.error().message.find("but no offset"), std::string::npos) << lowered.error().message;
    }
  }
}

}  // namespace
}  // namespace vireo
