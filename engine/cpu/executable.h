// A CPU plan made ready: packed weights, arena and staging memory, and one runner per step and slot.
#pragma once

#include <memory>

#include "base/aligned.h"
#include "cpu/step_runner.h"
#include "graph/graph.h"

namespace vireo::cpu {

class Executable {
 public:
  /// Packs the weights (over the pool) and allocates. `plan` must outlive the executable; `graph` is needed only now.
  /// Errors: kOutOfMemory; kCorrupt for a weight that is not finite.
  static Result<std::unique_ptr<Executable>> create(const Plan& plan, const Graph& graph, ThreadPool& pool,
                                                    const simd::Kernels& kernels, int slots);

  float* input(int slot) { return reinterpret_cast<float*>(memory(slot).base[size_t(Region::kInput)]); }
  const float* output(int slot) const {
    return reinterpret_cast<const float*>(memory(slot).base[size_t(Region::kOutput)]);
  }
  /// `sized`: the last step's output at another height and width (Plan::sized_step), instead of output().
  void run(int slot, ThreadPool& pool, const SizedOutput* sized = nullptr);
  /// One step of it, for profiles: run() is all of them in order.
  void run_step(int slot, size_t step, ThreadPool& pool) { runners_[size_t(slot)][step].run(pool); }
  /// The bytes of a value of the last run.
  const uint8_t* read(const BufferRef& where, int slot) const { return memory(slot).at(where); }
  /// The same, to be changed before the steps that read it.
  uint8_t* at(const BufferRef& where, int slot) { return memory(slot).at(where); }

 private:
  Executable() = default;
  Memory memory(int slot) const;

  const Plan* plan_ = nullptr;
  AlignedBuffer weights_, arena_, staging_;
  std::vector<std::vector<StepRunner>> runners_;  // [slot][step]
};

}  // namespace vireo::cpu
