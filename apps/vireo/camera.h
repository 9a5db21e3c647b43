// Cameras of Video4Linux (/dev/videoN): frames from the driver's own buffers (mmap streaming), without any library.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "frames.h"

namespace cli {

/// Whether the name is one of a camera's device.
bool names_camera(const std::string& name);

/// What a camera is asked for; the rest is as it has it.
struct CameraWish {
  FrameLayout layout;                                                // its rotation holds always
  bool format = false, size = false, range = false, matrix = false;  // which of the layout's others do
  double stall_s = 0;  // without a frame for so long it counts as gone; 0: never
};

/// A camera does not wait: next() gives its newest frame, and those that it made meanwhile are dropped and counted.
class Camera : public FrameSource {
 public:
  /// Opens the device; the first next() starts it, so that no frame grows old before. Throws Failure, one sentence: no
  /// such device, no permission, busy, no camera, a format or size that it does not offer.
  Camera(const std::string& path, const CameraWish& wish);
  ~Camera() override;
  Camera(const Camera&) = delete;
  Camera& operator=(const Camera&) = delete;

  /// A frame that came damaged has an error; so has the one that did not come because the camera is gone, and then
  /// comes the end.
  bool next(Frame* frame) override;
  void stop() override { wake_.stop(); }
  uint64_t dropped() const override { return dropped_; }
  const FrameLayout& layout() const { return layout_; }

 private:
  struct Buffer {
    void* memory = nullptr;
    size_t size = 0;
  };
  [[noreturn]] void fail(const std::string& what) const;
  /// Of the last system call.
  std::string why() const;
  void choose_format(const CameraWish& wish);
  void map_buffers();
  /// Empty, or what is wrong.
  std::string start();
  void close_all();
  bool give_back(unsigned index);
  void copy(const uint8_t* from, uint8_t* to) const;

  const std::string path_;
  const double stall_s_ = 0;
  int file_ = -1;
  FrameLayout layout_;
  size_t stride_ = 0;  // bytes from one row of the first plane to the next
  size_t least_ = 0;   // bytes of a whole frame in the driver's buffer
  std::vector<Buffer> buffers_;
  bool streaming_ = false, over_ = false, counted_ = false;
  uint32_t sequence_ = 0;  // of the last frame
  uint64_t number_ = 0;
  std::atomic<uint64_t> dropped_{0};
  Wake wake_;
};

}  // namespace cli
