// Weights of codes with scales by group, zero points and 4 bits on real drivers: linear.tile multiplies the numbers
// that they stand for, from codes in the device's memory.
#if VIREO_VULKAN
#include <cmath>

#include "graph/graph.h"
#include "plan/plan.h"
#include "test_vk.h"
#include "vk/executable.h"

namespace vireo::vk {
namespace {

class VkCodes : public VkTest {};

struct Shape3 {
  int64_t m, n, k;
};

TEST_F(VkCodes, LinearsStageScales) {
  for (const uint32_t device : usable_) {
    const auto gpu = open(device);
    ASSERT_TRUE(gpu);
    for (const char* format : {"i8", "i4g16", "u4g16", "i8g4", "u8", "i4", "u3g8", "i8g40", "u8tensor"})
      for (const DeviceClass kernels : {DeviceClass::kMaxwell, DeviceClass::kMali})
        for (const Shape3& s : {Shape3{37, 20, 80}, Shape3{1, 196, 240}, Shape3{130, 65, 480}}) {
          const std::string what = std::string(format) + " " + std::to_string(s.m) + "x" + std::to_string(s.n) + "x" +
                                   std::to_string(s.k) + " on " + gpu->caps().name;
          GraphBuilder b("codes");
          const ValueId x = b.input("x", {DType::kF32, Shape{{1, 1, s.m, s.k}}});
          const ConstantPtr weight = random_constant(s.n, s.k, 3, 0.2f), bias = random_constant(1, s.n, 4, 0.5f);
          b.output(b.add(OpKind::kLinear, "fc", {x, b.constant("w", weight), b.constant("b", bias)}));
          const Result<Graph> graph = b.finish();
          ASSERT_TRUE(graph.ok());
          const auto policy = parse_policy(std::string("w ") + format, "p");
          ASSERT_TRUE(policy.ok()) << policy.error().message;
          PlanOptions options;
          options.policy = *policy;
          DeviceCaps caps = gpu->caps();
          caps.device_class = kernels;
          const Result<Planned> planned = make_plan(*graph, caps, options);
          ASSERT_TRUE(planned.ok()) << planned.error().message;
          const Plan& plan = planned->plan;
          ASSERT_EQ(plan.steps.size(), 1u);
          ASSERT_EQ(plan.steps[0].device, DeviceKind::kVulkan) << what;
          EXPECT_EQ(plan.consts[0].pack.dtype, DType::kI8) << what << ": " << plan.steps[0].kernel;
          if (plan.consts[0].pack.grid.bits <= 4) {
            EXPECT_LE(plan.consts[0].pack.scales_offset, uint64_t(round_up(s.n, 256) * round_up(s.k, 64)) / 2 + 4096)
                << what << ": two codes in a byte";
          }
          const ConstantPtr codes = planned->graph.value(plan.consts[0].id).constant;
          ThreadPool pool(1);
          auto e = Executable::create(gpu, plan, planned->graph, pool, {});
          ASSERT_TRUE(e) << e.error().message;
          const TensorDesc &in = plan.values[size_t(plan.inputs[0])].desc,
                           &out = plan.values[size_t(plan.outputs[0])].desc;
          const std::vector<float> rows = random_constant(s.m, s.k, 5, 1.f)->read_all(), w = codes->read_all(),
                                   c = bias->read_all();
          for (int64_t i = 0; i < s.m * s.k; ++i) (*e)->input(0)[i / s.k * in.row_stride() + i % s.k] = rows[size_t(i)];
          ASSERT_TRUE((*e)->submit(0));
          const auto waited = (*e)->wait(0);
          ASSERT_TRUE(waited) << waited.error().message;
          // A zero point's offset is added to code * scale, each up to 2^8 steps large, in fp32.
          double most = 0, size = 0;
          for (int64_t i = 0; i < s.m; ++i)
            for (int64_t j = 0; j < s.n; ++j) {
              double sum = c[size_t(j)];
              for (int64_t k = 0; k < s.k; ++k) sum += double(rows[size_t(i * s.k + k)]) * w[size_t(j * s.k + k)];
              size = std::max(size, std::fabs(sum));
              most = std::max(most, std::fabs(double((*e)->output(0)[i * out.row_stride() + j]) - sum));
            }
          // Vireo's own int8 is rounded while it is packed: w is not what multiplied.
          if (std::string(format) != "i8") {
            EXPECT_LE(most, 2e-6 * size) << what << ": " << plan.steps[0].kernel;
          }
        }
  }
}

}  // namespace
}  // namespace vireo::vk
#endif
