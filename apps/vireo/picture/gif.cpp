// The first frame of a GIF, where Pillow puts it: on a canvas of the transparent colour, or of colour 0.
#include <algorithm>

#include "format.h"

namespace cli::picture {
namespace {

using vireo::Result;

/// The frame's data, whose bytes come in blocks of up to 255.
class Codes {
 public:
  Codes(const File& file, size_t at) : file_(file), at_(at) {}
  /// The next `bits` bits, the lowest first; -1 at the end.
  int next(int bits) {
    while (have_ < bits) {
      if (left_ == 0) {
        if (!file_.has(at_, 1) || file_.data[at_] == 0) return -1;
        left_ = file_.data[at_++];
      }
      if (!file_.has(at_, 1)) return -1;
      held_ |= uint32_t(file_.data[at_++]) << have_;
      have_ += 8;
      --left_;
    }
    const int code = int(held_ & ((1u << bits) - 1));
    held_ >>= bits;
    have_ -= bits;
    return code;
  }

 private:
  const File& file_;
  size_t at_;
  int left_ = 0, have_ = 0;
  uint32_t held_ = 0;
};

/// LZW: indices until the frame is full. Empty when it went well, else what is wrong.
std::string unpack(Codes codes, int bits, size_t count, uint8_t* out) {
  if (bits < 1 || bits > 8) return "its codes have " + std::to_string(bits) + " bits (GIF)";
  const int clear = 1 << bits, end = clear + 1;
  uint16_t before[4096];
  uint8_t last[4096], first[4096], text[4096];
  for (int i = 0; i < clear; ++i) before[i] = 0, last[i] = first[i] = uint8_t(i);
  int next = end + 1, width = bits + 1, previous = -1;
  for (size_t done = 0; done < count;) {
    const int code = codes.next(width);
    if (code < 0) return "the file is truncated (GIF)";
    if (code == clear) {
      next = end + 1, width = bits + 1, previous = -1;
      continue;
    }
    if (code == end) return "its data ends before its pixels (GIF)";
    if (code > next || (code == next && previous < 0) || (previous < 0 && code > end))
      return "its data is damaged (GIF)";
    // The code that is only now being defined is the previous one and its first index again.
    size_t length = 0;
    int at = code;
    if (code == next) text[length++] = first[previous], at = previous;
    for (; at > end; at = before[at]) text[length++] = last[at];
    text[length++] = uint8_t(at);
    if (previous >= 0 && next < 4096) {
      before[next] = uint16_t(previous);
      first[next] = first[previous];
      last[next] = text[length - 1];
      ++next;
      if (next == 1 << width && width < 12) ++width;
    }
    previous = code;
    while (length > 0 && done < count) out[done++] = text[--length];
  }
  return {};
}

/// Row number `i` of the data is this row of the frame.
int64_t interlaced_row(int64_t i, int64_t height) {
  constexpr int kFirst[] = {0, 4, 2, 1}, kStep[] = {8, 8, 4, 2};
  for (int pass = 0; pass < 4; ++pass) {
    const int64_t rows = (height - kFirst[pass] + kStep[pass] - 1) / kStep[pass];
    if (i < rows) return kFirst[pass] + i * kStep[pass];
    i -= rows;
  }
  return height - 1;
}

size_t palette_bytes(uint8_t flags) { return flags & 0x80 ? size_t(3) << ((flags & 7) + 1) : 0; }

void read_palette(const File& f, size_t at, size_t bytes, Palette* palette) {
  *palette = Palette();
  for (size_t i = 0; i < bytes / 3; ++i)
    palette->set(int(i), f.data[at + 3 * i], f.data[at + 3 * i + 1], f.data[at + 3 * i + 2]);
}

}  // namespace

Result<Stored> read_gif(const File& f) {
  const auto truncated = [&] { return corrupt(f, "the file is truncated (GIF)"); };
  if (!f.has(0, 13)) return truncated();
  int64_t width = le16(f.data + 6), height = le16(f.data + 8);
  size_t at = 13;
  Palette palette;
  if (!f.has(at, palette_bytes(f.data[10]))) return truncated();
  read_palette(f, at, palette_bytes(f.data[10]), &palette);
  at += palette_bytes(f.data[10]);
  int background = 0;
  for (;;) {  // to the first frame
    if (!f.has(at, 2)) return truncated();
    const uint8_t kind = f.data[at];
    if (kind == 0x2c) break;
    if (kind == 0x3b) return corrupt(f, "it has no frame (GIF)");
    if (kind != 0x21) {  // not allowed here, and skipped as Pillow does
      ++at;
      continue;
    }
    // Graphic control: flags, duration, the transparent index. A pixel of it keeps its colour: alpha is dropped.
    if (f.data[at + 1] == 0xf9 && f.has(at + 2, 5) && f.data[at + 2] >= 4 && f.data[at + 3] & 1)
      background = f.data[at + 6];
    at += 2;
    while (f.has(at, 1) && f.data[at] != 0) at += size_t(f.data[at]) + 1;
    ++at;
  }
  if (!f.has(at, 11)) return truncated();
  const int64_t left = le16(f.data + at + 1), top = le16(f.data + at + 3), w = le16(f.data + at + 5),
                h = le16(f.data + at + 7);
  const uint8_t flags = f.data[at + 9];
  at += 10;
  const size_t local = palette_bytes(flags);
  if (!f.has(at, local + 1)) return truncated();
  if (local > 0) read_palette(f, at, local, &palette);
  at += local;
  // A frame that reaches beyond the canvas makes it larger, as in Pillow.
  width = std::max(width, left + w), height = std::max(height, top + h);
  if (Result<void> ok = check_size(f, width, height); !ok) return std::move(ok.error());
  if (w == 0 || h == 0) return corrupt(f, "its frame is empty (GIF)");
  std::vector<uint8_t> indices(size_t(w * h));
  const std::string problem = unpack(Codes(f, at + 1), f.data[at], indices.size(), indices.data());
  if (!problem.empty()) return corrupt(f, problem);

  Stored s;
  s.image.width = int(width);
  s.image.height = int(height);
  s.image.rgb.resize(size_t(width * height) * 3);
  if (w < width || h < height)
    for (size_t i = 0; i < size_t(width * height); ++i) std::copy_n(palette.rgb[background], 3, &s.image.rgb[3 * i]);
  for (int64_t i = 0; i < h; ++i) {
    const int64_t y = flags & 0x40 ? interlaced_row(i, h) : i;
    uint8_t* out = &s.image.rgb[size_t(((top + y) * width + left) * 3)];
    for (int64_t x = 0; x < w; ++x) std::copy_n(palette.rgb[indices[size_t(i * w + x)]], 3, out + 3 * x);
  }
  return s;
}

}  // namespace cli::picture
