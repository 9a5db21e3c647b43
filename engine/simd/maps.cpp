// Kernels over feature maps in NHWC rows: resizing, adaptive pooling, merging of 2 x 2 pixels, argmax.
#include "simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/maps.cpp"
#include <hwy/foreach_target.h>

#include <cfloat>
#include <cmath>

#include "simd/interpolate.h"
#include "simd/vec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {

namespace {

// ---- resize: an item is one row of output pixels ----

int64_t resize_items(const ResizeArgs& a) { return a.n * a.out_h; }

/// The weighted sum over taps of n channels from c; `origin` is the image's first pixel.
HWY_INLINE V weighted(const float* origin, int64_t ldx, int64_t w, const ResizeTaps& ty, const ResizeTaps& tx,
                      int64_t c, int64_t n) {
  const D d;
  V sum = hn::Zero(d);
  for (int y = 0; y < ty.count; ++y) {
    const float* row = origin + ty.at[y] * w * ldx + c;
    V line = hn::Mul(hn::Set(d, tx.weight[0]), load_n(row + tx.at[0] * ldx, n));
    for (int x = 1; x < tx.count; ++x)
      line = hn::MulAdd(hn::Set(d, tx.weight[x]), load_n(row + tx.at[x] * ldx, n), line);
    sum = hn::MulAdd(hn::Set(d, ty.weight[y]), line, sum);
  }
  return sum;
}

void resize_run(const ResizeArgs& a, int64_t begin, int64_t end, void*) {
  for (int64_t item = begin; item < end; ++item) {
    const float* origin = a.x + item / a.out_h * a.h * a.w * a.ldx;
    const ResizeTaps ty = resize_taps(a.mode, a.align_corners, a.h, a.out_h, item % a.out_h);
    for (int64_t x = 0; x < a.out_w; ++x) {
      const ResizeTaps tx = resize_taps(a.mode, a.align_corners, a.w, a.out_w, x);
      const int64_t row = item * a.out_w + x;
      map_row(a.out + row * a.ldo, a.c, [&](int64_t c, int64_t n) HWY_ATTR {
        const V v = weighted(origin, a.ldx, a.w, ty, tx, c, n);
        return a.residual == nullptr ? v : hn::Add(v, load_n(a.residual + row * a.ldr + c, n));
      });
    }
  }
}

// ---- adaptive_pool: an item is one bin ----

int64_t adaptive_pool_items(const AdaptivePoolArgs& a) { return a.n * a.out_h * a.out_w; }

void adaptive_pool_run(const AdaptivePoolArgs& a, int64_t begin, int64_t end, void*) {
  const D d;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t oy = item / a.out_w % a.out_h, ox = item % a.out_w;
    const int64_t y0 = oy * a.h / a.out_h, y1 = ((oy + 1) * a.h + a.out_h - 1) / a.out_h;
    const int64_t x0 = ox * a.w / a.out_w, x1 = ((ox + 1) * a.w + a.out_w - 1) / a.out_w;
    const float* origin = a.x + item / (a.out_h * a.out_w) * a.h * a.w * a.ldx;
    const V inverse = hn::Set(d, 1.0f / float((y1 - y0) * (x1 - x0)));
    map_row(a.out + item * a.ldo, a.c, [&](int64_t c, int64_t n) HWY_ATTR {
      V total = hn::Zero(d);  // of sums of lines: the error grows with the sides, not with the area
      for (int64_t y = y0; y < y1; ++y) {
        V line = hn::Zero(d);
        for (int64_t x = x0; x < x1; ++x) line = hn::Add(line, load_n(origin + (y * a.w + x) * a.ldx + c, n));
        total = hn::Add(total, line);
      }
      return hn::Mul(total, inverse);
    });
  }
}

// ---- merge ----

HWY_INLINE int64_t merged_rows(const MergeArgs& a) { return a.n * ((a.h + 1) / 2) * ((a.w + 1) / 2); }
int64_t merge_items(const MergeArgs& a) { return row_items(merged_rows(a), 4 * a.c); }

void merge_run(const MergeArgs& a, int64_t begin, int64_t end, void*) {
  const int64_t oh = (a.h + 1) / 2, ow = (a.w + 1) / 2, per = rows_per_item(4 * a.c);
  const int64_t last = std::min(merged_rows(a), end * per);
  for (int64_t row = begin * per; row < last; ++row) {
    const int64_t image = row / (oh * ow), y0 = row / ow % oh * 2, x0 = row % ow * 2;
    for (int64_t part = 0; part < 4; ++part) {
      const int64_t y = y0 + part % 2, x = x0 + part / 2;
      float* to = a.out + row * a.ldo + part * a.c;
      if (y < a.h && x < a.w) std::memcpy(to, a.x + ((image * a.h + y) * a.w + x) * a.ldx, size_t(a.c) * sizeof(float));
      else std::fill(to, to + a.c, 0.0f);
    }
  }
}

// ---- argmax: an item is one row of output pixels ----

int64_t argmax_items(const ArgmaxArgs& a) { return a.n * a.out_h; }

/// The first channel of the largest value(c, n); -1 where one of them is no finite number, because then no answer is
/// right.
template <typename F>
HWY_INLINE float first_of_largest(int64_t channels, F value) {
  const D d;
  V top = hn::Set(d, -HUGE_VALF), at = hn::Zero(d);  // channel numbers are exact as floats
  V number = hn::Iota(d, 0.0f);
  const V step = hn::Set(d, float(kLanes));
  for (int64_t c = 0; c < channels; c += kLanes, number = hn::Add(number, step)) {
    V v = value(c, channels - c);  // zero in the lanes past the channels
    if (!hn::AllTrue(d, hn::Le(hn::Abs(v), hn::Set(d, FLT_MAX)))) return -1.0f;
    if (channels - c < kLanes) v = hn::IfThenElse(hn::FirstN(d, size_t(channels - c)), v, hn::Set(d, -HUGE_VALF));
    const auto better = hn::Gt(v, top);
    top = hn::IfThenElse(better, v, top);
    at = hn::IfThenElse(better, number, at);
  }
  const V best = hn::Set(d, max_lanes(top));
  const V far = hn::Set(d, FLT_MAX);
  return hn::GetLane(hn::MinOfLanes(d, hn::IfThenElse(hn::Eq(top, best), at, far)));
}

HWY_INLINE bool same_size(const ArgmaxArgs& a) {
  return a.h == a.mid_h && a.w == a.mid_w && a.h == a.out_h && a.w == a.out_w;
}
/// Floats from one pixel to the next in a row that was put together: whole vectors.
HWY_INLINE int64_t pixel_floats(const ArgmaxArgs& a) { return (a.c + kLanes - 1) / kLanes * kLanes; }
/// Of the scores' width, whatever size the map has: it may be chosen when the rest is planned.
size_t argmax_scratch(const ArgmaxArgs& a) { return size_t(a.w * pixel_floats(a)) * sizeof(float); }

/// The row of scores that taps say, as whole vectors: zeros past the channels.
HWY_INLINE void scores_row(const ArgmaxArgs& a, const float* origin, const ResizeTaps& ty, float* row) {
  const D d;
  const int64_t each = pixel_floats(a);
  for (int64_t x = 0; x < a.w; ++x)
    for (int64_t c = 0; c < a.c; c += kLanes) {
      const float* from = origin + x * a.ldx + c;
      V sum = hn::Mul(hn::Set(d, ty.weight[0]), load_n(from + ty.at[0] * a.w * a.ldx, a.c - c));
      for (int k = 1; k < ty.count; ++k)
        sum = hn::MulAdd(hn::Set(d, ty.weight[k]), load_n(from + ty.at[k] * a.w * a.ldx, a.c - c), sum);
      hn::Store(sum, d, row + x * each + c);
    }
}

template <int N>
HWY_INLINE float class_of(const float* row, int64_t each, const ResizeTaps& tx, int64_t channels) {
  const D d;
  return first_of_largest(channels, [&](int64_t c, int64_t) HWY_ATTR {
    V sum = hn::Mul(hn::Set(d, tx.weight[0]), hn::Load(d, row + tx.at[0] * each + c));
    for (int k = 1; k < N; ++k) sum = hn::MulAdd(hn::Set(d, tx.weight[k]), hn::Load(d, row + tx.at[k] * each + c), sum);
    return sum;
  });
}

void argmax_run(const ArgmaxArgs& a, int64_t begin, int64_t end, void* scratch) {
  const bool same = same_size(a);
  float* row = static_cast<float*>(scratch);
  const int64_t each = pixel_floats(a);
  for (int64_t item = begin; item < end; ++item) {
    if (!same)
      scores_row(a, a.x + item / a.out_h * a.h * a.w * a.ldx, bilinear_through(a.h, a.mid_h, a.out_h, item % a.out_h),
                 row);
    for (int64_t x = 0; x < a.out_w; ++x) {
      float* out = a.out + (item * a.out_w + x) * a.ldo;
      if (same) {
        const float* from = a.x + (item * a.w + x) * a.ldx;
        out[0] = first_of_largest(a.c, [&](int64_t c, int64_t n) HWY_ATTR { return load_n(from + c, n); });
      } else {
        const ResizeTaps tx = bilinear_through(a.w, a.mid_w, a.out_w, x);
        out[0] = tx.count == 1   ? class_of<1>(row, each, tx, a.c)
                 : tx.count == 2 ? class_of<2>(row, each, tx, a.c)
                 : tx.count == 3 ? class_of<3>(row, each, tx, a.c)
                                 : class_of<4>(row, each, tx, a.c);
      }
      if (a.ldo > 1) out[1] = out[2] = out[3] = 0.0f;
    }
  }
}

}  // namespace

#define VIREO_MAPS_KERNEL(name, Args) \
  Kernel<Args> name##_kernel() { return {&name##_items, &no_scratch<Args>, &name##_run}; }
VIREO_MAPS_KERNEL(resize, ResizeArgs)
VIREO_MAPS_KERNEL(adaptive_pool, AdaptivePoolArgs)
VIREO_MAPS_KERNEL(merge, MergeArgs)
#undef VIREO_MAPS_KERNEL
Kernel<ArgmaxArgs> argmax_kernel() { return {&argmax_items, &argmax_scratch, &argmax_run}; }

}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
