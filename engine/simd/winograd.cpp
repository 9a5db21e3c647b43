// 3 x 3 convolution of stride 1 by Winograd's F(2 x 2, 3 x 3) (Lavin and Gray 2015): a tile of 4 x 4 inputs becomes one
// of 2 x 2 outputs by 16 products per pair of channels instead of 36. Its transforms only add, subtract and halve.
#include "simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/winograd.cpp"
#include <hwy/foreach_target.h>

#include "simd/gemm_core-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {

namespace {

constexpr int64_t kProducts = kWinogradProducts;
constexpr int64_t kWantTileGroups = 8;  // with fewer, items share tiles and each transforms them for its own panels

HWY_INLINE int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// An item is a group of tiles, in the order of the output's rows, times a group of panels.
struct Plan {
  int64_t down, across, tiles;  // of an image: tiles along y and x; of all images
  int64_t per_item, tile_groups;
  int64_t panels, group_panels, panel_groups;
  int64_t stride;  // floats from one tile's channels to the next one's, an odd number of cache lines
  int64_t v_floats() const { return kProducts * per_item * stride; }
  int64_t m_floats() const { return kProducts * per_item * kPanel; }
  int64_t line_floats() const { return 2 * per_item * kPanel; }
};

HWY_INLINE Plan make_plan(const ConvArgs& a) {
  const ConvGeometry& g = a.geometry;
  Plan p{};
  p.down = up(g.out_h, 2), p.across = up(g.out_w, 2), p.tiles = g.n * p.down * p.across;
  p.stride = (up(g.c, 16) | 1) * 16;
  p.panels = std::max<int64_t>(1, up(a.gemm.n, kPanel));
  // Of transformed input per item, what an L2 holds beside a panel of weights.
  const int64_t floats = blocking(a.gemm.caches).tile_floats;
  const int64_t most = std::max<int64_t>(2, floats / (kProducts * p.stride) / kMaxRows) * kMaxRows;
  p.tile_groups = std::max<int64_t>(1, up(p.tiles, most));
  p.per_item = up(up(p.tiles, p.tile_groups), kMaxRows) * kMaxRows;
  p.tile_groups = up(p.tiles, p.per_item);
  p.panel_groups = std::min(p.panels, up(kWantTileGroups, std::max<int64_t>(1, p.tile_groups)));
  p.group_panels = up(p.panels, p.panel_groups);
  p.panel_groups = up(p.panels, p.group_panels);
  return p;
}

/// B^T d B of one tile, B^T = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1]: product t of channel c goes to to[t * plane +
/// c]. pixels: rows of the 4 x 4 inputs. Whole vectors are written, zero past the channels.
HWY_INLINE void transform_input(const float* const* pixels, int64_t channels, int64_t plane, float* to) {
  const D d;
  for (int line = 0; line < 4; ++line, to += 4 * plane) {
    // Line 0 is d0 - d2, line 1 d1 + d2, line 2 d2 - d1, line 3 d1 - d3.
    const float* const* const p = pixels + 4 * (line == 0 ? 0 : line == 2 ? 2 : 1);
    const float* const* const q = pixels + 4 * (line < 2 ? 2 : line == 2 ? 1 : 3);
    const auto vectors = [&](auto plus, int64_t c, int64_t n) HWY_ATTR {
      V x[4];
      for (int i = 0; i < 4; ++i) {
        const V u = load_n(p[i] + c, n), w = load_n(q[i] + c, n);
        x[i] = decltype(plus)::value ? hn::Add(u, w) : hn::Sub(u, w);
      }
      hn::StoreU(hn::Sub(x[0], x[2]), d, to + c);
      hn::StoreU(hn::Add(x[1], x[2]), d, to + plane + c);
      hn::StoreU(hn::Sub(x[2], x[1]), d, to + 2 * plane + c);
      hn::StoreU(hn::Sub(x[1], x[3]), d, to + 3 * plane + c);
    };
    const auto all = [&](auto plus) HWY_ATTR {
      int64_t c = 0;
      for (; c + kLanes <= channels; c += kLanes) vectors(plus, c, kLanes);
      if (c < channels) vectors(plus, c, channels - c);
    };
    if (line == 1) all(std::true_type());
    else all(std::false_type());
  }
}

/// A^T m A of one tile and panel, A^T = [1 1 1 0; 0 1 -1 -1], m[t * plane]; top and bottom: two pixels of a panel each.
HWY_INLINE void transform_output(const float* m, int64_t plane, int64_t cols, float* top, float* bottom) {
  const D d;
  for (int64_t c = 0; c < cols; c += kLanes) {
    V s[4], t[4];
    for (int x = 0; x < 4; ++x) {
      const float* from = m + x * plane + c;
      const V m1 = hn::Load(d, from + 4 * plane), m2 = hn::Load(d, from + 8 * plane);
      s[x] = hn::Add(hn::Load(d, from), hn::Add(m1, m2));
      t[x] = hn::Sub(hn::Sub(m1, m2), hn::Load(d, from + 12 * plane));
    }
    hn::Store(hn::Add(s[0], hn::Add(s[1], s[2])), d, top + c);
    hn::Store(hn::Sub(hn::Sub(s[1], s[2]), s[3]), d, top + kPanel + c);
    hn::Store(hn::Add(t[0], hn::Add(t[1], t[2])), d, bottom + c);
    hn::Store(hn::Sub(hn::Sub(t[1], t[2]), t[3]), d, bottom + kPanel + c);
  }
}

int64_t items(const ConvArgs& a) {
  if (a.geometry.rows() <= 0 || a.gemm.n <= 0) return 0;
  const Plan p = make_plan(a);
  return p.tile_groups * p.panel_groups;
}

/// Scratch: transformed inputs, products, two lines of outputs, a pixel of padding.
size_t scratch_bytes(const ConvArgs& a) {
  const Plan p = make_plan(a);
  return size_t(p.v_floats() + p.m_floats() + 2 * p.line_floats() + p.stride) * sizeof(float);
}

void run(const ConvArgs& a, int64_t begin, int64_t end, void* scratch) {
  const ConvGeometry& g = a.geometry;
  const Plan p = make_plan(a);
  float* const v = static_cast<float*>(scratch);
  float* const m = v + p.v_floats();
  float* const top = m + p.m_floats();
  float* const bottom = top + p.line_floats();
  float* const outside = bottom + p.line_floats();
  std::fill(outside, outside + p.stride, 0.0f);
  const int64_t v_plane = p.per_item * p.stride, m_plane = p.per_item * kPanel, weights = g.c * kPanel;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t tile0 = item / p.panel_groups * p.per_item, tiles = std::min(p.per_item, p.tiles - tile0);
    const int64_t panel0 = item % p.panel_groups * p.group_panels, panel1 = std::min(p.panels, panel0 + p.group_panels);
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t tile = tile0 + i, image = tile / (p.across * p.down);
      const int64_t y0 = tile / p.across % p.down * 2 - g.pad_y, x0 = tile % p.across * 2 - g.pad_x;
      const float* pixels[16];
      for (int64_t j = 0; j < 16; ++j) {
        const int64_t y = y0 + j / 4, x = x0 + j % 4;
        pixels[j] = y >= 0 && y < g.h && x >= 0 && x < g.w ? g.x + ((image * g.h + y) * g.w + x) * g.ldx : outside;
      }
      transform_input(pixels, g.c, v_plane, v + i * p.stride);
    }
    const int64_t blocks = up(tiles, kMaxRows);
    for (int64_t pn = panel0; pn < panel1; ++pn) {
      const int64_t cols = std::min(kPanel, a.gemm.n - pn * kPanel);
      for (int64_t t = 0; t < kProducts; ++t) {
        const float* b = static_cast<const float*>(a.gemm.b) + (pn * kProducts + t) * weights;
        // The next product's weights are fetched meanwhile, a line per channel by each of the first row blocks.
        const float* ahead = b + weights;
        const float* const ahead_end = pn + 1 < p.panels || t + 1 < kProducts ? ahead + weights : ahead;
        for (int64_t blk = 0; blk < blocks; ++blk) {
          const int64_t r0 = split(tiles, blocks, blk), rows = split(tiles, blocks, blk + 1) - r0;
          panel(rows, v + t * v_plane + r0 * p.stride, p.stride, b, kPanel, g.c, m + t * m_plane + r0 * kPanel, kPanel,
                cols, false, ahead < ahead_end ? ahead : nullptr);
          ahead += g.c * 16;
        }
      }
      for (int64_t i = 0; i < tiles; ++i)
        transform_output(m + i * kPanel, m_plane, cols, top + 2 * i * kPanel, bottom + 2 * i * kPanel);
      // Tiles side by side are pixels side by side in two lines of the output.
      for (int64_t i = 0; i < tiles;) {
        const int64_t tile = tile0 + i, ty = tile / p.across % p.down, tx = tile % p.across;
        const int64_t here = std::min(tiles - i, p.across - tx), width = std::min(2 * here, g.out_w - 2 * tx);
        const int64_t row = (tile / (p.across * p.down) * g.out_h + 2 * ty) * g.out_w + 2 * tx;
        finish_rows(a.gemm, top + 2 * i * kPanel, row, width, pn * kPanel);
        if (2 * ty + 1 < g.out_h) finish_rows(a.gemm, bottom + 2 * i * kPanel, row + g.out_w, width, pn * kPanel);
        i += here;
      }
    }
  }
}

}  // namespace

Kernel<ConvArgs> winograd_kernel() { return {&items, &scratch_bytes, &run}; }

}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
