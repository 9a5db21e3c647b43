// The table of picture formats: see format.h.
#include "format.h"

#include <cstdio>

namespace cli::picture {
namespace {

using vireo::Error;
using vireo::ErrorCode;
using vireo::Result;

bool is_jpeg(const File& f) { return f.starts("\xff\xd8\xff", 3); }
bool is_png(const File& f) { return f.starts("\x89PNG\r\n\x1a\n", 8); }
bool is_gif(const File& f) { return f.starts("GIF87a", 6) || f.starts("GIF89a", 6); }
bool is_webp(const File& f) { return f.starts("RIFF", 4) && f.starts("WEBP", 4, 8); }
bool is_tiff(const File& f) {
  return f.starts("II*\0", 4) || f.starts("MM\0*", 4) || f.starts("II+\0", 4) || f.starts("MM\0+", 4);
}
bool is_bmp(const File& f) { return f.starts("BM", 2); }
bool is_pnm(const File& f) {
  if (f.size < 3 || f.data[0] != 'P' || f.data[1] < '1' || f.data[1] > '6') return false;
  return std::strchr(" \t\n\v\f\r", f.data[2]) != nullptr && f.data[2] != 0;
}

constexpr Format kFormats[] = {
    {"JPEG", is_jpeg, true, read_jpeg}, {"PNG", is_png, true, read_png},    {"GIF", is_gif, true, read_gif},
    {"WebP", is_webp, true, read_webp}, {"TIFF", is_tiff, true, read_tiff}, {"BMP", is_bmp, false, read_bmp},
    {"PNM", is_pnm, false, read_pnm},   {"TGA", is_tga, false, read_tga},
};

}  // namespace

const Format* find_format(const File& head) {
  for (const Format& format : kFormats)
    if (format.is(head)) return &format;
  return nullptr;
}

namespace {
/// Bytes of the file may be in it, as a chunk's name.
std::string printable(std::string text) {
  for (char& c : text)
    if (uint8_t(c) < 0x20 || c == 0x7f) c = '?';
  return text;
}
}  // namespace

Error corrupt(const File& file, const std::string& what) {
  return {ErrorCode::kCorrupt,
          "picture '" + file.name + "' cannot be decoded: " + printable(what) + "; use another copy of the file"};
}

Error refused(const File& file, const std::string& what) {
  return {ErrorCode::kUnsupported, "picture '" + file.name + "' " + printable(what)};
}

Result<void> check_size(const File& file, int64_t width, int64_t height) {
  const std::string size = std::to_string(width) + " x " + std::to_string(height);
  if (width < 1 || height < 1) return corrupt(file, "its size is " + size);
  if (width > file.max_pixels / height)
    return refused(file, "has " + size + " pixels, more than the limit of " + std::to_string(file.max_pixels) +
                             " pixels; shrink it first");
  return {};
}

std::string clipped_note(uint64_t clipped, uint64_t pixels) {
  if (clipped == 0) return {};
  char text[64];
  std::snprintf(text, sizeof text, "16-bit grey: %.1f %% of pixels clipped", 100.0 * double(clipped) / double(pixels));
  return text;
}

}  // namespace cli::picture

namespace cli {

using vireo::Error;
using vireo::ErrorCode;
using vireo::Result;

std::string refuse_picture(const uint8_t* data, size_t size) {
  const std::string name;
  const picture::File head{data, size, name};
  if (picture::find_format(head) != nullptr) return {};
  const std::string foreign = picture::describe_foreign(head);
  return foreign.empty() ? "is in no known format; expected JPEG, PNG, WebP, TIFF, BMP, GIF, TGA or PNM" : foreign;
}

bool surely_picture(const uint8_t* data, size_t size) {
  const std::string name;
  const picture::Format* format = picture::find_format({data, size, name});
  return format != nullptr && format->sure;
}

Result<Rgb8> decode_image(const uint8_t* data, size_t size, const std::string& name, const ReadOptions& options) {
  const picture::File file{data, size, name, options.max_pixels};
  if (size == 0) return Error{ErrorCode::kCorrupt, "picture '" + name + "' is empty (0 bytes); copy it again"};
  const picture::Format* format = picture::find_format(file);
  if (format == nullptr) return picture::refused(file, refuse_picture(data, size));
  Result<picture::Stored> stored = format->read(file);
  if (!stored) return std::move(stored.error());
  Rgb8& image = stored->image;
  if (options.exif) picture::orient(&image.rgb, &image.width, &image.height, 3, stored->orientation);
  return std::move(image);
}

}  // namespace cli
