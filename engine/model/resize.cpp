#include "model/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace vireo {
namespace {

// 8 bits for the result and two against overflow, as filters have negative lobes.
constexpr int kPrecisionBits = 32 - 8 - 2;
constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);
constexpr double kPi = 3.14159265358979323846;

// The filters in Pillow's own order of operations: another order could round a weight differently.
double bilinear(double x) {
  x = std::fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

double hamming(double x) {
  x = std::fabs(x);
  if (x == 0.0) return 1.0;
  if (x >= 1.0) return 0.0;
  x = x * kPi;
  return std::sin(x) / x * (double(0.54f) + double(0.46f) * std::cos(x));
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x = x * kPi;
  return std::sin(x) / x;
}

double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

struct FilterDef {
  double (*weight)(double);
  double support;
};

FilterDef filter_def(Filter filter) {
  switch (filter) {
    case Filter::kBox: return {box, 0.5};
    case Filter::kBilinear: return {bilinear, 1.0};
    case Filter::kHamming: return {hamming, 1.0};
    case Filter::kBicubic: return {bicubic, 2.0};
    case Filter::kLanczos: return {lanczos, 3.0};
    case Filter::kNearest: break;
  }
  return {box, 0.5};
}

uint8_t clip8(int32_t sum) {
  const int32_t v = sum >> kPrecisionBits;
  return uint8_t(v < 0 ? 0 : v > 255 ? 255 : v);
}

/// One row: out[x] = sum of in[begin + k] * weight[k].
template <int kChannels>
void horizontal_row(const uint8_t* in, const int64_t* begin, const int64_t* length, const int32_t* weights,
                    int64_t taps, int64_t count, uint8_t* out) {
  for (int64_t x = 0; x < count; ++x) {
    const uint8_t* p = in + begin[x] * kChannels;
    const int32_t* w = weights + x * taps;
    int32_t sum[kChannels];
    for (int c = 0; c < kChannels; ++c) sum[c] = kHalf;
    for (int64_t k = 0; k < length[x]; ++k) {
      for (int c = 0; c < kChannels; ++c) sum[c] += p[k * kChannels + c] * w[k];
    }
    for (int c = 0; c < kChannels; ++c) out[x * kChannels + c] = clip8(sum[c]);
  }
}

}  // namespace

void Resizer::Axis::prepare(int64_t in_size, int64_t out_size, int64_t first_out, int64_t outputs, Filter kind) {
  if (in == in_size && out == out_size && first == first_out && count == outputs && filter == kind) return;
  in = in_size;
  out = out_size;
  first = first_out;
  count = outputs;
  filter = kind;
  const FilterDef def = filter_def(kind);
  const double scale = double(in_size) / double(out_size);
  const double filter_scale = std::max(scale, 1.0);
  const double support = def.support * filter_scale;
  const double inverse = 1.0 / filter_scale;
  taps = int64_t(std::ceil(support)) * 2 + 1;
  begin.resize(size_t(count));
  length.resize(size_t(count));
  weights.assign(size_t(count * taps), 0);
  scratch.resize(size_t(taps));
  for (int64_t i = 0; i < count; ++i) {
    const double centre = (double(first + i) + 0.5) * scale;
    const int64_t low = std::max(int64_t(centre - support + 0.5), int64_t(0));
    const int64_t high = std::min(int64_t(centre + support + 0.5), in_size);
    double total = 0;
    for (int64_t k = 0; k < high - low; ++k) {
      const double w = def.weight((double(k + low) - centre + 0.5) * inverse);
      scratch[size_t(k)] = w;
      total += w;
    }
    begin[size_t(i)] = low;
    length[size_t(i)] = high - low;
    for (int64_t k = 0; k < high - low; ++k) {
      double w = scratch[size_t(k)];
      if (total != 0.0) w /= total;
      weights[size_t(i * taps + k)] = int32_t((w < 0 ? -0.5 : 0.5) + w * (1 << kPrecisionBits));
    }
  }
}

PictureView Resizer::nearest(const PictureView& picture, int64_t channels, int64_t out_w, int64_t out_h,
                             const Window& window) {
  // Pillow walks the picture by adding the step, and the sum's rounding decides which pixel is met.
  const double step_x = double(picture.width) / double(out_w), step_y = double(picture.height) / double(out_h);
  columns_.resize(size_t(window.width));
  double at = step_x * 0.5;
  for (int64_t x = 0; x < window.x + window.width; ++x, at += step_x) {
    if (x >= window.x) columns_[size_t(x - window.x)] = std::min(int64_t(at), picture.width - 1);
  }
  result_.resize(size_t(window.width * window.height * channels));
  uint8_t* out = result_.data();
  at = step_y * 0.5;
  for (int64_t y = 0; y < window.y + window.height; ++y, at += step_y) {
    if (y < window.y) continue;
    const uint8_t* row = picture.pixels + std::min(int64_t(at), picture.height - 1) * picture.stride;
    for (int64_t x = 0; x < window.width; ++x) {
      const uint8_t* p = row + columns_[size_t(x)] * channels;
      for (int64_t c = 0; c < channels; ++c) *out++ = p[c];
    }
  }
  return {result_.data(), window.width, window.height, window.width * channels};
}

PictureView Resizer::resize(const PictureView& picture, int64_t channels, int64_t out_w, int64_t out_h,
                            const Window& window, Filter filter) {
  const bool narrow = picture.width != out_w, low = picture.height != out_h;
  if (!narrow && !low) {
    return {picture.pixels + window.y * picture.stride + window.x * channels, window.width, window.height,
            picture.stride};
  }
  if (filter == Filter::kNearest) return nearest(picture, channels, out_w, out_h, window);

  // Which source rows the window needs.
  int64_t first_row = window.y, end_row = window.y + window.height;
  if (low) {
    vertical_.prepare(picture.height, out_h, window.y, window.height, filter);
    first_row = vertical_.begin.front();
    end_row = 0;
    for (size_t i = 0; i < vertical_.begin.size(); ++i) {
      first_row = std::min(first_row, vertical_.begin[i]);
      end_row = std::max(end_row, vertical_.begin[i] + vertical_.length[i]);
    }
  }
  const int64_t row_bytes = window.width * channels;
  PictureView rows{picture.pixels + first_row * picture.stride + window.x * channels, window.width, end_row - first_row,
                   picture.stride};
  if (narrow) {
    horizontal_.prepare(picture.width, out_w, window.x, window.width, filter);
    rows_.resize(size_t((end_row - first_row) * row_bytes));
    for (int64_t y = first_row; y < end_row; ++y) {
      const auto pass = channels == 3 ? horizontal_row<3> : horizontal_row<1>;
      pass(picture.pixels + y * picture.stride, horizontal_.begin.data(), horizontal_.length.data(),
           horizontal_.weights.data(), horizontal_.taps, window.width, rows_.data() + (y - first_row) * row_bytes);
    }
    rows.pixels = rows_.data();
    rows.stride = row_bytes;
  }
  if (!low) return rows;

  result_.resize(size_t(window.height * row_bytes));
  sums_.resize(size_t(row_bytes));
  for (int64_t y = 0; y < window.height; ++y) {
    int32_t* sums = sums_.data();
    std::fill(sums, sums + row_bytes, kHalf);
    const uint8_t* in = rows.pixels + (vertical_.begin[size_t(y)] - first_row) * rows.stride;
    const int32_t* weights = vertical_.weights.data() + y * vertical_.taps;
    for (int64_t k = 0; k < vertical_.length[size_t(y)]; ++k, in += rows.stride) {
      const int32_t w = weights[k];
      for (int64_t i = 0; i < row_bytes; ++i) sums[i] += in[i] * w;
    }
    uint8_t* out = result_.data() + y * row_bytes;
    for (int64_t i = 0; i < row_bytes; ++i) out[i] = clip8(sums[i]);
  }
  return {result_.data(), window.width, window.height, row_bytes};
}

}  // namespace vireo
