// BMP of 1 to 32 bits: uncompressed, 555, 565 and 8888 masks, RLE4 and RLE8, rows up or down, OS/2's short header.
#include <algorithm>

#include "format.h"

namespace cli::picture {
namespace {

using vireo::Result;

struct Header {
  int64_t width = 0, height = 0;
  bool down = false;  // the first row is the uppermost
  uint32_t bits = 0, compression = 0, colours = 0, masks[4] = {0, 0, 0, 0};
  size_t palette_at = 0, palette_step = 4, pixels_at = 0;
};

enum : uint32_t { kRaw = 0, kRle8 = 1, kRle4 = 2, kBitfields = 3, kAlphaBitfields = 6 };

Result<Header> read_header(const File& f) {
  if (!f.has(14, 12)) return corrupt(f, "the file is truncated (BMP)");
  const uint8_t* d = f.data + 14;
  const uint32_t size = le32(d);
  if (size != 12 && size != 40 && size != 52 && size != 56 && size != 64 && size != 108 && size != 124)
    return refused(
        f, "is a BMP with a header of " + std::to_string(size) + " bytes; expected 12, 40, 52, 56, 64, 108 or 124");
  if (!f.has(14, size)) return corrupt(f, "the file is truncated (BMP)");
  Header h;
  h.palette_at = 14 + size;
  h.pixels_at = le32(f.data + 10);
  if (size == 12) {
    h.width = le16(d + 4), h.height = le16(d + 6), h.bits = le16(d + 10);
    h.palette_step = 3;
  } else {
    h.width = int32_t(le32(d + 4)), h.height = int32_t(le32(d + 8)), h.bits = le16(d + 14);
    h.down = h.height < 0;
    if (h.down) h.height = -h.height;
    h.compression = le32(d + 16), h.colours = le32(d + 32);
    if (h.compression == kBitfields || h.compression == kAlphaBitfields) {
      const size_t count = size >= 56 ? 4 : size == 52 || h.compression == kBitfields ? 3 : 4;
      if (!f.has(14 + 40, 4 * count)) return corrupt(f, "the file is truncated (BMP)");
      for (size_t i = 0; i < count; ++i) h.masks[i] = le32(d + 40 + 4 * i);
      if (size == 40) h.palette_at += 4 * count;
      h.compression = kBitfields;
    }
    if (size == 64 && h.compression > kRle4)
      return refused(f, "is an OS/2 BMP with compression " + std::to_string(h.compression) +
                            ", which is not read; convert it to PNG");
  }
  if (Result<void> ok = check_size(f, h.width, h.height); !ok) return std::move(ok.error());
  if (h.bits != 1 && h.bits != 4 && h.bits != 8 && h.bits != 16 && h.bits != 24 && h.bits != 32)
    return refused(f, "is a BMP of " + std::to_string(h.bits) + " bits per pixel; expected 1, 4, 8, 16, 24 or 32");
  const bool fits = h.compression == kRaw || (h.compression == kRle8 && h.bits == 8) ||
                    (h.compression == kRle4 && h.bits == 4) || (h.compression == kBitfields && h.bits >= 16);
  if (!fits)
    return refused(f, "is a BMP of " + std::to_string(h.bits) + " bits with compression " +
                          std::to_string(h.compression) + ", which is not read; convert it to PNG");
  if (h.colours == 0 && h.bits <= 8) h.colours = 1u << h.bits;
  if (h.bits <= 8 && h.colours > 256)
    return corrupt(f, "its palette has " + std::to_string(h.colours) + " colours (BMP)");
  // Some writers forget the palette in the place of the pixels.
  const size_t after = h.palette_at + (h.bits <= 8 ? h.palette_step * h.colours : 0);
  if (h.pixels_at == 0 || (h.bits <= 8 && h.pixels_at == 14 + size)) h.pixels_at = after;
  return h;
}

Palette read_palette(const File& f, const Header& h) {
  Palette palette;
  for (uint32_t i = 0; h.bits <= 8 && i < h.colours && f.has(h.palette_at + h.palette_step * i, 3); ++i) {
    const uint8_t* p = f.data + h.palette_at + h.palette_step * i;
    palette.set(int(i), p[2], p[1], p[0]);
  }
  return palette;
}

/// Where each colour is in a pixel of 16, 24 or 32 bits.
struct Layout {
  int at[3];    // bytes, for 24 and 32 bits
  int green16;  // bits of green, for 16
};

Result<Layout> read_layout(const File& f, const Header& h) {
  const auto masks = [&](uint32_t r, uint32_t g, uint32_t b) {
    return h.masks[0] == r && h.masks[1] == g && h.masks[2] == b;
  };
  if (h.compression == kRaw) return Layout{{2, 1, 0}, 5};
  if (h.bits == 16 && masks(0xf800, 0x7e0, 0x1f)) return Layout{{0, 0, 0}, 6};
  if (h.bits == 16 && masks(0x7c00, 0x3e0, 0x1f)) return Layout{{0, 0, 0}, 5};
  if (h.bits >= 24 && (masks(0xff0000, 0xff00, 0xff) || (h.bits == 32 && masks(0, 0, 0)))) return Layout{{2, 1, 0}, 5};
  if (h.bits == 32 && masks(0xff000000, 0xff0000, 0xff00)) return Layout{{3, 2, 1}, 5};
  if (h.bits == 32 && masks(0xff, 0xff00, 0xff0000)) return Layout{{0, 1, 2}, 5};
  return refused(f, "is a BMP whose bit masks are neither 555, 565 nor whole bytes; convert it to PNG");
}

/// RLE4 and RLE8 to indices, rows in the file's order. What the runs leave out is 0; false when the file ends early.
bool unpack(const File& f, const Header& h, std::vector<uint8_t>* out) {
  const bool four = h.compression == kRle4;
  size_t at = h.pixels_at;
  int64_t x = 0, y = 0;
  const auto put = [&](uint8_t v) {
    if (x < h.width && y < h.height) (*out)[size_t(y * h.width + x)] = v;
    ++x;
  };
  while (y < h.height) {
    if (!f.has(at, 2)) return y + 1 == h.height && x >= h.width;  // the end marker may be missing
    const int count = f.data[at], value = f.data[at + 1];
    at += 2;
    if (count > 0) {
      for (int i = 0; i < count; ++i) put(uint8_t(!four ? value : i % 2 == 0 ? value >> 4 : value & 15));
    } else if (value == 0) {
      x = 0, ++y;
    } else if (value == 1) {
      return true;
    } else if (value == 2) {
      if (!f.has(at, 2)) return false;
      x += f.data[at], y += f.data[at + 1];
      at += 2;
    } else {
      const size_t bytes = size_t(four ? (value + 1) / 2 : value);
      if (!f.has(at, bytes)) return false;
      for (int i = 0; i < value; ++i) {
        const uint8_t b = f.data[at + size_t(four ? i / 2 : i)];
        put(uint8_t(!four ? b : i % 2 == 0 ? b >> 4 : b & 15));
      }
      at += bytes + bytes % 2;
    }
  }
  return true;
}

}  // namespace

Result<Stored> read_bmp(const File& f) {
  const Result<Header> header = read_header(f);
  if (!header) return header.error();
  const Header& h = *header;
  const Result<Layout> layout = read_layout(f, h);
  if (h.bits > 8 && !layout) return layout.error();
  const bool packed = h.compression == kRle8 || h.compression == kRle4;
  const size_t row = size_t((uint64_t(h.width) * h.bits + 31) / 32 * 4), w = size_t(h.width);
  if (!packed && !f.has(h.pixels_at, 1 + row * size_t(h.height - 1))) return corrupt(f, "the file is truncated (BMP)");
  // The padding of the last row may be missing.
  if (!packed && !f.has(h.pixels_at + row * size_t(h.height - 1), (w * h.bits + 7) / 8))
    return corrupt(f, "the file is truncated (BMP)");
  std::vector<uint8_t> indices;
  if (packed) {
    indices.resize(w * size_t(h.height));
    if (!unpack(f, h, &indices)) return corrupt(f, "the file is truncated (BMP)");
  }
  const Palette palette = read_palette(f, h);
  Stored s;
  s.image.width = int(h.width);
  s.image.height = int(h.height);
  s.image.rgb.resize(w * size_t(h.height) * 3);
  for (size_t y = 0; y < size_t(h.height); ++y) {
    const uint8_t* in = packed ? &indices[y * w] : f.data + h.pixels_at + y * row;
    uint8_t* out = &s.image.rgb[(h.down ? y : size_t(h.height) - 1 - y) * w * 3];
    const size_t bits = packed ? 8 : h.bits;
    for (size_t x = 0; x < w; ++x, out += 3) {
      if (bits <= 8) {
        const unsigned index = in[x * bits / 8] >> (8 - bits - x * bits % 8) & ((1u << bits) - 1);
        std::copy_n(palette.rgb[index], 3, out);
      } else if (bits == 16) {
        const uint32_t v = le16(in + 2 * x), green = layout->green16 == 6 ? 63 : 31;
        out[0] = uint8_t((v >> (green == 63 ? 11 : 10) & 31) * 255 / 31);
        out[1] = uint8_t((v >> 5 & green) * 255 / green);
        out[2] = uint8_t((v & 31) * 255 / 31);
      } else {
        const uint8_t* p = in + x * bits / 8;
        for (int c = 0; c < 3; ++c) out[c] = p[layout->at[c]];
      }
    }
  }
  return s;
}

}  // namespace cli::picture
