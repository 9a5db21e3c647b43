// Frames: see frames.h.
#include "frames.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <system_error>

#include "cli.h"

namespace cli {

namespace {

/// Mean difference of bytes that are `row` bytes apart.
double roughness(const std::vector<uint8_t>& rgb, size_t row) {
  uint64_t sum = 0;
  for (size_t i = row; i < rgb.size(); ++i) sum += uint64_t(std::abs(int(rgb[i]) - int(rgb[i - row])));
  return rgb.size() > row ? double(sum) / double(rgb.size() - row) : 0;
}

}  // namespace

namespace {

FrameLayout rgb_layout(int width, int height) {
  FrameLayout layout;
  layout.width = width, layout.height = height;
  return layout;
}

}  // namespace

std::string doubt_size(const Rgb8& frame) {
  if (frame.width == frame.height) return {};
  const double given = roughness(frame.rgb, size_t(frame.width) * 3),
               swapped = roughness(frame.rgb, size_t(frame.height) * 3);
  if (!(swapped < 0.6 * given)) return {};
  const auto size = [](int w, int h) { return std::to_string(w) + "x" + std::to_string(h); };
  return "the frames look " + size(frame.height, frame.width) + " rather than " + size(frame.width, frame.height) +
         ": --frame is width x height, as ffmpeg's -s";
}

std::string stall_text(double seconds) {
  char text[48];
  std::snprintf(text, sizeof text, "%g second%s (--stall)", seconds, seconds == 1 ? "" : "s");
  return text;
}

int64_t monotonic_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t(t.tv_sec) * 1000000000 + t.tv_nsec;
}

vireo::Image FrameLayout::image(const uint8_t* frame) const {
  vireo::Image image = vireo::Image::packed(format, frame, width, height);
  image.range = range, image.matrix = matrix;
  image.rotation = rotation;
  return image;
}

std::string FrameLayout::text() const {
  return std::to_string(width) + "x" + std::to_string(height) + " " +
         (format == vireo::PixelFormat::kRgb ? "RGB24" : vireo::to_string(format));
}

vireo::Image Frame::image() const {
  if (bytes.empty()) return vireo::Image{picture.rgb.data(), picture.width, picture.height, 0};
  return layout.image(bytes.data());
}

const Rgb8& Frame::rgb() {
  if (bytes.empty() || !picture.rgb.empty()) return picture;
  picture.rgb.resize(size_t(picture.width) * size_t(picture.height) * 3);
  need(vireo::to_rgb(image(), picture.rgb.data()));
  return picture;
}

void Frame::begin(uint64_t number, const FrameLayout& how) {
  char text[32];
  std::snprintf(text, sizeof text, "frame-%06llu", static_cast<unsigned long long>(number));
  name = text;
  error.clear();
  picture.note.clear();
  layout = how;
  const vireo::Image shape = how.image(nullptr);
  picture.width = shape.upright_width();
  picture.height = shape.upright_height();
  came_ns = 0;
  bytes.clear();
  if (!how.plain()) picture.rgb.clear();
}

uint8_t* Frame::room() {
  std::vector<uint8_t>& to = layout.plain() ? picture.rgb : bytes;
  to.resize(layout.bytes());
  return to.data();
}

Stream::Stream(int file, std::string name, bool owned) : file_(file), name_(std::move(name)), owned_(owned) {}

Stream::~Stream() {
  if (owned_) close(file_);
}

size_t Stream::read_some(uint8_t* to, size_t count, std::string* error) {
  bool late = false;
  while (wake_.wait_readable(file_, stall_s_, &late)) {
    const ssize_t n = ::read(file_, to, count);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) *error = name_ + " cannot be read: " + std::strerror(errno);
    return n > 0 ? size_t(n) : 0;
  }
  if (late) *error = name_ + " sent nothing for " + stall_text(stall_s_);
  return 0;
}

const std::vector<uint8_t>& Stream::head(std::string* error) {
  constexpr size_t kMost = 4096, kEnough = 64;
  while (head_.size() < kEnough) {
    const size_t before = head_.size();
    head_.resize(kMost);
    const size_t n = read_some(head_.data() + before, kMost - before, error);
    head_.resize(before + n);
    if (n == 0) break;
  }
  return head_;
}

size_t Stream::read(uint8_t* to, size_t count, std::string* error) {
  size_t done = std::min(count, head_.size() - head_given_);
  std::copy_n(head_.data() + head_given_, done, to);
  head_given_ += done;
  while (done < count) {
    const size_t n = read_some(to + done, count - done, error);
    if (n == 0) break;
    done += n;
  }
  return done;
}

RawFrames::RawFrames(int file, int width, int height)
    : RawFrames(std::make_unique<Stream>(file, "standard input"), rgb_layout(width, height)) {}

RawFrames::RawFrames(std::unique_ptr<Stream> stream, const FrameLayout& layout)
    : stream_(std::move(stream)), layout_(layout) {}

bool RawFrames::next(Frame* frame) {
  if (over_ || stream_->stopped()) return false;
  frame->begin(number_ + 1, layout_);
  const size_t size = layout_.bytes();
  over_ = true;  // unless all goes well
  const size_t got = stream_->read(frame->room(), size, &frame->error);
  if (stream_->stopped()) return false;
  over_ = got < size;
  if (over_) {
    if (frame->error.empty() && got == 0) return false;
    if (frame->error.empty())
      frame->error = frame->name + " is cut short: " + stream_->name() + " ended after " + std::to_string(got) +
                     " of its " + std::to_string(size) + " bytes (" + layout_.text() +
                     "); check --frame and the program that sends the frames";
  }
  frame->came_ns = monotonic_ns();
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
      // A failure is no newer picture.
      if (drop_ && waiting_.size() > 1 && waiting_.back()->error.empty()) {
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
