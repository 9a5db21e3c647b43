// Products of bfloat16 rows and weights with fp32 sums, on the x86 instructions made for them: AMX tiles and, where
// there are none, AVX-512's dot product. Intrinsics, because Highway has no tiles. dispatch.cpp asks CPU and system
// before use.
#include "simd/bf16.h"

#if VIREO_SIMD_BF16

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "simd/tiles.h"
#include "tensor/tensor.h"

namespace vireo::simd {

namespace N_AVX3 {
void finish_rows(const GemmArgs& g, const float* c, int64_t row0, int64_t rows, int64_t col0);  // gemm.cpp
}

namespace {

/// Rows of A for one item at most, so that they stay in L2 beside a panel; items at least, where the shape allows it.
constexpr int64_t kGroupRows = 256, kItems = 16;

/// Row blocks x panels; an item is a group of row blocks and `step` panels, over all of K.
struct Plan {
  int64_t blocks, row_groups, group_blocks, panels, step;
  int64_t items() const { return row_groups * div_up(panels, step); }
  // Panels first: a group of rows stays in L2 while they pass.
  int64_t first_block(int64_t item) const { return item / div_up(panels, step) * group_blocks; }
  int64_t first_panel(int64_t item) const { return item % div_up(panels, step) * step; }
};

Plan make_plan(const Bf16GemmArgs& a, int64_t rows_max, int64_t step) {
  Plan p{};
  p.step = step;
  p.blocks = std::max<int64_t>(1, div_up(a.gemm.m, rows_max));
  p.panels = std::max<int64_t>(1, div_up(a.gemm.n, kPanel));
  p.row_groups =
      std::max(div_up(p.blocks, kGroupRows / rows_max), std::min(p.blocks, div_up(kItems, div_up(p.panels, step))));
  p.group_blocks = div_up(p.blocks, p.row_groups);
  p.row_groups = div_up(p.blocks, p.group_blocks);
  return p;
}

/// Where block i of `blocks` nearly equal ones begins.
int64_t begin_of(int64_t total, int64_t blocks, int64_t i) { return total / blocks * i + std::min(i, total % blocks); }

int64_t padded_k(const Bf16GemmArgs& a) { return round_up(a.gemm.k, kBf16Step); }

bool from_i8(const Bf16GemmArgs& a) { return a.gemm.type == DType::kI8; }

/// Room for `panels` converted panels.
size_t converted_bytes(const Bf16GemmArgs& a, int64_t panels) {
  return from_i8(a) ? size_t(panels * padded_k(a) * kPanel) * sizeof(uint16_t) : 0;
}

/// Bits of 16 small integers as floats (masked forms: GCC 12 warns about what the plain ones are made of).
VIREO_BF16_TARGET inline __m512i float_bits(const int8_t* x) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
  return _mm512_castps_si512(_mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepi8_epi32(0xffff, bytes)));
}
VIREO_BF16_TARGET inline __m512i upper_halves(__m512i x) { return _mm512_maskz_srli_epi32(0xffff, x, 16); }

/// A kI8 panel [k][32] as a kBF16 one, [k / 2][32][2] and zero past k. Exact: the float of a small integer ends in
/// zeros, so its upper half is its bfloat16.
VIREO_BF16_TARGET void convert_panel(const int8_t* from, int64_t k, uint16_t* to) {
  const __m512i upper = _mm512_set1_epi32(int32_t(0xffff0000u));
  int64_t i = 0;
  for (; i + 1 < k; i += 2, from += 2 * kPanel, to += 2 * kPanel) {
    for (int64_t c = 0; c < kPanel; c += 16) {
      const __m512i even = upper_halves(float_bits(from + c)),
                    odd = _mm512_and_si512(float_bits(from + kPanel + c), upper);
      _mm512_storeu_si512(to + 2 * c, _mm512_or_si512(even, odd));
    }
  }
  if (i < k) {
    for (int64_t c = 0; c < kPanel; c += 16) _mm512_storeu_si512(to + 2 * c, upper_halves(float_bits(from + c)));
    i += 2, to += 2 * kPanel;
  }
  std::memset(to, 0, size_t((round_up(k, kBf16Step) - i) * kPanel) * sizeof(uint16_t));
}

/// Panel `index` of the weights as kBF16, converted into `room` where they are not.
const uint16_t* panel_of(const Bf16GemmArgs& a, int64_t index, uint16_t* room) {
  if (!from_i8(a)) return static_cast<const uint16_t*>(a.gemm.b) + index * padded_k(a) * kPanel;
  convert_panel(static_cast<const int8_t*>(a.gemm.b) + index * a.gemm.k * kPanel, a.gemm.k, room);
  return room;
}

// ---- rows to bfloat16 ----

constexpr int64_t kConvertRows = 8;

int64_t convert_items(const ToBf16Args& a) { return div_up(a.rows, kConvertRows); }
size_t convert_scratch(const ToBf16Args&) { return 0; }

VIREO_BF16_TARGET __m512 load_part(const float* x, int64_t left) {
  return left >= 16 ? _mm512_loadu_ps(x) : _mm512_maskz_loadu_ps(__mmask16((1u << std::max<int64_t>(left, 0)) - 1), x);
}

/// The sum of the lanes (GCC 12 warns about its own _mm512_reduce_add_ps).
VIREO_BF16_TARGET float lane_sum(__m512 v) {
  alignas(64) float lane[16];
  _mm512_store_ps(lane, v);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return lane[0];
}

VIREO_BF16_TARGET void convert_run(const ToBf16Args& a, int64_t begin, int64_t end, void*) {
  const int64_t last = std::min(a.rows, end * kConvertRows), width = round_up(a.cols, kBf16Step);
  for (int64_t row = begin * kConvertRows; row < last; ++row) {
    const float* x = a.x + row * a.ldx;
    __m512 shift = _mm512_setzero_ps(), scale = _mm512_set1_ps(1.0f);
    if (a.normalise) {
      __m512 sum = _mm512_setzero_ps();
      for (int64_t c = 0; c < a.cols; c += 16) sum = _mm512_add_ps(sum, load_part(x + c, a.cols - c));
      const float mean = lane_sum(sum) / float(a.cols);
      shift = _mm512_set1_ps(mean);
      sum = _mm512_setzero_ps();
      for (int64_t c = 0; c < a.cols; c += 16) {
        const __mmask16 keep = a.cols - c >= 16 ? 0xffff : __mmask16((1u << (a.cols - c)) - 1);
        const __m512 t = _mm512_maskz_sub_ps(keep, load_part(x + c, a.cols - c), shift);
        sum = _mm512_fmadd_ps(t, t, sum);
      }
      scale = _mm512_set1_ps(1.0f / std::sqrt(lane_sum(sum) / float(a.cols) + a.eps));
    }
    for (int64_t c = 0; c < width; c += 16) {
      const int64_t left = a.cols - c;
      const __mmask16 keep = left >= 16 ? 0xffff : __mmask16((1u << std::max<int64_t>(left, 0)) - 1);
      __m512 y = _mm512_maskz_mul_ps(keep, _mm512_sub_ps(load_part(x + c, left), shift), scale);
      if (a.gain) y = _mm512_mul_ps(y, load_part(a.gain + c, left));
      if (a.offset) y = _mm512_add_ps(y, load_part(a.offset + c, left));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(a.out + row * a.ldo + c), __m256i(_mm512_cvtneps_pbh(y)));
    }
  }
}

// ---- AVX-512 dot products: 6 rows x two panels ----

constexpr int64_t kDotRows = 6;

int64_t dot_items(const Bf16GemmArgs& a) {
  return a.gemm.m <= 0 || a.gemm.n <= 0 ? 0 : make_plan(a, kDotRows, 2).items();
}
size_t dot_scratch(const Bf16GemmArgs& a) {
  return size_t(2 * kDotRows * kPanel) * sizeof(float) + converted_bytes(a, 2);
}

/// c[2 panels][kRows][32] = rows of a times panels b0, b1; `pairs` pairs of k.
template <int kRows>
VIREO_BF16_TARGET void dot_tile(const uint16_t* a, int64_t lda, const uint16_t* b0, const uint16_t* b1, int64_t pairs,
                                float* c) {
#define VIREO_EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5)
#define VIREO_DECLARE(r) __m512 x##r##0 = _mm512_setzero_ps(), x##r##1 = x##r##0, x##r##2 = x##r##0, x##r##3 = x##r##0;
#define VIREO_STEP(r)                                                                       \
  if constexpr (r < kRows) {                                                                \
    uint32_t pair;                                                                          \
    std::memcpy(&pair, a + r * lda + 2 * i, 4);                                             \
    const __m512bh s = (__m512bh)_mm512_set1_epi32(int32_t(pair));                          \
    x##r##0 = _mm512_dpbf16_ps(x##r##0, s, w0), x##r##1 = _mm512_dpbf16_ps(x##r##1, s, w1); \
    x##r##2 = _mm512_dpbf16_ps(x##r##2, s, w2), x##r##3 = _mm512_dpbf16_ps(x##r##3, s, w3); \
  }
#define VIREO_KEEP(r)                                                                          \
  if constexpr (r < kRows) {                                                                   \
    _mm512_storeu_ps(c + r * kPanel, x##r##0), _mm512_storeu_ps(c + r * kPanel + 16, x##r##1); \
    _mm512_storeu_ps(c + (kDotRows + r) * kPanel, x##r##2);                                    \
    _mm512_storeu_ps(c + (kDotRows + r) * kPanel + 16, x##r##3);                               \
  }
  VIREO_EACH_ROW(VIREO_DECLARE)
  for (int64_t i = 0; i < pairs; ++i) {
    const __m512bh w0 = (__m512bh)_mm512_loadu_si512(b0 + i * 64), w1 = (__m512bh)_mm512_loadu_si512(b0 + i * 64 + 32);
    const __m512bh w2 = (__m512bh)_mm512_loadu_si512(b1 + i * 64), w3 = (__m512bh)_mm512_loadu_si512(b1 + i * 64 + 32);
    VIREO_EACH_ROW(VIREO_STEP)
  }
  VIREO_EACH_ROW(VIREO_KEEP)
#undef VIREO_EACH_ROW
#undef VIREO_DECLARE
#undef VIREO_STEP
#undef VIREO_KEEP
}

void dot_run(const Bf16GemmArgs& a, int64_t begin, int64_t end, void* scratch) {
  const Plan p = make_plan(a, kDotRows, 2);
  const GemmArgs& g = a.gemm;
  const int64_t k = padded_k(a);
  float* const c = static_cast<float*>(scratch);
  uint16_t* const room = reinterpret_cast<uint16_t*>(c + 2 * kDotRows * kPanel);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t block0 = p.first_block(item), block1 = std::min(p.blocks, block0 + p.group_blocks);
    const int64_t panel = p.first_panel(item);
    const bool both = panel + 1 < p.panels;
    const uint16_t* b0 = panel_of(a, panel, room);
    const uint16_t* b1 = both ? panel_of(a, panel + 1, room + k * kPanel) : b0;
    for (int64_t blk = block0; blk < block1; ++blk) {
      const int64_t r0 = begin_of(g.m, p.blocks, blk), rows = begin_of(g.m, p.blocks, blk + 1) - r0;
      const uint16_t* from = a.a + r0 * a.lda;
      switch (rows) {
        case 1: dot_tile<1>(from, a.lda, b0, b1, k / 2, c); break;
        case 2: dot_tile<2>(from, a.lda, b0, b1, k / 2, c); break;
        case 3: dot_tile<3>(from, a.lda, b0, b1, k / 2, c); break;
        case 4: dot_tile<4>(from, a.lda, b0, b1, k / 2, c); break;
        case 5: dot_tile<5>(from, a.lda, b0, b1, k / 2, c); break;
        default: dot_tile<6>(from, a.lda, b0, b1, k / 2, c);
      }
      N_AVX3::finish_rows(g, c, r0, rows, panel * kPanel);
      if (both) N_AVX3::finish_rows(g, c + kDotRows * kPanel, r0, rows, (panel + 1) * kPanel);
    }
  }
}

// ---- AMX: 32 rows x one panel, as 2 x 2 tiles of 16 x 16 sums ----

constexpr int64_t kAmxRows = 32;

int64_t amx_items(const Bf16GemmArgs& a) {
  return a.gemm.m <= 0 || a.gemm.n <= 0 ? 0 : make_plan(a, kAmxRows, 1).items();
}
size_t amx_scratch(const Bf16GemmArgs& a) {
  return size_t(2 * kAmxRows * kPanel) * sizeof(float) + converted_bytes(a, 1);
}

/// A block whose sums are there, the first `done` rows of it already in the output.
struct Sums {
  const float* c = nullptr;
  int64_t row = 0, rows = 0, done = 0;

  void finish(const GemmArgs& g, int64_t column, int64_t count) {
    const int64_t now = std::min(count, rows - done);
    if (now <= 0) return;
    N_AVX3::finish_rows(g, c + done * kPanel, row + done, now, column);
    done += now;
  }
};

/// c[rows][32] = a[rows][k] times one panel. Meanwhile the tiles' unit multiplies, the rows of the block before go into
/// the output, a few at a time, and `lines` cache lines from `ahead` into L2.
template <bool kBoth>
void amx_block(const GemmArgs& g, int64_t column, const uint16_t* a, int64_t lda, const uint16_t* b, int64_t k,
               float* c, Sums* before, const char* ahead, int64_t lines) {
  constexpr int64_t kPieces = 4;
  const uint16_t* const a16 = a + 16 * lda;
  const int64_t steps = k / kBf16Step, each = div_up(lines, steps);
  const int64_t piece = div_up(before->rows, kPieces), pause = std::max<int64_t>(1, steps / kPieces);
  zero_tile<0>(), zero_tile<1>();
  if (kBoth) zero_tile<2>(), zero_tile<3>();
  for (int64_t i = 0; i < steps; ++i) {
    const uint16_t* const w = b + i * kBf16Step * kPanel;
    load_tile<4>(a + i * kBf16Step, lda * 2), load_tile<6>(w, kPanel * 4), load_tile<7>(w + 32, kPanel * 4);
    if (kBoth) load_tile<5>(a16 + i * kBf16Step, lda * 2);
    for (int64_t l = 0; l < each; ++l, ahead += 64) _mm_prefetch(ahead, _MM_HINT_T1);
    multiply_bf16<0, 4, 6>(), multiply_bf16<1, 4, 7>();
    if (kBoth) multiply_bf16<2, 5, 6>(), multiply_bf16<3, 5, 7>();
    if (i % pause == 0) before->finish(g, column, piece);
  }
  before->finish(g, column, before->rows);
  store_tile<0>(c, kPanel * 4), store_tile<1>(c + 16, kPanel * 4);
  if (kBoth) store_tile<2>(c + 16 * kPanel, kPanel * 4), store_tile<3>(c + 16 * kPanel + 16, kPanel * 4);
}

void amx_run(const Bf16GemmArgs& a, int64_t begin, int64_t end, void* scratch) {
  const Plan p = make_plan(a, kAmxRows, 1);
  const GemmArgs& g = a.gemm;
  const int64_t k = padded_k(a), panel_bytes = from_i8(a) ? g.k * kPanel : k * kPanel * 2;
  float* const c = static_cast<float*>(scratch);
  uint16_t* const room = reinterpret_cast<uint16_t*>(c + 2 * kAmxRows * kPanel);
  int64_t shape = 0;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t block0 = p.first_block(item), block1 = std::min(p.blocks, block0 + p.group_blocks);
    const int64_t panel = p.first_panel(item);
    const char* const next = static_cast<const char*>(g.b) + (panel + 1) * panel_bytes;
    const uint16_t* const b = panel_of(a, panel, room);
    // A thread takes items upwards, so the next panel is its own too; every block fetches a part of it.
    const int64_t lines = panel + 1 < p.panels ? panel_bytes / 64 / (block1 - block0) : 0;
    Sums before;
    for (int64_t blk = block0; blk < block1; ++blk) {
      const int64_t r0 = begin_of(g.m, p.blocks, blk), rows = begin_of(g.m, p.blocks, blk + 1) - r0;
      if (rows != shape) set_product_tiles(shape = rows, 2 * kBf16Step);
      const char* const ahead = next + (blk - block0) * lines * 64;
      float* const to = c + (blk - block0) % 2 * kAmxRows * kPanel;
      (rows > 16 ? amx_block<true> : amx_block<false>)(g, panel * kPanel, a.a + r0 * a.lda, a.lda, b, k, to, &before,
                                                       ahead, lines);
      before = {to, r0, rows, 0};
    }
    before.finish(g, panel * kPanel, before.rows);
  }
  release_tiles();
}

// ---- what the units do at most: independent sums on registers, as many as hide the latency ----

volatile float probe_sink;

VIREO_BF16_TARGET __attribute__((noinline)) double dot_probe() {
  constexpr int kSums = 24, kSteps = 10000;
  __m512 sum[kSums];
  const __m512bh x = (__m512bh)_mm512_set1_epi32(0x3f003f00), y = (__m512bh)_mm512_set1_epi32(0x3a803a80);
  _Pragma("GCC unroll 32") for (int i = 0; i < kSums; ++i) sum[i] = _mm512_set1_ps(float(i));
  for (int step = 0; step < kSteps; ++step) {
    _Pragma("GCC unroll 32") for (int i = 0; i < kSums; ++i) sum[i] = _mm512_dpbf16_ps(sum[i], x, y);
  }
  float all = 0;
  for (int i = 0; i < kSums; ++i) all += sum[i][0];
  probe_sink = all;
  return 2.0 * 32 * kSums * kSteps;
}

__attribute__((noinline)) double amx_probe() {
  constexpr int kSteps = 2000;
  alignas(64) const uint16_t zeros[16 * 32] = {};
  set_product_tiles(kAmxRows, 2 * kBf16Step);
  zero_tile<0>(), zero_tile<1>(), zero_tile<2>(), zero_tile<3>();
  load_tile<4>(zeros, 64), load_tile<5>(zeros, 64), load_tile<6>(zeros, 64), load_tile<7>(zeros, 64);
  for (int step = 0; step < kSteps; ++step)
    multiply_bf16<0, 4, 6>(), multiply_bf16<1, 4, 7>(), multiply_bf16<2, 5, 6>(), multiply_bf16<3, 5, 7>();
  alignas(64) float sums[16 * 16];
  store_tile<3>(sums, 64);
  probe_sink = sums[0];
  release_tiles();
  return 2.0 * 16 * 16 * 32 * 4 * kSteps;
}

}  // namespace

Bf16Probe bf16_dot_probe() { return &dot_probe; }
Bf16Probe bf16_amx_probe() { return &amx_probe; }
Kernel<ToBf16Args> to_bf16_kernel() { return {&convert_items, &convert_scratch, &convert_run}; }
Kernel<Bf16GemmArgs> bf16_dot_kernel() { return {&dot_items, &dot_scratch, &dot_run}; }
Kernel<Bf16GemmArgs> bf16_amx_kernel() { return {&amx_items, &amx_scratch, &amx_run}; }

bool have_bf16_dot() { return __builtin_cpu_supports("avx512bf16"); }

namespace {
/// Extended features (leaf 7), EDX.
uint32_t extended_features() {
  uint32_t eax = 7, ebx = 0, ecx = 0, edx = 0;
  asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return edx;
}
}  // namespace

bool have_i8_amx() { return (extended_features() & 1u << 25) != 0; }

bool have_bf16_amx() {
  constexpr uint32_t kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  const uint32_t features = extended_features();
  if ((features & kAmxBf16) == 0 || (features & kAmxTile) == 0 || !have_bf16_dot()) return false;
  // Linux hands the 8 KiB of tile state to processes that ask for it (ARCH_REQ_XCOMP_PERM of XTILEDATA), once for all
  // threads. It refuses when the kernel is too old or a thread's signal stack is too small: then there is no AMX.
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}

}  // namespace vireo::simd

#endif
