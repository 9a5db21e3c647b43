#include "compress/runner.h"

#include <algorithm>

namespace vireo::compress {

Result<std::unique_ptr<Runner>> Runner::create(Graph graph, const Device::Impl& device, ThreadPool& pool, bool keep) {
  PlanOptions how;  // fp32; codes become the numbers that they stand for
  how.fuse = !keep;
  how.keep_all = keep;
  auto r = std::make_unique<Runner>();
  r->pool_ = &pool;
  VIREO_ASSIGN(r->planned_, make_plan(std::move(graph), device.caps, how));
  VIREO_ASSIGN(r->executable_, cpu::Executable::create(r->planned_.plan, r->planned_.graph, pool, *device.kernels, 1));
  return r;
}

const float* Runner::run(const std::vector<float>& pixels) {
  std::copy(pixels.begin(), pixels.end(), executable_->input(0));
  executable_->run(0, *pool_);
  return executable_->output(0);
}

const float* Runner::run(const std::vector<float>& pixels, const Before& before, const After& after) {
  std::copy(pixels.begin(), pixels.end(), executable_->input(0));
  for (size_t i = 0; i < plan().steps.size(); ++i) {
    if (!before(plan(), plan().steps[i])) executable_->run_step(0, i, *pool_);
    after(plan(), plan().steps[i]);
  }
  return executable_->output(0);
}

Result<const PlanValue*> Runner::find(const std::string& name) const {
  for (const PlanValue& v : plan().values)
    if (v.name == name && v.desc.dtype == DType::kF32 && v.desc.layout == Layout::kRows) return &v;
  return fail(ErrorCode::kInternal, "calibration: the plan '{}' keeps no rows of '{}'", plan().model, name);
}

Result<Rows> Runner::value(const std::string& name) const {
  VIREO_ASSIGN(const PlanValue* const v, find(name));
  return Rows{reinterpret_cast<const float*>(executable_->read(v->where, 0)), v->desc.shape.rows(), v->desc.shape.c(),
              v->desc.row_stride()};
}

Result<float*> Runner::edit(const std::string& name) {
  VIREO_ASSIGN(const Rows rows, value(name));
  return const_cast<float*>(rows.data);  // the arena is this runner's own
}

Result<const float*> Runner::run_behind(const std::string& name) {
  VIREO_ASSIGN(const PlanValue* const v, find(name));
  for (size_t step = size_t(v->first_step + 1); step < plan().steps.size(); ++step)
    executable_->run_step(0, step, *pool_);
  return executable_->output(0);
}

}  // namespace vireo::compress
