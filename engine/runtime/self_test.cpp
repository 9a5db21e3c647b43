#if VIREO_VULKAN
#include "runtime/self_test.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "plan/plan.h"
#include "runtime/device_impl.h"
#include "vk/executable.h"

namespace vireo {
namespace {

double rounded(float x, DType t) { return t == DType::kF16 ? double(half_to_float(float_to_half(x))) : double(x); }

}  // namespace

Result<bool> holds(const KernelDef& kernel, const Constants& constants, const std::shared_ptr<vk::Gpu>& gpu,
                   const DeviceCaps& caps, ThreadPool& pool) {
  const SelfTest test = kernel.self_test(constants);
  const OpDef& op = op_def(kernel.op);
  FormatPolicy policy = policy_of(test.precision);
  if (test.weights != nullptr && !parse_format(test.weights, &policy.matrices))
    return fail(ErrorCode::kInternal, "{}: the accuracy check has weights in '{}', which is no format", kernel.name,
                test.weights);
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
  options.policy = policy;
  options.fuse = false;
  options.tuning = tuning_for(caps);
  only_kernel(kernel, &*options.tuning);
  options.tuning->constants[kernel.name] = {constants};
  VIREO_ASSIGN(const Planned planned, make_plan(std::move(graph), caps, options));
  for (const Step& s : planned.plan.steps)
    if (s.device == DeviceKind::kCpu && !op_def(s.op).conversion)
      return fail(ErrorCode::kUnsupported, "{}: the accuracy check of {} cannot be run: {}", caps.name, kernel.name,
                  s.reason);
  if (planned.plan.steps[0].by->name != std::string(kernel.name))
    return fail(ErrorCode::kInternal, "{}: the accuracy check of {} would ask {}", caps.name, kernel.name,
                planned.plan.steps[0].by->name);
  VIREO_ASSIGN(const auto run, vk::Executable::create(gpu, planned.plan, planned.graph, pool, {}));

  const Step& step = planned.plan.steps[0];
  std::vector<std::vector<double>> exact(numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (!numbers[i]) continue;
    const int64_t rows = numbers[i]->rows(), cols = numbers[i]->cols();
    std::vector<float> values(size_t(rows * cols));
    numbers[i]->read(0, rows, values.data());
    const DType type = step.inputs[i] < 0 ? step.const_descs[i].dtype : policy.activations;
    if (step.inputs[i] < 0 && step.const_descs[i].grid.coded())  // the numbers that its codes stand for
      planned.graph.value(planned.graph.nodes[0].inputs[i]).constant->read(0, rows, values.data());
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

std::vector<Tested> tested_kernels(const Plan& plan) {
  std::vector<Tested> all;
  for (const Step& step : plan.steps)
    if (step.by && step.by->self_test && step.device == DeviceKind::kVulkan) {
      const Tested each = {step.by, step.constants};
      if (std::find(all.begin(), all.end(), each) == all.end()) all.push_back(each);
    }
  return all;
}

std::vector<Tested> tested_kernels(const DeviceCaps& caps, DType activations) {
  std::vector<Tested> all;
  const Tuning tuning = tuning_for(caps);
  for (const KernelDef* k : all_kernels()) {
    if (!k->self_test) continue;
    for (const Constants& c : tuning.of(k->name))
      if (policy_of(k->self_test(c).precision).activations == activations) all.push_back({k, c});
  }
  return all;
}

std::vector<std::string> Device::Impl::failing_kernels(const std::vector<Tested>& kernels,
                                                       const std::shared_ptr<vk::Gpu>& opened, ThreadPool& pool) const {
  std::vector<std::string> found;
  for (const auto& [kernel, constants] : kernels) {
    const std::string name = kernel->name;
    const std::string key = fmt::format("{} {}", name, fmt::join(constants, ","));
    std::optional<bool> known;
    {
      const std::lock_guard<std::mutex> lock(mutex);
      if (failing) known = std::find(failing->begin(), failing->end(), name) == failing->end();
      else if (const auto at = held.find(key); at != held.end()) known = at->second;
    }
    if (!known) {  // two sessions may both ask: the answer is the same
      const Result<bool> ok = holds(*kernel, constants, opened, caps, pool);
      known = ok && *ok;
      const std::lock_guard<std::mutex> lock(mutex);
      if (*known || !opened->lost()) held[key] = *known;  // a lost device says nothing of its products
    }
    if (!*known && std::find(found.begin(), found.end(), name) == found.end()) found.push_back(name);
  }
  return found;
}

}  // namespace vireo

#endif  // VIREO_VULKAN
