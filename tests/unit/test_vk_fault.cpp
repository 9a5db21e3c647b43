#if VIREO_VULKAN
#include "test_vk_fault.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <set>
#include <tuple>

#include "test_vk_hook.h"

namespace vireo::vk::fault {
namespace {

constexpr VkResult kHost = VK_ERROR_OUT_OF_HOST_MEMORY, kDevice = VK_ERROR_OUT_OF_DEVICE_MEMORY,
                   kLost = VK_ERROR_DEVICE_LOST, kInit = VK_ERROR_INITIALIZATION_FAILED;

// What an answer means for the books.
enum class Kind { kPlain, kCreates, kSubmits, kWaits, kAsks, kIdles };

// name, kind, results
#define FAULT_CALLS(X)                                              \
  X(vkEnumerateInstanceVersion, kPlain, kHost)                      \
  X(vkEnumerateInstanceExtensionProperties, kPlain, kHost, kDevice) \
  X(vkEnumerateInstanceLayerProperties, kPlain, kHost, kDevice)     \
  X(vkCreateInstance, kCreates, kHost, kDevice, kInit)              \
  X(vkCreateDebugUtilsMessengerEXT, kCreates, kHost)                \
  X(vkEnumeratePhysicalDevices, kPlain, kHost, kDevice, kInit)      \
  X(vkEnumerateDeviceExtensionProperties, kPlain, kHost, kDevice)   \
  X(vkGetPhysicalDeviceToolPropertiesEXT, kPlain, kHost)            \
  X(vkCreateDevice, kCreates, kHost, kDevice, kInit, kLost)         \
  X(vkSetDebugUtilsObjectNameEXT, kPlain, kHost, kDevice)           \
  X(vkCreateBuffer, kCreates, kHost, kDevice)                       \
  X(vkCreateBufferView, kCreates, kHost, kDevice)                   \
  X(vkAllocateMemory, kCreates, kHost, kDevice)                     \
  X(vkBindBufferMemory, kPlain, kHost, kDevice)                     \
  X(vkMapMemory, kPlain, kHost, kDevice)                            \
  X(vkCreateShaderModule, kCreates, kHost, kDevice)                 \
  X(vkCreateDescriptorSetLayout, kCreates, kHost, kDevice)          \
  X(vkCreatePipelineLayout, kCreates, kHost, kDevice)               \
  X(vkCreatePipelineCache, kCreates, kHost, kDevice)                \
  X(vkGetPipelineCacheData, kPlain, kHost, kDevice)                 \
  X(vkCreateComputePipelines, kCreates, kHost, kDevice)             \
  X(vkGetPipelineExecutablePropertiesKHR, kPlain, kHost, kDevice)   \
  X(vkGetPipelineExecutableStatisticsKHR, kPlain, kHost, kDevice)   \
  X(vkCreateDescriptorPool, kCreates, kHost, kDevice)               \
  X(vkAllocateDescriptorSets, kPlain, kHost, kDevice)               \
  X(vkCreateCommandPool, kCreates, kHost, kDevice)                  \
  X(vkAllocateCommandBuffers, kPlain, kHost, kDevice)               \
  X(vkBeginCommandBuffer, kPlain, kHost, kDevice)                   \
  X(vkEndCommandBuffer, kPlain, kHost, kDevice)                     \
  X(vkCreateQueryPool, kCreates, kHost, kDevice)                    \
  X(vkGetQueryPoolResults, kPlain, kHost, kDevice, kLost)           \
  X(vkCreateFence, kCreates, kHost, kDevice)                        \
  X(vkResetFences, kPlain, kDevice)                                 \
  X(vkGetFenceStatus, kAsks, kHost, kDevice, kLost)                 \
  X(vkWaitForFences, kWaits, kHost, kDevice, kLost, VK_TIMEOUT)     \
  X(vkQueueSubmit, kSubmits, kHost, kDevice, kLost)                 \
  X(vkQueueWaitIdle, kIdles, kHost, kDevice, kLost)                 \
  X(vkDeviceWaitIdle, kIdles, kHost, kDevice, kLost)
// clang-format does not settle on one form of these.
// clang-format off
#define FAULT_DESTROYERS(X)                                                                          \
  X(vkDestroyInstance) X(vkDestroyDebugUtilsMessengerEXT) X(vkDestroyDevice) X(vkDestroyBuffer)      \
  X(vkDestroyBufferView) X(vkFreeMemory) X(vkDestroyShaderModule) X(vkDestroyDescriptorSetLayout)    \
  X(vkDestroyPipelineLayout) X(vkDestroyPipelineCache) X(vkDestroyPipeline) X(vkDestroyDescriptorPool) \
  X(vkDestroyCommandPool) X(vkDestroyQueryPool) X(vkDestroyFence) X(vkFreeCommandBuffers)

// What is noted about commands, so that it is known what a submission reaches.
#define FAULT_FOLLOWED(X)                                                                            \
  X(vkUpdateDescriptorSets) X(vkCmdBindDescriptorSets) X(vkCmdBindPipeline) X(vkCmdCopyBuffer)       \
  X(vkCmdFillBuffer) X(vkCmdResetQueryPool)
// clang-format on

using Object = std::pair<std::string, uint64_t>;  // type, handle

struct Submission {
  uint64_t fence = 0;
  bool over = false;
  std::set<Object> uses;  // command buffers, their pools, and what they reach: pipelines, queries, what is copied,
                          // descriptor sets and what is behind them
};

struct State {
  std::mutex mutex;  // pipelines are made by several threads
  Injection injection;
  std::map<std::string, VkResult> ailing;
  std::map<std::string, int> counts;
  std::vector<std::string> calls, problems;
  std::multiset<std::pair<std::string, uint64_t>> live;
  std::vector<Submission> submissions;
  std::map<Object, std::set<Object>>
      reaches;  // command buffers and descriptor sets; buffers their memory, views their buffer
  int injected = 0;
  bool begun = false;  // the injection was reached
} state;

/// What the call is to answer instead of being made; VK_SUCCESS: it is made.
VkResult next(const char* name) {
  const std::lock_guard<std::mutex> lock(state.mutex);
  const int count = ++state.counts[name];
  state.calls.emplace_back(name);
  const Injection& i = state.injection;
  const bool same = i.call == name;
  const bool reached = same && count == i.at;
  state.begun = state.begun || reached;
  bool fails = reached;
  if (i.mode == Mode::kFromThenOn) fails = same && state.begun;
  if (i.mode == Mode::kAllFromThenOn && state.begun) {
    const std::vector<VkResult>& may = allowed().at(name);
    fails = std::find(may.begin(), may.end(), i.result) != may.end();
  }
  if (fails) return ++state.injected, i.result;
  const auto ailing = state.ailing.find(name);
  return ailing == state.ailing.end() ? VK_SUCCESS : ailing->second;
}

std::string object_of(const char* call) {
  for (const char* prefix : {"vkCreateCompute", "vkCreate", "vkDestroy", "vkAllocate", "vkFree"})
    if (!std::strncmp(call, prefix, std::strlen(prefix))) {
      std::string type = call + std::strlen(prefix);
      return type == "Pipelines" ? "Pipeline" : type;
    }
  return call;
}

/// Every submission up to the last one of this fence; null: all.
void over(uint64_t fence) {
  size_t end = fence ? 0 : state.submissions.size();
  for (size_t i = 0; fence && i < state.submissions.size(); ++i)
    if (state.submissions[i].fence == fence) end = i + 1;
  for (size_t i = 0; i < end; ++i) state.submissions[i].over = true;
}

bool running(uint64_t fence) {  // null: any
  return std::any_of(state.submissions.begin(), state.submissions.end(),
                     [&](const Submission& s) { return !s.over && (!fence || s.fence == fence); });
}

bool running(const Object& used) {
  return std::any_of(state.submissions.begin(), state.submissions.end(),
                     [&](const Submission& s) { return !s.over && s.uses.count(used); });
}

void reach(const Object& from, std::set<Object>* all) {
  if (!all->insert(from).second) return;
  const auto at = state.reaches.find(from);
  if (at == state.reaches.end()) return;
  for (const Object& o : at->second) reach(o, all);
}

template <typename Call>
struct Real {
  static inline PFN_vkVoidFunction pointer = nullptr;
};
#define TAG(name, ...)                                           \
  struct Call_##name {                                           \
    using Pfn = PFN_##name;                                      \
    [[maybe_unused]] static constexpr const char* kName = #name; \
  };
FAULT_CALLS(TAG)
FAULT_DESTROYERS(TAG)
FAULT_FOLLOWED(TAG)
#undef TAG
template <typename Call>
typename Call::Pfn real() {
  return reinterpret_cast<typename Call::Pfn>(Real<Call>::pointer);
}

/// A device that is lost has stopped: before a wait answers so, what it runs must have ended.
template <Kind kKind, typename First>
void stop(First first) {
  if constexpr (kKind == Kind::kWaits || kKind == Kind::kAsks) real<Call_vkDeviceWaitIdle>()(first);
  if constexpr (kKind == Kind::kIdles && std::is_same_v<First, VkDevice>) real<Call_vkDeviceWaitIdle>()(first);
  if constexpr (kKind == Kind::kIdles && std::is_same_v<First, VkQueue>) real<Call_vkQueueWaitIdle>()(first);
}

template <Kind kKind, typename... A>
void note(const char* name, VkResult r, bool made, A... a) {
  const std::lock_guard<std::mutex> lock(state.mutex);
  const auto args = std::make_tuple(a...);
  const bool proof = r == VK_SUCCESS || r == VK_ERROR_DEVICE_LOST;
  if constexpr (kKind == Kind::kCreates)
    if (r == VK_SUCCESS && made) state.live.insert({object_of(name), bits_of(*std::get<sizeof...(A) - 1>(args))});
  if constexpr (kKind == Kind::kSubmits)
    if (proof) {  // lost: it may have begun
      Submission s{bits_of(std::get<3>(args)), false, {}};
      const VkSubmitInfo& info = *std::get<2>(args);
      for (uint32_t i = 0; i < info.commandBufferCount; ++i)
        reach({"CommandBuffer", bits_of(info.pCommandBuffers[i])}, &s.uses);
      state.submissions.push_back(std::move(s));
    }
  if constexpr (kKind == Kind::kWaits)
    if (proof) over(bits_of(*std::get<2>(args)));  // Vireo waits for one at a time
  if constexpr (kKind == Kind::kAsks)
    if (proof) over(bits_of(std::get<1>(args)));
  if constexpr (kKind == Kind::kIdles)
    if (proof) over(0);
}

// Which object reaches which; called with the mutex held.
template <typename Call, typename... A>
void follow(Call, A...) {}
void follow(Call_vkBindBufferMemory, VkDevice, VkBuffer b, VkDeviceMemory m, VkDeviceSize) {
  state.reaches[{"Buffer", bits_of(b)}] = {{"Memory", bits_of(m)}};
}
void follow(Call_vkCreateBufferView, VkDevice, const VkBufferViewCreateInfo* i, const VkAllocationCallbacks*,
            VkBufferView* v) {
  state.reaches[{"BufferView", bits_of(*v)}] = {{"Buffer", bits_of(i->buffer)}};
}
void follow(Call_vkAllocateDescriptorSets, VkDevice, const VkDescriptorSetAllocateInfo* i, VkDescriptorSet* sets) {
  for (uint32_t k = 0; k < i->descriptorSetCount; ++k)
    state.reaches[{"DescriptorSet", bits_of(sets[k])}] = {{"DescriptorPool", bits_of(i->descriptorPool)}};
}
void follow(Call_vkUpdateDescriptorSets, VkDevice, uint32_t n, const VkWriteDescriptorSet* w, uint32_t,
            const VkCopyDescriptorSet*) {
  for (uint32_t k = 0; k < n; ++k) {
    const Object set{"DescriptorSet", bits_of(w[k].dstSet)};
    if (running(set)) state.problems.push_back("vkUpdateDescriptorSets of a set that a submission uses");
    for (uint32_t d = 0; d < w[k].descriptorCount; ++d)
      state.reaches[set].insert(w[k].pTexelBufferView ? Object{"BufferView", bits_of(w[k].pTexelBufferView[d])}
                                                      : Object{"Buffer", bits_of(w[k].pBufferInfo[d].buffer)});
  }
}
void follow(Call_vkBeginCommandBuffer, VkCommandBuffer c, const VkCommandBufferBeginInfo*) {
  const Object commands{"CommandBuffer", bits_of(c)};
  if (running(commands)) state.problems.push_back("vkBeginCommandBuffer of commands that a submission uses");
  std::set<Object>& reached = state.reaches[commands];
  for (auto at = reached.begin(); at != reached.end();)
    at = at->first == "CommandPool" ? std::next(at) : reached.erase(at);
}
void follow(Call_vkAllocateCommandBuffers, VkDevice, const VkCommandBufferAllocateInfo* i, VkCommandBuffer* c) {
  for (uint32_t k = 0; k < i->commandBufferCount; ++k)
    state.reaches[{"CommandBuffer", bits_of(c[k])}] = {{"CommandPool", bits_of(i->commandPool)}};
}
void follow(Call_vkFreeCommandBuffers, VkDevice, VkCommandPool, uint32_t n, const VkCommandBuffer* c) {
  for (uint32_t k = 0; k < n; ++k)
    if (running(Object{"CommandBuffer", bits_of(c[k])}))
      state.problems.push_back("vkFreeCommandBuffers of commands that a submission uses");
}
void follow(Call_vkCmdBindPipeline, VkCommandBuffer c, VkPipelineBindPoint, VkPipeline p) {
  state.reaches[{"CommandBuffer", bits_of(c)}].insert({"Pipeline", bits_of(p)});
}
void follow(Call_vkCmdResetQueryPool, VkCommandBuffer c, VkQueryPool q, uint32_t, uint32_t) {
  state.reaches[{"CommandBuffer", bits_of(c)}].insert({"QueryPool", bits_of(q)});
}
void follow(Call_vkCmdBindDescriptorSets, VkCommandBuffer c, VkPipelineBindPoint, VkPipelineLayout, uint32_t,
            uint32_t n, const VkDescriptorSet* sets, uint32_t, const uint32_t*) {
  for (uint32_t k = 0; k < n; ++k)
    state.reaches[{"CommandBuffer", bits_of(c)}].insert({"DescriptorSet", bits_of(sets[k])});
}
void follow(Call_vkCmdCopyBuffer, VkCommandBuffer c, VkBuffer from, VkBuffer to, uint32_t, const VkBufferCopy*) {
  state.reaches[{"CommandBuffer", bits_of(c)}].insert({{"Buffer", bits_of(from)}, {"Buffer", bits_of(to)}});
}
void follow(Call_vkCmdFillBuffer, VkCommandBuffer c, VkBuffer b, VkDeviceSize, VkDeviceSize, uint32_t) {
  state.reaches[{"CommandBuffer", bits_of(c)}].insert({"Buffer", bits_of(b)});
}
void follow(Call_vkResetFences, VkDevice, uint32_t n, const VkFence* f) {
  for (uint32_t k = 0; k < n; ++k)
    if (running(bits_of(f[k]))) state.problems.push_back("vkResetFences of a fence that a submission uses");
}

template <typename Call, typename F>
struct Followed;
template <typename Call, typename... A>
struct Followed<Call, void(VKAPI_PTR*)(A...)> {
  static VKAPI_ATTR void VKAPI_CALL call(A... a) {
    {
      const std::lock_guard<std::mutex> lock(state.mutex);
      follow(Call{}, a...);
    }
    real<Call>()(a...);
  }
};

template <typename Call, Kind kKind, typename F>
struct Faulty;
template <typename Call, Kind kKind, typename... A>
struct Faulty<Call, kKind, VkResult(VKAPI_PTR*)(A...)> {
  static VKAPI_ATTR VkResult VKAPI_CALL call(A... a) {
    const VkResult wanted = next(Call::kName);
    if (wanted == VK_ERROR_DEVICE_LOST) stop<kKind>(std::get<0>(std::make_tuple(a...)));
    const VkResult r = wanted != VK_SUCCESS ? wanted : real<Call>()(a...);
    note<kKind>(Call::kName, r, wanted == VK_SUCCESS, a...);
    if (r == VK_SUCCESS) {
      const std::lock_guard<std::mutex> lock(state.mutex);
      follow(Call{}, a...);
    }
    return r;
  }
};

template <typename Call, typename F>
struct Destroyer;
template <typename Call, typename... A>
struct Destroyer<Call, void(VKAPI_PTR*)(A...)> {
  static VKAPI_ATTR void VKAPI_CALL call(A... a) {
    {
      const std::lock_guard<std::mutex> lock(state.mutex);
      const auto args = std::make_tuple(a...);
      const uint64_t handle = bits_of(std::get < sizeof...(A) == 2 ? 0 : 1 > (args));
      const std::string type = object_of(Call::kName);
      follow(Call{}, a...);
      const bool all = type == "Device" || type == "Instance";
      if (type == "Fence" ? running(handle) : all ? running(uint64_t(0)) : running(Object{type, handle}))
        state.problems.push_back(std::string(Call::kName) + " under a submission that nothing has proven to be over");
      if (type != "CommandBuffers" && handle) {
        const auto at = state.live.find({type, handle});
        if (at == state.live.end())
          state.problems.push_back(std::string(Call::kName) + " of what was never made, or twice");
        else state.live.erase(at);
      }
    }
    real<Call>()(a...);
  }
};

PFN_vkVoidFunction mine(const char* name, PFN_vkVoidFunction theirs);
VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL device_proc(VkDevice d, const char* name);
PFN_vkGetDeviceProcAddr real_device_proc = nullptr;

struct Entry {
  const char* name;
  PFN_vkVoidFunction ours;
  PFN_vkVoidFunction* theirs;
};
#define ENTRY(name, kind, ...)                                                                      \
  {#name, reinterpret_cast<PFN_vkVoidFunction>(&Faulty<Call_##name, Kind::kind, PFN_##name>::call), \
   &Real<Call_##name>::pointer},
#define FOLLOWED(name) \
  {#name, reinterpret_cast<PFN_vkVoidFunction>(&Followed<Call_##name, PFN_##name>::call), &Real<Call_##name>::pointer},
#define DESTROYER(name) \
  {#name, reinterpret_cast<PFN_vkVoidFunction>(&Destroyer<Call_##name, PFN_##name>::call), &Real<Call_##name>::pointer},
const Entry kEntries[] = {FAULT_CALLS(ENTRY) FAULT_DESTROYERS(DESTROYER) FAULT_FOLLOWED(FOLLOWED)};

PFN_vkVoidFunction mine(const char* name, PFN_vkVoidFunction theirs) {
  if (!theirs) return nullptr;
  if (!std::strcmp(name, "vkGetDeviceProcAddr")) {
    real_device_proc = reinterpret_cast<PFN_vkGetDeviceProcAddr>(theirs);
    return reinterpret_cast<PFN_vkVoidFunction>(&device_proc);
  }
  for (const Entry& e : kEntries)
    if (!std::strcmp(e.name, name)) {
      *e.theirs = theirs;
      return e.ours;
    }
  return theirs;
}
VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL device_proc(VkDevice d, const char* name) {
  return mine(name, real_device_proc(d, name));
}

}  // namespace

const std::map<std::string, std::vector<VkResult>>& allowed() {
#define ALLOWED(name, kind, ...) {#name, {__VA_ARGS__}},
  static const std::map<std::string, std::vector<VkResult>> table = {FAULT_CALLS(ALLOWED)};
  return table;
}

void reset(const Injection& injection) {
  const std::lock_guard<std::mutex> lock(state.mutex);
  for (const auto& [type, handle] : state.live) {
    if (type != "Device") continue;
    VkDevice device;
    std::memcpy(&device, &handle, sizeof device);
    real<Call_vkDeviceWaitIdle>()(device);
  }
  state.injection = injection;
  state.ailing.clear();
  state.counts.clear();
  state.calls.clear();
  state.problems.clear();
  state.live.clear();
  state.submissions.clear();
  state.reaches.clear();
  state.injected = 0;
  state.begun = false;
}

void ail(const std::string& call, VkResult result) {
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.ailing[call] = result;
}

std::vector<std::string> calls() { return state.calls; }
int injected() { return state.injected; }
bool unproven() { return running(uint64_t(0)); }
std::vector<std::string> problems() { return state.problems; }
std::vector<std::string> live() {
  std::vector<std::string> all;
  for (const auto& [type, handle] : state.live) all.push_back(type);
  return all;
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL loader(VkInstance instance, const char* name) {
  return mine(name, hook::loader(instance, name));
}

}  // namespace vireo::vk::fault
#endif  // VIREO_VULKAN
