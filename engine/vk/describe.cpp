// DeviceCaps from a driver: limits, subgroup operations, optional features, queue family, driver's name.
#include <algorithm>
#include <cstring>

#include "vk/instance.h"
#include "vk/status.h"

namespace vireo::vk {
namespace {

// Names come from drivers; the caps text is line based, with '#' for comments.
std::string clean(const char* s, size_t size) {
  std::string out(s, strnlen(s, size));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == '#' || c == 0x7f) c = ' ';
  const size_t a = out.find_first_not_of(' ');
  if (a == std::string::npos) return {};
  return out.substr(a, out.find_last_not_of(' ') - a + 1);
}

VkResult list_extensions(const InstanceTable& fn, VkPhysicalDevice device, std::vector<VkExtensionProperties>* list) {
  uint32_t n = 0;
  VkResult r = fn.vkEnumerateDeviceExtensionProperties(device, nullptr, &n, nullptr);
  if (r != VK_SUCCESS) return r;
  list->resize(n);
  r = fn.vkEnumerateDeviceExtensionProperties(device, nullptr, &n, list->data());
  list->resize(r < 0 ? 0 : n);
  return r < 0 ? r : VK_SUCCESS;
}

// A family that also draws is where drivers expect ordinary work (on Tegra the only one); else the first to compute.
int choose_family(const std::vector<VkQueueFamilyProperties>& families) {
  int found = -1;
  for (size_t i = 0; i < families.size(); ++i) {
    if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || families[i].queueCount == 0) continue;
    if (families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT) return int(i);
    if (found < 0) found = int(i);
  }
  return found;
}

void fill_limits(const VkPhysicalDeviceLimits& l, DeviceCaps& c) {
  c.max_workgroup_invocations = l.maxComputeWorkGroupInvocations;
  for (size_t i = 0; i < 3; ++i) {
    c.max_workgroup_size[i] = l.maxComputeWorkGroupSize[i];
    c.max_workgroup_count[i] = l.maxComputeWorkGroupCount[i];
  }
  c.max_shared_bytes = l.maxComputeSharedMemorySize;
  c.max_push_constant_bytes = l.maxPushConstantsSize;
  c.max_storage_range = l.maxStorageBufferRange;
  c.max_texel_elements = l.maxTexelBufferElements;
  c.storage_alignment = uint32_t(std::max<VkDeviceSize>(l.minStorageBufferOffsetAlignment, 1));
  c.texel_alignment = uint32_t(std::max<VkDeviceSize>(l.minTexelBufferOffsetAlignment, 1));
  c.max_stage_storage_buffers = std::min(l.maxPerStageDescriptorStorageBuffers, l.maxDescriptorSetStorageBuffers);
  c.max_stage_sampled = std::min(l.maxPerStageDescriptorSampledImages, l.maxDescriptorSetSampledImages);
  c.timestamp_period_ns = l.timestampPeriod;
}

void fill_subgroup(const VkPhysicalDeviceSubgroupProperties& s, DeviceCaps& c) {
  c.subgroup_size = std::max(s.subgroupSize, 1u);
  if (!(s.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT)) return;
  c.subgroup_basic = s.supportedOperations & VK_SUBGROUP_FEATURE_BASIC_BIT;
  c.subgroup_vote = s.supportedOperations & VK_SUBGROUP_FEATURE_VOTE_BIT;
  c.subgroup_ballot = s.supportedOperations & VK_SUBGROUP_FEATURE_BALLOT_BIT;
  c.subgroup_shuffle = s.supportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
  c.subgroup_arithmetic = s.supportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
}

}  // namespace

Physical describe(const InstanceTable& fn, VkPhysicalDevice handle, uint32_t index, uint32_t instance_version) {
  Physical d;
  d.index = index;
  d.handle = handle;
  VkPhysicalDeviceProperties p{};
  fn.vkGetPhysicalDeviceProperties(handle, &p);
  d.type = p.deviceType;
  DeviceCaps& c = d.caps;
  c.name = clean(p.deviceName, sizeof p.deviceName);
  if (c.name.empty()) c.name = "unknown";
  c.kind = DeviceKind::kVulkan;
  c.vendor_id = p.vendorID;
  c.device_id = p.deviceID;
  c.driver_version = p.driverVersion;
  c.api_version = p.apiVersion;
  c.integrated = p.deviceType == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU || p.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
  c.device_class = classify_device(c);
  fill_limits(p.limits, c);

  uint32_t n = 0;
  fn.vkGetPhysicalDeviceQueueFamilyProperties(handle, &n, nullptr);
  std::vector<VkQueueFamilyProperties> families(n);
  fn.vkGetPhysicalDeviceQueueFamilyProperties(handle, &n, families.data());
  families.resize(n);
  const int family = choose_family(families);
  if (family >= 0) {
    d.queue_family = uint32_t(family);
    d.timestamp_bits = families[size_t(family)].timestampValidBits;
    c.timestamps = d.timestamp_bits > 0 && c.timestamp_period_ns > 0.f;
  } else {
    d.unusable = "it has no compute queue";
  }
  if (p.apiVersion < VK_API_VERSION_1_1) {
    d.unusable = fmt::format("its driver offers Vulkan {}.{}, expected 1.1 or later",
                             VK_API_VERSION_MAJOR(p.apiVersion), VK_API_VERSION_MINOR(p.apiVersion));
    return d;  // the queries below need 1.1
  }

  std::vector<VkExtensionProperties> list;
  // Without the list it would run, slower, and nothing would say why.
  if (const VkResult r = list_extensions(fn, handle, &list); r != VK_SUCCESS) {
    d.unusable = fmt::format("its extensions cannot be listed: the driver answered {}", to_string(r));
    return d;
  }
  const auto has = [&list](const char* name) {
    return std::any_of(list.begin(), list.end(), [&](const auto& e) { return !std::strcmp(e.extensionName, name); });
  };
  const bool core12 = std::min(p.apiVersion, instance_version) >= VK_API_VERSION_1_2;
  d.ext_8bit_storage = !core12 && has(VK_KHR_8BIT_STORAGE_EXTENSION_NAME);
  d.ext_float16_int8 = !core12 && has(VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME);
  d.ext_tooling_info = has(VK_EXT_TOOLING_INFO_EXTENSION_NAME);

  auto subgroup = make<VkPhysicalDeviceSubgroupProperties>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES);
  auto maintenance3 =
      make<VkPhysicalDeviceMaintenance3Properties>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES);
  auto driver = make<VkPhysicalDeviceDriverProperties>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES);
  auto p2 = make<VkPhysicalDeviceProperties2>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2);
  p2.pNext = &subgroup;
  subgroup.pNext = &maintenance3;
  // By its own name, which drivers of Vulkan 1.3 have too: the instance may be of an earlier version.
  const bool has_dot = has(VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
  auto dot_rates = make<VkPhysicalDeviceShaderIntegerDotProductPropertiesKHR>(
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES_KHR);
  const bool has_driver = core12 || has(VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME);
  if (has_driver) maintenance3.pNext = &driver;
  if (has_dot) {
    dot_rates.pNext = p2.pNext;
    p2.pNext = &dot_rates;
  }
  fn.vkGetPhysicalDeviceProperties2(handle, &p2);
  fill_subgroup(subgroup, c);
  d.max_allocation = maintenance3.maxMemoryAllocationSize;
  if (has_driver) {
    const std::string text = fmt::format("{} {}", clean(driver.driverName, sizeof driver.driverName),
                                         clean(driver.driverInfo, sizeof driver.driverInfo));
    c.driver = clean(text.c_str(), text.size());
  }

  auto f16 = make<VkPhysicalDevice16BitStorageFeatures>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES);
  auto f8 = make<VkPhysicalDevice8BitStorageFeatures>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES);
  auto math =
      make<VkPhysicalDeviceShaderFloat16Int8Features>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES);
  auto clock =
      make<VkPhysicalDeviceShaderClockFeaturesKHR>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CLOCK_FEATURES_KHR);
  auto executables = make<VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR>(
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR);
  auto dot = make<VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR>(
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR);
  auto f2 = make<VkPhysicalDeviceFeatures2>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2);
  f2.pNext = &f16;
  void** next = &f16.pNext;
  if (core12 || d.ext_8bit_storage) {
    *next = &f8;
    next = &f8.pNext;
  }
  if (core12 || d.ext_float16_int8) {
    *next = &math;
    next = &math.pNext;
  }
  if (has(VK_KHR_SHADER_CLOCK_EXTENSION_NAME)) {
    *next = &clock;
    next = &clock.pNext;
  }
  if (has_dot) {
    *next = &dot;
    next = &dot.pNext;
  }
  if (has(VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME)) *next = &executables;
  fn.vkGetPhysicalDeviceFeatures2(handle, &f2);
  c.shader_clock = clock.shaderSubgroupClock;
  c.integer_dot = dot.shaderIntegerDotProduct;
  c.integer_dot_fast = c.integer_dot && dot_rates.integerDotProduct4x8BitPackedSignedAccelerated;
  d.ext_executable_properties = executables.pipelineExecutableInfo;
  c.storage_16bit = f16.storageBuffer16BitAccess;
  c.storage_8bit = f8.storageBuffer8BitAccess;
  c.shader_float16 = math.shaderFloat16;
  c.shader_int8 = math.shaderInt8;
  return d;
}

}  // namespace vireo::vk
