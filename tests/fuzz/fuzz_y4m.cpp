// libFuzzer target: Y4M streams (ffmpeg -f yuv4mpegpipe) through the reader of the command line tool.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "cli.h"
#include "y4m.h"

namespace {

// Small enough that a header which promises more than the stream has cannot slow a step down.
constexpr int64_t kPixels = 1 << 16;

void check_sentence(const std::string& text) {
  if (text.empty() || text.find('\n') != std::string::npos) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kMost = 16384;  // a pipe holds it, so that nobody has to read while it is written
  if (size > kMost || !cli::begins_y4m(data, size)) return 0;
  const std::string all(reinterpret_cast<const char*>(data), size);
  bool mono = false;
  try {
    const cli::FrameLayout layout = cli::parse_y4m(all.substr(0, all.find('\n')), &mono);
    if (layout.width < 1 || layout.height < 1 || layout.bytes() == 0) std::abort();
    if (int64_t(layout.width) * layout.height > kPixels) return 0;
  } catch (const cli::Failure& failure) {
    check_sentence(failure.what());
  }
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  if (write(ends[1], data, size) != ssize_t(size)) std::abort();
  close(ends[1]);
  size_t frames = 0, errors = 0;
  try {
    cli::FrameLayout as;
    as.rotation = 90;
    cli::Y4mFrames stream(std::make_unique<cli::Stream>(ends[0], "fuzz", true), as);
    cli::Frame frame;
    // Each frame has at least its own line.
    while (stream.next(&frame)) {
      if (++frames > size / 5) std::abort();
      if (errors > 0) std::abort();  // an error is the last of them
      if (!frame.error.empty()) {
        check_sentence(frame.error);
        ++errors;
        continue;
      }
      if (frame.bytes.size() != stream.layout().bytes() || frame.picture.width != stream.layout().height) std::abort();
      if (int64_t(frame.rgb().rgb.size()) != 3 * int64_t(frame.picture.width) * frame.picture.height) std::abort();
    }
    if (stream.next(&frame)) std::abort();  // the end stays the end
  } catch (const cli::Failure& failure) {
    check_sentence(failure.what());
  }
  return 0;
}
