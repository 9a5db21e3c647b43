// Attention whose two products are of bfloat16 with fp32 sums, on AMX tiles or AVX-512's dot product: queries (times
// the scale), keys, values and the powers p = 2^(score - maximum) are rounded to nearest even, two to a word of 32
// bits. A row is divided by the sum of its powers as they were before. Intrinsics, as in bf16.cpp.
#include "simd/bf16.h"

#if VIREO_SIMD_BF16

#include <immintrin.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "simd/tiles.h"
#include "tensor/tensor.h"

namespace vireo::simd {
namespace {

constexpr int64_t kKeys = 256;     // per block: scores and powers of a row block stay in L1
constexpr int64_t kQueries = 256;  // per work item at most: each packs K and V anew
constexpr int64_t kWantItems = 6;
constexpr int kMaxRows = 16;                      // of a unit
constexpr int64_t kScoreStride = kKeys + 16;      // floats, an odd number of cache lines
constexpr int64_t kPowerStride = kKeys / 2 + 16;  // words
constexpr float kLog2E = 1.44269504088896341f;

/// Work items per head, and sizes in words of 4 bytes.
struct Plan {
  int64_t rows;     // queries that go together
  int64_t splits;   // query ranges per (batch, head)
  int64_t queries;  // of the largest
  int64_t keys;     // of the largest block of keys, whole panels
  int64_t words;    // of a query's or key's numbers
  int64_t room;     // the same, in whole vectors of 16 numbers
  int64_t values;   // channels of a value, whole panels

  int64_t key_words() const { return keys * words; }
  int64_t value_words() const { return keys / 2 * values; }
  int64_t output_words() const { return queries * values; }
  int64_t all() const {
    return key_words() + value_words() + output_words() + rows * (room + kScoreStride + kPowerStride + values) +
           2 * round_up(queries, 16);
  }
};

template <typename Unit>
Plan make_plan(const AttentionArgs& a) {
  Plan p{};
  p.rows = Unit::kRows;
  const int64_t heads = std::max<int64_t>(1, a.batch * a.heads);
  p.splits = std::max(div_up(a.tokens, kQueries), std::min(div_up(kWantItems, heads), div_up(a.tokens, 2 * p.rows)));
  p.splits = std::max<int64_t>(1, p.splits);
  p.queries = div_up(a.tokens, p.splits);
  p.keys = round_up(std::min(kKeys, a.kv_tokens), kPanel);
  p.words = round_up(a.head_dim, 2 * Unit::kWords) / 2;
  p.room = std::max(round_up(a.head_dim, 16) / 2, p.words);
  p.values = round_up(a.values(), kPanel);
  return p;
}

template <typename Unit>
int64_t items(const AttentionArgs& a) {
  if (a.tokens <= 0 || a.kv_tokens <= 0) return 0;
  return a.batch * a.heads * make_plan<Unit>(a).splits;
}

template <typename Unit>
size_t scratch_bytes(const AttentionArgs& a) {
  return size_t(make_plan<Unit>(a).all()) * 4;
}

/// Up to 16 floats; zeros behind the last.
VIREO_BF16_TARGET inline __m512 load_part(const float* x, int64_t left) {
  return _mm512_maskz_loadu_ps(left >= 16 ? __mmask16(0xffff) : __mmask16((1u << std::max<int64_t>(left, 0)) - 1), x);
}
VIREO_BF16_TARGET inline __m256i rounded(__m512 x) { return (__m256i)_mm512_maskz_cvtneps_pbh(0xffff, x); }

/// 2^t within 3e-6 (Taylor on [-1/2, 1/2]), a rounding of whose result is 1000 times that; 1 for 0, NaN stays NaN.
VIREO_BF16_TARGET inline __m512 power(__m512 t) {
  const __m512 whole = _mm512_maskz_roundscale_ps(0xffff, t, 0), f = _mm512_sub_ps(t, whole);
  __m512 p = _mm512_set1_ps(0.00133335581f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.00961812911f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.0555041087f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.240226507f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693147181f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_maskz_scalef_ps(0xffff, p, whole);
}

/// sums[kNow][32] of rows of pairs and a panel [words][32] of pairs.
template <int kNow>
VIREO_BF16_TARGET void tile(const int32_t* a, int64_t lda, const int32_t* panel, int64_t words, float* sums,
                            int64_t lds) {
  __m512 low[kNow], high[kNow];
  for (int r = 0; r < kNow; ++r) low[r] = high[r] = _mm512_setzero_ps();
  for (int64_t i = 0; i < words; ++i, panel += kPanel) {
    const __m512bh w0 = (__m512bh)_mm512_loadu_si512(panel), w1 = (__m512bh)_mm512_loadu_si512(panel + 16);
    for (int r = 0; r < kNow; ++r) {
      const __m512bh pair = (__m512bh)_mm512_set1_epi32(a[r * lda + i]);
      low[r] = _mm512_dpbf16_ps(low[r], pair, w0), high[r] = _mm512_dpbf16_ps(high[r], pair, w1);
    }
  }
  for (int r = 0; r < kNow; ++r) {
    _mm512_storeu_ps(sums + r * lds, low[r]);
    _mm512_storeu_ps(sums + r * lds + 16, high[r]);
  }
}

using Tile = void (*)(const int32_t* a, int64_t lda, const int32_t* panel, int64_t words, float* sums, int64_t lds);
/// By the number of rows.
constexpr Tile kTiles[13] = {nullptr, tile<1>, tile<2>, tile<3>,  tile<4>,  tile<5>, tile<6>,
                             tile<7>, tile<8>, tile<9>, tile<10>, tile<11>, tile<12>};

/// `count` panels, `distance` words apart; sums[rows][count * 32].
struct Panels {
  const int32_t* first;
  int64_t distance, count;
};

// A unit gives the sums of rows of words and panels. `words` is whole steps of its kWords; what is behind the last
// number is zero in rows and panels.

/// AVX-512's dot product: 24 sums in registers.
struct Dots {
  static constexpr int64_t kRows = 12, kWords = 1;
  static void begin() {}
  static void end() {}
  static void run(int64_t rows, const int32_t* a, int64_t lda, const Panels& b, int64_t words, float* sums,
                  int64_t lds) {
    for (int64_t i = 0; i < b.count; ++i) kTiles[rows](a, lda, b.first + i * b.distance, words, sums + i * kPanel, lds);
  }
};

/// AMX: whole tiles, whatever stands in the rows behind the last (a row's sums are its own), and two panels at once.
struct Tiles {
  static constexpr int64_t kRows = 16, kWords = 16;
  static void begin() { set_product_tiles(kRows, 64); }
  static void end() { release_tiles(); }

  template <bool kTwo>
  static void panels(const int32_t* a, int64_t lda, const int32_t* b0, const int32_t* b1, int64_t words, float* sums,
                     int64_t lds) {
    zero_tile<0>(), zero_tile<1>();
    if (kTwo) zero_tile<2>(), zero_tile<3>();
    for (int64_t i = 0; i < words; i += kWords) {
      load_tile<4>(a + i, lda * 4), load_tile<6>(b0 + i * kPanel, kPanel * 4), multiply_bf16<0, 4, 6>();
      load_tile<7>(b0 + i * kPanel + 16, kPanel * 4), multiply_bf16<1, 4, 7>();
      if (kTwo) {
        load_tile<5>(b1 + i * kPanel, kPanel * 4), multiply_bf16<2, 4, 5>();
        load_tile<6>(b1 + i * kPanel + 16, kPanel * 4), multiply_bf16<3, 4, 6>();
      }
    }
    store_tile<0>(sums, lds * 4), store_tile<1>(sums + 16, lds * 4);
    if (kTwo) store_tile<2>(sums + kPanel, lds * 4), store_tile<3>(sums + kPanel + 16, lds * 4);
  }
  static void run(int64_t, const int32_t* a, int64_t lda, const Panels& b, int64_t words, float* sums, int64_t lds) {
    int64_t i = 0;
    const int32_t* from = b.first;
    for (; i + 1 < b.count; i += 2, from += 2 * b.distance)
      panels<true>(a, lda, from, from + b.distance, words, sums + i * kPanel, lds);
    if (i < b.count) panels<false>(a, lda, from, nullptr, words, sums + i * kPanel, lds);
  }
};

/// Numbers of a row times a factor, zeros behind them to `words`, whole vectors.
VIREO_BF16_TARGET void round_row(const float* x, int64_t dim, float factor, int64_t words, int32_t* to) {
  const __m512 f = _mm512_set1_ps(factor);
  for (int64_t i = 0; i < 2 * words; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i / 2), rounded(_mm512_mul_ps(f, load_part(x + i, dim - i))));
}

/// 16 x 16 words at `from`, rows `ld` apart, with rows and columns exchanged.
VIREO_BF16_TARGET void transpose(const int32_t* from, int64_t ld, int32_t* to, int64_t ldt) {
  __m512i r[16], t[16];
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(from + i * ld);
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_maskz_unpacklo_epi32(0xffff, r[i], r[i + 1]),
    t[i + 1] = _mm512_maskz_unpackhi_epi32(0xffff, r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int h = 0; h < 2; ++h) {
      r[i + 2 * h] = _mm512_maskz_unpacklo_epi64(0xff, t[i + h], t[i + 2 + h]);
      r[i + 2 * h + 1] = _mm512_maskz_unpackhi_epi64(0xff, t[i + h], t[i + 2 + h]);
    }
  // r[4 q + c] holds column 4 l + c of rows 4 q .. 4 q + 3 in its part l of 128 bits.
  for (int c = 0; c < 4; ++c) {
    const __m512i a = _mm512_maskz_shuffle_i32x4(0xffff, r[c], r[4 + c], 0x88),
                  b = _mm512_maskz_shuffle_i32x4(0xffff, r[c], r[4 + c], 0xdd);
    const __m512i e = _mm512_maskz_shuffle_i32x4(0xffff, r[8 + c], r[12 + c], 0x88),
                  f = _mm512_maskz_shuffle_i32x4(0xffff, r[8 + c], r[12 + c], 0xdd);
    _mm512_storeu_si512(to + c * ldt, _mm512_maskz_shuffle_i32x4(0xffff, a, e, 0x88));
    _mm512_storeu_si512(to + (4 + c) * ldt, _mm512_maskz_shuffle_i32x4(0xffff, b, f, 0x88));
    _mm512_storeu_si512(to + (8 + c) * ldt, _mm512_maskz_shuffle_i32x4(0xffff, a, e, 0xdd));
    _mm512_storeu_si512(to + (12 + c) * ldt, _mm512_maskz_shuffle_i32x4(0xffff, b, f, 0xdd));
  }
}

/// Keys into panels [key / 32][word][32]; zeros behind the last.
void pack_keys(const float* k, int64_t ld, int64_t count, int64_t dim, const Plan& p, int32_t* to) {
  alignas(64) int32_t rows[16][64], columns[64][16];
  for (int64_t j = 0; j < round_up(count, kPanel); j += 16) {
    const int64_t now = std::max<int64_t>(0, std::min<int64_t>(16, count - j));
    for (int64_t r = 0; r < now; ++r) round_row(k + (j + r) * ld, dim, 1.0f, p.room, rows[r]);
    std::memset(rows[now], 0, size_t(16 - now) * sizeof rows[0]);
    for (int64_t i = 0; i < p.words; i += 16) transpose(&rows[0][i], 64, columns[i], 16);
    int32_t* const panel = to + j / kPanel * p.words * kPanel + j % kPanel;
    for (int64_t i = 0; i < p.words; ++i) std::memcpy(panel + i * kPanel, columns[i], 64);
  }
}

/// Values into panels [channel / 32][pair of keys][32], panels `room` pairs long; zeros behind the last, to `words`
/// pairs.
VIREO_BF16_TARGET void pack_values(const float* v, int64_t ld, int64_t count, int64_t dim, int64_t words, int64_t room,
                                   int32_t* to) {
  for (int64_t c = 0; c < dim; c += kPanel) {
    const int64_t pairs = div_up(count, 2);
    std::memset(to + c * room + pairs * kPanel, 0, size_t((words - pairs) * kPanel) * 4);
    for (int64_t j = 0; j < count; j += 2)
      for (int64_t h = 0; h < kPanel; h += 16) {
        const float* const x = v + j * ld + c + h;
        const __m512i even = _mm512_maskz_cvtepu16_epi32(0xffff, rounded(load_part(x, dim - c - h)));
        const __m512 second = j + 1 < count ? load_part(x + ld, dim - c - h) : _mm512_setzero_ps();
        const __m512i odd = _mm512_maskz_cvtepu16_epi32(0xffff, rounded(second));
        _mm512_storeu_si512(to + c * room + j / 2 * kPanel + h,
                            _mm512_or_si512(even, _mm512_maskz_slli_epi32(0xffff, odd, 16)));
      }
  }
}

/// Half of the lanes onto the other half, four times (GCC 12 warns about its own _mm512_reduce_*).
#define VIREO_REDUCE(x, op)                                          \
  x = op(0xffff, x, _mm512_maskz_shuffle_f32x4(0xffff, x, x, 0x4e)); \
  x = op(0xffff, x, _mm512_maskz_shuffle_f32x4(0xffff, x, x, 0xb1)); \
  x = op(0xffff, x, _mm512_maskz_permute_ps(0xffff, x, 0x4e));       \
  x = op(0xffff, x, _mm512_maskz_permute_ps(0xffff, x, 0xb1))

/// One row of scores, in units of log 2: adds the bias, moves maximum and sum on, leaves rounded powers, 0 behind the
/// last key to whole vectors and `words`. Gives the factor by which what was summed before shrinks.
VIREO_BF16_TARGET inline float soften(float* s, const float* bias, int64_t keys, bool first, int64_t words,
                                      int32_t* powers, float* row_max, float* row_sum) {
  const __m512 lowest = _mm512_set1_ps(-FLT_MAX), log2e = _mm512_set1_ps(kLog2E);
  const int64_t full = keys / 16 * 16, whole = round_up(keys, 16);
  const __mmask16 keep = __mmask16((1u << (keys - full)) - 1);
  const float old_max = *row_max;
  __m512 high = _mm512_set1_ps(old_max);
  if (bias != nullptr)
    for (int64_t j = 0; j < whole; j += 16)
      _mm512_storeu_ps(s + j, _mm512_fmadd_ps(load_part(bias + j, keys - j), log2e, _mm512_loadu_ps(s + j)));
  if (full < whole) _mm512_storeu_ps(s + full, _mm512_mask_mov_ps(lowest, keep, _mm512_loadu_ps(s + full)));
  for (int64_t j = 0; j < whole; j += 16) high = _mm512_maskz_max_ps(0xffff, high, _mm512_loadu_ps(s + j));
  VIREO_REDUCE(high, _mm512_maskz_max_ps);
  const float most = _mm512_cvtss_f32(high);
  __m512 sum = _mm512_setzero_ps();
  for (int64_t j = 0; j < whole; j += 16) {
    const __m512 e = power(_mm512_sub_ps(_mm512_loadu_ps(s + j), high));
    sum = _mm512_add_ps(sum, e);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(powers + j / 2), rounded(e));
  }
  if (2 * words > whole) _mm256_storeu_si256(reinterpret_cast<__m256i*>(powers + whole / 2), _mm256_setzero_si256());
  VIREO_REDUCE(sum, _mm512_maskz_add_ps);
  const float total = _mm512_cvtss_f32(sum);
  const float shrink = first || old_max == most ? 1.0f : std::exp2(old_max - most);
  *row_max = most;
  *row_sum = *row_sum * shrink + total;
  return shrink;
}
#undef VIREO_REDUCE

/// acc = acc * shrink + x, or x where nothing was before.
VIREO_BF16_TARGET inline void accumulate(const float* x, bool first, float shrink, int64_t count, float* acc) {
  const __m512 s = _mm512_set1_ps(shrink);
  for (int64_t i = 0; i < count; i += 16) {
    const __m512 now = _mm512_loadu_ps(x + i);
    _mm512_storeu_ps(acc + i, first ? now : _mm512_fmadd_ps(_mm512_loadu_ps(acc + i), s, now));
  }
}

VIREO_BF16_TARGET inline void scale_row(const float* x, float factor, int64_t count, float* out) {
  const __m512 f = _mm512_set1_ps(factor);
  for (int64_t i = 0; i < count; i += 16)
    _mm512_mask_storeu_ps(out + i, count - i >= 16 ? __mmask16(0xffff) : __mmask16((1u << (count - i)) - 1),
                          _mm512_mul_ps(_mm512_loadu_ps(x + i), f));
}

/// Queries [q0, q1) of one head.
template <typename Unit>
VIREO_BF16_TARGET void run_item(const AttentionArgs& a, const Plan& p, int64_t b, int64_t h, int64_t q0, int64_t q1,
                                int32_t* scratch) {
  const int64_t dim = a.head_dim, vdim = a.values(), queries = q1 - q0;
  int32_t* const kp = scratch;
  int32_t* const vp = kp + p.key_words();
  float* const o = reinterpret_cast<float*>(vp + p.value_words());
  int32_t* const q = reinterpret_cast<int32_t*>(o + p.output_words());
  float* const s = reinterpret_cast<float*>(q + p.rows * p.room);
  int32_t* const powers = reinterpret_cast<int32_t*>(s + p.rows * kScoreStride);
  float* const sums = reinterpret_cast<float*>(powers + p.rows * kPowerStride);
  float* const row_max = sums + p.rows * p.values;
  float* const row_sum = row_max + round_up(p.queries, 16);
  std::fill(row_max, row_max + queries, -FLT_MAX);
  std::fill(row_sum, row_sum + queries, 0.0f);
  const float* const keys = a.k + b * a.kv_tokens * a.ldk + h * dim;
  const float* const values = a.v + b * a.kv_tokens * a.ldv + h * vdim;
  const float* const bias =
      a.bias == nullptr ? nullptr : a.bias + b % a.bias_batch * a.bias_batch_stride + h * a.bias_head_stride;
  for (int64_t j0 = 0; j0 < a.kv_tokens; j0 += kKeys) {
    const int64_t count = std::min(kKeys, a.kv_tokens - j0);
    const bool first = j0 == 0, last = j0 + count == a.kv_tokens;
    pack_keys(keys + j0 * a.ldk, a.ldk, count, dim, p, kp);
    const int64_t words = round_up(div_up(count, 2), Unit::kWords);  // of the powers of a row
    pack_values(values + j0 * a.ldv, a.ldv, count, vdim, words, p.keys / 2, vp);
    for (int64_t r0 = 0; r0 < queries; r0 += Unit::kRows) {
      const int64_t n = std::min<int64_t>(Unit::kRows, queries - r0);
      for (int64_t r = 0; r < n; ++r)
        round_row(a.q + (b * a.tokens + q0 + r0 + r) * a.ldq + h * dim, dim, a.scale * kLog2E, p.room, q + r * p.room);
      Unit::run(n, q, p.room, {kp, p.words * kPanel, div_up(count, kPanel)}, p.words, s, kScoreStride);
      float shrink[kMaxRows];
      for (int64_t r = 0; r < n; ++r)
        shrink[r] = soften(s + r * kScoreStride, bias == nullptr ? nullptr : bias + (q0 + r0 + r) * a.bias_ld + j0,
                           count, first, words, powers + r * kPowerStride, row_max + r0 + r, row_sum + r0 + r);
      Unit::run(n, powers, kPowerStride, {vp, p.keys / 2 * kPanel, p.values / kPanel}, words, sums, p.values);
      if (!first || !last)
        for (int64_t r = 0; r < n; ++r)
          accumulate(sums + r * p.values, first, shrink[r], p.values, o + (r0 + r) * p.values);
      if (!last) continue;
      for (int64_t r = 0; r < n; ++r) {
        float* const out = a.out + (b * a.tokens + q0 + r0 + r) * a.ldo + h * vdim;
        scale_row(first ? sums + r * p.values : o + (r0 + r) * p.values, 1.0f / row_sum[r0 + r], vdim, out);
        if (h + 1 == a.heads)
          for (int64_t i = vdim * a.heads; i < round_up(vdim * a.heads, 4); ++i) out[i - h * vdim] = 0.0f;
      }
    }
  }
}

template <typename Unit>
void run(const AttentionArgs& a, int64_t begin, int64_t end, void* scratch) {
  const Plan p = make_plan<Unit>(a);
  Unit::begin();
  for (int64_t item = begin; item < end; ++item) {
    const int64_t part = item % p.splits, h = item / p.splits % a.heads, b = item / p.splits / a.heads;
    const int64_t q0 = a.tokens * part / p.splits, q1 = a.tokens * (part + 1) / p.splits;
    run_item<Unit>(a, p, b, h, q0, q1, static_cast<int32_t*>(scratch));
  }
  Unit::end();
}

template <typename Unit>
Kernel<AttentionArgs> kernel() {
  return {&items<Unit>, &scratch_bytes<Unit>, &run<Unit>};
}

}  // namespace

Kernel<AttentionArgs> attention_bf16_kernel() { return kernel<Dots>(); }
Kernel<AttentionArgs> attention_bf16_amx_kernel() { return kernel<Tiles>(); }

}  // namespace vireo::simd
#endif
