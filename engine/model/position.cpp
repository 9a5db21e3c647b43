#include "model/position.h"

#include <algorithm>
#include <cmath>

namespace vireo {
namespace {

/// The rows that one output row is made of.
struct Taps {
  std::vector<int64_t> index;
  std::vector<double> weight;
};

/// Keys' cubic convolution with parameter a.
double cubic(double x, double a) {
  x = std::fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/// torch.nn.functional.interpolate(mode="bicubic", align_corners=False): four taps, a = -0.75, the edge repeated.
/// `scale` is source pixels per target pixel.
Taps plain_taps(int64_t from, int64_t at, double scale) {
  const double centre = scale * (double(at) + 0.5) - 0.5;
  const int64_t first = int64_t(std::floor(centre));
  const double t = centre - double(first);
  Taps taps;
  for (int64_t k = -1; k <= 2; ++k) {
    taps.index.push_back(std::min(std::max(first + k, int64_t(0)), from - 1));
    taps.weight.push_back(cubic(double(k) - t, -0.75));
  }
  return taps;
}

/// The same with antialias=True: Pillow's filter, a = -0.5, support widened when shrinking, weights that sum to 1.
Taps antialias_taps(int64_t from, int64_t at, double scale) {
  const double widen = std::max(scale, 1.0);
  const double support = 2 * widen;
  const double centre = scale * (double(at) + 0.5);
  const int64_t first = std::max(int64_t(centre - support + 0.5), int64_t(0));
  const int64_t last = std::min(int64_t(centre + support + 0.5), from);
  Taps taps;
  double total = 0;
  for (int64_t i = first; i < last; ++i) {
    const double w = cubic((double(i) - centre + 0.5) / widen, -0.5);
    taps.index.push_back(i);
    taps.weight.push_back(w);
    total += w;
  }
  if (total != 0) {
    for (double& w : taps.weight) w /= total;
  }
  return taps;
}

std::vector<Taps> all_taps(int64_t from, int64_t to, PosResample kind) {
  // DINOv2 asks for the scale factor (to + 0.1) / from, and PyTorch then maps coordinates by that factor.
  const double offset = kind == PosResample::kBicubicOffset ? 0.1 : 0.0;
  const double scale = double(from) / (double(to) + offset);
  std::vector<Taps> taps;
  for (int64_t i = 0; i < to; ++i) {
    taps.push_back(kind == PosResample::kBicubicAntialias ? antialias_taps(from, i, scale)
                                                          : plain_taps(from, i, scale));
  }
  return taps;
}

}  // namespace

std::vector<float> resample_positions(const std::vector<float>& table, int64_t from_h, int64_t from_w, int64_t to_h,
                                      int64_t to_w, int64_t dim, PosResample kind) {
  const std::vector<Taps> horizontal = all_taps(from_w, to_w, kind);
  const std::vector<Taps> vertical = all_taps(from_h, to_h, kind);
  const auto row = [&](int64_t cell) { return size_t(cell * dim); };

  std::vector<double> wide(size_t(from_h * to_w * dim), 0.0);
  for (int64_t y = 0; y < from_h; ++y) {
    for (int64_t x = 0; x < to_w; ++x) {
      const Taps& taps = horizontal[size_t(x)];
      double* out = wide.data() + row(y * to_w + x);
      for (size_t k = 0; k < taps.index.size(); ++k) {
        const float* in = table.data() + row(y * from_w + taps.index[k]);
        for (int64_t d = 0; d < dim; ++d) out[d] += taps.weight[k] * double(in[d]);
      }
    }
  }
  std::vector<float> result(size_t(to_h * to_w * dim));
  std::vector<double> sum(static_cast<size_t>(dim));
  for (int64_t y = 0; y < to_h; ++y) {
    const Taps& taps = vertical[size_t(y)];
    for (int64_t x = 0; x < to_w; ++x) {
      std::fill(sum.begin(), sum.end(), 0.0);
      for (size_t k = 0; k < taps.index.size(); ++k) {
        const double* in = wide.data() + row(taps.index[k] * to_w + x);
        for (int64_t d = 0; d < dim; ++d) sum[size_t(d)] += taps.weight[k] * in[d];
      }
      float* out = result.data() + row(y * to_w + x);
      for (int64_t d = 0; d < dim; ++d) out[d] = float(sum[size_t(d)]);
    }
  }
  return result;
}

}  // namespace vireo
