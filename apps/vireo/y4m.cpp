// Y4M: see y4m.h.
#include "y4m.h"

#include <cstring>
#include <sstream>

#include "cli.h"

namespace cli {
namespace {

constexpr size_t kLongestLine = 1024;
const std::string kMagic = "YUV4MPEG2";

/// What of a stranger's line goes into a message.
std::string shown(const std::string& text) {
  return "'" + printable(text.size() > 60 ? text.substr(0, 60) + "..." : text) + "'";
}

[[noreturn]] void refuse(const std::string& what) { throw Failure("the YUV4MPEG2 header " + what); }

int side_of(const std::string& tag) {
  int64_t side = 0;
  for (size_t i = 1; i < tag.size() && side <= kMaxImagePixels; ++i) {
    if (tag[i] < '0' || tag[i] > '9') side = kMaxImagePixels + 1;
    else side = 10 * side + (tag[i] - '0');
  }
  if (side < 1 || side > (1 << 24)) refuse("has " + shown(tag) + "; expected W or H and a number of pixels");
  return int(side);
}

}  // namespace

bool begins_y4m(const uint8_t* bytes, size_t count) {
  return count > kMagic.size() && std::memcmp(bytes, kMagic.data(), kMagic.size()) == 0 &&
         (bytes[kMagic.size()] == ' ' || bytes[kMagic.size()] == '\n');
}

FrameLayout parse_y4m(const std::string& header, bool* mono) {
  FrameLayout layout;
  layout.format = vireo::PixelFormat::kI420;  // where nothing is said
  *mono = false;
  std::istringstream tags(header);
  std::string tag;
  tags >> tag;
  if (tag != kMagic) refuse("begins with " + shown(tag) + "; expected " + kMagic);
  while (tags >> tag) {
    const std::string value = tag.substr(1);
    if (tag[0] == 'W') layout.width = side_of(tag);
    if (tag[0] == 'H') layout.height = side_of(tag);
    if (tag == "XCOLORRANGE=FULL") layout.range = vireo::YuvRange::kFull;
    if (tag == "XCOLORRANGE=LIMITED") layout.range = vireo::YuvRange::kLimited;
    if (tag[0] != 'C') continue;
    // Where the chroma of a block lies (jpeg, mpeg2, paldv) does not count: its pixels have it without interpolation.
    *mono = value == "mono";
    if (value == "420" || value == "420jpeg" || value == "420mpeg2" || value == "420paldv" || *mono)
      layout.format = vireo::PixelFormat::kI420;
    else if (value == "422") layout.format = vireo::PixelFormat::kI422;
    else if (value == "444") layout.format = vireo::PixelFormat::kI444;
    else
      refuse("has the colours " + shown(tag) +
             "; expected C420, C420jpeg, C420mpeg2, C420paldv, C422, C444 or Cmono (ffmpeg: -pix_fmt yuv420p)");
  }
  if (layout.width == 0 || layout.height == 0)
    refuse(std::string("has no ") + (layout.width == 0 ? "W (width)" : "H (height)") + ": " + shown(header));
  if (int64_t(layout.width) * layout.height > kMaxImagePixels)
    refuse("has frames of " + std::to_string(layout.width) + "x" + std::to_string(layout.height) +
           "; expected at most " + std::to_string(kMaxImagePixels) + " pixels");
  return layout;
}

Y4mFrames::Y4mFrames(std::unique_ptr<Stream> stream, const FrameLayout& as) : stream_(std::move(stream)) {
  std::string line, error;
  if (!read_line(&line, &error))
    throw Failure(!error.empty() ? error
                                 : "the YUV4MPEG2 header of " + stream_->name() + " has no end in " +
                                       std::to_string(line.size()) + " bytes: " + shown(line));
  layout_ = parse_y4m(line, &mono_);
  layout_.matrix = as.matrix;
  layout_.rotation = as.rotation;
}

bool Y4mFrames::read_line(std::string* line, std::string* error) {
  line->clear();
  for (uint8_t c = 0; line->size() < kLongestLine; *line += char(c)) {
    if (stream_->read(&c, 1, error) == 0) return false;
    if (c == '\n') return true;
  }
  return false;
}

bool Y4mFrames::next(Frame* frame) {
  if (over_ || stream_->stopped()) return false;
  frame->begin(number_ + 1, layout_);
  over_ = true;  // unless all goes well
  std::string line;
  const bool whole = read_line(&line, &frame->error);
  if (stream_->stopped() || (!whole && line.empty() && frame->error.empty())) return false;
  ++number_;
  if (!frame->error.empty()) return true;
  // Parameters may follow (interlacing, comments): they change nothing here.
  if (line.compare(0, 5, "FRAME") != 0 || (line.size() > 5 && line[5] != ' ')) {
    frame->error = frame->name + " begins with " + shown(line) + "; expected FRAME: " + stream_->name() +
                   " is damaged, or other bytes are among the frames";
    return true;
  }
  const size_t all = layout_.bytes();
  const size_t luma = size_t(layout_.width) * size_t(layout_.height), size = mono_ ? luma : all;
  uint8_t* to = frame->room();
  if (mono_) std::memset(to + luma, 128, all - luma);  // no colour
  const size_t got = whole ? stream_->read(to, size, &frame->error) : 0;
  if (stream_->stopped()) return false;
  over_ = got < size;
  if (over_ && frame->error.empty())
    frame->error = frame->name + " is cut short: " + stream_->name() + " ended after " + std::to_string(got) +
                   " of its " + std::to_string(size) + " bytes (" + layout_.text() +
                   "); the program that sends the frames ended too early";
  frame->came_ns = monotonic_ns();
  return true;
}

}  // namespace cli
