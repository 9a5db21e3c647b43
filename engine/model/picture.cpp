#include "model/picture.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/aligned.h"
#include "simd/kernels.h"

namespace vireo {
namespace {

/// A plane: pixels that share a value in each direction, and bytes for each of these.
struct PlaneDef {
  int64_t across = 1, down = 1, bytes = 0;
};
struct FormatDef {
  const char* name;
  PlaneDef plane[3];
  bool yuv = false;
};
/// One row per PixelFormat, in its order.
constexpr FormatDef kFormats[] = {
    {"rgb", {{1, 1, 3}, {}, {}}},
    {"bgr", {{1, 1, 3}, {}, {}}},
    {"rgba", {{1, 1, 4}, {}, {}}},
    {"bgra", {{1, 1, 4}, {}, {}}},
    {"grey", {{1, 1, 1}, {}, {}}},
    {"grey16", {{1, 1, 2}, {}, {}}},
    {"nv12", {{1, 1, 1}, {2, 2, 2}, {}}, true},
    {"nv21", {{1, 1, 1}, {2, 2, 2}, {}}, true},
    {"i420", {{1, 1, 1}, {2, 2, 1}, {2, 2, 1}}, true},
    {"i422", {{1, 1, 1}, {2, 1, 1}, {2, 1, 1}}, true},
    {"i444", {{1, 1, 1}, {1, 1, 1}, {1, 1, 1}}, true},
    {"yuyv", {{2, 1, 4}, {}, {}}, true},
    {"uyvy", {{2, 1, 4}, {}, {}}, true},
};
constexpr size_t kFormatCount = sizeof kFormats / sizeof *kFormats;
static_assert(kFormatCount == size_t(PixelFormat::kUyvy) + 1, "a row for each format");

int64_t row_bytes(const PlaneDef& p, int64_t width) { return (width + p.across - 1) / p.across * p.bytes; }
int64_t rows(const PlaneDef& p, int64_t height) { return (height + p.down - 1) / p.down; }

void set_colours(YuvMatrix matrix, YuvRange range, simd::PictureSource* s) {
  const double kr = matrix == YuvMatrix::kBt709 ? 0.2126 : 0.299, kb = matrix == YuvMatrix::kBt709 ? 0.0722 : 0.114;
  const double kg = 1 - kr - kb;
  const bool limited = range == YuvRange::kLimited;
  const double luma = limited ? 255.0 / 219 : 1, chroma = limited ? 255.0 / 224 : 1;
  const auto fixed = [](double f) { return int32_t(std::lround(f * 16384)); };
  s->black = limited ? 16 : 0;
  s->yy = fixed(luma);
  s->rv = fixed(2 * (1 - kr) * chroma);
  s->bu = fixed(2 * (1 - kb) * chroma);
  s->gu = fixed(-2 * (1 - kb) * kb / kg * chroma);
  s->gv = fixed(-2 * (1 - kr) * kr / kg * chroma);
}

}  // namespace

const char* to_string(PixelFormat f) { return size_t(f) < kFormatCount ? kFormats[size_t(f)].name : "unknown"; }

Result<simd::PictureSource> check_image(const Image& image) {
  if (size_t(image.format) >= kFormatCount)
    return fail(ErrorCode::kInvalidArgument, "a picture's format is {}, which is none of PixelFormat's {}",
                int(image.format), kFormatCount);
  const FormatDef& def = kFormats[size_t(image.format)];
  if (image.width < 1 || image.height < 1)
    return fail(ErrorCode::kInvalidArgument, "a picture of {} x {} ({}) cannot be read; expected at least 1 x 1",
                image.width, image.height, def.name);
  if (image.width > kMaxSide || image.height > kMaxSide)
    return fail(ErrorCode::kInvalidArgument, "a picture of {} x {} is too large; expected sides of at most {}",
                image.width, image.height, kMaxSide);
  if (image.range != YuvRange::kLimited && image.range != YuvRange::kFull)
    return fail(ErrorCode::kInvalidArgument, "a picture's range is {}, which is none of YuvRange's", int(image.range));
  if (image.matrix != YuvMatrix::kBt601 && image.matrix != YuvMatrix::kBt709)
    return fail(ErrorCode::kInvalidArgument, "a picture's matrix is {}, which is none of YuvMatrix's",
                int(image.matrix));
  simd::PictureSource s;
  s.format = image.format;
  for (int p = 0; p < 3 && def.plane[p].bytes > 0; ++p) {
    static constexpr const char* kPlane[] = {"first", "second", "third"};
    s.plane[p] = p == 0 ? image.rgb : image.chroma[p - 1];
    s.stride[p] = p == 0 ? image.stride : image.chroma_stride[p - 1];
    if (s.plane[p] == nullptr)
      return fail(ErrorCode::kInvalidArgument, "a picture of {} x {} ({}) has no {} plane: its pointer is null",
                  image.width, image.height, def.name, kPlane[p]);
    const int64_t least = row_bytes(def.plane[p], image.width);
    if (s.stride[p] == 0) s.stride[p] = least;
    if (s.stride[p] < least)
      return fail(
          ErrorCode::kInvalidArgument,
          "a picture of {} x {} ({}) with {} bytes per row of its {} plane cannot be read; expected at least {}",
          image.width, image.height, def.name, s.stride[p], kPlane[p], least);
  }
  const Crop& c = image.crop;
  const bool whole = c.x == 0 && c.y == 0 && c.width == 0 && c.height == 0;
  if (!whole && (c.x < 0 || c.y < 0 || c.width < 1 || c.height < 1 || c.x > image.width - c.width ||
                 c.y > image.height - c.height))
    return fail(ErrorCode::kInvalidArgument,
                "a crop of {} x {} at {}, {} does not lie inside the picture of {} x {}; all 0 is the whole picture",
                c.width, c.height, c.x, c.y, image.width, image.height);
  if (image.rotation != 0 && image.rotation != 90 && image.rotation != 180 && image.rotation != 270)
    return fail(ErrorCode::kInvalidArgument, "a picture's rotation is {}; expected 0, 90, 180 or 270 degrees clockwise",
                image.rotation);
  s.x = c.x, s.y = c.y;
  s.width = whole ? image.width : c.width;
  s.height = whole ? image.height : c.height;
  s.rotation = image.rotation;
  if (def.yuv) set_colours(image.matrix, image.range, &s);
  return s;
}

namespace {

/// Values of plane p in [begin, end) pixels along an axis where `shared` pixels have one.
int64_t first_of(int64_t begin, int64_t shared) { return begin / shared; }
int64_t end_of(int64_t end, int64_t shared) { return (end + shared - 1) / shared; }

/// The first pixel that shares a value with pixel `at`, of all planes.
int64_t block_start(const FormatDef& def, int64_t at, int64_t PlaneDef::*shared) {
  for (const PlaneDef& p : def.plane)
    if (p.bytes > 0 && p.*shared > 1) at = at / (p.*shared) * (p.*shared);
  return at;
}

}  // namespace

PackedPart packed_part(const simd::PictureSource& s) {
  const FormatDef& def = kFormats[size_t(s.format)];
  PackedPart part;
  const int64_t x = block_start(def, s.x, &PlaneDef::across), y = block_start(def, s.y, &PlaneDef::down);
  part.x = s.x - x, part.y = s.y - y;
  part.width = s.x + s.width - x, part.height = s.y + s.height - y;
  part.groups = (part.width + 3) / 4;
  for (int p = 0; p < 3 && def.plane[p].bytes > 0; ++p) {
    const PlaneDef& plane = def.plane[p];
    part.offset[p] = part.bytes;
    part.stride[p] = (part.groups * 4 / plane.across * plane.bytes + 3) / 4 * 4;
    part.bytes += part.stride[p] * rows(plane, part.height);
  }
  return part;
}

void pack_part(const simd::PictureSource& s, const PackedPart& part, uint8_t* to) {
  const FormatDef& def = kFormats[size_t(s.format)];
  for (int p = 0; p < 3 && def.plane[p].bytes > 0; ++p) {
    const PlaneDef& plane = def.plane[p];
    const int64_t first = first_of(s.y - part.y, plane.down), end = end_of(s.y + s.height, plane.down);
    const int64_t left = first_of(s.x - part.x, plane.across) * plane.bytes;
    const size_t bytes = size_t(end_of(s.x + s.width, plane.across) * plane.bytes - left);
    for (int64_t y = first; y < end; ++y)
      std::memcpy(to + part.offset[p] + (y - first) * part.stride[p], s.plane[p] + y * s.stride[p] + left, bytes);
  }
}

Image packed_image(const Image& image, const simd::PictureSource& source, const PackedPart& part,
                   const uint8_t* bytes) {
  Image all = image;
  all.rgb = bytes;
  all.stride = ptrdiff_t(part.stride[0]);
  for (int p = 1; p < 3; ++p)
    if (part.stride[p] > 0) {
      all.chroma[p - 1] = bytes + part.offset[p];
      all.chroma_stride[p - 1] = ptrdiff_t(part.stride[p]);
    }
  all.width = int(part.width), all.height = int(part.height);
  all.crop = {int(part.x), int(part.y), int(source.width), int(source.height)};
  return all;
}

Result<simd::PictureSource> check_shape(Image image) {
  static constexpr uint8_t kSomewhere = 0;
  image.rgb = image.chroma[0] = image.chroma[1] = &kSomewhere;
  VIREO_ASSIGN(simd::PictureSource source, check_image(image));
  for (const uint8_t*& plane : source.plane) plane = nullptr;
  return source;
}

Image Image::packed(PixelFormat format, const uint8_t* bytes, int width, int height) noexcept {
  Image image;
  image.rgb = bytes;
  image.width = width;
  image.height = height;
  image.format = format;
  if (bytes == nullptr || width < 1 || height < 1 || size_t(format) >= kFormatCount) return image;  // refused when used
  const FormatDef& def = kFormats[size_t(format)];
  for (int p = 1; p < 3 && def.plane[p].bytes > 0; ++p) {
    bytes += row_bytes(def.plane[p - 1], width) * rows(def.plane[p - 1], height);
    image.chroma[p - 1] = bytes;
  }
  return image;
}

size_t packed_bytes(PixelFormat format, int width, int height) noexcept {
  size_t bytes = 0;
  if (width < 1 || height < 1 || size_t(format) >= kFormatCount) return 0;
  for (const PlaneDef& p : kFormats[size_t(format)].plane)
    bytes += size_t(row_bytes(p, width)) * size_t(rows(p, height));
  return bytes;
}

Result<void> to_rgb(const Image& image, uint8_t* rgb) {
  return no_throw([&]() -> Result<void> {
    VIREO_ASSIGN(const simd::PictureSource source, check_image(image));
    if (rgb == nullptr) return fail(ErrorCode::kInvalidArgument, "to_rgb: the place for the result is null");
    simd::PictureRowsArgs args;
    args.source = source;
    args.rows = source.upright_height();
    args.out = rgb;
    const simd::Kernel<simd::PictureRowsArgs>& kernel = simd::best().picture_rows;
    AlignedBuffer scratch(kernel.scratch_bytes(args));
    if (!scratch) return out_of_memory();
    kernel.run(args, 0, kernel.items(args), scratch.data());
    return {};
  });
}

}  // namespace vireo
