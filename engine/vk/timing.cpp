// Executable::time: an inference with timestamps around its dispatches, and what those cost.
#include <algorithm>
#include <chrono>

#include "vk/executable.h"
#include "vk/status.h"

namespace vireo::vk {
namespace {

using Clock = std::chrono::steady_clock;

double us_since(Clock::time_point t) { return std::chrono::duration<double, std::micro>(Clock::now() - t).count(); }

}  // namespace

/// A query pool and a command buffer that go when the measurement is over.
struct Executable::Scratch final : Held {
  explicit Scratch(std::shared_ptr<Objects> executables) : own(std::move(executables)) {}
  ~Scratch() override {
    const Gpu& gpu = *own->gpu;
    if (commands) gpu.fn().vkFreeCommandBuffers(gpu.handle(), own->commands, 1, &commands);
    if (queries) gpu.fn().vkDestroyQueryPool(gpu.handle(), queries, nullptr);
  }
  uint64_t bytes() const override { return own->uncounted(); }
  VkResult prepare(uint32_t timestamps) {
    const Gpu& gpu = *own->gpu;
    auto pool = make<VkQueryPoolCreateInfo>(VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO);
    pool.queryType = VK_QUERY_TYPE_TIMESTAMP;
    pool.queryCount = timestamps;
    if (const VkResult r = created(gpu.fn().vkCreateQueryPool(gpu.handle(), &pool, nullptr, &queries), &queries);
        r != VK_SUCCESS)
      return r;
    auto info = make<VkCommandBufferAllocateInfo>(VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO);
    info.commandPool = own->commands;
    info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
    info.commandBufferCount = 1;
    return created(gpu.fn().vkAllocateCommandBuffers(gpu.handle(), &info, &commands), &commands);
  }
  const std::shared_ptr<Objects> own;  // of the executable
  VkCommandBuffer commands = VK_NULL_HANDLE;
  VkQueryPool queries = VK_NULL_HANDLE;
};

Result<void> Executable::expect_timestamps() const {
  if (!gpu_->caps().timestamps || gpu_->fault("timestamps") != VK_SUCCESS)
    return fail(ErrorCode::kUnsupported, "{}: its queue takes no timestamps, so dispatches cannot be timed one by one",
                gpu_->caps().name);
  return {};
}

Result<Executable::Times> Executable::time(Timing timing, size_t first, size_t last) {
  VIREO_TRY(expect_timestamps());
  VIREO_TRY(expect_idle());
  const DeviceTable& fn = gpu_->fn();
  const VkDevice device = gpu_->handle();
  Times times;
  std::vector<Span>& spans = times.spans;
  const Clock::time_point start = Clock::now();
  for (const Segment& segment : segments_) {
    if (segment.cpu) {
      const HostMemory memory = host_memory(0);
      for (int32_t i = segment.first; i < segment.last; ++i) {
        Span s{i, -1, true, us_since(start), 0};
        VIREO_TRY(options_.host_step(size_t(i), 0, memory));
        s.end_us = us_since(start);
        if (spans.empty()) times.begin_us = s.begin_us;
        times.end_us = s.end_us;
        spans.push_back(s);
      }
      continue;
    }
    const size_t before = spans.size();
    for (const Launch& l : own_->launches) {
      if (l.step < segment.first || l.step >= segment.last) continue;
      const int32_t of_step = spans.size() > before && spans.back().step == l.step ? spans.back().dispatch + 1 : 0;
      spans.push_back({l.step, of_step, false, 0, 0});
    }
    const bool empties = timing == Timing::kSerialised;
    const uint32_t count = (empties ? 4 : 2) * uint32_t(spans.size() - before);
    const auto scratch = std::make_shared<Scratch>(own_);
    if (const VkResult r = scratch->prepare(count); r != VK_SUCCESS)
      return fail_vk(r, "{}: {} timestamps", steps_text(segment), count);
    gpu_->name(VK_OBJECT_TYPE_COMMAND_BUFFER, scratch->commands, "{}: steps {} to {}, timed", plan_.model,
               segment.first, segment.last - 1);
    Stamps stamps;
    stamps.pool = scratch->queries;
    stamps.empties = empties;
    stamps.first = first > before ? first - before : 0;
    stamps.last = last > before ? last - before : 0;
    VIREO_TRY(record(segment, 0, scratch->commands, own_->launches, timing, &stamps));

    Segment timed = segment;
    timed.commands[0] = scratch->commands;
    const double at = us_since(start);
    VIREO_TRY(this->start(timed, 0, scratch));
    VIREO_TRY(finish(timed, 0));
    std::vector<uint64_t> ticks(stamps.used);
    const VkResult r =
        fn.vkGetQueryPoolResults(device, scratch->queries, 0, stamps.used, stamps.used * sizeof(uint64_t), ticks.data(),
                                 sizeof(uint64_t), VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    if (r != VK_SUCCESS) return fail_vk(r, "{}: reading timestamps failed", steps_text(segment));
    // Ticks count modulo the queue's valid bits: differences survive one turn of the counter.
    const uint32_t bits = gpu_->physical().timestamp_bits;
    const uint64_t mask = bits >= 64 ? ~uint64_t(0) : (uint64_t(1) << bits) - 1;
    const auto us = [&](uint32_t query) {
      return at + double((ticks[query] - ticks[0]) & mask) * double(gpu_->caps().timestamp_period_ns) * 1e-3;
    };
    if (before == 0) times.begin_us = us(stamps.launches.front().begin);
    times.end_us = us(stamps.launches.back().end);
    for (size_t i = 0; i < stamps.launches.size(); ++i) {
      const Stamps::Around& around = stamps.launches[i];
      Span& s = spans[before + i];
      s.timed = around.begin != Stamps::kNone && around.end != Stamps::kNone;
      if (!s.timed) continue;
      s.begin_us = us(around.begin), s.end_us = us(around.end);
      // The top of the pipe may run ahead of the barrier.
      const uint32_t last_end = !i        ? Stamps::kNone
                                : empties ? stamps.launches[i - 1].empty_end
                                          : stamps.launches[i - 1].end;
      if (around.waits && last_end != Stamps::kNone) s.begin_us = std::max(s.begin_us, us(last_end));
      if (around.empty_end != Stamps::kNone)
        times.empty_us.push_back(us(around.empty_end) - std::max(us(around.empty_begin), s.end_us));
    }
  }
  return times;
}

Result<double> Executable::launch_us() {
  VIREO_TRY(expect_idle());
  double us = 0;
  for (const Segment& segment : segments_) {
    if (segment.cpu) continue;
    const auto scratch = std::make_shared<Scratch>(own_);
    if (const VkResult r = scratch->prepare(1); r != VK_SUCCESS)
      return fail_vk(r, "{}: making room for commands failed", gpu_->caps().name);
    Segment nothing = segment;
    nothing.commands[0] = scratch->commands;
    VIREO_TRY(record(nothing, 0, scratch->commands, {}));
    const Clock::time_point start = Clock::now();
    VIREO_TRY(this->start(nothing, 0, scratch));
    VIREO_TRY(finish(nothing, 0));
    us += us_since(start);
  }
  return us;
}

Result<double> Executable::timestamp_us() {
  VIREO_TRY(expect_timestamps());
  VIREO_TRY(expect_idle());
  constexpr uint32_t kFew = 2, kMany = 66;
  constexpr int kTimes = 7;
  const DeviceTable& fn = gpu_->fn();
  double least[2] = {1e300, 1e300};
  for (int i = 0; i < 2 * kTimes; ++i) {
    const uint32_t count = i % 2 ? kMany : kFew;
    const auto scratch = std::make_shared<Scratch>(own_);
    if (const VkResult r = scratch->prepare(count); r != VK_SUCCESS)
      return fail_vk(r, "{}: making room for {} timestamps failed", gpu_->caps().name, count);
    const auto begin = make<VkCommandBufferBeginInfo>(VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO);
    VkResult r = fn.vkBeginCommandBuffer(scratch->commands, &begin);
    if (r != VK_SUCCESS) return fail_vk(r, "{}: recording timestamps failed", gpu_->caps().name);
    fn.vkCmdResetQueryPool(scratch->commands, scratch->queries, 0, count);
    for (uint32_t q = 0; q < count; ++q)
      fn.vkCmdWriteTimestamp(scratch->commands,
                             q % 2 ? VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT : VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT,
                             scratch->queries, q);
    r = fn.vkEndCommandBuffer(scratch->commands);
    if (r != VK_SUCCESS) return fail_vk(r, "{}: recording timestamps failed", gpu_->caps().name);
    Segment only = segments_.front();  // for texts of errors
    only.commands[0] = scratch->commands;
    const Clock::time_point start = Clock::now();
    VIREO_TRY(this->start(only, 0, scratch));
    VIREO_TRY(finish(only, 0));
    least[i % 2] = std::min(least[i % 2], us_since(start));
  }
  return std::max(0.0, (least[1] - least[0]) / (kMany - kFew));
}

}  // namespace vireo::vk
