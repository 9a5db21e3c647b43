// Work that is under way, and what may not be freed before a call has proven that it is over. The one place that
// decides this.
//
// What counts as proof is what the specification says (fences, vkQueueWaitIdle, "Lost Device"): VK_SUCCESS, and
// VK_ERROR_DEVICE_LOST, which for this question is to be taken as VK_SUCCESS. Running out of memory or of time while
// asking proves nothing.
#pragma once

#include <memory>

#include "vk/gpu.h"

namespace vireo::vk {

/// Device objects that commands use. They are held together by whoever made them and by the flights that use them, and
/// so are never destroyed while a flight is out.
class Held {
 public:
  virtual ~Held() = default;
  /// Bytes of device memory, the first time; 0 from then on: two flights may abandon the same.
  uint64_t uncounted() const { return counted_.exchange(true) ? 0 : bytes(); }

 private:
  virtual uint64_t bytes() const { return 0; }
  mutable std::atomic<bool> counted_{false};
};

/// A fence and the last submission made with it. Used by one thread at a time.
class Flight {
 public:
  /// `what` is for messages: "inference 0".
  Flight(std::shared_ptr<Gpu> gpu, const char* what) : gpu_(std::move(gpu)), what_(what) {}
  /// Waits for what is out, and abandons what no call can prove to be over: its fence, what it uses and the Gpu stay to
  /// the end of the process, counted and told to the instance (Instance::abandonments).
  ~Flight();
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;

  /// Makes the fence; does nothing if there is one.
  VkResult prepare();
  /// Submits command buffers, one after the other, that use `uses`. VK_ERROR_DEVICE_LOST without a call when the device
  /// is known to be lost. No allocation.
  VkResult submit(const VkCommandBuffer* commands, uint32_t count, std::shared_ptr<const Held> uses);
  VkResult submit(VkCommandBuffer commands, std::shared_ptr<const Held> uses) {
    return submit(&commands, 1, std::move(uses));
  }
  /// As Gpu::wait. After a failure the submission is still out.
  VkResult wait(double timeout_s);
  /// Whether nothing is out any more; asks every call that could prove it, for at most about as long as the last wait()
  /// was to take (1 to 30 s), and once only where another flight on this Gpu asked for so long in vain.
  bool settle();

 private:
  static constexpr double kLeastPatience_s = 1, kMostPatience_s = 30;
  bool over();
  void abandon() noexcept;

  const std::shared_ptr<Gpu> gpu_;
  const char* const what_;
  VkFence fence_ = VK_NULL_HANDLE;
  double patience_s_ = kMostPatience_s;
  uint64_t number_ = 0;               // of the submission that is out; 0: none is
  std::shared_ptr<const Held> uses_;  // what it uses
};

}  // namespace vireo::vk
