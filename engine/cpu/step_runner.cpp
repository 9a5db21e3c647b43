#include "cpu/step_runner.h"

namespace vireo::cpu {

StepRunner::StepRunner(const Plan& plan, const Step& step, const Memory& memory, const simd::Kernels& kernels)
    : by_(step.by), kernels_(&kernels), caches_(caches_for(plan.caps)), op_(op_call(plan, step)) {
  for (const int32_t v : step.inputs) in_.push_back(v < 0 ? nullptr : memory.at(plan.values[size_t(v)].where));
  out_ = memory.at(plan.values[size_t(step.output)].where);
  for (const int32_t c : step.consts) {
    consts_.push_back(memory.consts != nullptr ? memory.consts[c]
                                               : memory.base[size_t(Region::kWeights)] + plan.consts[size_t(c)].offset);
    packs_.push_back(plan.consts[size_t(c)].pack);
  }
  if (step.scratch.bytes) {
    scratch_ = memory.at(step.scratch);
    scratch_bytes_ = step.scratch.bytes;
  }
}

void StepRunner::run(ThreadPool& pool, const SizedOutput* sized) {
  CpuCall call;
  call.op = &op_;
  call.in = in_.data();
  call.consts = consts_.data();
  call.packs = packs_.data();
  call.out = out_;
  call.scratch = scratch_;
  call.scratch_bytes = scratch_bytes_;
  call.kernels = kernels_;
  call.caches = caches_;
  call.pool = &pool;
  call.sized = sized;
  by_->run(call);
}

}  // namespace vireo::cpu
