#include "vk/memory.h"

#include <algorithm>

#include "vk/status.h"

namespace vireo::vk {
namespace {

constexpr VkMemoryPropertyFlags kLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
constexpr VkMemoryPropertyFlags kVisible = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
constexpr VkMemoryPropertyFlags kCached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;

}  // namespace

std::vector<uint32_t> rank_memory_types(const VkPhysicalDeviceMemoryProperties& memory, uint32_t type_bits,
                                        MemoryUse use, bool integrated) {
  const VkMemoryPropertyFlags required = use == MemoryUse::kDevice ? kLocal : kVisible;
  const auto score = [&](uint32_t i) {
    const VkMemoryPropertyFlags f = memory.memoryTypes[i].propertyFlags;
    const bool visible = (f & kVisible) == kVisible;
    if (use == MemoryUse::kDevice)
      return visible == integrated ? 1 : 0;  // a discrete GPU's visible memory is a small window
    // Reading uncached memory is slow enough to matter more than where it lies.
    return ((f & kCached) ? 2 : 0) + (bool(f & kLocal) == integrated ? 1 : 0);
  };
  std::vector<uint32_t> fit;
  for (uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
    const VkMemoryPropertyFlags f = memory.memoryTypes[i].propertyFlags;
    if (!(type_bits & (1u << i)) || (f & required) != required) continue;
    if (f & ~(kLocal | kVisible | kCached)) continue;  // lazily allocated, protected, device-coherent, ...
    fit.push_back(i);
  }
  std::stable_sort(fit.begin(), fit.end(), [&](uint32_t a, uint32_t b) { return score(a) > score(b); });
  return fit;
}

Result<Buffer> Buffer::create(const Gpu& gpu, const BufferRequest& request) {
  const std::string& device = gpu.caps().name;
  if (request.bytes > gpu.physical().max_allocation)
    return fail(
        ErrorCode::kOutOfMemory,
        "{}: the {} need {} ({} bytes) in one piece, the device allocates at most {}; use a smaller batch, a smaller "
        "input, fp16 or int8, or the CPU",
        device, request.what, human_bytes(request.bytes), request.bytes, human_bytes(gpu.physical().max_allocation));
  Buffer b;
  b.gpu_ = &gpu;
  b.bytes_ = request.bytes;
  const DeviceTable& fn = gpu.fn();
  auto info = make<VkBufferCreateInfo>(VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO);
  info.size = request.bytes;
  info.usage = request.usage;
  VkResult r = created(fn.vkCreateBuffer(gpu.handle(), &info, nullptr, &b.buffer_), &b.buffer_);
  if (r != VK_SUCCESS) {
    return fail_vk(r, "{}: creating the buffer for the {} ({}) failed", device, request.what,
                   human_bytes(request.bytes));
  }
  VkMemoryRequirements need{};
  fn.vkGetBufferMemoryRequirements(gpu.handle(), b.buffer_, &need);
  const std::vector<uint32_t> types =
      rank_memory_types(gpu.memory(), need.memoryTypeBits, request.use, gpu.caps().integrated);
  if (types.empty())
    return fail(ErrorCode::kUnsupported, "{}: no memory type is fit for the {} ({}); run on the CPU", device,
                request.what, request.use == MemoryUse::kDevice ? "device-local" : "host-visible and coherent");

  uint64_t heap = 0;
  r = VK_ERROR_OUT_OF_DEVICE_MEMORY;
  uint32_t type = 0;
  for (const uint32_t t : types) {  // the next best type may lie in another heap
    const uint64_t size = gpu.memory().memoryHeaps[gpu.memory().memoryTypes[t].heapIndex].size;
    heap = std::max(heap, size);
    // A software driver would take it, and the system would kill the process later.
    if (need.size > size) continue;
    auto allocate = make<VkMemoryAllocateInfo>(VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO);
    allocate.allocationSize = need.size;
    allocate.memoryTypeIndex = type = t;
    r = gpu.fault("allocate");
    if (r == VK_SUCCESS) r = fn.vkAllocateMemory(gpu.handle(), &allocate, nullptr, &b.memory_);
    if (r == VK_SUCCESS) break;
    b.memory_ = VK_NULL_HANDLE;
  }
  if (r != VK_SUCCESS)
    return fail_vk(
        r,
        "{}: out of memory: the {} need {} ({} bytes), the largest heap for them has {} in all; use a smaller batch, "
        "fp16 or int8, or the CPU",
        device, request.what, human_bytes(need.size), need.size, human_bytes(heap));
  r = fn.vkBindBufferMemory(gpu.handle(), b.buffer_, b.memory_, 0);
  if (r != VK_SUCCESS) return fail_vk(r, "{}: binding the memory of the {} failed", device, request.what);
  gpu.name(VK_OBJECT_TYPE_BUFFER, b.buffer_, "{}: {}", request.owner, request.what);
  gpu.name(VK_OBJECT_TYPE_DEVICE_MEMORY, b.memory_, "{}: memory of the {}", request.owner, request.what);
  if ((gpu.memory().memoryTypes[type].propertyFlags & kVisible) == kVisible) {
    void* p = nullptr;
    r = gpu.fault(request.use == MemoryUse::kDevice ? "map" : "map_host");
    if (r == VK_SUCCESS) r = fn.vkMapMemory(gpu.handle(), b.memory_, 0, VK_WHOLE_SIZE, 0, &p);
    if (r == VK_SUCCESS) b.mapped_ = static_cast<uint8_t*>(p);
    // Device memory can still be filled through a staging buffer (32-bit processes run out of addresses here).
    if (r != VK_SUCCESS && request.use == MemoryUse::kHostAccess)
      return fail_vk(r, "{}: mapping the {} ({}) failed", device, request.what, human_bytes(need.size));
  }
  return b;
}

Buffer& Buffer::operator=(Buffer&& o) noexcept {
  if (this == &o) return *this;
  destroy();
  gpu_ = std::exchange(o.gpu_, nullptr);
  buffer_ = std::exchange(o.buffer_, VkBuffer(VK_NULL_HANDLE));
  memory_ = std::exchange(o.memory_, VkDeviceMemory(VK_NULL_HANDLE));
  mapped_ = std::exchange(o.mapped_, nullptr);
  bytes_ = std::exchange(o.bytes_, uint64_t(0));
  return *this;
}

void Buffer::destroy() {
  if (!gpu_) return;
  const DeviceTable& fn = gpu_->fn();
  if (buffer_) fn.vkDestroyBuffer(gpu_->handle(), buffer_, nullptr);
  if (memory_) fn.vkFreeMemory(gpu_->handle(), memory_, nullptr);  // unmaps
  gpu_ = nullptr;
}

/// The command pool, and what else the copies use.
struct Uploader::Objects final : Held {
  Objects(std::shared_ptr<Gpu> g, std::shared_ptr<const Held> u) : gpu(std::move(g)), uses(std::move(u)) {}
  ~Objects() override {
    if (pool) gpu->fn().vkDestroyCommandPool(gpu->handle(), pool, nullptr);
  }
  uint64_t bytes() const override { return uses ? uses->uncounted() : 0; }
  const std::shared_ptr<Gpu> gpu;
  const std::shared_ptr<const Held> uses;
  VkCommandPool pool = VK_NULL_HANDLE;
};

Uploader::Uploader(std::shared_ptr<Gpu> gpu, double timeout_s, std::shared_ptr<const Held> uses)
    : gpu_(std::move(gpu)),
      timeout_s_(timeout_s),
      own_(std::make_shared<Objects>(gpu_, std::move(uses))),
      flight_(gpu_, "an upload") {}

Result<void> Uploader::prepare() {
  const DeviceTable& fn = gpu_->fn();
  auto pool = make<VkCommandPoolCreateInfo>(VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO);
  pool.flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT | VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  pool.queueFamilyIndex = gpu_->queue_family();
  VkResult r = own_->pool ? VK_SUCCESS
                          : created(fn.vkCreateCommandPool(gpu_->handle(), &pool, nullptr, &own_->pool), &own_->pool);
  if (r == VK_SUCCESS && !commands_) {
    auto info = make<VkCommandBufferAllocateInfo>(VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO);
    info.commandPool = own_->pool;
    info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
    info.commandBufferCount = 1;
    r = created(fn.vkAllocateCommandBuffers(gpu_->handle(), &info, &commands_), &commands_);
    if (r == VK_SUCCESS) gpu_->name(VK_OBJECT_TYPE_COMMAND_BUFFER, commands_, "vireo: uploads");
  }
  if (r == VK_SUCCESS) r = flight_.prepare();
  if (r != VK_SUCCESS) return fail_vk(r, "{}: preparing an upload failed", gpu_->caps().name);
  return {};
}

Result<void> Uploader::run(const char* what, const std::function<void(VkCommandBuffer)>& record) {
  VIREO_TRY(prepare());
  const DeviceTable& fn = gpu_->fn();
  auto begin = make<VkCommandBufferBeginInfo>(VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO);
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  VkResult r = fn.vkBeginCommandBuffer(commands_, &begin);
  if (r == VK_SUCCESS) {
    record(commands_);
    r = fn.vkEndCommandBuffer(commands_);
  }
  if (r == VK_SUCCESS) r = flight_.submit(commands_, own_);
  if (r == VK_SUCCESS) r = flight_.wait(timeout_s_);
  if (r != VK_SUCCESS) return fail_vk(r, "{}: {} failed", gpu_->caps().name, what);
  return {};
}

}  // namespace vireo::vk
