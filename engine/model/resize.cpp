#include "model/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace vireo {
namespace {

// 8 bits for the result and two against overflow, as filters have negative lobes.
constexpr int kPrecisionBits = 32 - 8 - 2;
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

}  // namespace

void ResizeAxis::prepare(int64_t in_size, int64_t out_size, int64_t first_out, int64_t outputs, Filter kind) {
  if (in == in_size && out == out_size && first == first_out && count == outputs && filter == kind) return;
  in = -1;  // until all of it is there: memory may run out on the way
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
  in = in_size;
}

void nearest_pixels(int64_t in_size, int64_t out_size, int64_t first, int64_t count, std::vector<int64_t>* at) {
  // Pillow walks the picture by adding the step, and the sum's rounding decides which pixel is met.
  const double step = double(in_size) / double(out_size);
  at->resize(size_t(count));
  double sum = step * 0.5;
  for (int64_t i = 0; i < first + count; ++i, sum += step)
    if (i >= first) (*at)[size_t(i - first)] = std::min(int64_t(sum), in_size - 1);
}

}  // namespace vireo
