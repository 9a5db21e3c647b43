// Every fusion rule is applied to its own example graph; the double reference before and after must agree. A rule
// without an example, or whose example does not make it fire, fails here.
#include <gtest/gtest.h>

#include "ops/linear.h"
#include "plan/fuse.h"
#include "plan/plan.h"
#include "support/reference.h"

namespace vireo {
namespace {

std::vector<double> reference_output(const Graph& g) {
  std::vector<std::vector<double>> inputs;
  for (ValueId v : g.inputs) inputs.push_back(test::noise(size_t(g.value(v).desc.shape.elements()), 7, 1.0));
  return test::run_reference(g, inputs)[size_t(g.outputs[0])];
}

/// By the rule, and with weights that the planner will round to codes or not.
class FuseRules : public ::testing::TestWithParam<std::tuple<size_t, Precision, DeviceKind>> {};

TEST_P(FuseRules, KeepsTheAnswer) {
  const FuseRule& rule = fuse_rules()[std::get<0>(GetParam())];
  Result<Graph> before = rule.example();
  ASSERT_TRUE(before.ok()) << before.error().message;
  std::vector<std::string> applied;
  Result<Graph> after = fuse(*before, policy_of(std::get<1>(GetParam())), std::get<2>(GetParam()), &applied);
  ASSERT_TRUE(after.ok()) << after.error().message;
  EXPECT_NE(std::find(applied.begin(), applied.end(), rule.name), applied.end())
      << "the example does not make the rule fire";
  EXPECT_LT(after->nodes.size(), before->nodes.size());
  if (std::string(rule.name) == "product_act") {
    EXPECT_EQ(after->nodes.size() * 2, before->nodes.size()) << "every activation is its product's epilogue";
  }
  const std::vector<double> a = reference_output(*before), b = reference_output(*after);
  ASSERT_EQ(a.size(), b.size());
  // Folding gamma and beta rounds W' and b' to fp32 once: 2^-24 of terms of size 1, a dozen of them.
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 5e-6) << rule.name << " at " << i;
}

INSTANTIATE_TEST_SUITE_P(All, FuseRules,
                         ::testing::Combine(::testing::Range(size_t(0), fuse_rules().size()),
                                            ::testing::Values(Precision::kFp32, Precision::kInt8, Precision::kW8A8),
                                            ::testing::Values(DeviceKind::kCpu, DeviceKind::kVulkan)),
                         [](const auto& info) {
                           return std::string(fuse_rules()[std::get<0>(info.param)].name) + "_" +
                                  to_string(std::get<1>(info.param)) + "_" +
                                  (std::get<2>(info.param) == DeviceKind::kCpu ? "cpu" : "vulkan");
                         });

TEST(Fuse, LeavesAValueThatOthersReadAlone) {
  GraphBuilder b("shared");
  const ValueId x = b.input("x", {DType::kF32, Shape{{1, 1, 3, 8}}});
  const ValueId fc = b.add(OpKind::kLinear, "fc", {x, b.constant("w", random_constant(8, 8, 1, 0.5f))});
  const ValueId act = b.add(OpKind::kGeluErf, "act", {fc});
  b.output(b.add(OpKind::kAdd, "add", {fc, act}));
  Result<Graph> g = b.finish();
  ASSERT_TRUE(g.ok());
  const std::vector<double> before = reference_output(*g);
  Result<Graph> fused = fuse(*g);
  ASSERT_TRUE(fused.ok());
  EXPECT_EQ(fused->nodes.size(), 3u);  // fc feeds both act and add
  EXPECT_EQ(before, reference_output(*fused));
}

TEST(Fuse, KeepsANormThatSomethingElseReads) {
  GraphBuilder b("norm");
  const ValueId x = b.input("x", {DType::kF32, Shape{{1, 1, 3, 8}}});
  const ValueId n = b.add(OpKind::kLayerNorm, "norm",
                          {x, b.constant("g", fill_constant(1, 8, 2.f)), b.constant("b", fill_constant(1, 8, 1.f))});
  const ValueId fc = b.add(OpKind::kLinear, "fc", {n, b.constant("w", random_constant(8, 8, 1, 0.5f))});
  b.output(b.add(OpKind::kAdd, "add", {n, fc}));
  Result<Graph> fused = fuse(*b.finish());
  ASSERT_TRUE(fused.ok());
  ASSERT_EQ(fused->nodes.size(), 2u);
  EXPECT_EQ(fused->nodes[0].op, OpKind::kLayerNorm);
}

TEST(Fuse, AVulkanDeviceStagesScalesOrGainsButNotBoth) {
  Result<Graph> before = std::find_if(fuse_rules().begin(), fuse_rules().end(), [](const FuseRule& r) {
                           return std::string(r.name) == "norm_linear";
                         })->example();
  ASSERT_TRUE(before.ok());
  for (const char* text : {"weights i4g4", "weights u8", "weights i4", "weights i8"}) {
    const auto policy = parse_policy(text, "p");
    ASSERT_TRUE(policy.ok());
    for (const DeviceKind device : {DeviceKind::kCpu, DeviceKind::kVulkan}) {
      const Result<Graph> after = fuse(*before, *policy, device);
      ASSERT_TRUE(after.ok());
      const bool kept = std::any_of(after->nodes.begin(), after->nodes.end(),
                                    [](const Node& n) { return n.op == OpKind::kLayerNorm; });
      EXPECT_EQ(kept, device == DeviceKind::kVulkan && std::string(text) != "weights i8") << text;
    }
  }
}

TEST(Fuse, AWeightOfCodesKeepsItsColumns) {
  const FuseRule* rule = nullptr;
  for (const FuseRule& r : fuse_rules())
    if (std::string(r.name) == "norm_linear") rule = &r;
  ASSERT_NE(rule, nullptr);
  Result<Graph> before = rule->example();
  ASSERT_TRUE(before.ok());
  for (const auto& [p, cpu] :
       {std::pair{Precision::kFp32, true}, std::pair{Precision::kFp16, true}, std::pair{Precision::kInt8, true},
        std::pair{Precision::kInt8, false}, std::pair{Precision::kW8A8, true}, std::pair{Precision::kW8A8, false}}) {
    Result<Graph> after = fuse(*before, policy_of(p), cpu ? DeviceKind::kCpu : DeviceKind::kVulkan);
    ASSERT_TRUE(after.ok());
    const bool coded = p == Precision::kInt8 || p == Precision::kW8A8;
    int linears = 0;
    for (const Node& n : after->nodes) {
      EXPECT_NE(n.op, OpKind::kLayerNorm) << to_string(p);
      if (n.op != OpKind::kLinear) continue;
      ++linears;
      const Value& weight = after->value(n.inputs[linear::kWeight]);
      bool original = false;
      for (const Value& v : before->values) original = original || (v.constant && v.constant == weight.constant);
      EXPECT_EQ(original, coded) << to_string(p);
      const ValueId affine = n.inputs.size() > size_t(linear::kAffine) ? n.inputs[linear::kAffine] : kNoValue;
      EXPECT_EQ(affine != kNoValue, coded) << to_string(p);
      // Rows that become codes are those of the whole LayerNorm; otherwise its offset is in the bias.
      if (coded) {
        EXPECT_EQ(after->value(affine).constant->rows(), p == Precision::kW8A8 && cpu ? 2 : 1) << to_string(p);
      }
    }
    EXPECT_EQ(linears, 2);
  }
}

}  // namespace
}  // namespace vireo
