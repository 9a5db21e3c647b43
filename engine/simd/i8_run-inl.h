// How integer products are cut into items, panels of nibbles as bytes, and what follows the sums of a tile; shared by
// i8.cpp and i8_amx.cpp and compiled once per instruction set.
#if defined(VIREO_SIMD_I8_RUN_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VIREO_SIMD_I8_RUN_INL_H
#undef VIREO_SIMD_I8_RUN_INL_H
#else
#define VIREO_SIMD_I8_RUN_INL_H
#endif

#include "simd/gemm_core-inl.h"
#include "tensor/tensor.h"

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {
namespace i8 {

/// Rows of A for one item at most, so that they stay in L2 beside the panels; items at least, where the shape allows
/// it.
constexpr int64_t kGroupRows = 512, kItems = 16;
/// Row blocks x panels; an item is a group of row blocks and one panel, over all of K.
struct Plan {
  int64_t blocks, row_groups, group_blocks, panels;
  int64_t items() const { return row_groups * panels; }
};

template <int64_t kRows>
HWY_INLINE Plan make_plan(const I8GemmArgs& a) {
  Plan p{};
  p.blocks = std::max<int64_t>(1, div_up(a.gemm.m, kRows));
  p.panels = std::max<int64_t>(1, div_up(a.gemm.n, kPanel));
  p.row_groups = std::max(div_up(p.blocks, kGroupRows / kRows), std::min(p.blocks, div_up(kItems, p.panels)));
  p.group_blocks = div_up(p.blocks, p.row_groups);
  p.row_groups = div_up(p.blocks, p.group_blocks);
  return p;
}

/// Bytes that a panel of nibbles takes as bytes, or 0.
HWY_INLINE size_t widened_bytes(const GemmArgs& g) {
  return g.b_nibbles ? size_t(round_up(g.k, 2 * kI8Step) * kPanel) : 0;
}

/// A panel of nibbles as one of bytes: codes plus 8 become codes plus 128.
HWY_INLINE void widen(const uint8_t* from, int64_t k, uint8_t* to) {
  for (int64_t i = 0; i < k; i += 8, from += 4 * kPanel, to += 8 * kPanel)
    for (int64_t c = 0; c < 4 * kPanel; ++c) {
      to[c] = uint8_t((from[c] & 15u) + 120u);
      to[4 * kPanel + c] = uint8_t((from[c] >> 4) + 120u);
    }
}

/// What that made of rows of 8 bits were their low parts: four bytes at a time, with the high ones, codes plus 128.
HWY_INLINE void widen_rows(const GemmArgs& g, int64_t panel, uint8_t* to) {
  const int64_t words = div_up(g.k, 8);
  for (int64_t c = 0; c < kPanel; ++c) {
    const int64_t row = g.b_wide[panel * kPanel + c];
    if (row < 0) continue;
    const uint32_t* const high = g.b_high + row * words;
    for (int64_t i = 0; i < words; ++i)
      for (int64_t half = 0; half < 2; ++half) {
        uint8_t* const at = to + ((2 * i + half) * kPanel + c) * 4;
        uint32_t four;
        std::memcpy(&four, at, 4);
        four = four - 0x78787878u + (half == 0 ? (high[i] & 0x0F0F0F0Fu) << 4 : high[i] & 0xF0F0F0F0u);
        std::memcpy(at, &four, 4);
      }
  }
}

/// Panel `panel` of the weights in bytes: where it lies, or in `room` (widened_bytes()) where it is in nibbles.
HWY_INLINE const uint8_t* panel_bytes(const GemmArgs& g, int64_t panel, uint8_t* room) {
  const int64_t k = round_up(g.k, kI8Step), padded = round_up(g.k, 2 * kI8Step);
  const uint8_t* const from = static_cast<const uint8_t*>(g.b) + panel * int64_t(g.b_nibbles ? padded / 2 : k) * kPanel;
  if (!g.b_nibbles) return from;
  widen(from, padded, room);
  if (g.b_wide != nullptr) widen_rows(g, panel, room);
  return room;
}

/// Tile gives sums[rows][32] of rows of A and a panel, over a range of k. The scratch: sums, the same as floats, what
/// `room` says the tile wants a panel in, and a panel in bytes.
template <typename Tile>
HWY_INLINE void run_items(const I8GemmArgs& a, int64_t begin, int64_t end, void* scratch, size_t panel_room,
                          Tile tile) {
  const D d;
  const hn::RebindToSigned<D> di;
  constexpr int64_t kRows = Tile::kRows;
  const Plan p = make_plan<kRows>(a);
  GemmArgs g = a.gemm;
  int32_t* const sums = static_cast<int32_t*>(scratch);
  float* const c = reinterpret_cast<float*>(sums + kRows * kPanel);
  void* const room = c + kRows * kPanel;
  const int64_t k = round_up(g.k, kI8Step);
  uint8_t* const wide = static_cast<uint8_t*>(room) + panel_room;
  const int64_t span = g.b_group > 0 ? g.b_group : k, groups = div_up(k, span), ld = round_up(g.n, kPanel);
  const float* const group_scales = g.b_group > 0 ? g.b_scales : nullptr;
  if (group_scales != nullptr) g.b_scales = nullptr;  // applied here, not by the epilogue
  for (int64_t item = begin; item < end; ++item) {
    const int64_t block0 = item / p.panels * p.group_blocks, block1 = std::min(p.blocks, block0 + p.group_blocks);
    const int64_t panel = item % p.panels, column = panel * kPanel;
    tile.prepare(panel_bytes(g, panel, wide), k, room);
    for (int64_t blk = block0; blk < block1; ++blk) {
      const int64_t r0 = split(g.m, p.blocks, blk), rows = split(g.m, p.blocks, blk + 1) - r0;
      for (int64_t q = 0; q < groups; ++q) {
        tile.run(r0, rows, q * span, std::min(span, k - q * span), sums);
        const int32_t* const zeros = a.b_zeros ? a.b_zeros + q * ld + column : nullptr;
        const int32_t* const columns = a.a_zero ? a.b_sums + q * ld + column : nullptr;
        for (int64_t r = 0; r < rows; ++r) {
          const auto row_sum = hn::Set(di, a.sums[(r0 + r) * groups + q]);
          const auto shift = hn::Mul(row_sum, hn::Set(di, Tile::kShifted ? 128 : 0));
          const V scale = hn::Set(d, a.scales[r0 + r]);
          float* const to = c + r * kPanel;
          for (int64_t v = 0; v < kPanel; v += kLanes) {
            auto x = hn::Sub(hn::Load(di, sums + r * kPanel + v), shift);
            if (zeros) x = hn::Sub(x, hn::Mul(row_sum, hn::LoadU(di, zeros + v)));
            if (columns) x = hn::Sub(x, hn::Mul(hn::Set(di, a.a_zero), hn::LoadU(di, columns + v)));
            V y = hn::ConvertTo(d, x);
            if (group_scales != nullptr) {
              y = hn::Mul(y, hn::LoadU(d, group_scales + q * ld + column + v));
              if (q > 0) y = hn::Add(y, hn::Load(d, to + v));
            }
            hn::Store(q + 1 == groups ? hn::Mul(y, scale) : y, d, to + v);
          }
        }
      }
      epilogue(g, c, r0, rows, panel * kPanel);
    }
  }
}

}  // namespace i8
}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
