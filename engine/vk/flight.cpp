#include "vk/flight.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <thread>

#include "vk/status.h"

namespace vireo::vk {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kTries =
    8;  // of calls that answer neither "over" nor "not yet"; the pauses between them add up to a quarter of a second

}  // namespace

VkResult Flight::prepare() {
  if (fence_) return VK_SUCCESS;
  const auto info = make<VkFenceCreateInfo>(VK_STRUCTURE_TYPE_FENCE_CREATE_INFO);
  return created(gpu_->fn().vkCreateFence(gpu_->handle(), &info, nullptr, &fence_), &fence_);
}

VkResult Flight::submit(const VkCommandBuffer* commands, uint32_t count, std::shared_ptr<const Held> uses) {
  if (gpu_->lost()) return VK_ERROR_DEVICE_LOST;
  if (!settle()) return VK_TIMEOUT;  // a fence in use must not be reset
  VkResult r = gpu_->fn().vkResetFences(gpu_->handle(), 1, &fence_);
  if (r != VK_SUCCESS) return r;
  r = gpu_->submit(commands, count, fence_, &number_);
  if (number_) uses_ = std::move(uses);
  // Nobody knows what reached a device that was lost while submitting, and the fence may never tell; the queue does.
  if (number_ && r != VK_SUCCESS && gpu_->wait_idle(kTries, true)) over();
  return r;
}

VkResult Flight::wait(double timeout_s) {
  patience_s_ = std::min(std::max(timeout_s, kLeastPatience_s), kMostPatience_s);
  const VkResult r = gpu_->wait(fence_, timeout_s);
  if (r == VK_SUCCESS) {
    gpu_->note_over(number_);
    over();
  }
  return r;
}

bool Flight::over() {
  number_ = 0;
  uses_.reset();
  return true;
}

bool Flight::settle() {
  if (!number_ || gpu_->is_over(number_)) return over();
  const DeviceTable& fn = gpu_->fn();
  const auto end = Clock::now() + std::chrono::duration<double>(gpu_->hangs() ? 0 : patience_s_);
  milliseconds pause(1);
  for (int failures = 0;;) {
    const auto asked = Clock::now();
    VkResult r =
        fn.vkWaitForFences(gpu_->handle(), 1, &fence_, VK_TRUE, uint64_t(std::chrono::nanoseconds(pause).count()));
    bool running = r == VK_TIMEOUT;
    if (r != VK_SUCCESS && r != VK_ERROR_DEVICE_LOST) {
      r = fn.vkGetFenceStatus(gpu_->handle(), fence_);
      running = running || r == VK_NOT_READY;
    }
    if (r == VK_SUCCESS) {
      gpu_->note_over(number_);
      return over();
    }
    if (r == VK_ERROR_DEVICE_LOST) {
      // Proof enough by the specification. A driver that gives up before its hardware does gets the chance to wait for
      // it.
      (void)gpu_->wait_idle(1);
      return over();
    }
    if (running && Clock::now() >= end) {  // it hangs, and so would what waits without a limit
      gpu_->note_hang();
      return false;
    }
    if (!running && ++failures == kTries) break;
    std::this_thread::sleep_until(asked + pause);  // also where the driver answers at once
    pause = std::min(2 * pause, milliseconds(1000));
  }
  return gpu_->wait_idle(kTries) && over();
}

void Flight::abandon() noexcept {
  gpu_->instance().abandonments().add(gpu_->caps().name, what_, uses_ ? uses_->uncounted() : 0);
  // References that nobody gives back, made without asking for memory: there may be none.
  struct Left {
    std::shared_ptr<Gpu> gpu;
    std::shared_ptr<const Held> uses;
  };
  alignas(Left) unsigned char forever[sizeof(Left)];
  new (forever) Left{gpu_, std::move(uses_)};
}

Flight::~Flight() {
  const bool settled = settle();
  if (!settled) abandon();
  if (settled && fence_) gpu_->fn().vkDestroyFence(gpu_->handle(), fence_, nullptr);
}

}  // namespace vireo::vk
