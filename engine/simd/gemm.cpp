// The GEMM kernel: rows times packed weights.
#include "simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/gemm.cpp"
#include <hwy/foreach_target.h>

#include "simd/gemm_run-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vireo::simd::HWY_NAMESPACE {

static int64_t items(const GemmArgs& g) { return gemm_items<NoGather>(g); }
static size_t scratch_bytes(const GemmArgs& g) { return gemm_scratch<NoGather>(g); }
static void run(const GemmArgs& g, int64_t begin, int64_t end, void* scratch) {
  run_gemm(g, begin, end, scratch, NoGather());
}

void finish_rows(const GemmArgs& g, const float* c, int64_t row0, int64_t rows, int64_t col0) {
  epilogue(g, c, row0, rows, col0);
}

template <int... kRows>
static constexpr PanelTable panel_table(std::integer_sequence<int, kRows...>) {
  return {{&panel_rows<kRows + 1>...}};
}
const PanelTable kPanelTable = panel_table(std::make_integer_sequence<int, kMaxRows>());

Blocking blocking_of(const Caches& caches) { return blocking(caches); }
Kernel<GemmArgs> gemm_kernel() { return {&items, &scratch_bytes, &run}; }

}  // namespace vireo::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
