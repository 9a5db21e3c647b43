#include "vk/loader.h"

#pragma push_macro("__cplusplus")
#undef __cplusplus
namespace vireo::vk::volk {
#include <volk.c>
}
#pragma pop_macro("__cplusplus")

namespace vireo::vk {
namespace {

uint32_t version_of(PFN_vkEnumerateInstanceVersion enumerate, bool has_create) {
  uint32_t version = 0;
  // The one failure that there is, no memory, is no reason to take a loader that has the function for one of
  // Vulkan 1.0.
  if (enumerate) return enumerate(&version) == VK_SUCCESS ? version : VK_API_VERSION_1_1;
  return has_create ? VK_API_VERSION_1_0 : 0;
}

struct DeviceContext {
  PFN_vkGetDeviceProcAddr get;
  VkDevice device;
};

}  // namespace

Loader system_loader() {
  // volkInitialize() writes volk's loader pointers; the language makes the first call do it and the others wait.
  static const bool opened = volk::volkInitialize() == VK_SUCCESS;
  Loader loader;
  if (!opened) return loader;
  loader.get_instance_proc_addr = volk::vkGetInstanceProcAddr;
  loader.create_instance = volk::vkCreateInstance;
  loader.enumerate_extensions = volk::vkEnumerateInstanceExtensionProperties;
  loader.enumerate_layers = volk::vkEnumerateInstanceLayerProperties;
  loader.version = volk::volkGetInstanceVersion();
  return loader;
}

Loader custom_loader(PFN_vkGetInstanceProcAddr get) {
  Loader loader;
  loader.get_instance_proc_addr = get;
  loader.create_instance = PFN_vkCreateInstance(get(nullptr, "vkCreateInstance"));
  loader.enumerate_extensions =
      PFN_vkEnumerateInstanceExtensionProperties(get(nullptr, "vkEnumerateInstanceExtensionProperties"));
  loader.enumerate_layers = PFN_vkEnumerateInstanceLayerProperties(get(nullptr, "vkEnumerateInstanceLayerProperties"));
  loader.version = version_of(PFN_vkEnumerateInstanceVersion(get(nullptr, "vkEnumerateInstanceVersion")),
                              loader.create_instance != nullptr);
  return loader;
}

bool load_instance_table(PFN_vkGetInstanceProcAddr get, VkInstance instance, InstanceTable* table,
                         const char** missing) {
  *missing = nullptr;
#define VIREO_VK_LOAD(name) table->name = PFN_##name(get(instance, #name));
#define VIREO_VK_CHECK(name) \
  if (!table->name && !*missing) *missing = #name;
  VIREO_VK_INSTANCE_FUNCTIONS(VIREO_VK_LOAD)
  VIREO_VK_DEBUG_FUNCTIONS(VIREO_VK_LOAD)
  VIREO_VK_INSTANCE_FUNCTIONS(VIREO_VK_CHECK)
#undef VIREO_VK_LOAD
#undef VIREO_VK_CHECK
  return *missing == nullptr;
}

void load_device_table(PFN_vkGetDeviceProcAddr get, VkDevice device, DeviceTable* table) {
  DeviceContext context{get, device};
  volk::volkGenLoadDeviceTable(table, &context, [](void* c, const char* name) -> PFN_vkVoidFunction {
    const auto* d = static_cast<const DeviceContext*>(c);
    return d->get(d->device, name);
  });
}

}  // namespace vireo::vk
