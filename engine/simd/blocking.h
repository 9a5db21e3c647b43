// How much CPU kernels work on at a time: from the caches that a thread has. `vireo plan` prints it.
#pragma once

#include <algorithm>
#include <cstdint>

namespace vireo::simd {

/// Bytes of caches that a thread has to itself: its share where cores share one. 0: not known, and taken to be enough.
struct Caches {
  int64_t first = 0;  // of data, the core's own
  int64_t rest = 0;   // those behind it, before memory
};

/// The sizes of large caches. With 48 KiB and, behind them, 1 MiB or more, larger ones gain nothing (measured on x86);
/// what smaller caches want was found by counting the misses of a Cortex-A57's (32 KiB, 512 KiB a core;
/// bench/a57_caches.sh). Products of codes are not here: with fewer rows they read memory less and all else more.
struct Blocking {
  int64_t chunk = 768;              // columns k of a GEMM at a time
  int64_t keys = 256;               // of attention at a time, a multiple of 32
  int64_t tile_floats = 128 << 10;  // of tiles that Winograd has transformed
  int64_t row_bytes = INT64_MAX;    // of rows that stay while panels of weights pass

  /// At most `most` rows of `each` bytes beside `beside` bytes, but never none.
  int64_t rows(int64_t most, int64_t each, int64_t beside) const {
    return std::max<int64_t>(1, std::min(most, (row_bytes - beside) / std::max<int64_t>(1, each)));
  }
};

constexpr int64_t kLargeFirst = 48 << 10;

/// `narrow`: a register tile is less than a cache line wide. Then a line of weights is read once for each part of it,
/// and should still be in the first cache; so a panel's chunk takes half of that.
inline Blocking blocking_for(const Caches& c, bool narrow) {
  constexpr int64_t kPanelBytes = 32 * 4;
  Blocking b;
  if (narrow && c.first > 0 && c.first < kLargeFirst) {
    b.chunk = std::max<int64_t>(64, c.first / 2 / kPanelBytes / 32 * 32);
    b.keys = std::min(b.keys, b.chunk);
  }
  if (c.rest > 0) {
    b.row_bytes = c.rest / 3 * 2;
    b.tile_floats = std::min(b.tile_floats, c.rest / 4 / 4);
  }
  return b;
}

}  // namespace vireo::simd
