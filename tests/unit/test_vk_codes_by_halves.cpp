// Sessions of int8 weights on a device of Maxwell's class: fp16 activations where the kernels passed their check, fp32
// ones where they did not, and in both cases the answer of int8.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "runtime/device_impl.h"
#include "runtime/session_impl.h"

#include <vireo/vireo.hpp>

namespace vireo {
namespace {

const std::vector<std::string> kKernels{"linear.half.codes", "linear.half.groups", "conv2d.half.codes"};

/// The first device, taken for a Maxwell on which these kernels fail.
Device maxwell(const Device& device, std::vector<std::string> failing) {
  auto impl = std::make_shared<Device::Impl>();
  impl->kind = DeviceKind::kVulkan;
  impl->caps = device.impl()->caps;
  impl->caps.device_class = DeviceClass::kMaxwell;
  impl->index = device.impl()->index;
  impl->instance = device.impl()->instance;
  impl->failing = std::move(failing);
  return Device(std::move(impl));
}

TEST(CodesByHalvesOnADevice, Int8AnswersAlikeWithFp16AndWithFp32Rows) {
  const Result<Device> device = Device::vulkan(0);
  if (!device) GTEST_SKIP() << device.error().message;
  if (!device->impl()->caps.shader_float16) GTEST_SKIP() << "the device has no shaderFloat16";
  for (const char* name : {"hf-vit"}) {
    const Result<Model> model = Model::open(std::string(VIREO_TEST_DATA) + "/cases/" + name);
    ASSERT_TRUE(model.ok()) << model.error().message;
    std::vector<std::vector<float>> answers;
    for (const bool fails : {false, true}) {
      SessionOptions o;
      o.precision = Precision::kInt8;
      o.fallback = false;
      Result<Session> s = Session::create(*model, maxwell(*device, fails ? kKernels : std::vector<std::string>()), o);
      ASSERT_TRUE(s.ok()) << s.error().message;
      const std::string plan = s->describe_plan();
      EXPECT_EQ(plan.find("int8 with fp16 activations") != std::string::npos, !fails) << plan.substr(0, 200);
      EXPECT_EQ(plan.find("[linear.half") != std::string::npos, !fails);
      const bool said = std::any_of(s->warnings().begin(), s->warnings().end(), [](const std::string& w) {
        return w.find("failed its accuracy check") != std::string::npos;
      });
      EXPECT_EQ(said, fails);
      std::vector<float> x(s->impl().input_floats());
      for (size_t i = 0; i < x.size(); ++i)
        x[i] = float(std::sin(0.37 * double(i)) + 0.3 * std::sin(0.011 * double(i)));
      const Result<Output> out = s->run(x.data(), x.size());
      ASSERT_TRUE(out.ok()) << out.error().message;
      answers.emplace_back(out->data, out->data + out->cols);
    }
    double largest = 0, worst = 0;
    for (size_t i = 0; i < answers[0].size(); ++i) {
      largest = std::max(largest, std::fabs(double(answers[1][i])));
      worst = std::max(worst, std::fabs(double(answers[0][i]) - double(answers[1][i])));
    }
    EXPECT_LE(worst, default_tolerance(Precision::kInt8) * largest) << name;
    EXPECT_GT(worst, 0) << name << ": the two do not compute alike";
  }
}

}  // namespace
}  // namespace vireo
