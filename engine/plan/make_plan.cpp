// From a graph to a plan: fuse, assign, lower, place, order, verify.
#include <algorithm>
#include <optional>

#include "ops/kernel.h"
#include "plan/plan.h"

namespace vireo {

Result<Planned> make_plan(Graph graph, const DeviceCaps& caps, const PlanOptions& options) {
  Planned p;
  FormatPolicy policy = policy_for(options, caps);
  policy.gpu_integers = caps.kind == DeviceKind::kVulkan && caps.integer_dot_fast;
  const bool half_rows =
      policy.half_beside_codes && policy.activations == DType::kF16 && caps.kind == DeviceKind::kVulkan;
  const std::optional<Graph> as_given = half_rows ? std::optional<Graph>(graph) : std::nullopt;
  if (options.fuse) {
    VIREO_ASSIGN(p.graph, fuse(std::move(graph), policy, caps.kind));
  } else {
    p.graph = std::move(graph);
  }
  VIREO_TRY(assign(p.graph, policy));
  VIREO_ASSIGN(p.plan, lower(p.graph, caps, options));
  const auto gains = [](const Step& s) {  // codes, or what they stand for, multiplied as halves
    const int weight = op_def(s.op).matrix;
    return s.by != nullptr && s.by->rate == Rate::kHalf && weight >= 0 && s.inputs[size_t(weight)] < 0 &&
           s.const_descs[size_t(weight)].grid.coded();
  };
  if (half_rows && std::none_of(p.plan.steps.begin(), p.plan.steps.end(), gains)) {
    // The class has such kernels, but this network none that they take, or the device failed those: nothing is gained
    // by rows that are rounded.
    PlanOptions floats = options;
    if (!floats.policy) floats.policy = policy_of(options.precision);
    floats.policy->half_beside_codes = false;
    return make_plan(*as_given, caps, floats);
  }
  place(p.plan, options.keep_all);
  order(p.plan);
  VIREO_TRY(verify(p.plan));
  return p;
}

}  // namespace vireo
