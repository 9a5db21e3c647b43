#include "vk/statistics.h"

#include <algorithm>
#include <cstring>

#include "vk/status.h"

namespace vireo::vk {
namespace {

std::string text(const char* s, size_t size) { return std::string(s, strnlen(s, size)); }

double number(const VkPipelineExecutableStatisticKHR& s) {
  switch (s.format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR: return s.value.b32 ? 1 : 0;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR: return double(s.value.i64);
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR: return double(s.value.u64);
    default: return s.value.f64;
  }
}

/// The two calls of a Vulkan list; VK_INCOMPLETE, one that grew in between, is what there is.
template <typename T, typename Call>
VkResult list(std::vector<T>* all, VkStructureType type, Call&& call) {
  uint32_t n = 0;
  VkResult r = call(&n, static_cast<T*>(nullptr));
  if (r != VK_SUCCESS) return r;
  all->assign(n, make<T>(type));
  r = n ? call(&n, all->data()) : VK_SUCCESS;
  all->resize(std::min<size_t>(n, all->size()));
  return r == VK_INCOMPLETE ? VK_SUCCESS : r;
}

Result<PipelineStatistics> read(const Gpu& gpu, const Pipeline& pipeline) {
  const DeviceTable& fn = gpu.fn();
  const auto failed = [&](VkResult r) {
    return fail_vk(r, "{}: asking what its compiler made of shader '{}' failed", gpu.caps().name,
                   pipeline.shader().name);
  };
  auto which = make<VkPipelineInfoKHR>(VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR);
  which.pipeline = pipeline.handle();
  std::vector<VkPipelineExecutablePropertiesKHR> executables;
  VkResult r = list(&executables, VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR,
                    [&](uint32_t* n, VkPipelineExecutablePropertiesKHR* p) {
                      return fn.vkGetPipelineExecutablePropertiesKHR(gpu.handle(), &which, n, p);
                    });
  if (r != VK_SUCCESS) return failed(r);
  PipelineStatistics s;
  for (uint32_t i = 0; i < executables.size(); ++i) {
    if (i == 0) s.subgroup_size = executables[i].subgroupSize;
    const std::string prefix = i ? text(executables[i].name, sizeof executables[i].name) + ": " : "";
    auto info = make<VkPipelineExecutableInfoKHR>(VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR);
    info.pipeline = pipeline.handle();
    info.executableIndex = i;
    std::vector<VkPipelineExecutableStatisticKHR> values;
    r = list(&values, VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR,
             [&](uint32_t* n, VkPipelineExecutableStatisticKHR* v) {
               return fn.vkGetPipelineExecutableStatisticsKHR(gpu.handle(), &info, n, v);
             });
    if (r != VK_SUCCESS) return failed(r);
    for (const auto& v : values) s.values.emplace_back(prefix + text(v.name, sizeof v.name), number(v));
  }
  return s;
}

}  // namespace

Result<std::vector<PipelineStatistics>> pipeline_statistics(const std::shared_ptr<Instance>& instance, uint32_t device,
                                                            const std::vector<PipelineRequest>& requests,
                                                            ThreadPool& pool) {
  if (device >= instance->devices().size() || !instance->devices()[device].ext_executable_properties)
    return fail(ErrorCode::kUnsupported, "not offered by this driver");
  GpuOptions options;
  options.statistics = true;
  VIREO_ASSIGN(const std::shared_ptr<Gpu> gpu, Gpu::open(instance, device, options));
  if (!gpu->fn().vkGetPipelineExecutablePropertiesKHR || !gpu->fn().vkGetPipelineExecutableStatisticsKHR)
    return fail(ErrorCode::kUnsupported,
                "{}: its driver lists VK_KHR_pipeline_executable_properties and lacks the functions; update it",
                gpu->caps().name);
  std::vector<std::string> notes;
  // The store compiles equal requests once; no cache file, which might hand out binaries without statistics.
  VIREO_ASSIGN(const std::vector<PipelinePtr> pipelines, gpu->pipelines().get(requests, pool, "", &notes));
  std::vector<PipelineStatistics> all;
  for (size_t i = 0; i < pipelines.size(); ++i) {
    const auto same = std::find(pipelines.begin(), pipelines.begin() + ptrdiff_t(i), pipelines[i]);
    if (same != pipelines.begin() + ptrdiff_t(i)) {
      all.push_back(all[size_t(same - pipelines.begin())]);
      continue;
    }
    VIREO_ASSIGN(PipelineStatistics one, read(*gpu, *pipelines[i]));
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace vireo::vk
