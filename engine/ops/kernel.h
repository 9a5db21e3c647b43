// What a kernel is: one way to do an operator on a kind of device. One KernelDef per line of kernels.def; the planner,
// `vireo tune`, profiles, predictions and the accuracy checks know kernels through it alone.
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "ops/op.h"
#include "ops/tuning.h"

namespace vireo {

/// The constants of a kernel that has a choice of them.
struct ConstantsDef {
  const char* word;          ///< in tuning files: "linear_tile=104,192,24,8,8"
  const char* const* names;  ///< in the order of that list; the last is null
  /// The shader's rules (shaders/README.md). The numbers are as many as the names, and none is 0.
  bool (*legal)(const Constants& c);
  /// Choices of a device's class, cut down to what its limits allow; the kernel takes that of least cost. None: the
  /// class does not use the kernel.
  std::vector<Constants> (*defaults)(const DeviceCaps& caps);
  /// What `vireo tune` tries: calls `add` with lines of a tuning file, those that break a rule included.
  void (*candidates)(const DeviceCaps& caps, const std::function<void(std::string)>& add);

  size_t count() const {
    size_t n = 0;
    while (names[n]) ++n;
    return n;
  }
};

/// What a kernel multiplies: the device's peak differs.
enum class Rate : uint8_t { kF32, kHalf, kInt8 };

/// A small product that a device must get right before it is given a kernel.
struct SelfTest {
  OpCase what;
  Precision precision = Precision::kFp16;  ///< of its rows
  const char* weights = nullptr;           ///< the matrix's format where it is not the precision's
};

/// Cost of a kernel that is taken where no other accepts.
constexpr double kLastResort = std::numeric_limits<double>::infinity();

struct KernelDef {
  const char* name;  ///< "linear.tile": measured machines and tools know it by this name
  OpKind op;
  DeviceKind device;
  /// kUnsupported with the reason where this kernel does not do the call, its formats included. Null: it does whatever
  /// the operator takes.
  Result<void> (*accepts)(const OpCall& call, const LowerContext& ctx);
  /// Constants to pack, and dispatches (Vulkan) or scratch (CPU). Only of calls that it accepts; kUnsupported where the
  /// device's limits are in the way after all.
  Result<Lowering> (*lower)(const OpCall& call, const LowerContext& ctx);
  /// On the CPU: what runs the step.
  void (*run)(const CpuCall& call);
  /// Compared between kernels of one operator on one device; of equal ones the first in kernels.def is taken. Null: 0.
  double (*cost)(const OpCall& call, const LowerContext& ctx) = nullptr;
  const ConstantsDef* constants = nullptr;
  Rate rate = Rate::kF32;
  double multiplied = 1;  ///< multiplications, as a part of the definition's
  /// What the kernel's sums may be off beyond the operator's tolerance, as a part of the largest result. Null: nothing.
  double (*error)(const Constants& c) = nullptr;
  SelfTest (*self_test)(const Constants& c) = nullptr;
  double (*exponentials)(const OpCall& call) =
      nullptr;                   ///< how many it computes, where that counts beside the products
  bool codes_by_halves = false;  ///< weights of codes by rows of fp16: faster than what takes rows of fp32
};

constexpr KernelDef vulkan_kernel(const char* name, OpKind op,
                                  Result<Lowering> (*lower)(const OpCall&, const LowerContext&)) {
  return {name, op, DeviceKind::kVulkan, nullptr, lower, nullptr};
}
constexpr KernelDef cpu_kernel(const char* name, OpKind op,
                               Result<Lowering> (*lower)(const OpCall&, const LowerContext&),
                               void (*run)(const CpuCall&)) {
  return {name, op, DeviceKind::kCpu, nullptr, lower, run};
}

/// Every kernel in the order of kernels.def.
const std::vector<const KernelDef*>& all_kernels();
/// The kernel of that name, or null.
const KernelDef* find_kernel(const std::string& name);
/// Whether a device's class has a kernel that multiplies codes by rows of fp16 (KernelDef::codes_by_halves).
bool multiplies_codes_by_halves(const DeviceCaps& caps, const Tuning& tuning);

/// The call by the cheapest kernel that accepts it. Errors: kUnsupported with each kernel's reason.
Result<Lowering> lower_op(OpKind op, DeviceKind device, const OpCall& call, const LowerContext& ctx);

}  // namespace vireo
