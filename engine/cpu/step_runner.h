// One CPU step of a plan with its pointers resolved, ready to run again and again without allocating.
#pragma once

#include <vector>

#include "base/aligned.h"
#include "plan/plan.h"

namespace vireo::cpu {

/// The memories of a plan as the host sees them, indexed by Region.
struct Memory {
  uint8_t* base[4] = {};
  uint8_t* at(const BufferRef& r) const { return base[size_t(r.region)] + r.offset; }
};

class StepRunner {
 public:
  /// `plan` and `step` must outlive the runner. fp16 operands (a CPU step inside an fp16 Vulkan plan) are converted
  /// through buffers of the runner's own. Errors: kOutOfMemory.
  static Result<StepRunner> create(const Plan& plan, const Step& step, const Memory& memory,
                                   const simd::Kernels& kernels);

  StepRunner(StepRunner&&) = default;
  StepRunner& operator=(StepRunner&&) = default;

  /// `sized`: an output of another height and width (OpDef::sized).
  void run(ThreadPool& pool, const SizedOutput* sized = nullptr);

 private:
  struct Converted {
    const uint8_t* half = nullptr;  // or the step's output
    AlignedBuffer floats;
    int64_t rows = 0, cols = 0, stride = 0;
  };
  StepRunner() = default;

  const KernelDef* by_ = nullptr;
  const simd::Kernels* kernels_ = nullptr;
  OpCall op_;
  TensorDesc float_out_;
  std::vector<TensorDesc> float_in_;
  std::vector<const float*> in_;
  std::vector<const uint8_t*> consts_;
  std::vector<PackedConst> packs_;
  float* out_ = nullptr;
  uint8_t* scratch_ = nullptr;
  uint64_t scratch_bytes_ = 0;
  std::vector<Converted> converted_;
  Converted half_out_;
};

}  // namespace vireo::cpu
