// Pillow's resize of 8-bit pictures in plain loops over the whole picture: what the library's one pass over bands of
// rows is held against, and what the bench compares it with. It shares the weights with it (ResizeAxis), which the
// tests hold against Pillow's own results through both.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "model/resize.h"

namespace vireo::test {

/// Keeps its buffers and coefficients, so a repeated size allocates nothing.
class PlainResizer {
 public:
  /// Resizes to out_w x out_h and computes only `window` of the result, which must lie inside it. Channels: 1 or 3. The
  /// answer is valid until the next call; its stride may exceed its width (an unchanged picture is not copied).
  PictureView resize(const PictureView& picture, int64_t channels, int64_t out_w, int64_t out_h, const Window& window,
                     Filter filter) {
    const bool narrow = picture.width != out_w, low = picture.height != out_h;
    if (!narrow && !low)
      return {picture.pixels + window.y * picture.stride + window.x * channels, window.width, window.height,
              picture.stride};
    if (filter == Filter::kNearest) return nearest(picture, channels, out_w, out_h, window);
    const int64_t bytes = window.width * channels;
    PictureView rows{picture.pixels + window.x * channels, window.width, picture.height, picture.stride};
    if (narrow) {
      horizontal_.prepare(picture.width, out_w, window.x, window.width, filter);
      rows_.resize(size_t(picture.height * bytes));
      for (int64_t y = 0; y < picture.height; ++y) {
        const auto pass = channels == 3 ? &PlainResizer::filter_row<3> : &PlainResizer::filter_row<1>;
        (this->*pass)(picture.pixels + y * picture.stride, window.width, rows_.data() + y * bytes);
      }
      rows.pixels = rows_.data();
      rows.stride = bytes;
    }
    if (!low) return {rows.pixels + window.y * rows.stride, window.width, window.height, rows.stride};
    vertical_.prepare(picture.height, out_h, window.y, window.height, filter);
    result_.resize(size_t(window.height * bytes));
    sums_.resize(size_t(bytes));
    for (int64_t y = 0; y < window.height; ++y) {
      std::fill(sums_.begin(), sums_.end(), kHalf);
      const uint8_t* in = rows.pixels + vertical_.begin[size_t(y)] * rows.stride;
      for (int64_t k = 0; k < vertical_.length[size_t(y)]; ++k, in += rows.stride) {
        const int32_t w = vertical_.weights[size_t(y * vertical_.taps + k)];
        int32_t* sums = sums_.data();
        for (int64_t i = 0; i < bytes; ++i) sums[i] += in[i] * w;
      }
      for (int64_t i = 0; i < bytes; ++i) result_[size_t(y * bytes + i)] = clip8(sums_[size_t(i)]);
    }
    return {result_.data(), window.width, window.height, bytes};
  }

 private:
  static constexpr int kBits = 22;
  static constexpr int32_t kHalf = 1 << (kBits - 1);
  static uint8_t clip8(int32_t sum) { return uint8_t(std::min(std::max(sum >> kBits, 0), 255)); }

  template <int kChannels>
  void filter_row(const uint8_t* in, int64_t count, uint8_t* out) const {
    for (int64_t x = 0; x < count; ++x) {
      const uint8_t* p = in + horizontal_.begin[size_t(x)] * kChannels;
      const int32_t* w = horizontal_.weights.data() + x * horizontal_.taps;
      int32_t sum[kChannels];
      for (int c = 0; c < kChannels; ++c) sum[c] = kHalf;
      for (int64_t k = 0; k < horizontal_.length[size_t(x)]; ++k)
        for (int c = 0; c < kChannels; ++c) sum[c] += p[k * kChannels + c] * w[k];
      for (int c = 0; c < kChannels; ++c) out[x * kChannels + c] = clip8(sum[c]);
    }
  }

  PictureView nearest(const PictureView& picture, int64_t channels, int64_t out_w, int64_t out_h,
                      const Window& window) {
    nearest_pixels(picture.width, out_w, window.x, window.width, &columns_);
    nearest_pixels(picture.height, out_h, window.y, window.height, &lines_);
    result_.resize(size_t(window.width * window.height * channels));
    uint8_t* out = result_.data();
    for (const int64_t y : lines_)
      for (const int64_t x : columns_)
        for (int64_t c = 0; c < channels; ++c) *out++ = picture.pixels[y * picture.stride + x * channels + c];
    return {result_.data(), window.width, window.height, window.width * channels};
  }

  ResizeAxis horizontal_, vertical_;
  std::vector<uint8_t> rows_;  // after the horizontal pass
  std::vector<uint8_t> result_;
  std::vector<int32_t> sums_;
  std::vector<int64_t> columns_, lines_;
};

}  // namespace vireo::test
