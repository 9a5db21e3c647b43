// Concatenations in place on real drivers under the validation layer: bit for bit what copies give.
#if VIREO_VULKAN
#include <cmath>
#include <cstring>

#include "model/model.h"
#include "test_vk.h"
#include "vk/executable.h"

namespace vireo::vk {
namespace {

class VkInPlace : public VkTest {
 protected:
  static int copies(const Plan& plan) {
    int n = 0;
    for (const Step& s : plan.steps) n += s.op == OpKind::kConcat;
    return n;
  }
  /// The answer of a plan, twice in a row from one executable: the second inference finds the first one's bytes in the
  /// arena.
  static std::vector<uint8_t> run(const std::shared_ptr<Gpu>& gpu, const Planned& planned) {
    ThreadPool pool(2);
    auto e = Executable::create(gpu, planned.plan, planned.graph, pool, {});
    EXPECT_TRUE(e) << e.error().message;
    if (!e) return {};
    std::vector<uint8_t> answer;
    for (int slot = 0; slot < 2; ++slot) {
      float* x = (*e)->input(slot);
      for (size_t i = 0; i < planned.plan.input_bytes / sizeof(float); ++i)
        x[i] = std::sin(0.37f * float(i % 1009)) + 0.1f * float(slot);
      EXPECT_TRUE((*e)->submit(slot));
      const auto waited = (*e)->wait(slot);
      EXPECT_TRUE(waited) << waited.error().message;
      const auto* bytes = reinterpret_cast<const uint8_t*>((*e)->output(slot));
      answer.insert(answer.end(), bytes, bytes + planned.plan.output_bytes);
    }
    return answer;
  }
};

TEST_F(VkInPlace, SameBitsAsCopies) {
  const auto model =
      LoadedModel::open_config(std::string(VIREO_SOURCE_DIR) + "/models/configs/upernet-mobilevit-s.json", 1);
  ASSERT_TRUE(model) << model.error().message;
  struct Row {
    DeviceClass kernels;
    Precision precision;
    int64_t batch;
  };
  for (const uint32_t device : usable_) {
    const auto gpu = open(device);
    ASSERT_TRUE(gpu);
    if (gpu->caps().name.find("SwiftShader") != std::string::npos) continue;  // slow
    for (const Row& r :
         {Row{DeviceClass::kSoftware, Precision::kFp32, 1}, Row{DeviceClass::kSoftware, Precision::kFp16, 2},
          Row{DeviceClass::kMaxwell, Precision::kFp32, 2}, Row{DeviceClass::kMaxwell, Precision::kFp16, 1}}) {
      DeviceCaps caps = gpu->caps();
      caps.device_class = r.kernels;
      PlanOptions options;
      options.precision = r.precision;
      std::vector<uint8_t> answers[2];
      for (const bool keep_all : {false, true}) {
        options.keep_all = keep_all;
        Result<Graph> graph = model->build(Head::kLogits, r.batch, 64, 96);
        ASSERT_TRUE(graph) << graph.error().message;
        const Result<Planned> planned = make_plan(std::move(*graph), caps, options);
        ASSERT_TRUE(planned) << planned.error().message;
        EXPECT_EQ(copies(planned->plan), keep_all ? 5 : 0);
        ASSERT_FALSE(planned->plan.has_cpu_steps());
        answers[keep_all] = run(gpu, *planned);
      }
      ASSERT_FALSE(answers[0].empty());
      EXPECT_TRUE(answers[0] == answers[1]) << to_string(r.precision) << ", batch " << r.batch << " on " << caps.name;
      const auto* values = reinterpret_cast<const float*>(answers[0].data());
      EXPECT_TRUE(std::isfinite(values[0]) && values[0] != 0) << "or nothing was compared";
    }
  }
}

}  // namespace
}  // namespace vireo::vk
#endif
