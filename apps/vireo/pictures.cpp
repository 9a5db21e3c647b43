// Pictures of a verb: see pictures.h.
#include "pictures.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/text.h"
#include "camera.h"
#include "cli.h"
#include "y4m.h"

namespace cli {
namespace {

/// What the options say of frames whose own header, if there is one, does not.
FrameLayout frame_layout(const Common& common) {
  FrameLayout layout;
  if (!common.frame_format.empty()) (void)parse_pixel_format(common.frame_format, &layout.format);
  layout.width = common.frame_width, layout.height = common.frame_height;
  layout.range = common.frame_range;
  layout.matrix = common.frame_matrix;
  layout.rotation = common.frame_rotation;
  return layout;
}

/// Throws UsageError where the name is a film's or an address: what decodes these is ffmpeg, and this is how.
void check_no_film(const char* verb, const std::string& name) {
  const size_t scheme = name.find("://");
  bool film = scheme != std::string::npos && scheme > 0;
  for (const char* ending : {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".ts", ".mts", ".mpg", ".mpeg",
                             ".h264", ".h265", ".hevc", ".wmv", ".3gp"}) {
    const size_t n = std::strlen(ending);
    film =
        film || (name.size() > n && std::equal(name.end() - std::ptrdiff_t(n), name.end(), ending, [](char a, char b) {
                   return (a >= 'A' && a <= 'Z' ? char(a + 32) : a) == b;
                 }));
  }
  if (!film) return;
  const std::string rtsp = name.compare(0, 4, "rtsp") == 0 ? "-rtsp_transport tcp " : "";
  throw UsageError(std::string(verb) + ": '" + name + "' is video, which ffmpeg decodes; send its frames: ffmpeg " +
                   rtsp + "-i '" + name + "' -f yuv4mpegpipe -pix_fmt yuv420p - | vireo " + verb + " ... -");
}

/// The options of frames that pictures have no use for, but --frame and --format; empty: none was given.
std::string frame_option(const Common& common) {
  return common.frame_rotation_given ? "--rotate"
         : common.frame_range_given  ? "--range"
         : common.frame_matrix_given ? "--matrix"
         : common.frame_limit > 0    ? "--frames"
         : common.frame_stall > 0    ? "--stall"
                                     : "";
}

/// A pipe, a device or a socket: readable once, without a size.
bool is_stream(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

}  // namespace

bool is_folder(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool is_standard_input(const std::string& name) {
  return name == "-" || name == "/dev/stdin" || name == "/dev/fd/0" || name == "/proc/self/fd/0";
}

ReadOptions read_options(const Common& common) {
  ReadOptions options;
  options.exif = !common.ignore_exif;
  options.readable = wait_readable;
  return options;
}

Pictures::Pictures(const char* verb, const std::vector<std::string>& names, const Common& common)
    : options_(read_options(common)) {
  options_.readable = [this](int file) { return wake_.wait_readable(file); };
  const std::string who = std::string(verb) + ": ";
  bool standard_input = false, streams = false;
  for (const std::string& name : names) {
    if (is_standard_input(name)) {
      if (standard_input) throw UsageError(who + "standard input (-) is named twice; it can be read once");
      if (isatty(STDIN_FILENO) != 0)
        throw UsageError(who + name +
                         " reads standard input, which is a terminal; pipe a picture or raw frames into it");
      standard_input = streams = true;
      struct stat info {};
      if (fstat(STDIN_FILENO, &info) == 0 && S_ISREG(info.st_mode)) streams_.push_back("/dev/stdin");
      add_stream(verb, name, std::make_unique<Stream>(STDIN_FILENO, "standard input"), names.size() == 1, common);
    } else if (is_folder(name)) {
      add_folder(name);
    } else if (names_camera(name)) {
      if (names.size() > 1) throw UsageError(who + name + " (a camera) goes alone, without other pictures");
      CameraWish wish;
      wish.layout = frame_layout(common);
      wish.format = !common.frame_format.empty();
      wish.size = common.frame_width > 0;
      wish.range = common.frame_range_given;
      wish.matrix = common.frame_matrix_given;
      wish.stall_s = common.frame_stall > 0 ? common.frame_stall : Common::kCameraStall;
      auto camera = std::make_unique<Camera>(name, wish);
      expected_ = "frames of " + camera->layout().text();
      raw_ = std::move(camera);
      live_ = true;
      streams = true;
      streams_.push_back(name);
    } else if (((common.frame_width > 0 || names.size() == 1) && is_stream(name)) || vireo::ends_with(name, ".y4m")) {
      // What a pipe that stands alone brings is seen by its beginning; one among others waits for its turn.
      const int file = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
      if (file < 0) throw Failure("'" + name + "' cannot be read: " + std::strerror(errno));
      streams = true;
      streams_.push_back(name);
      add_stream(verb, name, std::make_unique<Stream>(file, "'" + name + "'", true), names.size() == 1, common);
    } else {
      check_no_film(verb, name);
      items_.push_back(Item{name});
    }
  }
  if (common.frame_width > 0 && !streams)
    throw UsageError(
        who +
        "--frame is the size of raw frames from a pipe (- is standard input), and there is none among the pictures");
  if (!common.frame_format.empty() && raw_ == nullptr)
    throw UsageError(who + "--format says how raw frames from a pipe lie, and " +
                     (common.frame_width > 0 ? "no raw frames come" : "they need their size too: --frame WxH"));
  if (common.frame_drop && raw_ == nullptr)
    throw UsageError(who + "--drop is for frames of a pipe (-: Y4M, or raw with --frame) or camera; files wait");
  if (common.frame_deadline > 0 && raw_ == nullptr)
    throw UsageError(who + "--deadline is for frames of a pipe (-: Y4M, or raw with --frame) or camera");
  if (const std::string option = frame_option(common); !option.empty() && raw_ == nullptr)
    throw UsageError(who + option + " is for frames of a pipe (-: Y4M, or raw with --frame) or camera");
  limit_ = common.frame_limit;
}

void Pictures::add_folder(const std::string& folder) {
  folders_ = true;
  size_t own = 0;
  const size_t before = items_.size();
  const auto listed = list_pictures(folder);
  for (const std::string& name : listed ? *listed : std::vector<std::string>()) {
    if (vireo::ends_with(name, kMapEnding) || vireo::ends_with(name, kOverlayEnding)) {
      ++own;
    } else {
      items_.push_back(Item{folder + (folder.back() == '/' ? "" : "/") + name});
    }
  }
  if (own > 0)
    notes_.push_back("'" + folder + "': " + std::to_string(own) + " files *" + kMapEnding + " or *" + kOverlayEnding +
                     " are results of an earlier run and left out");
  if (items_.size() > before) return;
  items_.push_back(Item{folder});
  items_.back().error = !listed ? listed.error().message
                                : "the folder '" + folder +
                                      "' has no picture; expected files ending in .jpg, .png, .webp, .tif, .bmp, .gif, "
                                      ".tga, .ppm, .pgm or .pbm";
}

void Pictures::add_stream(const char* verb, const std::string& name, std::unique_ptr<Stream> stream, bool alone,
                          const Common& common) {
  const std::string who = std::string(verb) + ": ";
  const bool sized = common.frame_width > 0;
  if (!alone && !sized) {  // it is looked at when its turn comes: a bad one does not cost the other pictures
    items_.push_back(Item{name, std::move(stream)});
    return;
  }
  stream->set_stall(common.frame_stall);
  std::string error;
  const std::vector<uint8_t>& head = stream->head(&error);
  if (!error.empty() && alone) throw Failure(error);
  const std::string refusal = refuse_picture(head.data(), head.size());
  const bool y4m = begins_y4m(head.data(), head.size());
  if (y4m && error.empty()) {
    if (!alone) throw UsageError(who + name + " (Y4M) goes alone, without other pictures");
    if (sized || !common.frame_format.empty())
      throw UsageError(who + "what comes on " + stream->name() +
                       " is Y4M, which says itself how its frames lie; leave --frame and --format out");
    FrameLayout layout = frame_layout(common);
    auto frames = std::make_unique<Y4mFrames>(std::move(stream), layout);
    if (common.frame_range_given) frames->set_range(layout.range);
    expected_ = "Y4M frames of " + frames->layout().text();
    raw_ = std::move(frames);
    return;
  }
  // Two or three letters at the beginning of raw frames are no signature.
  if (sized && error.empty() && !surely_picture(head.data(), head.size())) {
    if (!alone) throw UsageError(who + name + " (raw frames) goes alone, without other pictures");
    const FrameLayout layout = frame_layout(common);
    expected_ = "raw frames of " + layout.text();
    raw_ = std::make_unique<RawFrames>(std::move(stream), layout);
    return;
  }
  if (!alone) {
    items_.push_back(Item{name, std::move(stream)});
    return;
  }
  const std::string raw = "; raw frames need their size: --frame WxH, for example --frame 640x480";
  if (head.empty())
    throw UsageError(who + stream->name() +
                     " brought nothing; expected a picture, Y4M or raw frames, which need their size (--frame WxH)");
  if (!refusal.empty()) throw UsageError(who + "what comes on " + stream->name() + " " + refusal + raw);
  items_.push_back(Item{name, std::move(stream)});
}

std::vector<std::string> Pictures::names() const {
  std::vector<std::string> names;
  for (const Item& item : items_) names.push_back(item.path);
  return names;
}

std::vector<std::string> Pictures::inputs() const {
  std::vector<std::string> inputs = names();
  inputs.insert(inputs.end(), streams_.begin(), streams_.end());
  return inputs;
}

void Pictures::stop() {
  wake_.stop();
  if (raw_ != nullptr) raw_->stop();
  for (const Item& item : items_)
    if (item.stream != nullptr) item.stream->stop();
}

void Pictures::read_stream(Stream& stream, Frame* frame) {
  // What begins as no picture may have no end.
  const std::vector<uint8_t>& head = stream.head(&frame->error);
  if (!frame->error.empty() || stream.stopped()) return;
  if (const std::string refusal = refuse_picture(head.data(), head.size()); !head.empty() && !refusal.empty()) {
    frame->error = "picture '" + frame->name + "' " + refusal;
    return;
  }
  std::vector<uint8_t> bytes(1 << 16);
  size_t got = 0;
  for (;;) {
    got += stream.read(bytes.data() + got, bytes.size() - got, &frame->error);
    if (got < bytes.size() || !frame->error.empty()) break;
    if (got > kMaxPictureBytes) {
      frame->error = "picture '" + frame->name + "' has more than " + std::to_string(kMaxPictureBytes) + " bytes";
      return;
    }
    bytes.resize(std::min(2 * got, kMaxPictureBytes + 1));
  }
  if (!frame->error.empty() || stream.stopped()) return;
  auto picture = decode_image(bytes.data(), got, frame->name, options_);
  if (!picture) frame->error = picture.error().message;
  else frame->picture = std::move(*picture);
}

bool Pictures::next(Frame* frame) {
  if (raw_ != nullptr) {
    if (limit_ > 0 && given_++ >= limit_) return false;
    if (raw_->next(frame)) return true;
    cut_ = wake_.stopped() && interrupted();
    return false;
  }
  if (wake_.stopped() || at_ == items_.size()) return false;
  const Item& item = items_[at_++];
  frame->name = item.path;
  frame->error = item.error;
  frame->bytes.clear();
  frame->came_ns = 0;
  if (!item.error.empty()) return true;
  if (item.stream != nullptr) {
    read_stream(*item.stream, frame);
    return !wake_.stopped();
  }
  auto picture = load_image(item.path, options_);
  if (wake_.stopped()) return false;
  if (!picture) frame->error = picture.error().message;
  else frame->picture = std::move(*picture);
  return true;
}

void check_frames_came(const Pictures& pictures, size_t count) {
  if (!pictures.raw() || count > 0) return;
  if (interrupted()) throw Interrupted("interrupted before a frame came");
  throw Failure("no frame came; expected " + pictures.expected());
}

void tell_cut(const Pictures& pictures, size_t count) {
  if (pictures.cut() && count > 0) std::fprintf(stderr, "note: interrupted after %zu frames\n", count);
}

void check_no_frame_options(const char* verb, const Common& common) {
  const std::string option = common.frame_width > 0         ? "--frame"
                             : !common.frame_format.empty() ? "--format"
                                                            : frame_option(common);
  if (!option.empty()) throw UsageError(std::string(verb) + ": " + option + " is for frames, and no picture is named");
}

Rgb8 one_picture(const char* verb, const std::string& name, const Common& common) {
  if (is_folder(name)) throw Failure("picture '" + name + "' is a folder; `vireo " + verb + "` takes single pictures");
  Pictures pictures(verb, {name}, common);
  Frame frame;
  if (!pictures.next(&frame)) throw Failure("no frame came on " + name + "; expected " + pictures.expected());
  if (!frame.error.empty()) throw Failure(frame.error);
  PictureNotes().add(frame.name, frame.picture.note);
  (void)frame.rgb();
  return std::move(frame.picture);
}

FrameReader::FrameReader(Pictures& pictures, const Common& common, bool ahead) : pictures_(pictures) {
  if (ahead || (pictures.raw() && !pictures.live()))
    queue_ = std::make_unique<FrameQueue>(pictures, common.frame_drop || pictures.live());
}

Frame* FrameReader::take(bool wait) {
  if (queue_ != nullptr) return queue_->take(wait);
  return pictures_.next(&own_) ? &own_ : nullptr;
}

void FrameReader::give_back(Frame* frame) {
  if (queue_ != nullptr) queue_->give_back(frame);
}

void PictureNotes::add(const std::string& name, const std::string& note) {
  constexpr size_t kShown = 5;
  if (!note.empty() && ++count_ <= kShown)
    std::fprintf(stderr, "note: %s in '%s'\n", note.c_str(), printable(name).c_str());
}

PictureNotes::~PictureNotes() {
  if (count_ > 5) std::fprintf(stderr, "note: and so in %zu more pictures\n", count_ - 5);
}

}  // namespace cli
