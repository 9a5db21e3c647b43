// A VkInstance and the devices it lists, each with its DeviceCaps.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "device/caps.h"
#include "vk/loader.h"

namespace vireo::vk {

/// Whether objects and dispatches carry the graph's names for capture tools (RenderDoc, Nsight). Needs
/// VK_EXT_debug_utils, quietly off without it; off, no debug function is ever called.
enum class Labels : uint8_t {
  kAuto,  ///< when the validation layer is on, or a tool that shows them watches a device (VK_EXT_tooling_info)
  kOff,
  kOn,
};

struct InstanceOptions {
  /// Turn on the Khronos validation layer with synchronisation validation. An error when the layer is not installed.
  bool validation = false;
  /// Receives every warning and error of the validation layer, from whichever thread made the call.
  std::function<void(const std::string&)> on_message;
  Labels labels = Labels::kAuto;
  /// Use this loader instead of opening the system's.
  PFN_vkGetInstanceProcAddr loader = nullptr;
};

/// What could not be proven to be over when its owner went, and was therefore never freed (Flight). Thread-safe.
class Abandonments {
 public:
  /// Counts it and tells the sink.
  void add(const std::string& device, const char* what, uint64_t bytes) noexcept;
  void set_sink(std::function<void(const std::string&)> sink);
  uint64_t times() const { return times_.load(); }
  uint64_t bytes() const { return bytes_.load(); }

 private:
  std::mutex mutex_;
  std::function<void(const std::string&)> sink_;
  std::atomic<uint64_t> times_{0}, bytes_{0};
};

/// A physical device as listed.
struct Physical {
  uint32_t index = 0;  // in the loader's order
  VkPhysicalDevice handle = VK_NULL_HANDLE;
  VkPhysicalDeviceType type = VK_PHYSICAL_DEVICE_TYPE_OTHER;
  DeviceCaps caps;
  uint32_t queue_family = 0;
  uint32_t timestamp_bits = 0;           // valid ones of a timestamp on that family; 0: it takes none
  uint64_t max_allocation = 1ull << 30;  // bytes; the least that Vulkan 1.1 guarantees
  bool ext_8bit_storage = false, ext_float16_int8 = false;  // extensions to enable by name
  bool ext_tooling_info = false;           // VK_EXT_tooling_info: the tools that watch can be asked for
  bool ext_executable_properties = false;  // VK_KHR_pipeline_executable_properties and its feature
  std::string unusable;                    // why Vireo cannot run on it; empty = it can
};

/// Owns a VkInstance, or wraps an application's. Destroyed after every Gpu opened from it.
class Instance {
 public:
  /// Errors: kNotFound when there is no loader or no device, kUnsupported when loader or driver are too old or a
  /// requested layer is absent, kOutOfMemory. Each message says what to install.
  static Result<std::shared_ptr<Instance>> open(const InstanceOptions& options = {});
  /// Wraps an instance that the application owns and keeps alive. `get` may be null: the system's loader.
  /// Labels need that the application enabled VK_EXT_debug_utils.
  static Result<std::shared_ptr<Instance>> adopt(VkInstance instance, PFN_vkGetInstanceProcAddr get,
                                                 Labels labels = Labels::kAuto);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  VkInstance handle() const { return instance_; }
  const InstanceTable& fn() const { return fn_; }
  /// In the loader's order, unusable ones included.
  const std::vector<Physical>& devices() const { return devices_; }
  /// The best usable device: discrete, integrated, virtual, then software; the first listed among equals. -1 if none.
  int best() const;
  /// One line per device, for error messages.
  std::string list_devices() const;
  /// Objects and dispatches are to be named: vkSetDebugUtilsObjectNameEXT and the label commands are there.
  bool labels() const { return labels_; }
  /// Messages received from the validation layer so far.
  uint64_t message_count() const { return message_count_.load(); }
  /// On the devices opened from it.
  Abandonments& abandonments() const { return abandonments_; }

 private:
  Instance() = default;
  Result<void> create(const Loader& loader, const InstanceOptions& options);
  Result<void> enumerate();
  bool wants_labels(Labels labels, bool validation) const;
  bool watched() const;
  static VKAPI_ATTR VkBool32 VKAPI_CALL receive(VkDebugUtilsMessageSeverityFlagBitsEXT, VkDebugUtilsMessageTypeFlagsEXT,
                                                const VkDebugUtilsMessengerCallbackDataEXT* data, void* self);

  VkInstance instance_ = VK_NULL_HANDLE;
  bool owned_ = false;
  bool labels_ = false;
  uint32_t api_version_ = VK_API_VERSION_1_1;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
  std::function<void(const std::string&)> on_message_;
  std::mutex message_mutex_;
  std::atomic<uint64_t> message_count_{0};
  mutable Abandonments abandonments_;
  InstanceTable fn_;
  std::vector<Physical> devices_;
};

/// 0 for the kind of device to prefer, larger for worse.
int rank(const Physical& device);
/// Reads everything about one device. `instance_version` is the API version the instance was created for.
Physical describe(const InstanceTable& fn, VkPhysicalDevice handle, uint32_t index, uint32_t instance_version);

}  // namespace vireo::vk
