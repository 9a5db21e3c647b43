// Rows of any pixel format to pixels of four bytes (red, green, blue, and one that does not count), compiled once per
// instruction set. What vectors compute is what rgb_of() says, bit for bit.
#if defined(VIREO_SIMD_PICTURE_ROWS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VIREO_SIMD_PICTURE_ROWS_INL_H
#undef VIREO_SIMD_PICTURE_ROWS_INL_H
#else
#define VIREO_SIMD_PICTURE_ROWS_INL_H
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include <hwy/highway.h>

#include "simd/picture.h"

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D8 = hn::ScalableTag<uint8_t>;
using D16 = hn::ScalableTag<int16_t>;
using D32 = hn::ScalableTag<int32_t>;
using V8 = hn::Vec<D8>;
using V16 = hn::Vec<D16>;
using V32 = hn::Vec<D32>;
constexpr int64_t kBytes = int64_t(hn::MaxLanes(D8()));
constexpr int64_t kPixels = int64_t(hn::MaxLanes(D16()));  // of luma and chroma at a time
/// Rows that lie side by side in a vector, 16 bytes of each: the horizontal filter takes so many at once.
constexpr int64_t kRows = kBytes >= 16 ? kBytes / 16 : 1;
/// Pixels that may be read past a line's last one: a group of taps is loaded whole.
constexpr int64_t kLinePad = 16;

HWY_INLINE void put(uint8_t* out, uint8_t r, uint8_t g, uint8_t b) { out[0] = r, out[1] = g, out[2] = b, out[3] = 0; }

HWY_INLINE uint8_t level_of(int32_t sum) { return uint8_t(std::min(std::max(sum >> 14, 0), 255)); }
constexpr int32_t kHalfLevel = 1 << 13;

HWY_INLINE void rgb_of(const PictureSource& s, int32_t y, int32_t u, int32_t v, uint8_t* out) {
  const int32_t luma = (y - s.black) * s.yy + kHalfLevel;
  u -= 128, v -= 128;
  put(out, level_of(luma + s.rv * v), level_of(luma + s.gu * u + s.gv * v), level_of(luma + s.bu * u));
}

/// 16 bits to 8: v / 257, rounded.
HWY_INLINE uint8_t level_of_16(const uint8_t* p) {
  uint16_t v;
  std::memcpy(&v, p, sizeof v);
  return uint8_t((uint32_t(v) * 255 + 32895) >> 16);
}

#if HWY_TARGET != HWY_SCALAR

/// The sum of each two neighbouring products.
HWY_INLINE V32 pair_sums(V16 a, V16 b) {
  const D32 d;
  V32 more = hn::Zero(d);
  const V32 sum = hn::ReorderWidenMulAccumulate(d, a, b, hn::Zero(d), more);
  return hn::RearrangeToOddPlusEven(sum, more);
}
/// `even` and `odd` in every two neighbouring lanes.
HWY_INLINE V16 set_pair(int32_t even, int32_t odd) {
  return hn::BitCast(D16(), hn::Set(D32(), int32_t((uint32_t(odd) << 16) | (uint32_t(even) & 0xFFFF))));
}

/// Factors of luma and chroma as vectors.
struct Factors {
  V16 even, odd, r, g, b0, b1;
  V32 offset;
  /// `vu`: V stands before U.
  HWY_INLINE Factors(const PictureSource& s, bool vu)
      : even(set_pair(s.yy, 0)),
        odd(set_pair(0, s.yy)),
        r(vu ? set_pair(s.rv, 0) : set_pair(0, s.rv)),
        g(vu ? set_pair(s.gv, s.gu) : set_pair(s.gu, s.gv)),
        // Above 2, which 16 bits do not hold: in two parts.
        b0(vu ? set_pair(0, s.bu / 2) : set_pair(s.bu / 2, 0)),
        b1(vu ? set_pair(0, s.bu - s.bu / 2) : set_pair(s.bu - s.bu / 2, 0)),
        offset(hn::Set(D32(), kHalfLevel - s.black * s.yy)) {}
};

/// What chroma adds to the channels of the pixels that share it.
struct Chroma {
  V32 r, g, b;
  HWY_INLINE Chroma(const Factors& f, V16 pairs)
      : r(pair_sums(pairs, f.r)),
        g(pair_sums(pairs, f.g)),
        b(hn::Add(pair_sums(pairs, f.b0), pair_sums(pairs, f.b1))) {}
};

/// Levels of a channel, from the sums of even and odd pixels, in the order of the pixels.
HWY_INLINE V16 channel(V32 even, V32 odd) {
  const D16 d;
  const V16 levels = hn::OddEven(hn::BitCast(d, hn::ShiftLeft<2>(odd)), hn::BitCast(d, hn::ShiftRight<14>(even)));
  return hn::Min(hn::Max(levels, hn::Zero(d)), hn::Set(d, 255));
}

HWY_INLINE void store_pixels(V16 r, V16 g, V16 b, uint8_t* out) {
  hn::StoreInterleaved2(hn::Or(r, hn::ShiftLeft<8>(g)), b, D16(), reinterpret_cast<int16_t*>(out));
}

#if HWY_TARGET == HWY_AVX3
/// store_pixels() of sums: cut to bytes by packs that saturate, even pixels before odd ones within each 16 bytes.
HWY_INLINE void store_sums(V32 r0, V32 r1, V32 g0, V32 g1, V32 b0, V32 b1, uint8_t* out) {
  const auto words = [](V32 even, V32 odd) HWY_ATTR {
    return _mm512_packs_epi32(hn::ShiftRight<14>(even).raw, hn::ShiftRight<14>(odd).raw);
  };
  // In the order of pixels, red and green in turns, and blue and what does not count.
  const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15));
  const __m512i rg = _mm512_shuffle_epi8(_mm512_packus_epi16(words(r0, r1), words(g0, g1)), order);
  const __m512i bb = words(b0, b1), bx = _mm512_shuffle_epi8(_mm512_packus_epi16(bb, bb), order);
  // Each 16 bytes of `first` and `second` are pixels 0 to 3 and 4 to 7 of eight.
  const __m512i first = _mm512_unpacklo_epi16(rg, bx), second = _mm512_unpackhi_epi16(rg, bx);
  const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  _mm512_storeu_si512(out, _mm512_permutex2var_epi64(first, low, second));
  _mm512_storeu_si512(out + 64, _mm512_permutex2var_epi64(first, high, second));
}
#endif

/// kPixels pixels; `even` and `odd` are the chroma of the even and the odd ones.
HWY_INLINE void store_yuv(const Factors& f, V16 luma, const Chroma& even, const Chroma& odd, uint8_t* out) {
  const V32 y0 = hn::Add(pair_sums(luma, f.even), f.offset), y1 = hn::Add(pair_sums(luma, f.odd), f.offset);
#if HWY_TARGET == HWY_AVX3
  store_sums(hn::Add(y0, even.r), hn::Add(y1, odd.r), hn::Add(y0, even.g), hn::Add(y1, odd.g), hn::Add(y0, even.b),
             hn::Add(y1, odd.b), out);
#else
  store_pixels(channel(hn::Add(y0, even.r), hn::Add(y1, odd.r)), channel(hn::Add(y0, even.g), hn::Add(y1, odd.g)),
               channel(hn::Add(y0, even.b), hn::Add(y1, odd.b)), out);
#endif
}

HWY_INLINE V16 load_levels(const uint8_t* p) {
  const hn::Rebind<uint8_t, D16> d;
  return hn::PromoteTo(D16(), hn::LoadU(d, p));
}
HWY_INLINE V16 load_words(const uint8_t* p) { return hn::BitCast(D16(), hn::LoadU(D8(), p)); }
HWY_INLINE V16 centred(V16 chroma) { return hn::Sub(chroma, hn::Set(D16(), 128)); }

/// Two planes' values as pairs.
HWY_INLINE V16 load_pairs(const uint8_t* u, const uint8_t* v) {
  const hn::Rebind<uint8_t, D32> d;
  return hn::BitCast(
      D16(), hn::Or(hn::PromoteTo(D32(), hn::LoadU(d, u)), hn::ShiftLeft<16>(hn::PromoteTo(D32(), hn::LoadU(d, v)))));
}

#endif  // HWY_TARGET != HWY_SCALAR

/// n pixels: `step(i)` does kStep of them from pixel i, `pixel(i)` one. Where two share their chroma (`pairs`), a step
/// begins with the first of both; `odd`: pixel 0 is a second one.
template <int64_t kStep, typename Step, typename Pixel>
HWY_INLINE void over_pixels(int64_t n, bool pairs, bool odd, const Step& step, const Pixel& pixel) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const int64_t first = pairs && odd && n > 0 ? 1 : 0;
  if (n - first >= kStep) {
    if (first == 1) pixel(0);
    for (i = first; i + kStep <= n; i += kStep) step(i);
    if (i < n) {  // the last ones, and some before them once more
      int64_t back = n - kStep;
      if (pairs && (back - first) % 2 != 0) --back, pixel(n - 1);
      if (back >= first) step(back), i = n;
    }
  }
#else
  (void)pairs, (void)odd, (void)step;
#endif
  for (; i < n; ++i) pixel(i);
}

template <int kFirst, int kEach>  // the byte of red; bytes of a pixel
HWY_INLINE void packed_row(const uint8_t* in, int64_t n, uint8_t* out) {
  const auto pixel = [&](int64_t i) HWY_ATTR {
    const uint8_t* p = in + i * kEach;
    put(out + 4 * i, p[kFirst], p[1], p[2 - kFirst]);
  };
#if HWY_TARGET != HWY_SCALAR
  const auto step = [&](int64_t i) HWY_ATTR {
    const D8 d;
    V8 a, b, c, x = hn::Zero(d);
    if constexpr (kEach == 3) hn::LoadInterleaved3(d, in + 3 * i, a, b, c);
    else hn::LoadInterleaved4(d, in + 4 * i, a, b, c, x);
    hn::StoreInterleaved4(kFirst == 0 ? a : c, b, kFirst == 0 ? c : a, x, d, out + 4 * i);
  };
#else
  const int step = 0;
#endif
  over_pixels<kBytes>(n, false, false, step, pixel);
}

HWY_INLINE void grey_row(const uint8_t* in, int64_t n, uint8_t* out) {
  const auto pixel = [&](int64_t i) HWY_ATTR { put(out + 4 * i, in[i], in[i], in[i]); };
#if HWY_TARGET != HWY_SCALAR
  const auto step = [&](int64_t i) HWY_ATTR {
    const D8 d;
    const V8 v = hn::LoadU(d, in + i);
    hn::StoreInterleaved4(v, v, v, hn::Zero(d), d, out + 4 * i);
  };
#else
  const int step = 0;
#endif
  over_pixels<kBytes>(n, false, false, step, pixel);
}

HWY_INLINE void grey16_row(const uint8_t* in, int64_t n, uint8_t* out) {
  const auto pixel = [&](int64_t i) HWY_ATTR {
    const uint8_t v = level_of_16(in + 2 * i);
    put(out + 4 * i, v, v, v);
  };
#if HWY_TARGET != HWY_SCALAR
  const auto step = [&](int64_t i) HWY_ATTR {
    const hn::Repartition<uint32_t, D16> d;
    const auto v = hn::BitCast(d, load_words(in + 2 * i));
    const auto level = [&](decltype(v) x)
                           HWY_ATTR { return hn::Add(hn::Sub(hn::ShiftLeft<8>(x), x), hn::Set(d, 32895u)); };
    const auto even = hn::ShiftRight<16>(level(hn::And(v, hn::Set(d, 0xFFFFu))));
    const auto odd = hn::And(level(hn::ShiftRight<16>(v)), hn::Set(d, 0xFFFF0000u));
    const V16 levels = hn::BitCast(D16(), hn::Or(even, odd));
    store_pixels(levels, levels, levels, out + 4 * i);
  };
#else
  const int step = 0;
#endif
  over_pixels<kPixels>(n, false, false, step, pixel);
}

/// Luma in bytes, U and V in turns in a plane of their own; `x`: the column of the first pixel.
HWY_INLINE void semiplanar_row(const PictureSource& s, const uint8_t* luma, const uint8_t* chroma, int64_t x, int64_t n,
                               uint8_t* out) {
  const bool vu = s.format == PixelFormat::kNv21;
  luma += x;
  const auto pixel = [&](int64_t i) HWY_ATTR {
    const uint8_t* c = chroma + (x + i) / 2 * 2;
    rgb_of(s, luma[i], c[vu ? 1 : 0], c[vu ? 0 : 1], out + 4 * i);
  };
#if HWY_TARGET != HWY_SCALAR
  const Factors f(s, vu);
  const auto step = [&](int64_t i) HWY_ATTR {
    const Chroma c(f, centred(load_levels(chroma + x + i)));
    store_yuv(f, load_levels(luma + i), c, c, out + 4 * i);
  };
#else
  const int step = 0;
#endif
  over_pixels<kPixels>(n, true, x % 2 != 0, step, pixel);
}

/// Three planes; `shared`: two neighbours have one chroma.
HWY_INLINE void planar_row(const PictureSource& s, const uint8_t* luma, const uint8_t* u, const uint8_t* v, bool shared,
                           int64_t x, int64_t n, uint8_t* out) {
  luma += x;
  const auto pixel = [&](int64_t i) HWY_ATTR {
    const int64_t c = shared ? (x + i) / 2 : x + i;
    rgb_of(s, luma[i], u[c], v[c], out + 4 * i);
  };
#if HWY_TARGET != HWY_SCALAR
  const Factors f(s, false);
  const auto step = [&](int64_t i) HWY_ATTR {
    const V16 y = load_levels(luma + i);
    if (shared) {
      const Chroma c(f, centred(load_pairs(u + (x + i) / 2, v + (x + i) / 2)));
      return store_yuv(f, y, c, c, out + 4 * i);
    }
    const hn::RebindToUnsigned<D32> d;
    const auto us = hn::BitCast(d, load_levels(u + x + i)), vs = hn::BitCast(d, load_levels(v + x + i));
    const auto even = hn::Or(hn::And(us, hn::Set(d, 0xFFFFu)), hn::ShiftLeft<16>(vs));
    const auto odd = hn::Or(hn::ShiftRight<16>(us), hn::And(vs, hn::Set(d, 0xFFFF0000u)));
    store_yuv(f, y, Chroma(f, centred(hn::BitCast(D16(), even))), Chroma(f, centred(hn::BitCast(D16(), odd))),
              out + 4 * i);
  };
#else
  const int step = 0;
#endif
  over_pixels<kPixels>(n, shared, x % 2 != 0, step, pixel);
}

/// Two pixels in four bytes; `first`: the byte of the first luma, 0 or 1.
template <int kLuma>
HWY_INLINE void mixed_row(const PictureSource& s, const uint8_t* in, int64_t x, int64_t n, uint8_t* out) {
  const auto pixel = [&](int64_t i) HWY_ATTR {
    const uint8_t* block = in + (x + i) / 2 * 4;
    rgb_of(s, block[kLuma + (x + i) % 2 * 2], block[1 - kLuma], block[3 - kLuma], out + 4 * i);
  };
#if HWY_TARGET != HWY_SCALAR
  const Factors f(s, false);
  const auto step = [&](int64_t i) HWY_ATTR {
    const hn::RebindToUnsigned<D16> d;
    const V16 words = load_words(in + (x + i) * 2);
    const V16 low = hn::And(words, hn::Set(D16(), 255));
    const V16 high = hn::BitCast(D16(), hn::ShiftRight<8>(hn::BitCast(d, words)));
    const Chroma c(f, centred(kLuma == 0 ? high : low));
    store_yuv(f, kLuma == 0 ? low : high, c, c, out + 4 * i);
  };
#else
  const int step = 0;
#endif
  over_pixels<kPixels>(n, true, x % 2 != 0, step, pixel);
}

/// n pixels of the stored row y from column x.
HWY_INLINE void stored_pixels(const PictureSource& s, int64_t y, int64_t x, int64_t n, uint8_t* out) {
  const uint8_t* row = s.plane[0] + y * s.stride[0];
  const auto chroma = [&](int plane, int64_t at) { return s.plane[plane] + at * s.stride[plane]; };
  switch (s.format) {
    case PixelFormat::kRgb: return packed_row<0, 3>(row + 3 * x, n, out);
    case PixelFormat::kBgr: return packed_row<2, 3>(row + 3 * x, n, out);
    case PixelFormat::kRgba: std::memcpy(out, row + 4 * x, size_t(4 * n)); return;
    case PixelFormat::kBgra: return packed_row<2, 4>(row + 4 * x, n, out);
    case PixelFormat::kGrey: return grey_row(row + x, n, out);
    case PixelFormat::kGrey16: return grey16_row(row + 2 * x, n, out);
    case PixelFormat::kNv12:
    case PixelFormat::kNv21: return semiplanar_row(s, row, chroma(1, y / 2), x, n, out);
    case PixelFormat::kI420: return planar_row(s, row, chroma(1, y / 2), chroma(2, y / 2), true, x, n, out);
    case PixelFormat::kI422: return planar_row(s, row, chroma(1, y), chroma(2, y), true, x, n, out);
    case PixelFormat::kI444: return planar_row(s, row, chroma(1, y), chroma(2, y), false, x, n, out);
    case PixelFormat::kYuyv: return mixed_row<0>(s, row, x, n, out);
    case PixelFormat::kUyvy: return mixed_row<1>(s, row, x, n, out);
  }
}

/// Pillow's convert("L") of n pixels, in all their channels.
HWY_INLINE void to_luma(uint8_t* line, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    uint8_t* p = line + 4 * i;
    const uint8_t v = uint8_t((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16);
    p[0] = p[1] = p[2] = v;
  }
}

/// Columns [first, first + n) of upright rows, in lines that are kept while they serve.
class Lines {
 public:
  /// Bytes of `memory` for n columns.
  static HWY_INLINE size_t bytes(const PictureSource& s, int64_t n) {
    return size_t((s.turned() ? kPictureBlock : kRows) * line_bytes(n) + line_bytes(std::max(n, kPictureBlock)));
  }

  HWY_INLINE Lines(const PictureSource& source, int64_t first, int64_t n, uint8_t* memory)
      : s_(source), first_(first), n_(n), memory_(memory) {
    std::memset(memory, 0, bytes(source, n));  // past a line's end a weight of 0 meets what stands there
  }

  /// Row `row` and, if they are there, those up to `rows` (at most kRows) after it; valid until the next call.
  HWY_INLINE void get(int64_t row, int64_t rows, const uint8_t** lines) {
    if (!s_.turned()) {
      for (int64_t k = 0; k < rows; ++k) lines[k] = straight(row + k, memory_ + k * line_bytes(n_));
      return;
    }
    for (int64_t k = 0; k < rows; ++k) {
      if (row + k < block_ || row + k >= block_ + block_rows_) {
        // The rows before it in this call lie in the block that gives way: begin the new one with them.
        fill_block(row, std::min(kPictureBlock, s_.width - row));
        k = 0;
      }
      lines[k] = memory_ + (row + k - block_) * line_bytes(n_);
    }
  }

 private:
  static HWY_INLINE int64_t line_bytes(int64_t n) { return (n + kLinePad) * 4; }
  HWY_INLINE uint8_t* spare() { return memory_ + (s_.turned() ? kPictureBlock : kRows) * line_bytes(n_); }

  HWY_INLINE const uint8_t* straight(int64_t row, uint8_t* line) {
    if (s_.rotation == 0) {
      stored_pixels(s_, s_.y + row, s_.x + first_, n_, line);
    } else {
      stored_pixels(s_, s_.y + s_.height - 1 - row, s_.x + s_.width - first_ - n_, n_, spare());
      for (int64_t i = 0; i < n_; ++i) std::memcpy(line + 4 * i, spare() + 4 * (n_ - 1 - i), 4);
    }
    if (s_.luma) to_luma(line, n_);
    return line;
  }

  /// Upright rows are stored columns: each stored row gives a pixel to each of them.
  HWY_INLINE void fill_block(int64_t row, int64_t rows) {
    block_ = row, block_rows_ = rows;
    const bool clockwise = s_.rotation == 90;
    const int64_t x = clockwise ? s_.x + row : s_.x + s_.width - row - rows;
    for (int64_t c = 0; c < n_; ++c) {
      const int64_t at = first_ + c;
      stored_pixels(s_, s_.y + (clockwise ? s_.height - 1 - at : at), x, rows, spare());
      if (s_.luma) to_luma(spare(), rows);
      uint8_t* to = memory_ + 4 * c;
      for (int64_t k = 0; k < rows; ++k)
        std::memcpy(to + k * line_bytes(n_), spare() + 4 * (clockwise ? k : rows - 1 - k), 4);
    }
  }

  const PictureSource& s_;
  const int64_t first_, n_;
  uint8_t* memory_;
  int64_t block_ = 0, block_rows_ = 0;
};

}  // namespace
}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // VIREO_SIMD_PICTURE_ROWS_INL_H
