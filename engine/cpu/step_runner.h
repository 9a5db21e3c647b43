// One CPU step of a plan with its pointers resolved, ready to run again and again without allocating.
#pragma once

#include <vector>

#include "plan/plan.h"

namespace vireo::cpu {

/// The memories of a plan as the host sees them, indexed by Region.
struct Memory {
  uint8_t* base[4] = {};
  const uint8_t* const* consts = nullptr;  // by constant; null: where the plan has them from base[kWeights] on
  uint8_t* at(const BufferRef& r) const { return base[size_t(r.region)] + r.offset; }
};

class StepRunner {
 public:
  /// `plan` and `step` must outlive the runner.
  StepRunner(const Plan& plan, const Step& step, const Memory& memory, const simd::Kernels& kernels);

  /// `sized`: an output of another height and width (OpDef::sized).
  void run(ThreadPool& pool, const SizedOutput* sized = nullptr);

 private:
  const KernelDef* by_ = nullptr;
  const simd::Kernels* kernels_ = nullptr;
  simd::Caches caches_;
  OpCall op_;
  std::vector<const void*> in_;
  std::vector<const uint8_t*> consts_;
  std::vector<PackedConst> packs_;
  void* out_ = nullptr;
  uint8_t* scratch_ = nullptr;
  uint64_t scratch_bytes_ = 0;
};

}  // namespace vireo::cpu
