// AMX tiles: eight registers of up to 16 rows of 64 bytes. As assembly, because the compilers' intrinsics want whole
// functions for AMX alone, into which nothing compiled for AVX-512 could be inlined, and GCC 12's say nothing of the
// memory that they touch.
#pragma once

#include "simd/bf16.h"

#if VIREO_SIMD_BF16

namespace vireo::simd {

struct alignas(64) TileConfig {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

/// Tiles 0-3 are sums of two by two, 4 and 5 rows of the left factor (16 and the rest), 6 and 7 columns of the right
/// one. A product takes as many cycles as its left tile has rows, so the shapes are those of the block: `rows` of the
/// left factor, 1 to 32, `bytes` of them a step, a multiple of 4 up to 64.
inline void set_product_tiles(int64_t rows, int64_t bytes) {
  TileConfig t;
  const uint8_t first = uint8_t(rows < 16 ? rows : 16), rest = uint8_t(rows > 16 ? rows - 16 : 16);
  for (int i = 0; i < 8; ++i) {
    const bool left = i == 4 || i == 5, right = i >= 6;
    t.row_bytes[i] = uint16_t(left ? bytes : 64);
    t.rows[i] = right ? uint8_t(bytes / 4) : i == 0 || i == 1 || i == 4 ? first : rest;
  }
  asm volatile("ldtilecfg %0" : : "m"(t));
}

/// The system need not save tiles that nobody uses.
inline void release_tiles() { asm volatile("tilerelease" : : :); }

template <int kTile>
inline void zero_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
template <int kTile>
inline void load_tile(const void* from, int64_t stride_bytes) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride_bytes), "i"(kTile) : "memory");
}
template <int kTile>
inline void store_tile(void* to, int64_t stride_bytes) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride_bytes), "i"(kTile) : "memory");
}
/// Sums += signed bytes of the left tile times unsigned bytes of the right one, in 32 bits.
template <int kSums, int kLeft, int kRight>
inline void multiply_signed_unsigned() {
  asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kLeft), "i"(kRight));
}
template <int kSums, int kLeft, int kRight>
inline void multiply_unsigned_signed() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kLeft), "i"(kRight));
}
template <int kSums, int kLeft, int kRight>
inline void multiply_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kLeft), "i"(kRight));
}

}  // namespace vireo::simd
#endif
