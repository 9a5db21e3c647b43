// PNM: P1 to P3 are text, P4 to P6 binary; the highest level is brought to 255 as Pillow rounds it.
#include <algorithm>
#include <cmath>

#include "format.h"

namespace cli::picture {
namespace {

using vireo::Result;

bool space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

class Reader {
 public:
  explicit Reader(const File& file) : file_(file) {}
  bool over() const { return at_ >= file_.size; }
  size_t at() const { return at_; }
  /// Behind blanks and comments ("#" to the end of the line).
  void skip() {
    while (!over() && (space(peek()) || peek() == '#')) {
      if (file_.data[at_++] != '#') continue;
      while (!over() && peek() != '\n' && peek() != '\r') ++at_;
    }
  }
  /// A number; -1 when there is none, or one of more than 9 digits.
  int64_t number() {
    skip();
    int64_t value = 0;
    int digits = 0;
    for (; !over() && peek() >= '0' && peek() <= '9'; ++digits, ++at_)
      if (digits < 9) value = value * 10 + (peek() - '0');
    return digits >= 1 && digits <= 9 ? value : -1;
  }
  uint8_t peek() const { return file_.data[at_]; }
  uint8_t take() { return file_.data[at_++]; }

 private:
  const File& file_;
  size_t at_ = 2;
};

/// A level of `highest` to one of `out`; Pillow's round() takes the even one of two that are as near.
int64_t scaled(int64_t level, int64_t highest, int64_t out) {
  return std::min(out, int64_t(std::nearbyint(double(level) / double(highest) * double(out))));
}

}  // namespace

Result<Stored> read_pnm(const File& f) {
  const int kind = f.data[1] - '0';
  const bool text = kind <= 3, bits = kind == 1 || kind == 4, colour = kind == 3 || kind == 6;
  const std::string end = " (PNM)";
  Reader in(f);
  const int64_t width = in.number(), height = in.number(), highest = bits ? 1 : in.number();
  if (width < 0 || height < 0 || highest < 0)
    return corrupt(f, (in.over() ? "the file is truncated" : "its header is damaged") + end);
  if (Result<void> ok = check_size(f, width, height); !ok) return std::move(ok.error());
  if (highest < 1 || highest > 65535)
    return corrupt(f, "its highest level is " + std::to_string(highest) + ", expected 1 to 65535" + end);
  if (!in.over() && in.peek() == '#') in.skip();  // a comment behind the last number
  else if (!in.over() && space(in.peek())) (void)in.take();
  else if (!in.over()) return corrupt(f, "its header is damaged" + end);

  const size_t samples = size_t(width) * size_t(height) * (colour ? 3 : 1);
  const size_t row = kind == 4 ? size_t(width + 7) / 8 : 0;
  const size_t needed = kind == 4 ? row * size_t(height) : text ? samples : samples * (highest > 255 ? 2 : 1);
  // Each number takes a byte at least, so that a short file costs nothing.
  if (needed > f.size - std::min(f.size, in.at())) return corrupt(f, "the file is truncated" + end);

  Stored s;
  s.image.width = int(width);
  s.image.height = int(height);
  s.image.rgb.resize(size_t(width) * size_t(height) * 3);
  uint8_t* out = s.image.rgb.data();
  const uint8_t* data = f.data + in.at();
  uint64_t clipped = 0;
  for (size_t i = 0; i < samples; ++i) {
    int64_t level = 0;
    if (kind == 4) {
      const size_t x = i % size_t(width), y = i / size_t(width);
      level = data[y * row + x / 8] >> (7 - x % 8) & 1;
    } else if (kind == 1) {  // digits need no blanks between them
      in.skip();
      level = in.over() ? -1 : in.take() - '0';
      if (level != 0 && level != 1)
        return corrupt(f, (in.over() ? "the file is truncated" : "one of its pixels is neither 0 nor 1") + end);
    } else if (text) {
      level = in.number();
      if (level < 0) return corrupt(f, (in.over() ? "the file is truncated" : "one of its levels is no number") + end);
      if (!in.over() && !space(in.peek()) && in.peek() != '#')
        return corrupt(f, "one of its levels is no number" + end);
      if (level > highest)
        return corrupt(
            f, "its level " + std::to_string(level) + " is above the highest, " + std::to_string(highest) + end);
    } else {
      level = highest > 255 ? be16(data + 2 * i) : data[i];
    }
    if (bits) {
      level = level == 0 ? 255 : 0;
    } else if (!colour && highest > 255) {  // Pillow makes 16-bit grey of it, which clips
      level = scaled(level, highest, 65535);
      clipped += level > 255;
      level = std::min<int64_t>(level, 255);
    } else if (highest != 255) {
      level = scaled(level, highest, 255);
    }
    if (colour) *out++ = uint8_t(level);
    else put_grey(out, uint8_t(level)), out += 3;
  }
  s.image.note = clipped_note(clipped, uint64_t(width) * uint64_t(height));
  return s;
}

}  // namespace cli::picture
