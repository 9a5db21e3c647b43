// A Vulkan loader between Vireo and the system's: it writes down what is recorded, named and submitted, and can play a
// driver that offers more than the real one does.
#pragma once

#include <string>
#include <vector>

#include "vk/loader.h"

namespace vireo::vk::hook {

/// What went through since reset(). Texts hold no handles, so that equal work gives equal texts.
struct Log {
  std::vector<std::string> commands;  // "dispatch 4 1 1", in the order of recording, all command buffers
  std::vector<VkCommandBuffer> submitted;
  std::vector<std::string> names;   // "pipeline linear.tile (64 0 ...)"
  std::vector<std::string> labels;  // begun
  int labels_ended = 0;
  std::vector<VkPipelineCreateFlags> pipelines;                     // flags of each that was created
  std::vector<std::string> instance_extensions, device_extensions;  // enabled by the last creation

  bool named(const std::string& text) const;  // exactly
};

/// A statistic of the made-up VK_KHR_pipeline_executable_properties.
struct Statistic {
  const char* name;
  VkPipelineExecutableStatisticFormatKHR format;
  uint64_t bits;
};

/// What the loader pretends.
struct Pretence {
  bool watched = false;     // a capture tool that shows names (VK_EXT_tooling_info)
  bool statistics = false;  // VK_KHR_pipeline_executable_properties with the list below
  std::vector<Statistic> list;
  uint32_t subgroup_size = 32;
  int executables = 1;
  VkResult answer = VK_SUCCESS;  // of the queries
  bool no_functions = false;     // the extension is listed, its functions are not there
  bool no_shader_clock = false;  // hides VK_KHR_shader_clock
  int fail_pipelines = 0;        // this many creations fail first
};

Log& log();
Pretence& pretence();
void reset();  // forgets both
/// For InstanceOptions::loader. Null results where there is no system loader.
VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL loader(VkInstance instance, const char* name);

}  // namespace vireo::vk::hook
