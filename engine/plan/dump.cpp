// dump: a plan as stable text (golden files, review) and as JSON (scripts).
#include <map>

#include "base/json.h"
#include "ops/common.h"
#include "plan/plan.h"
#include "shader/modules.h"
#include "shader/reflect.h"
#include "shader/words.h"

namespace vireo {
namespace {

std::string place_text(const BufferRef& r) { return fmt::format("{}+{}", to_string(r.region), r.offset); }

std::string attr_text(OpKind op, const Attrs& attrs, bool with_eps = true) {
  std::string out;
  const OpDef& def = op_def(op);
  for (int a = 0; def.attrs[a].name; ++a) {
    const double v = attrs[size_t(a)];
    if (v == def.attrs[a].initial || (!with_eps && def.attrs[a].name == std::string("eps"))) continue;
    out += def.attrs[a].names ? fmt::format(" {}={}", def.attrs[a].name, def.attrs[a].names[int(v)])
                              : fmt::format(" {}={:g}", def.attrs[a].name, v);
  }
  return out;
}

/// What the modules of a plan declare, each read once.
class Modules {
 public:
  const shader::Reflection& of(const std::string& name) {
    const auto [it, added] = known_.try_emplace(name);
    if (!added) return it->second;
    const shader::Module* module = shader::find(name);
    if (!module) return it->second;
    if (Result<shader::Reflection> r = shader::reflect(*module); r) it->second = std::move(*r);
    return it->second;
  }

 private:
  std::map<std::string, shader::Reflection> known_;
};

/// "constant head.weight i8 gpu_matrix+256 1024 bytes, stored as i4g32".
std::string constant_text(const PlanConst& c) {
  const char* pack = "";
  switch (c.pack.pack) {
    case Pack::kVector: pack = "vector"; break;
    case Pack::kRows: pack = "rows"; break;
    case Pack::kGpuMatrix: pack = c.pack.dots ? "dot words" : "gpu matrix"; break;
    case Pack::kCpuPanels: pack = "cpu panels"; break;
    case Pack::kCpuInteger: pack = "integer panels"; break;
    case Pack::kCpuWinograd:
    case Pack::kGpuWinograd: pack = "winograd"; break;
  }
  std::string s =
      fmt::format("constant {} {} {} weights+{} {} bytes", c.name, to_string(c.format()), pack, c.offset, c.pack.bytes);
  if (c.stored.coded()) s += fmt::format(", stored as {}", to_string(Format{DType::kI8, c.stored}));
  return s;
}

/// What follows from the caches of the CPU that runs a plan; empty where the caps do not say what it has.
std::string blocking_text(const Plan& plan) {
  const simd::Caches caches = caches_for(plan.caps);
  if (plan.device != DeviceKind::kCpu || (caches.first == 0 && caches.rest == 0)) return {};
  const simd::Blocking b = ops::kernels_for(plan.caps).blocking(caches);
  return fmt::format(
      "caches {} KiB, then {} KiB a thread: chunks of {} columns, {} keys, {} KiB of rows, {} KiB of tiles\n",
      caches.first >> 10, caches.rest >> 10, b.chunk, b.keys,
      b.row_bytes == INT64_MAX ? std::string("any") : std::to_string(b.row_bytes >> 10), b.tile_floats * 4 >> 10);
}

}  // namespace

std::string dump(const Plan& plan) {
  std::string s =
      fmt::format("plan {} for {} ({}), {}{}, batch {}\n", plan.model, plan.caps_name, to_string(plan.device),
                  plan.policy, plan.half_beside_codes ? " with fp16 activations" : "", plan.batch);
  s += fmt::format("steps {} dispatches {} barriers {} arena {} weights {} input {} output {}\n", plan.steps.size(),
                   plan.dispatch_count(), plan.barriers.size(), plan.arena_bytes, plan.weights_bytes, plan.input_bytes,
                   plan.output_bytes);
  s += blocking_text(plan);
  size_t barrier = 0;
  Modules modules;
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const Step& step = plan.steps[i];
    for (; barrier < plan.barriers.size() && plan.barriers[barrier].before_step == int32_t(i); ++barrier)
      s += fmt::format("     barrier {}\n", plan.barriers[barrier].reason);
    const PlanValue& out = plan.values[size_t(step.output)];
    s += fmt::format("{:4} {} {}{} [{}] {} {} -> {} {}\n", i, to_string(step.device), op_def(step.op).name,
                     attr_text(step.op, step.attrs), step.kernel, step.name, to_string(out.desc), out.name,
                     place_text(out.where));
    if (!step.reason.empty()) s += fmt::format("     on the cpu: {}\n", step.reason);
    for (const PlanDispatch& d : step.dispatches)
      s +=
          fmt::format("     dispatch {} {}x{}x{} spec {} push {}\n", d.shader, d.groups[0], d.groups[1], d.groups[2],
                      shader::spec_text(modules.of(d.shader), d.spec), shader::push_text(modules.of(d.shader), d.push));
  }
  for (const PlanValue& v : plan.values)
    if (v.view_of >= 0)
      s += fmt::format("view {} of {} {}\n", v.name, plan.values[size_t(v.view_of)].name, place_text(v.where));
  for (const PlanConst& c : plan.consts) s += constant_text(c) + "\n";
  return s;
}

std::string step_key(OpKind op, const OpCall& call, const std::string& formats) {
  std::string key = fmt::format("{} {}{}", op_def(op).name, formats, attr_text(op, *call.attrs, false));
  for (const TensorDesc* t : call.in) key += t ? " " + to_string(*t) : " -";
  return key;
}

std::string step_key(const Plan& plan, const Step& step) {
  return step_key(step.op, op_call(plan, step), step.formats);
}

std::string dump_json(const Plan& plan) {
  using Json = SortedJson;
  Json j;
  j["model"] = plan.model;
  j["device"] = plan.caps_name;
  j["kind"] = to_string(plan.device);
  j["precision"] = plan.policy;
  j["activations"] = dtype_name(plan.activations);
  j["batch"] = plan.batch;
  j["dispatches"] = plan.dispatch_count();
  j["barriers"] = plan.barriers.size();
  j["arena_bytes"] = plan.arena_bytes;
  j["weights_bytes"] = plan.weights_bytes;
  j["input_bytes"] = plan.input_bytes;
  j["output_bytes"] = plan.output_bytes;
  if (const simd::Caches c = caches_for(plan.caps); plan.device == DeviceKind::kCpu && c.first + c.rest > 0) {
    const simd::Blocking b = ops::kernels_for(plan.caps).blocking(c);
    j["blocking"] = {{"first_cache_bytes", c.first},
                     {"other_cache_bytes", c.rest},
                     {"chunk", b.chunk},
                     {"keys", b.keys},
                     {"tile_floats", b.tile_floats}};
    if (b.row_bytes != INT64_MAX) j["blocking"]["row_bytes"] = b.row_bytes;
  }
  j["steps"] = Json::array();
  for (const Step& s : plan.steps) {
    const PlanValue& out = plan.values[size_t(s.output)];
    Json step = {{"name", s.name},
                 {"op", op_def(s.op).name},
                 {"device", to_string(s.device)},
                 {"reason", s.reason},
                 {"kernel", s.kernel},
                 {"output", out.name},
                 {"shape", out.desc.shape.d},
                 {"dtype", dtype_name(out.desc.dtype)},
                 {"offset", out.where.offset},
                 {"dispatches", s.device == DeviceKind::kCpu ? 1 : s.dispatches.size()},
                 {"flops", s.cost.flops},
                 {"bytes", s.cost.read_bytes + s.cost.write_bytes}};
    j["steps"].push_back(std::move(step));
  }
  j["constants"] = Json::array();
  for (const PlanConst& c : plan.consts) {
    Json constant = {
        {"name", c.name}, {"format", to_string(c.format())}, {"bytes", c.pack.bytes}, {"offset", c.offset}};
    if (c.stored.coded()) constant["stored"] = to_string(Format{DType::kI8, c.stored});
    j["constants"].push_back(std::move(constant));
  }
  return write_json(j, 1);  // drivers choose their own names
}

}  // namespace vireo
