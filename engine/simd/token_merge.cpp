// Token merging: the best partner of every other token, and rows that become one.
#include "simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/token_merge.cpp"
#include <hwy/foreach_target.h>

#include <cmath>

#include "simd/gemm_core-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {

namespace {

HWY_INLINE int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ---- token_match: an item is a part of an image's even tokens; each packs the odd ones anew, which is little beside
// their products ----

constexpr int64_t kPartRows = 48;

struct MatchPlan {
  int64_t even, odd, parts;
  int64_t dims;   // of a row, to whole cache lines
  int64_t odds;   // to whole panels
  int64_t score;  // from one row of scores to the next
};
HWY_INLINE MatchPlan match_plan(const TokenMatchArgs& a) {
  const int64_t even = up(a.tokens, 2), odd = a.tokens / 2, odds = up(std::max<int64_t>(1, odd), kPanel) * kPanel;
  return {even, odd, std::max<int64_t>(1, up(even, kPartRows)), up(a.dim, 16) * 16, odds, odds + 16};
}

int64_t token_match_items(const TokenMatchArgs& a) { return a.tokens <= 0 ? 0 : a.batch * match_plan(a).parts; }

size_t token_match_scratch(const TokenMatchArgs& a) {
  const MatchPlan p = match_plan(a);
  return size_t(p.dims + p.odds * a.dim + kPairBlock * (p.dims + p.score) + 64) * sizeof(float);
}

/// The mean of a token's keys over the heads, divided by its norm.
HWY_INLINE void unit_key(const TokenMatchArgs& a, int64_t row, float* to) {
  const D d;
  const float* x = a.keys + row * a.ld;
  V squares = hn::Zero(d);
  for (int64_t c = 0; c < a.dim; c += kLanes) {
    V sum = load_n(x + c, a.dim - c);
    for (int64_t h = 1; h < a.heads; ++h) sum = hn::Add(sum, load_n(x + h * a.dim + c, a.dim - c));
    hn::StoreU(sum, d, to + c);
    squares = hn::MulAdd(sum, sum, squares);
  }
  const V inverse = hn::Set(d, 1.0f / std::max(std::sqrt(sum_lanes(squares)), 1e-12f));
  for (int64_t c = 0; c < a.dim; c += kLanes) hn::StoreU(hn::Mul(inverse, hn::LoadU(d, to + c)), d, to + c);
}

/// The largest of n scores and where it first is.
HWY_INLINE float first_largest(float* s, int64_t first, int64_t n, int64_t* where) {
  const D d;
  const V none = hn::Set(d, kNoCosine);
  V top = hn::Set(d, kNeverMerged);
  for (int64_t j = 0; j < first; ++j) s[j] = kNeverMerged;
  for (int64_t j = 0; j < n; j += kLanes) {
    V x = hn::LoadU(d, s + j);
    x = hn::IfThenElse(hn::Eq(x, x), x, none);
    if (n - j < kLanes) x = hn::IfThenElse(hn::FirstN(d, size_t(n - j)), x, hn::Set(d, kNeverMerged));
    hn::StoreU(x, d, s + j);
    top = hn::Max(top, x);
  }
  const float best = max_lanes(top);
  *where = 0;
  for (int64_t j = 0; j < n; j += kLanes) {
    const intptr_t at = hn::FindFirstTrue(d, hn::Eq(hn::LoadU(d, s + j), hn::Set(d, best)));
    if (at < 0) continue;
    *where = j + at;
    break;
  }
  return best;
}

void token_match_run(const TokenMatchArgs& a, int64_t begin, int64_t end, void* scratch) {
  const MatchPlan p = match_plan(a);
  float* const unit = static_cast<float*>(scratch);
  float* const packed = unit + p.dims;
  float* const rows = packed + p.odds * a.dim;
  float* const scores = rows + kPairBlock * p.dims;
  int64_t packed_image = -1;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t b = item / p.parts, part = item % p.parts, token0 = b * a.tokens;
    if (b != packed_image) {
      std::fill(packed, packed + p.odds * a.dim, 0.0f);
      for (int64_t j = 0; j < p.odd; ++j) {
        unit_key(a, token0 + 2 * j + 1, unit);
        float* to = packed + j / kPanel * kPanel * a.dim + j % kPanel;
        for (int64_t c = 0; c < a.dim; ++c) to[c * kPanel] = unit[c];
      }
      packed_image = b;
    }
    const int64_t last = std::min(p.even, (part + 1) * kPartRows);
    for (int64_t i0 = part * kPartRows; i0 < last; i0 += kPairBlock) {
      const int64_t here = std::min<int64_t>(kPairBlock, last - i0);
      for (int64_t r = 0; r < here; ++r) unit_key(a, token0 + 2 * (i0 + r), rows + r * p.dims);
      for (int64_t j = 0; j < p.odds; j += kPanel) {
        const float* keys = packed + j * a.dim;
        if (kPairs && j + kPanel < p.odds) {
          panel_pair(here, rows, p.dims, keys, keys + kPanel * a.dim, a.dim, scores + j, scores + j + kPanel, p.score,
                     false);
          j += kPanel;
        } else {
          // As many rows as the registers hold.
          for (int64_t r = 0; r < here; r += kMaxRows)
            panel(std::min<int64_t>(kMaxRows, here - r), rows + r * p.dims, p.dims, keys, kPanel, a.dim,
                  scores + r * p.score + j, p.score, kPanel, false);
        }
      }
      for (int64_t r = 0; r < here; ++r) {
        float* out = a.out + (b * p.even + i0 + r) * a.ldo;
        int64_t where = 0;
        const float best = p.odd == 0 ? kNeverMerged : first_largest(scores + r * p.score, a.prefix / 2, p.odd, &where);
        out[0] = 2 * (i0 + r) < a.prefix ? kNeverMerged : best;
        out[1] = float(where);
        out[2] = out[3] = 0.0f;
      }
    }
  }
}

// ---- token_merge ----

constexpr int64_t kMergeRows = 16;  // per item

int64_t token_merge_items(const TokenMergeArgs& a) { return a.batch * up(a.rows, kMergeRows); }
size_t token_merge_scratch(const TokenMergeArgs&) { return 0; }

/// The token that stands at list[i], if it is one from `least` on; -1.
HWY_INLINE int64_t token_at(const float* list, int64_t i, int64_t least, int64_t tokens) {
  return list[i] >= float(least) && list[i] < float(tokens) ? int64_t(list[i]) : -1;
}

void token_merge_run(const TokenMergeArgs& a, int64_t begin, int64_t end, void*) {
  const D d;
  const int64_t parts = up(a.rows, kMergeRows), padded = pad4(a.cols);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t b = item / parts, first = item % parts * kMergeRows;
    const float* const firsts = a.lists == nullptr ? nullptr : a.lists + 2 * b * a.ldl;
    const float* const nexts = firsts + (a.lists == nullptr ? 0 : a.ldl);
    const float* const sizes = a.log_sizes == nullptr ? nullptr : a.log_sizes + b * a.lds;
    for (int64_t j = first; j < std::min(a.rows, first + kMergeRows); ++j) {
      float* const out = a.out + (b * a.rows + j) * a.ldo;
      const auto next = [&](int64_t i) {
        if (a.lists == nullptr) return i + 1 < a.tokens ? i + 1 : -1;
        return token_at(nexts, i, i + 1, a.tokens);
      };
      int64_t i = a.lists == nullptr ? a.start : token_at(firsts, j, 0, a.tokens);
      if (i >= 0 && next(i) < 0) {
        std::memcpy(out, a.x + (b * a.tokens + i) * a.ldx, size_t(a.cols) * sizeof(float));
        for (int64_t c = a.cols; c < padded; ++c) out[c] = 0.0f;
        continue;
      }
      std::fill(out, out + padded, 0.0f);
      float total = 0.0f;
      for (; i >= 0; i = next(i)) {
        const float* const x = a.x + (b * a.tokens + i) * a.ldx;
        const float size = sizes == nullptr ? 1.0f : std::exp(sizes[i]);
        const V weight = hn::Set(d, size);
        total += size;
        for (int64_t c = 0; c < a.cols; c += kLanes) {
          const int64_t n = a.cols - c;
          store_n(hn::MulAdd(weight, load_n(x + c, n), load_n(out + c, n)), out + c, n);
        }
      }
      const V inverse = hn::Set(d, total > 0.0f ? 1.0f / total : 0.0f);
      for (int64_t c = 0; c < a.cols; c += kLanes)
        store_n(hn::Mul(inverse, load_n(out + c, a.cols - c)), out + c, a.cols - c);
    }
  }
}

}  // namespace

Kernel<TokenMatchArgs> token_match_kernel() { return {&token_match_items, &token_match_scratch, &token_match_run}; }
Kernel<TokenMergeArgs> token_merge_kernel() { return {&token_merge_items, &token_merge_scratch, &token_merge_run}; }

}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
