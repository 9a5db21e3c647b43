#include "model/preprocess.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace vireo {
namespace {

constexpr int64_t kMaxSide = 1 << 24;  // pictures; Pillow's box coordinates are floats, exact up to here

/// n / 2 with halves to the even neighbour: Python's round(n / 2.0).
int64_t half_to_even(int64_t n) { return n / 2 + (n % 2 != 0 && n / 2 % 2 != 0 ? 1 : 0); }

/// Where the crop begins; negative when the picture is smaller than the crop and is padded.
int64_t crop_offset(int64_t size, int64_t crop, PreprocessConfig::CropRounding rounding) {
  const int64_t margin = size - crop;
  if (rounding == PreprocessConfig::CropRounding::kHalfEven && margin >= 0) return half_to_even(margin);
  if (rounding != PreprocessConfig::CropRounding::kFloor && margin < 0) return -(-margin / 2);
  return margin >= 0 ? margin / 2 : -((-margin + 1) / 2);
}

/// The picture as Pillow's convert("L").
void to_grey(const uint8_t* rgb, int64_t width, int64_t height, int64_t stride, std::vector<uint8_t>* grey) {
  grey->resize(size_t(width * height));
  for (int64_t y = 0; y < height; ++y) {
    const uint8_t* in = rgb + y * stride;
    uint8_t* out = grey->data() + y * width;
    for (int64_t x = 0; x < width; ++x) {
      out[x] = uint8_t((in[3 * x] * 19595u + in[3 * x + 1] * 38470u + in[3 * x + 2] * 7471u + 0x8000u) >> 16);
    }
  }
}

}  // namespace

std::pair<int64_t, int64_t> resized_size(const PreprocessConfig& c, int64_t w, int64_t h) {
  switch (c.resize) {
    case PreprocessConfig::Resize::kNone: return {h, w};
    case PreprocessConfig::Resize::kExact: return {c.resize_h, c.resize_w};
    case PreprocessConfig::Resize::kShortestEdge: {
      int64_t near = c.shortest;
      int64_t far = int64_t(double(c.shortest * std::max(w, h)) / double(std::min(w, h)));
      if (c.longest > 0 && far > c.longest) {
        near = int64_t(double(c.longest * near) / double(far));
        far = c.longest;
      }
      near = std::max(near, int64_t(1));
      return w <= h ? std::make_pair(far, near) : std::make_pair(near, far);
    }
    case PreprocessConfig::Resize::kCover: {
      const double ratio = std::min(double(h) / double(c.resize_h), double(w) / double(c.resize_w));
      return {int64_t(std::nearbyint(double(h) / ratio)), int64_t(std::nearbyint(double(w) / ratio))};
    }
  }
  return {h, w};
}

Result<void> validate_preprocess(const PreprocessConfig& c, const std::string& source) {
  const auto side_ok = [](int64_t v) { return v >= 1 && v <= (1 << 16); };
  if (!side_ok(c.resize_h) || !side_ok(c.resize_w) || !side_ok(c.shortest) || c.longest < 0 || c.longest > kMaxSide ||
      !side_ok(c.crop_h) || !side_ok(c.crop_w) || !side_ok(c.input_h) || !side_ok(c.input_w)) {
    return fail(ErrorCode::kCorrupt, "'{}': a size is out of range; expected 1 to 65536 pixels", source);
  }
  for (size_t i = 0; i < 3; ++i) {
    if (c.normalize && (!std::isfinite(c.mean[i]) || !std::isfinite(c.std[i]) || float(c.std[i]) == 0.f)) {
      return fail(ErrorCode::kCorrupt,
                  "'{}': image_mean {} and image_std {} of channel {} cannot normalise a picture; "
                  "expected finite numbers and a std other than 0",
                  source, c.mean[i], c.std[i], i);
    }
  }
  return {};
}

Preprocessor::Preprocessor(PreprocessConfig config) : config_(std::move(config)) {
  // 256 levels per channel: the arithmetic of the original library, done once for each.
  table_.resize(size_t(config_.channels) * 256);
  for (size_t c = 0; c < size_t(config_.channels); ++c) {
    for (size_t level = 0; level < 256; ++level) {
      float v = float(level);
      if (config_.arithmetic == PreprocessConfig::Arithmetic::kTorchFused) {
        const size_t at = std::min(c, size_t(2));
        const float back = float(1.0 / config_.rescale_factor);
        if (config_.normalize && config_.rescale)
          v = (v - float(config_.mean[at]) * back) / (float(config_.std[at]) * back);
        else if (config_.normalize) v = (v - float(config_.mean[at])) / float(config_.std[at]);
        else if (config_.rescale) v = v * float(config_.rescale_factor);
        table_[c * 256 + level] = v;
        continue;
      }
      if (config_.arithmetic == PreprocessConfig::Arithmetic::kTorch) {
        if (config_.rescale) v = v / 255.f;
      } else if (config_.rescale) {
        v = float(double(level) * config_.rescale_factor);
      }
      if (config_.normalize)
        v = (v - float(config_.mean[std::min(c, size_t(2))])) / float(config_.std[std::min(c, size_t(2))]);
      table_[c * 256 + level] = v;
    }
  }
}

Result<void> Preprocessor::run(const uint8_t* rgb, int64_t width, int64_t height, int64_t stride, float* out) {
  if (rgb == nullptr || width < 1 || height < 1 || stride < width * 3) {
    return fail(ErrorCode::kInvalidArgument,
                "a picture of {} x {} with {} bytes per row cannot be read; expected at least 1 x "
                "1 and 3 bytes per pixel",
                width, height, stride);
  }
  if (width > kMaxSide || height > kMaxSide) {
    return fail(ErrorCode::kInvalidArgument, "a picture of {} x {} is too large; expected sides of at most {}", width,
                height, kMaxSide);
  }
  if (config_.channels != 1 && config_.channels != 3) {
    return fail(ErrorCode::kUnsupported,
                "the model takes {} channels, but pictures give 3 (colour) or 1 (grey); run it on a "
                "tensor instead",
                config_.channels);
  }
  const auto [full_h, full_w] = resized_size(config_, width, height);
  const int64_t in_h = config_.input_h, in_w = config_.input_w;
  if (!config_.crop && (full_h != in_h || full_w != in_w)) {
    return fail(
        ErrorCode::kInvalidArgument,
        "a picture of {} x {} (width x height) {} {} x {}, but the model takes {} x {}; {}", width, height,
        config_.resize == PreprocessConfig::Resize::kNone ? "stays" : "becomes", full_w, full_h, in_w, in_h,
        config_.resize == PreprocessConfig::Resize::kNone
            ? "its preprocessor_config.json says do_resize false, so resize the picture first"
            : "its preprocessor_config.json keeps proportions and does not crop, so open a session of the picture's "
              "size (`classify` and `embed` do) or crop the picture first");
  }
  const int64_t top = config_.crop ? crop_offset(full_h, in_h, config_.rounding) : 0;
  const int64_t left = config_.crop ? crop_offset(full_w, in_w, config_.rounding) : 0;
  // The part of the crop that lies on the picture; the rest is black, as Transformers and torchvision pad.
  Window window;
  window.x = std::max(left, int64_t(0));
  window.y = std::max(top, int64_t(0));
  window.width = std::min(left + in_w, full_w) - window.x;
  window.height = std::min(top + in_h, full_h) - window.y;

  PictureView picture{rgb, width, height, stride};
  const int64_t channels = config_.channels;
  if (channels == 1) {
    to_grey(rgb, width, height, stride, &grey_);
    picture = {grey_.data(), width, height, width};
  }
  const bool floats =
      config_.float_resize && (config_.filter == Filter::kBilinear || config_.filter == Filter::kBicubic);
  const PictureView small = floats ? float_resizer_.resize(picture, channels, full_w, full_h, window, config_.filter)
                                   : resizer_.resize(picture, channels, full_w, full_h, window, config_.filter);

  const int64_t x0 = window.x - left, y0 = window.y - top;
  for (int64_t c = 0; c < channels; ++c) {
    const int64_t from = config_.bgr && channels == 3 ? 2 - c : c;
    const float* table = table_.data() + from * 256;
    for (int64_t y = 0; y < in_h; ++y) {
      float* row = out + (c * in_h + y) * in_w;
      if (y < y0 || y >= y0 + window.height) {
        std::fill(row, row + in_w, table[0]);
        continue;
      }
      const uint8_t* in = small.pixels + (y - y0) * small.stride + from;
      std::fill(row, row + x0, table[0]);
      for (int64_t x = 0; x < window.width; ++x) row[x0 + x] = table[in[x * channels]];
      std::fill(row + x0 + window.width, row + in_w, table[0]);
    }
  }
  return {};
}

}  // namespace vireo
