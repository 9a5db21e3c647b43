// Attention whose two products are of bfloat16 with fp32 sums, on AVX-512's dot product: queries (times the scale),
// keys, values and the powers p = 2^(score - maximum) are rounded to nearest even, two to a word of 32 bits. A row is
// divided by the sum of its powers as they were before. Intrinsics, as in bf16.cpp.
#include "simd/bf16.h"

#if VIREO_SIMD_BF16

#include <immintrin.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "tensor/tensor.h"

namespace vireo::simd {
namespace {

constexpr int64_t kKeys = 256;     // per block: scores and powers of a row block stay in L1
constexpr int64_t kQueries = 256;  // per work item at most: each packs K and V anew
constexpr int64_t kWantItems = 6;
constexpr int kRows = 12;                         // queries of a register tile: 24 sums
constexpr int64_t kScoreStride = kKeys + 16;      // floats, an odd number of cache lines
constexpr int64_t kPowerStride = kKeys / 2 + 16;  // words
constexpr float kLog2E = 1.44269504088896341f;

/// Work items per head, and sizes in words of 4 bytes.
struct Plan {
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
    return key_words() + value_words() + output_words() + kRows * (room + kScoreStride + kPowerStride + kPanel) +
           2 * round_up(queries, 16);
  }
};

Plan make_plan(const AttentionArgs& a) {
  Plan p{};
  const int64_t heads = std::max<int64_t>(1, a.batch * a.heads);
  p.splits = std::max(div_up(a.tokens, kQueries), std::min(div_up(kWantItems, heads), div_up(a.tokens, 2 * kRows)));
  p.splits = std::max<int64_t>(1, p.splits);
  p.queries = div_up(a.tokens, p.splits);
  p.keys = round_up(std::min(kKeys, a.kv_tokens), kPanel);
  p.words = div_up(a.head_dim, 2);
  p.room = round_up(a.head_dim, 16) / 2;
  p.values = round_up(a.values(), kPanel);
  return p;
}

int64_t items(const AttentionArgs& a) {
  if (a.tokens <= 0 || a.kv_tokens <= 0) return 0;
  return a.batch * a.heads * make_plan(a).splits;
}

size_t scratch_bytes(const AttentionArgs& a) { return size_t(make_plan(a).all()) * 4; }

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
constexpr Tile kTiles[kRows + 1] = {nullptr, tile<1>, tile<2>, tile<3>,  tile<4>,  tile<5>, tile<6>,
                                    tile<7>, tile<8>, tile<9>, tile<10>, tile<11>, tile<12>};

/// Numbers of a row times a factor, zeros behind them to a whole vector.
VIREO_BF16_TARGET void round_row(const float* x, int64_t dim, float factor, int32_t* to) {
  const __m512 f = _mm512_set1_ps(factor);
  for (int64_t i = 0; i < dim; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i / 2), rounded(_mm512_mul_ps(f, load_part(x + i, dim - i))));
}

/// Keys into panels [key / 32][word][32]; zeros behind the last.
void pack_keys(const float* k, int64_t ld, int64_t count, int64_t dim, const Plan& p, int32_t* to) {
  int32_t row[64];
  for (int64_t j = 0; j < round_up(count, kPanel); ++j) {
    if (j < count) round_row(k + j * ld, dim, 1.0f, row);
    else std::memset(row, 0, sizeof row);
    int32_t* const column = to + j / kPanel * p.words * kPanel + j % kPanel;
    for (int64_t i = 0; i < p.words; ++i) column[i * kPanel] = row[i];
  }
}

/// Values into panels [channel / 32][pair of keys][32], panels `room` pairs long; zeros behind the last.
VIREO_BF16_TARGET void pack_values(const float* v, int64_t ld, int64_t count, int64_t dim, int64_t room, int32_t* to) {
  for (int64_t c = 0; c < dim; c += kPanel)
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

/// One row of scores, in units of log 2: adds the bias, moves maximum and sum on, leaves rounded powers, 0 behind the
/// last key. Gives the factor by which what was summed before shrinks.
VIREO_BF16_TARGET float soften(float* s, const float* bias, int64_t keys, bool first, int32_t* powers, float* row_max,
                               float* row_sum) {
  alignas(64) float lane[16];
  const __m512 lowest = _mm512_set1_ps(-FLT_MAX), log2e = _mm512_set1_ps(kLog2E);
  const int64_t whole = round_up(keys, 16);
  __m512 high = lowest;
  for (int64_t j = 0; j < whole; j += 16) {
    const __mmask16 keep = keys - j >= 16 ? __mmask16(0xffff) : __mmask16((1u << (keys - j)) - 1);
    __m512 x = _mm512_loadu_ps(s + j);
    if (bias != nullptr) x = _mm512_fmadd_ps(load_part(bias + j, keys - j), log2e, x);
    x = _mm512_mask_mov_ps(lowest, keep, x);
    _mm512_storeu_ps(s + j, x);
    high = _mm512_maskz_max_ps(0xffff, high, x);
  }
  _mm512_store_ps(lane, high);
  const float old_max = *row_max;
  float most = old_max;
  for (const float l : lane) most = std::max(most, l);
  const __m512 top = _mm512_set1_ps(most);
  __m512 sum = _mm512_setzero_ps();
  for (int64_t j = 0; j < whole; j += 16) {
    const __m512 e = power(_mm512_sub_ps(_mm512_loadu_ps(s + j), top));
    sum = _mm512_add_ps(sum, e);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(powers + j / 2), rounded(e));
  }
  _mm512_store_ps(lane, sum);
  float total = 0;
  for (const float l : lane) total += l;
  const float shrink = first || old_max == most ? 1.0f : std::exp2(old_max - most);
  *row_max = most;
  *row_sum = *row_sum * shrink + total;
  return shrink;
}

/// acc = acc * shrink + x, or x where nothing was before.
VIREO_BF16_TARGET void accumulate(const float* x, bool first, float shrink, float* acc) {
  const __m512 s = _mm512_set1_ps(shrink);
  for (int64_t i = 0; i < kPanel; i += 16) {
    const __m512 now = _mm512_loadu_ps(x + i);
    _mm512_storeu_ps(acc + i, first ? now : _mm512_fmadd_ps(_mm512_loadu_ps(acc + i), s, now));
  }
}

/// Queries [q0, q1) of one head.
void run_item(const AttentionArgs& a, const Plan& p, int64_t b, int64_t h, int64_t q0, int64_t q1, int32_t* scratch) {
  const int64_t dim = a.head_dim, vdim = a.values(), queries = q1 - q0;
  int32_t* const kp = scratch;
  int32_t* const vp = kp + p.key_words();
  float* const o = reinterpret_cast<float*>(vp + p.value_words());
  int32_t* const q = reinterpret_cast<int32_t*>(o + p.output_words());
  float* const s = reinterpret_cast<float*>(q + kRows * p.room);
  int32_t* const powers = reinterpret_cast<int32_t*>(s + kRows * kScoreStride);
  float* const sums = reinterpret_cast<float*>(powers + kRows * kPowerStride);
  float* const row_max = sums + kRows * kPanel;
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
    pack_values(values + j0 * a.ldv, a.ldv, count, vdim, p.keys / 2, vp);
    for (int64_t r0 = 0; r0 < queries; r0 += kRows) {
      const int64_t n = std::min<int64_t>(kRows, queries - r0);
      for (int64_t r = 0; r < n; ++r)
        round_row(a.q + (b * a.tokens + q0 + r0 + r) * a.ldq + h * dim, dim, a.scale * kLog2E, q + r * p.room);
      for (int64_t j = 0; j < count; j += kPanel) kTiles[n](q, p.room, kp + j * p.words, p.words, s + j, kScoreStride);
      float shrink[kRows];
      for (int64_t r = 0; r < n; ++r)
        shrink[r] = soften(s + r * kScoreStride, bias == nullptr ? nullptr : bias + (q0 + r0 + r) * a.bias_ld + j0,
                           count, first, powers + r * kPowerStride, row_max + r0 + r, row_sum + r0 + r);
      for (int64_t c = 0; c < vdim; c += kPanel) {
        kTiles[n](powers, kPowerStride, vp + c * (p.keys / 2), div_up(count, 2), sums, kPanel);
        for (int64_t r = 0; r < n; ++r) accumulate(sums + r * kPanel, first, shrink[r], o + (r0 + r) * p.values + c);
      }
      if (!last) continue;
      for (int64_t r = 0; r < n; ++r) {
        float* const out = a.out + (b * a.tokens + q0 + r0 + r) * a.ldo + h * vdim;
        const float inverse = 1.0f / row_sum[r0 + r];
        const float* const acc = o + (r0 + r) * p.values;
        for (int64_t i = 0; i < vdim; ++i) out[i] = acc[i] * inverse;
        if (h + 1 == a.heads)
          for (int64_t i = vdim * a.heads; i < round_up(vdim * a.heads, 4); ++i) out[i - h * vdim] = 0.0f;
      }
    }
  }
}

void run(const AttentionArgs& a, int64_t begin, int64_t end, void* scratch) {
  const Plan p = make_plan(a);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t part = item % p.splits, h = item / p.splits % a.heads, b = item / p.splits / a.heads;
    const int64_t q0 = a.tokens * part / p.splits, q1 = a.tokens * (part + 1) / p.splits;
    run_item(a, p, b, h, q0, q1, static_cast<int32_t*>(scratch));
  }
}

}  // namespace

Kernel<AttentionArgs> attention_bf16_kernel() { return {&items, &scratch_bytes, &run}; }

}  // namespace vireo::simd
#endif
