#if VIREO_VULKAN
#include "runtime/self_test.h"

#include <cmath>

#include "base/half.h"
#include "plan/plan.h"
#include "runtime/device_impl.h"
#include "vk/executable.h"

namespace vireo {
namespace {

double rounded(float x, DType t) { return t == DType::kF16 ? double(half_to_float(float_to_half(x))) : double(x); }

/// The kernel with these constants, on the one node of its self-test.
Result<bool> holds(const KernelDef& kernel, const Constants& constants, const std::shared_ptr<vk::Gpu>& gpu,
                   const DeviceCaps& caps, ThreadPool& pool) {
  const SelfTest test = kernel.self_test(constants);
  const OpDef& op = op_def(kernel.op);
  const FormatPolicy policy = policy_of(test.precision);
  GraphBuilder b("accuracy check");
  std::vector<ValueId> operands;
  std::vector<ConstantPtr> numbers;
  for (size_t i = 0; i < test.what.in.size(); ++i) {
    const Shape& s = test.what.in[i];
    numbers.push_back(s.c() == 0 ? nullptr : random_constant(s.rows(), s.c(), i + 1, test.what.scale));
    TensorDesc rows;
    rows.dtype = policy.activations;
    rows.shape = s;
    operands.push_back(!numbers[i]             ? kNoValue
                       : test.what.constant[i] ? b.constant(fmt::format("constant {}", i).c_str(), numbers[i])
                                               : b.input(fmt::format("input {}", i).c_str(), rows));
  }
  std::vector<std::pair<const char*, double>> attrs;
  for (size_t a = 0; op.attrs[a].name; ++a) attrs.push_back({op.attrs[a].name, test.what.attrs[a]});
  b.output(b.add(kernel.op, test.what.label.c_str(), operands, attrs));
  VIREO_ASSIGN(Graph graph, b.finish());

  PlanOptions options;
  options.precision = test.precision;
  options.fuse = false;
  options.tuning = tuning_for(caps);
  only_kernel(kernel, &*options.tuning);
  options.tuning->constants[kernel.name] = {constants};
  VIREO_ASSIGN(const Planned planned, make_plan(std::move(graph), caps, options));
  if (planned.plan.has_cpu_steps()) return true;  // no plan can contain this kernel
  VIREO_ASSIGN(const auto run, vk::Executable::create(gpu, planned.plan, planned.graph, pool, {}));

  const Step& step = planned.plan.steps[0];
  std::vector<std::vector<double>> exact(numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (!numbers[i]) continue;
    const int64_t rows = numbers[i]->rows(), cols = numbers[i]->cols();
    std::vector<float> values(size_t(rows * cols));
    numbers[i]->read(0, rows, values.data());
    const DType type = step.inputs[i] < 0 ? step.const_descs[i].dtype : policy.activations;
    for (float v : values) exact[i].push_back(rounded(v, type));
    if (step.inputs[i] < 0) continue;
    const PlanValue& in = planned.plan.values[size_t(step.inputs[i])];
    auto* const at = reinterpret_cast<uint8_t*>(run->input(0)) -
                     planned.plan.values[size_t(planned.plan.inputs[0])].where.offset + in.where.offset;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) {
        const float v = values[size_t(r * cols + c)];
        if (type == DType::kF16) reinterpret_cast<uint16_t*>(at)[r * in.desc.row_stride() + c] = float_to_half(v);
        else reinterpret_cast<float*>(at)[r * in.desc.row_stride() + c] = v;
      }
  }
  VIREO_TRY(run->submit(0));
  VIREO_TRY(run->wait(0));

  const OpCall call = op_call(planned.plan, step);
  std::vector<double> expected(size_t(call.out.shape.elements()));
  RefCall reference{&call, {}, &expected};
  for (size_t i = 0; i < exact.size(); ++i) reference.in.push_back(numbers[i] ? &exact[i] : nullptr);
  op.reference(reference);

  double largest = 0, worst = 0;
  const int64_t rows = call.out.shape.rows(), cols = call.out.shape.c(), stride = call.out.row_stride();
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      const double want = expected[size_t(r * cols + c)],
                   error = std::fabs(double(run->output(0)[r * stride + c]) - want);
      if (std::isnan(error)) return false;
      largest = std::max(largest, std::fabs(want));
      worst = std::max(worst, error);
    }
  return worst <= (kernel.error ? kernel.error(constants) : op.tolerance(call)) * largest;
}

}  // namespace

std::vector<std::string> failing_kernels(const std::shared_ptr<vk::Gpu>& gpu, const DeviceCaps& caps,
                                         ThreadPool& pool) {
  std::vector<std::string> failing;
  const Tuning tuning = tuning_for(caps);
  for (const KernelDef* k : all_kernels()) {
    if (!k->self_test) continue;
    bool all = true;
    for (const Constants& c : tuning.of(k->name)) {
      const Result<bool> ok = all ? holds(*k, c, gpu, caps, pool) : Result<bool>(false);
      all = ok && *ok;
    }
    if (!all) failing.push_back(k->name);
  }
  return failing;
}

std::vector<std::string> Device::Impl::failing_kernels(const std::shared_ptr<vk::Gpu>& opened, ThreadPool& pool) const {
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (failing) return *failing;
  }
  // Two sessions may both ask: the answer is the same.
  std::vector<std::string> found = vireo::failing_kernels(opened, caps, pool);
  if (!found.empty() && opened->lost()) return found;  // which says nothing of its products
  const std::lock_guard<std::mutex> lock(mutex);
  failing = found;
  return found;
}

bool has_self_tests(const DeviceCaps& caps, DType activations) {
  const Tuning tuning = tuning_for(caps);
  for (const KernelDef* k : all_kernels())
    if (k->self_test && !tuning.of(k->name).empty() &&
        policy_of(k->self_test(tuning.of(k->name)[0]).precision).activations == activations)
      return true;
  return false;
}

}  // namespace vireo

#endif  // VIREO_VULKAN
