// Plan: everything needed to run a graph on a device, as data. Printable, comparable, computed without the device.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "device/caps.h"
#include "graph/graph.h"
#include "ops/kernel.h"
#include "ops/op.h"
#include "ops/tuned.h"
#include "plan/policy.h"

namespace vireo {

/// The memories of a plan. Arena and weights are one allocation each; input and output live in the staging allocation,
/// one copy per inference in flight.
enum class Region : uint8_t { kArena, kWeights, kInput, kOutput };
const char* to_string(Region r);

struct BufferRef {
  Region region = Region::kArena;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

/// An activation with its place.
struct PlanValue {
  ValueId id = kNoValue;
  std::string name;
  TensorDesc desc;
  BufferRef where;
  int32_t first_step = -1;  // written by; -1 for an input
  int32_t last_step = -1;   // last read by; steps.size() for an output
  int32_t view_of =
      -1;  // index of the value whose bytes these are (a slice without a copy, a part of a concatenation), or -1
  uint64_t view_offset = 0;  // bytes from its start
  RowMoments moments = {};   // behind its rows

  uint64_t bytes() const { return moments.parts > 0 ? moments.bytes : desc.bytes(); }
};

/// A constant packed for the device.
struct PlanConst {
  ValueId id = kNoValue;
  std::string name;
  PackedConst pack;
  uint64_t offset = 0;  // in Region::kWeights
  Grid stored = {};     // of the checkpoint's codes, where it holds codes

  Format format() const { return {pack.dtype, pack.grid}; }
};

struct Binding {
  /// What is bound: a value (kInput, kOutput: index into Plan::values) or a constant (kConst, kScales: into
  /// Plan::consts).
  struct Source {
    Operand::What what = Operand::What::kDummy;
    int32_t index = -1;
  } source;
  BufferRef where;  // follows from the source once placed; bytes == 0: nothing is read or written here
  BindKind kind = BindKind::kStorage;
  bool reads = true, writes = false;
};

struct PlanDispatch {
  std::string shader;
  std::vector<uint32_t> spec, push;
  std::array<uint32_t, 3> groups{1, 1, 1};
  std::vector<Binding> bindings;  // by binding number
  Work work;
};

struct Step {
  std::string name;  // the graph node's name
  OpKind op{};
  Attrs attrs{};
  DeviceKind device = DeviceKind::kVulkan;
  std::string reason;                   // why it is on the CPU in a Vulkan plan; empty otherwise
  const KernelDef* by = nullptr;        // what does it
  Constants constants;                  // which of the kernel's choices, where it has some
  std::string kernel;                   // the same for people
  std::string formats;                  // the policy's name: a part of step_key
  std::vector<int32_t> inputs;          // by operand: index into Plan::values, or -1 (absent, or a constant)
  std::vector<int32_t> consts;          // by Lowering::consts: index into Plan::consts
  std::vector<TensorDesc> const_descs;  // by operand: a constant operand as the policy wants it (elsewhere default)
  std::vector<bool> operand_present;    // by operand
  int32_t output = -1;                  // index into Plan::values
  std::vector<PlanDispatch> dispatches;
  BufferRef scratch;  // CPU steps; bytes may be 0
  Cost cost;
};

/// A global memory barrier before the first dispatch of a step.
struct Barrier {
  int32_t before_step = 0;
  std::string reason;  // "RAW blocks.0.attn.qkv"; "range of A and B": bytes side by side, see order.cpp
};

struct Plan {
  std::string model;
  std::string caps_name;
  DeviceKind device = DeviceKind::kVulkan;
  DeviceCaps caps;
  Precision precision = Precision::kFp32;
  std::string policy;               // its name
  DType activations = DType::kF32;  // of values between the device's steps
  bool half_beside_codes = false;   // which the device's kernels made fp16
  int64_t batch = 1;
  std::vector<PlanValue> values;
  std::vector<PlanConst> consts;
  std::vector<Step> steps;
  std::vector<Barrier> barriers;         // by before_step
  std::vector<int32_t> inputs, outputs;  // indices into values
  uint64_t arena_bytes = 0, weights_bytes = 0, input_bytes = 0, output_bytes = 0;

  int64_t dispatch_count() const {
    int64_t n = 0;
    for (const Step& s : steps) n += s.device == DeviceKind::kCpu ? 1 : int64_t(s.dispatches.size());
    return n;
  }
  /// The step whose output's height and width may be chosen for every inference (OpDef::sized): the last one where that
  /// is the plan's output, or -1. As planned, it writes them at the planned size.
  int32_t sized_step() const {
    if (steps.empty() || outputs.size() != 1 || steps.back().output != outputs[0] || !op_def(steps.back().op).sized)
      return -1;
    return int32_t(steps.size()) - 1;
  }
  bool has_cpu_steps() const {
    for (const Step& s : steps)
      if (s.device == DeviceKind::kCpu) return true;
    return false;
  }
};

struct PlanOptions {
  Precision precision = Precision::kFp32;
  std::optional<FormatPolicy> policy;  // instead of precision's
  bool fuse = true;
  bool keep_all = false;              // every value keeps its own bytes, for `diff`
  bool half_outputs = false;          // outputs leave as fp16 rows when activations are fp16 (tests)
  const TunedSteps* tuned = nullptr;  // per-step constants of this device, by step_key; null for none
  std::optional<Tuning> tuning;       // instead of the class's defaults
  std::vector<std::string> cpu_ops;   // operators to place on the CPU in a Vulkan plan (names, for debugging and tests)
};

/// Model graph in, verified plan out: fuse, lower, place, order, verify. Pure.
/// The plan's constants refer to `fused`, the graph after fusion, which is returned beside the plan and must outlive
/// packing.
struct Planned {
  Graph graph;
  Plan plan;
};
Result<Planned> make_plan(Graph graph, const DeviceCaps& caps, const PlanOptions& options);

/// The options' policy, settled on the device.
FormatPolicy policy_for(const PlanOptions& options, const DeviceCaps& caps);

// The stages, each in a file of its own.
/// `device`: the plan's; what it multiplies decides what may be folded into a weight of codes.
Result<Graph> fuse(Graph graph, const FormatPolicy& policy = {}, DeviceKind device = DeviceKind::kVulkan,
                   std::vector<std::string>* applied = nullptr);  // fuse.cpp
/// Errors: those of FormatPolicy::of_rows.
Result<void> assign(Graph& graph, const FormatPolicy& policy);  // assign.cpp
/// A step's dispatch with its values where the module (`reflection` is of it) wants them, without bindings. Errors:
/// kInternal, naming step, shader and value, and listing the names that the module declares.
Result<PlanDispatch> resolve_words(const std::string& step, const shader::Reflection& reflection, const Dispatch& d);
Result<PlanDispatch> resolve_words(const std::string& step, const Dispatch& d);
Result<Plan> lower(const Graph& graph, const DeviceCaps& caps, const PlanOptions& options);
void place(Plan& plan, bool keep_all);  // fills offsets of values and constants and the region sizes
void order(Plan& plan);                 // fills barriers, from byte ranges
Result<void> verify(const Plan& plan);  // independent brute-force check of place, order and limits
std::string dump(const Plan& plan);     // stable text
std::string dump_json(const Plan& plan);

/// A compute pipeline of the plan (one shader with one set of constants) and what the plan does with it.
/// (pipelines.cpp)
struct PlanPipeline {
  std::string shader;
  std::vector<uint32_t> spec;  // by id
  struct Use {                 // dispatches of one size
    std::array<uint32_t, 3> groups{1, 1, 1};
    std::vector<uint32_t> push;  // of the first one
    Work work;                   // of each
    int times = 0;
    std::string step;  // the first one's name
  };
  std::vector<Use> uses;
};
/// In the order of first use; steps on the CPU have none.
std::vector<PlanPipeline> pipelines(const Plan& plan);
/// The pipeline as JSON: constants that the module declares, workgroup size, shared memory, FLOPs, uses.
Result<std::string> pipeline_json(const PlanPipeline& p);

/// Rebuilds the view an operator has of a step (for CPU calls, cost and tests).
OpCall op_call(const Plan& plan, const Step& step);

/// What a tuned choice of constants belongs to: operator, formats (Step::formats), attributes, operand types and
/// shapes. "linear fp32 act=gelu_erf ln=1 f32[1, 1, 197, 192] f32[1, 1, 768, 192] f32[1, 1, 1, 768]".
std::string step_key(OpKind op, const OpCall& call, const std::string& formats);
std::string step_key(const Plan& plan, const Step& step);

/// Packs constant number `index` of the plan into `out` (PackedConst::bytes bytes). A NaN or infinite weight is an
/// error that names the tensor. Safe to call from several threads for different constants. (pack.cpp)
Result<void> pack_constant(const Plan& plan, const Graph& graph, size_t index, uint8_t* out);

}  // namespace vireo
