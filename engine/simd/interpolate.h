// Where a resized row or column is read from: torch.nn.functional.interpolate's rules (ATen UpSample.h), without
// antialiasing.
#pragma once

#include <algorithm>
#include <cmath>

#include "simd/kernels.h"

namespace vireo::simd {

/// Input positions for one output position and their weights, along one axis.
struct ResizeTaps {
  int count = 0;
  int64_t at[4] = {};
  float weight[4] = {};
};

/// Input positions per output position, in fp32 as ATen computes it.
inline float resize_ratio(int64_t in, int64_t out, bool align_corners) {
  if (align_corners) return out > 1 ? float(in - 1) / float(out - 1) : 0.0f;
  return float(in) / float(out);
}

inline ResizeTaps resize_taps(Interpolation mode, bool align_corners, int64_t in, int64_t out, int64_t i) {
  ResizeTaps t;
  const float ratio = resize_ratio(in, out, align_corners);
  if (mode == Interpolation::kNearest) {
    t.count = 1;
    t.at[0] = std::min(int64_t(std::floor(float(i) * ratio)), in - 1);
    t.weight[0] = 1.0f;
    return t;
  }
  float from = align_corners ? ratio * float(i) : ratio * (float(i) + 0.5f) - 0.5f;
  if (mode == Interpolation::kBilinear) {
    from = std::max(from, 0.0f);
    t.count = 2;
    t.at[0] = std::min(int64_t(from), in - 1);
    t.at[1] = std::min(t.at[0] + 1, in - 1);
    t.weight[1] = from - float(t.at[0]);
    t.weight[0] = 1.0f - t.weight[1];
    return t;
  }
  // Keys' cubic with A = -0.75; positions beyond the edge repeat it.
  constexpr float kA = -0.75f;
  const auto near = [](float x) { return ((kA + 2) * x - (kA + 3)) * x * x + 1; };
  const auto far = [](float x) { return ((kA * x - 5 * kA) * x + 8 * kA) * x - 4 * kA; };
  const float first = std::floor(from), f = from - first;
  t.count = 4;
  for (int k = 0; k < 4; ++k) t.at[k] = std::min(std::max<int64_t>(int64_t(first) - 1 + k, 0), in - 1);
  t.weight[0] = far(f + 1), t.weight[1] = near(f), t.weight[2] = near(1 - f), t.weight[3] = far(2 - f);
  return t;
}

/// Bilinear taps whose weights have all their bits: a position in fp32 has few left for them far right, which a choice
/// between two classes would show. The ratio is fp32 all the same, as ATen's.
inline ResizeTaps bilinear_taps(int64_t in, int64_t out, int64_t i) {
  ResizeTaps t;
  const double from = std::max(double(resize_ratio(in, out, false)) * (double(i) + 0.5) - 0.5, 0.0);
  t.count = 2;
  t.at[0] = std::min(int64_t(from), in - 1);
  t.at[1] = std::min(t.at[0] + 1, in - 1);
  t.weight[1] = float(from - double(t.at[0]));
  t.weight[0] = 1.0f - t.weight[1];
  return t;
}

/// The same for a row or column that is brought to `mid` and from there to `out`: each of the positions with the
/// products of its weights.
inline ResizeTaps bilinear_through(int64_t in, int64_t mid, int64_t out, int64_t i) {
  if (mid == out) return bilinear_taps(in, out, i);
  const ResizeTaps far = bilinear_taps(mid, out, i);
  if (mid == in) return far;
  ResizeTaps t;
  for (int k = 0; k < far.count; ++k) {
    const ResizeTaps near = bilinear_taps(in, mid, far.at[k]);
    for (int j = 0; j < near.count; ++j) {
      if (far.weight[k] == 0.0f || near.weight[j] == 0.0f) continue;
      int same = 0;
      while (same < t.count && t.at[same] != near.at[j]) ++same;
      if (same == t.count) t.at[t.count++] = near.at[j];
      t.weight[same] += far.weight[k] * near.weight[j];
    }
  }
  return t;
}

}  // namespace vireo::simd
