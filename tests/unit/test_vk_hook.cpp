#if VIREO_VULKAN
#include "test_vk_hook.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <mutex>

namespace vireo::vk::hook {
namespace {

struct State {
  std::mutex mutex;  // pipelines are created by several threads
  Log log;
  Pretence pretence;
  std::map<std::string, PFN_vkVoidFunction> real;  // by name
} state;

template <typename F>
F real(const char* name) {
  return reinterpret_cast<F>(state.real[name]);
}
#define REAL(name) real<PFN_##name>(#name)

void note(std::string text) {
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.log.commands.push_back(std::move(text));
}

const char* word(VkObjectType t) {
  switch (t) {
    case VK_OBJECT_TYPE_PIPELINE: return "pipeline";
    case VK_OBJECT_TYPE_SHADER_MODULE: return "module";
    case VK_OBJECT_TYPE_BUFFER: return "buffer";
    case VK_OBJECT_TYPE_COMMAND_BUFFER: return "commands";
    case VK_OBJECT_TYPE_QUEUE: return "queue";
    case VK_OBJECT_TYPE_DESCRIPTOR_SET: return "set";
    case VK_OBJECT_TYPE_BUFFER_VIEW: return "view";
    default: return "other";
  }
}

// ---- commands

VKAPI_ATTR VkResult VKAPI_CALL vkBeginCommandBuffer(VkCommandBuffer c, const VkCommandBufferBeginInfo* i) {
  note("begin");
  return REAL(vkBeginCommandBuffer)(c, i);
}
VKAPI_ATTR VkResult VKAPI_CALL vkEndCommandBuffer(VkCommandBuffer c) {
  note("end");
  return REAL(vkEndCommandBuffer)(c);
}
VKAPI_ATTR void VKAPI_CALL vkCmdPipelineBarrier(VkCommandBuffer c, VkPipelineStageFlags from, VkPipelineStageFlags to,
                                                VkDependencyFlags f, uint32_t n, const VkMemoryBarrier* b, uint32_t nb,
                                                const VkBufferMemoryBarrier* bb, uint32_t ni,
                                                const VkImageMemoryBarrier* ib) {
  note(fmt::format("barrier {:#x} {:#x} {:#x} {:#x}", from, n ? b->srcAccessMask : 0u, to, n ? b->dstAccessMask : 0u));
  REAL(vkCmdPipelineBarrier)(c, from, to, f, n, b, nb, bb, ni, ib);
}
VKAPI_ATTR void VKAPI_CALL vkCmdBindPipeline(VkCommandBuffer c, VkPipelineBindPoint p, VkPipeline h) {
  note("pipeline");
  REAL(vkCmdBindPipeline)(c, p, h);
}
VKAPI_ATTR void VKAPI_CALL vkCmdBindDescriptorSets(VkCommandBuffer c, VkPipelineBindPoint p, VkPipelineLayout l,
                                                   uint32_t first, uint32_t n, const VkDescriptorSet* s, uint32_t nd,
                                                   const uint32_t* d) {
  note("sets");
  REAL(vkCmdBindDescriptorSets)(c, p, l, first, n, s, nd, d);
}
VKAPI_ATTR void VKAPI_CALL vkCmdPushConstants(VkCommandBuffer c, VkPipelineLayout l, VkShaderStageFlags s,
                                              uint32_t offset, uint32_t bytes, const void* data) {
  const auto* words = static_cast<const uint32_t*>(data);
  note(fmt::format("push {}", fmt::join(words, words + bytes / 4, " ")));
  REAL(vkCmdPushConstants)(c, l, s, offset, bytes, data);
}
VKAPI_ATTR void VKAPI_CALL vkCmdDispatch(VkCommandBuffer c, uint32_t x, uint32_t y, uint32_t z) {
  note(fmt::format("dispatch {} {} {}", x, y, z));
  REAL(vkCmdDispatch)(c, x, y, z);
}
VKAPI_ATTR void VKAPI_CALL vkCmdWriteTimestamp(VkCommandBuffer c, VkPipelineStageFlagBits s, VkQueryPool p,
                                               uint32_t q) {
  note("timestamp");
  REAL(vkCmdWriteTimestamp)(c, s, p, q);
}
VKAPI_ATTR void VKAPI_CALL vkCmdResetQueryPool(VkCommandBuffer c, VkQueryPool p, uint32_t first, uint32_t n) {
  note("reset queries");
  REAL(vkCmdResetQueryPool)(c, p, first, n);
}
VKAPI_ATTR VkResult VKAPI_CALL vkQueueSubmit(VkQueue q, uint32_t n, const VkSubmitInfo* s, VkFence f) {
  {
    const std::lock_guard<std::mutex> lock(state.mutex);
    for (uint32_t i = 0; i < n; ++i)
      for (uint32_t j = 0; j < s[i].commandBufferCount; ++j) state.log.submitted.push_back(s[i].pCommandBuffers[j]);
  }
  return REAL(vkQueueSubmit)(q, n, s, f);
}

// ---- names

VKAPI_ATTR VkResult VKAPI_CALL vkSetDebugUtilsObjectNameEXT(VkDevice d, const VkDebugUtilsObjectNameInfoEXT* i) {
  {
    const std::lock_guard<std::mutex> lock(state.mutex);
    state.log.names.push_back(std::string(word(i->objectType)) + " " + i->pObjectName);
  }
  return REAL(vkSetDebugUtilsObjectNameEXT)(d, i);
}
VKAPI_ATTR void VKAPI_CALL vkCmdBeginDebugUtilsLabelEXT(VkCommandBuffer c, const VkDebugUtilsLabelEXT* l) {
  state.log.labels.push_back(l->pLabelName);
  REAL(vkCmdBeginDebugUtilsLabelEXT)(c, l);
}
VKAPI_ATTR void VKAPI_CALL vkCmdEndDebugUtilsLabelEXT(VkCommandBuffer c) {
  ++state.log.labels_ended;
  REAL(vkCmdEndDebugUtilsLabelEXT)(c);
}
VKAPI_ATTR VkResult VKAPI_CALL vkGetPhysicalDeviceToolPropertiesEXT(VkPhysicalDevice, uint32_t* n,
                                                                    VkPhysicalDeviceToolPropertiesEXT* tools) {
  if (tools && *n) {
    std::snprintf(tools->name, sizeof tools->name, "made-up capture tool");
    tools->purposes = VK_TOOL_PURPOSE_TRACING_BIT_EXT | VK_TOOL_PURPOSE_DEBUG_MARKERS_BIT_EXT;
  }
  *n = 1;
  return VK_SUCCESS;
}

// ---- a driver that offers more, or less

VKAPI_ATTR VkResult VKAPI_CALL vkEnumerateDeviceExtensionProperties(VkPhysicalDevice d, const char* layer, uint32_t* n,
                                                                    VkExtensionProperties* out) {
  const auto f = REAL(vkEnumerateDeviceExtensionProperties);
  uint32_t have = 0;
  f(d, layer, &have, nullptr);
  std::vector<VkExtensionProperties> list(have);
  f(d, layer, &have, list.data());
  const auto is = [](const VkExtensionProperties& e, const char* name) { return !std::strcmp(e.extensionName, name); };
  const auto add = [&](const char* name) {
    VkExtensionProperties e{};
    std::snprintf(e.extensionName, sizeof e.extensionName, "%s", name);
    list.push_back(e);
  };
  list.erase(std::remove_if(list.begin(), list.end(),
                            [&](const auto& e) { return is(e, VK_EXT_TOOLING_INFO_EXTENSION_NAME); }),
             list.end());
  if (state.pretence.watched) add(VK_EXT_TOOLING_INFO_EXTENSION_NAME);
  if (state.pretence.statistics) add(VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME);
  if (state.pretence.no_shader_clock)
    list.erase(std::remove_if(list.begin(), list.end(),
                              [&](const auto& e) { return is(e, VK_KHR_SHADER_CLOCK_EXTENSION_NAME); }),
               list.end());
  if (out) std::copy_n(list.begin(), std::min<size_t>(*n, list.size()), out);
  *n = uint32_t(list.size());
  return VK_SUCCESS;
}
VKAPI_ATTR void VKAPI_CALL vkGetPhysicalDeviceFeatures2(VkPhysicalDevice d, VkPhysicalDeviceFeatures2* f) {
  REAL(vkGetPhysicalDeviceFeatures2)(d, f);
  for (auto* s = static_cast<VkBaseOutStructure*>(f->pNext); s; s = s->pNext)
    if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR)
      reinterpret_cast<VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR*>(s)->pipelineExecutableInfo =
          state.pretence.statistics;
}
VKAPI_ATTR VkResult VKAPI_CALL vkCreateDevice(VkPhysicalDevice d, const VkDeviceCreateInfo* i,
                                              const VkAllocationCallbacks* a, VkDevice* out) {
  state.log.device_extensions.assign(i->ppEnabledExtensionNames, i->ppEnabledExtensionNames + i->enabledExtensionCount);
  // The real driver has not heard of what is pretended.
  VkDeviceCreateInfo info = *i;
  std::vector<const char*> known;
  for (uint32_t e = 0; e < i->enabledExtensionCount; ++e)
    if (std::strcmp(i->ppEnabledExtensionNames[e], VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME) != 0)
      known.push_back(i->ppEnabledExtensionNames[e]);
  info.enabledExtensionCount = uint32_t(known.size());
  info.ppEnabledExtensionNames = known.data();
  auto* before = reinterpret_cast<VkBaseOutStructure*>(&info);
  while (before->pNext)
    if (before->pNext->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR)
      before->pNext = before->pNext->pNext;
    else before = before->pNext;
  return REAL(vkCreateDevice)(d, &info, a, out);
}
VKAPI_ATTR VkResult VKAPI_CALL vkCreateComputePipelines(VkDevice d, VkPipelineCache cache, uint32_t n,
                                                        const VkComputePipelineCreateInfo* i,
                                                        const VkAllocationCallbacks* a, VkPipeline* out) {
  VkComputePipelineCreateInfo info = *i;  // Vireo makes them one by one
  {
    const std::lock_guard<std::mutex> lock(state.mutex);
    state.log.pipelines.push_back(info.flags);
    if (state.pretence.fail_pipelines-- > 0) return VK_ERROR_OUT_OF_HOST_MEMORY;
  }
  info.flags &= ~VkPipelineCreateFlags(VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR);
  return REAL(vkCreateComputePipelines)(d, cache, n, &info, a, out);
}
VKAPI_ATTR VkResult VKAPI_CALL vkGetPipelineExecutablePropertiesKHR(VkDevice, const VkPipelineInfoKHR*, uint32_t* n,
                                                                    VkPipelineExecutablePropertiesKHR* p) {
  const Pretence& t = state.pretence;
  const uint32_t all = uint32_t(t.executables);
  for (uint32_t i = 0; p && i < std::min(*n, all); ++i) {
    std::snprintf(p[i].name, sizeof p[i].name, "compute %u", i);
    p[i].subgroupSize = t.subgroup_size;
  }
  *n = all;
  return t.answer;
}
VKAPI_ATTR VkResult VKAPI_CALL vkGetPipelineExecutableStatisticsKHR(VkDevice, const VkPipelineExecutableInfoKHR*,
                                                                    uint32_t* n, VkPipelineExecutableStatisticKHR* s) {
  const Pretence& t = state.pretence;
  for (uint32_t i = 0; s && i < std::min<size_t>(*n, t.list.size()); ++i) {
    std::snprintf(s[i].name, sizeof s[i].name, "%s", t.list[i].name);
    s[i].format = t.list[i].format;
    std::memcpy(&s[i].value, &t.list[i].bits, sizeof t.list[i].bits);
  }
  *n = uint32_t(t.list.size());
  return VK_SUCCESS;
}

// ---- ways in

VKAPI_ATTR VkResult VKAPI_CALL vkCreateInstance(const VkInstanceCreateInfo* i, const VkAllocationCallbacks* a,
                                                VkInstance* out) {
  state.log.instance_extensions.assign(i->ppEnabledExtensionNames,
                                       i->ppEnabledExtensionNames + i->enabledExtensionCount);
  return REAL(vkCreateInstance)(i, a, out);
}

PFN_vkVoidFunction mine(const char* name, PFN_vkVoidFunction theirs);
VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vkGetDeviceProcAddr(VkDevice d, const char* name) {
  return mine(name, REAL(vkGetDeviceProcAddr)(d, name));
}

struct Entry {
  const char* name;
  PFN_vkVoidFunction ours;
  bool made_up;  // works without the driver's
};
#define ENTRY(name, made_up) \
  { #name, reinterpret_cast < PFN_vkVoidFunction>(name), made_up }
const Entry kEntries[] = {
    ENTRY(vkBeginCommandBuffer, false),
    ENTRY(vkEndCommandBuffer, false),
    ENTRY(vkCmdPipelineBarrier, false),
    ENTRY(vkCmdBindPipeline, false),
    ENTRY(vkCmdBindDescriptorSets, false),
    ENTRY(vkCmdPushConstants, false),
    ENTRY(vkCmdDispatch, false),
    ENTRY(vkCmdWriteTimestamp, false),
    ENTRY(vkCmdResetQueryPool, false),
    ENTRY(vkQueueSubmit, false),
    ENTRY(vkSetDebugUtilsObjectNameEXT, false),
    ENTRY(vkCmdBeginDebugUtilsLabelEXT, false),
    ENTRY(vkCmdEndDebugUtilsLabelEXT, false),
    ENTRY(vkGetPhysicalDeviceToolPropertiesEXT, true),
    ENTRY(vkEnumerateDeviceExtensionProperties, false),
    ENTRY(vkGetPhysicalDeviceFeatures2, false),
    ENTRY(vkCreateDevice, false),
    ENTRY(vkCreateComputePipelines, false),
    ENTRY(vkGetPipelineExecutablePropertiesKHR, true),
    ENTRY(vkGetPipelineExecutableStatisticsKHR, true),
    ENTRY(vkCreateInstance, false),
    ENTRY(vkGetDeviceProcAddr, false),
};

PFN_vkVoidFunction mine(const char* name, PFN_vkVoidFunction theirs) {
  for (const Entry& e : kEntries)
    if (!std::strcmp(e.name, name)) {
      if (!theirs && !e.made_up) return nullptr;
      if (state.pretence.no_functions && std::strstr(name, "PipelineExecutable")) return nullptr;
      if (theirs) state.real[name] = theirs;
      return e.ours;
    }
  return theirs;
}

}  // namespace

bool Log::named(const std::string& text) const { return std::find(names.begin(), names.end(), text) != names.end(); }
Log& log() { return state.log; }
Pretence& pretence() { return state.pretence; }
void reset() {
  state.log = {};
  state.pretence = {};
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL loader(VkInstance instance, const char* name) {
  const Loader system = system_loader();
  if (!system.get_instance_proc_addr) return nullptr;
  return mine(name, system.get_instance_proc_addr(instance, name));
}

}  // namespace vireo::vk::hook
#endif  // VIREO_VULKAN
