#include "vk/instance.h"

#include <algorithm>
#include <cstring>

#include "vk/status.h"

namespace vireo::vk {
namespace {

constexpr char kValidationLayer[] = "VK_LAYER_KHRONOS_validation";
constexpr char kInstallHint[] = "install the GPU's driver or Mesa's (Debian: mesa-vulkan-drivers), or run on the CPU";

std::string version_text(uint32_t v) { return fmt::format("{}.{}", VK_API_VERSION_MAJOR(v), VK_API_VERSION_MINOR(v)); }

bool has_layer(const Loader& loader, const char* name) {
  uint32_t n = 0;
  if (!loader.enumerate_layers || loader.enumerate_layers(&n, nullptr) != VK_SUCCESS) return false;
  std::vector<VkLayerProperties> layers(n);
  if (loader.enumerate_layers(&n, layers.data()) < 0) return false;
  layers.resize(n);
  return std::any_of(layers.begin(), layers.end(), [&](const auto& l) { return !std::strcmp(l.layerName, name); });
}

bool has_extension(const Loader& loader, const char* layer, const char* name) {
  uint32_t n = 0;
  if (!loader.enumerate_extensions || loader.enumerate_extensions(layer, &n, nullptr) != VK_SUCCESS) return false;
  std::vector<VkExtensionProperties> list(n);
  if (loader.enumerate_extensions(layer, &n, list.data()) < 0) return false;
  list.resize(n);
  return std::any_of(list.begin(), list.end(), [&](const auto& e) { return !std::strcmp(e.extensionName, name); });
}

}  // namespace

void Abandonments::add(const std::string& device, const char* what, uint64_t bytes) noexcept {
  times_.fetch_add(1);
  bytes_.fetch_add(bytes);
  try {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (sink_)
      sink_(
          fmt::format("{}: no call could prove that the device is done with {}; its memory ({}) and the device are "
                      "never freed, as freeing them "
                      "under work that goes on would crash",
                      device, what, human_bytes(bytes)));
  } catch (...) {  // no memory for the sentence, or the sink's own: the count stands
  }
}

void Abandonments::set_sink(std::function<void(const std::string&)> sink) {
  const std::lock_guard<std::mutex> lock(mutex_);
  sink_ = std::move(sink);
}

VkBool32 Instance::receive(VkDebugUtilsMessageSeverityFlagBitsEXT, VkDebugUtilsMessageTypeFlagsEXT,
                           const VkDebugUtilsMessengerCallbackDataEXT* data, void* self) {
  auto* instance = static_cast<Instance*>(self);
  instance->message_count_.fetch_add(1);
  if (instance->on_message_) {
    const std::lock_guard<std::mutex> lock(instance->message_mutex_);
    instance->on_message_(data && data->pMessage ? data->pMessage : "");
  }
  return VK_FALSE;
}

Result<std::shared_ptr<Instance>> Instance::open(const InstanceOptions& options) {
  const Loader loader = options.loader ? custom_loader(options.loader) : system_loader();
  if (!loader.get_instance_proc_addr)
    return fail(
        ErrorCode::kNotFound,
        "Vulkan: no loader: libvulkan.so.1 could not be opened; install it (Debian: libvulkan1) and the GPU's driver, "
        "or run on the CPU");
  if (!loader.create_instance || loader.version == 0)
    return fail(ErrorCode::kUnsupported, "Vulkan: the loader has no vkCreateInstance; reinstall it, or run on the CPU");
  if (loader.version < VK_API_VERSION_1_1)
    return fail(ErrorCode::kUnsupported,
                "Vulkan: the loader offers version {}, expected 1.1 or later; update it, or run on the CPU",
                version_text(loader.version));
  std::shared_ptr<Instance> instance(new Instance());
  VIREO_TRY(instance->create(loader, options));
  VIREO_TRY(instance->enumerate());
  instance->labels_ = instance->wants_labels(options.labels, options.validation);
  return instance;
}

bool Instance::watched() const {
  if (!fn_.vkGetPhysicalDeviceToolPropertiesEXT) return false;
  for (const Physical& d : devices_) {
    if (!d.ext_tooling_info) continue;  // the function must not be called on it
    uint32_t n = 0;
    if (fn_.vkGetPhysicalDeviceToolPropertiesEXT(d.handle, &n, nullptr) != VK_SUCCESS) continue;
    std::vector<VkPhysicalDeviceToolPropertiesEXT> tools(
        n, make<VkPhysicalDeviceToolPropertiesEXT>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TOOL_PROPERTIES_EXT));
    if (fn_.vkGetPhysicalDeviceToolPropertiesEXT(d.handle, &n, tools.data()) < 0) continue;
    tools.resize(std::min<size_t>(n, tools.size()));
    for (const auto& t : tools)
      if (t.purposes & VK_TOOL_PURPOSE_DEBUG_MARKERS_BIT_EXT) return true;
  }
  return false;
}

bool Instance::wants_labels(Labels labels, bool validation) const {
  if (labels == Labels::kOff || !fn_.vkCmdBeginDebugUtilsLabelEXT || !fn_.vkCmdEndDebugUtilsLabelEXT ||
      !fn_.vkSetDebugUtilsObjectNameEXT)
    return false;
  return labels == Labels::kOn || validation || watched();
}

Result<std::shared_ptr<Instance>> Instance::adopt(VkInstance handle, PFN_vkGetInstanceProcAddr get, Labels labels) {
  if (!get) get = system_loader().get_instance_proc_addr;
  if (!handle || !get)
    return fail(ErrorCode::kInvalidArgument, "adopting a VkInstance: got a null {}, expected the application's own",
                handle ? "vkGetInstanceProcAddr (and there is no system loader)" : "VkInstance");
  std::shared_ptr<Instance> instance(new Instance());
  instance->instance_ = handle;
  const char* missing = nullptr;
  if (!load_instance_table(get, handle, &instance->fn_, &missing))
    return fail(ErrorCode::kUnsupported,
                "adopting a VkInstance: it has no {}; expected an instance created for Vulkan 1.1 or later", missing);
  VIREO_TRY(instance->enumerate());
  instance->labels_ = instance->wants_labels(labels, false);
  return instance;
}

Result<void> Instance::create(const Loader& loader, const InstanceOptions& options) {
  on_message_ = options.on_message;
  api_version_ = loader.version >= VK_API_VERSION_1_2 ? VK_API_VERSION_1_2 : VK_API_VERSION_1_1;

  std::vector<const char*> layers, extensions;
  if (options.validation) {
    if (!has_layer(loader, kValidationLayer))
      return fail(
          ErrorCode::kUnsupported,
          "Vulkan: validation was asked for, but the layer {} is not installed (Debian: vulkan-validationlayers)",
          kValidationLayer);
    layers.push_back(kValidationLayer);
  }
  const bool debug_utils =
      has_extension(loader, nullptr, VK_EXT_DEBUG_UTILS_EXTENSION_NAME) ||
      (options.validation && has_extension(loader, kValidationLayer, VK_EXT_DEBUG_UTILS_EXTENSION_NAME));
  const bool messages = options.validation && debug_utils;
  // Enabled before it is known whether a tool watches: without a call the extension does nothing.
  if (messages || (debug_utils && options.labels != Labels::kOff))
    extensions.push_back(VK_EXT_DEBUG_UTILS_EXTENSION_NAME);

  auto app = make<VkApplicationInfo>(VK_STRUCTURE_TYPE_APPLICATION_INFO);
  app.pApplicationName = "vireo";
  app.pEngineName = "vireo";
  app.apiVersion = api_version_;
  auto info = make<VkInstanceCreateInfo>(VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO);
  info.pApplicationInfo = &app;

  auto messenger = make<VkDebugUtilsMessengerCreateInfoEXT>(VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT);
  messenger.messageSeverity =
      VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  // Not GENERAL: with it the loader reports every driver of the machine that it could not open.
  messenger.messageType =
      VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT;
  messenger.pfnUserCallback = receive;
  messenger.pUserData = this;
  const VkValidationFeatureEnableEXT synchronization = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
  auto features = make<VkValidationFeaturesEXT>(VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT);
  features.enabledValidationFeatureCount = 1;
  features.pEnabledValidationFeatures = &synchronization;
  if (messages) {
    messenger.pNext = info.pNext;
    info.pNext = &messenger;
  }
  if (options.validation && has_extension(loader, kValidationLayer, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME)) {
    extensions.push_back(VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME);
    features.pNext = info.pNext;
    info.pNext = &features;
  }
  info.enabledLayerCount = uint32_t(layers.size());
  info.ppEnabledLayerNames = layers.data();
  info.enabledExtensionCount = uint32_t(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();

  const VkResult r = loader.create_instance(&info, nullptr, &instance_);
  if (r == VK_ERROR_INCOMPATIBLE_DRIVER)
    return fail(ErrorCode::kNotFound, "Vulkan: the loader found no driver (VK_ERROR_INCOMPATIBLE_DRIVER); {}",
                kInstallHint);
  if (r != VK_SUCCESS) {
    instance_ = VK_NULL_HANDLE;
    return fail_vk(r, "Vulkan: vkCreateInstance failed; check the driver with vulkaninfo, or run on the CPU");
  }
  owned_ = true;
  const char* missing = nullptr;
  if (!load_instance_table(loader.get_instance_proc_addr, instance_, &fn_, &missing)) {
    owned_ = fn_.vkDestroyInstance != nullptr;
    return fail(ErrorCode::kUnsupported, "Vulkan: the loader has no {}; update it, or run on the CPU", missing);
  }
  if (messages && fn_.vkCreateDebugUtilsMessengerEXT) {
    messenger.pNext = nullptr;
    const VkResult m =
        created(fn_.vkCreateDebugUtilsMessengerEXT(instance_, &messenger, nullptr, &messenger_), &messenger_);
    if (m != VK_SUCCESS) return fail_vk(m, "Vulkan: the validation layer's messages cannot be received");
  }
  return {};
}

Result<void> Instance::enumerate() {
  std::vector<VkPhysicalDevice> handles;
  VkResult r = VK_INCOMPLETE;
  for (int tries = 0; r == VK_INCOMPLETE && tries < 8; ++tries) {  // a GPU may come or go between the two calls
    uint32_t n = 0;
    r = fn_.vkEnumeratePhysicalDevices(instance_, &n, nullptr);
    if (r != VK_SUCCESS) break;
    handles.resize(n);
    r = n ? fn_.vkEnumeratePhysicalDevices(instance_, &n, handles.data()) : VK_SUCCESS;
    handles.resize(n);
  }
  if (r != VK_SUCCESS && r != VK_INCOMPLETE)
    return fail(ErrorCode::kNotFound, "Vulkan: listing the devices failed: vkEnumeratePhysicalDevices answered {}; {}",
                to_string(r), kInstallHint);
  if (handles.empty()) return fail(ErrorCode::kNotFound, "Vulkan: the driver lists no device; {}", kInstallHint);
  devices_.reserve(handles.size());
  for (const VkPhysicalDevice h : handles)
    devices_.push_back(describe(fn_, h, uint32_t(devices_.size()), api_version_));
  return {};
}

Instance::~Instance() {
  if (messenger_) fn_.vkDestroyDebugUtilsMessengerEXT(instance_, messenger_, nullptr);
  if (owned_ && instance_) fn_.vkDestroyInstance(instance_, nullptr);
}

int rank(const Physical& device) {
  switch (device.type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return 4;
    default: return 3;
  }
}

int Instance::best() const {
  const Physical* found = nullptr;
  for (const Physical& d : devices_)
    if (d.unusable.empty() && (!found || rank(d) < rank(*found))) found = &d;
  return found ? int(found->index) : -1;
}

std::string Instance::list_devices() const {
  std::string text;
  for (const Physical& d : devices_)
    text += fmt::format("{}vulkan:{} {}{}", text.empty() ? "" : "; ", d.index, d.caps.name,
                        d.unusable.empty() ? "" : fmt::format(" (unusable: {})", d.unusable));
  return text;
}

}  // namespace vireo::vk
