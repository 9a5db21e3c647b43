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

}  // namespace vireo
