// What a step is said to read: its weights as they are stored, which roofs and predictions divide by.
#include <gtest/gtest.h>

#include "device/caps.h"
#include "graph/graph.h"
#include "plan/plan.h"
#include "profile/machine.h"

namespace vireo {
namespace {

TEST(CostBytes, AreThoseOfTheWeightsAsTheyAreStored) {
  const int64_t m = 20, n = 512, k = 1024;
  // A 16-bit number and a byte for each weight, a nibble and a scale for each 32; scales of rows are 4 bytes.
  const struct {
    const char* policy;
    double weight;  // on the CPU and on a GPU that reads storage buffers
  } rules[] = {{"w f32", 4.0 * n * k},
               {"w f16", 2.0 * n * k},
               {"w i8", 1.0 * n * k + 4.0 * n},
               {"w i8 i8", 1.0 * n * k + 4.0 * n},
               {"w i4g32", 0.5 * n * k + n * k / 32 * 4.0},
               {"w u4g64 i8", 0.5 * n * k + n * k / 64 * 8.0},
               {"w i8tensor", 1.0 * n * k + 4.0 * n}};
  const char* const nano = embedded_caps("jetson-nano.txt");
  ASSERT_NE(nano, nullptr);
  DeviceCaps cpu;
  cpu.kind = DeviceKind::kCpu, cpu.simd = simd::best().name, cpu.threads = 1;
  const Result<DeviceCaps> gpu = caps_from_text(nano, "nano");
  ASSERT_TRUE(gpu.ok()) << gpu.error().message;
  for (const DeviceCaps* caps : {static_cast<const DeviceCaps*>(&cpu), &*gpu})
    for (const auto& r : rules) {
      GraphBuilder b("g");
      const ValueId x = b.input("x", {DType::kF32, Shape{{1, 1, m, k}}});
      b.output(b.add(OpKind::kLinear, "y", {x, b.constant("w", fill_constant(n, k, 0.5f))}));
      Result<Graph> g = b.finish();
      ASSERT_TRUE(g.ok());
      PlanOptions options;
      const Result<FormatPolicy> policy = parse_policy(r.policy, "p");
      ASSERT_TRUE(policy.ok()) << policy.error().message;
      options.policy = *policy;
      const Result<Planned> p = make_plan(std::move(*g), *caps, options);
      ASSERT_TRUE(p.ok()) << p.error().message;
      const Step& step = p->plan.steps.at(0);
      const double got = step.cost.read_bytes - double(m * k) * 4;
      EXPECT_NEAR(got / r.weight, 1, 0.02) << r.policy << "\n" << dump(p->plan);
      EXPECT_DOUBLE_EQ(step.cost.write_bytes, double(m * n) * 4) << r.policy;
    }
}

}  // namespace
}  // namespace vireo
