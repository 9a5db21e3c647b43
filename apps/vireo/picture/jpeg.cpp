// JPEG through libjpeg(-turbo), with Pillow's settings.
#include <csetjmp>
#include <cstdio>
#include <memory>

#include <jerror.h>
#include <jpeglib.h>

#include "format.h"

namespace cli::picture {
namespace {

using vireo::Result;

/// Each scan of a progressive file passes over the whole picture, however few bytes it has. Encoders write about ten.
constexpr int kMaxScans = 64;

struct Errors {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

void on_error(j_common_ptr info) {
  auto* errors = reinterpret_cast<Errors*>(info->err);
  info->err->format_message(info, errors->message);
  std::longjmp(errors->jump, 1);
}

/// libjpeg fills what a damaged file lacks with grey and warns. Missing data is an error here, other warnings (stray
/// bytes between segments, ...) are harmless and ignored, as Pillow does.
void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  ++info->err->num_warnings;
  if (info->err->msg_code == JWRN_JPEG_EOF || info->err->msg_code == JWRN_HIT_MARKER) on_error(info);
}

void no_output(j_common_ptr) {}

/// walk() has counted them; this holds where libjpeg finds more in a damaged file.
void on_progress(j_common_ptr info) {
  if (!info->is_decompressor || reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans) return;
  auto* errors = reinterpret_cast<Errors*>(info->err);
  std::snprintf(errors->message, sizeof errors->message, "it has more than %d scans", kMaxScans);
  std::longjmp(errors->jump, 1);
}

struct Markers {
  int orientation = 0;  // of the first APP1 segment of EXIF, before the picture's data
  int scans = 0;
};

/// From segment to segment, up to the end mark. Data between them has no other marker than restarts.
Markers walk(const File& f) {
  Markers m;
  bool found = false;
  for (size_t at = 2; f.has(at, 2);) {
    const void* next = std::memchr(f.data + at, 0xff, f.size - at - 1);
    if (next == nullptr) break;
    at = size_t(static_cast<const uint8_t*>(next) - f.data);
    const uint8_t marker = f.data[at + 1];
    if (marker == 0xff) {  // a filler
      ++at;
      continue;
    }
    at += 2;
    if (marker == 0xd9) break;
    if (marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd8)) continue;  // without a length
    if (marker == 0xda) ++m.scans;
    if (!f.has(at, 2)) break;
    const size_t length = be16(f.data + at);
    if (length < 2 || !f.has(at, length)) continue;
    if (marker == 0xe1 && !found && m.scans == 0 && length >= 8 && f.starts("Exif\0", 5, at + 2)) {
      found = true;
      m.orientation = exif_orientation(f.data + at + 2, length - 2);
    }
    at += length;
  }
  return m;
}

/// State that must survive longjmp: it lives outside the function that calls setjmp.
struct State {
  Errors errors;
  jpeg_progress_mgr progress;
  jpeg_decompress_struct info;
  Rgb8 image;
  std::vector<uint8_t> row;
  Result<void> status;
};

void decode(const File& file, State* s) {
  jpeg_decompress_struct& info = s->info;
  info.err = jpeg_std_error(&s->errors.base);
  s->errors.base.error_exit = on_error;
  s->errors.base.emit_message = on_message;
  s->errors.base.output_message = no_output;
  if (setjmp(s->errors.jump) != 0) {
    s->status = corrupt(file, std::string(s->errors.message) + " (JPEG)");
    jpeg_destroy_decompress(&info);
    return;
  }
  jpeg_create_decompress(&info);
  s->progress = {};
  s->progress.progress_monitor = on_progress;
  info.progress = &s->progress;
  jpeg_mem_src(&info, file.data, static_cast<unsigned long>(file.size));
  jpeg_read_header(&info, TRUE);
  s->status = check_size(file, info.image_width, info.image_height);
  const bool cmyk = info.num_components == 4;
  if (s->status && info.num_components != 1 && info.num_components != 3 && !cmyk) {
    s->status =
        refused(file, "is a JPEG with " + std::to_string(info.num_components) + " components; expected 1, 3 or 4");
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
      for (int64_t x = 0; cmyk && x < s->image.width; ++x) {
        for (int c = 0; c < 4; ++c) target[4 * x + c] = uint8_t(255 - target[4 * x + c]);  // Adobe's are inverted
        cmyk_to_rgb(target + 4 * x, out + 3 * x);
      }
      for (int64_t x = 0; info.num_components == 1 && x < s->image.width; ++x) put_grey(out + 3 * x, target[x]);
    }
  }
  jpeg_destroy_decompress(&info);  // without finishing: like Pillow, the end marker after the last row is not asked for
}

}  // namespace

Result<Stored> read_jpeg(const File& file) {
  const Markers markers = walk(file);
  if (markers.scans > kMaxScans)
    return refused(file, "is a JPEG of " + std::to_string(markers.scans) + " scans, more than the limit of " +
                             std::to_string(kMaxScans) + "; save it again");
  auto state = std::make_unique<State>();
  decode(file, state.get());
  if (!state->status) return std::move(state->status.error());
  return Stored{std::move(state->image), markers.orientation};
}

}  // namespace cli::picture
