#include "profile/predict.h"

#include <algorithm>
#include <cmath>

namespace vireo {
namespace {

using shader::Count;

constexpr const char* kCauseNames[kCauses] = {"padding", "issue",   "convert",  "shared",
                                              "memory",  "latency", "compiler", "dispatch"};
constexpr double kAloneClocks = 1.4;  // per instruction of a subgroup alone on its scheduler: what Mesa's compiler for
                                      // Maxwell schedules our tile loops to
constexpr double kBarrierClocks = 30;

/// Clocks of one core for the whole dispatch, by the unit that limits it.
struct Clocks {
  double multiply_adds = 0, issue = 0, convert = 0, shared = 0, latency = 0;
};

/// Subgroups of a core that can be in flight: registers, shared memory and slots.
double resident_workgroups(const DispatchWork& w, const Machine& m, double width) {
  const double registers = std::ceil(w.registers / 8.0) * 8 * width * w.subgroups;
  double n = std::min(m.max_workgroups, std::floor(m.max_subgroups / std::max(1.0, w.subgroups)));
  if (registers > 0) n = std::min(n, std::floor(m.registers / registers));
  if (w.shared_bytes) n = std::min(n, std::floor(m.shared_bytes / double(w.shared_bytes)));
  return std::max(1.0, n);
}

Clocks clocks_of(const DispatchWork& w, const Machine& m, double width) {
  const shader::Mix& x = w.mix;
  const auto lanes = [&](double instructions, double rate) { return instructions * width / rate; };
  Clocks c;
  c.multiply_adds = lanes(x[Count::kFma], m.fma_lanes) + lanes(x[Count::kHalf], m.half_lanes);
  const double arithmetic = lanes(x[Count::kFma] + x[Count::kFloat], m.fma_lanes) +
                            lanes(x[Count::kHalf], m.half_lanes) + lanes(x[Count::kInteger], m.integer_lanes) +
                            lanes(x[Count::kShift], m.shift_lanes) + lanes(x[Count::kMultiply], m.multiply_lanes);
  c.issue = std::max(x.issued() / m.issue, arithmetic);
  c.convert = lanes(x[Count::kConvert], m.convert_lanes) + lanes(x[Count::kSpecial], m.special_lanes);
  // Words of shared memory at the bytes a clock moves; everything else that loads takes a slot of the load units.
  c.shared = x[Count::kSharedWords] * 4 * width / m.shared_bytes_per_clock +
             lanes(x[Count::kGlobalLoad] + x[Count::kGlobalStore] + x[Count::kTexel], m.memory_lanes) +
             lanes(x[Count::kShuffle], m.shuffle_lanes);
  // A wave of workgroups takes at least one subgroup's instructions one after the other, with a wait at every barrier
  // and at the loads between.
  const double workgroups = std::max(1.0, w.workgroups), per_subgroup = 1 / std::max(1.0, workgroups * w.subgroups);
  const double instructions = x.issued() * per_subgroup, barriers = x[Count::kBarrier] * per_subgroup;
  const double loads = x[Count::kGlobalLoad] + x[Count::kTexel] > 0 ? std::max(1.0, barriers / 2) : 0;
  const double alone = instructions * kAloneClocks + barriers * kBarrierClocks + loads * m.latency_clocks;
  const double waves = std::ceil(workgroups / (m.cores * resident_workgroups(w, m, width)));
  c.latency = waves * alone;
  return c;
}

double factor_of(const Machine& m, const std::string& name) {
  for (const UnitCost& s : m.scales)
    if (s.name == name) return s.value;
  return 1;
}

DispatchPrediction on_cores(const DispatchWork& w, const Machine& m) {
  const double width = w.width;
  const double clock = m.clock_mhz;  // per microsecond
  const double lanes = w.packed ? 2 * m.half_lanes : m.fma_lanes;
  const double compute_roof = w.flops * w.multiplied / (2 * lanes * m.cores * clock),
               memory_roof = (w.read_bytes + w.write_bytes) / (m.bandwidth_gbs * 1e3);
  const Clocks c = clocks_of(w, m, width);
  const double per_core = 1 / (m.cores * clock);
  // What is read again comes from the cache where the operands fit it. Elsewhere a part of it does, which nobody knows
  // from outside: the guess is the geometric mean of every byte once and every use from memory, which is also the
  // range.
  const double traffic = w.mix[Count::kGlobalBytes] + w.mix[Count::kTexel] * 16 * width,
               unique = w.read_bytes + w.write_bytes;
  const double most = (w.read_bytes > m.cache_bytes ? std::max(unique, traffic) : unique) / (m.bandwidth_gbs * 1e3);
  const double least = unique / (m.bandwidth_gbs * 1e3), memory = std::sqrt(least * most);

  DispatchPrediction p;
  p.roof_us = std::max(compute_roof, memory_roof);
  double t = p.roof_us;
  const auto raise = [&](Cause cause, double to) {
    if (to > t) p.lost[size_t(cause)] += to - t, t = to;
  };
  raise(Cause::kPadding, c.multiply_adds * per_core);
  raise(Cause::kIssue, c.issue * per_core);
  raise(Cause::kConvert, c.convert * per_core);
  raise(Cause::kShared, c.shared * per_core);
  p.bound_us = std::max(t, p.roof_us);
  raise(Cause::kMemory, memory);
  const double balance = std::ceil(w.workgroups / m.cores) * m.cores / std::max(1.0, w.workgroups);
  raise(Cause::kLatency, std::max(c.latency / clock, t * balance));
  // Measurements may be below what was worked out, but not below the roofline.
  const double reached = t, factor = factor_of(m, w.group);
  t = std::max(p.roof_us, reached / m.efficiency * factor);
  p.lost[size_t(Cause::kCompiler)] = t - reached;
  if (m.error_worst > 0) {
    p.low_us = t / (1 + m.error_worst), p.high_us = t * (1 + m.error_worst);
  } else {
    p.low_us = std::min(t, std::max({p.bound_us, least, c.latency / clock}) / m.efficiency_high * factor);
    p.high_us = std::max(t, std::max(reached, most) / m.efficiency_low * factor);
  }
  p.low_us += m.dispatch_us;
  p.high_us += m.error_worst > 0 ? m.dispatch_us : std::max(m.dispatch_us, m.dispatch_us_high);
  raise(Cause::kDispatch, t + m.dispatch_us);
  p.us = t;
  return p;
}

}  // namespace

const char* to_string(Cause c) { return kCauseNames[size_t(c)]; }

double fitted_us(const DispatchWork& w, const Machine& m) {
  double us = 0;
  for (const Feature& f : w.features)
    for (const UnitCost& c : m.costs)
      if (c.name == f.name) us += c.value * f.n;
  return us * factor_of(m, w.group) / (m.kind == Machine::Kind::kCounted ? m.efficiency : 1);
}

double dispatch_us(const DispatchWork& w, const Machine& m) {
  return m.kind != Machine::Kind::kCores ? fitted_us(w, m) : w.cpu ? 0 : on_cores(w, m).us;
}

Result<PlanPrediction> predict(const Plan& plan, const std::vector<DispatchWork>& work, const Machine& m) {
  if (m.kind != Machine::Kind::kCores && plan.device == DeviceKind::kVulkan && m.threads)
    return fail(ErrorCode::kUnsupported,
                "machine '{}' describes a CPU, but the plan is for {}; give a description of that device", m.name,
                plan.caps_name);
  if (m.kind == Machine::Kind::kCores && plan.device == DeviceKind::kCpu)
    return fail(ErrorCode::kUnsupported,
                "machine '{}' describes a GPU by its cores, but the plan is for a CPU ({}); give a description fitted "
                "there (`vireo predict --fit`)",
                m.name, plan.caps_name);
  if (plan.device == DeviceKind::kCpu && m.threads && m.threads != plan.caps.threads)
    return fail(ErrorCode::kInvalidArgument,
                "machine '{}' was {} with {} threads, the caps have {}; write them with `vireo devices --caps cpu "
                "--threads {}`, or fit again",
                m.name, m.kind == Machine::Kind::kFitted ? "fitted" : "counted", m.threads, plan.caps.threads,
                m.threads);
  PlanPrediction all;
  if (!m.device.empty() && plan.caps_name.rfind(m.device, 0) != 0)
    all.notes.push_back(
        fmt::format("machine '{}' describes '{}', the plan is for '{}'", m.name, m.device, plan.caps_name));
  std::vector<std::string> unknown, unpriced;
  const auto note = [](std::vector<std::string>& names, const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  const auto beside = [&](const DispatchWork& w) { return op_def(plan.steps[size_t(w.step)].op).conversion; };
  for (const DispatchWork& w : work) {
    DispatchPrediction p;
    if (m.kind == Machine::Kind::kCores) {
      if (w.cpu && beside(w)) continue;  // the step that it stands beside is the reason, and the error
      if (w.cpu)
        return fail(
            ErrorCode::kUnsupported,
            "machine '{}' describes a GPU, but step '{}' of the plan runs on the CPU ({}), whose time it does not tell",
            m.name, plan.steps[size_t(w.step)].name, plan.steps[size_t(w.step)].reason);
      p = on_cores(w, m);
    } else {
      p.us = fitted_us(w, m);
      const bool counted = m.kind == Machine::Kind::kCounted;
      p.low_us = p.us * (counted ? m.efficiency / m.efficiency_high : 1 / (1 + m.error_worst));
      p.high_us = p.us * (counted ? m.efficiency / m.efficiency_low : 1 + m.error_worst);
    }
    const bool measured = m.scales.empty() || std::any_of(m.scales.begin(), m.scales.end(),
                                                          [&](const UnitCost& k) { return k.name == w.group; });
    const bool priced =
        m.kind == Machine::Kind::kCores || std::any_of(w.features.begin(), w.features.end(), [&](const Feature& f) {
          return f.name != "steps" && f.name != "weights" &&
                 std::any_of(m.costs.begin(), m.costs.end(), [&](const UnitCost& c) { return c.name == f.name; });
        });
    if (m.kind == Machine::Kind::kCounted ? !priced : !measured) note(priced ? unknown : unpriced, w.group);
    DispatchPrediction& t = all.total;
    t.us += p.us, t.low_us += p.low_us, t.high_us += p.high_us, t.roof_us += p.roof_us, t.bound_us += p.bound_us;
    for (size_t c = 0; c < kCauses; ++c) t.lost[c] += p.lost[c];
    all.dispatches.push_back(p);
  }
  if (!unpriced.empty())
    return fail(ErrorCode::kUnsupported,
                "machine '{}' was never measured with: {}; fit again with a model and a precision that have them "
                "(`vireo predict --fit`)",
                m.name, fmt::join(unpriced, ", "));
  const double whole = factor_of(m, "inference");
  for (double* t : {&all.total.us, &all.total.low_us, &all.total.high_us}) *t = *t * whole + m.inference_us;
  all.total.lost[size_t(Cause::kDispatch)] += m.inference_us;
  if (!unknown.empty())
    all.notes.push_back(fmt::format(
        "machine '{}' was not measured with: {}; their times are less sure. Fit again with a model that has them",
        m.name, fmt::join(unknown, ", ")));
  return all;
}

}  // namespace vireo
