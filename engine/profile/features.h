// What a dispatch has to do, as numbers that a cost can be put on: instructions by class and bytes on Vulkan, FLOPs and
// bytes by kernel on the CPU. Predictions multiply them with a machine's costs, fits find those costs. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "plan/plan.h"
#include "shader/count.h"

namespace vireo {

struct Feature {
  std::string name;  // "fma", "global_load", "read_bytes", ...; on the CPU behind the kernel's: "linear.gemm f32 flops"
  double n = 0;
};

/// One dispatch of a plan; on the CPU one step.
struct DispatchWork {
  int32_t step = 0, part = 0;
  bool cpu = false;
  std::string group;  // what is alike: the module's name, or the CPU kernel's with its weight type
  shader::Mix mix;    // of all subgroups together; zeros on the CPU
  double flops = 0, issued_flops = 0, read_bytes = 0, write_bytes = 0;
  double workgroups = 0, subgroups = 0;  // subgroups of one workgroup
  uint32_t width = 1;                    // lanes of a subgroup
  uint32_t registers = 0;                // per invocation, estimated: its arrays and what addresses and operands take
  uint64_t shared_bytes = 0;             // per workgroup
  bool packed = false;                   // multiplies in packed fp16
  std::vector<Feature> features;
};

/// What of a dispatch follows from its module, constants and grid alone, by these as text.
struct ShaderCounts {
  struct Counted {
    shader::Mix mix;
    uint64_t shared_bytes = 0, function_bytes = 0;
  };
  std::map<std::string, Counted> known;
};

/// In the order of the plan. Equal dispatches are counted once, also those of plans before that were given the same
/// `counts` (null: none). Errors: those of shader::count.
Result<std::vector<DispatchWork>> plan_work(const Plan& plan, ShaderCounts* counts = nullptr);

}  // namespace vireo
