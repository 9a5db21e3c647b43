// pipelines: the distinct pipelines of a plan as data, for tools that compile and judge shaders away from the device.
#include <algorithm>

#include "base/json.h"
#include "plan/plan.h"
#include "shader/modules.h"
#include "shader/reflect.h"

namespace vireo {
namespace {

using Json = OrderedJson;

bool same_use(const PlanPipeline::Use& u, const PlanDispatch& d) {
  const auto same = [](const Work::Loop& a, const Work::Loop& b) {
    return a.runs == b.runs && a.multiply_adds == b.multiply_adds;
  };
  return u.groups == d.groups && u.work.flops == d.work.flops && u.work.issued_flops == d.work.issued_flops &&
         std::equal(u.work.loops.begin(), u.work.loops.end(), d.work.loops.begin(), d.work.loops.end(), same);
}

void add_use(PlanPipeline& p, const Step& step, const PlanDispatch& d) {
  for (PlanPipeline::Use& u : p.uses)
    if (same_use(u, d)) {
      ++u.times;
      return;
    }
  p.uses.push_back({d.groups, d.push, d.work, 1, step.name});
}

}  // namespace

std::vector<PlanPipeline> pipelines(const Plan& plan) {
  std::vector<PlanPipeline> all;
  for (const Step& step : plan.steps)
    for (const PlanDispatch& d : step.dispatches) {
      size_t i = 0;
      while (i < all.size() && !(all[i].shader == d.shader && all[i].spec == d.spec)) ++i;
      if (i == all.size()) all.push_back({d.shader, d.spec, {}});
      add_use(all[i], step, d);
    }
  return all;
}

Result<std::string> pipeline_json(const PlanPipeline& p) {
  const shader::Module* module = shader::find(p.shader);
  if (!module) return fail(ErrorCode::kInternal, "there is no shader module '{}'", p.shader);
  VIREO_ASSIGN(const shader::Reflection reflection, shader::reflect(*module));
  VIREO_ASSIGN(const uint64_t shared, shader::shared_bytes(*module, p.spec));
  Json spec = Json::object(), uses = Json::array();
  for (const shader::SpecConstant& c : reflection.spec_constants)
    spec[std::to_string(c.id)] = c.id < p.spec.size() ? p.spec[c.id] : c.value;
  double flops = 0, issued = 0;
  int times = 0;
  for (const PlanPipeline::Use& u : p.uses) {
    flops += u.work.flops * u.times;
    issued += u.work.issued_flops * u.times;
    times += u.times;
    Json loops = Json::array();
    for (const Work::Loop& l : u.work.loops) loops.push_back({{"runs", l.runs}, {"multiply_adds", l.multiply_adds}});
    uses.push_back({{"step", u.step},
                    {"times", u.times},
                    {"workgroups", u.groups},
                    {"push", u.push},
                    {"flops", u.work.flops},
                    {"issued_flops", u.work.issued_flops},
                    {"loops", loops}});
  }
  const Json j = {
      {"shader", p.shader},     {"spec", spec},   {"workgroup_size", shader::local_size(reflection, p.spec)},
      {"shared_bytes", shared}, {"times", times}, {"flops", flops},
      {"issued_flops", issued}, {"uses", uses}};
  return write_json(j, 1);
}

}  // namespace vireo
