// Resizing in single precision, as torch.nn.functional.interpolate(antialias=True) does it for torchvision: Pillow's
// filters, both passes on floats, rounded to 8 bits once at the end.
#include <algorithm>
#include <cmath>

#include "model/resize.h"

namespace vireo {
namespace {

// In single precision, as torch evaluates them.
float triangle(float x) {
  x = std::fabs(x);
  return x < 1.f ? 1.f - x : 0.f;
}

float cubic(float x) {
  constexpr float a = -0.5f;
  x = std::fabs(x);
  if (x < 1.f) return float(((a + 2.0) * x - (a + 3.0)) * x * x + 1);
  if (x < 2.f) return (((x - 5.f) * x + 8.f) * x - 4.f) * a;
  return 0.f;
}

}  // namespace

void FloatResizer::Axis::prepare(int64_t in_size, int64_t out_size, int64_t first_out, int64_t outputs, Filter kind) {
  if (in == in_size && out == out_size && first == first_out && count == outputs && filter == kind) return;
  in = -1;  // until all of it is there: memory may run out on the way
  out = out_size;
  first = first_out;
  count = outputs;
  filter = kind;
  const bool smooth = kind == Filter::kBicubic;
  const float scale = float(in_size) / float(out_size);
  const float reach = smooth ? 2.f : 1.f;
  const float support = scale >= 1.f ? reach * scale : reach;
  const float inverse = scale >= 1.f ? 1.f / scale : 1.f;
  taps = int64_t(std::ceil(support)) * 2 + 1;
  begin.resize(size_t(count));
  length.resize(size_t(count));
  weights.assign(size_t(count * taps), 0.f);
  for (int64_t i = 0; i < count; ++i) {
    const float centre = float(scale * (double(first + i) + 0.5));
    const int64_t low = std::max(int64_t(double(centre - support) + 0.5), int64_t(0));
    const int64_t high = std::min(int64_t(double(centre + support) + 0.5), in_size);
    float* w = weights.data() + i * taps;
    float total = 0.f;
    const int64_t n = std::min(std::max(high - low, int64_t(0)), taps);
    for (int64_t k = 0; k < n; ++k) {
      const float at = float((double(float(k + low) - centre) + 0.5) * double(inverse));
      w[k] = smooth ? cubic(at) : triangle(at);
      total += w[k];
    }
    if (total != 0.f)
      for (int64_t k = 0; k < n; ++k) w[k] /= total;
    begin[size_t(i)] = low;
    length[size_t(i)] = n;
  }
  in = in_size;
}

PictureView FloatResizer::resize(const PictureView& picture, int64_t channels, int64_t out_w, int64_t out_h,
                                 const Window& window, Filter filter) {
  const bool narrow = picture.width != out_w, low = picture.height != out_h;
  if (!narrow && !low) {
    return {picture.pixels + window.y * picture.stride + window.x * channels, window.width, window.height,
            picture.stride};
  }
  struct Rows : RowSource {
    const PictureView& p;
    explicit Rows(const PictureView& v) : p(v) {}
    const uint8_t* row(int64_t y) override { return p.pixels + y * p.stride; }
  } rows(picture);
  return resize(rows, picture.width, picture.height, channels, out_w, out_h, window, filter);
}

PictureView FloatResizer::resize(RowSource& rows, int64_t width, int64_t height, int64_t channels, int64_t out_w,
                                 int64_t out_h, const Window& window, Filter filter) {
  const bool narrow = width != out_w, low = height != out_h;
  horizontal_.prepare(width, out_w, window.x, window.width, filter);
  vertical_.prepare(height, out_h, window.y, window.height, filter);
  int64_t first_row = window.y, end_row = window.y + window.height;
  if (low) {
    first_row = vertical_.begin.front();
    end_row = vertical_.begin.back() + vertical_.length.back();
  }
  // A source row is filtered along its width once and then added to every result row that it belongs to: what is kept
  // is of the result's size, however tall the picture is. Each sum grows from above to below, as torch's does.
  const int64_t row = window.width * channels;
  row_.resize(size_t(row));
  sums_.assign(size_t(window.height * row), 0.f);
  int64_t top = 0;  // the first result row that is not complete
  for (int64_t y = first_row; y < end_row; ++y) {
    const uint8_t* in = rows.row(y);
    for (int64_t x = 0; x < window.width; ++x) {
      const int64_t from = narrow ? horizontal_.begin[size_t(x)] : window.x + x;
      const int64_t taps = narrow ? horizontal_.length[size_t(x)] : 1;
      const float* w = horizontal_.weights.data() + x * horizontal_.taps;
      for (int64_t c = 0; c < channels; ++c) {
        float sum = narrow ? 0.f : float(in[from * channels + c]);
        for (int64_t k = 0; narrow && k < taps; ++k) sum += float(in[(from + k) * channels + c]) * w[k];
        row_[size_t(x * channels + c)] = sum;
      }
    }
    if (!low) {
      std::copy(row_.begin(), row_.end(), sums_.data() + (y - window.y) * row);
      continue;
    }
    while (vertical_.begin[size_t(top)] + vertical_.length[size_t(top)] <= y) ++top;
    for (int64_t i = top; i < window.height && vertical_.begin[size_t(i)] <= y; ++i) {
      const float w = vertical_.weights[size_t(i * vertical_.taps + y - vertical_.begin[size_t(i)])];
      float* sums = sums_.data() + i * row;
      for (int64_t k = 0; k < row; ++k) sums[k] += row_[size_t(k)] * w;
    }
  }
  result_.resize(sums_.size());
  // Halves to the even neighbour, as torch.round.
  for (size_t i = 0; i < sums_.size(); ++i)
    result_[i] = uint8_t(std::nearbyint(std::min(std::max(sums_[i], 0.f), 255.f)));
  return {result_.data(), window.width, window.height, row};
}

}  // namespace vireo
