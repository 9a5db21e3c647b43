// Attention whose two products are of integers: q and k become int8 codes with a scale per token and head, k less the
// mean of each channel, which softmax takes no notice of (SageAttention, Zhang et al. 2024); v int8 codes with a scale
// per channel, on both sides of the middle of its range; and the powers p = exp(score - maximum) codes of 8 bits
// without sign, round(255 p). Sums are of 32 bits and exact. A row is divided by the sum of its powers, not of their
// codes, which would add the codes' rounding to every channel alike. Every CPU does the same operations in the same
// order, so that all agree bit for bit; this file is compiled without fused multiply-adds for that.
#include "simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/attention_i8.cpp"
#include <hwy/foreach_target.h>

#include <cfloat>
#include <cmath>
#include <type_traits>

#include "simd/gemm_core-inl.h"
#include "simd/tiles.h"

#if HWY_TARGET == HWY_AVX3
#include <immintrin.h>
#endif

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {
namespace attention_i8 {

using DI = hn::RebindToSigned<D>;
using VI = hn::Vec<DI>;

// The powers of a block of keys are codes relative to the block's own maximum, so its size is part of the result: it is
// the same on every CPU.
constexpr int64_t kKeys = 256;
constexpr int64_t kQueries = 256;  // per work item at most: each packs K and V anew
constexpr int64_t kWantItems = 6;
constexpr int64_t kMaxRows = 16;  // queries that go together
/// Partial sums of a row: as many on every CPU.
constexpr int64_t kParts = 16, kVectors = kParts / kLanes;
constexpr int64_t kScoreStride = kKeys + 16;  // an odd number of cache lines

HWY_INLINE int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Pairs of 16-bit factors, which every CPU multiplies and adds without overflow: a word of 32 bits holds two codes.
struct Pairs {
  static constexpr int64_t kRows = 12, kWords = 1;  // queries that go together; words of a step
  static constexpr int64_t kStep = 2;               // codes in a word
  static constexpr int32_t kShift = 0;              // added to the codes of keys
  using Code = int16_t;                             // of queries and keys
  using Power = int16_t;
  static constexpr int32_t kMask = 0xffff;
  static void begin() {}
  static void end() {}

  template <int64_t kNow>
  static HWY_INLINE void tile(const int32_t* a, int64_t lda, const int32_t* panel, int64_t words, int32_t* sums,
                              int64_t lds) {
#if HWY_TARGET == HWY_SCALAR
    const auto half = [](int32_t word, int h) { return int32_t(int16_t(uint32_t(word) >> (16 * h) & 0xffffu)); };
    for (int64_t r = 0; r < kNow; ++r)
      for (int64_t c = 0; c < kPanel; ++c) {
        int32_t sum = 0;
        for (int64_t i = 0; i < words; ++i)
          for (int h = 0; h < 2; ++h) sum += half(a[r * lda + i], h) * half(panel[i * kPanel + c], h);
        sums[r * lds + c] = sum;
      }
#else
    const DI di;
    const hn::Repartition<int16_t, DI> d16;
    constexpr int64_t kWide = kPanel / kLanes;
    VI low[kNow * kWide], high[kNow * kWide];
    for (VI& v : low) v = hn::Zero(di);
    for (VI& v : high) v = hn::Zero(di);
    for (int64_t i = 0; i < words; ++i)
      for (int64_t r = 0; r < kNow; ++r) {
        const auto s = hn::BitCast(d16, hn::Set(di, a[r * lda + i]));
        for (int64_t v = 0; v < kWide; ++v)
          low[r * kWide + v] =
              hn::ReorderWidenMulAccumulate(di, s, hn::BitCast(d16, hn::LoadU(di, panel + i * kPanel + v * kLanes)),
                                            low[r * kWide + v], high[r * kWide + v]);
      }
    for (int64_t r = 0; r < kNow; ++r)
      for (int64_t v = 0; v < kWide; ++v)
        hn::StoreU(hn::RearrangeToOddPlusEven(low[r * kWide + v], high[r * kWide + v]), di,
                   sums + r * lds + v * kLanes);
#endif
  }

  /// sums[rows][32] of rows of codes and a panel, `words` words of codes each.
  template <bool kPowers>
  static HWY_INLINE void run(int64_t rows, const int32_t* a, int64_t lda, const int32_t* panel, int64_t words,
                             int32_t* sums, int64_t lds) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
    for (; rows >= 3; rows -= 3, a += 3 * lda, sums += 3 * lds) tile<3>(a, lda, panel, words, sums, lds);
#endif
    for (; rows >= 1; --rows, a += lda, sums += lds) tile<1>(a, lda, panel, words, sums, lds);
  }
};

#if HWY_TARGET == HWY_AVX3
#define VIREO_VNNI __attribute__((target("avx512vnni")))
#define VIREO_EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define VIREO_DECLARE(r) __m512i x##r##0 = _mm512_setzero_si512(), x##r##1 = x##r##0;
#define VIREO_STEP(r)                                                                              \
  if constexpr (r < kNow) {                                                                        \
    const __m512i s = _mm512_set1_epi32(a[r * lda + i]);                                           \
    x##r##0 = kPowers ? _mm512_dpbusd_epi32(x##r##0, s, w0) : _mm512_dpbusd_epi32(x##r##0, w0, s); \
    x##r##1 = kPowers ? _mm512_dpbusd_epi32(x##r##1, s, w1) : _mm512_dpbusd_epi32(x##r##1, w1, s); \
  }
#define VIREO_KEEP(r)                                  \
  if constexpr (r < kNow) {                            \
    _mm512_storeu_si512(sums + r * lds, x##r##0);      \
    _mm512_storeu_si512(sums + r * lds + 16, x##r##1); \
  }

/// Four pairs of bytes at a time: the powers' codes are its factor without sign, and else the keys', stored plus 128.
template <int64_t kNow, bool kPowers>
VIREO_VNNI static void vnni_tile(const int32_t* a, int64_t lda, const int32_t* panel, int64_t words, int32_t* sums,
                                 int64_t lds) {
  VIREO_EACH_ROW(VIREO_DECLARE)
  for (int64_t i = 0; i < words; ++i, panel += kPanel) {
    const __m512i w0 = _mm512_loadu_si512(panel), w1 = _mm512_loadu_si512(panel + 16);
    VIREO_EACH_ROW(VIREO_STEP)
  }
  VIREO_EACH_ROW(VIREO_KEEP)
}

struct Vnni {
  static constexpr int64_t kRows = 12, kWords = 1;
  static constexpr int64_t kStep = 4;
  static constexpr int32_t kShift = 128;
  using Code = int8_t;
  using Power = uint8_t;
  static constexpr int32_t kMask = 0xff;
  static void begin() {}
  static void end() {}

  template <bool kPowers>
  static HWY_INLINE void run(int64_t rows, const int32_t* a, int64_t lda, const int32_t* panel, int64_t words,
                             int32_t* sums, int64_t lds) {
#define VIREO_ROWS(r) \
  case r + 1: return vnni_tile<r + 1, kPowers>(a, lda, panel, words, sums, lds);
    switch (rows) { VIREO_EACH_ROW(VIREO_ROWS) default : return; }
#undef VIREO_ROWS
  }
};
#undef VIREO_EACH_ROW
#undef VIREO_DECLARE
#undef VIREO_STEP
#undef VIREO_KEEP
#endif

#if HWY_TARGET == HWY_AVX3 && VIREO_SIMD_BF16
/// The same on AMX tiles: whole ones, whatever stands in the rows behind the last. Words behind the last code are zero
/// in the rows and anything in the panels.
struct Tiles {
  static constexpr int64_t kRows = 16, kWords = 16;
  static constexpr int64_t kStep = 4;
  static constexpr int32_t kShift = 128;
  using Code = int8_t;
  using Power = uint8_t;
  static constexpr int32_t kMask = 0xff;
  static void begin() { set_product_tiles(kRows, 64); }
  static void end() { release_tiles(); }

  template <bool kPowers>
  static void run(int64_t, const int32_t* a, int64_t lda, const int32_t* panel, int64_t words, int32_t* sums,
                  int64_t lds) {
    zero_tile<0>(), zero_tile<1>();
    for (int64_t i = 0; i < words; i += kWords, panel += kWords * kPanel) {
      load_tile<4>(a + i, lda * 4), load_tile<6>(panel, kPanel * 4), load_tile<7>(panel + 16, kPanel * 4);
      if (kPowers) multiply_unsigned_signed<0, 4, 6>(), multiply_unsigned_signed<1, 4, 7>();
      else multiply_signed_unsigned<0, 4, 6>(), multiply_signed_unsigned<1, 4, 7>();
    }
    store_tile<0>(sums, lds * 4), store_tile<1>(sums + 16, lds * 4);
  }
};
#endif

/// Work items per head, and the scratch areas in words of 4 bytes.
struct Plan {
  int64_t rows;             // queries that go together
  int64_t splits;           // query ranges per (batch, head)
  int64_t queries;          // of the largest
  int64_t query_rows;       // the same, in whole tiles
  int64_t head_words;       // words of a query's or key's codes
  int64_t keys, key_words;  // of the largest block of keys: whole panels; words of a query's powers
  int64_t values;           // channels of a value, whole panels
  int64_t power_stride() const { return kScoreStride / 2; }  // room for 16-bit codes
};

template <typename Tile>
HWY_INLINE Plan make_plan(const AttentionArgs& a) {
  Plan p{};
  p.rows = Tile::kRows;
  const int64_t heads = std::max<int64_t>(1, a.batch * a.heads), step = Tile::kStep * Tile::kWords;
  p.splits = std::max(up(a.tokens, kQueries), std::min(up(kWantItems, heads), up(a.tokens, 2 * p.rows)));
  p.splits = std::max<int64_t>(1, p.splits);
  p.queries = up(a.tokens, p.splits);
  p.query_rows = Tile::kWords > 1 ? up(p.queries, p.rows) * p.rows : p.queries;
  p.head_words = up(a.head_dim, step) * Tile::kWords;
  p.keys = up(std::min(kKeys, a.kv_tokens), kPanel) * kPanel;
  p.key_words = up(std::min(kKeys, a.kv_tokens), step) * Tile::kWords;
  p.values = up(a.values(), kPanel) * kPanel;
  return p;
}

/// f(words) for each area of the scratch, in the order of run_item().
template <typename F>
HWY_INLINE void for_each_area(const Plan& p, F f) {
  f(p.keys * p.head_words), f(p.key_words * p.values), f(p.query_rows * p.head_words);  // K, V, Q
  f(p.keys), f(p.head_words * 4), f(p.values), f(p.values),
      f(p.values);  // scales of keys and of channels, and the channels' inverses
  f(p.rows * kScoreStride), f(p.rows * p.power_stride()), f(p.rows * kPanel);  // scores, powers, a panel's sums
  f(p.queries * p.values);                                                     // output
  f(2 * p.queries), f(p.queries), f(p.queries);                                // rows, their maxima and sums
}

template <typename Tile>
int64_t items(const AttentionArgs& a) {
  if (a.tokens <= 0 || a.kv_tokens <= 0) return 0;
  return a.batch * a.heads * make_plan<Tile>(a).splits;
}

template <typename Tile>
size_t scratch_bytes(const AttentionArgs& a) {
  const Plan p = make_plan<Tile>(a);
  int64_t words = 0;
  for_each_area(p, [&words](int64_t area) { words += up(area, 16) * 16; });
  return size_t(words) * 4;
}

constexpr float kMagic = 12582912.0f;       // 1.5 * 2^23: adding it rounds to an integer, to even in a tie
constexpr int32_t kMagicBits = 0x4B400000;  // ... left in the low bits

/// x * factor as an integer, rounded to even; |x * factor| < 2^22.
HWY_INLINE VI rounded(V x, V factor) {
  const D d;
  const DI di;
  return hn::Sub(hn::BitCast(di, hn::Add(hn::Mul(x, factor), hn::Set(d, kMagic))), hn::Set(di, kMagicBits));
}

/// 2^t for t <= 0 within 3e-6 (our own minimax fit that is exact for 0), 1 for 0, 0 below -126, NaN stays NaN: half a
/// step of a power's code is 600 times that.
HWY_INLINE V power(V t) {
  const D d;
  const DI di;
  const V shifted = hn::Add(t, hn::Set(d, kMagic));
  const V f = hn::Sub(t, hn::Sub(shifted, hn::Set(d, kMagic)));
  V p = hn::Set(d, 0.0095828531f);
  p = hn::Add(hn::Mul(p, f), hn::Set(d, 0.0559064246f));
  p = hn::Add(hn::Mul(p, f), hn::Set(d, 0.240240986f));
  p = hn::Add(hn::Mul(p, f), hn::Set(d, 0.693124193f));
  p = hn::Add(hn::Mul(p, f), hn::Set(d, 1.0f));
  const V e = hn::Mul(p, hn::BitCast(d, hn::Add(hn::ShiftLeft<23>(hn::BitCast(di, shifted)), hn::Set(di, 127 << 23))));
  return hn::IfThenZeroElse(hn::Lt(t, hn::Set(d, -126.0f)), e);
}
HWY_INLINE float power(float t) { return hn::GetLane(power(hn::Set(D(), t))); }

/// Of a range of numbers: scale = max|x| / 127, and its inverse; both 0 where all are 0. NaN where one is not finite.
struct Step {
  float scale, inverse;
};
HWY_INLINE Step step_of(float most, float spoilt) {
  if (!(spoilt == 0)) return {spoilt, 0};
  if (!(most > 1e-36f)) return {0, 0};  // an inverse would be infinite
  return {most / 127.0f, 127.0f / most};
}

/// Codes of a row of `dim` floats less `centre` (null: nothing), zeros behind them to whole words. Gives the row's step
/// and the sum of its codes.
template <typename Code>
HWY_INLINE Step quantise(const float* x, const float* centre, int64_t dim, int64_t padded, int32_t shift, Code* to,
                         int32_t* sum) {
  const D d;
  const DI di;
  const auto at = [&](int64_t i) HWY_ATTR {
    const V v = load_n(x + i, dim - i);
    return centre == nullptr ? v : hn::Sub(v, hn::LoadU(d, centre + i));
  };
  V high = hn::Zero(d), spoilt = hn::Zero(d);
  for (int64_t i = 0; i < dim; i += kLanes) {
    const V v = at(i);
    high = hn::Max(high, hn::Abs(v));
    spoilt = hn::Add(spoilt, hn::Mul(v, hn::Zero(d)));  // NaN where a value is NaN or infinite
  }
  const Step step = step_of(max_lanes(high), sum_lanes(spoilt));
  const V inverse = hn::Set(d, step.inverse);
  const VI plus = hn::Set(di, shift);
  VI total = hn::Zero(di);
  const hn::Rebind<Code, D> dc;
  for (int64_t i = 0; i < padded; i += kLanes) {
    const VI code = rounded(i < dim ? at(i) : hn::Zero(d), inverse);
    total = hn::Add(total, code);
    hn::StoreU(hn::DemoteTo(dc, hn::Add(code, plus)), dc, to + i);
  }
  *sum = hn::GetLane(hn::SumOfLanes(di, total));
  return step;
}

/// The mean of each channel of K over all keys; zeros behind the last.
HWY_INLINE void channel_means(const float* k, int64_t ld, int64_t count, int64_t dim, float* means) {
  const D d;
  const V n = hn::Set(d, float(count));
  for (int64_t c = 0; c < dim; c += kLanes) {
    V sum = hn::Zero(d);
    for (int64_t j = 0; j < count; ++j) sum = hn::Add(sum, load_n(k + j * ld + c, dim - c));
    hn::StoreU(hn::Div(sum, n), d, means + c);
  }
}

/// Keys [count][dim] less their channels' means into panels of 32, to[key / 32][word][32], panels `room` words long,
/// and their scales; 0 beyond the last. A query's product with the means is the same for all keys, and softmax takes no
/// notice of it.
template <typename Tile>
HWY_INLINE void pack_keys(const float* k, int64_t ld, const float* means, int64_t count, int64_t dim, int64_t room,
                          int32_t* to, float* scales) {
  using Unsigned = std::conditional_t<Tile::kShift == 0, int16_t, uint8_t>;
  HWY_ALIGN Unsigned codes[128 + 2 * kParts];
  const int64_t words = up(dim, Tile::kStep), padded = words * Tile::kStep;
  for (int64_t j = 0; j < count; ++j) {
    int32_t sum;
    scales[j] = quantise(k + j * ld, means, dim, padded, Tile::kShift, codes, &sum).scale;
    int32_t* const column = to + j / kPanel * room * kPanel + j % kPanel;
    for (int64_t i = 0; i < words; ++i) std::memcpy(column + i * kPanel, codes + i * Tile::kStep, 4);
  }
  const int64_t whole = up(count, kPanel) * kPanel;
  for (int64_t j = count; j < whole; ++j) {
    scales[j] = 0;
    int32_t* const column = to + j / kPanel * room * kPanel + j % kPanel;
    for (int64_t i = 0; i < words; ++i) column[i * kPanel] = 0;
  }
}

/// Of the channels of V: what lies in the middle of their range, scales of what is left, divided by a power's 255, and
/// what brings a number to its code.
HWY_INLINE void channel_steps(const float* v, int64_t ld, int64_t count, int64_t dim, float* centres, float* scales,
                              float* inverses) {
  const D d;
  for (int64_t c = 0; c < dim; c += kLanes) {
    V high = load_n(v + c, dim - c), low = high, spoilt = hn::Zero(d);
    for (int64_t j = 0; j < count; ++j) {
      const V x = load_n(v + j * ld + c, dim - c);
      high = hn::Max(high, x), low = hn::Min(low, x);
      spoilt = hn::Add(spoilt, hn::Mul(x, hn::Zero(d)));
    }
    const V half = hn::Set(d, 0.5f), centre = hn::Mul(hn::Add(high, low), half);
    hn::StoreU(centre, d, centres + c);
    HWY_ALIGN float most[kLanes], bad[kLanes];
    hn::Store(hn::Max(hn::Sub(high, centre), hn::Sub(centre, low)), d, most), hn::Store(spoilt, d, bad);
    for (int64_t l = 0; l < kLanes; ++l) {
      const Step step = step_of(most[l], bad[l]);
      scales[c + l] = step.scale / 255.0f, inverses[c + l] = step.inverse;
    }
  }
}

/// Rows of V into panels of 32 channels, to[channel / 32][word of keys][32], panels `room` words of keys long.
template <typename Tile>
HWY_INLINE void pack_values(const float* v, int64_t ld, int64_t count, int64_t dim, const float* centres,
                            const float* inverses, int64_t room, int32_t* to) {
  const D d;
  const DI di;
  const int64_t words = up(count, Tile::kStep);
  for (int64_t c = 0; c < up(dim, kPanel) * kPanel; c += kLanes) {
    int32_t* const panel = to + c / kPanel * room * kPanel + c % kPanel;
    if (c >= dim) {
      for (int64_t i = 0; i < words; ++i) hn::StoreU(hn::Zero(di), di, panel + i * kPanel);
      continue;
    }
    const V inverse = hn::LoadU(d, inverses + c), centre = hn::LoadU(d, centres + c);
    const auto code = [&](int64_t j) HWY_ATTR {
      if (j >= count) return hn::Zero(di);
      return hn::And(rounded(hn::Sub(load_n(v + j * ld + c, dim - c), centre), inverse), hn::Set(di, Tile::kMask));
    };
    for (int64_t i = 0; i < words; ++i) {
      VI word;
      if constexpr (Tile::kStep == 4) {
        word = hn::Or(hn::Or(code(4 * i), hn::ShiftLeft<8>(code(4 * i + 1))),
                      hn::Or(hn::ShiftLeft<16>(code(4 * i + 2)), hn::ShiftLeft<24>(code(4 * i + 3))));
      } else {
        word = hn::Or(code(2 * i), hn::ShiftLeft<16>(code(2 * i + 1)));
      }
      hn::StoreU(word, di, panel + i * kPanel);
    }
  }
}

/// A query's running numbers.
struct Row {
  float step;     // of its scores in units of log 2
  int32_t shift;  // what the keys' shift adds to its sums
};

/// Sums of a query's row become codes of powers; the row's maximum and sum of powers. `sums` is overwritten by scores.
template <typename Power>
HWY_INLINE void soften(int32_t* sums, const float* key_scales, const float* bias, const Row& row, int64_t keys,
                       Power* codes, float* row_max, float* row_sum) {
  const D d;
  const DI di;
  float* const s = reinterpret_cast<float*>(sums);
  const int64_t whole = keys / kLanes * kLanes;
  const VI shift = hn::Set(di, row.shift);
  // A bias is in no row's steps: scores with one are multiplied first.
  const float unit = bias == nullptr ? row.step : 1.0f;
  const V step = hn::Set(d, row.step), log2e = hn::Set(d, kLog2E), lowest = hn::Set(d, -FLT_MAX);
  V high = lowest;
  for (int64_t j = 0; j < keys; j += kLanes) {
    V x = hn::Mul(hn::ConvertTo(d, hn::Sub(hn::LoadU(di, sums + j), shift)), hn::LoadU(d, key_scales + j));
    if (bias != nullptr) x = hn::Add(hn::Mul(x, step), hn::Mul(load_n(bias + j, keys - j), log2e));
    hn::StoreU(x, d, s + j);
    high = hn::Max(high, j < whole ? x : hn::IfThenElse(hn::FirstN(d, size_t(keys - j)), x, lowest));
  }
  const float most = max_lanes(high);
  const V top = hn::Set(d, most), factor = hn::Set(d, unit), steps = hn::Set(d, 255.0f);
  const hn::Rebind<Power, D> dc;
  V part[kVectors];
  for (V& v : part) v = hn::Zero(d);
  for (int64_t j = 0; j < keys; j += kParts)
    for (int64_t v = 0; v < kVectors; ++v) {
      const int64_t at = j + v * kLanes;
      V e = power(hn::Mul(hn::Sub(hn::LoadU(d, s + at), top), factor));
      if (at >= whole) e = at >= keys ? hn::Zero(d) : hn::IfThenElseZero(hn::FirstN(d, size_t(keys - at)), e);
      part[v] = hn::Add(part[v], e);
      hn::StoreU(hn::DemoteTo(dc, rounded(e, steps)), dc, codes + at);
    }
  HWY_ALIGN float lane[kParts];
  for (int64_t v = 0; v < kVectors; ++v) hn::Store(part[v], d, lane + v * kLanes);
  for (int64_t width = kParts / 2; width > 0; width /= 2)
    for (int64_t i = 0; i < width; ++i) lane[i] += lane[i + width];
  *row_max = most * unit;
  *row_sum = lane[0];
}

/// Queries [q0, q1) of one head.
template <typename Tile>
void run_item(const AttentionArgs& a, const Plan& p, int64_t b, int64_t h, int64_t q0, int64_t q1, int32_t* scratch) {
  const D d;
  const DI di;
  const int64_t dim = a.head_dim, vdim = a.values(), queries = q1 - q0;
  int32_t* area[15];
  int64_t areas = 0;
  for_each_area(p, [&](int64_t words) {
    area[areas++] = scratch;
    scratch += up(words, 16) * 16;
  });
  int32_t* const kp = area[0];
  int32_t* const vp = area[1];
  int32_t* const q = area[2];
  float* const key_scales = reinterpret_cast<float*>(area[3]);
  float* const means = reinterpret_cast<float*>(area[4]);
  float* const centres = reinterpret_cast<float*>(area[5]);
  float* const channel_scales = reinterpret_cast<float*>(area[6]);
  float* const inverses = reinterpret_cast<float*>(area[7]);
  int32_t* const scores = area[8];
  int32_t* const powers = area[9];
  int32_t* const sums = area[10];
  float* const o = reinterpret_cast<float*>(area[11]);
  Row* const rows = reinterpret_cast<Row*>(area[12]);
  float* const row_max = reinterpret_cast<float*>(area[13]);
  float* const row_sum = reinterpret_cast<float*>(area[14]);

  const float* const keys = a.k + b * a.kv_tokens * a.ldk + h * dim;
  const float* const values = a.v + b * a.kv_tokens * a.ldv + h * vdim;
  const float* const bias =
      a.bias == nullptr ? nullptr : a.bias + b % a.bias_batch * a.bias_batch_stride + h * a.bias_head_stride;
  channel_means(keys, a.ldk, a.kv_tokens, dim, means);
  channel_steps(values, a.ldv, a.kv_tokens, vdim, centres, channel_scales, inverses);
  using Code = typename Tile::Code;
  HWY_ALIGN Code codes[128 + 2 * kParts];
  for (int64_t r = 0; r < queries; ++r) {
    int32_t sum;
    const Step step = quantise(a.q + (b * a.tokens + q0 + r) * a.ldq + h * dim, nullptr, dim,
                               p.head_words * Tile::kStep, 0, codes, &sum);
    std::memcpy(q + r * p.head_words, codes, size_t(p.head_words) * 4);
    // Of a row with a NaN the codes and their sum are anything; its scale makes the answer NaN.
    rows[r] = {step.scale * (a.scale * kLog2E), int32_t(uint32_t(Tile::kShift) * uint32_t(sum))};
  }
  for (int64_t j0 = 0; j0 < a.kv_tokens; j0 += kKeys) {
    const int64_t count = std::min(kKeys, a.kv_tokens - j0);
    const int64_t words = up(count, Tile::kStep * Tile::kWords) * Tile::kWords;
    const bool first = j0 == 0, last = j0 + count == a.kv_tokens;
    pack_keys<Tile>(keys + j0 * a.ldk, a.ldk, means, count, dim, p.head_words, kp, key_scales);
    pack_values<Tile>(values + j0 * a.ldv, a.ldv, count, vdim, centres, inverses, p.key_words, vp);
    for (int64_t r0 = 0; r0 < queries; r0 += Tile::kRows) {
      const int64_t n = std::min(Tile::kRows, queries - r0);
      for (int64_t j = 0; j < count; j += kPanel)
        Tile::template run<false>(n, q + r0 * p.head_words, p.head_words, kp + j * p.head_words, p.head_words,
                                  scores + j, kScoreStride);
      float shrink[kMaxRows], grow[kMaxRows];
      for (int64_t r = 0; r < n; ++r) {
        const int64_t row = r0 + r;
        float most, sum;
        auto* const power_codes = reinterpret_cast<typename Tile::Power*>(powers + r * p.power_stride());
        soften(scores + r * kScoreStride, key_scales, bias == nullptr ? nullptr : bias + (q0 + row) * a.bias_ld + j0,
               rows[row], count, power_codes, &most, &sum);
        for (int64_t j = up(count, kParts) * kParts; j < words * Tile::kStep; ++j) power_codes[j] = 0;
        if (first) {
          row_max[row] = most, row_sum[row] = sum, shrink[r] = 0, grow[r] = 1;
        } else {
          const float top = std::max(row_max[row], most);
          shrink[r] = power(row_max[row] - top), grow[r] = power(most - top);
          row_max[row] = top, row_sum[row] = row_sum[row] * shrink[r] + sum * grow[r];
        }
      }
      for (int64_t c = 0; c < vdim; c += kPanel) {
        Tile::template run<true>(n, powers, p.power_stride(), vp + c * p.key_words, words, sums, kPanel);
        for (int64_t r = 0; r < n; ++r) {
          float* const acc = o + (r0 + r) * p.values + c;
          const V old_part = hn::Set(d, shrink[r]), new_part = hn::Set(d, grow[r]);
          for (int64_t i = 0; i < kPanel; i += kLanes) {
            V x = hn::ConvertTo(d, hn::LoadU(di, sums + r * kPanel + i));
            if (!first) x = hn::Add(hn::Mul(hn::LoadU(d, acc + i), old_part), hn::Mul(x, new_part));
            hn::StoreU(x, d, acc + i);
          }
        }
      }
      if (!last) continue;
      for (int64_t r = 0; r < n; ++r) {
        float* const out = a.out + (b * a.tokens + q0 + r0 + r) * a.ldo + h * vdim;
        const V inverse = hn::Set(d, 1.0f / row_sum[r0 + r]);
        const float* const acc = o + (r0 + r) * p.values;
        for (int64_t i = 0; i < vdim; i += kLanes)
          store_n(hn::Add(hn::Mul(hn::Mul(hn::LoadU(d, acc + i), hn::LoadU(d, channel_scales + i)), inverse),
                          hn::LoadU(d, centres + i)),
                  out + i, vdim - i);
        if (h + 1 == a.heads)
          for (int64_t i = vdim * a.heads; i < pad4(vdim * a.heads); ++i) out[i - h * vdim] = 0.0f;
      }
    }
  }
}

template <typename Tile>
void run(const AttentionArgs& a, int64_t begin, int64_t end, void* scratch) {
  const Plan p = make_plan<Tile>(a);
  Tile::begin();
  for (int64_t item = begin; item < end; ++item) {
    const int64_t part = item % p.splits, h = item / p.splits % a.heads, b = item / p.splits / a.heads;
    run_item<Tile>(a, p, b, h, split(a.tokens, p.splits, part), split(a.tokens, p.splits, part + 1),
                   static_cast<int32_t*>(scratch));
  }
  Tile::end();
}

template <typename Tile>
Kernel<AttentionArgs> kernel() {
  return {&items<Tile>, &scratch_bytes<Tile>, &run<Tile>};
}

}  // namespace attention_i8

Kernel<AttentionArgs> attention_i8_kernel() { return attention_i8::kernel<attention_i8::Pairs>(); }

#if HWY_TARGET == HWY_AVX3
/// For CPUs with AVX-512 VNNI (dispatch.cpp).
Kernel<AttentionArgs> vnni_attention_i8_kernel();
Kernel<AttentionArgs> vnni_attention_i8_kernel() { return attention_i8::kernel<attention_i8::Vnni>(); }
#if VIREO_SIMD_BF16
/// And with AMX's products of bytes.
Kernel<AttentionArgs> amx_attention_i8_kernel();
Kernel<AttentionArgs> amx_attention_i8_kernel() { return attention_i8::kernel<attention_i8::Tiles>(); }
#endif
#endif

}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
