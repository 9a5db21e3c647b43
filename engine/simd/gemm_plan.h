// How a GEMM is cut into work items; the same arithmetic for items(), scratch_bytes() and run().
#pragma once

#include <algorithm>
#include <cstdint>

#include "simd/kernels.h"

namespace vireo::simd {

/// An item is `group_blocks` row blocks x `group_panels` panels over all of K, in chunks. Its chunk of A stays in L2
/// while the panels pass, each chunk of a panel while the row blocks pass: the more of both, the less comes from
/// beyond L2.
/// A gathered A (convolution) is built once per item and chunk, which wants many panels.
struct GemmPlan {
  int64_t rows_max;  // of a register tile
  int64_t blocks;    // row blocks, nearly equal
  int64_t group_blocks, row_groups;
  int64_t panels, group_panels, panel_groups;
  int64_t chunk, chunks;
  bool gathered;

  int64_t items() const { return row_groups * panel_groups; }
  int64_t group_rows() const { return group_blocks * rows_max; }
  // Floats of scratch: the gathered chunk of A, expanded weights, the unfinished tiles.
  int64_t a_floats(int64_t stride) const { return gathered ? group_rows() * stride : 0; }
  int64_t b_floats(DType t) const { return t == DType::kF32 ? 0 : chunk * kPanel; }
  int64_t c_floats() const { return (chunks > 1 ? group_panels * group_rows() : rows_max) * kPanel; }
};

inline GemmPlan plan_gemm(int64_t m, int64_t n, int64_t k, DType type, bool gathered, int64_t rows_max,
                          const Blocking& sizes) {
  constexpr int64_t kItems = 16;  // where the shape allows it, so that 2-4 threads end together
  constexpr int64_t kGroupRows = 210, kGatheredRows = 70, kGroupPanels = 8;
  const auto up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  GemmPlan p{};
  p.gathered = gathered;
  p.rows_max = rows_max;
  p.blocks = std::max<int64_t>(1, up(m, rows_max));
  p.panels = std::max<int64_t>(1, up(n, kPanel));
  // One row block: expanded weights are used once, so they should not leave L1.
  const int64_t chunk = type != DType::kF32 && p.blocks == 1 ? std::min<int64_t>(sizes.chunk, 128) : sizes.chunk;
  p.chunks = std::max<int64_t>(1, up(k, chunk));
  p.chunk = std::min(chunk, up(up(k, p.chunks), 16) * 16);
  p.chunks = std::max<int64_t>(1, up(k, p.chunk));

  // What would be one chunk, were the first cache larger, stays in L2 as a whole.
  const bool short_k = p.chunks == 1 || (sizes.chunk < Blocking().chunk && k <= Blocking().chunk);
  // Else a row's chunk and its unfinished sums do, beside a panel.
  const int64_t row_bytes = (short_k ? k : p.chunk + kGroupPanels * kPanel) * 4;
  const int64_t most_rows = sizes.rows(gathered ? kGatheredRows : kGroupRows, row_bytes, p.chunk * kPanel * 4);
  const int64_t most = std::max<int64_t>(1, most_rows / rows_max);
  p.row_groups = std::max(up(p.blocks, most), std::min(p.blocks, up(kItems, p.panels)));
  p.group_blocks = up(p.blocks, p.row_groups);
  p.row_groups = up(p.blocks, p.group_blocks);
  // With one chunk and A in place nothing is shared between panels; with several, A comes from beyond L2 once per item.
  const int64_t wanted = short_k && !gathered ? 4 * kItems : kItems / 2;
  p.group_panels = std::min<int64_t>(kGroupPanels, std::max<int64_t>(1, p.panels * p.row_groups / wanted));
  p.panel_groups = up(p.panels, p.group_panels);
  p.group_panels = up(p.panels, p.panel_groups);
  p.panel_groups = up(p.panels, p.group_panels);
  return p;
}

}  // namespace vireo::simd
