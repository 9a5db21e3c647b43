// What the Vulkan tests share: an instance under the validation layer, its usable devices, and a check of its silence.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "vk/gpu.h"
#include "vk/instance.h"

namespace vireo::vk {

/// Opens a validated instance for each test; skips the test where there is no Vulkan device.
class VkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    InstanceOptions options;
    options.validation = true;
    options.labels = Labels::kOn;
    options.on_message = [this](const std::string& m) { messages_.push_back(m); };
    Result<std::shared_ptr<Instance>> opened = Instance::open(options);
    if (!opened && opened.error().code == ErrorCode::kUnsupported) {  // no validation layer: test without it
      validated_ = options.validation = false;
      opened = Instance::open(options);
    }
    if (!opened) GTEST_SKIP() << "no Vulkan device to test on: " << opened.error().message;
    instance_ = *opened;
    for (const Physical& p : instance_->devices())
      if (p.unusable.empty()) usable_.push_back(p.index);
    if (usable_.empty()) GTEST_SKIP() << "no usable Vulkan device: " << instance_->list_devices();
  }

  /// Destroying the instance reports objects that were left behind, so it comes before the check.
  void TearDown() override {
    instance_.reset();
    for (const std::string& m : messages_) ADD_FAILURE() << "validation layer: " << m;
  }

  std::shared_ptr<Gpu> open(uint32_t index, GpuOptions options = {}) {
    auto gpu = Gpu::open(instance_, index, std::move(options));
    if (!gpu) ADD_FAILURE() << gpu.error().message;
    return gpu ? *gpu : nullptr;
  }

  bool validated_ = true;
  std::vector<std::string> messages_;  // the instance serialises its calls
  std::shared_ptr<Instance> instance_;
  std::vector<uint32_t> usable_;
};

}  // namespace vireo::vk
