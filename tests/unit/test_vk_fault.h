// A Vulkan loader that answers for the driver: the n-th call of an entry point fails, once or from then on, with a
// result that the specification allows it. It keeps books besides: what was made and not destroyed, which submissions
// nothing has proven to be over, and what was destroyed, freed, recorded or written anew under one of those that may
// use it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "vk/loader.h"

namespace vireo::vk::fault {

enum class Mode : uint8_t {
  kOnce,
  kFromThenOn,     // the entry point, from this call on
  kAllFromThenOn,  // from this call on every entry point that may answer so
};

struct Injection {
  std::string call;  // "vkWaitForFences"; empty: none
  int at = 1;        // its first, second, ... call
  VkResult result = VK_SUCCESS;
  Mode mode = Mode::kOnce;
};

/// Entry points that return a VkResult, and those of the five results that the specification allows each (vk.xml of
/// Vulkan 1.3).
const std::map<std::string, std::vector<VkResult>>& allowed();

/// Forgets everything, waiting for devices that were left behind.
void reset(const Injection& injection);
/// Calls of `call` fail with `result` from now on, besides the injection.
void ail(const std::string& call, VkResult result);

/// Calls of entry points that return a VkResult since reset(), in order.
std::vector<std::string> calls();
int injected();                       // calls that failed by the injection
bool unproven();                      // a submission that no answer has proven to be over
std::vector<std::string> problems();  // "vkFreeMemory under a submission that may still run"
std::vector<std::string> live();      // "Buffer", ...: made and not destroyed

/// For InstanceOptions::loader; asks test_vk_hook's for the driver's functions.
VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL loader(VkInstance instance, const char* name);

}  // namespace vireo::vk::fault
