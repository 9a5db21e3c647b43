#include "vk/executable.h"

#include <algorithm>

#include "vk/status.h"

namespace vireo::vk {
namespace {

constexpr uint64_t kDummyBytes = 256;

uint64_t align_up(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

}  // namespace

Result<std::unique_ptr<Executable>> Executable::create(std::shared_ptr<Gpu> gpu, const Plan& plan, const Graph& graph,
                                                       ThreadPool& pool, ExecutableOptions options) {
  std::unique_ptr<Executable> e(new Executable(std::move(gpu), plan, std::move(options)));
  if (e->options_.output_memory) {
    e->own_->output = std::move(e->options_.output_memory);
    e->options_.buffers.output = e->own_->output->handle();
  }
  VIREO_TRY(e->build(graph, pool));
  return e;
}

Result<void> Executable::build(const Graph& graph, ThreadPool& pool) {
  VIREO_TRY(check_options());
  // Memory before pipelines: running out of it is the likelier failure and the quicker one to see.
  VIREO_TRY(allocate(graph, pool));
  VIREO_TRY(clear_arena());
  VIREO_TRY(upload_weights(graph, pool));
  VIREO_TRY(make_pipelines(pool));
  VIREO_TRY(bind(own_->launches, &own_->descriptors, &own_->views));
  return record();
}

Result<void> Executable::check_options() const {
  if (plan_.device != DeviceKind::kVulkan)
    return fail(ErrorCode::kInternal, "plan '{}' is made for '{}', expected vulkan", plan_.model,
                to_string(plan_.device));
  if (plan_.has_cpu_steps() && !options_.host_step)
    return fail(ErrorCode::kInternal, "plan '{}' has steps on the CPU, but no function to run them was given",
                plan_.model);
  const SessionBuffers& b = options_.buffers;
  const uint64_t alignment = std::max(gpu_->caps().storage_alignment, gpu_->caps().texel_alignment);
  const auto check = [&](const char* what, VkBuffer buffer, VkDeviceSize offset, Region region) -> Result<void> {
    if (!buffer) return {};
    if (offset % alignment != 0)
      return fail(ErrorCode::kInvalidArgument,
                  "application's {} buffer: got offset {}, expected a multiple of {} on {}", what, offset, alignment,
                  gpu_->caps().name);
    const auto touches = [&](int32_t v) { return v >= 0 && plan_.values[size_t(v)].where.region == region; };
    for (const Step& s : plan_.steps)
      if (s.device == DeviceKind::kCpu && (touches(s.output) || std::any_of(s.inputs.begin(), s.inputs.end(), touches)))
        return fail(ErrorCode::kUnsupported,
                    "application's {} buffer: step '{}' is placed on the CPU ({}), which cannot reach it; use the "
                    "session's own",
                    what, s.name, s.reason);
    return {};
  };
  VIREO_TRY(check("input", b.input, b.input_offset, Region::kInput));
  return check("output", b.output, b.output_offset, Region::kOutput);
}

Result<void> Executable::allocate(const Graph& graph, ThreadPool& pool) {
  const uint64_t alignment = std::max<uint64_t>({256, gpu_->caps().storage_alignment, gpu_->caps().texel_alignment});
  VIREO_TRY(allocate_weights(graph, pool));
  const bool host_arena = options_.readable_arena || plan_.has_cpu_steps();
  dummy_offset_ = align_up(plan_.arena_bytes, alignment);
  VIREO_ASSIGN(own_->arena,
               Buffer::create(*gpu_, {"activations", dummy_offset_ + kDummyBytes, kStorageUsage,
                                      host_arena ? MemoryUse::kHostAccess : MemoryUse::kDevice, plan_.model.c_str()}));
  uint64_t bytes = 0;
  for (Slot& s : slots_) {
    s.input_offset = bytes;
    if (!options_.buffers.input) bytes += align_up(plan_.input_bytes, alignment);
    s.output_offset = bytes;
    if (!options_.buffers.output) bytes += align_up(plan_.output_bytes, alignment);
  }
  if (bytes) {
    VIREO_ASSIGN(own_->staging, Buffer::create(*gpu_, {"inputs and outputs", bytes, kStorageUsage,
                                                       MemoryUse::kHostAccess, plan_.model.c_str()}));
    std::fill_n(own_->staging.mapped(), bytes, uint8_t(0));
  }
  for (Flight& f : flights_) {
    const VkResult r = f.prepare();
    if (r != VK_SUCCESS) return fail_vk(r, "{}: creating a fence failed", gpu_->caps().name);
  }
  return {};
}

Result<void> Executable::read_from(std::shared_ptr<Buffer> memory) {
  VIREO_TRY(expect_idle("another input can be read"));
  const SessionBuffers before = options_.buffers;
  options_.buffers.input = memory->handle(), options_.buffers.input_offset = 0;
  if (Result<void> possible = check_options(); !possible) {
    options_.buffers = before;
    return possible;
  }
  for (Flight& f : flights_)
    if (!f.settle()) {
      options_.buffers = before;
      return fail(ErrorCode::kDeviceLost,
                  "{}: plan '{}': the device may still be busy with an inference that was given up", gpu_->caps().name,
                  plan_.model);
    }
  own_->drop_commands();
  segments_.clear();
  own_->input = std::move(memory);
  unrecorded_ = true;
  VIREO_TRY(bind(own_->launches, &own_->descriptors, &own_->views));
  VIREO_TRY(record());
  unrecorded_ = false;
  return {};
}

HostMemory Executable::host_memory(int slot) const {
  const Slot& s = slots_[size_t(slot)];
  HostMemory m;
  m.base[size_t(Region::kArena)] = own_->arena.mapped();
  m.base[size_t(Region::kWeights)] = own_->places.shared() ? nullptr : own_->weights->buffer.mapped();
  if (!consts_.empty()) m.consts = consts_.data();
  if (!options_.buffers.input && plan_.input_bytes)
    m.base[size_t(Region::kInput)] = own_->staging.mapped() + s.input_offset;
  if (!options_.buffers.output && plan_.output_bytes)
    m.base[size_t(Region::kOutput)] = own_->staging.mapped() + s.output_offset;
  return m;
}

const uint8_t* Executable::read(const BufferRef& where, int slot) const { return host_memory(slot).at(where); }

float* Executable::input(int slot) {
  if (plan_.inputs.empty()) return nullptr;
  return reinterpret_cast<float*>(host_memory(slot).at(plan_.values[size_t(plan_.inputs[0])].where));
}

const float* Executable::output(int slot) const {
  if (plan_.outputs.empty()) return nullptr;
  return reinterpret_cast<const float*>(host_memory(slot).at(plan_.values[size_t(plan_.outputs[0])].where));
}

std::string Executable::steps_text(const Segment& segment) const {
  return fmt::format("{}: plan '{}', steps {} '{}' to {} '{}'", gpu_->caps().name, plan_.model, segment.first,
                     plan_.steps[size_t(segment.first)].name, segment.last - 1,
                     plan_.steps[size_t(segment.last - 1)].name);
}

Result<void> Executable::expect_idle(const char* before) const {
  for (int slot = 0; slot < kSlots; ++slot)
    if (in_flight(slot))
      return fail(ErrorCode::kInvalidArgument, "plan '{}': slot {} is in flight; wait for it before {}", plan_.model,
                  slot, before);
  return {};
}

Result<void> Executable::start(const Segment& segment, int slot, std::shared_ptr<const Held> uses) {
  return start(segment, slot, &segment.commands[slot], 1, std::move(uses));
}

Result<void> Executable::start(const Segment& segment, int slot, const VkCommandBuffer* commands, uint32_t count,
                               std::shared_ptr<const Held> uses) {
  const VkResult r = flights_[slot].submit(commands, count, uses ? std::move(uses) : own_);
  if (r != VK_SUCCESS) return fail_vk(r, "{}: submitting failed", steps_text(segment));
  slots_[size_t(slot)].pending = true;
  return {};
}

Result<void> Executable::finish(const Segment& segment, int slot) {
  slots_[size_t(slot)].pending = false;
  const VkResult r = flights_[slot].wait(options_.timeout_s);
  if (r == VK_TIMEOUT)
    return fail(ErrorCode::kDeviceLost,
                "{}: no answer for {} seconds; the device hangs, or the model is too large for it (VIREO_TIMEOUT)",
                steps_text(segment), options_.timeout_s);
  if (r != VK_SUCCESS)
    return fail_vk(r, "{}: {}", steps_text(segment),
                   r == VK_ERROR_DEVICE_LOST
                       ? "the device was lost while running them (a dispatch too long for the system's "
                         "watchdog, or a driver fault)"
                       : "waiting for them failed");
  return {};
}

Result<void> Executable::run_cpu(const Segment& segment, int slot) {
  const HostMemory memory = host_memory(slot);
  for (int32_t i = segment.first; i < segment.last; ++i) VIREO_TRY(options_.host_step(size_t(i), slot, memory));
  return {};
}

Result<void> Executable::submit(int slot) { return submit(slot, nullptr); }

/// `map`: the output at a chosen size, of a sized step on the device.
Result<void> Executable::submit(int slot, const Map* map) {
  if (slots_[size_t(slot)].pending)
    return fail(ErrorCode::kInvalidArgument, "plan '{}': slot {} is still in flight; wait for it first", plan_.model,
                slot);
  if (unrecorded_)
    return fail(ErrorCode::kDeviceLost, "{}: plan '{}': its commands could not be recorded for another input",
                gpu_->caps().name, plan_.model);
  if (segments_.empty()) return {};
  const auto launch = [&](const Segment& segment) {
    if (!map || &segment != &segments_.back()) return start(segment, slot);
    const bool two = map->commands[0] != VK_NULL_HANDLE;
    return start(segment, slot, two ? &map->commands[0] : &map->commands[1], two ? 2 : 1);
  };
  if (segments_.size() == 1 && !segments_[0].cpu) return launch(segments_[0]);
  // The arena is one: what the other slot may still be doing there has to end before the host touches it.
  for (int other = 0; other < kSlots; ++other)
    if (other != slot) VIREO_TRY(wait(other));
  for (const Segment& segment : segments_) {
    if (segment.cpu) {
      VIREO_TRY(run_cpu(segment, slot));
    } else {
      VIREO_TRY(launch(segment));
      VIREO_TRY(finish(segment, slot));
    }
  }
  return {};
}

Result<void> Executable::wait(int slot) {
  if (!slots_[size_t(slot)].pending) return {};
  return finish(segments_[0], slot);
}

void Executable::Map::drop_bindings(const Gpu& gpu) {
  for (const VkBufferView v : views) gpu.fn().vkDestroyBufferView(gpu.handle(), v, nullptr);
  views.clear();
  if (descriptors) gpu.fn().vkDestroyDescriptorPool(gpu.handle(), descriptors, nullptr);
  descriptors = VK_NULL_HANDLE;
}

uint64_t Executable::Objects::bytes() const {
  uint64_t sum = (weights ? weights->buffer.bytes() : 0) + arena.bytes() + staging.bytes();
  if (input) sum += input->bytes();  // what writes into it counts its own part only
  for (const Map& m : maps) sum += m.buffer.bytes();
  return sum;
}

/// Everything that was recorded, and what it is bound to.
void Executable::Objects::drop_commands() {
  const DeviceTable& fn = gpu->fn();
  for (Map& m : maps) {
    m.drop_bindings(*gpu);
    m.h = m.w = 0;
    m.commands[0] = m.commands[1] = VK_NULL_HANDLE;
  }
  if (map_commands) fn.vkDestroyCommandPool(gpu->handle(), map_commands, nullptr);
  for (const VkBufferView v : views) fn.vkDestroyBufferView(gpu->handle(), v, nullptr);
  views.clear();
  if (descriptors) fn.vkDestroyDescriptorPool(gpu->handle(), descriptors, nullptr);
  if (commands) fn.vkDestroyCommandPool(gpu->handle(), commands, nullptr);
  map_commands = commands = VK_NULL_HANDLE;
  descriptors = VK_NULL_HANDLE;
}

Executable::Objects::~Objects() { drop_commands(); }

}  // namespace vireo::vk
