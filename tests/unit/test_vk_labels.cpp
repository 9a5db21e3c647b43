// Names for capture tools: which arrive, when, and that nothing is called where nobody asks. Seen by a loader in
// between.
#if VIREO_VULKAN
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "runtime/device_impl.h"
#include "test_vk_hook.h"
#include "test_vk_plans.h"
#include "vk/executable.h"

namespace vireo::vk {
namespace {

class VkLabels : public ::testing::Test {
 protected:
  void SetUp() override {
    hook::reset();
    const auto instance = Instance::open();
    if (!instance || (*instance)->best() < 0) GTEST_SKIP() << "no Vulkan device to test on";
  }
  void TearDown() override { hook::reset(); }

  /// Runs the tiny plan once; what that called is in hook::log().
  static void run(Labels labels) {
    InstanceOptions options;
    options.loader = hook::loader;
    options.labels = labels;
    const auto instance = Instance::open(options);
    ASSERT_TRUE(instance) << instance.error().message;
    const auto gpu = Gpu::open(*instance, uint32_t((*instance)->best()));
    ASSERT_TRUE(gpu) << gpu.error().message;
    const TinyPlan t = tiny_plan((*gpu)->caps());
    ThreadPool pool(2);
    const auto e = Executable::create(*gpu, t.plan, t.graph, pool, {});
    ASSERT_TRUE(e) << e.error().message;
    const auto x = tiny_input(1);
    std::copy(x.begin(), x.end(), (*e)->input(0));
    ASSERT_TRUE((*e)->submit(0));
    ASSERT_TRUE((*e)->wait(0));
  }
  static bool enables_debug_utils() {
    const auto& all = hook::log().instance_extensions;
    return std::count(all.begin(), all.end(), VK_EXT_DEBUG_UTILS_EXTENSION_NAME) > 0;
  }
};

TEST_F(VkLabels, EveryObjectAndDispatchHasTheGraphsName) {
  run(Labels::kOn);
  const hook::Log& log = hook::log();
  for (const char* name : {"buffer tiny: weights", "buffer tiny: activations", "buffer tiny: inputs and outputs",
                           "module elementwise", "pipeline elementwise (32 0 0 0 0 4 1 0 0 0 0)",
                           "pipeline elementwise (32 0 0 0 0 0 0 0 1 0 0)", "set tiny: block.a", "set tiny: block.out",
                           "commands tiny: steps 0 to 1, slot 0", "commands tiny: steps 0 to 1, slot 1", "queue vireo"})
    EXPECT_TRUE(log.named(name)) << name << " is missing";
  EXPECT_EQ(log.labels, (std::vector<std::string>{"block.a", "block.out", "block.a", "block.out"})) << "both slots";
  EXPECT_EQ(log.labels_ended, 4);
}

TEST_F(VkLabels, NothingIsCalledWhereNobodyAsks) {
  run(Labels::kAuto);
  EXPECT_TRUE(hook::log().names.empty()) << hook::log().names[0];
  EXPECT_TRUE(hook::log().labels.empty());
  EXPECT_EQ(hook::log().labels_ended, 0);
  const std::vector<std::string> plain = hook::log().commands;
  ASSERT_FALSE(plain.empty());
  hook::reset();
  run(Labels::kOn);
  EXPECT_EQ(hook::log().commands, plain) << "labels lie around the commands and change none";
  hook::reset();
  run(Labels::kOff);
  EXPECT_TRUE(hook::log().names.empty());
  EXPECT_FALSE(enables_debug_utils());
}

TEST_F(VkLabels, ACaptureToolTurnsThemOn) {
  hook::pretence().watched = true;
  run(Labels::kAuto);
  EXPECT_TRUE(hook::log().named("buffer tiny: weights"));
  EXPECT_EQ(hook::log().labels.size(), 4u);
  hook::reset();
  hook::pretence().watched = true;
  run(Labels::kOff);
  EXPECT_TRUE(hook::log().names.empty()) << "off means off";
}

TEST_F(VkLabels, TheValidationLayerTurnsThemOn) {
  InstanceOptions options;
  options.loader = hook::loader;
  options.validation = true;
  const auto instance = Instance::open(options);
  if (!instance) GTEST_SKIP() << instance.error().message;
  EXPECT_TRUE((*instance)->labels());
  options.labels = Labels::kOff;
  EXPECT_FALSE((*Instance::open(options))->labels());
}

TEST_F(VkLabels, OnAnApplicationsInstance) {
  InstanceOptions options;
  options.loader = hook::loader;
  options.labels = Labels::kOn;
  const auto with = Instance::open(options);
  ASSERT_TRUE(with);
  const auto labels = [](const Instance& application, Labels asked) {
    const auto adopted = Instance::adopt(application.handle(), hook::loader, asked);
    EXPECT_TRUE(adopted);
    return adopted && (*adopted)->labels();
  };
  EXPECT_TRUE(labels(**with, Labels::kOn));
  EXPECT_FALSE(labels(**with, Labels::kAuto)) << "no tool watches";
  EXPECT_FALSE(labels(**with, Labels::kOff));
  options.labels = Labels::kOff;
  const auto without = Instance::open(options);
  ASSERT_TRUE(without);
  EXPECT_FALSE(labels(**without, Labels::kOn)) << "the application did not enable VK_EXT_debug_utils";
}

TEST_F(VkLabels, TheVariableDecides) {
  const auto labels = [](const char* value) {
    setenv("VIREO_LABELS", value, 1);
    const Result<Device> device = Device::vulkan((*Instance::open())->best());
    unsetenv("VIREO_LABELS");
    return device && device->impl()->instance->labels();
  };
  EXPECT_TRUE(labels("1"));
  EXPECT_FALSE(labels("0"));
  EXPECT_FALSE(labels("auto")) << "no tool watches here";
  EXPECT_FALSE(labels(""));
}

}  // namespace
}  // namespace vireo::vk
#endif  // VIREO_VULKAN
