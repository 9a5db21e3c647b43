// Pictures one after the other, decoded ahead by a thread of their own: files, folders, or raw frames from a pipe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "image.h"

namespace cli {

struct Frame {
  std::string name;  // of the file, or "frame-000001"
  Rgb8 picture;      // valid when error is empty
  std::string error;
};

class FrameSource {
 public:
  virtual ~FrameSource() = default;
  /// The next frame, or false at the end. What cannot be decoded is a frame with an error.
  virtual bool next(Frame* frame) = 0;
  /// How many there will be; 0 when nobody knows.
  virtual size_t total() const { return 0; }
  /// Makes next() return false from now on, also one that waits for input. From any thread or signal handler.
  virtual void stop() = 0;
};

/// Picture files.
class FileFrames : public FrameSource {
 public:
  explicit FileFrames(std::vector<std::string> paths) : paths_(std::move(paths)) {}
  bool next(Frame* frame) override;
  size_t total() const override { return paths_.size(); }
  void stop() override { stopped_ = true; }

 private:
  std::vector<std::string> paths_;
  size_t at_ = 0;
  std::atomic<bool> stopped_{false};
};

/// Empty, or a sentence when a raw frame looks as if its width and height were swapped: rows of the other length are much more like
/// their neighbours. A frame has no header that could tell.
std::string doubt_size(const Rgb8& frame);

/// Raw RGB24 frames of one size from a file descriptor, named frame-000001 and on. A last frame that is cut short is a
/// frame with an error; so is the failure to read, and then comes the end.
class RawFrames : public FrameSource {
 public:
  RawFrames(int file, int width, int height);
  ~RawFrames() override;
  bool next(Frame* frame) override;
  void stop() override;

 private:
  /// Bytes read; fewer than asked for at the end, when stopped, or after a failure, which is then in *error.
  size_t read_all(uint8_t* to, size_t count, std::string* error);

  int file_, width_, height_;
  int wake_[2] = {-1, -1};  // a pipe: stop() writes into it
  std::atomic<bool> stopped_{false};
  bool over_ = false;
  uint64_t number_ = 0;
};

/// A thread that takes frames from a source ahead of their use, into a fixed number of buffers. When all are full it
/// waits; with `drop` it never does: a frame too many takes the place of the oldest that nobody took yet.
class FrameQueue {
 public:
  static constexpr size_t kWaiting = 2, kTaken = 2;  // frames waiting for their turn, and in use at once

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
