// A graph made ready to run on the CPU in fp32, with every value readable where that is asked for: what calibration and
// comparisons look at.
#pragma once

#include <functional>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/thread_pool.h"
#include "cpu/executable.h"
#include "plan/plan.h"
#include "runtime/device_impl.h"
#include "simd/kernels.h"
#include "tensor/tensor.h"

namespace vireo::compress {

/// What is being done and how many seconds of work it was when it was measured once, of which only the ratios matter;
/// an error ends the work.
using Progress = std::function<Result<void>(const std::string& what, double seconds)>;

/// Rows in memory, `stride` floats apart.
struct Rows {
  const float* data = nullptr;
  int64_t rows = 0, cols = 0, stride = 0;
};

/// Runs a CPU kernel over the pool.
template <typename Args>
void run_kernel(const simd::Kernel<Args>& kernel, const Args& args, ThreadPool& pool) {
  const size_t each = size_t(round_up(int64_t(kernel.scratch_bytes(args)), int64_t(kAlignment)));
  AlignedBuffer scratch(each * size_t(pool.threads()));
  if (each > 0 && !scratch) throw std::bad_alloc();
  pool.parallel_for(kernel.items(args), 1, [&](int64_t begin, int64_t end, int thread) {
    kernel.run(args, begin, end, each > 0 ? scratch.as<uint8_t>() + size_t(thread) * each : nullptr);
  });
}

class Runner {
 public:
  /// `keep`: nothing is fused and every value keeps its bytes, for value(). Errors: those of planning and packing.
  static Result<std::unique_ptr<Runner>> create(Graph graph, const Device::Impl& device, ThreadPool& pool, bool keep);

  /// `pixels`: of the graph's input, planar. The answer is readable until the next run.
  const float* run(const std::vector<float>& pixels);
  /// The same, asking before each step whether the caller has done it itself, and telling after it.
  using Before = std::function<bool(const Plan& plan, const Step& step)>;
  using After = std::function<void(const Plan& plan, const Step& step)>;
  const float* run(const std::vector<float>& pixels, const Before& before, const After& after);
  /// The memory of a value, which steps to come read.
  float* numbers(const PlanValue& v) { return reinterpret_cast<float*>(executable_->at(v.where, 0)); }
  int64_t outputs() const { return plan().values[size_t(plan().outputs[0])].desc.shape.c(); }
  /// Rows of the answer: pixels of a map, 1 of a classification.
  int64_t output_rows() const { return plan().values[size_t(plan().outputs[0])].desc.shape.rows(); }
  int64_t output_stride() const { return plan().values[size_t(plan().outputs[0])].desc.row_stride(); }
  /// Of the last run. Errors: kInternal where there is no such value of rows.
  Result<Rows> value(const std::string& name) const;
  /// The same to write to, for run_behind(). Errors: likewise.
  Result<float*> edit(const std::string& name);
  /// Runs what stands behind a value's step again, with the bytes that the values have now. Errors: likewise.
  Result<const float*> run_behind(const std::string& name);
  uint64_t bytes() const { return plan().arena_bytes + plan().weights_bytes; }

 private:
  /// A value of rows.
  Result<const PlanValue*> find(const std::string& name) const;
  const Plan& plan() const { return planned_.plan; }

  ThreadPool* pool_ = nullptr;
  Planned planned_;
  std::unique_ptr<cpu::Executable> executable_;
};

}  // namespace vireo::compress
