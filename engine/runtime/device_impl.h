// What stands behind vireo::Device.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "device/caps.h"
#include "ops/kernel.h"
#include "simd/kernels.h"
#if VIREO_VULKAN
#include "vk/gpu.h"
#endif

#include <vireo/vireo.hpp>

namespace vireo {

#if VIREO_VULKAN
/// The first message of the validation layer, from whichever thread made it.
class ValidationLog {
 public:
  void add(const std::string& message) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (text_.empty()) text_ = message;
  }
  std::string text() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};
#endif

#if VIREO_VULKAN
/// What VIREO_LABELS asks for.
vk::Labels labels_asked_for();
#endif

struct Device::Impl {
  DeviceKind kind = DeviceKind::kCpu;
  DeviceCaps caps;  // what plans are made for
  std::string reason;
  int index = -1;
  bool software = false;  // a Vulkan driver that computes on the CPU
  int threads = 1;        // of the session's pool; also runs the CPU steps of a Vulkan plan
  const simd::Kernels* kernels =
      &simd::best();  // of the CPU, or of the CPU steps of a Vulkan plan; caps.simd is their name
#if VIREO_VULKAN
  std::shared_ptr<vk::Instance> instance;
  mutable std::mutex mutex;
  mutable std::shared_ptr<vk::Gpu> gpu;  // opened by the first session
  std::shared_ptr<ValidationLog> validation = std::make_shared<ValidationLog>();
  bool adopted = false;        // the gpu is an application's and cannot be opened again
  vk::GpuOptions gpu_options;  // fault injection in tests

  Result<std::shared_ptr<vk::Gpu>> open_gpu() const;
  /// The instance it is one of; an adopted device's belongs to its gpu. Null for the CPU.
  const vk::Instance* used_instance() const { return instance ? instance.get() : adopted ? &gpu->instance() : nullptr; }
  /// Names of those whose small products are wrong on this device, or cannot be run; each is asked once.
  std::vector<std::string> failing_kernels(const std::vector<std::pair<const KernelDef*, Constants>>& kernels,
                                           const std::shared_ptr<vk::Gpu>& opened, ThreadPool& pool) const;
  mutable std::map<std::string, bool> held;         // answers, by kernel and constants
  std::optional<std::vector<std::string>> failing;  // what tests answer instead
#endif
};

#if VIREO_VULKAN
/// What tests put between Vireo and the driver.
struct VulkanHooks {
  PFN_vkGetInstanceProcAddr loader = nullptr;  // null: the system's
  vk::GpuOptions gpu_options;
};
/// Device::vulkan through them.
Result<Device> vulkan_device(int index, int threads, const VulkanHooks& hooks);
#endif

/// What plans ask of the CPU that runs their steps, with these kernels and threads: `caps` gets it.
void describe_cpu(const simd::Kernels& kernels, int threads, DeviceCaps* caps);

/// The CPU as a device, with the reason why it was chosen.
std::shared_ptr<const Device::Impl> make_cpu_device(int threads, std::string reason);

}  // namespace vireo
