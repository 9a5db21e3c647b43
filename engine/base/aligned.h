// A 64-byte aligned owning buffer that is null when memory ran out (no exception).
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace vireo {

constexpr size_t kAlignment = 64;  // a cache line, and the widest vector
constexpr size_t kHugePage = size_t(2) << 20;

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// Uninitialised bytes in whole cache lines. An empty or failed buffer has data() == nullptr and size() == 0.
  explicit AlignedBuffer(size_t bytes) {
    if (bytes == 0 || bytes > SIZE_MAX - kAlignment) return;
    const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    const bool huge = rounded >= 2 * kHugePage;
    void* p = nullptr;
    if (posix_memalign(&p, huge ? kHugePage : kAlignment, rounded) != 0) return;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // Weights and activations in huge pages: fewer walks of the page table (twice as long inside a virtual machine),
    // and caches indexed by physical address are filled evenly. Whole pages only, so nothing more becomes resident.
    // Advice: where it is refused, nothing is lost.
    if (huge) (void)madvise(p, rounded / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
    data_ = p;
    size_ = bytes;
  }
  static AlignedBuffer zeroed(size_t bytes) {
    AlignedBuffer b(bytes);
    if (b.data_ != nullptr) std::memset(b.data_, 0, bytes);
    return b;
  }
  ~AlignedBuffer() { std::free(data_); }
  AlignedBuffer(AlignedBuffer&& o) noexcept
      : data_(std::exchange(o.data_, nullptr)), size_(std::exchange(o.size_, size_t(0))) {}
  AlignedBuffer& operator=(AlignedBuffer&& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;

  explicit operator bool() const { return data_ != nullptr; }
  size_t size() const { return size_; }
  void* data() { return data_; }
  const void* data() const { return data_; }
  template <typename T>
  T* as() {
    return static_cast<T*>(data_);
  }
  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data_);
  }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace vireo
