#include "overlay.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "colours.h"

namespace vireo_gst {
namespace {

/// A colour as the frame has it: red, green and blue, or luma and chroma; levels of 8 bits.
using Levels = std::array<uint8_t, 3>;

Levels yuv_of(const cli::Colour& c, const GstVideoInfo& info) {
  const bool hd = info.colorimetry.matrix == GST_VIDEO_COLOR_MATRIX_BT709,
             full = info.colorimetry.range == GST_VIDEO_COLOR_RANGE_0_255;
  const double kr = hd ? 0.2126 : 0.299, kb = hd ? 0.0722 : 0.114;
  const double y = kr * c[0] + (1 - kr - kb) * c[1] + kb * c[2];
  const double u = (c[2] - y) / (2 * (1 - kb)), v = (c[0] - y) / (2 * (1 - kr));
  const auto level = [](double x) { return uint8_t(std::lround(std::min(std::max(x, 0.0), 255.0))); };
  if (full) return {level(y), level(u + 128), level(v + 128)};
  return {level(y * 219 / 255 + 16), level(u * 224 / 255 + 128), level(v * 224 / 255 + 128)};
}

void blend(uint8_t* level, uint8_t with) { *level = uint8_t((unsigned(*level) + with + 1) / 2); }

}  // namespace

void draw_classes(GstVideoFrame* frame, const float* classes, int rotation, int count) {
  const GstVideoInfo& info = frame->info;
  const int w = GST_VIDEO_INFO_WIDTH(&info), h = GST_VIDEO_INFO_HEIGHT(&info);
  const bool rgb = GST_VIDEO_INFO_IS_RGB(&info);
  std::vector<Levels> colours;
  for (int c = 0; c < count; ++c) {
    const cli::Colour colour = cli::class_colour(c);
    colours.push_back(rgb ? Levels{{colour[0], colour[1], colour[2]}} : yuv_of(colour, info));
  }
  // The class of the stored pixel (x, y); null where it has none.
  const auto at = [&](int x, int y) -> const Levels* {
    int row = y, column = x, width = w;
    if (rotation == 90) row = x, column = h - 1 - y, width = h;
    if (rotation == 180) row = h - 1 - y, column = w - 1 - x;
    if (rotation == 270) row = w - 1 - x, column = y, width = h;
    const float c = classes[size_t(row) * size_t(width) + size_t(column)];
    return c >= 0 && c < float(count) ? &colours[size_t(c)] : nullptr;
  };
  // A component at a time: GStreamer says where each lies, and how many pixels share it.
  const bool wide = GST_VIDEO_INFO_FORMAT(&info) == GST_VIDEO_FORMAT_GRAY16_LE;
  const int components = std::min(3, int(GST_VIDEO_INFO_N_COMPONENTS(&info)));
  for (int c = 0; c < components; ++c) {
    const int across = 1 << GST_VIDEO_FORMAT_INFO_W_SUB(info.finfo, c);
    const int down = 1 << GST_VIDEO_FORMAT_INFO_H_SUB(info.finfo, c);
    const int each = GST_VIDEO_FRAME_COMP_PSTRIDE(frame, c), stride = GST_VIDEO_FRAME_COMP_STRIDE(frame, c);
    auto* const first = static_cast<uint8_t*>(GST_VIDEO_FRAME_COMP_DATA(frame, c));
    for (int y = 0; y < h; y += down)
      for (int x = 0; x < w; x += across) {
        const Levels* colour = at(x, y);
        if (colour == nullptr) continue;
        uint8_t* to = first + ptrdiff_t(y / down) * stride + ptrdiff_t(x / across) * each;
        if (wide) {
          const unsigned value = (unsigned(to[0]) + 256u * to[1] + 257u * (*colour)[0] + 1) / 2;
          to[0] = uint8_t(value & 255), to[1] = uint8_t(value >> 8);
        } else {
          blend(to, (*colour)[size_t(c)]);
        }
      }
  }
}

}  // namespace vireo_gst
