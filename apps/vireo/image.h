// Picture files to RGB8, with the pixels of Pillow's Image.open(path).convert("RGB").
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <vireo/result.hpp>

namespace cli {

/// Rows of width * 3 bytes without padding.
struct Rgb8 {
  int width = 0, height = 0;
  std::vector<uint8_t> rgb;
};

/// Pillow's own limit against decompression bombs.
constexpr int64_t kMaxImagePixels = 178956970;

/// JPEG through libjpeg-turbo (Pillow's decoder and settings), PNG, BMP, GIF (first frame) and PNM through stb.
/// Errors name the file: kNotFound, kIo (a folder, no permission), kCorrupt (empty, truncated, damaged), kUnsupported
/// (another format, more than kMaxImagePixels pixels).
vireo::Result<Rgb8> load_image(const std::string& path);
/// The same for a file already in memory; `name` is for messages.
vireo::Result<Rgb8> decode_image(const uint8_t* data, size_t size, const std::string& name);


/// The bytes of a picture file, with load_image's errors for what is no readable file.
vireo::Result<std::vector<uint8_t>> read_picture_file(const std::string& path);
/// Whether the bytes are a whole PNG of an allowed size: signature, size, chunks up to the last, checksums. Then the bit
/// depth is byte 24 and the colour type byte 25.
vireo::Result<void> check_picture_png(const uint8_t* data, size_t size, const std::string& name);

/// The files of a folder whose names end like pictures (.jpg, .jpeg, .png, .bmp, .gif, .ppm, .pgm, .pnm in any case),
/// sorted, without the folder. Error: kIo.
vireo::Result<std::vector<std::string>> list_pictures(const std::string& folder);
/// "dir/street.jpg" -> "street".
std::string stem_of(const std::string& path);

}  // namespace cli
