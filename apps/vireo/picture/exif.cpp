// How a picture wants to be turned: EXIF's orientation, as Pillow's ImageOps.exif_transpose reads and applies it.
#include <algorithm>

#include "format.h"

namespace cli::picture {

int exif_orientation(const uint8_t* data, size_t size) {
  if (size >= 6 && std::memcmp(data, "Exif\0\0", 6) == 0) data += 6, size -= 6;
  if (size < 8) return 0;
  const bool big = data[0] == 'M' && data[1] == 'M';
  if (!big && !(data[0] == 'I' && data[1] == 'I')) return 0;
  const auto u16 = [&](size_t at) { return big ? be16(data + at) : le16(data + at); };
  const auto u32 = [&](size_t at) { return big ? be32(data + at) : le32(data + at); };
  if (data[2] + data[3] != 42 || (data[2] != 0 && data[3] != 0)) return 0;
  const size_t ifd = u32(4);
  if (ifd > size || size - ifd < 2) return 0;
  const size_t entries = u16(ifd);
  int found = 0;
  for (size_t i = 0; i < entries; ++i) {
    const size_t at = ifd + 2 + 12 * i;
    if (at > size || size - at < 12) break;  // a table that is cut off: what was there counts
    if (u16(at) != 0x0112) continue;
    const uint32_t type = u16(at + 2), count = u32(at + 4);
    const size_t bytes = type == 6                ? 1
                         : type == 3 || type == 8 ? 2
                         : type == 4 || type == 9 ? 4
                                                  : 0;  // whole numbers only
    if (bytes == 0 || count == 0) continue;
    size_t value = at + 8;
    if (count > 4 / bytes) value = u32(at + 8);
    if (value > size || (size - value) / bytes < count) continue;
    const uint32_t v = bytes == 1 ? data[value] : bytes == 2 ? u16(value) : u32(value);
    found = v >= 1 && v <= 8 ? int(v) : 1;
  }
  return found;
}

int xmp_orientation(const std::string& xmp) {
  const std::string key = "tiff:Orientation";
  for (size_t at = xmp.find(key); at != std::string::npos; at = xmp.find(key, at + 1)) {
    size_t value = at + key.size();
    if (xmp.compare(value, 2, "=\"") == 0) {
      value += 2;
    } else if (xmp.compare(value, 1, ">") == 0) {
      value += 1;
    } else {
      continue;
    }
    if (value < xmp.size() && xmp[value] >= '0' && xmp[value] <= '9') return xmp[value] - '0';
  }
  return 0;
}

template <typename Sample>
void orient(std::vector<Sample>* pixels, int* width, int* height, int channels, int orientation) {
  if (orientation < 2 || orientation > 8) return;
  const bool swaps = orientation >= 5;
  const int64_t w = *width, h = *height, out_w = swaps ? h : w, out_h = swaps ? w : h;
  // The pixel at (x, y) of the result is the one at first + x * by_x + y * by_y of what is stored.
  const bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const int64_t step_x = flip_x ? -1 : 1, step_y = flip_y ? -w : w;
  const int64_t first = (flip_x ? w - 1 : 0) + (flip_y ? (h - 1) * w : 0);
  const int64_t by_x = swaps ? step_y : step_x, by_y = swaps ? step_x : step_y;
  std::vector<Sample> out(pixels->size());
  constexpr int64_t kBlock = 64;  // rows of one become columns of the other: squares stay in the cache
  for (int64_t y0 = 0; y0 < out_h; y0 += kBlock) {
    for (int64_t x0 = 0; x0 < out_w; x0 += kBlock) {
      const int64_t x1 = std::min(out_w, x0 + kBlock), y1 = std::min(out_h, y0 + kBlock);
      for (int64_t y = y0; y < y1; ++y) {
        for (int64_t x = x0; x < x1; ++x) {
          const Sample* from = pixels->data() + (first + x * by_x + y * by_y) * channels;
          std::copy(from, from + channels, out.data() + (y * out_w + x) * channels);
        }
      }
    }
  }
  *pixels = std::move(out);
  *width = int(out_w);
  *height = int(out_h);
}
template void orient<uint8_t>(std::vector<uint8_t>*, int*, int*, int, int);
template void orient<uint16_t>(std::vector<uint16_t>*, int*, int*, int, int);

}  // namespace cli::picture
