// A CPU plan made ready: packed weights, arena and staging memory, and one runner per step and slot.
#pragma once

#include <memory>

#include "base/aligned.h"
#include "cpu/step_runner.h"
#include "graph/graph.h"
#include "plan/weight_store.h"

namespace vireo::cpu {

class Executable {
 public:
  /// Packs the weights (over the pool) and allocates. `plan` must outlive the executable; `graph` is needed only now.
  /// `store`: what it holds in common with others; null: nothing. Errors: kOutOfMemory; kCorrupt for a weight that is
  /// not finite.
  static Result<std::unique_ptr<Executable>> create(const Plan& plan, const Graph& graph, ThreadPool& pool,
                                                    const simd::Kernels& kernels, int slots,
                                                    WeightStore* store = nullptr);

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
  /// Of Plan::weights_bytes, what lies in memory of others.
  uint64_t shared_bytes() const { return places_.shared_bytes; }

 private:
  Executable() = default;
  Memory memory(int slot) const;

  const Plan* plan_ = nullptr;
  struct Weights;
  WeightPlaces places_;
  std::shared_ptr<Weights> weights_;
  std::vector<const uint8_t*> consts_;  // by constant
  AlignedBuffer arena_, staging_;
  std::vector<std::vector<StepRunner>> runners_;  // [slot][step]
};

}  // namespace vireo::cpu
