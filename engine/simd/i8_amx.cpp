// Integer products on AMX tiles: the sums, the panels and the rows in bytes of AVX-512 VNNI (i8.cpp), 32 rows and a
// panel at a time, as 2 x 2 tiles of 16 x 16 sums. What follows the sums of a block is worked off between the products
// of the next one: the tiles' unit multiplies meanwhile. dispatch.cpp asks CPU and system before use. Compiled without
// fused multiply-adds but those that epilogue() has, so that the answers have the bits of VNNI's.
#include "simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/i8_amx.cpp"
#include <hwy/foreach_target.h>

#include "simd/i8_run-inl.h"
#include "simd/tiles.h"

#if HWY_TARGET == HWY_AVX3 && VIREO_SIMD_BF16
HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {

Kernel<I8GemmArgs> vnni_gemm_i8_kernel();  // i8.cpp

namespace i8_amx {

constexpr int64_t kRows = 32;          // of a block
constexpr int64_t kStep = 64;          // bytes of a row in a tile
constexpr int64_t kWord = 4 * kPanel;  // bytes of a panel for 4 values of k

/// The tiles as they are set; a block with the same number of rows finds them so.
struct Shape {
  int64_t rows = 0, bytes = 0;
  void set(int64_t r, int64_t b) {
    if (r != rows || b != bytes) set_product_tiles(rows = r, bytes = b);
  }
};

/// Rows of codes and a panel.
struct Factors {
  const int8_t* a;
  int64_t lda;
  const uint8_t* w;
};

template <bool kBoth>
HWY_INLINE void clear() {
  zero_tile<0>(), zero_tile<1>();
  if (kBoth) zero_tile<2>(), zero_tile<3>();
}
template <bool kBoth>
HWY_INLINE void keep(int32_t* sums) {
  store_tile<0>(sums, kPanel * 4), store_tile<1>(sums + 16, kPanel * 4);
  if (kBoth) store_tile<2>(sums + 16 * kPanel, kPanel * 4), store_tile<3>(sums + 16 * kPanel + 16, kPanel * 4);
}
/// One step of k.
template <bool kBoth>
HWY_INLINE void multiply(const Factors& f) {
  load_tile<6>(f.w, kWord), load_tile<4>(f.a, f.lda), load_tile<7>(f.w + 64, kWord);
  if (kBoth) load_tile<5>(f.a + 16 * f.lda, f.lda);
  multiply_signed_unsigned<0, 4, 6>(), multiply_signed_unsigned<1, 4, 7>();
  if (kBoth) multiply_signed_unsigned<2, 5, 6>(), multiply_signed_unsigned<3, 5, 7>();
}

/// What is left of k behind whole steps, as a whole step with zeros behind it.
struct Rest {
  alignas(64) int8_t rows[kRows * kStep];
  alignas(64) uint8_t panel[kStep / 4 * kWord];

  void take_panel(const uint8_t* from, int64_t k) {
    std::memcpy(panel, from, size_t(k * kPanel));
    std::memset(panel + k * kPanel, 0, size_t((kStep - k) * kPanel));
  }
  Factors take_rows(const int8_t* from, int64_t lda, int64_t count, int64_t k) {
    for (int64_t r = 0; r < count; ++r) {
      std::memcpy(rows + r * kStep, from + r * lda, size_t(k));
      std::memset(rows + r * kStep + k, 0, size_t(kStep - k));
    }
    return {rows, kStep, panel};
  }
};

// ---- sums over groups of columns, and zero points of weights: a tile of run_items()

struct Tile {
  static constexpr bool kShifted = true;
  static constexpr int64_t kRows = i8_amx::kRows;
  const int8_t* a;
  int64_t lda;
  Shape* shape;
  Rest* rest;
  const uint8_t* w = nullptr;

  void prepare(const uint8_t* from, int64_t, void*) { w = from; }
  template <bool kBoth>
  void block(const Factors& from, int64_t rows, int64_t k, int64_t step, int32_t* sums) const {
    Factors f = from;
    clear<kBoth>();
    int64_t i = 0;
    for (; i + step <= k; i += step, f.a += step, f.w += step * kPanel) multiply<kBoth>(f);
    if (i < k) {
      rest->take_panel(f.w, k - i);
      multiply<kBoth>(rest->take_rows(f.a, lda, rows, k - i));
    }
    keep<kBoth>(sums);
  }
  void run(int64_t r0, int64_t rows, int64_t first, int64_t k, int32_t* sums) const {
    const int64_t step = std::min(k, kStep);
    shape->set(rows, step);
    const Factors f{a + r0 * lda + first, lda, w + first * kPanel};
    rows > 16 ? block<true>(f, rows, k, step, sums) : block<false>(f, rows, k, step, sums);
  }
};

// ---- one scale for a row of W

/// Of a panel's columns.
struct Columns {
  alignas(64) float scale[kPanel], bias[kPanel], col_scale[kPanel];
  alignas(64) int32_t shift[kPanel];  // what the rows' zero point adds to each sum
  int64_t first, count;

  void take(const I8GemmArgs& a, int64_t panel) {
    const GemmArgs& g = a.gemm;
    first = panel * kPanel, count = std::min(kPanel, g.n - first);
    const auto fetch = [&](const float* p, float* to) {
      std::memset(to, 0, kPanel * sizeof(float));
      if (p != nullptr) std::memcpy(to, p + first, size_t(count) * sizeof(float));
    };
    fetch(g.b_scales, scale), fetch(g.bias, bias), fetch(g.col_scale, col_scale);
    for (int64_t c = 0; c < kPanel; ++c) shift[c] = a.a_zero != 0 ? a.a_zero * a.b_sums[first + c] : 0;
  }
};

/// A block whose sums are there, up to row `done` of it already in `out`.
struct Block {
  const int32_t* sums = nullptr;
  int64_t row = 0, rows = 0, done = 0;
};

/// The next `count` rows of a block: run_items() and epilogue() in one.
template <Act kAct, bool kWhole>
void finish(const I8GemmArgs& a, const Columns& columns, Block* block, int64_t count) {
  const D d;
  const hn::RebindToSigned<D> di;
  const GemmArgs& g = a.gemm;
  const int64_t end = std::min(block->rows, block->done + count);
  for (int64_t r = block->done; r < end; ++r) {
    const int64_t row = block->row + r;
    const auto shift = hn::Set(di, int32_t(uint32_t(a.sums[row]) * 128u));
    const V scale = hn::Set(d, a.scales[row]);
    for (int64_t v = 0; v < kPanel; v += kLanes) {
      const int64_t n = kWhole ? kLanes : std::min(kLanes, columns.count - v);
      if (!kWhole && n <= 0) break;
      const auto sum =
          hn::Sub(hn::Sub(hn::Load(di, block->sums + r * kPanel + v), shift), hn::Load(di, columns.shift + v));
      V x = hn::Mul(hn::ConvertTo(d, sum), scale);
      x = act_v<kAct>(hn::MulAdd(x, hn::Load(d, columns.scale + v), hn::Load(d, columns.bias + v)));
      if (g.col_scale != nullptr) x = hn::Mul(x, hn::Load(d, columns.col_scale + v));
      if (g.residual != nullptr) x = hn::Add(x, load_n(g.residual + row * g.ldr + columns.first + v, n));
      float* const out = g.out + row * g.ldo + columns.first + v;
      if (n == kLanes) hn::StoreU(x, d, out);
      else store_n(hn::IfThenElseZero(hn::FirstN(d, size_t(n)), x), out, pad4(n));
    }
  }
  block->done = end;
}
using Finish = void (*)(const I8GemmArgs&, const Columns&, Block*, int64_t);

Finish finish_of(Act act, bool whole) {
  Finish f = nullptr;
  with_act(act,
           [&](auto tag) { f = whole ? &finish<decltype(tag)::value, true> : &finish<decltype(tag)::value, false>; });
  return f;
}

/// The products of a block, those of `before` becoming output in between. Fetches `lines` cache lines from `ahead` into
/// L2 on the way.
template <bool kBoth>
HWY_INLINE void run_block(const I8GemmArgs& a, Factors f, int64_t rows, int64_t k, int64_t step, Rest* rest,
                          int32_t* sums, const Columns& columns, Finish finish_rows, Block* before,
                          const uint8_t* ahead, int64_t lines) {
  const int64_t steps = std::max<int64_t>(1, k / step), each = div_up(lines, steps);
  const int64_t pace = std::max<int64_t>(2, div_up(before->rows, steps));
  clear<kBoth>();
  int64_t i = 0;
  for (; i + step <= k; i += step, f.a += step, f.w += step * kPanel) {
    multiply<kBoth>(f);
    for (int64_t l = 0; l < each; ++l, ahead += 64) __builtin_prefetch(ahead, 0, 2);
    if (before->done < before->rows) finish_rows(a, columns, before, pace);
  }
  if (i < k) multiply<kBoth>(rest->take_rows(f.a, f.lda, rows, k - i));
  if (before->done < before->rows) finish_rows(a, columns, before, kRows);
  keep<kBoth>(sums);
}

// Scratch: sums of two blocks, what run_items() has instead, the rest of k, a panel in bytes.

/// So few rows wait for the weights, not for products; what tiles cost to set up would come on top. (No columns: no
/// step of a tile.) VNNI needs less scratch than there is.
bool few_rows(const I8GemmArgs& a) { return a.gemm.m <= 12 || a.gemm.k <= 0; }

size_t scratch_bytes(const I8GemmArgs& a) {
  return size_t(kRows * kPanel) * 8 + sizeof(Rest) + size_t(round_up(int64_t(i8::widened_bytes(a.gemm)), 64));
}

int64_t items(const I8GemmArgs& a) {
  if (few_rows(a)) return vnni_gemm_i8_kernel().items(a);
  return a.gemm.m <= 0 || a.gemm.n <= 0 ? 0 : i8::make_plan<kRows>(a).items();
}

void run(const I8GemmArgs& a, int64_t begin, int64_t end, void* scratch) {
  if (few_rows(a)) return vnni_gemm_i8_kernel().run(a, begin, end, scratch);
  const GemmArgs& g = a.gemm;
  int32_t* const sums = static_cast<int32_t*>(scratch);
  Rest* const rest = reinterpret_cast<Rest*>(sums + 2 * kRows * kPanel);
  const int8_t* const codes = static_cast<const int8_t*>(a.a);
  Shape shape;
  if (g.b_group > 0 || a.b_zeros != nullptr || g.b_scales == nullptr) {
    i8::run_items(a, begin, end, scratch, sizeof(Rest), Tile{codes, a.lda, &shape, rest});
    return release_tiles();
  }
  uint8_t* const room = reinterpret_cast<uint8_t*>(rest + 1);
  const i8::Plan p = i8::make_plan<kRows>(a);
  const int64_t k = round_up(g.k, kI8Step), step = std::min(k, kStep), whole = k / step * step;
  const int64_t bytes = int64_t(integer_weight_bytes(kPanel, g.k, g.b_nibbles));
  Columns columns;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t block0 = item / p.panels * p.group_blocks, block1 = std::min(p.blocks, block0 + p.group_blocks);
    const int64_t panel = item % p.panels;
    const uint8_t* const w = i8::panel_bytes(g, panel, room);
    if (whole < k) rest->take_panel(w + whole * kPanel, k - whole);
    columns.take(a, panel);
    const Finish finish_rows = finish_of(g.act, columns.count == kPanel);
    // A thread takes items upwards, so the next panel is its own too; every block fetches a part of it.
    const uint8_t* const next = static_cast<const uint8_t*>(g.b) + (panel + 1) * bytes;
    const int64_t lines = panel + 1 < p.panels ? bytes / 64 / (block1 - block0) : 0;
    Block before;
    for (int64_t blk = block0; blk < block1; ++blk) {
      const int64_t r0 = split(g.m, p.blocks, blk), rows = split(g.m, p.blocks, blk + 1) - r0;
      const Factors f{codes + r0 * a.lda, a.lda, w};
      const uint8_t* const ahead = next + (blk - block0) * lines * 64;
      int32_t* const to = sums + (blk - block0) % 2 * kRows * kPanel;
      shape.set(rows, step);
      (rows > 16 ? run_block<true> : run_block<false>)(a, f, rows, k, step, rest, to, columns, finish_rows, &before,
                                                       ahead, lines);
      before = {to, r0, rows, 0};
    }
    finish_rows(a, columns, &before, kRows);
  }
  release_tiles();
}

}  // namespace i8_amx

/// For CPUs with AMX's products of bytes (dispatch.cpp); rows as vnni_to_i8_kernel() writes them.
Kernel<I8GemmArgs> amx_gemm_i8_kernel();
Kernel<I8GemmArgs> amx_gemm_i8_kernel() { return {&i8_amx::items, &i8_amx::scratch_bytes, &i8_amx::run}; }

}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
