// From plan to command buffers: pipelines, descriptor sets (equal ones shared), barriers, dispatches.
#include <algorithm>
#include <cstring>
#include <map>
#include <optional>

#include "vk/executable.h"
#include "vk/status.h"

namespace vireo::vk {
namespace {

struct Texel {
  VkFormat format;
  uint64_t bytes;
};

Texel texel_of(BindKind kind) {
  switch (kind) {
    case BindKind::kTexelF16: return {VK_FORMAT_R16G16B16A16_SFLOAT, 8};
    case BindKind::kTexelSnorm8: return {VK_FORMAT_R8G8B8A8_SNORM, 4};
    default: return {VK_FORMAT_R32G32B32A32_SFLOAT, 16};
  }
}

/// What one binding of a set refers to.
struct Bound {
  uint32_t binding;
  BindKind kind;
  VkBuffer buffer;
  uint64_t offset, bytes;
};

}  // namespace

Result<void> Executable::make_pipelines(ThreadPool& pool) {
  std::vector<PipelineRequest> requests;
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    const Step& step = plan_.steps[s];
    if (step.device == DeviceKind::kCpu) continue;
    for (const PlanDispatch& d : step.dispatches) {
      Launch l;
      l.dispatch = &d;
      l.step = int32_t(s);
      own_->launches.push_back(std::move(l));
      requests.push_back({&d.shader, &d.spec, step.name.c_str()});
    }
  }
  // One pipeline more for an output whose size is chosen later: it is the same for all sizes.
  std::optional<PlanDispatch> sized;
  if (const int32_t s = plan_.sized_step();
      s >= 0 && plan_.steps[size_t(s)].device == DeviceKind::kVulkan && !options_.buffers.output) {
    const Shape& planned = plan_.values[size_t(plan_.outputs[0])].desc.shape;
    VIREO_ASSIGN(const std::vector<SizedDispatch> parts, sized_dispatches(planned.h(), planned.w()));
    VIREO_ASSIGN(sized, resolve_words(plan_.steps[size_t(s)].name, parts[0].dispatch));
    requests.push_back({&sized->shader, &sized->spec, plan_.steps[size_t(s)].name.c_str()});
  }
  VIREO_ASSIGN(std::vector<PipelinePtr> pipelines,
               gpu_->pipelines().get(requests, pool, options_.cache_dir, &notes_, options_.compiles));
  if (sized) own_->map_pipeline = std::move(pipelines.back());
  for (size_t i = 0; i < own_->launches.size(); ++i) own_->launches[i].pipeline = std::move(pipelines[i]);
  return {};
}

Executable::Range Executable::resolve(const BufferRef& where, int slot) const {
  if (where.bytes == 0) return {own_->arena.handle(), dummy_offset_, own_->arena.bytes() - dummy_offset_};
  const Slot& s = slots_[size_t(slot)];
  const SessionBuffers& b = options_.buffers;
  switch (where.region) {
    case Region::kWeights: return const_range(where);
    case Region::kInput:
      return b.input ? Range{b.input, b.input_offset + where.offset, where.bytes}
                     : Range{own_->staging.handle(), s.input_offset + where.offset, where.bytes};
    case Region::kOutput:
      return b.output ? Range{b.output, b.output_offset + where.offset, where.bytes}
                      : Range{own_->staging.handle(), s.output_offset + where.offset, where.bytes};
    case Region::kArena: break;
  }
  return {own_->arena.handle(), where.offset, where.bytes};
}

Result<void> Executable::check_binding(const Step& step, const PlanDispatch& d, const shader::Binding& declared) const {
  const auto broken = [&](const std::string& what) {
    return fail(ErrorCode::kInternal, "plan '{}', step '{}', shader '{}', binding {}: {}", plan_.model, step.name,
                d.shader, declared.binding, what);
  };
  if (declared.binding >= d.bindings.size())
    return broken(fmt::format("the shader declares it, the plan gives {} bindings", d.bindings.size()));
  const Binding& b = d.bindings[declared.binding];
  const bool texel = b.kind != BindKind::kStorage;
  if (texel != (declared.kind == shader::BindingKind::kTexel))
    return broken(
        fmt::format("the plan binds a {} buffer, the shader declares the other kind", texel ? "texel" : "storage"));
  if (b.where.bytes == 0) return {};
  const uint64_t sizes[] = {plan_.arena_bytes, plan_.weights_bytes, plan_.input_bytes, plan_.output_bytes};
  const uint64_t size = sizes[size_t(b.where.region)];
  if (b.where.offset > size || b.where.bytes > size - b.where.offset)
    return broken(fmt::format("bytes {}..{} lie outside of {}, which has {}", b.where.offset,
                              b.where.offset + b.where.bytes, to_string(b.where.region), size));
  const DeviceCaps& c = gpu_->caps();
  const uint32_t alignment = texel ? c.texel_alignment : c.storage_alignment;
  if (b.where.offset % alignment != 0)
    return broken(fmt::format("got offset {}, expected a multiple of {}", b.where.offset, alignment));
  const uint64_t unit = texel ? texel_of(b.kind).bytes : 4;
  if (texel && b.where.bytes % unit != 0)
    return broken(fmt::format("got {} bytes, expected a multiple of {}", b.where.bytes, unit));
  if (texel ? b.where.bytes / unit > c.max_texel_elements : b.where.bytes > c.max_storage_range)
    return broken(fmt::format("{} bytes at once are more than the device binds", b.where.bytes));
  return {};
}

Result<void> Executable::bind(std::vector<Launch>& launches, VkDescriptorPool* descriptors,
                              std::vector<VkBufferView>* views_made) {
  const DeviceTable& fn = gpu_->fn();
  const VkDevice device = gpu_->handle();
  const auto failed = [this](VkResult r, const char* what) {
    return fail_vk(r, "{}: plan '{}': creating {} failed", gpu_->caps().name, plan_.model, what);
  };

  // Which sets are needed. The slots differ only in what touches input or output, so most sets serve both.
  struct Set {
    const Shader* shader;
    const std::string* step;  // the first that uses it
    std::vector<Bound> slots;
    VkDescriptorSet handle = VK_NULL_HANDLE;
  };
  std::vector<Set> sets;
  std::map<std::vector<uint64_t>, size_t> set_index;
  std::vector<std::array<size_t, kSlots>> used(launches.size());
  uint32_t storage = 0, texels = 0;
  for (size_t i = 0; i < launches.size(); ++i) {
    const Launch& l = launches[i];
    const Shader& shader = l.pipeline->shader();
    const auto is_extra = [&l](const shader::Binding& b) {
      return l.ticks.bytes && b.binding == l.dispatch->bindings.size();
    };
    for (const shader::Binding& b : shader.reflection.bindings)
      if (!is_extra(b)) VIREO_TRY(check_binding(plan_.steps[size_t(l.step)], *l.dispatch, b));
    for (int slot = 0; slot < kSlots; ++slot) {
      Set set{&shader, &plan_.steps[size_t(l.step)].name, {}};
      std::vector<uint64_t> key{bits_of(shader.set_layout)};
      for (const shader::Binding& b : shader.reflection.bindings) {
        const BindKind kind = is_extra(b) ? BindKind::kStorage : l.dispatch->bindings[b.binding].kind;
        const bool elsewhere =
            l.out.bytes && !is_extra(b) && l.dispatch->bindings[b.binding].source.what == Operand::What::kOutput;
        const Range r = is_extra(b) ? l.ticks
                        : elsewhere ? l.out
                                    : resolve(l.dispatch->bindings[b.binding].where, slot);
        set.slots.push_back({b.binding, kind, r.buffer, r.offset, r.bytes});
        key.insert(key.end(), {uint64_t(kind), bits_of(r.buffer), r.offset, r.bytes});
      }
      const auto [it, added] = set_index.emplace(std::move(key), sets.size());
      used[i][size_t(slot)] = it->second;
      if (!added) continue;
      for (const Bound& s : set.slots) ++(s.kind == BindKind::kStorage ? storage : texels);
      sets.push_back(std::move(set));
    }
  }
  if (sets.empty()) return {};

  std::vector<VkDescriptorPoolSize> sizes;
  if (storage) sizes.push_back({VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, storage});
  if (texels) sizes.push_back({VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, texels});
  auto pool = make<VkDescriptorPoolCreateInfo>(VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO);
  pool.maxSets = uint32_t(sets.size());
  pool.poolSizeCount = uint32_t(sizes.size());
  pool.pPoolSizes = sizes.data();
  VkResult r = created(fn.vkCreateDescriptorPool(device, &pool, nullptr, descriptors), descriptors);
  if (r != VK_SUCCESS) return failed(r, "the descriptor pool");

  std::map<std::array<uint64_t, 4>, VkBufferView> views;  // by buffer, format, offset, bytes
  std::vector<VkDescriptorBufferInfo> buffer_infos;
  std::vector<VkBufferView> view_infos;
  std::vector<VkWriteDescriptorSet> writes;
  for (Set& set : sets) {
    auto info = make<VkDescriptorSetAllocateInfo>(VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO);
    info.descriptorPool = *descriptors;
    info.descriptorSetCount = 1;
    info.pSetLayouts = &set.shader->set_layout;
    r = fn.vkAllocateDescriptorSets(device, &info, &set.handle);
    if (r != VK_SUCCESS) return failed(r, "a descriptor set");
    gpu_->name(VK_OBJECT_TYPE_DESCRIPTOR_SET, set.handle, "{}: {}", plan_.model, *set.step);
    writes.clear();
    buffer_infos.assign(set.slots.size(), {});
    view_infos.assign(set.slots.size(), VK_NULL_HANDLE);
    for (size_t i = 0; i < set.slots.size(); ++i) {
      const Bound& s = set.slots[i];
      auto write = make<VkWriteDescriptorSet>(VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET);
      write.dstSet = set.handle;
      write.dstBinding = s.binding;
      write.descriptorCount = 1;
      if (s.kind == BindKind::kStorage) {
        buffer_infos[i] = {s.buffer, s.offset, s.bytes};
        write.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
        write.pBufferInfo = &buffer_infos[i];
      } else {
        const VkFormat format = texel_of(s.kind).format;
        VkBufferView& view = views[{bits_of(s.buffer), uint64_t(format), s.offset, s.bytes}];
        if (!view) {
          auto create = make<VkBufferViewCreateInfo>(VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO);
          create.buffer = s.buffer;
          create.format = format;
          create.offset = s.offset;
          create.range = s.bytes;
          r = fn.vkCreateBufferView(device, &create, nullptr, &view);
          if (r != VK_SUCCESS) return failed(r, "a texel buffer view");
          views_made->push_back(view);
          gpu_->name(VK_OBJECT_TYPE_BUFFER_VIEW, view, "{}: {}, binding {}", plan_.model, *set.step, s.binding);
        }
        view_infos[i] = view;
        write.descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
        write.pTexelBufferView = &view_infos[i];
      }
      writes.push_back(write);
    }
    fn.vkUpdateDescriptorSets(device, uint32_t(writes.size()), writes.data(), 0, nullptr);
  }
  for (size_t i = 0; i < launches.size(); ++i)
    for (size_t slot = 0; slot < kSlots; ++slot) launches[i].sets[slot] = sets[used[i][slot]].handle;
  return {};
}

Result<void> Executable::record() {
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    const bool cpu = plan_.steps[s].device == DeviceKind::kCpu;
    if (segments_.empty() || segments_.back().cpu != cpu) {
      segments_.push_back({});
      segments_.back().first = int32_t(s);
      segments_.back().cpu = cpu;
    }
    segments_.back().last = int32_t(s) + 1;
  }
  const DeviceTable& fn = gpu_->fn();
  auto pool = make<VkCommandPoolCreateInfo>(VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO);
  pool.queueFamilyIndex = gpu_->queue_family();
  VkResult r = created(fn.vkCreateCommandPool(gpu_->handle(), &pool, nullptr, &own_->commands), &own_->commands);
  if (r != VK_SUCCESS) return fail_vk(r, "{}: creating a command pool failed", gpu_->caps().name);
  for (Segment& segment : segments_) {
    if (segment.cpu) continue;
    auto info = make<VkCommandBufferAllocateInfo>(VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO);
    info.commandPool = own_->commands;
    info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
    info.commandBufferCount = kSlots;
    r = fn.vkAllocateCommandBuffers(gpu_->handle(), &info, segment.commands);
    if (r != VK_SUCCESS) return fail_vk(r, "{}: allocating command buffers failed", steps_text(segment));
    for (int slot = 0; slot < kSlots; ++slot) {
      gpu_->name(VK_OBJECT_TYPE_COMMAND_BUFFER, segment.commands[slot], "{}: steps {} to {}, slot {}", plan_.model,
                 segment.first, segment.last - 1, slot);
      VIREO_TRY(record(segment, slot, segment.commands[slot], own_->launches));
    }
  }
  return {};
}

Result<void> Executable::record(const Segment& segment, int slot, VkCommandBuffer c,
                                const std::vector<Launch>& launches, Timing order, Stamps* stamps) {
  const DeviceTable& fn = gpu_->fn();
  const InstanceTable& debug = gpu_->instance().fn();
  const bool labels = gpu_->instance().labels();
  const bool shared = options_.buffers.input || options_.buffers.output;  // with the application's own commands
  const auto barrier = [&](VkPipelineStageFlags from, VkAccessFlags wrote, VkPipelineStageFlags to,
                           VkAccessFlags will) {
    auto b = make<VkMemoryBarrier>(VK_STRUCTURE_TYPE_MEMORY_BARRIER);
    b.srcAccessMask = wrote;
    b.dstAccessMask = will;
    fn.vkCmdPipelineBarrier(c, from, to, 0, 1, &b, 0, nullptr, 0, nullptr);
  };
  constexpr VkAccessFlags kReadWrite = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;

  const auto begin = make<VkCommandBufferBeginInfo>(VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO);
  VkResult r = fn.vkBeginCommandBuffer(c, &begin);
  if (r != VK_SUCCESS) return fail_vk(r, "{}: recording failed", steps_text(segment));

  const auto inside = [&](const Launch& l) { return l.step >= segment.first && l.step < segment.last; };
  const size_t count = size_t(std::count_if(launches.begin(), launches.end(), inside));
  if (stamps) fn.vkCmdResetQueryPool(c, stamps->pool, 0, (stamps->empties ? 4 : 2) * uint32_t(count));
  const auto stamp = [&](VkPipelineStageFlagBits stage) {
    fn.vkCmdWriteTimestamp(c, stage, stamps->pool, stamps->used);
    return stamps->used++;
  };

  // Both slots use the one arena: this inference starts when the commands submitted before it are through.
  if (shared)
    barrier(VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_ACCESS_MEMORY_WRITE_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
            kReadWrite);
  else
    barrier(VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
            VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
            kReadWrite);

  VkPipeline bound = VK_NULL_HANDLE;
  auto next = std::lower_bound(plan_.barriers.begin(), plan_.barriers.end(), segment.first,
                               [](const Barrier& b, int32_t step) { return b.before_step < step; });
  for (const Launch& l : launches) {
    if (!inside(l)) continue;
    bool wait = order == Timing::kSerialised;
    for (; next != plan_.barriers.end() && next->before_step <= l.step; ++next) wait = true;
    if (wait)
      barrier(VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
              kReadWrite);
    if (labels) {
      auto label = make<VkDebugUtilsLabelEXT>(VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT);
      label.pLabelName = plan_.steps[size_t(l.step)].name.c_str();
      debug.vkCmdBeginDebugUtilsLabelEXT(c, &label);
    }
    Stamps::Around around;
    around.waits = wait;
    const size_t number = stamps ? stamps->launches.size() : 0;
    const bool timed = stamps && number >= stamps->first && number < stamps->last;
    // Before the bindings, which belong to it: software drivers work on them for some microseconds.
    if (timed || (stamps && number == 0)) around.begin = stamp(VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT);
    const Shader& shader = l.pipeline->shader();
    if (l.pipeline->handle() != bound) {
      bound = l.pipeline->handle();
      fn.vkCmdBindPipeline(c, VK_PIPELINE_BIND_POINT_COMPUTE, bound);
    }
    if (l.sets[slot])
      fn.vkCmdBindDescriptorSets(c, VK_PIPELINE_BIND_POINT_COMPUTE, shader.layout, 0, 1, &l.sets[slot], 0, nullptr);
    if (shader.reflection.push_constant_bytes) {
      if (l.dispatch->push.size() * 4 < shader.reflection.push_constant_bytes)
        return fail(ErrorCode::kInternal,
                    "plan '{}', step '{}': shader '{}' reads {} bytes of push constants, the plan gives {}",
                    plan_.model, plan_.steps[size_t(l.step)].name, l.dispatch->shader,
                    shader.reflection.push_constant_bytes, l.dispatch->push.size() * 4);
      fn.vkCmdPushConstants(c, shader.layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, shader.reflection.push_constant_bytes,
                            l.dispatch->push.data());
    }
    fn.vkCmdDispatch(c, l.dispatch->groups[0], l.dispatch->groups[1], l.dispatch->groups[2]);
    // The one before the timed ones as well: what waits for it does not begin earlier.
    if (timed || (stamps && (number + 1 == count || number + 1 == stamps->first)))
      around.end = stamp(VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT);
    if (timed && stamps->empties) {
      barrier(VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
              kReadWrite);
      around.empty_begin = stamp(VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT);
      around.empty_end = stamp(VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT);
    }
    if (stamps) stamps->launches.push_back(around);
    if (labels) debug.vkCmdEndDebugUtilsLabelEXT(c);
  }

  if (shared)
    barrier(VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
            VK_PIPELINE_STAGE_ALL_COMMANDS_BIT | VK_PIPELINE_STAGE_HOST_BIT,
            VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT | VK_ACCESS_HOST_READ_BIT);
  else
    barrier(VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
            VK_ACCESS_HOST_READ_BIT);
  r = fn.vkEndCommandBuffer(c);
  if (r != VK_SUCCESS) return fail_vk(r, "{}: recording failed", steps_text(segment));
  return {};
}

}  // namespace vireo::vk
