// Executable::submit with a map's size: the plan's sized step (an argmax), and it alone, is recorded for that size,
// into memory that grows with the largest. Plan, pipelines and all other commands stay as they are.
#include "ops/tuning.h"
#include "vk/executable.h"
#include "vk/status.h"

namespace vireo::vk {

Result<std::vector<SizedDispatch>> Executable::sized_dispatches(int64_t h, int64_t w) const {
  const Step& step = plan_.steps[size_t(plan_.sized_step())];
  const Tuning tuning = tuning_for(plan_.caps);
  return op_def(step.op).sized(op_call(plan_, step), {&plan_.caps, &tuning}, h, w);
}

Result<void> Executable::make_map(int slot, int64_t h, int64_t w) {
  Map& m = own_->maps[size_t(slot)];
  if (m.h == h && m.w == w) return {};
  if (gpu_->lost() || !flights_[size_t(slot)].settle())
    return fail(
        ErrorCode::kDeviceLost,
        "{}: plan '{}': the device may still be busy with an inference that was given up, so its map cannot change",
        gpu_->caps().name, plan_.model);
  m.h = m.w = 0;  // until it is done
  m.drop_bindings(*gpu_);

  const int32_t number = plan_.sized_step();
  const Step& step = plan_.steps[size_t(number)];
  VIREO_ASSIGN(const std::vector<SizedDispatch> parts, sized_dispatches(h, w));
  const uint64_t bytes = parts.back().offset + parts.back().bytes;
  if (m.buffer.bytes() < bytes) {
    m.buffer = Buffer();  // before the larger one: both might not fit
    VIREO_ASSIGN(m.buffer, Buffer::create(*gpu_, {"map", bytes, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT,
                                                  MemoryUse::kHostAccess, plan_.model.c_str()}));
  }
  m.dispatches.clear();
  m.launches.clear();
  for (const SizedDispatch& part : parts) {
    VIREO_ASSIGN(PlanDispatch d, resolve_words(step.name, own_->map_pipeline->shader().reflection, part.dispatch));
    for (const Operand& o : part.dispatch.operands) {
      Binding b;
      b.kind = o.kind;
      b.source = {o.what, o.what == Operand::What::kOutput ? step.output : step.inputs[size_t(o.index)]};
      b.where = plan_.values[size_t(b.source.index)].where;
      d.bindings.push_back(b);
    }
    m.dispatches.push_back(std::move(d));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    Launch l;
    l.dispatch = &m.dispatches[i];
    l.step = number;
    l.pipeline = own_->map_pipeline;
    l.out = {m.buffer.handle(), parts[i].offset, parts[i].bytes};
    m.launches.push_back(std::move(l));
  }
  VIREO_TRY(bind(m.launches, &m.descriptors, &m.views));

  const DeviceTable& fn = gpu_->fn();
  if (!own_->map_commands) {
    auto pool = make<VkCommandPoolCreateInfo>(VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO);
    pool.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
    pool.queueFamilyIndex = gpu_->queue_family();
    const VkResult r =
        created(fn.vkCreateCommandPool(gpu_->handle(), &pool, nullptr, &own_->map_commands), &own_->map_commands);
    if (r != VK_SUCCESS) return fail_vk(r, "{}: creating a command pool for maps failed", gpu_->caps().name);
  }
  Segment before, last;
  before.first = segments_.back().first, before.last = last.first = number, last.last = number + 1;
  const auto allocate = [&](VkCommandBuffer* c, const char* what) -> Result<void> {
    auto info = make<VkCommandBufferAllocateInfo>(VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO);
    info.commandPool = own_->map_commands;
    info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
    info.commandBufferCount = 1;
    const VkResult r = created(fn.vkAllocateCommandBuffers(gpu_->handle(), &info, c), c);
    if (r != VK_SUCCESS) return fail_vk(r, "{}: allocating command buffers for its map failed", steps_text(last));
    gpu_->name(VK_OBJECT_TYPE_COMMAND_BUFFER, *c, "{}: {} a map of a chosen size, slot {}", plan_.model, what, slot);
    return {};
  };
  if (!m.commands[0] && before.first < before.last) {
    VkCommandBuffer c = VK_NULL_HANDLE;
    VIREO_TRY(allocate(&c, "up to"));
    VIREO_TRY(record(before, slot, c, own_->launches));
    m.commands[0] = c;  // once: it has nothing of the size
  }
  if (!m.commands[1]) VIREO_TRY(allocate(&m.commands[1], "of"));
  VIREO_TRY(record(last, slot, m.commands[1], m.launches));
  m.h = h, m.w = w;
  return {};
}

Result<void> Executable::submit(int slot, int64_t map_h, int64_t map_w) {
  const int32_t number = plan_.sized_step();
  if (number < 0 || options_.buffers.output)
    return fail(ErrorCode::kInvalidArgument, "plan '{}': its output's size was chosen, but it {}", plan_.model,
                number < 0 ? "is no map" : "goes to the application's buffer, whose size is fixed");
  if (slots_[size_t(slot)].pending) return submit(slot, nullptr);  // which says so
  if (plan_.steps[size_t(number)].device == DeviceKind::kCpu) return submit(slot, nullptr);
  VIREO_TRY(make_map(slot, map_h, map_w));
  return submit(slot, &own_->maps[size_t(slot)]);
}

}  // namespace vireo::vk
