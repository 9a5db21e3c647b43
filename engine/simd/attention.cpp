// Attention with online softmax: scores exist for one row block x one key block at a time.
#include "simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/attention.cpp"
#include <hwy/foreach_target.h>

#include <cfloat>
#include <cmath>

#include "simd/gemm_core-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {

namespace {

// Per key block at most: K and V of 64 dimensions take 64 KiB each, well inside L2.
constexpr int64_t kKeys = Blocking().keys;
constexpr int64_t kQueries = 256;  // per work item at most; K and V are packed anew for each item
constexpr int64_t kWantItems = 6;  // more would let more threads end together, but packing costs 5 % of a whole head
// Row blocks worked on together: a panel of K or V is read from L1 by all but the first of them.
constexpr int64_t kGroup = 4;
constexpr int64_t kScoreStride = kKeys + 16, kQueryStride = 128 + 16;  // odd numbers of cache lines, see kStride

HWY_INLINE int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Work items per head, and the scratch areas in floats.
struct Plan {
  int64_t splits;   // query ranges per (batch, head)
  int64_t queries;  // of the largest
  int64_t dims;     // of a head's queries and keys, rounded up to whole panels
  int64_t values;   // of its values, likewise
  int64_t block;    // keys of a block, but for the last
  int64_t keys;     // of the largest key block, rounded up likewise
  int64_t k_floats() const { return keys * dims; }
  int64_t v_floats() const { return keys * values; }
  int64_t o_floats() const { return queries * values; }
};

HWY_INLINE Plan make_plan(const AttentionArgs& a) {
  Plan p{};
  const int64_t heads = std::max<int64_t>(1, a.batch * a.heads);
  p.splits = std::max(up(a.tokens, kQueries), std::min(up(kWantItems, heads), up(a.tokens, 2 * kPairBlock)));
  p.splits = std::max<int64_t>(1, p.splits);
  p.queries = up(a.tokens, p.splits);
  p.dims = up(a.head_dim, kPanel) * kPanel;
  p.values = up(a.values(), kPanel) * kPanel;
  p.block = blocking(a.caches).keys;
  p.keys = up(std::min(p.block, a.kv_tokens), kPanel) * kPanel;
  return p;
}

/// K rows [count][dim] with stride ld, transposed into panels of 32 keys: to[key / 32][dim][32]; missing keys are zero.
HWY_INLINE void pack_keys(const float* k, int64_t ld, int64_t count, int64_t dim, float* to) {
  for (int64_t j0 = 0; j0 < count; j0 += kPanel, to += dim * kPanel) {
    const int64_t here = std::min(kPanel, count - j0);
    int64_t j = 0;
#if HWY_TARGET != HWY_SCALAR
    const hn::CappedTag<float, 4> d4;  // 4 x 4 blocks by 128-bit shuffles, on every target
    for (; j + 4 <= here; j += 4) {
      const float* row = k + (j0 + j) * ld;
      int64_t i = 0;
      for (; i + 4 <= dim; i += 4) {
        const auto r0 = hn::LoadU(d4, row + i), r1 = hn::LoadU(d4, row + ld + i);
        const auto r2 = hn::LoadU(d4, row + 2 * ld + i), r3 = hn::LoadU(d4, row + 3 * ld + i);
        const auto a = hn::InterleaveLower(d4, r0, r1), b = hn::InterleaveUpper(d4, r0, r1);
        const auto c = hn::InterleaveLower(d4, r2, r3), e = hn::InterleaveUpper(d4, r2, r3);
        float* t = to + i * kPanel + j;
        hn::StoreU(hn::ConcatLowerLower(d4, c, a), d4, t);
        hn::StoreU(hn::ConcatUpperUpper(d4, c, a), d4, t + kPanel);
        hn::StoreU(hn::ConcatLowerLower(d4, e, b), d4, t + 2 * kPanel);
        hn::StoreU(hn::ConcatUpperUpper(d4, e, b), d4, t + 3 * kPanel);
      }
      for (; i < dim; ++i) {
        for (int64_t q = 0; q < 4; ++q) to[i * kPanel + j + q] = row[q * ld + i];
      }
    }
#endif
    for (; j < here; ++j) {
      for (int64_t i = 0; i < dim; ++i) to[i * kPanel + j] = k[(j0 + j) * ld + i];
    }
    for (; j < kPanel; ++j) {
      for (int64_t i = 0; i < dim; ++i) to[i * kPanel + j] = 0.0f;
    }
  }
}

/// V rows into column panels to[dim / 32][key][32], `room` keys apart; missing columns are zero.
HWY_INLINE void pack_values(const float* v, int64_t ld, int64_t count, int64_t dim, int64_t room, float* to) {
  const D d;
  for (int64_t c0 = 0; c0 < dim; c0 += kPanel, to += room * kPanel) {
    const int64_t here = std::min(kPanel, dim - c0);
    for (int64_t j = 0; j < count; ++j) {
      for (int64_t i = 0; i < kPanel; i += kLanes) {
        const V x = i + kLanes <= here ? hn::LoadU(d, v + j * ld + c0 + i)
                    : i < here         ? load_n(v + j * ld + c0 + i, here - i)
                                       : hn::Zero(d);
        hn::Store(x, d, to + j * kPanel + i);
      }
    }
  }
}

// Scores are kept in units of log 2: powers of two need no range reduction.
/// 2^t for t <= 0, 0 below -126, NaN stays NaN.
HWY_INLINE V exp2_v(V t) { return hn::IfThenZeroElse(hn::Lt(t, hn::Set(D(), -126.0f)), exp2_within(t)); }

/// One row of scores: adds bias (if any), updates the running maximum and sum, leaves 2^(score - maximum). Returns the
/// factor by which what was accumulated before shrinks; nothing was before the `first` block.
HWY_INLINE float soften(float* s, const float* bias, int64_t keys, bool first, float* row_max, float* row_sum) {
  const D d;
  const int64_t whole = keys / kLanes * kLanes, rest = keys - whole;
  const V lowest = hn::Set(d, -FLT_MAX), log2e = hn::Set(d, kLog2E);
  V m0 = lowest, m1 = lowest;
  int64_t j = 0;
  if (bias != nullptr) {
    for (; j < whole; j += kLanes) {
      const V x = hn::MulAdd(hn::LoadU(d, bias + j), log2e, hn::LoadU(d, s + j));
      hn::StoreU(x, d, s + j);
      m0 = hn::Max(m0, x);
    }
    if (rest != 0) hn::StoreU(hn::MulAdd(load_n(bias + j, rest), log2e, hn::LoadU(d, s + j)), d, s + j);
  } else {
    for (; j + 2 * kLanes <= whole; j += 2 * kLanes) {
      m0 = hn::Max(m0, hn::LoadU(d, s + j));
      m1 = hn::Max(m1, hn::LoadU(d, s + j + kLanes));
    }
    for (; j < whole; j += kLanes) m0 = hn::Max(m0, hn::LoadU(d, s + j));
  }
  const auto keep = hn::FirstN(d, size_t(rest));
  if (rest != 0) m1 = hn::Max(m1, hn::IfThenElse(keep, hn::LoadU(d, s + whole), lowest));
  const float old_max = *row_max;
  // A NaN score may or may not come through max(); it comes through the power into the sum in any case.
  const float new_max = std::max(old_max, max_lanes(hn::Max(m0, m1)));
  const V vm = hn::Set(d, new_max);
  V sum0 = hn::Zero(d), sum1 = hn::Zero(d);
  j = 0;
  for (; j + 2 * kLanes <= whole; j += 2 * kLanes) {
    const V e0 = exp2_v(hn::Sub(hn::LoadU(d, s + j), vm));
    const V e1 = exp2_v(hn::Sub(hn::LoadU(d, s + j + kLanes), vm));
    hn::StoreU(e0, d, s + j);
    hn::StoreU(e1, d, s + j + kLanes);
    sum0 = hn::Add(sum0, e0);
    sum1 = hn::Add(sum1, e1);
  }
  for (; j < whole; j += kLanes) {
    const V e = exp2_v(hn::Sub(hn::LoadU(d, s + j), vm));
    hn::StoreU(e, d, s + j);
    sum0 = hn::Add(sum0, e);
  }
  if (rest != 0) {
    const V e = hn::IfThenElseZero(keep, exp2_v(hn::Sub(hn::LoadU(d, s + j), vm)));
    hn::StoreU(e, d, s + j);
    sum1 = hn::Add(sum1, e);
  }
  const float shrink = first || old_max == new_max ? 1.0f : std::exp2(old_max - new_max);
  *row_max = new_max;
  *row_sum = *row_sum * shrink + sum_lanes(hn::Add(sum0, sum1));
  return shrink;
}

int64_t items(const AttentionArgs& a) {
  if (a.tokens <= 0 || a.kv_tokens <= 0) return 0;
  return a.batch * a.heads * make_plan(a).splits;
}

size_t scratch_bytes(const AttentionArgs& a) {
  const Plan p = make_plan(a);
  return size_t(p.k_floats() + p.v_floats() + p.o_floats() + kGroup * kPairBlock * (kScoreStride + kQueryStride) +
                2 * pad4(p.queries) + 64) *
         sizeof(float);
}

/// Queries [q0, q1) of one head.
void run_item(const AttentionArgs& a, const Plan& p, int64_t b, int64_t h, int64_t q0, int64_t q1, float* scratch) {
  const D d;
  const int64_t dim = a.head_dim, vdim = a.values(), queries = q1 - q0, blocks = up(queries, kPairBlock);
  float* const kp = scratch;
  float* const vp = kp + p.k_floats();
  float* const o = vp + p.v_floats();
  float* const q = o + p.o_floats();
  float* const s = q + kGroup * kPairBlock * kQueryStride;
  float* const row_max = s + kGroup * kPairBlock * kScoreStride;
  float* const row_sum = row_max + pad4(p.queries);
  std::fill(row_max, row_max + queries, -FLT_MAX);
  std::fill(row_sum, row_sum + queries, 0.0f);
  const float* const keys = a.k + b * a.kv_tokens * a.ldk + h * dim;
  const float* const values = a.v + b * a.kv_tokens * a.ldv + h * vdim;
  const float* const bias =
      a.bias == nullptr ? nullptr : a.bias + b % a.bias_batch * a.bias_batch_stride + h * a.bias_head_stride;
  const V vscale = hn::Set(d, a.scale * kLog2E);
  for (int64_t j0 = 0; j0 < a.kv_tokens; j0 += p.block) {
    const int64_t count = std::min(p.block, a.kv_tokens - j0);
    const bool last = j0 + count == a.kv_tokens;
    pack_keys(keys + j0 * a.ldk, a.ldk, count, dim, kp);
    pack_values(values + j0 * a.ldv, a.ldv, count, vdim, p.keys, vp);
    for (int64_t blk = 0; blk < blocks; blk += kGroup) {
      const int64_t blk_end = std::min(blocks, blk + kGroup);
      const int64_t r0 = split(queries, blocks, blk), rows = split(queries, blocks, blk_end) - r0;
      // f(first row within the group, number of rows) for each row block
      const auto for_blocks = [&](auto f) HWY_ATTR {
        for (int64_t i = blk; i < blk_end; ++i) {
          const int64_t first = split(queries, blocks, i);
          f(first - r0, split(queries, blocks, i + 1) - first);
        }
      };
      for (int64_t r = 0; r < rows; ++r) {
        const float* from = a.q + (b * a.tokens + q0 + r0 + r) * a.ldq + h * dim;
        for (int64_t i = 0; i < dim; i += kLanes) {
          hn::StoreU(hn::Mul(vscale, load_n(from + i, dim - i)), d, q + r * kQueryStride + i);
        }
      }
      for (int64_t j = 0; j < count; j += kPanel) {
        if (kPairs && j + kPanel < count) {
          for_blocks([&](int64_t r, int64_t n) HWY_ATTR {
            float* to = s + r * kScoreStride + j;
            panel_pair(n, q + r * kQueryStride, kQueryStride, kp + j * dim, kp + (j + kPanel) * dim, dim, to,
                       to + kPanel, kScoreStride, false);
          });
          j += kPanel;
          continue;
        }
        for_blocks([&](int64_t r, int64_t n) HWY_ATTR {
          panel(n, q + r * kQueryStride, kQueryStride, kp + j * dim, kPanel, dim, s + r * kScoreStride + j,
                kScoreStride, std::min(kPanel, count - j), false);
        });
      }
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t row = r0 + r;
        const float* row_bias = bias == nullptr ? nullptr : bias + (q0 + row) * a.bias_ld + j0;
        const float shrink = soften(s + r * kScoreStride, row_bias, count, j0 == 0, row_max + row, row_sum + row);
        if (j0 != 0 && shrink != 1.0f) {
          const V vs = hn::Set(d, shrink);
          float* acc = o + row * p.values;
          for (int64_t i = 0; i < p.values; i += kLanes) hn::StoreU(hn::Mul(vs, hn::LoadU(d, acc + i)), d, acc + i);
        }
      }
      for (int64_t c = 0; c < vdim; c += kPanel) {
        if (kPairs && c + kPanel < vdim) {
          for_blocks([&](int64_t r, int64_t n) HWY_ATTR {
            float* to = o + (r0 + r) * p.values + c;
            panel_pair(n, s + r * kScoreStride, kScoreStride, vp + c * p.keys, vp + (c + kPanel) * p.keys, count, to,
                       to + kPanel, p.values, j0 != 0);
          });
          c += kPanel;
          continue;
        }
        for_blocks([&](int64_t r, int64_t n) HWY_ATTR {
          panel(n, s + r * kScoreStride, kScoreStride, vp + c * p.keys, kPanel, count, o + (r0 + r) * p.values + c,
                p.values, std::min(kPanel, vdim - c), j0 != 0);
        });
      }
      if (!last) continue;
      for (int64_t r = 0; r < rows; ++r) {
        float* out = a.out + (b * a.tokens + q0 + r0 + r) * a.ldo + h * vdim;
        const V inverse = hn::Set(d, 1.0f / row_sum[r0 + r]);
        const float* acc = o + (r0 + r) * p.values;
        for (int64_t i = 0; i < vdim; i += kLanes) {
          store_n(hn::Mul(inverse, hn::LoadU(d, acc + i)), out + i, vdim - i);
        }
        if (h + 1 == a.heads) {
          for (int64_t i = vdim * a.heads; i < pad4(vdim * a.heads); ++i) out[i - h * vdim] = 0.0f;
        }
      }
    }
  }
}

void run(const AttentionArgs& a, int64_t begin, int64_t end, void* scratch) {
  const Plan p = make_plan(a);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t part = item % p.splits, h = item / p.splits % a.heads, b = item / p.splits / a.heads;
    run_item(a, p, b, h, split(a.tokens, p.splits, part), split(a.tokens, p.splits, part + 1),
             static_cast<float*>(scratch));
  }
}

// ---- group_attention: a group's rows are gathered per head, which the two products outweigh by its number of tokens
// ----

/// The head of one group as a problem of its own on gathered rows; items() of all groups and heads count.
HWY_INLINE AttentionArgs gathered_head(const GroupAttentionArgs& g) {
  AttentionArgs a;
  a.tokens = a.kv_tokens = g.groups.tokens();
  a.heads = g.heads, a.batch = g.batch * g.groups.count(), a.head_dim = g.head_dim, a.scale = g.scale;
  a.value_dim = g.value_dim, a.caches = g.caches;
  a.ldq = a.ldk = a.ldv = a.ldo = up(std::max(g.head_dim, g.values()), 16) * 16;
  return a;
}

int64_t group_items(const GroupAttentionArgs& g) { return g.batch <= 0 ? 0 : items(gathered_head(g)); }

/// Scratch: q, k, v (the output replaces q), then the tokens' pixels and regions, then masked scores' bias, then what
/// the head's kernel needs.
HWY_INLINE int64_t gathered_floats(const GroupAttentionArgs& g) { return 3 * g.groups.tokens() * gathered_head(g).ldq; }
HWY_INLINE int64_t token_words(const GroupAttentionArgs& g) { return up(g.groups.tokens(), 16) * 16; }
HWY_INLINE int64_t mask_floats(const GroupAttentionArgs& g) {
  if (g.groups.shift_h == 0 && g.groups.shift_w == 0) return 0;
  return up(g.groups.tokens() * pad4(g.groups.tokens()), 16) * 16;  // whole cache lines
}

size_t group_scratch(const GroupAttentionArgs& g) {
  return size_t(gathered_floats(g) + 2 * token_words(g) + mask_floats(g)) * sizeof(float) +
         scratch_bytes(gathered_head(g));
}

/// A head's columns of a token; not memcpy(), whose call takes longer than so few floats.
HWY_INLINE void copy_head(const float* from, int64_t dim, float* to) {
  for (int64_t i = 0; i < dim; i += kLanes) store_n(load_n(from + i, dim - i), to + i, dim - i);
}

/// Bias and mask of queries [q0, q1) of a group whose tokens lie in these regions; false if no pair of tokens is
/// masked.
HWY_INLINE bool masked_bias(const GroupAttentionArgs& g, const int32_t* regions, int64_t h, int64_t q0, int64_t q1,
                            float* to) {
  const int64_t tokens = g.groups.tokens(), ld = pad4(tokens);
  bool any = false;
  for (int64_t t = 1; t < tokens && !any; ++t) any = regions[t] != regions[0];
  if (!any) return false;
  for (int64_t i = q0; i < q1; ++i) {
    const float* bias = g.bias == nullptr ? nullptr : g.bias + (h * tokens + i) * g.bias_ld;
    for (int64_t j = 0; j < tokens; ++j) {
      const float b = bias == nullptr ? 0.0f : bias[j];
      to[i * ld + j] = regions[j] == regions[i] ? b : b + kMaskedScore;
    }
  }
  return true;
}

void group_run(const GroupAttentionArgs& g, int64_t begin, int64_t end, void* scratch) {
  AttentionArgs a = gathered_head(g);
  const Plan p = make_plan(a);
  const int64_t tokens = a.tokens, dim = g.head_dim, vdim = g.values(), width = g.heads * vdim, ld = a.ldq,
                pixels = g.groups.h * g.groups.w;
  a.batch = a.heads = 1;
  float* const q = static_cast<float*>(scratch);
  int32_t* const pixel_of = reinterpret_cast<int32_t*>(q + gathered_floats(g));
  int32_t* const region_of = pixel_of + token_words(g);
  float* const mask = q + gathered_floats(g) + 2 * token_words(g);
  float* const rest = mask + mask_floats(g);
  a.q = a.out = q, a.k = q + tokens * ld, a.v = q + 2 * tokens * ld;
  int64_t group_before =
      -1;  // heads of a group follow each other, and finding its pixels and regions takes many divisions
  for (int64_t item = begin; item < end; ++item) {
    const int64_t part = item % p.splits, h = item / p.splits % g.heads,
                  group = item / p.splits / g.heads % g.groups.count();
    const int64_t image = item / p.splits / g.heads / g.groups.count();
    const int64_t q0 = split(tokens, p.splits, part), q1 = split(tokens, p.splits, part + 1);
    if (group != group_before) {
      for (int64_t t = 0; t < tokens; ++t)
        pixel_of[t] = int32_t(g.groups.pixel(group, t)), region_of[t] = g.groups.region(group, t);
      group_before = group;
    }
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t pixel = pixel_of[t];
      const float* from = pixel >= 0 ? g.x + (image * pixels + pixel) * g.ldx : g.pad;
      for (int64_t part3 = t >= q0 && t < q1 ? 0 : 1; part3 < 3; ++part3) {
        float* to = q + (part3 * tokens + t) * ld;
        const int64_t wide = part3 == 2 ? vdim : dim;
        if (from == nullptr) std::fill(to, to + wide, 0.0f);
        else copy_head(from + part3 * g.heads * dim + h * wide, wide, to);
      }
    }
    if (mask_floats(g) != 0 && masked_bias(g, region_of, h, q0, q1, mask)) {
      a.bias = mask, a.bias_ld = pad4(tokens);
    } else {
      a.bias = g.bias == nullptr ? nullptr : g.bias + h * tokens * g.bias_ld, a.bias_ld = g.bias_ld;
    }
    run_item(a, p, 0, 0, q0, q1, rest);
    for (int64_t t = q0; t < q1; ++t) {
      const int64_t pixel = pixel_of[t];
      if (pixel < 0) continue;
      float* out = g.out + (image * pixels + pixel) * g.ldo;
      copy_head(q + t * ld, vdim, out + h * vdim);
      if (h + 1 == g.heads) std::fill(out + width, out + pad4(width), 0.0f);
    }
  }
}

}  // namespace

Kernel<AttentionArgs> attention_kernel() { return {&items, &scratch_bytes, &run}; }
Kernel<GroupAttentionArgs> group_attention_kernel() { return {&group_items, &group_scratch, &group_run}; }

}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
