#include "image.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <dirent.h>
#include <sys/stat.h>

#include <jerror.h>
#include <jpeglib.h>

#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#define STBI_NO_JPEG
#define STBI_NO_TGA  // has no signature: any bytes can look like one
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_NO_PIC
#define STBI_NO_PSD
#define STBI_MAX_DIMENSIONS (1 << 24)
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#include <stb_image.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace cli {
namespace {

using vireo::Error;
using vireo::ErrorCode;
using vireo::Result;

Error corrupt(const std::string& name, const std::string& what) {
  return {ErrorCode::kCorrupt, "picture '" + name + "' cannot be decoded: " + what + "; use another copy of the file"};
}
Error failed(ErrorCode code, const std::string& name, const std::string& what) {
  return {code, "picture '" + name + "' " + what};
}
std::string size_text(int64_t width, int64_t height) { return std::to_string(width) + " x " + std::to_string(height); }

Result<void> check_size(const std::string& name, int64_t width, int64_t height) {
  if (width < 1 || height < 1) return corrupt(name, "its size is " + size_text(width, height));
  if (width > kMaxImagePixels / height) {
    return failed(ErrorCode::kUnsupported, name, "has " + size_text(width, height) + " pixels, more than the limit of " +
                                                     std::to_string(kMaxImagePixels) + " pixels; shrink it first");
  }
  return {};
}

// ------------------------------------------------------------------------------------------------------------ JPEG

struct JpegErrors {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

void on_jpeg_error(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  info->err->format_message(info, errors->message);
  std::longjmp(errors->jump, 1);
}

/// libjpeg fills what a damaged file lacks with grey and warns. Missing data is an error here, other warnings (stray
/// bytes between segments, ...) are harmless and ignored, as Pillow does.
void on_jpeg_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  ++info->err->num_warnings;
  if (info->err->msg_code == JWRN_JPEG_EOF || info->err->msg_code == JWRN_HIT_MARKER) on_jpeg_error(info);
}

void no_jpeg_output(j_common_ptr) {}

/// Pillow's conversion of inverted CMYK ("CMYK;I", as Adobe writes it) to RGB.
void cmyk_to_rgb(const uint8_t* in, int64_t count, uint8_t* out) {
  const auto multiply = [](int a, int b) {
    const int t = a * b + 128;
    return ((t >> 8) + t) >> 8;
  };
  for (int64_t i = 0; i < count; ++i, in += 4, out += 3) {
    const int white = in[3];  // 255 - black; the file's values are already inverted
    for (int c = 0; c < 3; ++c) out[c] = uint8_t(std::max(0, white - multiply(255 - in[c], white)));
  }
}

/// State that must survive longjmp: it lives outside the function that calls setjmp.
struct JpegState {
  JpegErrors errors;
  jpeg_decompress_struct info;
  Rgb8 image;
  std::vector<uint8_t> row;
  Result<void> status;
};

void decode_jpeg(const uint8_t* data, size_t size, const std::string& name, JpegState* s) {
  jpeg_decompress_struct& info = s->info;
  info.err = jpeg_std_error(&s->errors.base);
  s->errors.base.error_exit = on_jpeg_error;
  s->errors.base.emit_message = on_jpeg_message;
  s->errors.base.output_message = no_jpeg_output;
  if (setjmp(s->errors.jump) != 0) {
    s->status = corrupt(name, std::string(s->errors.message) + " (JPEG)");
    jpeg_destroy_decompress(&info);
    return;
  }
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, data, static_cast<unsigned long>(size));
  jpeg_read_header(&info, TRUE);
  s->status = check_size(name, info.image_width, info.image_height);
  const bool cmyk = info.num_components == 4;
  if (s->status && info.num_components != 1 && info.num_components != 3 && !cmyk) {
    s->status = failed(ErrorCode::kUnsupported, name, "is a JPEG with " + std::to_string(info.num_components) +
                                                          " components; expected 1, 3 or 4");
  }
  if (s->status) {
    info.out_color_space = cmyk ? JCS_CMYK : info.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(&info);
    s->image.width = int(info.output_width);
    s->image.height = int(info.output_height);
    const size_t row_bytes = size_t(info.output_width) * 3;
    s->image.rgb.resize(row_bytes * info.output_height);
    s->row.resize(size_t(info.output_width) * size_t(info.output_components));
    while (info.output_scanline < info.output_height) {
      uint8_t* out = s->image.rgb.data() + info.output_scanline * row_bytes;
      uint8_t* target = info.num_components == 3 ? out : s->row.data();
      if (jpeg_read_scanlines(&info, &target, 1) != 1) continue;
      if (cmyk) cmyk_to_rgb(target, s->image.width, out);
      if (info.num_components == 1) {
        for (int64_t x = 0; x < s->image.width; ++x) out[3 * x] = out[3 * x + 1] = out[3 * x + 2] = target[x];
      }
    }
  }
  jpeg_destroy_decompress(&info);  // without finishing: like Pillow, the end marker after the last row is not asked for
}

Result<Rgb8> load_jpeg(const uint8_t* data, size_t size, const std::string& name) {
  auto state = std::make_unique<JpegState>();
  decode_jpeg(data, size, name, state.get());
  if (!state->status) return std::move(state->status.error());
  return std::move(state->image);
}

// ----------------------------------------------------------------------------------------------- PNG and the rest

uint32_t big_endian(const uint8_t* p) { return uint32_t(p[0]) << 24 | uint32_t(p[1]) << 16 | uint32_t(p[2]) << 8 | p[3]; }

uint32_t crc32(const uint8_t* data, size_t size) {
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int k = 0; k < 8; ++k) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

constexpr uint8_t kPngMagic[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

/// stb trusts a PNG's chunks; Pillow checks them. Walks them up to IEND: all there, and the needed ones undamaged.
Result<void> check_png(const uint8_t* data, size_t size, const std::string& name) {
  for (size_t at = 8;;) {
    if (size - at < 12) return corrupt(name, "the file is truncated (PNG)");
    const uint8_t* chunk = data + at;
    const uint64_t length = big_endian(chunk);
    if (length > size - at - 12) return corrupt(name, "the file is truncated (PNG)");
    const bool critical = (chunk[4] & 0x20) == 0 || std::memcmp(chunk + 4, "tRNS", 4) == 0;
    if (critical && crc32(chunk + 4, size_t(length) + 4) != big_endian(chunk + 8 + length)) {
      return corrupt(name, "the checksum of its chunk " + std::string(reinterpret_cast<const char*>(chunk) + 4, 4) +
                               " is wrong (PNG)");
    }
    if (std::memcmp(chunk + 4, "IEND", 4) == 0) return {};
    at += 12 + size_t(length);
  }
}

uint32_t little_endian(const uint8_t* p) { return p[0] | uint32_t(p[1]) << 8 | uint32_t(p[2]) << 16 | uint32_t(p[3]) << 24; }

/// stb reads zeros behind the end of a BMP; its rows must all be there.
Result<void> check_bmp(const uint8_t* data, size_t size, const std::string& name, int64_t width, int64_t height) {
  if (size < 30) return corrupt(name, "the file is truncated (BMP)");
  if (little_endian(data + 14) < 40) return {};  // OS/2's short header: too rare to measure
  const uint64_t bits = data[28] | uint64_t(data[29]) << 8;
  const uint64_t row = (uint64_t(width) * bits + 31) / 32 * 4;
  if (little_endian(data + 10) + row * uint64_t(height) > size) return corrupt(name, "the file is truncated (BMP)");
  return {};
}

/// stb leaves memory unset where a PNM ends early, and ignores the scale of its levels.
Result<void> check_pnm(const uint8_t* data, size_t size, const std::string& name) {
  int64_t numbers[3] = {0, 0, 0};  // width, height, highest level
  size_t at = 2;
  for (int64_t& n : numbers) {
    while (at < size && (std::isspace(data[at]) != 0 || data[at] == '#')) {
      if (data[at++] != '#') continue;
      while (at < size && data[at] != '\n') ++at;
    }
    while (at < size && std::isdigit(data[at]) != 0 && n < (1 << 24)) n = n * 10 + (data[at++] - '0');
  }
  if (numbers[2] != 255) {
    return failed(ErrorCode::kUnsupported, name, "has " + std::to_string(numbers[2]) + " as its highest level, expected 255 (PNM)");
  }
  const uint64_t bytes = uint64_t(numbers[0]) * uint64_t(numbers[1]) * (data[1] == '6' ? 3 : 1);
  if (at >= size || bytes > size - at - 1) return corrupt(name, "the file is truncated (PNM)");
  return {};
}

struct StbFree {
  void operator()(void* p) const { stbi_image_free(p); }
};

/// stb's short phrases in words for people.
std::string stb_problem() {
  const char* reason = stbi_failure_reason();
  return reason == nullptr ? std::string("its data is damaged") : std::string("its data is damaged (") + reason + ")";
}

Result<Rgb8> load_with_stb(const uint8_t* data, size_t size, const std::string& name) {
  if (size > size_t(INT32_MAX)) return corrupt(name, "its " + std::to_string(size) + " bytes are too many");
  const int bytes = int(size);
  int width = 0, height = 0, channels = 0;
  if (stbi_info_from_memory(data, bytes, &width, &height, &channels) == 0) return corrupt(name, stb_problem());
  height = height == INT32_MIN ? 0 : std::abs(height);  // negative in a BMP whose rows go down
  if (Result<void> ok = check_size(name, width, height); !ok) return std::move(ok.error());
  if (std::memcmp(data, "BM", 2) == 0) {
    if (Result<void> ok = check_bmp(data, size, name, width, height); !ok) return std::move(ok.error());
  }
  const bool png = size >= 33 && std::memcmp(data, kPngMagic, 8) == 0;
  Rgb8 image;
  // Pillow 9 reads 16-bit grey into integers and clips them at 255; 16-bit colour keeps the high bytes, as stb does.
  if (png && data[24] == 16 && data[25] == 0) {
    const std::unique_ptr<uint16_t, StbFree> grey(stbi_load_16_from_memory(data, bytes, &width, &height, &channels, 1));
    if (grey == nullptr) return corrupt(name, stb_problem());
    image.width = width;
    image.height = height;
    image.rgb.resize(size_t(width) * size_t(height) * 3);
    for (size_t i = 0; i < size_t(width) * size_t(height); ++i) {
      const uint8_t v = uint8_t(std::min<uint16_t>(grey.get()[i], 255));
      image.rgb[3 * i] = image.rgb[3 * i + 1] = image.rgb[3 * i + 2] = v;
    }
    return image;
  }
  const std::unique_ptr<uint8_t, StbFree> rgb(stbi_load_from_memory(data, bytes, &width, &height, &channels, 3));
  if (rgb == nullptr) return corrupt(name, stb_problem());
  image.width = width;
  image.height = height;
  image.rgb.assign(rgb.get(), rgb.get() + size_t(width) * size_t(height) * 3);
  return image;
}

/// A GIF without the transparency of its first frame: convert("RGB") gives transparent pixels their palette colour, stb
/// the background's. Also checks that the frame is all there, which stb does not.
Result<std::vector<uint8_t>> opaque_gif(const uint8_t* data, size_t size, const std::string& name) {
  std::vector<uint8_t> gif(data, data + size);
  const auto palette_bytes = [](uint8_t flags) { return flags & 0x80 ? size_t(3) << ((flags & 7) + 1) : size_t(0); };
  const auto skip_blocks = [&](size_t at) {
    while (at < size && gif[at] != 0) at += size_t(gif[at]) + 1;
    return at + 1;
  };
  size_t at = size > 13 ? 13 + palette_bytes(gif[10]) : size;
  while (at + 4 < size && gif[at] == 0x21) {  // extensions before the frame
    if (gif[at + 1] == 0xf9) gif[at + 3] &= uint8_t(0xfe);
    at = skip_blocks(at + 2);
  }
  if (at + 10 < size) at = skip_blocks(at + 10 + palette_bytes(gif[at + 9]) + 1);
  else at = size + 1;
  if (at > size) return corrupt(name, "the file is truncated (GIF)");
  return gif;
}

/// Formats that people will try and that are not read, by signature.
const char* known_format(const uint8_t* data, size_t size) {
  const auto starts = [&](const char* magic, size_t n, size_t at = 0) {
    return size >= at + n && std::memcmp(data + at, magic, n) == 0;
  };
  if (starts("RIFF", 4) && starts("WEBP", 4, 8)) return "WebP";
  if (starts("II*\0", 4) || starts("MM\0*", 4)) return "TIFF";
  if (starts("ftyp", 4, 4)) return "HEIF or AVIF";
  if (starts("%PDF", 4)) return "PDF";
  return nullptr;
}

}  // namespace

Result<void> check_picture_png(const uint8_t* data, size_t size, const std::string& name) {
  if (size == 0) return failed(ErrorCode::kCorrupt, name, "is empty (0 bytes); copy it again");
  if (size < 8 || std::memcmp(data, kPngMagic, 8) != 0) return failed(ErrorCode::kUnsupported, name, "is no PNG");
  if (size < 33) return corrupt(name, "the file is truncated (PNG)");
  // The size first: a bomb is refused before its chunks are read.
  if (Result<void> ok = check_size(name, big_endian(data + 16), big_endian(data + 20)); !ok) return std::move(ok.error());
  return check_png(data, size, name);
}

Result<Rgb8> decode_image(const uint8_t* data, size_t size, const std::string& name) {
  if (size == 0) return failed(ErrorCode::kCorrupt, name, "is empty (0 bytes); copy it again");
  const auto starts = [&](const void* magic, size_t n) { return size >= n && std::memcmp(data, magic, n) == 0; };
  if (starts("\xff\xd8\xff", 3)) return load_jpeg(data, size, name);
  if (starts(kPngMagic, 8)) {
    if (Result<void> ok = check_picture_png(data, size, name); !ok) return std::move(ok.error());
    return load_with_stb(data, size, name);
  }
  if (starts("GIF8", 4)) {
    Result<std::vector<uint8_t>> gif = opaque_gif(data, size, name);
    if (!gif) return std::move(gif.error());
    return load_with_stb(gif->data(), gif->size(), name);
  }
  if (starts("P5", 2) || starts("P6", 2)) {
    if (Result<void> ok = check_pnm(data, size, name); !ok) return std::move(ok.error());
    return load_with_stb(data, size, name);
  }
  if (starts("BM", 2)) return load_with_stb(data, size, name);
  if (const char* format = known_format(data, size)) {
    return failed(ErrorCode::kUnsupported, name, std::string("is a ") + format +
                                                     " file, which is not supported; convert it to JPEG or PNG");
  }
  return failed(ErrorCode::kUnsupported, name, "is in no known format; expected JPEG, PNG, BMP, GIF or PNM");
}

Result<std::vector<uint8_t>> read_picture_file(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) {
      return failed(ErrorCode::kNotFound, path, "does not exist; check the path");
    }
    return failed(ErrorCode::kIo, path, std::string("cannot be read: ") + std::strerror(errno));
  }
  if (S_ISDIR(status.st_mode)) return failed(ErrorCode::kIo, path, "is a folder, expected a file");
  if (!S_ISREG(status.st_mode)) return failed(ErrorCode::kIo, path, "is not a regular file");
  struct Close {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) {
    return failed(ErrorCode::kIo, path, std::string("cannot be read: ") + std::strerror(errno) + "; change its access rights");
  }
  constexpr int64_t kMaxBytes = int64_t(1) << 30;
  if (status.st_size > kMaxBytes) {
    return failed(ErrorCode::kUnsupported, path, "has " + std::to_string(status.st_size) + " bytes, expected at most " +
                                                     std::to_string(kMaxBytes));
  }
  std::vector<uint8_t> bytes(size_t(status.st_size));
  const size_t got = bytes.empty() ? 0 : std::fread(bytes.data(), 1, bytes.size(), file.get());
  if (got != bytes.size()) {
    return failed(ErrorCode::kIo, path, "gave only " + std::to_string(got) + " of its " + std::to_string(bytes.size()) + " bytes");
  }
  return bytes;
}

Result<Rgb8> load_image(const std::string& path) {
  Result<std::vector<uint8_t>> bytes = read_picture_file(path);
  if (!bytes) return std::move(bytes.error());
  return decode_image(bytes->data(), bytes->size(), path);
}

Result<std::vector<std::string>> list_pictures(const std::string& folder) {
  struct Close {
    void operator()(DIR* d) const { closedir(d); }
  };
  const std::unique_ptr<DIR, Close> dir(opendir(folder.c_str()));
  if (dir == nullptr) {
    return Error{ErrorCode::kIo, "the folder '" + folder + "' cannot be read: " + std::strerror(errno)};
  }
  std::vector<std::string> names;
  while (const dirent* entry = readdir(dir.get())) {
    const std::string name = entry->d_name;
    const size_t dot = name.rfind('.');
    if (dot == 0 || dot == std::string::npos) continue;
    std::string ending = name.substr(dot + 1);
    for (char& c : ending) c = char(std::tolower(static_cast<unsigned char>(c)));
    for (const char* known : {"jpg", "jpeg", "png", "bmp", "gif", "ppm", "pgm", "pnm"})
      if (ending == known && name[0] != '.') names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string stem_of(const std::string& path) {
  const std::string name = path.substr(path.find_last_of('/') + 1);
  const size_t dot = name.rfind('.');
  return dot == 0 || dot == std::string::npos ? name : name.substr(0, dot);
}

}  // namespace cli
