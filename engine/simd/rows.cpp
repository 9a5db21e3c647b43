// Kernels over rows: normalisation, element-wise functions, reductions, copies, fp16 conversion.
#include "simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/rows.cpp"
#include <hwy/foreach_target.h>

#include <cfloat>
#include <cmath>

#include "base/half.h"
#include "simd/vec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {

namespace {

/// Calls f(row) for the rows of work items [begin, end).
template <typename F>
HWY_INLINE void for_rows(int64_t rows, int64_t cols, int64_t begin, int64_t end, F f) {
  const int64_t per = rows_per_item(cols), last = std::min(rows, end * per);
  for (int64_t r = begin * per; r < last; ++r) f(r);
}

/// Sum over columns of f(c, n), whose lanes past n are ignored.
template <typename F>
HWY_INLINE float sum_row(int64_t cols, F f) {
  const D d;
  V s0 = hn::Zero(d), s1 = hn::Zero(d);
  int64_t c = 0;
  for (; c + 2 * kLanes <= cols; c += 2 * kLanes) {
    s0 = hn::Add(s0, f(c, kLanes));
    s1 = hn::Add(s1, f(c + kLanes, kLanes));
  }
  for (; c + kLanes <= cols; c += kLanes) s0 = hn::Add(s0, f(c, kLanes));
  if (c < cols) s1 = hn::Add(s1, hn::IfThenElseZero(hn::FirstN(d, size_t(cols - c)), f(c, cols - c)));
  return sum_lanes(hn::Add(s0, s1));
}

// ---- layer_norm ----

int64_t layer_norm_items(const LayerNormArgs& a) { return row_items(a.rows, a.cols); }

void layer_norm_run(const LayerNormArgs& a, int64_t begin, int64_t end, void*) {
  const D d;
  for_rows(a.rows, a.cols, begin, end, [&](int64_t row) HWY_ATTR {
    const float* x = a.x + row * a.ldx;
    const float mean = sum_row(a.cols, [&](int64_t c, int64_t n) HWY_ATTR { return load_n(x + c, n); }) / float(a.cols);
    const V vm = hn::Set(d, mean);
    const float var = sum_row(a.cols,
                              [&](int64_t c, int64_t n) HWY_ATTR {
                                const V t = hn::Sub(load_n(x + c, n), vm);
                                return hn::Mul(t, t);
                              }) /
                      float(a.cols);
    const V inverse = hn::Set(d, 1.0f / std::sqrt(var + a.eps));
    map_row(a.out + row * a.ldo, a.cols, [&](int64_t c, int64_t n) HWY_ATTR {
      V y = hn::Mul(hn::Sub(load_n(x + c, n), vm), inverse);
      if (a.gamma != nullptr) y = hn::Mul(y, load_n(a.gamma + c, n));
      if (a.beta != nullptr) y = hn::Add(y, load_n(a.beta + c, n));
      if (a.residual != nullptr) y = hn::Add(y, load_n(a.residual + row * a.ldr + c, n));
      return y;
    });
  });
}

// ---- element-wise ----

int64_t unary_items(const UnaryArgs& a) { return row_items(a.rows, a.cols); }

void unary_run(const UnaryArgs& a, int64_t begin, int64_t end, void*) {
  with_act(a.act, [&](auto tag) HWY_ATTR {
    for_rows(a.rows, a.cols, begin, end, [&](int64_t row) HWY_ATTR {
      const float* x = a.x + row * a.ldx;
      map_row(a.out + row * a.ldo, a.cols,
              [&](int64_t c, int64_t n) HWY_ATTR { return act_v<decltype(tag)::value>(load_n(x + c, n)); });
    });
  });
}

int64_t add_items(const AddArgs& a) { return row_items(a.rows, a.cols); }

void add_run(const AddArgs& a, int64_t begin, int64_t end, void*) {
  for_rows(a.rows, a.cols, begin, end, [&](int64_t row) HWY_ATTR {
    const float* x = a.a + row * a.lda;
    const float* y = a.b + row % a.b_rows * a.ldb;
    map_row(a.out + row * a.ldo, a.cols,
            [&](int64_t c, int64_t n) HWY_ATTR { return hn::Add(load_n(x + c, n), load_n(y + c, n)); });
  });
}

int64_t affine_items(const AffineArgs& a) { return row_items(a.rows, a.cols); }

void affine_run(const AffineArgs& a, int64_t begin, int64_t end, void*) {
  for_rows(a.rows, a.cols, begin, end, [&](int64_t row) HWY_ATTR {
    const float* x = a.x + row * a.ldx;
    map_row(a.out + row * a.ldo, a.cols, [&](int64_t c, int64_t n) HWY_ATTR {
      V y = load_n(x + c, n);
      if (a.scale != nullptr) y = hn::Mul(y, load_n(a.scale + c, n));
      if (a.shift != nullptr) y = hn::Add(y, load_n(a.shift + c, n));
      return y;
    });
  });
}

int64_t swiglu_items(const SwigluArgs& a) { return row_items(a.rows, a.hidden); }

void swiglu_run(const SwigluArgs& a, int64_t begin, int64_t end, void*) {
  for_rows(a.rows, a.hidden, begin, end, [&](int64_t row) HWY_ATTR {
    const float* x = a.x + row * a.ldx;
    map_row(a.out + row * a.ldo, a.hidden, [&](int64_t c, int64_t n) HWY_ATTR {
      return hn::Mul(act_v<Act::kSilu>(load_n(x + c, n)), load_n(x + a.hidden + c, n));
    });
  });
}

// ---- head_norm ----

int64_t head_norm_items(const HeadNormArgs& a) { return row_items(a.rows, 3 * a.heads * a.head_dim); }

void head_norm_run(const HeadNormArgs& a, int64_t begin, int64_t end, void*) {
  const D d;
  const int64_t width = a.heads * a.head_dim;
  for_rows(a.rows, 3 * width, begin, end, [&](int64_t row) HWY_ATTR {
    const float* x = a.x + row * a.ldx;
    float* out = a.out + row * a.ldo;
    for (int64_t slice = 0; slice < 2 * a.heads; ++slice) {  // the heads of q, then those of k
      const float* from = x + slice * a.head_dim;
      const float squares = sum_row(a.head_dim, [&](int64_t c, int64_t n) HWY_ATTR {
        const V v = load_n(from + c, n);
        return hn::Mul(v, v);
      });
      const float norm = std::max(std::sqrt(squares), 1e-12f);
      const V factor = hn::Set(d, (slice < a.heads ? a.scale[slice] : 1.0f) / norm);
      for (int64_t c = 0; c < a.head_dim; c += kLanes)
        store_n(hn::Mul(factor, load_n(from + c, a.head_dim - c)), out + slice * a.head_dim + c, a.head_dim - c);
    }
    std::memcpy(out + 2 * width, x + 2 * width, size_t(width) * sizeof(float));
    for (int64_t c = 3 * width; c < pad4(3 * width); ++c) out[c] = 0.0f;
  });
}

// ---- mean over rows: an item is 64 columns of a group ----

constexpr int64_t kMeanCols = 64;
HWY_INLINE int64_t mean_parts(const MeanArgs& a) { return (a.cols + kMeanCols - 1) / kMeanCols; }
int64_t mean_items(const MeanArgs& a) { return a.groups * mean_parts(a); }

void mean_run(const MeanArgs& a, int64_t begin, int64_t end, void*) {
  const D d;
  const V inverse = hn::Set(d, 1.0f / float(a.count));
  for (int64_t item = begin; item < end; ++item) {
    const int64_t g = item / mean_parts(a), c0 = item % mean_parts(a) * kMeanCols;
    const float* x = a.x + (g * a.group_rows + a.first) * a.ldx + c0;
    map_row(a.out + g * a.ldo + c0, std::min(kMeanCols, a.cols - c0), [&](int64_t c, int64_t n) HWY_ATTR {
      // Sums of 64 rows are added to the total: the error grows with count / 64 + 64, not count.
      V total = hn::Zero(d);
      for (int64_t r0 = 0; r0 < a.count; r0 += 64) {
        V part = hn::Zero(d);
        for (int64_t r = r0; r < std::min(a.count, r0 + 64); ++r) part = hn::Add(part, load_n(x + r * a.ldx + c, n));
        total = hn::Add(total, part);
      }
      return hn::Mul(total, inverse);
    });
  }
}

// ---- copies ----

int64_t copy_items(const CopyArgs& a) { return row_items(a.groups * a.rows, a.cols + a.zero_cols); }

void copy_run(const CopyArgs& a, int64_t begin, int64_t end, void*) {
  for_rows(a.groups * a.rows, a.cols + a.zero_cols, begin, end, [&](int64_t row) {
    const int64_t g = row / a.rows, r = row % a.rows;
    float* to = a.dst + (g * a.dst_group_rows + r) * a.ldd;
    if (a.cols > 0) std::memcpy(to, a.src + (g * a.src_group_rows + r) * a.lds, size_t(a.cols) * sizeof(float));
    std::fill(to + a.cols, to + a.cols + a.zero_cols, 0.0f);
  });
}

// ---- fp16 ----

int64_t to_half_items(const ToHalfArgs& a) { return row_items(a.rows, a.cols); }

void to_half_run(const ToHalfArgs& a, int64_t begin, int64_t end, void*) {
  for_rows(a.rows, a.cols, begin, end, [&](int64_t row) HWY_ATTR {
    const float* x = a.x + row * a.ldx;
    uint16_t* out = a.out + row * a.ldo;
    int64_t c = 0;
    // Highway's own conversion flushes subnormals where the CPU has none built in; there the scalar code is used.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
    const D d;
    const hn::Rebind<hwy::float16_t, D> dh;
    for (; c + kLanes <= a.cols; c += kLanes) {
      hn::StoreU(hn::DemoteTo(dh, hn::LoadU(d, x + c)), dh, reinterpret_cast<hwy::float16_t*>(out + c));
    }
#endif
    for (; c < a.cols; ++c) out[c] = float_to_half(x[c]);
    for (; c < pad4(a.cols); ++c) out[c] = 0;
  });
}

int64_t from_half_items(const FromHalfArgs& a) { return row_items(a.rows, a.cols); }

void from_half_run(const FromHalfArgs& a, int64_t begin, int64_t end, void*) {
  for_rows(a.rows, a.cols, begin, end, [&](int64_t row) HWY_ATTR {
    const uint16_t* x = a.x + row * a.ldx;
    float* out = a.out + row * a.ldo;
    int64_t c = 0;
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
    const D d;
    const hn::Rebind<hwy::float16_t, D> dh;
    for (; c + kLanes <= a.cols; c += kLanes) {
      hn::StoreU(hn::PromoteTo(d, hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(x + c))), d, out + c);
    }
#endif
    for (; c < a.cols; ++c) out[c] = half_to_float(x[c]);
    for (; c < pad4(a.cols); ++c) out[c] = 0.0f;
  });
}

}  // namespace

#define VIREO_ROWS_KERNEL(name, Args) \
  Kernel<Args> name##_kernel() { return {&name##_items, &no_scratch<Args>, &name##_run}; }
VIREO_ROWS_KERNEL(layer_norm, LayerNormArgs)
VIREO_ROWS_KERNEL(unary, UnaryArgs)
VIREO_ROWS_KERNEL(head_norm, HeadNormArgs)
VIREO_ROWS_KERNEL(add, AddArgs)
VIREO_ROWS_KERNEL(affine, AffineArgs)
VIREO_ROWS_KERNEL(swiglu, SwigluArgs)
VIREO_ROWS_KERNEL(mean, MeanArgs)
VIREO_ROWS_KERNEL(copy, CopyArgs)
VIREO_ROWS_KERNEL(to_half, ToHalfArgs)
VIREO_ROWS_KERNEL(from_half, FromHalfArgs)
#undef VIREO_ROWS_KERNEL

}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
