// A camera that is not there: a library to be preloaded, which answers the calls that a program makes for /dev/video7
// (and its links /dev/front-camera and /dev/v4l/by-id/fake) as a Video4Linux driver would. What kind of camera is said
// by VIREO_FAKE_CAMERA, words separated by commas:
//   formats=YUYV+NV12   what it offers (MJPG is one that nobody here takes); the first is its own choice
//   size=64x48          the only size that it has
//   pad=N               bytes that rows are longer than they need be
//   frames=N            so many, then it is unplugged
//   stall=N              so many, then no more come, without any error
//   burst               every buffer is full at once; else one frame after the other
//   slow=N              frames come by a clock, and those that find no free buffer are lost. It goes on by one frame
//   when
//                       the program waits, but by N where the program was at work before: when it waits after having
//                       taken fewer frames than there are buffers, and when it opens a file before the first one. A
//                       frame's time stamp says how old it is, a minute for each that the clock has gone on since.
//   tell=FILE           made when the program has learnt that the camera is unplugged
//   busy=open|format|stream, no=capture, damaged=N (frame N, the first is 1), full (range), hd (BT.709)
// Byte i of a row y of plane p of frame n holds (7 i + 13 y + 31 p + 5 n) modulo 256, whatever the format.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

template <typename F>
F real(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

std::string setting(const std::string& name, const std::string& otherwise) {
  const char* text = getenv("VIREO_FAKE_CAMERA");
  std::string all = std::string(",") + (text != nullptr ? text : "") + ",";
  const size_t at = all.find("," + name + "=");
  if (at == std::string::npos) return all.find("," + name + ",") != std::string::npos ? "yes" : otherwise;
  const size_t from = at + name.size() + 2;
  return all.substr(from, all.find(',', from) - from);
}

struct Buffer {
  void* memory = nullptr;
  uint32_t length = 0;
  bool queued = false;
  int frame = 0;
};

struct Fake {
  int file = -1, writes = -1;  // two ends of a pipe: a byte in it for every frame that is ready
  std::vector<uint32_t> formats;
  uint32_t format = 0, width = 0, height = 0, pad = 0;
  Buffer buffers[4];
  std::vector<unsigned> queue;  // buffers that were given, in that order
  size_t ready = 0;             // how many of them are full
  bool streaming = false;
  int made = 0, frames = 1000000;
  int slow = 0, clock = -1;  // the clock's last frame
  size_t taken = 4;          // since the program waited; at the beginning it was not at work
} fake;

struct Plane {
  uint32_t bytes, rows, stride;
};
std::vector<Plane> planes() {
  const uint32_t w = fake.width, h = fake.height, half_w = (w + 1) / 2, half_h = (h + 1) / 2, pad = fake.pad;
  switch (fake.format) {
    case V4L2_PIX_FMT_NV12: return {{w, h, w + pad}, {2 * half_w, half_h, w + pad}};
    case V4L2_PIX_FMT_YUV420:
      return {{w, h, w + pad}, {half_w, half_h, (w + pad) / 2}, {half_w, half_h, (w + pad) / 2}};
    case V4L2_PIX_FMT_RGB24: return {{3 * w, h, 3 * w + pad}};
    case V4L2_PIX_FMT_GREY: return {{w, h, w + pad}};
    default: return {{4 * half_w, h, 4 * half_w + pad}};
  }
}
uint32_t image_bytes() {
  uint32_t bytes = 0;
  for (const Plane& p : planes()) bytes += p.rows * p.stride;
  return bytes;
}

void fill(uint8_t* to, int frame) {
  const std::vector<Plane> all = planes();
  for (size_t p = 0; p < all.size(); ++p)
    for (uint32_t y = 0; y < all[p].rows; ++y, to += all[p].stride)
      for (uint32_t i = 0; i < all[p].stride; ++i)
        to[i] = i < all[p].bytes ? uint8_t(7 * i + 13 * y + 31 * p + 5 * uint32_t(frame)) : 0xEE;
}

/// The clock goes on: a frame goes into the first free buffer, if there is one.
void tick(int frames) {
  for (int i = 0; i < frames; ++i) {
    ++fake.clock;
    if (fake.ready == fake.queue.size()) continue;
    Buffer& b = fake.buffers[fake.queue[fake.ready]];
    b.frame = fake.clock;
    fill(static_cast<uint8_t*>(b.memory), b.frame);
    ++fake.ready;
    if (write(fake.writes, "x", 1) != 1) break;
  }
}

/// The program waits for a frame.
void wait_for_frame() {
  if (fake.slow == 0 || !fake.streaming) return;
  if (fake.taken < 4) tick(fake.slow);
  else if (fake.ready == 0) tick(1);
  fake.taken = 0;
}

/// More frames become ready; one at a time, or with "burst" as many as there are buffers.
void produce() {
  static const bool burst = setting("burst", "") == "yes";
  static const int most = std::atoi(setting("stall", "1000000").c_str());
  if (fake.made >= most) return;
  while (fake.streaming && fake.slow == 0 && fake.ready < fake.queue.size() && (burst || fake.ready == 0)) {
    ++fake.ready;
    if (write(fake.writes, "x", 1) != 1) break;
  }
}

int fail(int code) {
  errno = code;
  return -1;
}

void begin() {
  const std::string formats = setting("formats", "YUYV");
  fake.formats.clear();
  for (size_t at = 0; at + 4 <= formats.size(); at += 5)
    fake.formats.push_back(v4l2_fourcc(formats[at], formats[at + 1], formats[at + 2], formats[at + 3]));
  fake.format = fake.formats.at(0);
  std::sscanf(setting("size", "64x48").c_str(), "%ux%u", &fake.width, &fake.height);
  fake.pad = uint32_t(std::atoi(setting("pad", "0").c_str()));
  fake.frames = std::atoi(setting("frames", "1000000").c_str());
  fake.slow = std::atoi(setting("slow", "0").c_str());
}

int answer(unsigned long request, void* argument) {
  switch (request) {
    case VIDIOC_QUERYCAP: {
      auto& c = *static_cast<v4l2_capability*>(argument);
      std::strcpy(reinterpret_cast<char*>(c.card), "Fake camera");
      c.device_caps =
          V4L2_CAP_STREAMING | (setting("no", "") == "capture" ? V4L2_CAP_META_CAPTURE : V4L2_CAP_VIDEO_CAPTURE);
      c.capabilities = c.device_caps | V4L2_CAP_DEVICE_CAPS;
      return 0;
    }
    case VIDIOC_ENUM_FMT: {
      auto& d = *static_cast<v4l2_fmtdesc*>(argument);
      if (d.index >= fake.formats.size()) return fail(EINVAL);
      d.pixelformat = fake.formats[d.index];
      return 0;
    }
    case VIDIOC_S_FMT:
      if (setting("busy", "") == "format") return fail(EBUSY);
      for (const uint32_t f : fake.formats)
        if (f == static_cast<v4l2_format*>(argument)->fmt.pix.pixelformat) fake.format = f;
      [[fallthrough]];
    case VIDIOC_G_FMT: {
      v4l2_pix_format& pix = static_cast<v4l2_format*>(argument)->fmt.pix;
      pix.width = fake.width, pix.height = fake.height;
      pix.pixelformat = fake.format;
      pix.bytesperline = planes()[0].stride;
      pix.sizeimage = image_bytes();
      pix.colorspace = setting("hd", "") == "yes" ? V4L2_COLORSPACE_REC709 : V4L2_COLORSPACE_SMPTE170M;
      pix.quantization = setting("full", "") == "yes" ? V4L2_QUANTIZATION_FULL_RANGE : V4L2_QUANTIZATION_DEFAULT;
      pix.ycbcr_enc = V4L2_YCBCR_ENC_DEFAULT;
      return 0;
    }
    case VIDIOC_REQBUFS: static_cast<v4l2_requestbuffers*>(argument)->count = 4; return 0;
    case VIDIOC_QUERYBUF: {
      auto& b = *static_cast<v4l2_buffer*>(argument);
      b.length = fake.buffers[b.index].length = (image_bytes() + 4095) / 4096 * 4096;
      b.m.offset = b.index << 20;
      return 0;
    }
    case VIDIOC_QBUF: {
      const unsigned index = static_cast<v4l2_buffer*>(argument)->index;
      if (index >= 4 || fake.buffers[index].queued) return fail(EINVAL);
      fake.buffers[index].queued = true;
      fake.queue.push_back(index);
      produce();
      return 0;
    }
    case VIDIOC_STREAMON:
      if (setting("busy", "") == "stream") return fail(EBUSY);
      fake.streaming = true;
      produce();
      return 0;
    case VIDIOC_STREAMOFF: fake.streaming = false; return 0;
    case VIDIOC_DQBUF: {
      if (fake.ready == 0) return fail(EAGAIN);
      if (fake.made == fake.frames) {
        if (const std::string file = setting("tell", ""); !file.empty()) close(::creat(file.c_str(), 0600));
        return fail(ENODEV);  // its byte stays: whoever waits is woken
      }
      char byte = 0;
      if (read(fake.file, &byte, 1) != 1) return fail(EAGAIN);
      auto& b = *static_cast<v4l2_buffer*>(argument);
      b.index = fake.queue.front();
      fake.queue.erase(fake.queue.begin());
      --fake.ready;
      fake.buffers[b.index].queued = false;
      if (fake.slow == 0) fill(static_cast<uint8_t*>(fake.buffers[b.index].memory), fake.made);
      b.sequence = uint32_t(fake.slow == 0 ? fake.made : fake.buffers[b.index].frame);
      ++fake.made, ++fake.taken;
      b.bytesused = image_bytes();
      b.flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
      if (fake.made == std::atoi(setting("damaged", "0").c_str())) b.flags |= V4L2_BUF_FLAG_ERROR, b.bytesused /= 2;
      timespec now{};
      clock_gettime(CLOCK_MONOTONIC, &now);
      b.timestamp = {now.tv_sec - (fake.slow == 0 ? 0 : 60 * (fake.clock - int(b.sequence))), now.tv_nsec / 1000};
      return 0;
    }
    default: return fail(ENOTTY);
  }
}

bool is_fake(const char* path) {
  for (const char* name : {"/dev/video7", "/dev/front-camera", "/dev/v4l/by-id/fake"})
    if (std::strcmp(path, name) == 0) return true;
  return false;
}

int open_fake(const char* path, int flags) {
  if (!is_fake(path)) {
    if (fake.streaming && fake.made == 0) tick(fake.slow);
    return -2;
  }
  if ((flags & O_ACCMODE) != O_RDWR) return fail(EACCES);  // whoever takes it for a file waits for no bytes
  if (setting("busy", "") == "open") return fail(EBUSY);
  int ends[2];
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return -1;
  fake.file = ends[0], fake.writes = ends[1];
  begin();
  return fake.file;
}

}  // namespace

#define SHIM extern "C" __attribute__((visibility("default")))

SHIM int open(const char* path, int flags, ...) {
  const int mine = open_fake(path, flags);
  if (mine != -2) return mine;
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = mode_t(va_arg(rest, unsigned));
  va_end(rest);
  static const auto next = real<int (*)(const char*, int, ...)>("open");
  return next(path, flags, mode);
}
SHIM int open64(const char* path, int flags, ...) {
  const int mine = open_fake(path, flags);
  if (mine != -2) return mine;
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = mode_t(va_arg(rest, unsigned));
  va_end(rest);
  static const auto next = real<int (*)(const char*, int, ...)>("open64");
  return next(path, flags, mode);
}
SHIM char* realpath(const char* path, char* to) noexcept {
  if (is_fake(path) && to == nullptr) return strdup("/dev/video7");
  static const auto next = real<char* (*)(const char*, char*)>("realpath");
  return next(path, to);
}
SHIM int poll(pollfd* files, nfds_t count, int timeout) {
  for (nfds_t i = 0; i < count; ++i)
    if (files[i].fd == fake.file && fake.file >= 0) wait_for_frame();
  static const auto next = real<int (*)(pollfd*, nfds_t, int)>("poll");
  return next(files, count, timeout);
}
SHIM int ioctl(int file, unsigned long request, ...) {
  va_list rest;
  va_start(rest, request);
  void* argument = va_arg(rest, void*);
  va_end(rest);
  if (file == fake.file && file >= 0) return answer(request, argument);
  static const auto next = real<int (*)(int, unsigned long, ...)>("ioctl");
  return next(file, request, argument);
}
SHIM void* mmap(void* at, size_t length, int protection, int flags, int file, off_t offset) noexcept {
  static const auto next = real<void* (*)(void*, size_t, int, int, int, off_t)>("mmap");
  if (file != fake.file || file < 0) return next(at, length, protection, flags, file, offset);
  Buffer& b = fake.buffers[(offset >> 20) & 3];
  return b.memory = next(nullptr, length, protection, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}
