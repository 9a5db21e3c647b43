// Device memory: one allocation with one VkBuffer over all of it, and the choice of the memory type.
#pragma once

#include <functional>
#include <vector>

#include "vk/flight.h"

namespace vireo::vk {

/// What a buffer is for; the memory type follows from it and from the device.
enum class MemoryUse : uint8_t {
  kDevice,      ///< the GPU's own; host-visible only if the device shares memory with the host
  kHostAccess,  ///< read and written by both, mapped; fast for the host to read if there is such a type
};

/// Memory types fit for `use` among `type_bits`, best first. Types with properties Vireo does not know are left out.
std::vector<uint32_t> rank_memory_types(const VkPhysicalDeviceMemoryProperties& memory, uint32_t type_bits,
                                        MemoryUse use, bool integrated);

/// Of what shaders read and write.
constexpr VkBufferUsageFlags kStorageUsage =
    VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT;

struct BufferRequest {
  const char* what = "";  // for messages and names: "weights"
  uint64_t bytes = 0;     // at least 1
  VkBufferUsageFlags usage = 0;
  MemoryUse use = MemoryUse::kDevice;
  const char* owner = "vireo";  // for names: the plan's model
};

/// A VkBuffer with a VkDeviceMemory of its own; mapped whenever the memory is host-visible. Must not outlive its Gpu.
class Buffer {
 public:
  Buffer() = default;
  /// Errors: kOutOfMemory with the bytes asked and the size of the heap.
  static Result<Buffer> create(const Gpu& gpu, const BufferRequest& request);
  Buffer(Buffer&& o) noexcept { *this = std::move(o); }
  Buffer& operator=(Buffer&& o) noexcept;
  ~Buffer() { destroy(); }

  VkBuffer handle() const { return buffer_; }
  uint8_t* mapped() const { return mapped_; }  // null: the host cannot see it
  uint64_t bytes() const { return bytes_; }

 private:
  void destroy();
  const Gpu* gpu_ = nullptr;
  VkBuffer buffer_ = VK_NULL_HANDLE;
  VkDeviceMemory memory_ = VK_NULL_HANDLE;
  uint8_t* mapped_ = nullptr;
  uint64_t bytes_ = 0;
};

/// Records commands and runs them to their end, once or many times; for uploads, not for inference.
class Uploader {
 public:
  /// `uses`: what the commands to be recorded use.
  Uploader(std::shared_ptr<Gpu> gpu, double timeout_s, std::shared_ptr<const Held> uses);
  /// `what` is for messages.
  Result<void> run(const char* what, const std::function<void(VkCommandBuffer)>& record);

 private:
  struct Objects;
  Result<void> prepare();
  const std::shared_ptr<Gpu> gpu_;
  const double timeout_s_;
  const std::shared_ptr<Objects> own_;
  VkCommandBuffer commands_ = VK_NULL_HANDLE;
  Flight flight_;
};

}  // namespace vireo::vk
