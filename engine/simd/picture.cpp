// Pictures to network inputs: see picture.h. The sums are Pillow's own (Resample.c: 8 bits between the two passes,
// 22-bit weights), so every instruction set gives the same numbers. Weights are multiplied in two parts of 11 and 12
// bits as pairs of 16 bits, or where there is AVX-512 VNNI in three digits of 8 bits, four taps at once (vpdpbusd).
#include "simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/picture.cpp"
#include <hwy/foreach_target.h>

#if HWY_TARGET == HWY_AVX3
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstring>

#include "simd/kernels.h"
#include "simd/picture_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {
namespace {

constexpr int kWeightBits = 22;
constexpr int32_t kHalfWeight = 1 << (kWeightBits - 1);

// ---- picture_rows: an item is a block of upright rows ----

int64_t picture_rows_items(const PictureRowsArgs& a) { return (a.rows + kPictureBlock - 1) / kPictureBlock; }
size_t picture_rows_scratch(const PictureRowsArgs& a) { return Lines::bytes(a.source, a.source.upright_width()); }

void picture_rows_run(const PictureRowsArgs& a, int64_t begin, int64_t end, void* scratch) {
  const int64_t n = a.source.upright_width(), last = std::min(a.rows, end * kPictureBlock);
  Lines lines(a.source, 0, n, static_cast<uint8_t*>(scratch));
  for (int64_t row = begin * kPictureBlock; row < last; ++row) {
    const uint8_t* line = nullptr;
    lines.get(a.first_row + row, 1, &line);
    uint8_t* out = a.out + row * n * a.channels;
    for (int64_t i = 0; i < n; ++i) {
      out[0] = line[4 * i];
      if (a.channels == 3) out[1] = line[4 * i + 1], out[2] = line[4 * i + 2];
      out += a.channels;
    }
  }
}

// ---- picture: an item is a band of output rows ----

int64_t picture_items(const PictureArgs& a) { return a.bands; }

/// Filtered rows that are kept: those of one output, and what is made along with the last of them.
HWY_INLINE int64_t kept_rows(const PictureArgs& a) { return a.vertical.max_length + kRows; }
HWY_INLINE int64_t row_bytes(const PictureArgs& a) { return (a.horizontal.count * 4 + 63) / 64 * 64; }
size_t picture_scratch(const PictureArgs& a) {
  const size_t lines = (Lines::bytes(a.source, a.columns) + 63) / 64 * 64;
  return lines + size_t((kept_rows(a) + 1) * row_bytes(a)) + size_t(a.vertical.max_length + 3) * sizeof(uint8_t*);
}

#if HWY_TARGET == HWY_SCALAR

HWY_INLINE uint8_t level_of_sum(int32_t high, int32_t low) {
  const int32_t sum = int32_t((uint32_t(high) << 12) + uint32_t(low) + uint32_t(kHalfWeight)) >> kWeightBits;
  return uint8_t(std::min(std::max(sum, 0), 255));
}
HWY_INLINE int32_t part(int32_t word, int64_t i) { return i == 0 ? int32_t(uint32_t(word) << 16) >> 16 : word >> 16; }

HWY_INLINE void filter_rows(const PictureAxis& h, const uint8_t* const* in, uint8_t* const* out) {
  for (int64_t x = 0; x < h.count; ++x)
    for (int c = 0; c < 4; ++c) {
      const uint8_t* p = in[0] + 4 * h.begin[x] + c;
      int32_t high = 0, low = 0;
      for (int64_t k = 0; k < 4 * h.length[x]; ++k) {
        const int32_t* words = h.words + x * h.words_each + k / 4 * 4;
        high += p[4 * k] * part(words[k % 4 / 2], k % 2);
        low += p[4 * k] * part(words[2 + k % 4 / 2], k % 2);
      }
      out[0][4 * x + c] = level_of_sum(high, low);
    }
}

HWY_INLINE void sum_rows(const uint8_t* const* rows, int64_t taps, const int32_t* words, int64_t bytes, uint8_t* out) {
  for (int64_t i = 0; i < bytes; ++i) {
    int32_t high = 0, low = 0;
    for (int64_t k = 0; k < taps; ++k) {
      high += rows[k][i] * part(words[k / 2 * 2], k % 2);
      low += rows[k][i] * part(words[k / 2 * 2 + 1], k % 2);
    }
    out[i] = level_of_sum(high, low);
  }
}

#else

HWY_INLINE V16 word(const int32_t* w) { return hn::BitCast(D16(), hn::Set(D32(), *w)); }

/// Sums of products of levels and weights in two parts, for a vector of 32-bit lanes.
struct Sums {
  V32 high, high_more, low, low_more;  // "more": where an instruction set multiplies into two vectors
  HWY_INLINE Sums() : high(hn::Zero(D32())), high_more(high), low(high), low_more(high) {}
  HWY_INLINE void add(V16 levels, V16 high_weights, V16 low_weights) {
    const D32 d;
    high = hn::ReorderWidenMulAccumulate(d, levels, high_weights, high, high_more);
    low = hn::ReorderWidenMulAccumulate(d, levels, low_weights, low, low_more);
  }
  HWY_INLINE V32 levels() const {
    const V32 h = hn::RearrangeToOddPlusEven(high, high_more), l = hn::RearrangeToOddPlusEven(low, low_more);
    return hn::ShiftRight<kWeightBits>(hn::Add(hn::Add(hn::ShiftLeft<12>(h), l), hn::Set(D32(), kHalfWeight)));
  }
};

/// Within each 16 bytes: the four vectors' lanes one after the other, cut to bytes.
HWY_INLINE V8 pack(V32 a, V32 b, V32 c, V32 e) {
  const D16 d;
  const V16 low = hn::ReorderDemote2To(d, a, b), high = hn::ReorderDemote2To(d, c, e);
#if HWY_TARGET == HWY_AVX3
  return V8{_mm512_packus_epi16(low.raw, high.raw)};
#elif HWY_TARGET == HWY_AVX2
  return V8{_mm256_packus_epi16(low.raw, high.raw)};
#elif HWY_TARGET == HWY_SSE4
  return V8{_mm_packus_epi16(low.raw, high.raw)};
#else
  const hn::Half<D8> half;
  return hn::Combine(D8(), hn::DemoteTo(half, high), hn::DemoteTo(half, low));
#endif
}

/// 16 bytes of each row side by side.
HWY_INLINE V8 load_rows(const uint8_t* const* rows, int64_t at) {
#if HWY_TARGET == HWY_AVX3
  const hn::CappedTag<uint8_t, 16> d;
  const hn::CappedTag<uint8_t, 32> d2;
  return hn::Combine(D8(), hn::Combine(d2, hn::LoadU(d, rows[3] + at), hn::LoadU(d, rows[2] + at)),
                     hn::Combine(d2, hn::LoadU(d, rows[1] + at), hn::LoadU(d, rows[0] + at)));
#elif HWY_TARGET == HWY_AVX2
  const hn::CappedTag<uint8_t, 16> d;
  return hn::Combine(D8(), hn::LoadU(d, rows[1] + at), hn::LoadU(d, rows[0] + at));
#else
  return hn::LoadU(D8(), rows[0] + at);
#endif
}

HWY_INLINE void store_rows(V8 v, uint8_t* const* rows, int64_t at) {
  HWY_ALIGN uint8_t bytes[kBytes];
  hn::Store(v, D8(), bytes);
  for (int64_t k = 0; k < kRows; ++k) std::memcpy(rows[k] + at, bytes + 16 * k, 16);
}

/// One pass along kRows rows at once: the weights of an output are the same for all of them.
HWY_INLINE void filter_rows(const PictureAxis& h, const uint8_t* const* in, uint8_t* const* out) {
  // Two neighbouring pixels' red, green, blue and fourth byte as pairs of 16 bits.
  constexpr uint8_t kNone = 0x80;
  HWY_ALIGN static constexpr uint8_t kFirst[16] = {0, kNone, 4, kNone, 1, kNone, 5, kNone,
                                                   2, kNone, 6, kNone, 3, kNone, 7, kNone};
  HWY_ALIGN static constexpr uint8_t kSecond[16] = {8,  kNone, 12, kNone, 9,  kNone, 13, kNone,
                                                    10, kNone, 14, kNone, 11, kNone, 15, kNone};
  const D8 d8;
  const V8 first = hn::LoadDup128(d8, kFirst), second = hn::LoadDup128(d8, kSecond);
  const auto output = [&](int64_t x) HWY_ATTR {
    Sums sums;
    const int32_t* w = h.words + x * h.words_each;
    int64_t at = 4 * int64_t(h.begin[x]);
    for (int64_t g = 0; g < h.length[x]; ++g, w += 4, at += 16) {
      const V8 four = load_rows(in, at);
      sums.add(hn::BitCast(D16(), hn::TableLookupBytesOr0(four, first)), word(w), word(w + 2));
      sums.add(hn::BitCast(D16(), hn::TableLookupBytesOr0(four, second)), word(w + 1), word(w + 3));
    }
    return sums.levels();
  };
  for (int64_t x = 0; x < h.count; x += 4) {
    const V32 a = output(x), b = output(x + 1), c = output(x + 2), e = output(x + 3);
    store_rows(pack(a, b, c, e), out, 4 * x);
  }
}

/// The weighted sum of rows; `rows` ends with one more, of no weight.
HWY_INLINE void sum_rows(const uint8_t* const* rows, int64_t taps, const int32_t* words, int64_t bytes, uint8_t* out) {
  const D8 d;
  const V8 zero = hn::Zero(d);
  for (int64_t i = 0; i < bytes; i += kBytes) {
    Sums s0, s1, s2, s3;
    const int32_t* w = words;
    for (int64_t k = 0; k < taps; k += 2, w += 2) {
      const V8 a = hn::LoadU(d, rows[k] + i), b = hn::LoadU(d, rows[k + 1] + i);
      const V8 low = hn::InterleaveLower(d, a, b), high = hn::InterleaveUpper(d, a, b);
      const V16 w0 = word(w), w1 = word(w + 1);
      s0.add(hn::BitCast(D16(), hn::InterleaveLower(d, low, zero)), w0, w1);
      s1.add(hn::BitCast(D16(), hn::InterleaveUpper(d, low, zero)), w0, w1);
      s2.add(hn::BitCast(D16(), hn::InterleaveLower(d, high, zero)), w0, w1);
      s3.add(hn::BitCast(D16(), hn::InterleaveUpper(d, high, zero)), w0, w1);
    }
    hn::StoreU(pack(s0.levels(), s1.levels(), s2.levels(), s3.levels()), d, out + i);
  }
}

#endif

#if HWY_TARGET == HWY_AVX3
#define VIREO_VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

/// Sums of products of four levels with the digits of their weights, for 16 lanes.
struct DigitSums {
  __m512i a, b, c;
};
VIREO_VNNI static inline void clear(DigitSums& s) { s.a = s.b = s.c = _mm512_setzero_si512(); }
VIREO_VNNI static inline void add_four(DigitSums& s, __m512i levels, const int32_t* digits) {
  s.a = _mm512_dpbusd_epi32(s.a, levels, _mm512_set1_epi32(digits[0]));
  s.b = _mm512_dpbusd_epi32(s.b, levels, _mm512_set1_epi32(digits[1]));
  s.c = _mm512_dpbusd_epi32(s.c, levels, _mm512_set1_epi32(digits[2]));
}
VIREO_VNNI static inline __m512i levels_of(const DigitSums& s) {
  const __m512i high = _mm512_add_epi32(_mm512_slli_epi32(s.a, 16), _mm512_slli_epi32(s.b, 8));
  return _mm512_srai_epi32(_mm512_add_epi32(_mm512_add_epi32(high, s.c), _mm512_set1_epi32(kHalfWeight)), kWeightBits);
}
/// Within each 16 bytes: the four vectors' lanes one after the other, cut to bytes.
VIREO_VNNI static inline __m512i pack_levels(__m512i a, __m512i b, __m512i c, __m512i d) {
  return _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
}

/// Four pixels of four rows: within each 16 bytes those of a row, channel by channel.
VIREO_VNNI static inline __m512i load_four(const uint8_t* const* in, int64_t at) {
  const auto load = [](const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
  __m512i four = _mm512_castsi128_si512(load(in[0] + at));
  four = _mm512_inserti64x2(four, load(in[1] + at), 1);
  four = _mm512_inserti64x2(four, load(in[2] + at), 2);
  four = _mm512_inserti64x2(four, load(in[3] + at), 3);
  const __m128i by_channel = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_shuffle_epi8(four, _mm512_broadcast_i32x4(by_channel));
}

/// An output of four rows, before pack_levels(). kGroups: that many for every output, or 0: as many as it has.
template <int64_t kGroups>
VIREO_VNNI static inline __m512i vnni_output(const PictureAxis& h, const uint8_t* const* in, int64_t x) {
  const int32_t* digits = h.digits + x * h.digits_each;
  const int64_t at = 4 * int64_t(h.begin[x]);
  DigitSums sums;
  clear(sums);
  if constexpr (kGroups > 0) {
    add_four(sums, load_four(in, at), digits);
    if constexpr (kGroups > 1) add_four(sums, load_four(in, at + 16), digits + 3);
    if constexpr (kGroups > 2) add_four(sums, load_four(in, at + 32), digits + 6);
    if constexpr (kGroups > 3) add_four(sums, load_four(in, at + 48), digits + 9);
  } else {
    for (int64_t g = 0; g < h.length[x]; ++g) add_four(sums, load_four(in, at + 16 * g), digits + 3 * g);
  }
  return levels_of(sums);
}

template <int64_t kGroups>
VIREO_VNNI static void vnni_filter(const PictureAxis& h, const uint8_t* const* in, uint8_t* const* out) {
  for (int64_t x = 0; x < h.count; x += 4) {
    const __m512i levels = pack_levels(vnni_output<kGroups>(h, in, x), vnni_output<kGroups>(h, in, x + 1),
                                       vnni_output<kGroups>(h, in, x + 2), vnni_output<kGroups>(h, in, x + 3));
    const auto store = [&](int64_t row, __m128i v) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out[row] + 4 * x), v);
    };
    store(0, _mm512_castsi512_si128(levels));
    store(1, _mm512_extracti64x2_epi64(levels, 1));
    store(2, _mm512_extracti64x2_epi64(levels, 2));
    store(3, _mm512_extracti64x2_epi64(levels, 3));
  }
}

/// filter_rows() of four rows. An output of fewer groups than others multiplies what follows by 0, and so few groups
/// end within a line's padding.
VIREO_VNNI static void vnni_filter_rows(const PictureAxis& h, const uint8_t* const* in, uint8_t* const* out) {
  static_assert(kLinePad >= 16, "four groups of the last pixel");
  switch (h.max_length) {
    case 1: return vnni_filter<1>(h, in, out);
    case 2: return vnni_filter<2>(h, in, out);
    case 3: return vnni_filter<3>(h, in, out);
    case 4: return vnni_filter<4>(h, in, out);
    default: return vnni_filter<0>(h, in, out);
  }
}

/// sum_rows(); `rows` ends with three more, of no weight.
VIREO_VNNI static void vnni_sum_rows(const PictureAxis& v, int64_t y, const uint8_t* const* rows, int64_t bytes,
                                     uint8_t* out) {
  for (int64_t i = 0; i < bytes; i += 64) {
    DigitSums s0, s1, s2, s3;
    clear(s0), clear(s1), clear(s2), clear(s3);
    const int32_t* digits = v.digits + y * v.digits_each;
    for (int64_t k = 0; k < v.length[y]; k += 4, digits += 3) {
      const __m512i a = _mm512_loadu_si512(rows[k] + i), b = _mm512_loadu_si512(rows[k + 1] + i);
      const __m512i c = _mm512_loadu_si512(rows[k + 2] + i), d = _mm512_loadu_si512(rows[k + 3] + i);
      const __m512i ab = _mm512_unpacklo_epi8(a, b), cd = _mm512_unpacklo_epi8(c, d);
      add_four(s0, _mm512_unpacklo_epi16(ab, cd), digits);
      add_four(s1, _mm512_unpackhi_epi16(ab, cd), digits);
      const __m512i ab_high = _mm512_unpackhi_epi8(a, b), cd_high = _mm512_unpackhi_epi8(c, d);
      add_four(s2, _mm512_unpacklo_epi16(ab_high, cd_high), digits);
      add_four(s3, _mm512_unpackhi_epi16(ab_high, cd_high), digits);
    }
    _mm512_storeu_si512(out + i, pack_levels(levels_of(s0), levels_of(s1), levels_of(s2), levels_of(s3)));
  }
}
#undef VIREO_VNNI
#endif

/// How the two passes multiply.
struct Parts {
  static void filter(const PictureAxis& h, const uint8_t* const* in, uint8_t* const* out) { filter_rows(h, in, out); }
  static void sum(const PictureAxis& v, int64_t y, const uint8_t* const* rows, int64_t bytes, uint8_t* out) {
    sum_rows(rows, v.length[y], v.words + y * v.words_each, bytes, out);
  }
};
#if HWY_TARGET == HWY_AVX3
struct Digits {
  static void filter(const PictureAxis& h, const uint8_t* const* in, uint8_t* const* out) {
    vnni_filter_rows(h, in, out);
  }
  static void sum(const PictureAxis& v, int64_t y, const uint8_t* const* rows, int64_t bytes, uint8_t* out) {
    vnni_sum_rows(v, y, rows, bytes, out);
  }
};
#endif

/// Levels to the numbers of each plane, as many as fill vectors; returns how many of a plane that are. A load from the
/// table is a level, a vector 8 or 16.
HWY_INLINE int64_t write_vectors(const PictureArgs& a, const uint8_t* levels, int64_t y) {
#if HWY_NATIVE_FMA
  constexpr bool kPays = kBytes >= 32;
#else
  constexpr bool kPays = false;
#endif
  if (!kPays || !a.scaled) return 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<float> d;
  const D32 d32;
  const int64_t step = int64_t(hn::Lanes(d)), n = a.width / step * step;
  for (int64_t c = 0; c < a.channels; ++c) {
    const PictureScale& s = a.scale[c];
    const auto high = hn::Set(d, s.high), low = hn::Set(d, s.low), mean = hn::Set(d, s.mean), std = hn::Set(d, s.std);
    const auto inverse = hn::Set(d, s.inverse);
    float* out = a.out + c * a.plane_stride + y * a.row_stride;
    for (int64_t x = 0; x < n; x += step) {
      const auto pixels = hn::LoadU(d32, reinterpret_cast<const int32_t*>(levels + 4 * x));
      const auto level = hn::ConvertTo(d, hn::And(hn::ShiftRightSame(pixels, 8 * a.from[c]), hn::Set(d32, 255)));
      const auto v = hn::Sub(hn::MulAdd(level, low, hn::Mul(level, high)), mean);
      const auto quotient = hn::Mul(v, inverse);
      hn::StoreU(hn::MulAdd(hn::NegMulAdd(quotient, std, v), inverse, quotient), d, out + x);
    }
  }
  return n;
#else
  (void)levels, (void)y;
  return 0;
#endif
}

/// Levels to the numbers of each plane.
HWY_INLINE void write_row(const PictureArgs& a, const uint8_t* levels, int64_t y) {
  const int64_t first = write_vectors(a, levels, y);
  for (int64_t c = 0; c < a.channels; ++c) {
    const float* table = a.table[c];
    const uint8_t* in = levels + a.from[c];
    float* out = a.out + c * a.plane_stride + y * a.row_stride;
    for (int64_t x = first; x < a.width; ++x) out[x] = table[in[4 * x]];
  }
}

template <typename Passes>
void picture_run(const PictureArgs& a, int64_t begin, int64_t end, void* scratch) {
  const PictureAxis& v = a.vertical;
  const int64_t rows = a.source.upright_height(), bytes = row_bytes(a), kept = kept_rows(a);
  uint8_t* memory = static_cast<uint8_t*>(scratch);
  uint8_t* ring = memory + (Lines::bytes(a.source, a.columns) + 63) / 64 * 64;
  uint8_t* levels = ring + kept * bytes;
  const uint8_t** taps = reinterpret_cast<const uint8_t**>(levels + bytes);
  Lines lines(a.source, a.first_column, a.columns, memory);
  for (int64_t band = begin; band < end; ++band) {
    const int64_t last = (band + 1) * v.count / a.bands;
    int64_t done = 0;  // the next row to filter
    for (int64_t y = band * v.count / a.bands; y < last; ++y) {
      const int64_t first = v.begin[y], count = v.length[y];
      done = std::max(done, first);
      while (done < first + count) {
        const int64_t some = std::min(kRows, rows - done);
        const uint8_t* in[kRows] = {};
        uint8_t* out[kRows];
        lines.get(done, some, in);
        for (int64_t k = 0; k < kRows; ++k) {
          in[k] = in[std::min(k, some - 1)];  // past the last row: once more, to where nobody looks
          out[k] = ring + (done + k) % kept * bytes;
        }
        Passes::filter(a.horizontal, in, out);
        done += some;
      }
      for (int64_t k = 0; k < count; ++k) taps[k] = ring + (first + k) % kept * bytes;
      for (int64_t k = 0; k < 3; ++k) taps[count + k] = taps[count - 1];
      Passes::sum(v, y, taps, bytes, levels);
      write_row(a, levels, y);
    }
  }
}

}  // namespace

Kernel<PictureRowsArgs> picture_rows_kernel() {
  return {&picture_rows_items, &picture_rows_scratch, &picture_rows_run};
}
Kernel<PictureArgs> picture_kernel() { return {&picture_items, &picture_scratch, &picture_run<Parts>}; }
#if HWY_TARGET == HWY_AVX3
/// For CPUs with AVX-512 VNNI (dispatch.cpp).
Kernel<PictureArgs> vnni_picture_kernel();
Kernel<PictureArgs> vnni_picture_kernel() { return {&picture_items, &picture_scratch, &picture_run<Digits>}; }
#endif

}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
