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

}  // namespace cli
