// Packing of weight matrices into column panels: once per weight at load time, plain C++, the same bytes on every CPU.
#include <algorithm>
#include <cstring>

#include "base/half.h"
#include "base/rounding.h"
#include "simd/kernels.h"
#include "simd/winograd_weights.h"
#include "tensor/tensor.h"

namespace vireo::simd {
namespace {

/// Transposes up to 32 rows of length k into one panel [k][32]; `element(row, x)` converts a value.
template <typename T, typename S, typename F>
void pack_panel(const S* rows, int64_t count, int64_t k, T* panel, F element) {
  constexpr int64_t kStep = 16;  // columns of W per pass: 32 rows x 16 floats are 32 cache lines
  for (int64_t k0 = 0; k0 < k; k0 += kStep) {
    const int64_t k1 = std::min(k, k0 + kStep);
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t i = k0; i < k1; ++i) panel[i * kPanel + r] = element(r, rows[r * k + i]);
    }
  }
  if (count == kPanel) return;
  for (int64_t i = 0; i < k; ++i) std::fill(panel + i * kPanel + count, panel + (i + 1) * kPanel, T(0));
}

float row_scale(const float* row, int64_t k) { return max_magnitude(row, k) / 127.0f; }

int8_t quantise(float w, float scale) {
  if (!(scale > 0.0f)) return 0;
  return int8_t(rounded_code(w / scale, -127.0f, 127.0f));
}

/// Each byte's code of -8 .. 7, plus 8.
uint32_t biased_nibbles(uint32_t codes) { return (codes & 0x0F0F0F0Fu) ^ 0x08080808u; }

}  // namespace

size_t packed_weight_bytes(int64_t n, int64_t k, DType type) {
  const int64_t padded = type == DType::kBF16 ? round_up(k, kBf16Step) : k;
  return size_t(round_up(n, kPanel)) * size_t(padded) * dtype_size(type);
}

void pack_weight(const float* rows, int64_t first, int64_t count, int64_t n, int64_t k, DType type, void* packed,
                 float* scales) {
  for (int64_t r0 = 0; r0 < count; r0 += kPanel) {
    const int64_t here = std::min(kPanel, count - r0);
    const float* src = rows + r0 * k;
    const int64_t offset = (first + r0) * k;  // of the panel, in elements
    switch (type) {
      case DType::kF32:
        pack_panel(src, here, k, static_cast<float*>(packed) + offset, [](int64_t, float x) { return x; });
        break;
      case DType::kF16:
        pack_panel(src, here, k, static_cast<uint16_t*>(packed) + offset,
                   [](int64_t, float x) { return float_to_half(x); });
        break;
      case DType::kBF16: {
        const int64_t padded = round_up(k, kBf16Step);
        uint16_t* const panel = static_cast<uint16_t*>(packed) + (first + r0) * padded;
        std::memset(panel, 0, size_t(padded * kPanel) * sizeof(uint16_t));
        for (int64_t r = 0; r < here; ++r) {
          for (int64_t i = 0; i < k; ++i) panel[i / 2 * 2 * kPanel + 2 * r + i % 2] = float_to_bf16(src[r * k + i]);
        }
        break;
      }
      case DType::kI8: {
        float s[kPanel];
        for (int64_t r = 0; r < here; ++r) scales[first + r0 + r] = s[r] = row_scale(src + r * k, k);
        pack_panel(src, here, k, static_cast<int8_t*>(packed) + offset,
                   [&](int64_t r, float x) { return quantise(x, s[r]); });
        break;
      }
      case DType::kU8:
      case DType::kI32: break;  // no weight is packed as such
    }
  }
  if (type == DType::kI8 && first + count == n) std::fill(scales + n, scales + round_up(n, 4), 0.0f);
}

void pack_weight_i8(const int8_t* rows, int64_t first, int64_t count, int64_t n, int64_t k, void* packed) {
  (void)n;
  for (int64_t r0 = 0; r0 < count; r0 += kPanel) {
    pack_panel(rows + r0 * k, std::min(kPanel, count - r0), k, static_cast<int8_t*>(packed) + (first + r0) * k,
               [](int64_t, int8_t x) { return x; });
  }
}

void pack_weight_i4(const int8_t* rows, int64_t first, int64_t count, int64_t n, int64_t k, void* packed) {
  (void)n;
  for (int64_t r0 = 0; r0 < count; r0 += kPanel) {
    uint8_t* const panel = static_cast<uint8_t*>(packed) + (first + r0) * k / 2;
    for (int64_t i = 0; i < k; ++i)
      for (int64_t c = 0; c < kPanel / 2; ++c) {
        const auto nibble = [&](int64_t column) {
          return r0 + column < count ? unsigned(rows[(r0 + column) * k + i]) & 15u : 0u;
        };
        panel[i * kPanel / 2 + c] = uint8_t(nibble(c) | nibble(c + kPanel / 2) << 4);
      }
  }
}

size_t integer_weight_bytes(int64_t n, int64_t k, bool nibbles) {
  return nibbles ? size_t(round_up(n, kPanel) * round_up(k, 2 * kI8Step)) / 2
                 : size_t(round_up(n, kPanel) * round_up(k, kI8Step));
}

void pack_weight_integer(const int8_t* rows, int64_t first, int64_t count, int64_t n, int64_t k, void* packed,
                         bool nibbles) {
  (void)n;
  const int64_t bytes = int64_t(integer_weight_bytes(kPanel, k, nibbles));  // of a panel
  for (int64_t r0 = 0; r0 < count; r0 += kPanel) {
    uint8_t* const panel = static_cast<uint8_t*>(packed) + (first + r0) / kPanel * bytes;
    std::memset(panel, nibbles ? 0x88 : 128, size_t(bytes));
    for (int64_t r = 0; r < std::min(kPanel, count - r0); ++r) {
      const int8_t* const row = rows + (r0 + r) * k;
      // Four codes side by side are a word, plus 128 each; what a row lacks of its last word are codes of 0.
      const int64_t step = nibbles ? 8 : 4;
      for (int64_t i = 0; i < k; i += step) {
        uint32_t words[2] = {};
        if (k - i >= step) {
          std::memcpy(words, row + i, nibbles ? 8 : 4);
        } else {
          std::memcpy(words, row + i, size_t(k - i));
        }
        const uint32_t word =
            nibbles ? biased_nibbles(words[0]) | biased_nibbles(words[1]) << 4 : words[0] ^ 0x80808080u;
        std::memcpy(panel + i / step * 4 * kPanel + 4 * r, &word, 4);
      }
    }
  }
}

size_t winograd_weight_bytes(int64_t n, int64_t c) {
  return size_t(kWinogradProducts) * packed_weight_bytes(n, c, DType::kF32);
}

void pack_winograd(const float* rows, int64_t first, int64_t count, int64_t c, float* packed) {
  for (int64_t r = 0; r < count; ++r) {
    const int64_t row = first + r;
    float* const to = packed + row / kPanel * kWinogradProducts * c * kPanel + row % kPanel;
    for (int64_t i = 0; i < c; ++i) {
      double u[kWinogradProducts];
      winograd_weights(rows + r * 9 * c + i, c, u);
      for (int64_t t = 0; t < kWinogradProducts; ++t) to[(t * c + i) * kPanel] = float(u[t]);
    }
  }
  const int64_t used = (first + count) % kPanel;
  if (used == 0) return;
  float* const last = packed + (first + count) / kPanel * kWinogradProducts * c * kPanel;
  for (int64_t i = 0; i < kWinogradProducts * c; ++i)
    std::fill(last + i * kPanel + used, last + (i + 1) * kPanel, 0.0f);
}

}  // namespace vireo::simd
