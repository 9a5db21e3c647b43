// Targa: grey, colour and palettes, with or without runs. It has no signature: see is_tga().
#include <algorithm>

#include "format.h"

namespace cli::picture {
namespace {

using vireo::Result;

struct Header {
  int kind;  // 1 palette, 2 colour, 3 grey
  bool runs, right_to_left, top_down;
  int depth;
  int64_t width, height;
  size_t palette_first, palette_count, palette_bits, palette_at, pixels_at;
};

bool read_header(const File& f, Header* h) {
  if (!f.has(0, 18)) return false;
  const uint8_t* d = f.data;
  const int type = d[2];
  h->kind = type & 7;
  h->runs = (type & 8) != 0;
  h->depth = d[16];
  h->width = le16(d + 12), h->height = le16(d + 14);
  h->right_to_left = (d[17] & 0x10) != 0;
  h->top_down = (d[17] & 0x20) != 0;
  h->palette_first = le16(d + 3), h->palette_count = le16(d + 5), h->palette_bits = d[7];
  h->palette_at = 18 + size_t(d[0]);
  h->pixels_at = h->palette_at;
  if (d[1] > 1 || (type & ~11) != 0 || h->kind < 1 || h->kind > 3 || h->width == 0 || h->height == 0 ||
      (d[17] & 0xc0) != 0)
    return false;
  if (d[1] == 1) {
    if (h->palette_bits != 15 && h->palette_bits != 16 && h->palette_bits != 24 && h->palette_bits != 32) return false;
    h->pixels_at += h->palette_count * ((h->palette_bits + 7) / 8);
  } else if (h->kind == 1) {
    return false;
  }
  if (h->kind == 1) return h->depth == 8;
  if (h->kind == 3) return h->depth == 8 || h->depth == 16 || (h->depth == 1 && !h->runs);
  return h->depth == 16 || h->depth == 24 || h->depth == 32;
}

void rgb555(uint32_t v, uint8_t* out) {
  for (int c = 0; c < 3; ++c) out[c] = uint8_t((v >> (10 - 5 * c) & 31) * 255 / 31);
}

}  // namespace

bool is_tga(const File& head) {
  Header h;
  return read_header(head, &h);
}

Result<Stored> read_tga(const File& f) {
  Header h;
  if (!read_header(f, &h)) return corrupt(f, "its header is damaged (TGA)");
  const auto truncated = [&] { return corrupt(f, "the file is truncated (TGA)"); };
  if (Result<void> ok = check_size(f, h.width, h.height); !ok) return std::move(ok.error());
  if (!f.has(0, h.pixels_at)) return truncated();
  // The first entries may be left out of the palette: black, as in Pillow.
  Palette palette;
  for (size_t i = 0; h.kind == 1 && i < std::min<size_t>(256, h.palette_first + h.palette_count); ++i) {
    uint8_t* to = palette.rgb[i];
    palette.set(int(i), 0, 0, 0);
    if (i < h.palette_first) continue;
    const uint8_t* p = f.data + h.palette_at + (i - h.palette_first) * ((h.palette_bits + 7) / 8);
    if (h.palette_bits <= 16) rgb555(le16(p), to);
    else palette.set(int(i), p[2], p[1], p[0]);
  }
  const size_t bit_row = h.depth == 1 ? size_t(h.width + 7) / 8 : 0;
  const size_t step = size_t(h.depth / 8), count = size_t(h.width) * size_t(h.height);
  // A run gives at most 128 pixels for its two to five bytes.
  const size_t least = h.runs ? (count + 127) / 128 * (1 + step) : bit_row * size_t(h.height) + count * step;
  if (!f.has(h.pixels_at, least)) return truncated();

  Stored s;
  s.image.width = int(h.width);
  s.image.height = int(h.height);
  s.image.rgb.resize(count * 3);
  size_t at = h.pixels_at;
  int left = 0;       // pixels of the run or of the packet
  bool same = false;  // all of them are the one at `at`
  for (size_t i = 0; i < count; ++i) {
    if (h.runs && left == 0) {
      if (!f.has(at, 1)) return truncated();
      same = (f.data[at] & 0x80) != 0;
      left = (f.data[at++] & 0x7f) + 1;
    }
    if (!f.has(at, step)) return truncated();
    const uint8_t* p = f.data + at;
    const size_t x = i % size_t(h.width), y = i / size_t(h.width);
    const size_t to_x = h.right_to_left ? size_t(h.width) - 1 - x : x, to_y = h.top_down ? y : size_t(h.height) - 1 - y;
    uint8_t* out = &s.image.rgb[(to_y * size_t(h.width) + to_x) * 3];
    if (bit_row > 0) put_grey(out, f.data[at + y * bit_row + x / 8] >> (7 - x % 8) & 1 ? 255 : 0);
    else if (h.kind == 1) std::copy_n(palette.rgb[*p], 3, out);
    else if (h.kind == 3) put_grey(out, *p);
    else if (h.depth == 16) rgb555(le16(p), out);
    else out[0] = p[2], out[1] = p[1], out[2] = p[0];
    if (!h.runs || --left == 0 || !same) at += step;
  }
  return s;
}

}  // namespace cli::picture
