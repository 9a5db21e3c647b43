#include "cpu/step_runner.h"

namespace vireo::cpu {

Result<StepRunner> StepRunner::create(const Plan& plan, const Step& step, const Memory& memory,
                                      const simd::Kernels& kernels) {
  StepRunner r;
  r.by_ = step.by;
  r.kernels_ = &kernels;
  r.op_ = op_call(plan, step);
  r.float_in_.resize(step.inputs.size());
  const auto out_of_memory = [&step](size_t bytes) {
    return fail(ErrorCode::kOutOfMemory, "step '{}': no memory for {} bytes of fp32 rows on the CPU", step.name, bytes);
  };
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    if (step.inputs[i] < 0) {
      r.in_.push_back(nullptr);
      continue;
    }
    const PlanValue& v = plan.values[size_t(step.inputs[i])];
    const uint8_t* const at = memory.at(v.where);
    if (v.desc.dtype == DType::kF32) {
      r.in_.push_back(reinterpret_cast<const float*>(at));
      continue;
    }
    TensorDesc& d = r.float_in_[i] = v.desc;
    d.dtype = DType::kF32;
    Converted c{at, AlignedBuffer::zeroed(d.bytes()), d.shape.rows(), d.shape.c(), d.row_stride()};
    if (!c.floats) return out_of_memory(d.bytes());
    r.op_.in[i] = &d;  // float_in_ keeps its storage when the runner moves
    r.in_.push_back(c.floats.as<float>());
    r.converted_.push_back(std::move(c));
  }
  const PlanValue& out = plan.values[size_t(step.output)];
  r.out_ = reinterpret_cast<float*>(memory.at(out.where));
  if (out.desc.dtype == DType::kF16) {
    r.float_out_ = out.desc;
    r.float_out_.dtype = DType::kF32;
    r.half_out_ = {memory.at(out.where), AlignedBuffer::zeroed(r.float_out_.bytes()), out.desc.shape.rows(),
                   out.desc.shape.c(), out.desc.row_stride()};
    if (!r.half_out_.floats) return out_of_memory(r.float_out_.bytes());
    r.out_ = r.half_out_.floats.as<float>();
    r.op_.out = r.float_out_;
  }
  for (int32_t c : step.consts) {
    r.consts_.push_back(memory.base[size_t(Region::kWeights)] + plan.consts[size_t(c)].offset);
    r.packs_.push_back(plan.consts[size_t(c)].pack);
  }
  if (step.scratch.bytes) {
    r.scratch_ = memory.at(step.scratch);
    r.scratch_bytes_ = step.scratch.bytes;
  }
  return r;
}

void StepRunner::run(ThreadPool& pool, const SizedOutput* sized) {
  for (Converted& c : converted_) {
    simd::FromHalfArgs a;
    a.x = reinterpret_cast<const uint16_t*>(c.half), a.ldx = a.ldo = c.stride, a.rows = c.rows, a.cols = c.cols,
    a.out = c.floats.as<float>();
    kernels_->from_half.run(a, 0, kernels_->from_half.items(a), nullptr);
  }
  CpuCall call;
  call.op = &op_;
  call.in = in_.data();
  call.consts = consts_.data();
  call.packs = packs_.data();
  call.out = out_;
  call.scratch = scratch_;
  call.scratch_bytes = scratch_bytes_;
  call.kernels = kernels_;
  call.pool = &pool;
  call.sized = sized;
  by_->run(call);
  if (half_out_.half) {
    simd::ToHalfArgs a;
    a.x = half_out_.floats.as<float>(), a.ldx = a.ldo = half_out_.stride, a.rows = half_out_.rows,
    a.cols = half_out_.cols;
    a.out = reinterpret_cast<uint16_t*>(const_cast<uint8_t*>(half_out_.half));
    kernels_->to_half.run(a, 0, kernels_->to_half.items(a), nullptr);
  }
}

}  // namespace vireo::cpu
