// Executable::phases: inferences with PHASES=1 shaders, whose workgroups note the time that they spend loading,
// computing and storing.
#include <algorithm>
#include <cstring>

#include "shader/modules.h"
#include "vk/executable.h"
#include "vk/status.h"

namespace vireo::vk {
namespace {

constexpr uint64_t kWorkgroupBytes = 16;  // load, compute, store, their sum: shaders/include/phases.glsl

uint64_t workgroups(const PlanDispatch& d) { return uint64_t(d.groups[0]) * d.groups[1] * d.groups[2]; }

}  // namespace

/// What the measurement makes for itself, and takes with it.
struct Executable::PhaseRun final : Held {
  explicit PhaseRun(std::shared_ptr<Objects> executables) : own(std::move(executables)) {}
  ~PhaseRun() override {
    const DeviceTable& fn = own->gpu->fn();
    for (const Segment& s : segments)
      if (s.commands[0]) fn.vkFreeCommandBuffers(own->gpu->handle(), own->commands, 1, &s.commands[0]);
    for (const VkBufferView v : views) fn.vkDestroyBufferView(own->gpu->handle(), v, nullptr);
    if (descriptors) fn.vkDestroyDescriptorPool(own->gpu->handle(), descriptors, nullptr);
  }
  uint64_t bytes() const override { return ticks.bytes() + own->uncounted(); }

  Result<void> prepare(Executable& e, ThreadPool& pool);

  const std::shared_ptr<Objects> own;  // of the executable
  std::vector<Launch> launches;
  std::vector<Segment> segments;
  std::vector<VkBufferView> views;
  VkDescriptorPool descriptors = VK_NULL_HANDLE;
  Buffer ticks;
};

Result<void> Executable::PhaseRun::prepare(Executable& e, ThreadPool& pool) {
  const Gpu& gpu = *e.gpu_;
  const uint64_t alignment = std::max<uint64_t>(256, gpu.caps().storage_alignment);
  uint64_t bytes = 0;
  std::vector<std::string> shaders(e.own_->launches.size());
  std::vector<PipelineRequest> requests;
  std::vector<size_t> asked;
  for (size_t i = 0; i < e.own_->launches.size(); ++i) {
    Launch l;
    l.dispatch = e.own_->launches[i].dispatch, l.step = e.own_->launches[i].step;
    shaders[i] = l.dispatch->shader + ".PHASES=1";
    const uint64_t size = workgroups(*l.dispatch) * kWorkgroupBytes;
    if (shader::find(shaders[i]) && size <= gpu.caps().max_storage_range) {
      l.ticks = {VK_NULL_HANDLE, bytes, size};
      bytes += (size + alignment - 1) / alignment * alignment;
      requests.push_back({&shaders[i], &l.dispatch->spec, e.plan_.steps[size_t(l.step)].name.c_str()});
      asked.push_back(i);
    } else {
      l.pipeline = e.own_->launches[i].pipeline;
    }
    launches.push_back(std::move(l));
  }
  // No cache file: the session's own keeps what sessions need.
  std::vector<std::string> notes;
  VIREO_ASSIGN(std::vector<PipelinePtr> pipelines, e.gpu_->pipelines().get(requests, pool, "", &notes));
  if (bytes) {
    VIREO_ASSIGN(ticks, Buffer::create(gpu, {"phases", bytes, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT,
                                             MemoryUse::kHostAccess, e.plan_.model.c_str()}));
  }
  for (size_t i = 0; i < asked.size(); ++i) {
    launches[asked[i]].pipeline = std::move(pipelines[i]);
    launches[asked[i]].ticks.buffer = ticks.handle();
  }
  VIREO_TRY(e.bind(launches, &descriptors, &views));
  for (const Segment& from : e.segments_) {
    Segment s;
    s.first = from.first, s.last = from.last, s.cpu = from.cpu;
    segments.push_back(s);
    if (s.cpu) continue;
    auto info = make<VkCommandBufferAllocateInfo>(VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO);
    info.commandPool = e.own_->commands;
    info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
    info.commandBufferCount = 1;
    VkCommandBuffer& c = segments.back().commands[0];
    const VkResult r = created(gpu.fn().vkAllocateCommandBuffers(gpu.handle(), &info, &c), &c);
    if (r != VK_SUCCESS) return fail_vk(r, "{}: allocating command buffers failed", e.steps_text(s));
    gpu.name(VK_OBJECT_TYPE_COMMAND_BUFFER, c, "{}: steps {} to {}, phases", e.plan_.model, s.first, s.last - 1);
    VIREO_TRY(e.record(s, 0, c, launches, Timing::kSerialised));
  }
  return {};
}

Result<void> Executable::run(const std::shared_ptr<PhaseRun>& run) {
  if (run->ticks.mapped()) std::memset(run->ticks.mapped(), 0, run->ticks.bytes());
  for (const Segment& s : run->segments) {
    if (s.cpu) {
      VIREO_TRY(run_cpu(s, 0));
      continue;
    }
    VIREO_TRY(start(s, 0, run));
    VIREO_TRY(finish(s, 0));
  }
  return {};
}

Result<std::vector<Executable::Phases>> Executable::phases(int runs, ThreadPool& pool) {
  if (!gpu_->caps().shader_clock)
    return fail(ErrorCode::kUnsupported,
                "{}: its driver offers no shader clock (VK_KHR_shader_clock), so what happens inside a dispatch cannot "
                "be timed",
                gpu_->caps().name);
  VIREO_TRY(expect_idle());
  const auto made = std::make_shared<PhaseRun>(own_);
  PhaseRun& own = *made;
  VIREO_TRY(own.prepare(*this, pool));

  std::vector<Phases> all;
  std::vector<size_t> place;  // in `all`, by launch
  size_t next = 0;
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    if (plan_.steps[s].device == DeviceKind::kCpu) {
      all.push_back({});
      all.back().step = int32_t(s);
      continue;
    }
    for (size_t d = 0; d < plan_.steps[s].dispatches.size(); ++d, ++next) {
      Phases p;
      p.step = int32_t(s), p.dispatch = int32_t(d);
      if (own.launches[next].ticks.bytes) p.workgroups = uint32_t(workgroups(*own.launches[next].dispatch));
      place.push_back(all.size());
      all.push_back(p);
    }
  }
  for (int i = 0; i < runs; ++i) {
    VIREO_TRY(run(made));
    for (size_t l = 0; l < own.launches.size(); ++l) {
      Phases& p = all[place[l]];
      if (!p.workgroups) continue;
      Phases::Run& run = p.runs.emplace_back();
      const uint8_t* from = own.ticks.mapped() + own.launches[l].ticks.offset;
      for (uint32_t w = 0; w < p.workgroups; ++w, from += kWorkgroupBytes) {
        uint32_t words[4];
        std::memcpy(words, from, sizeof words);
        for (size_t k = 0; k < 3; ++k)
          run.sum[k] += words[k], run.largest[k] = std::max<double>(run.largest[k], words[k]);
      }
    }
  }
  return all;
}

}  // namespace vireo::vk
