// What an operator means: one OpDef per line of ops.def, read by the planner, the tests and the benchmarks. What does
// it on a device is a kernel: ops/kernel.h.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "device/caps.h"
#include "ops/tuning.h"
#include "shader/words.h"
#include "simd/kernels.h"
#include "tensor/tensor.h"

#include <vireo/types.hpp>

namespace vireo {

enum class OpKind : uint8_t {
#define OP(kind, def) k##kind,
#include "ops/ops.def"
#undef OP
};

/// Activation epilogues of linear and conv2d; the numbers are those of the shaders and of simd::Act.
constexpr const char* kActNames[] = {"none", "gelu_erf", "gelu_tanh", "silu", "relu", "tanh", "hardswish", nullptr};

constexpr int kMaxAttrs = 12;
/// Attribute values in the order of the operator's table; integers and enumerators are stored exactly.
using Attrs = std::array<double, kMaxAttrs>;

struct AttrDef {
  const char* name;
  double initial;
  const char* const* names = nullptr;  // enumerator names, for the text dump
};

/// One node as its operator sees it: attributes and operand descriptions. in[i] is null for an absent optional operand.
struct OpCall {
  const char* name = "";
  const Attrs* attrs = nullptr;
  std::vector<const TensorDesc*> in;
  TensorDesc out;

  double attr(int i) const { return (*attrs)[size_t(i)]; }
  int64_t iattr(int i) const { return int64_t((*attrs)[size_t(i)]); }
  const TensorDesc* input(size_t i) const { return i < in.size() ? in[i] : nullptr; }
};

/// How a constant is laid out in the weights memory.
enum class Pack : uint8_t {
  kVector,       ///< fp32, zero padded to a multiple of 4 elements
  kRows,         ///< fp32 rows, each zero padded to a multiple of 4 elements
  kGpuMatrix,    ///< per panel [round_up(k,4)][panel/4] groups of 4 consecutive outputs; i8 is followed by fp32 scales
  kCpuPanels,    ///< simd::pack_weight's panels; i8 is followed by fp32 scales
  kCpuInteger,   ///< simd::pack_weight_integer's panels; behind them fp32 scales, int32 zero points where there are any
                 ///< and, with column_sums, int32 sums of code - zero, each [groups][n to whole panels]: both factors
                 ///< are codes
  kCpuWinograd,  ///< simd::pack_winograd's panels, fp32
  kGpuWinograd,  ///< of a 3x3 kernel U = G g G^T: [panels][trips of `step` channels][16][step][panel]
};

struct PackedConst {
  int operand = 0;  // index into OpCall::in
  Pack pack = Pack::kVector;
  DType dtype = DType::kF32;  // element type of the packed matrix
  Grid grid = {};             // of kI8: what its codes mean; scales of rows or of groups
  std::array<int32_t, 3>
      permute{};               // {cin, kh, kw}: reorder each row from (cin, kh, kw) to (kh, kw, cin); zeros = keep
  bool pad_channels = false;   // permute: pad cin to a multiple of 4 with zeros
  bool centre = false;         // i8: the operand is normalised, so rows may be centred (plan/quantise.h)
  int32_t panel = 0;           // kGpuMatrix: columns per panel, in one piece with all its k; 0: one panel of all
  int32_t step = 0;            // kGpuWinograd: channels of a trip
  bool staged = false;         // kGpuMatrix: scales are multiplied while W is staged, so they may be by group:
                               // [panels][scale_rows][panel], then as many offsets -zero * scale with zero points
  bool dots = false;           // kGpuMatrix: a word holds 4 columns of a row, [k / 4][n to a multiple of 4] words;
                               // scales of rows, then with column_sums int32 sums of their codes
  int32_t scale_rows = 0;      // groups, and rows that a load's surplus may read
  bool column_sums = false;    // kCpuInteger, dots: the rows have a zero point
  bool bf16_rows = false;      // kCpuPanels: the product's other factor is rounded to bfloat16
  int32_t groups = 1;          // of a convolution: row r holds its group's columns, the others are zeros
  int32_t taps = 0;            // i8: weights per kernel of a convolution, whose rounding errors are balanced; 0 = none
  uint64_t bytes = 0;          // everything, scales included
  uint64_t scales_offset = 0;  // i8: where the scales start, from the beginning of this constant
  uint64_t wide_offset = 0;    // wide_rows(): where a word for each row starts, to whole panels: where the row's high
                               // parts are among those behind these words (kCpu*: their row; kGpuMatrix: their word),
                               // ~0 of other rows. Of 8 columns a word holds those of column k in bits 8 (k % 4) + 4
                               // (k / 4 % 2) and up, so that a code of 8 bits takes 8 bits and others 4

  /// Scales [groups][n to whole panels] that belong to columns k, then as many offsets (-zero * scale) where there are
  /// zero points. Otherwise one scale per row: [n to a multiple of 4].
  bool by_group() const {
    return pack == Pack::kCpuPanels && grid.coded() && (grid.scope == Scope::kGroup || grid.zero_points || nibbles());
  }
  /// Two codes in a byte.
  bool nibbles() const {
    return (pack == Pack::kCpuPanels || pack == Pack::kCpuInteger || staged) && grid.coded() && grid.bits <= 4;
  }
  /// Some rows have codes of 8 bits: their low parts lie where other rows have their codes, their high parts elsewhere.
  bool wide_rows() const { return nibbles() && grid.wide > 0; }
};

enum class BindKind : uint8_t { kStorage, kTexelF32, kTexelF16, kTexelSnorm8 };

/// What is bound at one binding number of a dispatch.
struct Operand {
  enum class What : uint8_t { kInput, kOutput, kConst, kScales, kDummy } what = What::kDummy;
  int index = 0;  // kInput: operand number; kConst and kScales: index into Lowering::consts
  BindKind kind = BindKind::kStorage;
};

/// What a dispatch computes, for tools that judge kernels; nothing is decided by it. An operator that does not say gets
/// an equal share of its step's cost.
struct Work {
  double flops = 0;         // of the result, as Cost counts them
  double issued_flops = 0;  // with what is computed beyond the edges and thrown away, idle lanes included
  struct Loop {
    uint32_t runs;           // how often its body runs in one invocation
    uint32_t multiply_adds;  // of one run, inner loops left out: tells the loops of a binary apart
  };
  std::vector<Loop> loops;  // those that the kernel asks not to unroll
};

/// One vkCmdDispatch.
struct Dispatch {
  std::string shader;  // module name in shader/modules.h
  shader::Words spec;  // specialisation constants
  shader::Words push;  // push constants
  std::array<uint32_t, 3> groups{1, 1, 1};
  std::vector<Operand> operands;  // by binding number
  Work work;
};

struct KernelDef;  // ops/kernel.h

/// Mean and sum of squared deviations of each row's neighbouring columns, which its producer leaves behind the rows for
/// who normalises them: pairs [rows][parts] of fp32.
struct RowMoments {
  int64_t parts = 0;    // pairs of a row; 0: there are none
  int64_t columns = 0;  // that a pair is of; the last has what is left
  uint64_t offset = 0;  // bytes from the value's beginning
  uint64_t bytes = 0;   // of the rows and these together
};

/// What an operator becomes on a device: constants to pack and dispatches to record (Vulkan) or scratch to reserve
/// (CPU).
struct Lowering {
  std::vector<PackedConst> consts;
  std::vector<Dispatch> dispatches;
  std::string kernel;             // for the plan's text: "linear.texel r8", "gemm"
  uint64_t scratch_bytes = 0;     // CPU: for all threads together
  bool out_f32 = false;           // the output stays fp32 although activations are fp16
  RowMoments moments = {};        // of the output's rows
  const KernelDef* by = nullptr;  // who made it
  Constants constants;            // which of its choices
  int view_of = -1;               // operand whose bytes the output is, view_offset bytes in: no work at all
  uint64_t view_offset = 0;
};

/// What the factors of a matrix product may be rounded to: bfloat16 on a CPU that multiplies it faster; or int8, a row
/// of activations with a scale of its own, where the weight is int8 with a scale per row (on a GPU the weight alone
/// is).
enum class Products : uint8_t { kF32, kBf16, kI8 };

struct LowerContext {
  const DeviceCaps* caps = nullptr;
  const Tuning* tuning = nullptr;
  Products products = Products::kF32;
  bool allow_views = true;              // false when the operand's or the output's memory is not the arena's
  Products attention = Products::kF32;  // of attention's products alone
  bool attention_asked = false;         // the policy or the checkpoint says so; else it is what they may be rounded to
  RowMoments moments = {};              // of operand 0's rows
  bool wants_moments = false;           // some reader normalises the output's rows
};

/// What other operators' rewrites, labels and layouts may do with an operator; -1: nothing of the kind.
struct Slots {
  int act = -1;       ///< attribute: the activation behind its sums
  int norm = -1;      ///< attribute: 1 where it normalises the rows of operand 0
  int norm_eps = -1;  ///< attribute: that norm's eps, or that of the norm that the operator is
  int bias = -1;      ///< operand: an offset per column
  int scale = -1;     ///< operand: a factor per column, behind the activation
  int residual = -1;  ///< operand: rows that are added last
  int affine = -1;    ///< operand: gains and offsets of the normalised columns, where they are not in the matrix
};

/// One dispatch of OpDef::sized and the part of the output that it writes.
struct SizedDispatch {
  Dispatch dispatch;
  uint64_t offset = 0, bytes = 0;  // of the output as dense floats
};

/// For CpuCall: another height and width for the output than planned, as dense floats.
struct SizedOutput {
  int64_t h = 0, w = 0;
  float* out = nullptr;
};

/// A CPU step ready to run. Rows lie TensorDesc::row_stride() apart (or planar for the picture input) and are of the
/// types that `op` describes: fp32, but for operators that convert.
struct CpuCall {
  const OpCall* op = nullptr;
  const void* const* in = nullptr;         // by operand; null for constants
  const uint8_t* const* consts = nullptr;  // by index into Lowering::consts
  const PackedConst* packs = nullptr;      // the same index
  void* out = nullptr;
  uint8_t* scratch = nullptr;
  uint64_t scratch_bytes = 0;
  const simd::Kernels* kernels = nullptr;
  simd::Caches caches;  // as the plan had them
  ThreadPool* pool = nullptr;
  const SizedOutput* sized = nullptr;  // instead of `out`; only of operators that have OpDef::sized

  const float* rows(size_t i) const { return static_cast<const float*>(in[i]); }
  const uint16_t* half_rows(size_t i) const { return static_cast<const uint16_t*>(in[i]); }
  float* result() const { return static_cast<float*>(out); }
  uint16_t* half_result() const { return static_cast<uint16_t*>(out); }
};

/// What a thread of a CPU with these caps has of its caches while all work.
simd::Caches caches_for(const DeviceCaps& caps);

/// Dense double tensors for the reference (rows without padding; constants as [1,1,rows,cols]).
struct RefCall {
  const OpCall* op = nullptr;
  std::vector<const std::vector<double>*> in;
  std::vector<double>* out = nullptr;
};

struct Cost {
  double flops = 0;  // multiply and add counted as two
  double read_bytes = 0;
  double write_bytes = 0;
};

/// A conformance case: operand shapes (rows = 0 for an absent operand) and attributes; random values in [-scale,
/// scale].
struct OpCase {
  std::string label;
  std::vector<Shape> in;       // c() == 0 marks an absent optional operand
  std::vector<bool> constant;  // by operand
  Attrs attrs{};
  float scale = 1.f;
  bool planar = false;  // first operand is a planar picture
};

/// Which rows the Vulkan lowering takes any multiple of 4 elements apart (TensorDesc::gap), reading and writing nothing
/// between them. What an operator does not claim here lies dense on Vulkan, at the price of copies; on the CPU every
/// operator takes any rows.
struct StridedRows {
  bool out = false;
  uint32_t in = 0;  // bit i: operand i
};

struct OpDef {
  const char* name;
  const AttrDef* attrs;  // ends with a null name
  /// Shape and dtype rule, the only validator. Constants come as [1, 1, rows, cols].
  Result<TensorDesc> (*infer)(const OpCall& call);
  void (*reference)(const RefCall& call);
  Cost (*cost)(const OpCall& call);
  /// Largest allowed |got - reference| relative to the scale of the output's terms, for fp32; derivation beside each.
  double (*tolerance)(const OpCall& call);
  std::vector<OpCase> (*cases)();
  StridedRows strided = {};
  /// Null but for operators whose output's height and width may be chosen anew for every inference (an argmax's map):
  /// the dispatches that write it at that size, [n, h, w] dense floats, while all else is as planned. None needs more
  /// than the device's limits but for `bytes`, and each offset is a multiple of 256 bytes.
  Result<std::vector<SizedDispatch>> (*sized)(const OpCall& call, const LowerContext& ctx, int64_t h,
                                              int64_t w) = nullptr;
  /// The operand that is a matrix which a policy may give another format than fp32; -1: there is none.
  int matrix = -1;
  Slots slots = {};
  int activation = 0;   ///< what it is itself, as kActNames counts
  bool view = false;    ///< its output may be bytes of operand 0, without any work
  bool gather = false;  ///< its output is its operands' channels side by side
  /// On the CPU: rows of operand 0 that are a multiple of so many bytes apart slow it down; 0: it does not matter.
  /// Null: it never matters, or it cannot take other rows.
  int64_t (*row_conflict)(const Attrs& attrs, const Shape& in, const Shape& out) = nullptr;
  bool conversion =
      false;              ///< its output is operand 0 in another type; on the CPU too, where all others take fp32 rows
  bool row_gaps = false;  ///< its output may have gaps for readers that ask for them
};

const OpDef& op_def(OpKind kind);
/// All kinds in the order of ops.def.
const std::vector<OpKind>& all_ops();
/// Attributes of an operator at their initial values, then overridden by name; unknown names are an error.
Result<Attrs> make_attrs(OpKind kind, const std::vector<std::pair<const char*, double>>& named);

}  // namespace vireo
