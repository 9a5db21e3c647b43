// Frames one after the other, decoded ahead by a thread of their own; raw frames from a pipe. (Pictures: pictures.h.)
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>
#include <vireo/image.hpp>

#include "image.h"
#include "interrupt.h"

namespace cli {

/// How the frames of a stream lie in memory: planes one after the other, without padding.
struct FrameLayout {
  vireo::PixelFormat format = vireo::PixelFormat::kRgb;
  int width = 0, height = 0;  // as they come
  vireo::YuvRange range = vireo::YuvRange::kLimited;
  vireo::YuvMatrix matrix = vireo::YuvMatrix::kBt601;
  int rotation = 0;  // degrees clockwise that turn them upright

  size_t bytes() const { return vireo::packed_bytes(format, width, height); }
  vireo::Image image(const uint8_t* frame) const;
  /// "640x480 nv12".
  std::string text() const;
  /// Plain RGB: the bytes are the picture.
  bool plain() const { return format == vireo::PixelFormat::kRgb && rotation == 0; }
};

struct Frame {
  std::string name;  // of the file, or "frame-000001"
  Rgb8 picture;      // valid when error is empty; where there are `bytes`, its size and what rgb() made
  std::string error;
  std::vector<uint8_t> bytes;  // of another layout than plain RGB, else empty
  FrameLayout layout;
  int64_t came_ns = 0;  // of a stream: when the whole of it was there (a camera's own time stamp), by CLOCK_MONOTONIC

  /// What a session is given; valid while the frame is.
  vireo::Image image() const;
  /// The picture's colours, made where they are not there.
  const Rgb8& rgb();
  /// Empties it for frame `number` of a stream.
  void begin(uint64_t number, const FrameLayout& how);
  /// Where the bytes of such a frame go.
  uint8_t* room();
};

/// "10 seconds (--stall)".
std::string stall_text(double seconds);

/// Now, by CLOCK_MONOTONIC.
int64_t monotonic_ns();

class FrameSource {
 public:
  virtual ~FrameSource() = default;
  /// The next frame, or false at the end. What cannot be decoded is a frame with an error.
  virtual bool next(Frame* frame) = 0;
  /// How many there will be; 0 when nobody knows.
  virtual size_t total() const { return 0; }
  /// Frames that gave way to newer ones before they were read.
  virtual uint64_t dropped() const { return 0; }
  /// Makes next() return false from now on, also one that waits for input. From any thread or signal handler.
  virtual void stop() = 0;
};

/// A file descriptor that can be read once, like a pipe; from any thread or signal handler, stop() ends a read that
/// waits.
class Stream {
 public:
  /// `name` is for messages. `owned`: closed at the end.
  Stream(int file, std::string name, bool owned = false);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// Its first bytes: all that come at once, but enough to tell what they are unless it ends before. read() gives them
  /// again.
  const std::vector<uint8_t>& head(std::string* error);
  /// Bytes read; fewer than asked for at the end, when stopped, or after a failure, which is then in *error.
  size_t read(uint8_t* to, size_t count, std::string* error);
  /// A sender that gives nothing for so long is a failure to read.
  void set_stall(double seconds) { stall_s_ = seconds; }
  void stop() { wake_.stop(); }
  bool stopped() const { return wake_.stopped(); }
  const std::string& name() const { return name_; }

 private:
  /// What comes at once; 0 at the end, when stopped, or after a failure.
  size_t read_some(uint8_t* to, size_t count, std::string* error);

  int file_;
  std::string name_;
  bool owned_;
  double stall_s_ = 0;  // no limit
  Wake wake_;
  std::vector<uint8_t> head_;
  size_t head_given_ = 0;
};

/// Empty, or a sentence when a raw frame looks as if its width and height were swapped: rows of the other length are
/// much more like their neighbours. A frame has no header that could tell.
std::string doubt_size(const Rgb8& frame);

/// Raw frames of one layout from a file descriptor, named frame-000001 and on. A last frame that is cut short is a
/// frame with an error; so is the failure to read, and then comes the end.
class RawFrames : public FrameSource {
 public:
  RawFrames(int file, int width, int height);
  RawFrames(std::unique_ptr<Stream> stream, const FrameLayout& layout);
  bool next(Frame* frame) override;
  void stop() override { stream_->stop(); }

 private:
  std::unique_ptr<Stream> stream_;
  FrameLayout layout_;
  bool over_ = false;
  uint64_t number_ = 0;
};

/// A thread that takes frames from a source ahead of their use, into a fixed number of buffers. When all are full it
/// waits; with `drop` it never does: the newest frame takes the place of the one that nobody took yet.
class FrameQueue {
 public:
  static constexpr size_t kWaiting = 2,
                          kTaken = 2;  // frames waiting for their turn (with `drop` one), and in use at once

  FrameQueue(FrameSource& source, bool drop);
  ~FrameQueue();
  FrameQueue(const FrameQueue&) = delete;
  FrameQueue& operator=(const FrameQueue&) = delete;

  /// The oldest waiting frame. Without one: waits for it with `wait`; nullptr at the end, or at once without `wait`.
  /// At most kTaken frames may be out.
  Frame* take(bool wait);
  void give_back(Frame* frame);
  uint64_t dropped() const;

 private:
  void fill();

  FrameSource& source_;
  const bool drop_;
  Frame frames_[kWaiting + kTaken + 1];
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Frame*> waiting_, free_;  // the oldest first
  bool ended_ = false, quit_ = false;
  uint64_t dropped_ = 0;
  std::thread thread_;
};

}  // namespace cli
