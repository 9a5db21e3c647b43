// YUV4MPEG2 (Y4M), what `ffmpeg -f yuv4mpegpipe` and mjpegtools send: a line that says how the frames lie, then the
// frames, each behind a line of its own.
#pragma once

#include <memory>

#include "frames.h"

namespace cli {

/// Whether bytes begin like one.
bool begins_y4m(const uint8_t* bytes, size_t count);

/// The layout that a header line (without its end) states; `mono`: frames have luma alone. Throws Failure: what is
/// damaged or not taken.
FrameLayout parse_y4m(const std::string& header, bool* mono);

class Y4mFrames : public FrameSource {
 public:
  /// Reads the header; `as`: the matrix and rotation, which it does not tell. Throws Failure.
  Y4mFrames(std::unique_ptr<Stream> stream, const FrameLayout& as);
  bool next(Frame* frame) override;
  void stop() override { stream_->stop(); }
  const FrameLayout& layout() const { return layout_; }
  /// Another one than the header says.
  void set_range(vireo::YuvRange range) { layout_.range = range; }

 private:
  /// A line without its end; false where the stream ends before, or the line does not.
  bool read_line(std::string* line, std::string* error);

  std::unique_ptr<Stream> stream_;
  FrameLayout layout_;
  bool mono_ = false, over_ = false;
  uint64_t number_ = 0;
};

}  // namespace cli
