// PNG through libpng. What libpng sees is put together here from the chunks that pictures need: header, palette and
// data. So no other chunk can cost anything, and rows are inflated one by one: never more than the header says.
#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <memory>

#include <png.h>
#include <zlib.h>

#include "format.h"

namespace cli::picture {
namespace {

using vireo::Result;

struct Piece {
  const uint8_t* data;
  size_t size;
};

struct Chunks {
  int64_t width = 0, height = 0;
  int depth = 0, colour = 0;
  Piece palette{nullptr, 0};  // the whole chunk
  std::vector<Piece> data;    // what IDAT chunks hold
  size_t data_size = 0;
  int orientation = 0;

  int channels() const { return colour == 2 ? 3 : colour == 4 ? 2 : colour == 6 ? 4 : 1; }
};

bool sound(const uint8_t* chunk, size_t length) {
  return crc32(crc32(0, nullptr, 0), chunk + 4, uInt(length + 4)) == be32(chunk + 8 + length);
}

constexpr size_t kMaxText = 1 << 20;

/// Text that may be compressed; empty when it is damaged or longer than kMaxText.
std::string inflate_text(const uint8_t* data, size_t size) {
  std::string text(std::min(kMaxText, 4096 + 64 * size), '\0');
  uLongf length = text.size();
  const int result = uncompress(reinterpret_cast<Bytef*>(text.data()), &length, data, uLong(size));
  text.resize(result == Z_OK ? length : 0);
  return text;
}

/// ImageMagick's way to keep EXIF: "\nexif\n   123\n" and hexadecimal digits.
int raw_profile_orientation(const std::string& text) {
  size_t at = 0;
  for (int line = 0; line < 3; ++line) {
    at = text.find('\n', at);
    if (at == std::string::npos) return 0;
    ++at;
  }
  std::vector<uint8_t> bytes;
  int high = -1;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) continue;
    if (high >= 0) bytes.push_back(uint8_t(high << 4 | digit));
    high = high >= 0 ? -1 : digit;
  }
  return exif_orientation(bytes.data(), bytes.size());
}

/// EXIF in its own chunk, then in ImageMagick's text, then XMP: Pillow's order.
struct Orientation {
  int exif = 0, raw = 0, xmp = 0;

  void look(const uint8_t* type, const uint8_t* data, size_t size) {
    const auto is = [&](const char* t) { return std::memcmp(type, t, 4) == 0; };
    if (is("eXIf")) exif = exif_orientation(data, size);
    if (!is("tEXt") && !is("zTXt") && !is("iTXt")) return;
    const auto* end = static_cast<const uint8_t*>(size > 0 ? std::memchr(data, 0, size) : nullptr);
    if (end == nullptr) return;
    const std::string key(data, end);
    const uint8_t* value = end + 1;
    size_t left = size - key.size() - 1;
    if (key == "Raw profile type exif" && is("tEXt")) raw = raw_profile_orientation(std::string(value, value + left));
    if (key == "Raw profile type exif" && is("zTXt") && left > 1)
      raw = raw_profile_orientation(inflate_text(value + 1, left - 1));
    if (key != "XML:com.adobe.xmp" || !is("iTXt") || left < 2) return;
    const bool packed = value[0] != 0;
    value += 2, left -= 2;
    for (int field = 0; field < 2; ++field) {  // language, translated key
      const auto* zero = static_cast<const uint8_t*>(left > 0 ? std::memchr(value, 0, left) : nullptr);
      if (zero == nullptr) return;
      left -= size_t(zero + 1 - value);
      value = zero + 1;
    }
    xmp = xmp_orientation(packed ? inflate_text(value, left) : std::string(value, value + left));
  }
  int value() const { return exif != 0 ? exif : raw != 0 ? raw : xmp; }
};

Result<Chunks> walk(const File& file) {
  const uint8_t* data = file.data;
  if (file.size < 33) return corrupt(file, "the file is truncated (PNG)");
  if (std::memcmp(data + 12, "IHDR", 4) != 0 || be32(data + 8) != 13)
    return corrupt(file, "its first chunk is no header (PNG)");
  Chunks c;
  c.width = be32(data + 16), c.height = be32(data + 20), c.depth = data[24], c.colour = data[25];
  // The size first: a bomb is refused before its chunks are read.
  if (Result<void> ok = check_size(file, c.width, c.height); !ok) return std::move(ok.error());
  if (!sound(data + 8, 13)) return corrupt(file, "the checksum of its chunk IHDR is wrong (PNG)");
  Orientation orientation;
  bool over = false;  // the picture's data: other chunks after it
  for (size_t at = 33;;) {
    if (!file.has(at, 12)) {
      // Many writers leave out the end, and some the last checksum: what is missing shows when the rows are read.
      if (!c.data.empty() || !file.has(at, 8) || std::memcmp(data + at + 4, "IDAT", 4) != 0) break;
    }
    const uint8_t* chunk = data + at;
    const size_t length = be32(chunk), there = std::min(length, file.size - at - 8);
    const bool whole = file.has(at + 8, length) && file.has(at + 8 + length, 4);
    const bool idat = std::memcmp(chunk + 4, "IDAT", 4) == 0;
    if (std::memcmp(chunk + 4, "IEND", 4) == 0 || (!whole && !idat)) break;
    const bool needed = !over && ((chunk[4] & 0x20) == 0 || std::memcmp(chunk + 4, "tRNS", 4) == 0);
    const bool good = whole && sound(chunk, length);
    if (needed && whole && !good)
      return corrupt(file, "the checksum of its chunk " + std::string(reinterpret_cast<const char*>(chunk) + 4, 4) +
                               " is wrong (PNG)");
    if (idat && !over) {
      c.data.push_back({chunk + 8, there});
      c.data_size += there;
    } else if (!c.data.empty()) {
      over = true;
    } else if (std::memcmp(chunk + 4, "PLTE", 4) == 0) {
      c.palette = {chunk, length + 12};
    }
    if (good) orientation.look(chunk + 4, chunk + 8, length);
    if (!whole) break;
    at += 12 + length;
  }
  if (c.data.empty()) return corrupt(file, "the file is truncated (PNG)");
  if (c.data_size > PNG_UINT_31_MAX) return refused(file, "has more than 2 GiB of data");
  // Deflate makes at most 1032 bytes of one: a file that cannot hold its rows costs nothing.
  const double bytes = double(c.width) * double(c.height) * c.channels() * c.depth / 8;
  if (bytes > 1032.0 * double(c.data_size) + 64) return corrupt(file, "the file is truncated (PNG)");
  c.orientation = orientation.value();
  return c;
}

using TakeRow = void (*)(void* to, const Chunks& chunks, int64_t y, const uint8_t* samples);

/// State that must survive longjmp: it lives outside the function that calls setjmp.
struct State {
  State(const Chunks& c, TakeRow t, void* o) : chunks(c), take(t), to(o) {}
  const Chunks& chunks;
  const TakeRow take;
  void* const to;
  std::jmp_buf jump;
  char message[128] = "";
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::vector<Piece> pieces;  // the file as libpng gets it
  uint8_t header[8], ending[4 + 12];
  std::vector<uint8_t> samples;  // of an interlaced picture, which comes in seven passes
  size_t row_bytes = 0;
  bool interlaced = false, done = false;
  Result<void> status;
};

void on_error(png_structp png, png_const_charp message) {
  auto* s = static_cast<State*>(png_get_error_ptr(png));
  std::snprintf(s->message, sizeof s->message, "%s", message);
  std::longjmp(s->jump, 1);
}
void on_warning(png_structp, png_const_charp) {}

/// Rows of samples, one byte each or two when the depth is 16; alpha is left out.
void on_info(png_structp png, png_infop info) {
  const auto* s = static_cast<const State*>(png_get_progressive_ptr(png));
  png_set_packing(png);
  png_set_strip_alpha(png);
  (void)png_set_interlace_handling(png);
  png_read_update_info(png, info);
  if (png_get_rowbytes(png, info) != s->row_bytes) png_error(png, "its rows have another size than its header says");
}

void on_row(png_structp png, png_bytep row, png_uint_32 y, int pass) {
  auto* s = static_cast<State*>(png_get_progressive_ptr(png));
  if (s->interlaced) {
    png_progressive_combine_row(png, s->samples.data() + s->row_bytes * y, row);
  } else if (row != nullptr) {
    s->take(s->to, s->chunks, y, row);
  }
  // Low and narrow pictures have nothing in the last passes.
  const int last_pass = !s->interlaced ? 0 : s->chunks.height > 1 ? 6 : s->chunks.width > 1 ? 5 : 0;
  if (int64_t(y) + 1 < s->chunks.height || pass < last_pass) return;
  s->done = true;
  png_error(png, "all rows are there");  // out of here: what else the stream inflates to is not wanted
}

void put_be32(uint8_t* p, size_t v) {
  for (int i = 0; i < 4; ++i) p[i] = uint8_t(v >> (24 - 8 * i));
}

/// Signature and header, palette, all data in one chunk, the end. Checksums were looked at in walk().
void assemble(const File& file, const Chunks& c, State* s) {
  s->pieces.push_back({file.data, 33});
  if (c.palette.data != nullptr && c.colour == 3) s->pieces.push_back(c.palette);
  put_be32(s->header, c.data_size);
  std::memcpy(s->header + 4, "IDAT", 4);
  s->pieces.push_back({s->header, 8});
  s->pieces.insert(s->pieces.end(), c.data.begin(), c.data.end());
  std::memcpy(s->ending, "\0\0\0\0\0\0\0\0IEND\xae\x42\x60\x82", 16);
  s->pieces.push_back({s->ending, 16});
}

void decode(const File& file, State* s) {
  if (setjmp(s->jump) != 0) {
    if (!s->done) s->status = corrupt(file, std::string(s->message) + " (PNG)");
    png_destroy_read_struct(&s->png, &s->info, nullptr);
    return;
  }
  s->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, s, on_error, on_warning);
  s->info = s->png != nullptr ? png_create_info_struct(s->png) : nullptr;
  if (s->info == nullptr) {
    s->status =
        refused(file, "cannot be decoded: libpng is of another version than the one built with, or memory is short");
    png_destroy_read_struct(&s->png, nullptr, nullptr);
    return;
  }
  png_set_crc_action(s->png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  png_set_benign_errors(s->png, 1);
  png_set_user_limits(s->png, 0x7fffffff, 0x7fffffff);  // ours is in pixels
  png_set_progressive_read_fn(s->png, s, on_info, on_row, nullptr);
  for (const Piece& piece : s->pieces) png_process_data(s->png, s->info, const_cast<uint8_t*>(piece.data), piece.size);
  if (!s->done) s->status = corrupt(file, "the file is truncated (PNG)");
  png_destroy_read_struct(&s->png, &s->info, nullptr);
}

Result<void> decode(const File& file, const Chunks& chunks, TakeRow take, void* to) {
  auto state = std::make_unique<State>(chunks, take, to);
  assemble(file, chunks, state.get());
  const bool colours = chunks.colour == 2 || chunks.colour == 6;
  state->row_bytes = size_t(chunks.width) * (colours ? 3 : 1) * (chunks.depth == 16 ? 2 : 1);
  state->interlaced = file.data[28] != 0;
  if (state->interlaced) state->samples.resize(state->row_bytes * size_t(chunks.height));
  decode(file, state.get());
  if (!state->status) return std::move(state->status);
  for (int64_t y = 0; state->interlaced && y < chunks.height; ++y)
    take(to, chunks, y, state->samples.data() + state->row_bytes * size_t(y));
  return {};
}

struct Colours {
  Rgb8 image;
  Palette palette;
  uint64_t clipped = 0;
};

void take_colours(void* to, const Chunks& c, int64_t y, const uint8_t* in) {
  Colours& out = *static_cast<Colours*>(to);
  const int64_t width = c.width;
  uint8_t* rgb = out.image.rgb.data() + y * width * 3;
  if (c.colour == 2 || c.colour == 6) {  // 16 bits: the high byte
    if (c.depth == 8) {
      std::memcpy(rgb, in, size_t(width) * 3);
    } else {
      for (int64_t i = 0; i < width * 3; ++i) rgb[i] = in[2 * i];
    }
    return;
  }
  const int scale = c.depth == 1 ? 255 : c.depth == 2 ? 85 : c.depth == 4 ? 17 : 1;
  for (int64_t x = 0; x < width; ++x, rgb += 3) {
    if (c.colour == 3) {
      std::copy_n(out.palette.rgb[in[x]], 3, rgb);
    } else if (c.depth < 16) {
      put_grey(rgb, uint8_t(in[x] * scale));
    } else if (c.colour == 4) {
      put_grey(rgb, in[2 * x]);
    } else {  // Pillow reads 16-bit grey into integers and clips them at 255
      const bool clips = in[2 * x] != 0;
      out.clipped += clips;
      put_grey(rgb, clips ? 255 : in[2 * x + 1]);
    }
  }
}

void take_levels(void* to, const Chunks& c, int64_t y, const uint8_t* in) {
  uint16_t* out = static_cast<Levels*>(to)->level.data() + y * c.width;
  for (int64_t x = 0; x < c.width; ++x) out[x] = uint16_t(c.depth == 16 ? be16(in + 2 * x) : in[x]);
}

}  // namespace

Result<Stored> read_png(const File& file) {
  const Result<Chunks> chunks = walk(file);
  if (!chunks) return chunks.error();
  Colours out;
  out.image.width = int(chunks->width);
  out.image.height = int(chunks->height);
  out.image.rgb.resize(size_t(chunks->width) * size_t(chunks->height) * 3);
  if (chunks->palette.data != nullptr) {
    const size_t entries = std::min<size_t>((chunks->palette.size - 12) / 3, 256);
    for (size_t i = 0; i < entries; ++i) {
      const uint8_t* p = chunks->palette.data + 8 + 3 * i;
      out.palette.set(int(i), p[0], p[1], p[2]);
    }
  }
  if (Result<void> ok = decode(file, *chunks, take_colours, &out); !ok) return std::move(ok.error());
  out.image.note = clipped_note(out.clipped, uint64_t(chunks->width) * uint64_t(chunks->height));
  return Stored{std::move(out.image), chunks->orientation};
}

}  // namespace cli::picture

namespace cli {

using vireo::Result;

Result<Levels> decode_png_levels(const uint8_t* data, size_t size, const std::string& name,
                                 const ReadOptions& options) {
  const picture::File file{data, size, name, options.max_pixels};
  if (size == 0)
    return vireo::Error{vireo::ErrorCode::kCorrupt, "picture '" + name + "' is empty (0 bytes); copy it again"};
  if (!file.starts("\x89PNG\r\n\x1a\n", 8)) return picture::refused(file, "is no PNG");
  const Result<picture::Chunks> chunks = picture::walk(file);
  if (!chunks) return chunks.error();
  Levels out;
  if (chunks->colour != 0 && chunks->colour != 3) {
    out.colour = true;
    return out;
  }
  out.width = int(chunks->width);
  out.height = int(chunks->height);
  out.level.resize(size_t(out.width) * size_t(out.height));
  if (Result<void> ok = picture::decode(file, *chunks, picture::take_levels, &out); !ok) return std::move(ok.error());
  if (options.exif) picture::orient(&out.level, &out.width, &out.height, 1, chunks->orientation);
  return out;
}

}  // namespace cli
