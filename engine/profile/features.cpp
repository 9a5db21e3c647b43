#include "profile/features.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <thread>

#include "base/thread_pool.h"
#include "shader/modules.h"
#include "shader/reflect.h"

namespace vireo {
namespace {

constexpr double kThirdCache = 32 << 20;          // weights beyond it come from memory in every inference
constexpr int64_t kTileRows = 6, kTileCols = 16;  // of the CPU's GEMM on 256-bit vectors
constexpr uint32_t kSpareRegisters = 28;          // operands, addresses and what a compiler holds besides arrays

/// Share of the weights that do not survive in the last cache from one inference to the next.
double cold_share(const Plan& plan) {
  return std::max(0.0, 1 - kThirdCache / std::max(1.0, double(plan.weights_bytes + plan.arena_bytes)));
}

double weight_bytes(const Plan& plan, const Step& step) {
  double bytes = 0;
  for (int32_t c : step.consts) bytes += double(plan.consts[size_t(c)].pack.bytes);
  return bytes;
}

const char* dtype_of_weights(const Plan& plan, const Step& step) {
  for (int32_t c : step.consts)
    if (const PackedConst& p = plan.consts[size_t(c)].pack; p.pack == Pack::kCpuPanels || p.pack == Pack::kCpuInteger)
      return p.bf16_rows ? "bf16" : dtype_name(p.dtype);
  return nullptr;
}

/// The CPU's kernels are known by their names in the list of kernels; what an item costs inside of one is a matter of
/// fitting.
DispatchWork cpu_work(const Plan& plan, const Step& step, int32_t index) {
  DispatchWork w;
  w.step = index;
  w.cpu = true;
  w.flops = w.issued_flops = step.cost.flops;
  w.read_bytes = step.cost.read_bytes, w.write_bytes = step.cost.write_bytes;
  const char* dtype = dtype_of_weights(plan, step);
  w.group = step.by->name + (dtype ? std::string(" ") + dtype : std::string());
  const Slots& slots = op_def(step.op).slots;
  const auto add = [&](const std::string& name, double n) {
    if (n > 0) w.features.push_back({name, n});
  };
  const PlanValue& out = plan.values[size_t(step.output)];
  const double elements = double(out.desc.shape.elements());
  const double weights = weight_bytes(plan, step);
  double flops = step.cost.flops;
  if (dtype) {
    // Whole register tiles are computed, whatever the edges need.
    const int64_t rows = out.desc.shape.rows(), cols = out.desc.shape.c();
    flops *= double(round_up(rows, kTileRows)) / double(rows) * double(round_up(cols, kTileCols)) / double(cols);
    w.issued_flops = flops;
    const int act = slots.act >= 0 ? int(step.attrs[size_t(slots.act)]) : 0;
    if (act > 0) add(std::string("act ") + kActNames[act], elements);
    if (slots.norm >= 0 && step.attrs[size_t(slots.norm)] != 0 && step.inputs[0] >= 0)
      add("norm", double(plan.values[size_t(step.inputs[0])].desc.shape.elements()));
    add("weights", weights * cold_share(plan));
  }
  if (step.by->exponentials) add(w.group + " scores", step.by->exponentials(op_call(plan, step)));
  add(w.group + " flops", flops);
  add(w.group + " bytes", std::max(0.0, step.cost.read_bytes - weights) + step.cost.write_bytes);
  add("steps", 1);
  return w;
}

/// What ShaderCounts knows a dispatch by.
std::string launch_of(const PlanDispatch& d, uint32_t width) {
  return fmt::format("{} {} {} {} {}", width, d.shader, fmt::join(d.spec, ","), fmt::join(d.push, ","),
                     fmt::join(d.groups, ","));
}

Result<ShaderCounts::Counted> count_one(const PlanDispatch& d, uint32_t width) {
  const shader::Module* const module = shader::find(d.shader);
  if (!module) return fail(ErrorCode::kInternal, "there is no shader module '{}'", d.shader);
  ShaderCounts::Counted c;
  VIREO_ASSIGN(c.mix, shader::count({module, &d.spec, &d.push, d.groups}, width));
  VIREO_ASSIGN(c.shared_bytes, shader::shared_bytes(*module, d.spec));
  VIREO_ASSIGN(c.function_bytes, shader::function_bytes(*module, d.spec));
  return c;
}

/// Counts what is not known yet, several dispatches at a time: shaders are interpreted, which takes longest of all.
Result<void> count_all(const Plan& plan, uint32_t width, ShaderCounts* counts) {
  std::vector<std::pair<std::string, const PlanDispatch*>> fresh;
  std::set<std::string> listed;
  for (const Step& step : plan.steps) {
    if (step.device == DeviceKind::kCpu) continue;
    for (const PlanDispatch& d : step.dispatches) {
      std::string launch = launch_of(d, width);
      if (counts->known.count(launch) == 0 && listed.insert(launch).second) fresh.emplace_back(std::move(launch), &d);
    }
  }
  if (fresh.empty()) return {};
  std::vector<Result<ShaderCounts::Counted>> found(fresh.size(), fail(ErrorCode::kInternal, "not counted"));
  ThreadPool pool(std::min<int>(int(fresh.size()), int(std::max(1u, std::thread::hardware_concurrency()))));
  pool.parallel_for(int64_t(fresh.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i)
      found[size_t(i)] = no_throw([&] { return count_one(*fresh[size_t(i)].second, width); });
  });
  for (size_t i = 0; i < fresh.size(); ++i) {
    VIREO_ASSIGN(counts->known[fresh[i].first], found[i]);
  }
  return {};
}

Result<DispatchWork> gpu_work(const Plan& plan, const Step& step, const PlanDispatch& d,
                              const ShaderCounts::Counted& known) {
  const shader::Module* module = shader::find(d.shader);
  if (!module) return fail(ErrorCode::kInternal, "step '{}': there is no shader module '{}'", step.name, d.shader);
  VIREO_ASSIGN(const shader::Reflection reflection, shader::reflect(*module));
  DispatchWork w;
  w.group = d.shader;
  const uint32_t width = w.width = std::max(1u, plan.caps.subgroup_size);
  w.mix = known.mix, w.shared_bytes = known.shared_bytes;
  const std::array<uint32_t, 3> local = shader::local_size(reflection, d.spec);
  w.workgroups = double(d.groups[0]) * d.groups[1] * d.groups[2];
  w.subgroups = std::ceil(double(local[0]) * local[1] * local[2] / width);
  w.registers =
      uint32_t(known.function_bytes / 4) + kSpareRegisters;  // compilers put an invocation's arrays into registers
  w.packed = w.mix[shader::Count::kHalf] > w.mix[shader::Count::kFma];
  double all = 0;
  for (const PlanDispatch& each : step.dispatches) all += each.work.flops;
  const double share = all > 0 ? d.work.flops / all : 1.0 / double(step.dispatches.size());
  w.flops = step.cost.flops * share;
  w.issued_flops = std::max(d.work.issued_flops, w.flops);
  w.read_bytes = step.cost.read_bytes * share, w.write_bytes = step.cost.write_bytes * share;
  for (size_t i = 0; i < shader::kCounts; ++i)
    if (w.mix.n[i] > 0) w.features.push_back({shader::to_string(shader::Count(i)), w.mix.n[i]});
  w.features.push_back({"workgroups", w.workgroups});
  w.features.push_back({"subgroups", w.workgroups * w.subgroups});
  w.features.push_back({"bytes", w.read_bytes + w.write_bytes});
  if (const double cold = weight_bytes(plan, step) * share * cold_share(plan); cold > 0)
    w.features.push_back({"weights", cold});
  w.features.push_back({"steps", 1});
  return w;
}

}  // namespace

Result<std::vector<DispatchWork>> plan_work(const Plan& plan, ShaderCounts* counts) {
  ShaderCounts own;
  if (counts == nullptr) counts = &own;
  const uint32_t width = std::max(1u, plan.caps.subgroup_size);
  VIREO_TRY(count_all(plan, width, counts));
  std::vector<DispatchWork> all;
  std::map<std::string, size_t> seen;  // a transformer repeats its blocks
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const Step& step = plan.steps[i];
    if (step.device == DeviceKind::kCpu) {
      all.push_back(cpu_work(plan, step, int32_t(i)));
      continue;
    }
    for (size_t part = 0; part < step.dispatches.size(); ++part) {
      const PlanDispatch& d = step.dispatches[part];
      const std::string launch = launch_of(d, width);
      const std::string key =
          fmt::format("{} {:.0f} {:.0f} {:.0f}", launch, step.cost.flops, d.work.flops, step.cost.read_bytes);
      const auto known = seen.find(key);
      if (known != seen.end()) {
        all.push_back(all[known->second]);
      } else {
        VIREO_ASSIGN(DispatchWork w, gpu_work(plan, step, d, counts->known.at(launch)));
        seen.emplace(key, all.size());
        all.push_back(std::move(w));
      }
      all.back().step = int32_t(i);
      all.back().part = int32_t(part);
    }
  }
  return all;
}

}  // namespace vireo
