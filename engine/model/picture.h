// Pictures that a caller gives, checked and laid out for the kernels.
#pragma once

#include "base/error.h"
#include "simd/picture.h"

#include <vireo/image.hpp>

namespace vireo {

/// The largest side of a picture: Pillow's box coordinates are floats, exact up to here.
constexpr int64_t kMaxSide = 1 << 24;

/// Errors: kInvalidArgument, one sentence: a size, stride, crop or rotation that cannot be, or a plane that is missing.
Result<simd::PictureSource> check_image(const Image& image);

/// The part of a picture that counts, and what shares its chroma, as compute shaders read it: the planes one behind the
/// other, rows of whole words and whole groups of 4 pixels.
struct PackedPart {
  int64_t x = 0, y = 0;           // where what counts begins in it: 0 or 1
  int64_t width = 0, height = 0;  // in pixels
  int64_t groups = 0;             // of 4 pixels in a row
  int64_t offset[3] = {0, 0, 0}, stride[3] = {0, 0, 0}, bytes = 0;
};
PackedPart packed_part(const simd::PictureSource& source);
/// Copies it; what fills up rows is left alone.
void pack_part(const simd::PictureSource& source, const PackedPart& part, uint8_t* to);
/// The packed part as a picture: what it becomes is what `image`, of which it is, becomes.
Image packed_image(const Image& image, const simd::PictureSource& source, const PackedPart& part, const uint8_t* bytes);
/// A picture like `image`, whose pointers do not count, for what asks about its shape alone.
Result<simd::PictureSource> check_shape(Image image);

}  // namespace vireo
