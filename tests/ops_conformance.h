// What the parts of ops_conformance share: where operators run, and a graph with its reference answer.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cpu/executable.h"
#include "plan/plan.h"
#include "vk/executable.h"

namespace vireo::conformance {

constexpr const char* kSwiftShader = "/usr/lib/chromium/vk_swiftshader_icd.json";  // a second driver

struct Target {
  std::string label;
  DeviceCaps caps;
  const simd::Kernels* kernels = nullptr;  // a CPU target
  std::shared_ptr<vk::Gpu> gpu;            // a Vulkan target
  std::optional<Tuning> tuning;            // instead of the class's
  int32_t gap = 0;                         // between the rows of operands and output: they are parts of wider rows
};

struct Vulkan {
  std::shared_ptr<vk::Instance> instance;
  std::string messages, why_not;
};

/// The one instance of this program, under the validation layer.
Vulkan& vulkan();
/// Every set of CPU kernels and every Vulkan device, each as several classes of device.
const std::vector<Target>& targets();

struct Case {
  OpKind op;
  OpCase spec;
  Precision precision;
};

/// The graph of the one node, its inputs as doubles, and the reference under the precision's storage rounding.
struct Prepared {
  Graph graph;
  std::vector<std::vector<double>> inputs;
  std::vector<double> expected;
  double bound = 0;
};

/// `bf16`: products round both factors to bfloat16.
Prepared prepare(const Case& c, bool half_activations, bool bf16 = false);
/// Plans the case, runs it and compares. `extra`: allowed beside the operator's bound, of the largest result.
void run_case(const Case& c, const Target& t, double extra = 0);
/// The class's tuning with this kernel alone for its operator, and these constants.
Tuning tuning_with(const DeviceCaps& caps, const char* kernel, const Constants& constants);

void fill_input(const Plan& plan, const Prepared& p, uint8_t* region);

}  // namespace vireo::conformance
