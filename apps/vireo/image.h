// Picture files to RGB8, with the pixels of Pillow's ImageOps.exif_transpose(Image.open(path)).convert("RGB").
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <vireo/result.hpp>

namespace cli {

/// Rows of width * 3 bytes without padding.
struct Rgb8 {
  int width = 0, height = 0;
  std::vector<uint8_t> rgb;
  std::string note{};  // what was lost in reading, for people; mostly empty
};

/// Pillow's own limit against decompression bombs.
constexpr int64_t kMaxImagePixels = 178956970;

struct ReadOptions {
  bool exif = true;  // turn the picture as its EXIF says
  int64_t max_pixels = kMaxImagePixels;
  /// Waits until a pipe or device can be read or has ended; false: it is not to be read after all. Without one, reading
  /// waits as long as the pipe makes it.
  std::function<bool(int file)> readable{};
};

/// JPEG, PNG, WebP, TIFF, BMP, GIF, TGA and PNM (the first frame or page): the table of readers is in
/// picture/format.cpp. Pipes and devices are read to their end. Errors name the file: kNotFound, kIo (a folder, no
/// permission), kCorrupt (empty, truncated, damaged), kUnsupported (another format, more than max_pixels).
vireo::Result<Rgb8> load_image(const std::string& path, const ReadOptions& options = {});
/// The same for a file already in memory; `name` is for messages.
vireo::Result<Rgb8> decode_image(const uint8_t* data, size_t size, const std::string& name,
                                 const ReadOptions& options = {});

/// What is wrong with a file that begins so and is no picture of a known kind; empty when it is one. 4 KiB are enough.
std::string refuse_picture(const uint8_t* data, size_t size);
/// Whether it begins with a signature that other bytes do not show by chance.
bool surely_picture(const uint8_t* data, size_t size);

/// The bytes of a picture file, with load_image's errors for what is no readable file.
vireo::Result<std::vector<uint8_t>> read_picture_file(const std::string& path, const ReadOptions& options = {});
/// The most bytes a picture file may have.
constexpr size_t kMaxPictureBytes = size_t(1) << 30;

/// A PNG's own numbers instead of colours: grey levels, or the indices of a palette, as stored.
struct Levels {
  bool colour = false;  // it holds colours, not levels: then nothing else is set
  int width = 0, height = 0;
  std::vector<uint16_t> level;
};
vireo::Result<Levels> decode_png_levels(const uint8_t* data, size_t size, const std::string& name,
                                        const ReadOptions& options = {});

/// The files of a folder whose names end like pictures (.jpg, .png, .webp, ... in any case), sorted, without the
/// folder. Error: kIo.
vireo::Result<std::vector<std::string>> list_pictures(const std::string& folder);
/// "dir/street.jpg" -> "street".
std::string stem_of(const std::string& path);

}  // namespace cli
