#include "vk/gpu.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "vk/pipelines.h"
#include "vk/status.h"

namespace vireo::vk {
namespace {

constexpr double kWaitSlice = 30;  // s

// The optional features of one device, chained for vkCreateDevice. They point at each other: not to be copied.
struct Features {
  VkPhysicalDeviceFeatures2 base = make<VkPhysicalDeviceFeatures2>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2);
  VkPhysicalDevice16BitStorageFeatures f16 =
      make<VkPhysicalDevice16BitStorageFeatures>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES);
  VkPhysicalDevice8BitStorageFeatures f8 =
      make<VkPhysicalDevice8BitStorageFeatures>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES);
  VkPhysicalDeviceShaderFloat16Int8Features math =
      make<VkPhysicalDeviceShaderFloat16Int8Features>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES);

  VkPhysicalDeviceShaderClockFeaturesKHR clock =
      make<VkPhysicalDeviceShaderClockFeaturesKHR>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CLOCK_FEATURES_KHR);
  VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dot = make<VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR>(
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR);
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executables =
      make<VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR>(
          VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR);

  Features(const DeviceCaps& c, bool statistics) {
    void** next = &base.pNext;
    const auto chain = [&next](auto& s) {
      *next = &s;
      next = &s.pNext;
    };
    f16.storageBuffer16BitAccess = c.storage_16bit;
    f8.storageBuffer8BitAccess = c.storage_8bit;
    math.shaderFloat16 = c.shader_float16;
    math.shaderInt8 = c.shader_int8;
    if (c.storage_16bit) chain(f16);
    if (c.storage_8bit) chain(f8);
    if (c.shader_float16 || c.shader_int8) chain(math);
    clock.shaderSubgroupClock = c.shader_clock;
    if (c.shader_clock) chain(clock);
    dot.shaderIntegerDotProduct = c.integer_dot;
    if (c.integer_dot) chain(dot);
    executables.pipelineExecutableInfo = statistics;
    if (statistics) chain(executables);
  }
  Features(const Features&) = delete;
  Features& operator=(const Features&) = delete;
};

}  // namespace

Result<std::shared_ptr<Gpu>> Gpu::open(std::shared_ptr<Instance> instance, uint32_t index, GpuOptions options) {
  if (index >= instance->devices().size())
    return fail(ErrorCode::kNotFound, "Vulkan device {} does not exist; there are: {}", index,
                instance->list_devices());
  const Physical& physical = instance->devices()[index];
  if (!physical.unusable.empty())
    return fail(ErrorCode::kUnsupported, "Vulkan device {} ({}) cannot be used: {}", index, physical.caps.name,
                physical.unusable);

  std::shared_ptr<Gpu> gpu(new Gpu());
  gpu->instance_ = std::move(instance);
  gpu->options_ = std::move(options);
  gpu->physical_ = physical;

  const Features features(physical.caps, gpu->options_.statistics);
  std::vector<const char*> extensions;
  if (physical.ext_8bit_storage) extensions.push_back(VK_KHR_8BIT_STORAGE_EXTENSION_NAME);
  if (physical.ext_float16_int8) extensions.push_back(VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME);
  if (physical.caps.shader_clock) extensions.push_back(VK_KHR_SHADER_CLOCK_EXTENSION_NAME);
  if (physical.caps.integer_dot) extensions.push_back(VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
  if (gpu->options_.statistics) extensions.push_back(VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME);
  const float priority = 1.f;
  auto queue = make<VkDeviceQueueCreateInfo>(VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO);
  queue.queueFamilyIndex = physical.queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  auto info = make<VkDeviceCreateInfo>(VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO);
  info.pNext = &features.base;
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  info.enabledExtensionCount = uint32_t(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  const InstanceTable& fn = gpu->instance_->fn();
  const VkResult r = fn.vkCreateDevice(physical.handle, &info, nullptr, &gpu->device_);
  if (r != VK_SUCCESS) {
    gpu->device_ = VK_NULL_HANDLE;
    return fail_vk(r, "opening Vulkan device {} ({}) failed", index, physical.caps.name);
  }
  gpu->owned_ = true;
  VIREO_TRY(gpu->finish_opening(fn.vkGetDeviceProcAddr));
  gpu->fn_.vkGetDeviceQueue(gpu->device_, physical.queue_family, 0, &gpu->queue_);
  gpu->name(VK_OBJECT_TYPE_QUEUE, gpu->queue_, "vireo");
  return gpu;
}

Result<std::shared_ptr<Gpu>> Gpu::adopt(VkInstance instance, VkPhysicalDevice physical, VkDevice device, VkQueue queue,
                                        uint32_t family, PFN_vkGetInstanceProcAddr get, const VulkanFeatures& enabled,
                                        GpuOptions options) {
  if (!instance || !physical || !device || !queue)
    return fail(ErrorCode::kInvalidArgument, "adopt_vulkan: got a null {}; expected the application's own",
                !instance   ? "VkInstance"
                : !physical ? "VkPhysicalDevice"
                : !device   ? "VkDevice"
                            : "VkQueue");
  std::shared_ptr<Gpu> gpu(new Gpu());
  VIREO_ASSIGN(gpu->instance_, Instance::adopt(instance, get, options.labels));
  const auto& listed = gpu->instance_->devices();
  const auto found =
      std::find_if(listed.begin(), listed.end(), [&](const Physical& p) { return p.handle == physical; });
  if (found == listed.end())
    return fail(ErrorCode::kInvalidArgument,
                "adopt_vulkan: the VkPhysicalDevice is not one of the instance's; there are: {}",
                gpu->instance_->list_devices());
  if (!found->unusable.empty())
    return fail(ErrorCode::kUnsupported, "adopt_vulkan: {} cannot be used: {}", found->caps.name, found->unusable);

  const InstanceTable& fn = gpu->instance_->fn();
  uint32_t n = 0;
  fn.vkGetPhysicalDeviceQueueFamilyProperties(physical, &n, nullptr);
  std::vector<VkQueueFamilyProperties> families(n);
  fn.vkGetPhysicalDeviceQueueFamilyProperties(physical, &n, families.data());
  if (family >= n || !(families[family].queueFlags & VK_QUEUE_COMPUTE_BIT))
    return fail(ErrorCode::kInvalidArgument,
                "adopt_vulkan: queue family {} of {} {}; give the family of a queue that computes", family,
                found->caps.name, family >= n ? "does not exist" : "cannot compute");

  gpu->options_ = std::move(options);
  gpu->physical_ = *found;
  gpu->physical_.queue_family = family;
  DeviceCaps& caps = gpu->physical_.caps;
  caps.storage_16bit = caps.storage_16bit && enabled.storage_buffer_16bit;
  caps.storage_8bit = caps.storage_8bit && enabled.storage_buffer_8bit;
  caps.shader_float16 = caps.shader_float16 && enabled.shader_float16;
  caps.shader_int8 = caps.shader_int8 && enabled.shader_int8;
  caps.shader_clock = caps.shader_clock && enabled.shader_clock;
  caps.integer_dot = caps.integer_dot && enabled.shader_integer_dot_product;
  caps.integer_dot_fast = caps.integer_dot_fast && caps.integer_dot;
  gpu->physical_.timestamp_bits = families[family].timestampValidBits;
  caps.timestamps = gpu->physical_.timestamp_bits > 0 && caps.timestamp_period_ns > 0.f;
  gpu->device_ = device;
  gpu->queue_ = queue;
  VIREO_TRY(gpu->finish_opening(fn.vkGetDeviceProcAddr));
  return gpu;
}

Result<void> Gpu::finish_opening(PFN_vkGetDeviceProcAddr get) {
  load_device_table(get, device_, &fn_);
  if (!fn_.vkQueueSubmit || !fn_.vkCmdDispatch || !fn_.vkDestroyDevice)
    return fail(ErrorCode::kUnsupported,
                "Vulkan device {} ({}): its driver lacks vkQueueSubmit or vkCmdDispatch; reinstall it", physical_.index,
                physical_.caps.name);
  const InstanceTable& fn = instance_->fn();
  fn.vkGetPhysicalDeviceMemoryProperties(physical_.handle, &memory_);
  VkPhysicalDeviceProperties p{};
  fn.vkGetPhysicalDeviceProperties(physical_.handle, &p);
  std::copy(std::begin(p.pipelineCacheUUID), std::end(p.pipelineCacheUUID), cache_uuid_.begin());
  pipelines_ = std::make_unique<PipelineStore>(*this);
  return {};
}

Gpu::~Gpu() {
  pipelines_.reset();
  if (owned_ && device_ && fn_.vkDestroyDevice) fn_.vkDestroyDevice(device_, nullptr);
}

void Gpu::set_name(VkObjectType type, uint64_t handle, const std::string& text) const {
  auto info = make<VkDebugUtilsObjectNameInfoEXT>(VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT);
  info.objectType = type;
  info.objectHandle = handle;
  info.pObjectName = text.c_str();
  (void)instance_->fn().vkSetDebugUtilsObjectNameEXT(device_, &info);  // a name that cannot be had is no failure
}

VkResult Gpu::note_lost(VkResult r) {
  if (r == VK_ERROR_DEVICE_LOST) lost_.store(true);
  return r;
}

VkResult Gpu::submit(const VkCommandBuffer* commands, uint32_t count, VkFence fence, uint64_t* number) {
  *number = 0;
  const VkResult faulty = fault("submit");
  if (faulty != VK_SUCCESS) return note_lost(faulty);
  auto info = make<VkSubmitInfo>(VK_STRUCTURE_TYPE_SUBMIT_INFO);
  info.commandBufferCount = count;
  info.pCommandBuffers = commands;
  const std::lock_guard<std::mutex> lock(queue_mutex_);
  const VkResult r = fn_.vkQueueSubmit(queue_, 1, &info, fence);
  // Out of memory leaves everything as it was; a device lost meanwhile may have begun.
  if (r == VK_SUCCESS || r == VK_ERROR_DEVICE_LOST) *number = ++submitted_;
  return note_lost(r);
}

bool Gpu::wait_idle(int tries, bool submitting) {
  if (!owned_ && !submitting) return false;
  const std::lock_guard<std::mutex> lock(queue_mutex_);
  for (int i = 0; i < tries; ++i) {
    if (i) std::this_thread::sleep_for(std::chrono::milliseconds(1 << std::min(i, 6)));
    VkResult r = fn_.vkQueueWaitIdle(queue_);
    // All queues of the device, so only where they are ours.
    if (owned_ && r != VK_SUCCESS && r != VK_ERROR_DEVICE_LOST) r = fn_.vkDeviceWaitIdle(device_);
    if (r != VK_SUCCESS && r != VK_ERROR_DEVICE_LOST) continue;
    note_over(submitted_);
    return true;
  }
  return false;
}

void Gpu::note_over(uint64_t number) {
  uint64_t known = over_.load();
  while (known < number && !over_.compare_exchange_weak(known, number)) {
  }
}

VkResult Gpu::wait(VkFence fence, double timeout_s) {
  VkResult r = VK_TIMEOUT;
  for (double left = timeout_s; left > 0 && r == VK_TIMEOUT; left -= kWaitSlice) {
    r = fault("wait");
    if (r == VK_SUCCESS)
      r = fn_.vkWaitForFences(device_, 1, &fence, VK_TRUE, uint64_t(std::min(left, kWaitSlice) * 1e9));
  }
  if (r != VK_SUCCESS) lost_.store(true);  // whatever it was, the GPU may still be using fence and commands
  return r;
}

}  // namespace vireo::vk
