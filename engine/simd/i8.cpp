// Integer products: int8 rows times int8 weights with 32-bit sums, exact and the same on every CPU. Factors are widened
// to 16 bits and multiplied in pairs (x86 vpmaddwd), which no pair of codes overflows; NEON multiplies bytes into 16
// bits (smull), which hold any product, and adds those in pairs to 32 (sadalp); where there is AVX-512 VNNI, its
// vpdpbusd multiplies four pairs of bytes at once and adds them in 32 bits without saturation. It takes one unsigned
// factor, so W is stored plus 128: sum_k a (w + 128) = sum_k a w + 128 sum_k a, and a row's sum is known.
#include "simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/i8.cpp"
#include <hwy/foreach_target.h>

#include "simd/i8_run-inl.h"

#undef VIREO_NEON_BYTES
#if HWY_TARGET == HWY_AVX3
#include <immintrin.h>
#elif HWY_TARGET == HWY_NEON && HWY_ARCH_ARM_A64
#include <arm_neon.h>
#define VIREO_NEON_BYTES 1
#endif

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {
namespace i8 {

/// Rows of a register tile: its sums of one panel, a factor of each and a few of W fit the registers.
#if HWY_TARGET == HWY_AVX3
constexpr int64_t kRows = 12;
#elif HWY_TARGET == HWY_AVX2
constexpr int64_t kRows = 3;
#elif VIREO_NEON_BYTES
constexpr int64_t kRows = 3;  // of 4, GCC keeps sums in memory
#else
constexpr int64_t kRows = 1;
#endif

/// What rows' codes are stored in.
#if VIREO_NEON_BYTES
using Code = int8_t;
#else
using Code = int16_t;
#endif

// ---- rows to codes ----

constexpr int64_t kConvertRows = 8;
/// Partial sums of a row: as many on every CPU, so that all round alike.
constexpr int64_t kParts = 16;

int64_t convert_items(const ToI8Args& a) { return div_up(a.rows, kConvertRows); }
size_t convert_scratch(const ToI8Args& a) { return size_t(round_up(a.cols, kParts)) * sizeof(float); }

/// f(c, v, part) for groups of kLanes columns; columns past the row are zero in v. Part p of kParts takes columns p, p
/// + kParts, ...
template <typename F>
HWY_INLINE void each_group(const float* x, int64_t cols, F f) {
  for (int64_t c = 0; c < cols; c += kLanes) f(c, load_n(x + c, cols - c), c / kLanes % (kParts / kLanes));
}

HWY_INLINE float total(const V* part) {
  const D d;
  HWY_ALIGN float lane[kParts];
  for (int64_t p = 0; p < kParts / kLanes; ++p) hn::Store(part[p], d, lane + p * kLanes);
  for (int64_t width = kParts / 2; width > 0; width /= 2)
    for (int64_t i = 0; i < width; ++i) lane[i] += lane[i + width];
  return lane[0];
}

/// x / divisor as division rounds it, |x| at most 128 divisors; inverse = 1 / divisor as division rounds that. A CPU
/// divides a vector in the time of thirty multiplications.
HWY_INLINE V quotient(V x, V divisor, [[maybe_unused]] V inverse, [[maybe_unused]] bool moderate) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_NEON  // with a fused multiply-add
  // Markstein (1990): of a quotient that is off by a unit in the last place at most, which the first correction makes
  // it, the remainder is exact, and the second correction the rounded quotient. Moderate divisors: the remainder of
  // what is not rounded to 0 is no denormal number.
  if (moderate) {
    const V first = hn::Mul(x, inverse), second = hn::MulAdd(hn::NegMulAdd(first, divisor, x), inverse, first);
    return hn::MulAdd(hn::NegMulAdd(second, divisor, x), inverse, second);
  }
#endif
  return hn::Div(x, divisor);
}

/// The nearest integer of v, the even one of two, |v| at most 2^22. Highway's own looks after what is too large
/// besides.
HWY_INLINE auto nearest_code(V v) {
#if HWY_ARCH_X86
  const hn::RebindToSigned<D> di;
  const V shift = hn::Set(D(), 12582912.0f);  // 1.5 * 2^23: a float from 2^23 to 2^24 is a whole number
  return hn::Sub(hn::BitCast(di, hn::Add(v, shift)), hn::BitCast(di, shift));
#else
  return hn::NearestInt(v);
#endif
}

template <typename T>
HWY_INLINE void convert_row(const ToI8Args& a, int64_t row, float* room) {
  const D d;
  const hn::RebindToSigned<D> di;
  constexpr int64_t kVectors = kParts / kLanes;
  const float* x = a.x + row * a.ldx;
  const int64_t n = a.cols;
  V high = hn::Zero(d), spoilt = hn::Zero(d);
  const auto weigh = [&](V v) HWY_ATTR {
    high = hn::Max(high, hn::Abs(v));
    spoilt = hn::Add(spoilt, hn::Mul(v, hn::Zero(d)));  // NaN where a value is NaN or infinite
  };
  if (a.normalise) {
    V part[kVectors];
    for (V& p : part) p = hn::Zero(d);
    each_group(x, n, [&](int64_t, V v, int64_t p) HWY_ATTR { part[p] = hn::Add(part[p], v); });
    const V mean = hn::Set(d, total(part) / float(n));
    for (V& p : part) p = hn::Zero(d);
    each_group(x, n, [&](int64_t c, V v, int64_t p) HWY_ATTR {
      const V t = hn::IfThenElseZero(hn::FirstN(d, size_t(std::min(kLanes, n - c))), hn::Sub(v, mean));
      hn::StoreU(t, d, room + c);
      part[p] = hn::Add(part[p], hn::Mul(t, t));  // two roundings everywhere: not every CPU has the fused one
    });
    const V scale = hn::Set(d, 1.0f / std::sqrt(total(part) / float(n) + a.eps));
    for (int64_t c = 0; c < n; c += kLanes) {
      V v = hn::Mul(hn::LoadU(d, room + c), scale);
      if (a.gain) v = hn::Mul(v, load_n(a.gain + c, n - c));
      if (a.offset) v = hn::Add(v, load_n(a.offset + c, n - c));
      hn::StoreU(v, d, room + c);
      weigh(v);  // past the row: 0 times a scale, NaN only where the row's own values are
    }
    x = room;
  } else {
    each_group(x, n, [&](int64_t, V v, int64_t) HWY_ATTR { weigh(v); });
  }
  const float most = hn::GetLane(hn::MaxOfLanes(d, high)), bad = hn::GetLane(hn::SumOfLanes(d, spoilt));
  const float scale = a.fixed > 0 ? a.fixed : most > 0 ? most / 127.5f : 1.0f;
  const bool moderate = a.fixed == 0 && scale > 1e-30f && scale < 1e30f;
  const V divisor = hn::Set(d, scale), inverse = hn::Set(d, 1.0f / scale), shift = hn::Set(d, float(a.zero)),
          low_code = hn::Set(d, -128.0f), high_code = hn::Set(d, 127.0f);
  // -max / (max / 127.5) is a tie, which fp32's rounding would decide either way; -128 is the even one.
  const V lowest = hn::Set(d, a.fixed > 0 || most == 0 ? -HUGE_VALF : -most);
  T* const out = static_cast<T*>(a.out) + row * a.ldo;
  auto sum = hn::Zero(di);
  HWY_ALIGN int32_t lanes[kLanes];
  const int64_t padded = round_up(n, kI8Step);
  each_group(x, n, [&](int64_t c, V v, int64_t) HWY_ATTR {
    // Both ends are whole numbers: rounding may come last.
    const V q = hn::Min(hn::Max(hn::Add(quotient(v, divisor, inverse, moderate), shift), low_code), high_code);
    auto code = nearest_code(hn::IfThenElse(hn::Eq(v, lowest), low_code, q));
    if (n - c < kLanes) code = hn::IfThenElseZero(hn::RebindMask(di, hn::FirstN(d, size_t(n - c))), code);
    sum = hn::Add(sum, code);
    if (c + kLanes <= padded) {
      const hn::Rebind<T, D> dc;
      hn::StoreU(hn::DemoteTo(dc, code), dc, out + c);
    } else {
      hn::Store(code, di, lanes);
      for (int64_t l = 0; c + l < padded; ++l) out[c + l] = T(lanes[l]);
    }
  });
  a.scales[row] = bad == 0 ? scale : bad;
  if (a.group > 0) {
    const int64_t groups = div_up(n, a.group);
    for (int64_t g = 0; g < groups; ++g) {
      int32_t part = 0;
      for (int64_t c = g * a.group; c < std::min(n, (g + 1) * a.group); ++c) part += out[c];
      a.sums[row * groups + g] = part;
    }
    return;
  }
  hn::Store(sum, di, lanes);
  int32_t all = 0;
  for (const int32_t s : lanes) all += s;
  a.sums[row] = all;
}

template <typename T>
void convert_run(const ToI8Args& a, int64_t begin, int64_t end, void* scratch) {
  const int64_t last = std::min(a.rows, end * kConvertRows);
  for (int64_t row = begin * kConvertRows; row < last; ++row) convert_row<T>(a, row, static_cast<float*>(scratch));
}

// ---- products ----

int64_t items(const I8GemmArgs& a) { return a.gemm.m <= 0 || a.gemm.n <= 0 ? 0 : make_plan<kRows>(a).items(); }

#if VIREO_NEON_BYTES
constexpr int64_t kDotStep = 16;
#endif
/// What a panel takes as its tile wants it: 16 bits a value, or on NEON bytes, those of each group of columns padded.
HWY_INLINE size_t panel_room(const GemmArgs& g) {
#if VIREO_NEON_BYTES
  const int64_t span = g.b_group > 0 ? g.b_group : std::max<int64_t>(g.k, 1);
  return size_t(div_up(g.k, span) * round_up(span, kDotStep) * kPanel);
#else
  return size_t(round_up(g.k, kI8Step) * kPanel) * sizeof(int16_t);
#endif
}

/// Sums, the same as floats, the panel in bytes where it is in nibbles, and as the tile wants it.
size_t scratch_bytes(const I8GemmArgs& a) {
  return size_t(kRows * kPanel) * 8 + panel_room(a.gemm) + widened_bytes(a.gemm);
}

#if !VIREO_NEON_BYTES
/// Pairs of 16-bit factors.
struct Pairs {
  static constexpr int64_t kRows = i8::kRows;
  static constexpr bool kShifted = false;
  const int16_t* a;
  int64_t lda;
  const int16_t* w = nullptr;

  /// [k / 4][32][4] codes plus 128 become [k / 2][32][2] codes.
  void prepare(const uint8_t* from, int64_t k, void* room) {
    int16_t* to = static_cast<int16_t*>(room);
    w = to;
    for (int64_t i = 0; i < k; i += 4, from += 4 * kPanel, to += 4 * kPanel)
      for (int64_t c = 0; c < kPanel; ++c)
        for (int64_t j = 0; j < 4; ++j) to[j / 2 * 2 * kPanel + 2 * c + j % 2] = int16_t(int(from[4 * c + j]) - 128);
  }

  template <int64_t kNow>
  HWY_INLINE void tile(const int16_t* from, const int16_t* panel, int64_t k, int32_t* sums) const {
#if HWY_TARGET == HWY_SCALAR
    std::memset(sums, 0, size_t(kNow * kPanel) * sizeof(int32_t));
    for (int64_t i = 0; i < k; ++i)
      for (int64_t r = 0; r < kNow; ++r)
        for (int64_t c = 0; c < kPanel; ++c)
          sums[r * kPanel + c] += int32_t(from[r * lda + i]) * panel[i / 2 * 2 * kPanel + 2 * c + i % 2];
#else
    const hn::RebindToSigned<D> di;
    const hn::Repartition<int16_t, decltype(di)> d16;
    constexpr int64_t kVectors = kPanel / kLanes;
    using VI = hn::Vec<decltype(di)>;
    VI low[kNow * kVectors], high[kNow * kVectors];
    for (VI& v : low) v = hn::Zero(di);
    for (VI& v : high) v = hn::Zero(di);
    for (int64_t i = 0; i < k / 2; ++i) {
      const int16_t* const column = panel + i * 2 * kPanel;
      for (int64_t r = 0; r < kNow; ++r) {
        int32_t pair;
        std::memcpy(&pair, from + r * lda + 2 * i, 4);
        const auto s = hn::BitCast(d16, hn::Set(di, pair));
        for (int64_t v = 0; v < kVectors; ++v)
          low[r * kVectors + v] = hn::ReorderWidenMulAccumulate(di, s, hn::LoadU(d16, column + 2 * v * kLanes),
                                                                low[r * kVectors + v], high[r * kVectors + v]);
      }
    }
    for (int64_t r = 0; r < kNow; ++r)
      for (int64_t v = 0; v < kVectors; ++v)
        hn::Store(hn::RearrangeToOddPlusEven(low[r * kVectors + v], high[r * kVectors + v]), di,
                  sums + r * kPanel + v * kLanes);
#endif
  }

  void run(int64_t r0, int64_t rows, int64_t first, int64_t k, int32_t* sums) const {
    const int16_t *from = a + r0 * lda + first, *const panel = w + first * kPanel;
    while (rows >= 3 && kRows >= 3)
      tile<(kRows >= 3 ? 3 : 1)>(from, panel, k, sums), from += 3 * lda, rows -= 3, sums += 3 * kPanel;
    while (rows >= 1) tile<1>(from, panel, k, sums), from += lda, rows -= 1, sums += kPanel;
  }
};

void run(const I8GemmArgs& a, int64_t begin, int64_t end, void* scratch) {
  run_items(a, begin, end, scratch, panel_room(a.gemm), Pairs{static_cast<const int16_t*>(a.a), a.lda});
}
#else
#if defined(__clang__)
#define VIREO_SDOT __attribute__((target("dotprod")))
#else
#define VIREO_SDOT __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

/// Dots::tile() by sdot; by itself because GCC inlines nothing of this target into what has another.
template <int64_t kNow>
VIREO_SDOT static void sdot_tile(const int8_t* from, int64_t lda, const int8_t* panel, int64_t k, int32_t* sums) {
  constexpr int64_t kCols = 4, kStep = kDotStep;
  const int64_t whole = k / kStep * kStep;
  int8_t rest[kNow][kStep] = {};
  for (int64_t r = 0; r < kNow; ++r) std::memcpy(rest[r], from + r * lda + whole, size_t(k - whole));
  for (int64_t column = 0; column < kPanel; column += kCols) {
    int32x4_t acc[kNow][kCols];
    for (int64_t r = 0; r < kNow; ++r)
      for (int64_t c = 0; c < kCols; ++c) acc[r][c] = vdupq_n_s32(0);
    for (int64_t i = 0; i < k; i += kStep, panel += kCols * kStep) {
      int8x16_t x[kNow];
      for (int64_t r = 0; r < kNow; ++r) x[r] = vld1q_s8(i < whole ? from + r * lda + i : rest[r]);
      for (int64_t c = 0; c < kCols; ++c) {
        const int8x16_t y = vld1q_s8(panel + c * kStep);
        for (int64_t r = 0; r < kNow; ++r) acc[r][c] = vdotq_s32(acc[r][c], x[r], y);
      }
    }
    for (int64_t r = 0; r < kNow; ++r)
      vst1q_s32(sums + r * kPanel + column,
                vpaddq_s32(vpaddq_s32(acc[r][0], acc[r][1]), vpaddq_s32(acc[r][2], acc[r][3])));
  }
}

/// Dot products: a vector holds 16 values of k of one row or one column, so that nothing is broadcast, and the four
/// partial sums of a product are added when it is done. Of the two units of a Cortex-A57 one takes every smull and the
/// other every sadalp: 8 products a cycle where fp32 has 4. With ARMv8.2's sdot (kDot) an instruction does what four
/// do.
template <bool kDot>
struct Dots {
  static constexpr int64_t kRows = i8::kRows;
  static constexpr bool kShifted = false;
  static constexpr int64_t kCols = 4, kStep = kDotStep;
  const int8_t* a;
  int64_t lda, span;  // the panel is laid out anew for every `span` values of k
  const int8_t* w = nullptr;

  /// Per span: [k / 4][32][4] codes plus 128 become [32 / 4][k / 16][4][16] codes, k padded with zeros.
  void prepare(const uint8_t* from, int64_t k, void* room) {
    int8_t* to = static_cast<int8_t*>(room);
    w = to;
    for (int64_t first = 0; first < k; first += span) {
      const int64_t now = std::min(span, k - first);
      for (int64_t column = 0; column < kPanel; column += kCols)
        for (int64_t i = 0; i < now; i += kStep)
          for (int64_t c = 0; c < kCols; ++c)
            for (int64_t j = i; j < i + kStep; j += 4, to += 4) {
              uint32_t four = 0x80808080u;
              if (j < now) std::memcpy(&four, from + (first + j) * kPanel + 4 * (column + c), 4);
              four ^= 0x80808080u;
              std::memcpy(to, &four, 4);
            }
    }
  }

  /// sums[kNow][32] of kNow rows.
  template <int64_t kNow>
  HWY_INLINE void tile(const int8_t* from, const int8_t* panel, int64_t k, int32_t* sums) const {
    const int64_t whole = k / kStep * kStep;
    int8_t rest[kNow][kStep] = {};
    for (int64_t r = 0; r < kNow; ++r) std::memcpy(rest[r], from + r * lda + whole, size_t(k - whole));
    for (int64_t column = 0; column < kPanel; column += kCols) {
      int32x4_t acc[kNow][kCols];
      for (int64_t r = 0; r < kNow; ++r)
        for (int64_t c = 0; c < kCols; ++c) acc[r][c] = vdupq_n_s32(0);
      for (int64_t i = 0; i < whole; i += kStep, panel += kCols * kStep) add(from + i, lda, panel, acc);
      if (whole < k) add(rest[0], kStep, panel, acc), panel += kCols * kStep;
      for (int64_t r = 0; r < kNow; ++r)
        vst1q_s32(sums + r * kPanel + column,
                  vpaddq_s32(vpaddq_s32(acc[r][0], acc[r][1]), vpaddq_s32(acc[r][2], acc[r][3])));
    }
  }

  template <int64_t kNow>
  static HWY_INLINE void add(const int8_t* from, int64_t ld, const int8_t* panel, int32x4_t (&acc)[kNow][kCols]) {
    int8x16_t x[kNow];
    for (int64_t r = 0; r < kNow; ++r) x[r] = vld1q_s8(from + r * ld);
    for (int64_t c = 0; c < kCols; ++c) {
      const int8x16_t y = vld1q_s8(panel + c * kStep);
      for (int64_t r = 0; r < kNow; ++r) {
        acc[r][c] = vpadalq_s16(acc[r][c], vmull_s8(vget_low_s8(x[r]), vget_low_s8(y)));
        acc[r][c] = vpadalq_s16(acc[r][c], vmull_high_s8(x[r], y));
      }
    }
  }

  void run(int64_t r0, int64_t rows, int64_t first, int64_t k, int32_t* sums) const {
    const int8_t* const from = a + r0 * lda + first;
    const int8_t* const panel = w + first / span * round_up(span, kStep) * kPanel;
    switch (rows) {
      case 1: return kDot ? sdot_tile<1>(from, lda, panel, k, sums) : tile<1>(from, panel, k, sums);
      case 2: return kDot ? sdot_tile<2>(from, lda, panel, k, sums) : tile<2>(from, panel, k, sums);
      case 3: return kDot ? sdot_tile<3>(from, lda, panel, k, sums) : tile<3>(from, panel, k, sums);
      default: return;
    }
  }
};

template <bool kDot>
void run_dots(const I8GemmArgs& a, int64_t begin, int64_t end, void* scratch) {
  const int64_t span = a.gemm.b_group > 0 ? a.gemm.b_group : round_up(a.gemm.k, kI8Step);
  run_items(a, begin, end, scratch, panel_room(a.gemm), Dots<kDot>{static_cast<const int8_t*>(a.a), a.lda, span});
}
void run(const I8GemmArgs& a, int64_t begin, int64_t end, void* scratch) { run_dots<false>(a, begin, end, scratch); }
#endif

#if HWY_TARGET == HWY_AVX3
#define VIREO_VNNI __attribute__((target("avx512vnni")))

#define VIREO_EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define VIREO_DECLARE(r) __m512i x##r##0 = _mm512_setzero_si512(), x##r##1 = x##r##0;
#define VIREO_STEP(r)                                                                             \
  if constexpr (r < kNow) {                                                                       \
    int32_t four;                                                                                 \
    std::memcpy(&four, a + r * lda + i, 4);                                                       \
    const __m512i s = _mm512_set1_epi32(four);                                                    \
    x##r##0 = _mm512_dpbusd_epi32(x##r##0, w0, s), x##r##1 = _mm512_dpbusd_epi32(x##r##1, w1, s); \
  }
#define VIREO_KEEP(r)                                                                                      \
  if constexpr (r < kNow) {                                                                                \
    _mm512_storeu_si512(sums + r * kPanel, x##r##0), _mm512_storeu_si512(sums + r * kPanel + 16, x##r##1); \
  }

/// sums[kNow][32] of kNow rows and a panel of codes plus 128.
template <int64_t kNow>
VIREO_VNNI static void vnni_tile(const int8_t* a, int64_t lda, const uint8_t* w, int64_t k, int32_t* sums) {
  VIREO_EACH_ROW(VIREO_DECLARE)
  for (int64_t i = 0; i < k; i += 4, w += 4 * kPanel) {
    const __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 64);
    VIREO_EACH_ROW(VIREO_STEP)
  }
  VIREO_EACH_ROW(VIREO_KEEP)
}
#undef VIREO_DECLARE
#undef VIREO_STEP
#undef VIREO_KEEP

struct Vnni {
  static constexpr int64_t kRows = i8::kRows;
  static constexpr bool kShifted = true;
  const int8_t* a;
  int64_t lda;
  const uint8_t* w = nullptr;

  void prepare(const uint8_t* from, int64_t, void*) { w = from; }
  void run(int64_t r0, int64_t rows, int64_t first, int64_t k, int32_t* sums) const {
    const int8_t* const from = a + r0 * lda + first;
    const uint8_t* const panel = w + first * kPanel;
#define VIREO_ROWS(r) \
  case r + 1: return vnni_tile<r + 1>(from, lda, panel, k, sums);
    switch (rows) { VIREO_EACH_ROW(VIREO_ROWS) default : return; }
#undef VIREO_ROWS
  }
};
#undef VIREO_EACH_ROW

/// The products read the panel where it is.
size_t vnni_scratch_bytes(const I8GemmArgs& a) { return size_t(kRows * kPanel) * 8 + widened_bytes(a.gemm); }
void vnni_run(const I8GemmArgs& a, int64_t begin, int64_t end, void* scratch) {
  run_items(a, begin, end, scratch, 0, Vnni{static_cast<const int8_t*>(a.a), a.lda});
}
#endif

}  // namespace i8

Kernel<ToI8Args> to_i8_kernel() { return {&i8::convert_items, &i8::convert_scratch, &i8::convert_run<i8::Code>}; }
Kernel<I8GemmArgs> gemm_i8_kernel() { return {&i8::items, &i8::scratch_bytes, &i8::run}; }

#if VIREO_NEON_BYTES
/// For CPUs with ARMv8.2's dot products (dispatch.cpp).
Kernel<I8GemmArgs> sdot_gemm_i8_kernel();
Kernel<I8GemmArgs> sdot_gemm_i8_kernel() { return {&i8::items, &i8::scratch_bytes, &i8::run_dots<true>}; }
#endif
#if HWY_TARGET == HWY_AVX3
/// For CPUs with AVX-512 VNNI (dispatch.cpp): rows in bytes, and their products.
Kernel<ToI8Args> vnni_to_i8_kernel();
Kernel<I8GemmArgs> vnni_gemm_i8_kernel();
Kernel<ToI8Args> vnni_to_i8_kernel() { return {&i8::convert_items, &i8::convert_scratch, &i8::convert_run<int8_t>}; }
Kernel<I8GemmArgs> vnni_gemm_i8_kernel() { return {&i8::items, &i8::vnni_scratch_bytes, &i8::vnni_run}; }
#endif

}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
