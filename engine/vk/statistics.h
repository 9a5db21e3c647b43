// What a driver's compiler says of pipelines (VK_KHR_pipeline_executable_properties), in its own words.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "vk/pipelines.h"

namespace vireo::vk {

struct PipelineStatistics {
  uint32_t subgroup_size = 0;
  /// By the driver's names, in its order; booleans are 0 or 1. Where a pipeline is several executables, the further
  /// ones' names begin with their own: "simd16: Instruction Count".
  std::vector<std::pair<std::string, double>> values;
};

/// Of one pipeline per request, in their order. They are compiled anew, on a device of their own that is opened for it
/// and closed: nothing that a session uses is made differently. Errors: kUnsupported (the driver does not offer the
/// extension), and what it answers.
Result<std::vector<PipelineStatistics>> pipeline_statistics(const std::shared_ptr<Instance>& instance, uint32_t device,
                                                            const std::vector<PipelineRequest>& requests,
                                                            ThreadPool& pool);

}  // namespace vireo::vk
