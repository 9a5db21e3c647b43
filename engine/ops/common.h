// What the operators' files share: packing descriptions, binding shorthand, grids, running a CPU kernel on the pool.
#pragma once

#include <algorithm>
#include <cmath>

#include "ops/kernel.h"

namespace vireo::ops {

inline uint32_t u32(int64_t v) { return uint32_t(v); }
uint32_t float_word(double v);
/// The shaders' type codes: 0 f32, 1 f16, 2 i8.
uint32_t type_code(DType t);
inline int64_t groups4(int64_t c) { return div_up(c, 4); }
/// Groups of 4 elements from one row to the next: the shaders' ld4.
inline int64_t stride4(const TensorDesc& t) { return t.row_stride() / 4; }

/// Whether a CPU product with that many rows can multiply bfloat16: the policy, the CPU and the weight's format allow
/// it.
Result<void> accepts_bf16(const TensorDesc& weight, const LowerContext& ctx, int64_t rows);
/// How the weight of a CPU product is stored: as assigned, but bfloat16 instead of fp16 where its rows are that.
Format cpu_weight_format(const TensorDesc& weight, bool bf16_rows);
/// How the weight of a product with `x` is stored on Vulkan: as assigned, but the numbers themselves (in x's type) for
/// codes that no shader takes: scales per group, zero points.
Format gpu_weight_format(const TensorDesc& weight, const TensorDesc& x);
/// Codes whose scales a shader multiplies while it stages W: by group, with zero points, and of 4 bits, which only the
/// scales' place tells apart from codes in bytes. k to a multiple of 4 would be numbers that are not 0.
inline bool staged_codes(const TensorDesc& weight, int64_t k) {
  const Grid& g = weight.grid;
  return g.coded() && k % 4 == 0 && (g.scope == Scope::kGroup || g.zero_points || g.bits <= 4);
}
constexpr int64_t kBf16Rows = 16;
/// Whether a CPU product over k columns can multiply codes: the weight is codes, its rows are to be codes too, and the
/// sums are exact. `by_columns`: groups of columns and zero points may be (a linear's, whose columns stay in order).
Result<void> accepts_integers(const TensorDesc& weight, int64_t k, const LowerContext& ctx, bool by_columns);
/// Of CPU products by what they multiply, per product of fp32.
inline double fp32_cost(const OpCall&, const LowerContext&) { return 1; }
inline double bf16_cost(const OpCall&, const LowerContext&) { return 1 / 2.0; }
inline double integer_cost(const OpCall&, const LowerContext&) { return 1 / 4.0; }
/// Its rows of codes: values from one to the next; bytes of all with scales and sums; and all that run_integers()
/// needs.
int64_t i8_stride(int64_t k);
uint64_t i8_bytes(const simd::GemmArgs& a);
uint64_t i8_scratch(const simd::GemmArgs& a, bool normalise, const LowerContext& ctx);
/// For a plan's text: "gemm int8 vnni, rows by token" or ", rows by tensor".
std::string integer_kernel(const TensorDesc& weight, const LowerContext& ctx);
/// The product a (set_weight() has been there) of m rows x with the weight `pack`, operand `weight` of the call; rows
/// are quantised on the way into the call's scratch.
void run_integers(const CpuCall& call, size_t weight, simd::GemmArgs a, const float* x, int64_t ldx, bool normalise,
                  float eps, const float* gain = nullptr, const float* offset = nullptr);
PackedConst vector_const(int operand, int64_t n);
PackedConst rows_const(int operand, int64_t rows, int64_t cols);
/// `panel`: PackedConst::panel; `slack`: groups of 4 that a kernel may read, and throw away, beyond the last.
PackedConst gpu_matrix(int operand, int64_t n, int64_t k, const Format& f, int64_t panel = 0, int64_t slack = 0,
                       bool staged = false);
/// For products with rows of codes (PackedConst::dots).
PackedConst gpu_dots(int operand, int64_t n, int64_t k, const TensorDesc& weight);
PackedConst cpu_panels(int operand, int64_t n, int64_t k, const Format& f);
PackedConst cpu_integer(int operand, int64_t n, int64_t k, const TensorDesc& weight);
PackedConst cpu_winograd(int operand, int64_t n, int64_t c);
PackedConst gpu_winograd(int operand, int64_t n, int64_t c, DType type, int64_t panel, int64_t step);

inline Operand input(int i, BindKind k = BindKind::kStorage) { return {Operand::What::kInput, i, k}; }
inline Operand output() { return {Operand::What::kOutput, 0, BindKind::kStorage}; }
inline Operand constant(int i, BindKind k = BindKind::kStorage) { return {Operand::What::kConst, i, k}; }
inline Operand scales(int i) { return {Operand::What::kScales, i, BindKind::kStorage}; }
inline Operand dummy(BindKind k = BindKind::kStorage) { return {Operand::What::kDummy, 0, k}; }
/// False for codes that a texel view cannot give: it reads -128 as -127 (VK_FORMAT_R8G8B8A8_SNORM).
inline bool texel_codes(const Format& f) { return !f.grid.coded() || !f.grid.lowest || f.grid.bits < 8; }
/// The weight of a CPU product; `bytes` is null where only its description counts.
void set_weight(const PackedConst& pack, const uint8_t* bytes, simd::GemmArgs& a);
/// The texel view of a tensor or packed matrix of that type.
BindKind texel_kind(DType t);
/// True if the tensor can be bound as one texel view on this device.
bool texel_fits(const DeviceCaps& caps, uint64_t bytes, DType t);

/// A grid of `groups` workgroups in x and y, for shaders that number them flat.
std::array<uint32_t, 3> flat_grid(const DeviceCaps& caps, int64_t groups);

/// kUnsupported when a grid is larger than the device takes.
Result<void> check_grid(const OpCall& call, const DeviceCaps& caps, const std::array<uint32_t, 3>& groups);

/// Blocks of rows per dispatch, so that none exceeds the device's limit of work in one (but for a single block).
int64_t blocks_per_dispatch(double flops, double limit, int64_t blocks);
/// Appends `whole` to a lowering, a long dispatch cut along its `rows` rows (push constant m0), of which a workgroup
/// has `block`; issued(rows) tells what is computed of some of them.
template <typename Issued>
Result<void> cut_rows(const OpCall& call, const LowerContext& ctx, const Dispatch& whole, int64_t rows, int64_t block,
                      double row_flops, const Issued& issued, Lowering* l) {
  const int64_t blocks = div_up(rows, block);
  const int64_t per_part = blocks_per_dispatch(row_flops * double(rows), ctx.tuning->max_dispatch_flops, blocks);
  for (int64_t first = 0; first < blocks; first += per_part) {
    const int64_t begin = first * block, here = std::min(rows, (first + per_part) * block) - begin;
    Dispatch part = whole;
    part.push.add("m0", u32(begin));
    part.groups[0] = u32(div_up(here, block));
    part.work.flops = row_flops * double(here);
    part.work.issued_flops = issued(here);
    VIREO_TRY(check_grid(call, *ctx.caps, part.groups));
    l->dispatches.push_back(std::move(part));
  }
  return {};
}

/// Error for a wrong operand, in the house's words.
Error shape_error(const OpCall& call, const char* operand, const std::string& got, const std::string& expected);
std::string got(const TensorDesc* t);

/// True if constant t holds a vector of n values.
inline bool is_vector(const TensorDesc* t, int64_t n) { return t && t->shape.rows() == 1 && t->shape.c() == n; }

/// The kernels that a plan for these caps will run on; of a target that is not to be had here, for plans that are only
/// looked at, those that ask least of a CPU: such a plan's kernels are the same on every host, its scratch is not.
const simd::Kernels& kernels_for(const DeviceCaps& caps);

/// Threads the kernel's items over the pool; every thread has its own part of the call's scratch.
template <typename Args>
void run_kernel(const CpuCall& call, const simd::Kernel<Args>& kernel, Args args) {
  if (simd::Caches* c = simd::caches_of(args)) *c = call.caches;
  struct Job {
    const simd::Kernel<Args>* kernel;
    const Args* args;
    uint8_t* scratch;
    size_t per_thread;
  } job{&kernel, &args, call.scratch, size_t(round_up(int64_t(kernel.scratch_bytes(args)), 64))};
  call.pool->parallel_for(kernel.items(args), 1, [&job](int64_t begin, int64_t end, int thread) {
    job.kernel->run(*job.args, begin, end, job.per_thread ? job.scratch + size_t(thread) * job.per_thread : nullptr);
  });
}

/// Scratch for all threads of the plan's device, for lower_cpu.
template <typename Args>
uint64_t scratch_for(const LowerContext& ctx, const simd::Kernel<Args>& kernel, Args args) {
  if (simd::Caches* c = simd::caches_of(args)) *c = caches_for(*ctx.caps);
  return uint64_t(round_up(int64_t(kernel.scratch_bytes(args)), 64)) * ctx.caps->threads;
}

/// Bfloat16 rows in scratch: values from one row to the next (not a multiple of 2 KiB, see row_gap in plan/lower.cpp).
inline int64_t bf16_stride(int64_t k) {
  const int64_t padded = round_up(k, simd::kBf16Step);
  return padded % 1024 == 0 ? padded + 32 : padded;
}
inline uint64_t bf16_bytes(int64_t rows, int64_t k) { return uint64_t(round_up(rows * bf16_stride(k) * 2, 64)); }

/// act() of the epilogue in double, by simd::Act's numbers.
double act_reference(int act, double x);

/// |got - ref| <= rounding_bound(k) * max(1, max |ref|) for a sum of k products of values around 1 in fp32: rounding
/// errors of a random walk grow as k * 2^-24 / 8.5 while the sums grow as sqrt(k) / 3, hence about 2^-23 sqrt(k); the
/// constant covers the epilogue.
inline double rounding_bound(int64_t k) { return std::ldexp(1.0, -23) * (8 + std::sqrt(double(k))); }

/// Bytes the operator moves when every operand is read once.
Cost cost_of(const OpCall& call, double flops);

Attrs attrs_of(std::initializer_list<double> values);
Shape tokens_shape(int64_t batch, int64_t tokens, int64_t width);

}  // namespace vireo::ops
