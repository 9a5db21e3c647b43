// libFuzzer target: picture files of every format through the reader of the command line tool.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "image.h"

namespace {

// Small enough that a header which promises more than the file has cannot slow a step down.
constexpr int64_t kPixels = 1 << 18;

void check(const vireo::Result<cli::Rgb8>& picture) {
  if (picture) {
    const int64_t pixels = int64_t(picture->width) * picture->height;
    if (picture->width < 1 || picture->height < 1 || pixels > kPixels || int64_t(picture->rgb.size()) != 3 * pixels)
      std::abort();
    return;
  }
  const std::string& message = picture.error().message;
  if (message.find("picture 'fuzz' ") != 0 || message.find('\n') != std::string::npos) std::abort();
  if (picture.error().code == vireo::ErrorCode::kInternal) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cli::ReadOptions options;
  options.max_pixels = kPixels;
  const auto turned = cli::decode_image(data, size, "fuzz", options);
  check(turned);
  options.exif = false;
  const auto stored = cli::decode_image(data, size, "fuzz", options);
  check(stored);
  // EXIF turns pixels: it neither adds nor removes any, and no file is refused for it.
  if (bool(turned) != bool(stored) || (turned && turned->rgb.size() != stored->rgb.size())) std::abort();
  if (turned && !cli::refuse_picture(data, size).empty()) std::abort();
  const auto levels = cli::decode_png_levels(data, size, "fuzz", options);
  if (levels && !levels->colour && int64_t(levels->level.size()) != int64_t(levels->width) * levels->height)
    std::abort();
  return 0;
}
