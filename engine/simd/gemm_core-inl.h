// The GEMM micro-kernel and the epilogue, shared by GEMM, convolution and attention; compiled once per instruction set.
#if defined(VIREO_SIMD_GEMM_CORE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VIREO_SIMD_GEMM_CORE_INL_H
#undef VIREO_SIMD_GEMM_CORE_INL_H
#else
#define VIREO_SIMD_GEMM_CORE_INL_H
#endif

#include "simd/vec-inl.h"

#undef VIREO_INLINE_LAMBDA
#if defined(__GNUC__)
#define VIREO_INLINE_LAMBDA __attribute__((always_inline))
#else
#define VIREO_INLINE_LAMBDA
#endif

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {

// Register tile: kMaxRows rows x kTileVecs vectors. Accumulators + one row of B + one broadcast fill the register file.
// Where there are registers enough, attention multiplies two panels at once, kPairRows rows at a time: 6 rows x 4
// vectors load 10 vectors for 24 multiply-adds where 12 x 2 load 14. It reads every panel from L1, as a GEMM cannot.
#if HWY_TARGET == HWY_AVX3
constexpr int kMaxRows = 14, kTileVecs = 2, kPairRows = 6;
#elif HWY_TARGET == HWY_AVX2
constexpr int kMaxRows = 6, kTileVecs = 2, kPairRows = 0;
#elif HWY_TARGET == HWY_NEON
constexpr int kMaxRows = 8, kTileVecs = 2, kPairRows = 0;
#else
constexpr int kMaxRows = 4, kTileVecs = 2, kPairRows = 0;
#endif
constexpr int64_t kTileCols = kTileVecs * kLanes;
static_assert(kPanel % kTileCols == 0, "a panel is a whole number of register tiles");

constexpr bool kPairs = kPairRows > 0;
constexpr int kPairBlock = kPairs ? 2 * kPairRows : kMaxRows;  // rows that go together where panels go in pairs
static_assert(!kPairs || kTileCols == kPanel);

// K is worked off in chunks: kChunk rows of a panel are 96 KiB, which stay in L2 while the row blocks pass.
constexpr int64_t kChunk = Blocking().chunk;  // the longest
// Distance of the rows of A where kernels build A themselves: an odd number of cache lines spreads them over the sets.
constexpr int64_t kStride = kChunk + 16;

HWY_INLINE Blocking blocking(const Caches& caches) {
  return blocking_for(caches, kTileCols * int64_t(sizeof(float)) < 64);
}

/// c[kRows][kVecs vectors] (+)= a[kRows][k] b[k][kVecs vectors], with strides lda, ldb, ldc. Each step fetches a cache
/// line into L2 from `ahead` (any address; prefetches do not fault): what the next panel needs, so that it need not
/// wait.
template <int kRows, int kVecs = kTileVecs>
HWY_INLINE void tile(const float* HWY_RESTRICT a, int64_t lda, const float* HWY_RESTRICT b, int64_t ldb, int64_t k,
                     float* HWY_RESTRICT c, int64_t ldc, bool accumulate, const char* ahead) {
  const D d;
  // x86 addresses reach three rows from one pointer (scale 0, 1, 2): 14 rows need 5 registers, not 14.
  const float* base[(kRows + 2) / 3];
#pragma GCC unroll 8
  for (int g = 0; g < (kRows + 2) / 3; ++g) base[g] = a + 3 * g * lda;
  const auto at = [&](int r, int64_t i) HWY_ATTR { return base[r / 3] + (r % 3) * lda + i; };
  V acc[kRows][kVecs];
  if (accumulate) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) acc[r][v] = hn::LoadU(d, c + r * ldc + v * kLanes);
    }
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) acc[r][v] = hn::Zero(d);
    }
  }
  // Forced inline: once GCC leaves it as a function, because the file grew, the accumulators live in memory.
  const auto step = [&](int64_t i) HWY_ATTR VIREO_INLINE_LAMBDA {
    __builtin_prefetch(ahead + i * 64, 0, 2);
    V bv[kVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) bv[v] = hn::LoadU(d, b + i * ldb + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const V av = hn::Set(d, *at(r, i));
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) acc[r][v] = hn::MulAdd(av, bv[v], acc[r][v]);
    }
  };
  int64_t i = 0;
#if HWY_TARGET == HWY_NEON
  // FMLA takes its multiplier from a lane: one load brings a row's next four values of A.
  const auto lane_step = [&](auto lane, const V(&av)[kRows], int64_t row) HWY_ATTR VIREO_INLINE_LAMBDA {
    __builtin_prefetch(ahead + row * 64, 0, 2);
    V bv[kVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) bv[v] = hn::LoadU(d, b + row * ldb + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) {
        acc[r][v] = hn::MulAdd(hn::Broadcast<decltype(lane)::value>(av[r]), bv[v], acc[r][v]);
      }
    }
  };
  for (; i + 4 <= k; i += 4) {
    V av[kRows];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) av[r] = hn::LoadU(d, at(r, i));
    lane_step(std::integral_constant<int, 0>(), av, i);
    lane_step(std::integral_constant<int, 1>(), av, i + 1);
    lane_step(std::integral_constant<int, 2>(), av, i + 2);
    lane_step(std::integral_constant<int, 3>(), av, i + 3);
  }
#else
  for (; i + 4 <= k; i += 4) {
    step(i);
    step(i + 1);
    step(i + 2);
    step(i + 3);
  }
#endif
  for (; i < k; ++i) step(i);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) hn::StoreU(acc[r][v], d, c + r * ldc + v * kLanes);
  }
}

/// The same for the `cols` first columns of a panel (rounded up to vectors; what is left of a register tile is
/// undefined).
template <int kRows>
HWY_NOINLINE void panel_rows(const float* a, int64_t lda, const float* b, int64_t ldb, int64_t k, float* c, int64_t ldc,
                             int64_t cols, bool accumulate, const char* ahead) {
  int64_t j = 0;
  for (; j + kLanes < cols; j += kTileCols) tile<kRows>(a, lda, b + j, ldb, k, c + j, ldc, accumulate, ahead);
  if (j < cols) tile<kRows, 1>(a, lda, b + j, ldb, k, c + j, ldc, accumulate, ahead);
}

using PanelFn = void (*)(const float*, int64_t, const float*, int64_t, int64_t, float*, int64_t, int64_t, bool,
                         const char*);

/// panel_rows<1> to <kMaxRows>. In gemm.cpp, for every kernel: compiled into each of their files they were half the
/// time that those took.
struct PanelTable {
  PanelFn fn[kMaxRows];
};
extern const PanelTable kPanelTable;

/// c[rows][cols] (+)= a[rows][k] b[k][cols], rows 1 .. kMaxRows. Without `ahead` b is prefetched, which costs
/// nothing measurable; without the instruction GCC 12 schedules the loop worse.
HWY_INLINE void panel(int64_t rows, const float* a, int64_t lda, const float* b, int64_t ldb, int64_t k, float* c,
                      int64_t ldc, int64_t cols, bool accumulate, const void* ahead = nullptr) {
  kPanelTable.fn[rows - 1](a, lda, b, ldb, k, c, ldc, cols, accumulate,
                           static_cast<const char*>(ahead != nullptr ? ahead : b));
}

#if HWY_TARGET == HWY_AVX3
/// tile() on two panels b0, b1 (stride kPanel), into c0 and c1. The accumulators are named one by one, because GCC
/// keeps an array of this shape in memory.
template <int kRows>
HWY_INLINE void tile_pair(const float* HWY_RESTRICT a, int64_t lda, const float* HWY_RESTRICT b0,
                          const float* HWY_RESTRICT b1, int64_t k, float* c0, float* c1, int64_t ldc, bool accumulate) {
  static_assert(kRows >= 1 && kRows <= 6);
  const D d;
  const float* const a3 = a + 3 * lda;  // x86 addresses reach three rows from one pointer
#define VIREO_EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5)
#define VIREO_DECLARE(r) V x##r##0 = hn::Zero(d), x##r##1 = x##r##0, x##r##2 = x##r##0, x##r##3 = x##r##0;
#define VIREO_FETCH(r)                                                                   \
  if constexpr (r < kRows) {                                                             \
    x##r##0 = hn::LoadU(d, c0 + r * ldc), x##r##1 = hn::LoadU(d, c0 + r * ldc + kLanes); \
    x##r##2 = hn::LoadU(d, c1 + r * ldc), x##r##3 = hn::LoadU(d, c1 + r * ldc + kLanes); \
  }
#define VIREO_STEP(r)                                                           \
  if constexpr (r < kRows) {                                                    \
    const V s = hn::Set(d, (r < 3 ? a : a3)[(r % 3) * lda + i]);                \
    x##r##0 = hn::MulAdd(s, w0, x##r##0), x##r##1 = hn::MulAdd(s, w1, x##r##1); \
    x##r##2 = hn::MulAdd(s, w2, x##r##2), x##r##3 = hn::MulAdd(s, w3, x##r##3); \
  }
#define VIREO_KEEP(r)                                                                    \
  if constexpr (r < kRows) {                                                             \
    hn::StoreU(x##r##0, d, c0 + r * ldc), hn::StoreU(x##r##1, d, c0 + r * ldc + kLanes); \
    hn::StoreU(x##r##2, d, c1 + r * ldc), hn::StoreU(x##r##3, d, c1 + r * ldc + kLanes); \
  }
  VIREO_EACH_ROW(VIREO_DECLARE)
  if (accumulate) {
    VIREO_EACH_ROW(VIREO_FETCH)
  }
#pragma GCC unroll 4
  for (int64_t i = 0; i < k; ++i) {
    const V w0 = hn::LoadU(d, b0 + i * kPanel), w1 = hn::LoadU(d, b0 + i * kPanel + kLanes);
    const V w2 = hn::LoadU(d, b1 + i * kPanel), w3 = hn::LoadU(d, b1 + i * kPanel + kLanes);
    VIREO_EACH_ROW(VIREO_STEP)
  }
  VIREO_EACH_ROW(VIREO_KEEP)
#undef VIREO_EACH_ROW
#undef VIREO_DECLARE
#undef VIREO_FETCH
#undef VIREO_STEP
#undef VIREO_KEEP
}

template <int kRows>
HWY_NOINLINE void pair_rows(const float* a, int64_t lda, const float* b0, const float* b1, int64_t k, float* c0,
                            float* c1, int64_t ldc, bool accumulate) {
  constexpr int kFirst = kRows > kPairRows ? (kRows + 1) / 2 : kRows, kRest = kRows - kFirst;
  tile_pair<kFirst>(a, lda, b0, b1, k, c0, c1, ldc, accumulate);
  if constexpr (kRest > 0) {
    tile_pair<kRest>(a + kFirst * lda, lda, b0, b1, k, c0 + kFirst * ldc, c1 + kFirst * ldc, ldc, accumulate);
  }
}

using PairFn = void (*)(const float*, int64_t, const float*, const float*, int64_t, float*, float*, int64_t, bool);

template <int... kRows>
constexpr auto pair_table(std::integer_sequence<int, kRows...>) {
  struct Table {
    PairFn fn[sizeof...(kRows)];
  };
  return Table{{&pair_rows<kRows + 1>...}};
}

/// panel() on two whole panels at once, rows 1 .. kPairBlock.
HWY_INLINE void panel_pair(int64_t rows, const float* a, int64_t lda, const float* b0, const float* b1, int64_t k,
                           float* c0, float* c1, int64_t ldc, bool accumulate) {
  static constexpr auto kTable = pair_table(std::make_integer_sequence<int, kPairBlock>());
  kTable.fn[rows - 1](a, lda, b0, b1, k, c0, c1, ldc, accumulate);
}
#else
HWY_INLINE void panel_pair(int64_t, const float*, int64_t, const float*, const float*, int64_t, float*, float*, int64_t,
                           bool) {}  // never called without kPairs
#endif

/// `total` split into `parts` nearly equal pieces: where piece i begins.
HWY_INLINE int64_t split(int64_t total, int64_t parts, int64_t i) {
  return total / parts * i + std::min(i, total % parts);
}

constexpr int64_t kShortK = 128;  // up to this many products per value its line is asked for

/// Asks for the lines of the output that the epilogue is about to write, so that they come while the panel is
/// multiplied: with a short k an output larger than the caches would otherwise be waited for line by line.
HWY_INLINE void fetch_output(const GemmArgs& g, int64_t row0, int64_t rows, int64_t col0, int64_t cols) {
  const float* out = g.out + row0 * g.ldo + col0;
  for (int64_t r = 0; r < rows; ++r, out += g.ldo) {
    for (int64_t c = 0; c < cols; c += 16) __builtin_prefetch(out + c, 1, 3);
  }
}

/// out = residual + col_scale * act(b_scales * c + bias) for rows of one panel; c has stride kPanel.
HWY_INLINE void epilogue(const GemmArgs& g, const float* c, int64_t row0, int64_t rows, int64_t col0) {
  const D d;
  const int64_t cols = std::min(kPanel, g.n - col0);
  const int64_t padded = std::min(kPanel, pad4(cols));
  // The column vectors, completed to whole vectors.
  HWY_ALIGN float bias[kPanel], b_scale[kPanel], col_scale[kPanel];
  for (int64_t v = 0; v < kPanel; v += kLanes) hn::Store(hn::Zero(d), d, bias + v);
  const auto fetch = [&](const float* p, float* to) HWY_ATTR {
    if (p != nullptr) std::memcpy(to, p + col0, size_t(cols) * sizeof(float));
  };
  fetch(g.bias, bias);
  fetch(g.b_group == 0 ? g.b_scales : nullptr, b_scale);
  fetch(g.col_scale, col_scale);
  with_act(g.act, [&](auto tag) HWY_ATTR {
    for (int64_t v = 0; v < cols; v += kLanes) {
      const int64_t n = std::min(kLanes, cols - v);
      const V vb = hn::Load(d, bias + v), vs = hn::Load(d, b_scale + v), vc = hn::Load(d, col_scale + v);
      const auto keep = hn::FirstN(d, size_t(n));
      float* out = g.out + row0 * g.ldo + col0 + v;
      const float* residual = g.residual != nullptr ? g.residual + row0 * g.ldr + col0 + v : nullptr;
      for (int64_t r = 0; r < rows; ++r) {
        V x = hn::Load(d, c + r * kPanel + v);
        x = g.b_group == 0 && g.b_scales != nullptr ? hn::MulAdd(x, vs, vb) : hn::Add(x, vb);
        x = act_v<decltype(tag)::value>(x);
        if (g.col_scale != nullptr) x = hn::Mul(x, vc);
        if (residual != nullptr) x = hn::Add(x, load_n(residual + r * g.ldr, n));
        if (n == kLanes) {
          hn::StoreU(x, d, out + r * g.ldo);
        } else {
          store_n(hn::IfThenElseZero(keep, x), out + r * g.ldo, std::min(kLanes, padded - v));
        }
      }
    }
  });
  if (kLanes < 4) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = cols; j < padded; ++j) g.out[(row0 + r) * g.ldo + col0 + j] = 0.0f;
    }
  }
}

/// epilogue() as a function, in gemm.cpp.
void finish_rows(const GemmArgs& g, const float* c, int64_t row0, int64_t rows, int64_t col0);

}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
