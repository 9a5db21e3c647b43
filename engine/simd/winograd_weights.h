// What Winograd's F(2 x 2, 3 x 3) makes of a kernel, on every device.
#pragma once

#include <cstdint>

namespace vireo::simd {

/// u = G g G^T, [16], G = [1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1]: of every line, then of the lines, in double. The
/// 9 weights lie `step` apart.
inline void winograd_weights(const float* g, int64_t step, double* u) {
  const auto transform = [](double a, double b, double e, double* to, int64_t apart) {
    to[0] = a, to[apart] = (a + b + e) / 2, to[2 * apart] = (a - b + e) / 2, to[3 * apart] = e;
  };
  double lines[3][4];
  for (int64_t y = 0; y < 3; ++y) transform(g[y * 3 * step], g[(y * 3 + 1) * step], g[(y * 3 + 2) * step], lines[y], 1);
  for (int64_t x = 0; x < 4; ++x) transform(lines[0][x], lines[1][x], lines[2][x], u + x, 4);
}

}  // namespace vireo::simd
