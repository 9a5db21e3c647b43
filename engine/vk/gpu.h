// A logical device with one queue: Vireo's own, or an application's that it only borrows.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>

#include "base/error.h"
#include "vk/instance.h"

#include <vireo/vulkan.hpp>

namespace vireo::vk {

class PipelineStore;

struct GpuOptions {
  /// For tests: asked before "allocate", "map" (device memory), "map_host", "pipeline", "submit", "wait" and
  /// "timestamps"; anything but VK_SUCCESS is taken as the driver's answer and the call is not made. May be called from
  /// several threads.
  std::function<VkResult(const char* call)> fault;
  Labels labels = Labels::kAuto;  // adopt(): on the application's instance; open(): the Instance decided
  /// open(): pipelines are compiled so that pipeline_statistics() can ask about them; needs
  /// Physical::ext_executable_properties.
  bool statistics = false;
};

class Gpu {
 public:
  /// Creates a device on instance->devices()[index]. Errors: kNotFound (no such index), kUnsupported (unusable device),
  /// and what the driver answers.
  static Result<std::shared_ptr<Gpu>> open(std::shared_ptr<Instance> instance, uint32_t index, GpuOptions options = {});
  /// Borrows an application's objects, see vireo::adopt_vulkan.
  static Result<std::shared_ptr<Gpu>> adopt(VkInstance instance, VkPhysicalDevice physical, VkDevice device,
                                            VkQueue queue, uint32_t family, PFN_vkGetInstanceProcAddr get,
                                            const VulkanFeatures& enabled, GpuOptions options = {});
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  VkDevice handle() const { return device_; }
  const DeviceTable& fn() const { return fn_; }
  const Instance& instance() const { return *instance_; }
  const std::shared_ptr<Instance>& shared_instance() const { return instance_; }
  bool captures_statistics() const { return options_.statistics; }
  /// What this device can do as opened: for an adopted one, only the features that the application enabled.
  const DeviceCaps& caps() const { return physical_.caps; }
  const Physical& physical() const { return physical_; }
  const VkPhysicalDeviceMemoryProperties& memory() const { return memory_; }
  const std::array<uint8_t, VK_UUID_SIZE>& cache_uuid() const { return cache_uuid_; }
  uint32_t queue_family() const { return physical_.queue_family; }
  PipelineStore& pipelines() { return *pipelines_; }
  /// The driver once answered VK_ERROR_DEVICE_LOST, or waiting for it failed or took too long: nothing more is
  /// submitted.
  bool lost() const { return lost_.load(); }
  /// A flight was not over after all the patience that it deserved: nobody else need wait as long for the same device.
  bool hangs() const { return hangs_.load(); }
  void note_hang() { hangs_.store(true); }

  /// What the fault hook makes of `call`; VK_SUCCESS without one.
  VkResult fault(const char* call) const { return options_.fault ? options_.fault(call) : VK_SUCCESS; }
  /// Names an object for capture tools. Where labels are off nothing is formatted and nothing called.
  template <typename Handle, typename... Args>
  void name(VkObjectType type, Handle handle, fmt::format_string<Args...> text, Args&&... args) const {
    if (instance_->labels()) set_name(type, bits_of(handle), fmt::format(text, std::forward<Args>(args)...));
  }
  /// vkQueueSubmit of command buffers, one after the other; one thread at a time. No allocation. `*number` becomes the
  /// submission's, counted from 1, or 0 if nothing of it can have reached the device. (Submitting and waiting are
  /// Flight's; nobody else should.)
  VkResult submit(const VkCommandBuffer* commands, uint32_t count, VkFence fence, uint64_t* number);
  /// Waits up to `timeout_s` seconds, at most 30 s at a time (some drivers treat longer timeouts badly). VK_TIMEOUT
  /// after that. After any failure the device counts as lost.
  VkResult wait(VkFence fence, double timeout_s);
  /// Waits for everything that was submitted, without a limit, asking up to `tries` times; false: no call could prove
  /// it over, or the queue is an application's, which may be using it. From submit() an application's may be waited for
  /// as well.
  bool wait_idle(int tries, bool submitting = false);
  /// Submission `number` is over, and so are those before it: a fence signals after all that was submitted earlier.
  void note_over(uint64_t number);
  bool is_over(uint64_t number) const { return number <= over_.load(); }

 private:
  Gpu() = default;
  Result<void> finish_opening(PFN_vkGetDeviceProcAddr get);
  VkResult note_lost(VkResult r);
  void set_name(VkObjectType type, uint64_t handle, const std::string& text) const;

  std::shared_ptr<Instance> instance_;
  GpuOptions options_;
  Physical physical_;
  VkPhysicalDeviceMemoryProperties memory_{};
  std::array<uint8_t, VK_UUID_SIZE> cache_uuid_{};
  VkDevice device_ = VK_NULL_HANDLE;
  bool owned_ = false;
  DeviceTable fn_{};
  VkQueue queue_ = VK_NULL_HANDLE;
  std::mutex queue_mutex_;
  uint64_t submitted_ = 0;  // under queue_mutex_
  std::atomic<uint64_t> over_{0};
  std::atomic<bool> lost_{false}, hangs_{false};
  std::unique_ptr<PipelineStore> pipelines_;
};

}  // namespace vireo::vk
