// The loops around the micro-kernel, over any source of A's rows; compiled once per instruction set.
#if defined(VIREO_SIMD_GEMM_RUN_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VIREO_SIMD_GEMM_RUN_INL_H
#undef VIREO_SIMD_GEMM_RUN_INL_H
#else
#define VIREO_SIMD_GEMM_RUN_INL_H
#endif

#include "simd/gemm_core-inl.h"
#include "simd/gemm_plan.h"

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {

/// Expands k rows of an fp16 or int8 panel to fp32 (scales come in the epilogue, after the K loop).
HWY_INLINE void expand(const void* b, DType type, int64_t first, int64_t k, float* out) {
  const D d;
  const int64_t count = k * kPanel;
  if (type == DType::kF16) {
    const hn::Rebind<hwy::float16_t, D> dh;
    const auto* p = reinterpret_cast<const hwy::float16_t*>(b) + first;
    for (int64_t i = 0; i < count; i += kLanes) hn::Store(hn::PromoteTo(d, hn::LoadU(dh, p + i)), d, out + i);
  } else {
    const hn::RebindToSigned<D> di;
    const hn::Rebind<int8_t, D> d8;
    const int8_t* p = static_cast<const int8_t*>(b) + first;
    for (int64_t i = 0; i < count; i += kLanes) {
      hn::Store(hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, p + i))), d, out + i);
    }
  }
}

/// Expands columns [k0, k0 + count) of panel `pn` whose codes have their scales by groups of columns, to the numbers
/// themselves.
HWY_INLINE void expand_groups(const GemmArgs& g, int64_t pn, int64_t k0, int64_t count, float* out) {
  const D d;
  const hn::RebindToSigned<D> di;
  const hn::Rebind<int8_t, D> d8;
  constexpr int64_t kHalf = kPanel / 2;
  const int64_t row_bytes = g.b_nibbles ? kHalf : kPanel, ld = (g.n + kPanel - 1) / kPanel * kPanel;
  const auto* codes = static_cast<const int8_t*>(g.b) + (pn * g.k + k0) * row_bytes;
  for (int64_t k = k0; k < k0 + count; ++k, codes += row_bytes, out += kPanel) {
    const float* const scales = g.b_scales + k / g.b_group * ld + pn * kPanel;
    const float* const offsets = g.b_offsets == nullptr ? nullptr : g.b_offsets + k / g.b_group * ld + pn * kPanel;
    const auto store = [&](auto code, int64_t c) HWY_ATTR {
      const V scale = hn::LoadU(d, scales + c), x = hn::ConvertTo(d, code);
      hn::Store(offsets == nullptr ? hn::Mul(x, scale) : hn::MulAdd(x, scale, hn::LoadU(d, offsets + c)), d, out + c);
    };
    if (g.b_nibbles) {
      for (int64_t c = 0; c < kHalf; c += kLanes) {
        const auto both = hn::PromoteTo(di, hn::LoadU(d8, codes + c));
        store(hn::ShiftRight<28>(hn::ShiftLeft<28>(both)), c);
        store(hn::ShiftRight<4>(both), c + kHalf);
      }
    } else {
      for (int64_t c = 0; c < kPanel; c += kLanes) store(hn::PromoteTo(di, hn::LoadU(d8, codes + c)), c);
    }
  }
}

/// The same columns of the panel's rows of 8 bits, whose high parts lie elsewhere.
HWY_INLINE void expand_wide(const GemmArgs& g, int64_t pn, int64_t k0, int64_t count, float* out) {
  constexpr int64_t kHalf = kPanel / 2;
  const int64_t ld = (g.n + kPanel - 1) / kPanel * kPanel, words = (g.k + 7) / 8;
  for (int64_t c = 0; c < kPanel; ++c) {
    const int64_t row = g.b_wide[pn * kPanel + c];
    if (row < 0) continue;
    const uint32_t* const high = g.b_high + row * words;
    const uint8_t* const low = static_cast<const uint8_t*>(g.b) + (pn * g.k + k0) * kHalf + c % kHalf;
    const int shift = c < kHalf ? 0 : 4;
    for (int64_t i = 0; i < count;) {
      const int64_t group = (k0 + i) / g.b_group, end = std::min(count, (group + 1) * g.b_group - k0);
      const int64_t at = group * ld + pn * kPanel + c;
      const float scale = g.b_scales[at], offset = g.b_offsets == nullptr ? 0.0f : g.b_offsets[at];
      for (; i < end; ++i) {
        const uint64_t k = uint64_t(k0 + i);
        const unsigned nibble = low[i * kHalf] >> shift & 15u;  // low_part(), as 4 bits have it
        const int code = int(nibble ^ 8u) + 16 * int(high[k / 8] >> (k % 4 * 8 + (k & 4u)) & 15u) - 128;
        out[i * kPanel + c] = float(code) * scale + offset;
      }
    }
  }
}

/// A in place.
struct NoGather {
  static constexpr bool kGathers = false;
  void operator()(int64_t, int64_t, int64_t, float*) const {}
};

template <typename Gather>
HWY_INLINE GemmPlan gemm_plan(const GemmArgs& g) {
  return plan_gemm(g.m, g.n, g.k, g.type, Gather::kGathers, kMaxRows, blocking(g.caches));
}

/// Work items [begin, end) of g (m and k set). gather(row, k0, count, to) writes columns [k0, k0 + count) of A's row.
template <typename Gather>
HWY_INLINE void run_gemm(const GemmArgs& g, int64_t begin, int64_t end, void* scratch, Gather gather) {
  const GemmPlan p = gemm_plan<Gather>(g);
  float* const gathered = static_cast<float*>(scratch);
  float* const wide = gathered + p.a_floats(kStride);
  float* const c = wide + p.b_floats(g.type);
  for (int64_t item = begin; item < end; ++item) {
    // Panels first: a group of rows stays in L2 while they pass, and each is fetched while its neighbour is multiplied.
    const int64_t block0 = item / p.panel_groups * p.group_blocks;
    const int64_t block1 = std::min(p.blocks, block0 + p.group_blocks);
    const int64_t panel0 = item % p.panel_groups * p.group_panels;
    const int64_t panel1 = std::min(p.panels, panel0 + p.group_panels);
    const int64_t row0 = split(g.m, p.blocks, block0), row1 = split(g.m, p.blocks, block1);
    for (int64_t ch = 0; ch < p.chunks; ++ch) {
      const int64_t k0 = ch * p.chunk, count = std::min(p.chunk, g.k - k0);
      const float* a = gathered;
      int64_t lda = kStride;
      if (Gather::kGathers) {
        for (int64_t r = row0; r < row1; ++r) gather(r, k0, count, gathered + (r - row0) * kStride);
      } else {  // g.a is null where rows are gathered
        a = g.a + row0 * g.lda + k0;
        lda = g.lda;
      }
      for (int64_t pn = panel0; pn < panel1; ++pn) {
        const int64_t first = (pn * g.k + k0) * kPanel;
        // The next panel's part of this chunk, one line per k by each of the first row blocks. A thread takes items
        // upwards, so the panel behind the item's last is its next too.
        const int64_t size = int64_t(dtype_size(g.type)), part = g.b_nibbles ? 2 : 1;
        const char* ahead =
            static_cast<const char*>(g.b) + (first + (pn + 1 < p.panels ? g.k * kPanel : 0)) * size / part;
        const char* const ahead_end = ahead + count * kPanel * size / part;
        const float* b = wide;
        if (g.type == DType::kF32) {
          b = static_cast<const float*>(g.b) + first;
        } else {
          if (g.b_group != 0) expand_groups(g, pn, k0, count, wide);
          else expand(g.b, g.type, first, count, wide);
          if (g.b_wide != nullptr) expand_wide(g, pn, k0, count, wide);
        }
        const int64_t cols = std::min(kPanel, g.n - pn * kPanel);
        for (int64_t blk = block0; blk < block1; ++blk) {
          const int64_t r0 = split(g.m, p.blocks, blk), rows = split(g.m, p.blocks, blk + 1) - r0;
          float* tile_c = p.chunks > 1 ? c + ((pn - panel0) * p.group_rows() + (r0 - row0)) * kPanel : c;
          if (ch + 1 == p.chunks && g.k <= kShortK) fetch_output(g, r0, rows, pn * kPanel, cols);
          panel(rows, a + (r0 - row0) * lda, lda, b, kPanel, count, tile_c, kPanel, cols, ch > 0,
                ahead < ahead_end ? ahead : nullptr);
          ahead += count * 64;
          if (ch + 1 == p.chunks) finish_rows(g, tile_c, r0, rows, pn * kPanel);
        }
      }
    }
  }
}

template <typename Gather>
HWY_INLINE int64_t gemm_items(const GemmArgs& g) {
  return g.m <= 0 || g.n <= 0 ? 0 : gemm_plan<Gather>(g).items();
}

template <typename Gather>
HWY_INLINE size_t gemm_scratch(const GemmArgs& g) {
  const GemmPlan p = gemm_plan<Gather>(g);
  return size_t(p.a_floats(kStride) + p.b_floats(g.type) + p.c_floats()) * sizeof(float);
}

}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
