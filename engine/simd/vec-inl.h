// Vector helpers and elementary functions, compiled once per instruction set (see targets.h).
#if defined(VIREO_SIMD_VEC_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VIREO_SIMD_VEC_INL_H
#undef VIREO_SIMD_VEC_INL_H
#else
#define VIREO_SIMD_VEC_INL_H
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include <hwy/highway.h>

#include "simd/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr int64_t kLanes = int64_t(hn::MaxLanes(D()));

HWY_INLINE int64_t pad4(int64_t c) { return (c + 3) / 4 * 4; }

/// The first n lanes from p, zero in the others; touches n floats only.
HWY_INLINE V load_n(const float* p, int64_t n) {
  const D d;
  if (n >= kLanes) return hn::LoadU(d, p);
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  return hn::MaskedLoad(hn::FirstN(d, size_t(n)), d, p);
#else
  HWY_ALIGN float t[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) t[i] = p[i];
  return hn::Load(d, t);
#endif
}

/// Writes the first n lanes only.
HWY_INLINE void store_n(V v, float* p, int64_t n) {
  const D d;
  if (n >= kLanes) return hn::StoreU(v, d, p);
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  hn::BlendedStore(v, hn::FirstN(d, size_t(n)), d, p);
#else
  HWY_ALIGN float t[kLanes];
  hn::Store(v, d, t);
  for (int64_t i = 0; i < n; ++i) p[i] = t[i];
#endif
}

/// out[c] = f(c, lanes) for columns [0, cols), then zeros up to round_up(cols, 4).
template <typename F>
HWY_INLINE void map_row(float* out, int64_t cols, F f) {
  const D d;
  int64_t c = 0;
  for (; c + kLanes <= cols; c += kLanes) hn::StoreU(f(c, kLanes), d, out + c);
  if (c < cols) {
    const V v = f(c, cols - c);
    store_n(hn::IfThenElseZero(hn::FirstN(d, size_t(cols - c)), v), out + c, std::min(kLanes, pad4(cols) - c));
  }
  if (kLanes < 4) {
    for (c = cols; c < pad4(cols); ++c) out[c] = 0.0f;
  }
}

HWY_INLINE float sum_lanes(V v) { return hn::GetLane(hn::SumOfLanes(D(), v)); }
HWY_INLINE float max_lanes(V v) { return hn::GetLane(hn::MaxOfLanes(D(), v)); }

/// e^x within 2 ulp; 0 below -87 (1.6e-38), +inf above 88.7228, NaN stays NaN. Cephes expf's reduction and polynomial.
HWY_INLINE V exp_v(V x) {
  const D d;
  const hn::RebindToSigned<D> di;
  // Adding 1.5 * 2^23 rounds to an integer n and leaves it in the low bits, without a conversion.
  const V magic = hn::Set(d, 12582912.0f);
  const V t = hn::MulAdd(x, hn::Set(d, 1.44269504088896341f), magic);
  const V n = hn::Sub(t, magic);
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  V p = hn::Set(d, 1.9875691500e-4f);
  p = hn::MulAdd(p, r, hn::Set(d, 1.3981999507e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1f));
  p = hn::Add(hn::MulAdd(p, hn::Mul(r, r), r), hn::Set(d, 1.0f));
  // 2 * 2^(n-1): n reaches 128, whose power of two alone would not fit.
  const V scale = hn::BitCast(d, hn::Add(hn::ShiftLeft<23>(hn::BitCast(di, t)), hn::Set(di, 126 << 23)));
  p = hn::Mul(hn::Add(p, p), scale);
  p = hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.0f)), p);
  return hn::IfThenElse(hn::Gt(x, hn::Set(d, 88.7228317f)), hn::BitCast(d, hn::Set(di, 0x7f800000)), p);
}

constexpr float kLog2E = 1.44269504088896341f;

/// 2^t for -126 <= t <= 127, 2e-7 relative; NaN stays NaN. Cephes exp2f's polynomial, its terms in pairs: the loops
/// that end a product are short, and wait for the longest chain rather than for the number of operations.
HWY_INLINE V exp2_within(V t) {
  const D d;
  const hn::RebindToSigned<D> di;
  const V magic = hn::Set(d, 12582912.0f);  // 1.5 * 2^23: rounds to an integer, left in the low bits
  const V shifted = hn::Add(t, magic);
  const V f = hn::Sub(t, hn::Sub(shifted, magic));
  const V f2 = hn::Mul(f, f);
  const V p56 = hn::MulAdd(hn::Set(d, 1.535336188319500e-4f), f, hn::Set(d, 1.339887440266574e-3f));
  const V p34 = hn::MulAdd(hn::Set(d, 9.618437357674640e-3f), f, hn::Set(d, 5.550332471162809e-2f));
  const V p12 = hn::MulAdd(hn::Set(d, 2.402264791363012e-1f), f, hn::Set(d, 6.931472028550421e-1f));
  const V p = hn::MulAdd(hn::MulAdd(hn::MulAdd(p56, f2, p34), f2, p12), f, hn::Set(d, 1.0f));
  return hn::Mul(p, hn::BitCast(d, hn::Add(hn::ShiftLeft<23>(hn::BitCast(di, shifted)), hn::Set(di, 127 << 23))));
}

/// gelu(x) = max(x, 0) - a/2 erfc(a/sqrt 2), a = |x|: absolute error below 2.5e-7 (relative above 1), NaN stays NaN.
/// (erfc(a/sqrt 2) / 2)^(1/4) on [0, 5.6] is our own minimax fit of degree 9 in 2a/5.6 - 1 (Lawson iteration on 4000
/// Chebyshev points, weighted for the error of gelu: 5e-8 before rounding). The fourth power keeps the tail free of
/// cancellation; x/2 (1 + erf) would lose it.
HWY_INLINE V gelu_v(V x) {
  const D d;
  constexpr float kRange = 5.6f;  // the tail is 6e-8 there
  constexpr float kC[10] = {0.224829763f,  -0.487538427f, 0.325309306f,   0.0512827672f,   -0.160390317f,
                            0.0383427255f, 0.0424753949f, -0.0204506032f, -0.00779518392f, 0.00189725473f};
  const V a = hn::Min(hn::Abs(x), hn::Set(d, kRange));
  const V s = hn::MulAdd(a, hn::Set(d, 2.0f / kRange), hn::Set(d, -1.0f));
  V h = hn::Set(d, kC[9]);
  for (int i = 8; i >= 0; --i) h = hn::MulAdd(h, s, hn::Set(d, kC[i]));
  h = hn::Mul(h, h);
  const V positive = hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);  // NaN stays
  const V y = hn::NegMulAdd(a, hn::Mul(h, h), positive);
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -kRange)), y);
}

/// tanh(x) within a few ulp: Cephes tanhf (polynomial below 0.625, through e^2x above).
HWY_INLINE V tanh_v(V x) {
  const D d;
  const V z = hn::Mul(x, x);
  V p = hn::Set(d, -5.70498872745e-3f);
  p = hn::MulAdd(p, z, hn::Set(d, 2.06390887954e-2f));
  p = hn::MulAdd(p, z, hn::Set(d, -5.37397155531e-2f));
  p = hn::MulAdd(p, z, hn::Set(d, 1.33314422036e-1f));
  p = hn::MulAdd(p, z, hn::Set(d, -3.33332819422e-1f));
  p = hn::MulAdd(hn::Mul(p, z), x, x);
  const V one = hn::Set(d, 1.0f);
  const V a = hn::Abs(x);
  const V big = hn::Sub(one, hn::Div(hn::Set(d, 2.0f), hn::Add(exp_v(hn::Add(a, a)), one)));
  return hn::IfThenElse(hn::Lt(a, hn::Set(d, 0.625f)), p, hn::CopySign(big, x));
}

/// x / (1 + e^-g): the sigmoid-weighted x, 0 where g is below -88. Where g is NaN x must be too: the bounds may drop
/// it.
HWY_INLINE V gate(V x, V g) {
  const D d;
  const V t = hn::Min(hn::Max(hn::Mul(g, hn::Set(d, -kLog2E)), hn::Set(d, -126.0f)), hn::Set(d, 127.0f));
  const V y = hn::Div(x, hn::Add(hn::Set(d, 1.0f), exp2_within(t)));
  return hn::IfThenZeroElse(hn::Lt(g, hn::Set(d, -88.0f)), y);
}

template <Act A>
HWY_INLINE V act_v(V x) {
  const D d;
  if constexpr (A == Act::kGeluErf) {
    return gelu_v(x);
  } else if constexpr (A == Act::kGeluTanh) {
    // x/2 (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3)
    constexpr float kTwice = 2.0f * 0.7978845608f;
    const V c = hn::MulAdd(hn::Mul(x, x), hn::Set(d, kTwice * 0.044715f), hn::Set(d, kTwice));
    return gate(x, hn::Mul(x, c));
  } else if constexpr (A == Act::kSilu) {
    return gate(x, x);
  } else if constexpr (A == Act::kRelu) {
    return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);  // unlike max(), passes NaN on every target
  } else if constexpr (A == Act::kTanh) {
    return tanh_v(x);
  } else if constexpr (A == Act::kHardswish) {
    // The factor is at most 6 * (1/6) = 1; a NaN that min() drops comes back through x.
    const V factor = hn::Mul(hn::Min(hn::Add(x, hn::Set(d, 3.0f)), hn::Set(d, 6.0f)), hn::Set(d, 1.0f / 6.0f));
    return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -3.0f)), hn::Mul(x, factor));
  } else {
    return x;
  }
}

template <Act A>
struct ActTag {
  static constexpr Act value = A;
};

/// Calls f(ActTag<a>()): hoists the choice of activation out of loops.
template <typename F>
HWY_INLINE void with_act(Act a, F f) {
  switch (a) {
    case Act::kNone: return f(ActTag<Act::kNone>());
    case Act::kGeluErf: return f(ActTag<Act::kGeluErf>());
    case Act::kGeluTanh: return f(ActTag<Act::kGeluTanh>());
    case Act::kSilu: return f(ActTag<Act::kSilu>());
    case Act::kRelu: return f(ActTag<Act::kRelu>());
    case Act::kTanh: return f(ActTag<Act::kTanh>());
    case Act::kHardswish: return f(ActTag<Act::kHardswish>());
  }
}

/// Work items of row kernels: blocks of rows of about this many floats, a few microseconds each.
constexpr int64_t kItemFloats = 8192;
HWY_INLINE int64_t rows_per_item(int64_t cols) {
  return std::max<int64_t>(1, kItemFloats / std::max<int64_t>(cols, 1));
}
HWY_INLINE int64_t row_items(int64_t rows, int64_t cols) {
  const int64_t per = rows_per_item(cols);
  return (rows + per - 1) / per;
}

template <typename Args>
size_t no_scratch(const Args&) {
  return 0;
}

}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
