// Frames: see frames.h.
#include "frames.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <system_error>

#include "cli.h"

namespace cli {

bool FileFrames::next(Frame* frame) {
  if (stopped_ || at_ == paths_.size()) return false;
  frame->name = paths_[at_++];
  auto picture = load_image(frame->name);
  frame->error = picture ? std::string() : picture.error().message;
  if (picture) frame->picture = std::move(*picture);
  return true;
}

namespace {

/// Mean difference of bytes that are `row` bytes apart.
double roughness(const std::vector<uint8_t>& rgb, size_t row) {
  uint64_t sum = 0;
  for (size_t i = row; i < rgb.size(); ++i) sum += uint64_t(std::abs(int(rgb[i]) - int(rgb[i - row])));
  return rgb.size() > row ? double(sum) / double(rgb.size() - row) : 0;
}

}  // namespace

std::string doubt_size(const Rgb8& frame) {
  if (frame.width == frame.height) return {};
  const double given = roughness(frame.rgb, size_t(frame.width) * 3), swapped = roughness(frame.rgb, size_t(frame.height) * 3);
  if (!(swapped < 0.6 * given)) return {};
  const auto size = [](int w, int h) { return std::to_string(w) + "x" + std::to_string(h); };
  return "the frames look " + size(frame.height, frame.width) + " rather than " + size(frame.width, frame.height) +
         ": --size is width x height, as ffmpeg's -s";
}

RawFrames::RawFrames(int file, int width, int height) : file_(file), width_(width), height_(height) {
  if (pipe2(wake_, O_CLOEXEC | O_NONBLOCK) != 0)
    throw Failure(std::string("cannot make a pipe: ") + std::strerror(errno));
}

RawFrames::~RawFrames() {
  close(wake_[0]);
  close(wake_[1]);
}

void RawFrames::stop() {
  stopped_ = true;
  const char byte = 0;
  const ssize_t ignored = write(wake_[1], &byte, 1);  // full: then it is awake already
  (void)ignored;
}

size_t RawFrames::read_all(uint8_t* to, size_t count, std::string* error) {
  size_t done = 0;
  while (done < count && !stopped_) {
    pollfd files[2] = {{file_, POLLIN, 0}, {wake_[0], POLLIN, 0}};
    if (poll(files, 2, -1) < 0) {
      if (errno == EINTR) continue;
      *error = std::string("standard input cannot be read: ") + std::strerror(errno);
      break;
    }
    if (files[0].revents == 0) continue;
    const ssize_t n = read(file_, to + done, count - done);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) *error = std::string("standard input cannot be read: ") + std::strerror(errno);
    if (n <= 0) break;
    done += size_t(n);
  }
  return done;
}

bool RawFrames::next(Frame* frame) {
  if (over_ || stopped_) return false;
  char name[32];
  std::snprintf(name, sizeof name, "frame-%06llu", static_cast<unsigned long long>(number_ + 1));
  frame->name = name;
  frame->error.clear();
  frame->picture.width = width_;
  frame->picture.height = height_;
  const size_t size = size_t(width_) * size_t(height_) * 3;
  over_ = true;  // unless all goes well
  frame->picture.rgb.resize(size);
  const size_t got = read_all(frame->picture.rgb.data(), size, &frame->error);
  if (stopped_) return false;
  over_ = got < size;
  if (over_) {
    if (frame->error.empty() && got == 0) return false;
    if (frame->error.empty())
      frame->error = frame->name + " is cut short: standard input ended after " + std::to_string(got) + " of its " +
                     std::to_string(size) + " bytes (" + std::to_string(width_) + "x" + std::to_string(height_) +
                     " RGB24); check --size and the program that sends the frames";
  }
  ++number_;
  return true;
}

FrameQueue::FrameQueue(FrameSource& source, bool drop) : source_(source), drop_(drop) {
  // The thread moves frames between the two without memory of its own: nobody on its stack would catch what it throws.
  free_.reserve(sizeof frames_ / sizeof *frames_);
  waiting_.reserve(free_.capacity());
  for (Frame& f : frames_) free_.push_back(&f);
  try {
    thread_ = std::thread([this] { fill(); });
  } catch (const std::system_error& e) {
    throw Failure(std::string("the thread that reads frames ahead cannot be started: ") + e.code().message());
  }
}

FrameQueue::~FrameQueue() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    quit_ = true;
  }
  changed_.notify_all();
  source_.stop();
  thread_.join();
}

void FrameQueue::fill() {
  for (;;) {
    Frame* frame = nullptr;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return quit_ || !free_.empty(); });
      if (quit_) return;
      frame = free_.back();
      free_.pop_back();
    }
    bool more = false;
    try {
      more = source_.next(frame);
    } catch (const std::bad_alloc&) {
      frame->error = "out of memory";  // short enough to need none
      more = true;
    } catch (const std::exception& e) {
      try {
        frame->error = "picture '" + frame->name + "': " + e.what();
      } catch (const std::bad_alloc&) {
        frame->error = "out of memory";
      }
      more = true;
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      (more ? waiting_ : free_).push_back(frame);
      ended_ = !more;
      if (drop_ && waiting_.size() > kWaiting) {
        free_.push_back(waiting_.front());
        waiting_.erase(waiting_.begin());
        ++dropped_;
      }
    }
    changed_.notify_all();
    if (!more) return;
  }
}

Frame* FrameQueue::take(bool wait) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (wait) changed_.wait(lock, [this] { return ended_ || !waiting_.empty(); });
  if (waiting_.empty()) return nullptr;
  Frame* frame = waiting_.front();
  waiting_.erase(waiting_.begin());
  lock.unlock();
  changed_.notify_all();
  return frame;
}

void FrameQueue::give_back(Frame* frame) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(frame);
  }
  changed_.notify_all();
}

uint64_t FrameQueue::dropped() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return dropped_;
}

}  // namespace cli
