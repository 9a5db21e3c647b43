// Cameras: see camera.h.
#include "camera.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "cli.h"

#if defined(__linux__) && __has_include(<linux/videodev2.h>)
#include <fcntl.h>
#include <linux/videodev2.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#define VIREO_HAVE_V4L2 1
#else
#define VIREO_HAVE_V4L2 0
#endif

namespace cli {

bool names_camera(const std::string& name) {
  const auto is_device = [](const std::string& path) {
    const std::string device = "/dev/video";
    return path.compare(0, device.size(), device) == 0 && path.size() > device.size() &&
           path.find_first_not_of("0123456789", device.size()) == std::string::npos;
  };
  // Its links (/dev/v4l/by-id, by-path, those of udev rules) name the same camera after each start of the machine.
  if (is_device(name) || name.compare(0, 12, "/dev/v4l/by-") == 0) return true;
  const std::unique_ptr<char, void (*)(void*)> real(realpath(name.c_str(), nullptr), &std::free);
  return real != nullptr && is_device(real.get());
}

void Camera::fail(const std::string& what) const { throw Failure("camera '" + path_ + "' " + what); }
std::string Camera::why() const { return std::strerror(errno); }

#if VIREO_HAVE_V4L2

namespace {

struct Known {
  uint32_t fourcc;
  vireo::PixelFormat format;
};
/// Which of them a camera's frames may be; the first ones are taken first where several are offered.
const Known kKnown[] = {
    {V4L2_PIX_FMT_NV12, vireo::PixelFormat::kNv12},
    {V4L2_PIX_FMT_YUYV, vireo::PixelFormat::kYuyv},
    {V4L2_PIX_FMT_UYVY, vireo::PixelFormat::kUyvy},
    {V4L2_PIX_FMT_YUV420, vireo::PixelFormat::kI420},
    {V4L2_PIX_FMT_NV21, vireo::PixelFormat::kNv21},
    {V4L2_PIX_FMT_YUV422P, vireo::PixelFormat::kI422},
    {V4L2_PIX_FMT_RGB24, vireo::PixelFormat::kRgb},
    {V4L2_PIX_FMT_BGR24, vireo::PixelFormat::kBgr},
    {V4L2_PIX_FMT_XBGR32, vireo::PixelFormat::kBgra},
    {V4L2_PIX_FMT_ABGR32, vireo::PixelFormat::kBgra},
    {v4l2_fourcc('X', 'B', '2', '4'), vireo::PixelFormat::kRgba},
    {v4l2_fourcc('A', 'B', '2', '4'), vireo::PixelFormat::kRgba},
    {V4L2_PIX_FMT_GREY, vireo::PixelFormat::kGrey},
    {V4L2_PIX_FMT_Y16, vireo::PixelFormat::kGrey16},
};

const Known* find_fourcc(uint32_t fourcc) {
  for (const Known& k : kKnown)
    if (k.fourcc == fourcc) return &k;
  return nullptr;
}

std::string name_of(uint32_t fourcc) {
  std::string name;
  for (int i = 0; i < 4; ++i) name += char((fourcc >> (8 * i)) & 0x7f);
  if (const Known* k = find_fourcc(fourcc)) name += std::string(" (") + vireo::to_string(k->format) + ")";
  return printable(name);
}

int call(int file, unsigned long request, void* argument) {
  for (;;) {
    const int result = ioctl(file, request, argument);
    if (result >= 0 || errno != EINTR) return result;
  }
}

/// The planes of a layout: bytes in a row, rows, and the row's share of the first plane's stride.
struct Plane {
  size_t bytes, rows, part;
};
std::vector<Plane> planes(const FrameLayout& l) {
  const size_t w = size_t(l.width), h = size_t(l.height), half_w = (w + 1) / 2, half_h = (h + 1) / 2;
  switch (l.format) {
    case vireo::PixelFormat::kNv12:
    case vireo::PixelFormat::kNv21: return {{w, h, 1}, {2 * half_w, half_h, 1}};
    case vireo::PixelFormat::kI420: return {{w, h, 1}, {half_w, half_h, 2}, {half_w, half_h, 2}};
    case vireo::PixelFormat::kI422: return {{w, h, 1}, {half_w, h, 2}, {half_w, h, 2}};
    default: return {{vireo::packed_bytes(l.format, l.width, 1), h, 1}};
  }
}

}  // namespace

Camera::Camera(const std::string& path, const CameraWish& wish) : path_(path), stall_s_(wish.stall_s) {
  file_ = open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (file_ < 0)
    fail(errno == EBUSY                       ? "is busy: another program has it"
         : errno == ENOENT || errno == ENODEV ? "is not there: " + why() + "; `ls /dev/video*` shows those that are"
         : errno == EACCES || errno == EPERM  ? "cannot be opened: " + why() + "; its group is usually 'video'"
                                              : "cannot be opened: " + why());
  try {
    v4l2_capability can{};
    if (call(file_, VIDIOC_QUERYCAP, &can) < 0) fail("is no Video4Linux device: " + why());
    const uint32_t caps = (can.capabilities & V4L2_CAP_DEVICE_CAPS) != 0 ? can.device_caps : can.capabilities;
    if ((caps & V4L2_CAP_VIDEO_CAPTURE) == 0 || (caps & V4L2_CAP_STREAMING) == 0)
      fail("(" + printable(reinterpret_cast<const char*>(can.card)) + ") " +
           ((caps & V4L2_CAP_VIDEO_CAPTURE_MPLANE) != 0
                ? "has its planes in several buffers, which is not taken; send its frames with ffmpeg -f v4l2 -i " +
                      path_ + " -f yuv4mpegpipe -"
                : "gives no stream of pictures; cameras often have a second device for other data: try the others"));
    choose_format(wish);
    map_buffers();
  } catch (...) {
    close_all();
    throw;
  }
}

void Camera::choose_format(const CameraWish& wish) {
  std::vector<uint32_t> offered;
  for (v4l2_fmtdesc d{}; offered.size() < 64; ++d.index) {
    d.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    if (call(file_, VIDIOC_ENUM_FMT, &d) < 0) break;
    offered.push_back(d.pixelformat);
  }
  v4l2_format f{};
  f.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  if (call(file_, VIDIOC_G_FMT, &f) < 0) fail("does not say how its frames lie: " + why());
  const auto offers = [&](uint32_t fourcc) {
    for (const uint32_t o : offered)
      if (o == fourcc) return true;
    return false;
  };
  const Known* chosen = wish.format ? nullptr : find_fourcc(f.fmt.pix.pixelformat);
  for (const Known& k : kKnown)
    if (chosen == nullptr && offers(k.fourcc) && (!wish.format || k.format == wish.layout.format)) chosen = &k;
  if (chosen == nullptr) {
    std::string list;
    for (const uint32_t o : offered) list += (list.empty() ? "" : ", ") + name_of(o);
    fail("offers " + (list.empty() ? "no format" : list) + ", and " +
         (wish.format ? "not " + std::string(vireo::to_string(wish.layout.format))
                      : "none of them is taken; send its frames with ffmpeg -f v4l2 -i " + path_ +
                            " -f yuv4mpegpipe -pix_fmt yuv420p -"));
  }
  f.fmt.pix.pixelformat = chosen->fourcc;
  f.fmt.pix.field = V4L2_FIELD_ANY;
  f.fmt.pix.bytesperline = f.fmt.pix.sizeimage = 0;
  if (wish.size) f.fmt.pix.width = uint32_t(wish.layout.width), f.fmt.pix.height = uint32_t(wish.layout.height);
  if (call(file_, VIDIOC_S_FMT, &f) < 0)
    fail(errno == EBUSY ? "is busy: another program streams from it"
                        : "does not take the format " + name_of(chosen->fourcc) + ": " + why());
  const v4l2_pix_format& pix = f.fmt.pix;
  const auto size = [](uint32_t w, uint32_t h) { return std::to_string(w) + "x" + std::to_string(h); };
  if (pix.pixelformat != chosen->fourcc)
    fail("gives " + name_of(pix.pixelformat) + " where " + name_of(chosen->fourcc) + " was asked for");
  if (pix.width < 1 || pix.height < 1 || int64_t(pix.width) * pix.height > kMaxImagePixels)
    fail("has frames of " + size(pix.width, pix.height) + "; expected 1 to " + std::to_string(kMaxImagePixels) +
         " pixels");
  layout_ = wish.layout;
  layout_.format = chosen->format;
  layout_.width = int(pix.width), layout_.height = int(pix.height);
  if (wish.size && (layout_.width != wish.layout.width || layout_.height != wish.layout.height))
    fail("offers " + size(pix.width, pix.height) + " as the nearest to " +
         size(uint32_t(wish.layout.width), uint32_t(wish.layout.height)) + " (--frame) in " + name_of(chosen->fourcc));
  // What the driver leaves open follows from its colour space, by the rules of its own header.
  const uint32_t encoding =
      pix.ycbcr_enc != V4L2_YCBCR_ENC_DEFAULT ? pix.ycbcr_enc : uint32_t(V4L2_MAP_YCBCR_ENC_DEFAULT(pix.colorspace));
  const uint32_t quantisation = pix.quantization != V4L2_QUANTIZATION_DEFAULT
                                    ? pix.quantization
                                    : uint32_t(V4L2_MAP_QUANTIZATION_DEFAULT(false, pix.colorspace, encoding));
  if (!wish.matrix)
    layout_.matrix = encoding == V4L2_YCBCR_ENC_709 || encoding == V4L2_YCBCR_ENC_XV709 ? vireo::YuvMatrix::kBt709
                                                                                        : vireo::YuvMatrix::kBt601;
  if (!wish.range)
    layout_.range = quantisation == V4L2_QUANTIZATION_FULL_RANGE ? vireo::YuvRange::kFull : vireo::YuvRange::kLimited;
  least_ = 0;
  for (const Plane& p : planes(layout_)) {
    if (least_ == 0) stride_ = std::max<size_t>(pix.bytesperline, p.bytes);
    least_ += std::max(stride_ / p.part, p.bytes) * p.rows;
  }
  least_ -= stride_ / planes(layout_).back().part;  // the last row may end with its pixels
  least_ += planes(layout_).back().bytes;
}

void Camera::map_buffers() {
  v4l2_requestbuffers want{};
  want.count = 4;
  want.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  want.memory = V4L2_MEMORY_MMAP;
  if (call(file_, VIDIOC_REQBUFS, &want) < 0)
    fail(errno == EBUSY ? "is busy: another program streams from it" : "gives no buffers to map: " + why());
  if (want.count < 2) fail("gives only " + std::to_string(want.count) + " buffers; expected at least 2");
  for (uint32_t i = 0; i < want.count; ++i) {
    v4l2_buffer b{};
    b.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    b.memory = V4L2_MEMORY_MMAP;
    b.index = i;
    if (call(file_, VIDIOC_QUERYBUF, &b) < 0) fail("does not tell where its buffers are: " + why());
    if (b.length < least_)
      fail("has buffers of " + std::to_string(b.length) + " bytes; frames of " + layout_.text() + " need " +
           std::to_string(least_));
    void* memory = mmap(nullptr, b.length, PROT_READ | PROT_WRITE, MAP_SHARED, file_, off_t(b.m.offset));
    if (memory == MAP_FAILED) fail("has buffers that cannot be mapped: " + why());
    buffers_.push_back({memory, b.length});
    if (!give_back(i)) fail("takes no buffers: " + why());
  }
}

std::string Camera::start() {
  int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  if (call(file_, VIDIOC_STREAMON, &type) < 0)
    return errno == EBUSY ? "is busy: another program streams from it" : "cannot be started: " + why();
  streaming_ = true;
  return {};
}

bool Camera::give_back(unsigned index) {
  v4l2_buffer b{};
  b.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  b.memory = V4L2_MEMORY_MMAP;
  b.index = index;
  return call(file_, VIDIOC_QBUF, &b) >= 0;
}

void Camera::close_all() {
  if (file_ < 0) return;
  int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  if (!buffers_.empty()) (void)call(file_, VIDIOC_STREAMOFF, &type);
  for (const Buffer& b : buffers_) munmap(b.memory, b.size);
  buffers_.clear();
  close(file_);
  file_ = -1;
}

void Camera::copy(const uint8_t* from, uint8_t* to) const {
  for (const Plane& p : planes(layout_)) {
    const size_t stride = std::max(stride_ / p.part, p.bytes);
    for (size_t y = 0; y < p.rows; ++y, to += p.bytes) std::memcpy(to, from + y * stride, p.bytes);
    from += p.rows * stride;
  }
}

bool Camera::next(Frame* frame) {
  if (over_) return false;
  frame->begin(number_ + 1, layout_);
  uint8_t* const room = frame->room();  // before a buffer is taken: what throws here loses none
  const auto end = [&](const std::string& what) {
    over_ = true;
    frame->error = frame->name + " did not come: camera '" + path_ + "' " + what;
    ++number_;
    return true;
  };
  if (!streaming_) {
    if (const std::string wrong = start(); !wrong.empty()) return end(wrong);
  }
  const int64_t began = monotonic_ns();
  v4l2_buffer newest{};
  bool have = false, starved = false;
  // The newest of those that wait. A very fast camera fills what is given back at once: not more than it has buffers.
  for (size_t taken = 0; taken < buffers_.size() || starved;) {
    // Also where the driver wakes whoever waits and then has no frame for him.
    const double left = stall_s_ - double(monotonic_ns() - began) / 1e9;
    bool late = stall_s_ > 0 && left <= 0;
    if (!have && (late || !wake_.wait_readable(file_, stall_s_ > 0 ? left : 0, &late))) {
      if (!late) return false;
      return end("gave no frame for " + stall_text(stall_s_) + ", and no error");
    }
    v4l2_buffer b{};
    b.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    b.memory = V4L2_MEMORY_MMAP;
    if (call(file_, VIDIOC_DQBUF, &b) < 0) {
      if (have) break;  // an error comes again with the next frame
      if (errno == EAGAIN) continue;
      return end(errno == ENODEV || errno == EIO ? "was unplugged or failed (" + why() + ")"
                                                 : "gave an error: " + why());
    }
    if (b.index >= buffers_.size()) return end("gave a buffer that it does not have");
    if (have) (void)give_back(newest.index);  // a camera that is gone says so at the next frame
    const uint32_t missed = counted_ && b.sequence > sequence_ + 1 ? b.sequence - sequence_ - 1 : 0;
    dropped_ += missed + (have ? 1 : 0);
    sequence_ = b.sequence, counted_ = true;
    newest = b, have = true, ++taken;
    if (starved) break;
    if (taken < buffers_.size()) continue;
    // All were full, so the camera had none for the frames that came after: the newest of these is old. The next one
    // that comes is not.
    starved = true;
    have = false;
    ++dropped_;
    (void)give_back(newest.index);
  }
  ++number_;
  frame->came_ns = (newest.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK) == V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC
                       ? int64_t(newest.timestamp.tv_sec) * 1000000000 + int64_t(newest.timestamp.tv_usec) * 1000
                       : monotonic_ns();
  if ((newest.flags & V4L2_BUF_FLAG_ERROR) != 0 || newest.bytesused < least_)
    frame->error = frame->name + " came damaged from camera '" + path_ + "': " + std::to_string(newest.bytesused) +
                   " of its " + std::to_string(least_) + " bytes" +
                   ((newest.flags & V4L2_BUF_FLAG_ERROR) != 0 ? ", and the driver says so" : "");
  else copy(static_cast<const uint8_t*>(buffers_[newest.index].memory), room);
  (void)give_back(newest.index);
  return true;
}

#else

Camera::Camera(const std::string& path, const CameraWish& wish) : path_(path), stall_s_(wish.stall_s) {
  fail("cannot be used: this build has no Video4Linux");
}
void Camera::close_all() {}
bool Camera::next(Frame*) { return false; }

#endif

Camera::~Camera() { close_all(); }

}  // namespace cli
