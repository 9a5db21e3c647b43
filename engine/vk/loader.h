// Vulkan's types and functions: volk's table per device, a small table per instance, the loader opened at run time.
#pragma once

// Warnings of the lines below are about volk, which is C, being read inside a namespace.
#if defined(__GNUC__)
#pragma GCC system_header
#endif

#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES
#endif
#include <dlfcn.h>

#include <cstdint>
#include <cstring>

#include <vulkan/vulkan.h>

// volk defines a global variable named like every Vulkan function. Linked into a program that also links libvulkan,
// those would capture the program's own calls and crash it. In a namespace, without volk's extern "C", they cannot.
#pragma push_macro("__cplusplus")
#undef __cplusplus
namespace vireo::vk::volk {
#include <volk.h>
}
#pragma pop_macro("__cplusplus")

namespace vireo::vk {

using DeviceTable = volk::VolkDeviceTable;

// Functions that Vireo calls with an instance or a physical device; the second list may be absent.
#define VIREO_VK_INSTANCE_FUNCTIONS(X)    \
  X(vkCreateDevice)                       \
  X(vkDestroyInstance)                    \
  X(vkEnumerateDeviceExtensionProperties) \
  X(vkEnumeratePhysicalDevices)           \
  X(vkGetDeviceProcAddr)                  \
  X(vkGetPhysicalDeviceFeatures2)         \
  X(vkGetPhysicalDeviceMemoryProperties)  \
  X(vkGetPhysicalDeviceProperties)        \
  X(vkGetPhysicalDeviceProperties2)       \
  X(vkGetPhysicalDeviceQueueFamilyProperties)
#define VIREO_VK_DEBUG_FUNCTIONS(X)  \
  X(vkCreateDebugUtilsMessengerEXT)  \
  X(vkDestroyDebugUtilsMessengerEXT) \
  X(vkCmdBeginDebugUtilsLabelEXT)    \
  X(vkCmdEndDebugUtilsLabelEXT)      \
  X(vkSetDebugUtilsObjectNameEXT)    \
  X(vkGetPhysicalDeviceToolPropertiesEXT)

/// Function pointers of one instance. volk's are global: ours and an application's instance cannot share them.
struct InstanceTable {
#define VIREO_VK_MEMBER(name) PFN_##name name = nullptr;
  VIREO_VK_INSTANCE_FUNCTIONS(VIREO_VK_MEMBER)
  VIREO_VK_DEBUG_FUNCTIONS(VIREO_VK_MEMBER)
#undef VIREO_VK_MEMBER
};

/// A Vulkan structure with its type set and the rest zero.
template <typename T>
T make(VkStructureType type) {
  T s{};
  s.sType = type;
  return s;
}

template <typename Handle>
uint64_t bits_of(Handle h) {  // handles are pointers or integers, by platform
  uint64_t v = 0;
  std::memcpy(&v, &h, sizeof h);
  return v;
}

/// Passes a creation's answer on; a handle that was not made becomes null, whatever the driver left in it.
template <typename Handle>
VkResult created(VkResult r, Handle* handle) {
  if (r != VK_SUCCESS) *handle = VK_NULL_HANDLE;
  return r;
}

/// Functions that need no instance, and the version of the loader.
struct Loader {
  PFN_vkGetInstanceProcAddr get_instance_proc_addr = nullptr;  // null: there is no Vulkan loader on this machine
  PFN_vkCreateInstance create_instance = nullptr;
  PFN_vkEnumerateInstanceExtensionProperties enumerate_extensions = nullptr;
  PFN_vkEnumerateInstanceLayerProperties enumerate_layers = nullptr;
  uint32_t version = 0;  // 0: no usable loader
};

/// The system's loader, opened by the first call (thread-safe); it stays open as long as the process lives.
Loader system_loader();
/// A loader reached through an application's own vkGetInstanceProcAddr.
Loader custom_loader(PFN_vkGetInstanceProcAddr get);
/// Fills the table; false when a required function is missing, and then `*missing` names it.
bool load_instance_table(PFN_vkGetInstanceProcAddr get, VkInstance instance, InstanceTable* table,
                         const char** missing);
/// Fills volk's table through `get`, so calls go straight to the device's driver.
void load_device_table(PFN_vkGetDeviceProcAddr get, VkDevice device, DeviceTable* table);

}  // namespace vireo::vk
