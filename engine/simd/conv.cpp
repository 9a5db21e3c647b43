// Kernels over image windows: convolution as implicit GEMM, im2col, depthwise convolution, pooling.
#include "simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/conv.cpp"
#include <hwy/foreach_target.h>

#include <cmath>

#include "simd/gemm_run-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {

namespace {

/// Copies n floats where n is often tiny (16 pixels of a patch row) or a few hundred channels.
HWY_INLINE void copy_floats(const float* from, int64_t n, float* to) {
  const D d;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(hn::LoadU(d, from + i), d, to + i);
  if (i < n) store_n(load_n(from + i, n - i), to + i, n - i);
}

/// Output position of a row of the patch matrix.
struct Position {
  int64_t image, y, x;  // y, x: of the window's first element, may be negative
};
HWY_INLINE Position position(const ConvGeometry& g, int64_t row) {
  const int64_t ox = row % g.out_w, rest = row / g.out_w;
  return {rest / g.out_h, rest % g.out_h * g.stride_y - g.pad_y, ox * g.stride_x - g.pad_x};
}

/// Columns [k0, k0 + count) of one row of the patch matrix of NHWC rows, order (ky, kx, c).
HWY_INLINE void gather_rows(const ConvGeometry& g, int64_t row, int64_t k0, int64_t count, float* to) {
  const Position at = position(g, row);
  int64_t tap = k0 / g.c, c = k0 % g.c;
  while (count > 0) {
    const int64_t n = std::min(count, g.c - c);
    const int64_t y = at.y + tap / g.kernel_w * g.dilation_y, x = at.x + tap % g.kernel_w * g.dilation_x;
    if (y >= 0 && y < g.h && x >= 0 && x < g.w) {
      copy_floats(g.x + ((at.image * g.h + y) * g.w + x) * g.ldx + c, n, to);
    } else {
      std::fill(to, to + n, 0.0f);
    }
    to += n;
    count -= n;
    ++tap;
    c = 0;
  }
}

/// The same of planar [n, c, h, w], order (c, ky, kx).
HWY_INLINE void gather_planar(const ConvGeometry& g, int64_t row, int64_t k0, int64_t count, float* to) {
  const Position at = position(g, row);
  int64_t line = k0 / g.kernel_w, kx = k0 % g.kernel_w;  // line = c * kernel_h + ky
  while (count > 0) {
    const int64_t n = std::min(count, g.kernel_w - kx);
    const int64_t y = at.y + line % g.kernel_h * g.dilation_y, x = at.x + kx * g.dilation_x;
    const float* from = g.x + ((at.image * g.c + line / g.kernel_h) * g.h + y) * g.w + x;
    if (y < 0 || y >= g.h) {
      std::fill(to, to + n, 0.0f);
    } else if (g.dilation_x == 1 && x >= 0 && x + n <= g.w) {
      copy_floats(from, n, to);
    } else {
      for (int64_t i = 0; i < n; ++i) {
        const int64_t xi = x + i * g.dilation_x;
        to[i] = xi >= 0 && xi < g.w ? from[i * g.dilation_x] : 0.0f;
      }
    }
    to += n;
    count -= n;
    ++line;
    kx = 0;
  }
}

HWY_INLINE void gather(const ConvGeometry& g, int64_t row, int64_t k0, int64_t count, float* to) {
  if (g.planar) {
    gather_planar(g, row, k0, count, to);
  } else {
    gather_rows(g, row, k0, count, to);
  }
}

// ---- conv ----

HWY_INLINE GemmArgs as_gemm(const ConvArgs& a) {
  GemmArgs g = a.gemm;
  g.m = a.geometry.rows();
  g.k = a.geometry.k();
  return g;
}

struct GatherPatches {
  static constexpr bool kGathers = true;
  const ConvGeometry& g;
  void operator()(int64_t row, int64_t k0, int64_t count, float* to) const { gather(g, row, k0, count, to); }
};

int64_t conv_items(const ConvArgs& a) { return gemm_items<GatherPatches>(as_gemm(a)); }
size_t conv_scratch(const ConvArgs& a) { return gemm_scratch<GatherPatches>(as_gemm(a)); }

void conv_run(const ConvArgs& a, int64_t begin, int64_t end, void* scratch) {
  run_gemm(as_gemm(a), begin, end, scratch, GatherPatches{a.geometry});
}

// ---- im2col ----

int64_t im2col_items(const Im2colArgs& a) { return row_items(a.count, a.geometry.k()); }

void im2col_run(const Im2colArgs& a, int64_t begin, int64_t end, void*) {
  const int64_t k = a.geometry.k(), per = rows_per_item(k), last = std::min(a.count, end * per);
  for (int64_t r = begin * per; r < last; ++r) {
    float* to = a.out + r * a.ldo;
    gather(a.geometry, a.first + r, 0, k, to);
    for (int64_t i = k; i < pad4(k); ++i) to[i] = 0.0f;
  }
}

// ---- windows over NHWC rows: depthwise, pooling ----

/// The taps of a window that lie inside the image.
struct Taps {
  int64_t y0, y1, x0, x1;
  int64_t count() const { return (y1 - y0) * (x1 - x0); }
};

/// First tap >= 0 and first tap >= size, for taps at start + i * dilation.
HWY_INLINE void inside(int64_t start, int64_t dilation, int64_t taps, int64_t size, int64_t* first, int64_t* last) {
  *first = start < 0 ? std::min(taps, (-start + dilation - 1) / dilation) : 0;
  *last = start >= size ? 0 : std::min(taps, (size - start + dilation - 1) / dilation);
  *last = std::max(*first, *last);
}

HWY_INLINE Taps taps_inside(const ConvGeometry& g, const Position& at) {
  Taps t{};
  inside(at.y, g.dilation_y, g.kernel_h, g.h, &t.y0, &t.y1);
  inside(at.x, g.dilation_x, g.kernel_w, g.w, &t.x0, &t.x1);
  return t;
}

/// Folds step(acc, x, tap) over the taps inside the image, for n channels from c.
template <typename F>
HWY_INLINE V fold(const ConvGeometry& g, const Position& at, const Taps& t, int64_t c, int64_t n, V acc, F step) {
  for (int64_t ky = t.y0; ky < t.y1; ++ky) {
    const int64_t y = at.y + ky * g.dilation_y;
    for (int64_t kx = t.x0; kx < t.x1; ++kx) {
      const int64_t x = at.x + kx * g.dilation_x;
      acc = step(acc, load_n(g.x + ((at.image * g.h + y) * g.w + x) * g.ldx + c, n), ky * g.kernel_w + kx);
    }
  }
  return acc;
}

HWY_INLINE int64_t window_cost(const ConvGeometry& g) { return g.c * g.kernel_h * g.kernel_w; }

// ---- depthwise: an item is a line of output pixels ----

int64_t depthwise_items(const DepthwiseArgs& a) { return a.geometry.n * a.geometry.out_h; }

constexpr int64_t kTogether = 4;  // pixels of a line that share what they read

/// kTogether outputs whose windows' columns all lie inside; of the lines those of t. x: the first window's first line
/// inside.
template <int kWidth, int kStride, Act A>
HWY_INLINE void depthwise_block(const DepthwiseArgs& a, const float* x, const Taps& t, float* out) {
  const D d;
  const ConvGeometry& g = a.geometry;
  const int64_t line = g.dilation_y * g.w * g.ldx;
  const auto channels = [&](int64_t c, int64_t n) HWY_ATTR {
    V acc[kTogether];
    for (V& v : acc) v = a.bias != nullptr ? load_n(a.bias + c, n) : hn::Zero(d);
    for (int64_t ky = t.y0; ky < t.y1; ++ky) {
      V in[(kTogether - 1) * kStride + kWidth];
      const float* from = x + (ky - t.y0) * line + c;
      for (V& v : in) v = load_n(from, n), from += g.ldx;
      // What the next block adds to this line, and the pixel it writes: more streams than hardware follows.
      if (c % 16 == 0) {
        for (int64_t i = 0; i < kTogether * kStride; ++i, from += g.ldx) __builtin_prefetch(from, 0, 3);
      }
      for (int kx = 0; kx < kWidth; ++kx) {
        const V w = load_n(a.weight + (ky * kWidth + kx) * a.ldw + c, n);
        for (int64_t i = 0; i < kTogether; ++i) acc[i] = hn::MulAdd(in[i * kStride + kx], w, acc[i]);
      }
    }
    for (int64_t i = 0; i < kTogether && c % 16 == 0; ++i) __builtin_prefetch(out + (kTogether + i) * a.ldo + c, 1, 3);
    for (int64_t i = 0; i < kTogether; ++i) {
      const V v = act_v<A>(acc[i]);
      if (n >= kLanes) hn::StoreU(v, d, out + i * a.ldo + c);
      else
        store_n(hn::IfThenElseZero(hn::FirstN(d, size_t(n)), v), out + i * a.ldo + c, std::min(kLanes, pad4(g.c) - c));
    }
  };
  int64_t c = 0;
  for (; c + kLanes <= g.c; c += kLanes) channels(c, kLanes);
  if (c < g.c) channels(c, g.c - c);
  if (kLanes < 4)
    for (int64_t i = 0; i < kTogether; ++i) std::fill(out + i * a.ldo + g.c, out + i * a.ldo + pad4(g.c), 0.0f);
}

/// Any window, one output. Not inline: one for each activation, not for each kind of line too.
template <Act A>
HWY_NOINLINE void depthwise_pixel(const DepthwiseArgs& a, const Position& at, float* out) {
  const D d;
  const Taps taps = taps_inside(a.geometry, at);
  map_row(out, a.geometry.c, [&](int64_t c, int64_t n) HWY_ATTR {
    const V start = a.bias != nullptr ? load_n(a.bias + c, n) : hn::Zero(d);
    return act_v<A>(fold(a.geometry, at, taps, c, n, start, [&](V acc, V x, int64_t tap) HWY_ATTR {
      return hn::MulAdd(x, load_n(a.weight + tap * a.ldw + c, n), acc);
    }));
  });
}

template <int kWidth, int kStride, Act A>
HWY_INLINE void depthwise_lines(const DepthwiseArgs& a, int64_t begin, int64_t end) {
  const ConvGeometry& g = a.geometry;
  for (int64_t item = begin; item < end; ++item) {
    Position at = position(g, item * g.out_w);
    const Taps taps = taps_inside(g, at);  // of lines; columns change along the line
    for (int64_t ox = 0; ox < g.out_w;) {
      at.x = ox * g.stride_x - g.pad_x;
      float* out = a.out + (item * g.out_w + ox) * a.ldo;
      const bool inside_line =
          ox + kTogether <= g.out_w && at.x >= 0 && at.x + (kTogether - 1) * kStride + kWidth <= g.w;
      if (kWidth != 0 && inside_line && taps.y0 < taps.y1) {
        const int64_t first = (at.image * g.h + at.y + taps.y0 * g.dilation_y) * g.w + at.x;
        depthwise_block<kWidth != 0 ? kWidth : 1, kStride, A>(a, g.x + first * g.ldx, taps, out);
        ox += kTogether;
      } else {
        depthwise_pixel<A>(a, at, out);
        ++ox;
      }
    }
  }
}

void depthwise_run(const DepthwiseArgs& a, int64_t begin, int64_t end, void*) {
  const ConvGeometry& g = a.geometry;
  const bool close = g.dilation_x == 1;
  with_act(a.act, [&](auto tag) HWY_ATTR {
    constexpr Act kAct = decltype(tag)::value;
    if (close && g.kernel_w == 3 && g.stride_x == 1) depthwise_lines<3, 1, kAct>(a, begin, end);
    else if (close && g.kernel_w == 3 && g.stride_x == 2) depthwise_lines<3, 2, kAct>(a, begin, end);
    else depthwise_lines<0, 1, kAct>(a, begin, end);  // pixel by pixel
  });
}

int64_t pool_items(const PoolArgs& a) { return row_items(a.geometry.rows(), window_cost(a.geometry)); }

void pool_run(const PoolArgs& a, int64_t begin, int64_t end, void*) {
  const D d;
  const ConvGeometry& g = a.geometry;
  const int64_t per = rows_per_item(window_cost(g)), last = std::min(g.rows(), end * per);
  for (int64_t row = begin * per; row < last; ++row) {
    const Position at = position(g, row);
    const Taps taps = taps_inside(g, at);
    float* out = a.out + row * a.ldo;
    if (a.average) {
      const int64_t count = a.count_include_pad ? g.kernel_h * g.kernel_w : std::max<int64_t>(1, taps.count());
      const V inverse = hn::Set(d, 1.0f / float(count));
      map_row(out, g.c, [&](int64_t c, int64_t n) HWY_ATTR {
        return hn::Mul(inverse, fold(g, at, taps, c, n, hn::Zero(d),
                                     [&](V acc, V x, int64_t) HWY_ATTR { return hn::Add(acc, x); }));
      });
    } else {
      const V low = hn::Set(d, -HUGE_VALF);
      map_row(out, g.c, [&](int64_t c, int64_t n) HWY_ATTR {
        return fold(g, at, taps, c, n, low, [&](V acc, V x, int64_t) HWY_ATTR {
          // Not Max(): a NaN must win, whichever side it is on.
          return hn::IfThenElse(hn::Or(hn::Gt(x, acc), hn::IsNaN(x)), x, acc);
        });
      });
    }
  }
}

}  // namespace

Kernel<ConvArgs> conv_kernel() { return {&conv_items, &conv_scratch, &conv_run}; }
Kernel<Im2colArgs> im2col_kernel() { return {&im2col_items, &no_scratch<Im2colArgs>, &im2col_run}; }
Kernel<DepthwiseArgs> depthwise_kernel() { return {&depthwise_items, &no_scratch<DepthwiseArgs>, &depthwise_run}; }
Kernel<PoolArgs> pool_kernel() { return {&pool_items, &no_scratch<PoolArgs>, &pool_run}; }

}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
