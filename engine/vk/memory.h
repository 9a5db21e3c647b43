// Device memory: one allocation with one VkBuffer over all of it, and the choice of the memory type.
#pragma once

#include <functional>
#include <vector>

#include "vk/gpu.h"

namespace vireo::vk {

/// What a buffer is for; the memory type follows from it and from the device.
enum class MemoryUse : uint8_t {
  kDevice,      ///< the GPU's own; host-visible only if the device shares memory with the host
  kHostAccess,  ///< read and written by both, mapped; fast for the host to read if there is such a type
};

/// Memory types fit for `use` among `type_bits`, best first. Types with properties Vireo does not know are left out.
std::vector<uint32_t> rank_memory_types(const VkPhysicalDeviceMemoryProperties& memory, uint32_t type_bits,
                                        MemoryUse use, bool integrated);

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
  /// Lets go of the objects without destroying them: for a device that never finished and still uses them.
  void abandon() { gpu_ = nullptr; }

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
  Uploader(std::shared_ptr<Gpu> gpu, double timeout_s) : gpu_(std::move(gpu)), timeout_s_(timeout_s) {}
  /// Of a copy that never ended, fence and command buffer stay to the end of the process, and the Gpu with them.
  ~Uploader();
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;
  /// `what` is for messages.
  Result<void> run(const char* what, const std::function<void(VkCommandBuffer)>& record);
  /// After an error: whether the GPU may still be at work on the buffers, which must then not be freed.
  bool stuck() const { return stuck_; }

 private:
  Result<void> prepare();
  std::shared_ptr<Gpu> gpu_;
  const double timeout_s_;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkCommandBuffer commands_ = VK_NULL_HANDLE;
  VkFence fence_ = VK_NULL_HANDLE;
  bool stuck_ = false;
};

}  // namespace vireo::vk
