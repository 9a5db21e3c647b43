// predict and fit_machine: plans for text, descriptions by name, measurements by Session::profile().
#include <vireo/predict.hpp>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cmath>
#include <set>

#include "profile/predict.h"
#include "profile/text.h"
#include "runtime/model_impl.h"
#include "runtime/session_impl.h"

#include <vireo/profile.hpp>

namespace vireo {
namespace {

std::string known_machines() {
  std::string all;
  for (const BuiltInMachine& b : built_in_machines()) all += (all.empty() ? "" : ", ") + std::string(b.name);
  return all;
}

/// A snapshot that a prediction can be made for says more than the least that Vulkan guarantees.
Result<DeviceCaps> checked_caps(const std::string& text, const std::string& name) {
  std::set<std::string> said;
  VIREO_ASSIGN(const DeviceCaps caps, caps_from_text(text, name, &said));
  std::vector<const char*> keys;
  if (caps.kind == DeviceKind::kVulkan)
    keys.insert(keys.end(),
                {"subgroup_size", "max_shared_bytes", "max_workgroup_invocations", "max_workgroup_size_x",
                 "max_workgroup_size_y", "max_workgroup_size_z", "max_workgroup_count_x", "max_workgroup_count_y",
                 "max_workgroup_count_z", "max_storage_range", "max_texel_elements", "storage_alignment",
                 "texel_alignment", "max_stage_storage_buffers", "max_stage_sampled"});
  else keys.insert(keys.end(), {"simd", "threads"});
  for (const char* key : keys)
    if (!said.count(key))
      return fail(ErrorCode::kCorrupt,
                  "caps file '{}': '{}' is missing, without which a prediction means nothing; write the file with "
                  "`vireo devices --caps`",
                  name, key);
  const auto absurd = [&](const char* key, uint64_t got, const char* expected) {
    return fail(ErrorCode::kCorrupt, "caps file '{}': {} is {}, expected {}", name, key, got, expected);
  };
  if (caps.subgroup_size > 128 || (caps.subgroup_size & (caps.subgroup_size - 1)))
    return absurd("subgroup_size", caps.subgroup_size, "a power of two up to 128");
  if (caps.max_shared_bytes > (1u << 24)) return absurd("max_shared_bytes", caps.max_shared_bytes, "at most 16 MiB");
  if (caps.max_workgroup_invocations > 65536)
    return absurd("max_workgroup_invocations", caps.max_workgroup_invocations, "at most 65536");
  if (caps.threads > 4096) return absurd("threads", caps.threads, "at most 4096");
  return caps;
}

Result<Machine> machine_of(const std::string& given, const DeviceCaps& caps) {
  for (const BuiltInMachine& b : built_in_machines())
    if (given == b.name) return machine_from_text(b.text, b.name);
  if (given.find('\n') != std::string::npos) return machine_from_text(given, "device description");
  if (!given.empty())
    return fail(ErrorCode::kNotFound, "there is no device description '{}'; built in are: {}", given, known_machines());
  const BuiltInMachine* found = machine_for(caps);
  if (!found)
    return fail(
        ErrorCode::kNotFound,
        "no device description is for '{}'; name one ({}) or measure one on the device with `vireo predict --fit FILE`",
        caps.name, known_machines());
  return machine_from_text(found->text, found->name);
}

std::string uncertainty_of(const Machine& m) {
  if (m.error_worst > 0)
    return fmt::format(
        "models left out of the measurements were predicted within {:.0f} % (median) and {:.0f} % (worst)",
        100 * m.error_median, 100 * m.error_worst);
  if (m.kind == Machine::Kind::kFitted)
    return "the description does not say how far its predictions were from measurements; the range is none";
  std::string rest;
  if (m.kind == Machine::Kind::kCores) {
    const bool range = m.dispatch_us_high > m.dispatch_us;
    rest = ", and every byte read once or as often as it is used; ";
    rest += range ? fmt::format(
                        "a dispatch costs {:g} to {:g} us beside its work, the least as the best guess; what a "
                        "submission costs has no range",
                        m.dispatch_us, m.dispatch_us_high)
                  : "what dispatches and submissions cost has no range";
  }
  return fmt::format(
      "{}: {:.0f} to {:.0f} % of the counted bound is assumed to be reached, {:.0f} % as the best guess{}",
      m.scales.empty() ? "computed, not measured" : "brought to the measurements of one model, and otherwise computed",
      100 * m.efficiency_low, 100 * m.efficiency_high, 100 * m.efficiency, rest);
}

std::vector<std::pair<std::string, double>> losses(const std::array<double, kCauses>& lost) {
  std::vector<std::pair<std::string, double>> named;
  for (size_t c = 0; c < kCauses; ++c) named.push_back({to_string(Cause(c)), lost[c]});
  return named;
}

std::vector<PredictedDispatch> rows_of(const Plan& plan, const std::vector<DispatchWork>& work,
                                       const PlanPrediction& made, bool rates) {
  std::vector<PredictedDispatch> rows;
  for (size_t i = 0; i < work.size(); ++i) {
    const DispatchWork& w = work[i];
    const DispatchPrediction& d = made.dispatches[i];
    const Step& step = plan.steps[size_t(w.step)];
    PredictedDispatch r;
    r.step = w.step, r.part = w.part, r.cpu = w.cpu;
    r.name = step.name, r.op = op_def(step.op).name, r.kernel = step.kernel;
    if (!w.cpu) r.shader = w.group;
    r.flops = w.flops, r.bytes = w.read_bytes + w.write_bytes;
    r.us = d.us, r.low_us = d.low_us, r.high_us = d.high_us, r.roof_us = d.roof_us, r.bound_us = d.bound_us;
    for (const Feature& f : w.features) r.instructions.push_back({f.name, f.n});
    if (rates) r.lost = losses(d.lost);
    rows.push_back(std::move(r));
  }
  return rows;
}

Result<Prediction> predict_checked(const Model& model, const std::string& caps_text, const PredictOptions& options) {
  VIREO_ASSIGN(const DeviceCaps caps, checked_caps(caps_text, options.caps_name));
  VIREO_ASSIGN(const Machine machine, machine_of(options.machine, caps));
  Prediction p;
  VIREO_ASSIGN(const Planned planned, plan_for_caps(model, caps_text, options.session, &p.notes, options.machine));
  const Plan& plan = planned.plan;
  VIREO_ASSIGN(const std::vector<DispatchWork> work, plan_work(plan, options.counts.get()));
  VIREO_ASSIGN(PlanPrediction made, predict(plan, work, machine));
  p.model = model.name(), p.machine = machine.name, p.device = caps.name, p.precision = planned.plan.policy;
  p.batch = options.session.batch;
  p.height = options.session.height ? options.session.height : model.input_height();
  p.width = options.session.width ? options.session.width : model.input_width();
  p.us = made.total.us, p.low_us = made.total.low_us, p.high_us = made.total.high_us;
  p.roof_us = made.total.roof_us, p.bound_us = made.total.bound_us;
  p.uncertainty = uncertainty_of(machine);
  const bool rates = machine.kind == Machine::Kind::kCores;
  if (rates) p.lost = losses(made.total.lost);
  p.arena_bytes = plan.arena_bytes, p.weights_bytes = plan.weights_bytes;
  p.ram_bytes = plan.arena_bytes + plan.weights_bytes + Session::Impl::kSlots * (plan.input_bytes + plan.output_bytes);
  p.notes.insert(p.notes.end(), made.notes.begin(), made.notes.end());
  if (machine.ram_mib > 0 && double(p.ram_bytes) > machine.ram_mib * 1048576)
    p.notes.push_back(fmt::format("the plan needs {:.0f} MiB, {} has {:.0f}", double(p.ram_bytes) / 1048576,
                                  machine.name, machine.ram_mib));
  p.dispatches = rows_of(plan, work, made, rates);
  std::string why;
  VIREO_ASSIGN(const std::optional<Plan> frame, plan_frame(model, options.session, caps, &why));
  if (!why.empty()) p.notes.push_back("pictures become pixels on the CPU, which is not predicted here: " + why);
  if (!frame) return p;
  VIREO_ASSIGN(const std::vector<DispatchWork> front, plan_work(*frame));
  VIREO_ASSIGN(const PlanPrediction before, predict(*frame, front, machine));
  p.preprocessing = rows_of(*frame, front, before, rates);
  // It is submitted with the inference: what comes once is counted there.
  for (const PredictedDispatch& d : p.preprocessing)
    p.preprocessing_us += d.us, p.preprocessing_low_us += d.low_us, p.preprocessing_high_us += d.high_us;
  return p;
}

/// Pixels that are no constant; what they are changes no time.
std::vector<float> some_pixels(size_t n) {
  std::vector<float> p(n);
  uint32_t x = 1;
  for (float& v : p) x = x * 1664525u + 1013904223u, v = float(x >> 8) / float(1 << 23) - 1.f;
  return p;
}

struct FitSubject {
  struct Round {
    std::vector<double> us;  // by dispatch
    double wall_us = 0, probe_us = 0;
  };
  FitSample sample;
  Session session;
  std::vector<float> pixels;
  std::vector<Round> rounds;
};

/// Times of `runs` inferences of the probe, the median in microseconds.
Result<double> time_probe(Session& session, const std::vector<float>& pixels, int runs) {
  std::vector<double> times;
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    VIREO_TRY(session.run(pixels.data(), pixels.size()));
    times.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
  }
  return median(std::move(times));
}

/// The subject's times as they are when the probe takes `probe_us`: medians of the rounds, each divided by the probe
/// beside it.
FitSample brought_to(double probe_us, FitSubject subject) {
  FitSample sample = std::move(subject.sample);
  const auto over_rounds = [&](const auto& us_of) {
    std::vector<double> all;
    for (const FitSubject::Round& r : subject.rounds) all.push_back(us_of(r) * probe_us / r.probe_us);
    return median(std::move(all));
  };
  sample.wall_us = over_rounds([](const FitSubject::Round& r) { return r.wall_us; });
  for (size_t i = 0; i < sample.work.size(); ++i)
    sample.us.push_back(over_rounds([i](const FitSubject::Round& r) { return r.us[i]; }));
  return sample;
}

Result<std::string> fit_checked(const std::vector<Model>& models, const Device& device, const FitOptions& o) {
  if (o.name.empty() || o.name.find_first_of("#\r\n") != std::string::npos)
    return fail(ErrorCode::kInvalidArgument, "fitting a machine: got the name '{}', expected one line without '#'",
                o.name);
  Machine base;
  if (!o.base.empty()) {
    VIREO_ASSIGN(base, machine_of(o.base, device.impl()->caps));
    if (base.kind != Machine::Kind::kCores || device.impl()->kind != DeviceKind::kVulkan)
      return fail(ErrorCode::kUnsupported,
                  "fitting a machine: '{}' on {} cannot be brought to measurements; that takes a description by cores "
                  "and a Vulkan device. Fit without one",
                  base.name, device.impl()->caps.name);
  }
  if (models.size() < (o.base.empty() ? 2u : 1u))
    return fail(ErrorCode::kInvalidArgument, "fitting a machine: got {} models, expected at least {}", models.size(),
                o.base.empty() ? 2 : 1);
  if (o.precisions.empty())
    return fail(ErrorCode::kInvalidArgument, "fitting a machine: got no precisions, expected at least one");
  if (o.rounds < 1 || o.runs < 1)
    return fail(ErrorCode::kInvalidArgument, "fitting a machine: got {} rounds of {} runs, expected 1 or more",
                o.rounds, o.runs);
  std::vector<FitSubject> subjects;
  int done = 0;
  const int all = int(models.size() * o.precisions.size() + o.base.empty()) * (o.rounds + 1);
  const auto report = [&](const std::string& what) {
    if (o.progress) o.progress(what, done, all);
    ++done;
  };
  const auto session_of = [&](const Model& model, SessionOptions s) {
    s.fallback = false;
    s.head = model.task() == Task::kSegmentation ? Head::kClassMap
             : model.classes() > 0               ? Head::kLogits
                                                 : Head::kFeatures;
    return Session::create(model, device, s);
  };
  SessionOptions of_probe = o.session;
  of_probe.precision = Precision::kFp32;
  of_probe.batch = 1, of_probe.height = of_probe.width = 0;
  constexpr int kProbeRuns = 3;
  VIREO_ASSIGN(Session probe, session_of(o.probe ? *o.probe : models[0], of_probe));
  const std::vector<float> probe_pixels = some_pixels(probe.impl().input_floats());
  VIREO_TRY(time_probe(probe, probe_pixels, kProbeRuns));  // warms up
  const auto add = [&](size_t which, Precision precision, int batch) -> Result<void> {
    const Model& model = models[which];
    if (o.stop && o.stop())
      return fail(ErrorCode::kInvalidArgument, "fitting a machine: stopped before anything was measured");
    report("preparing " + model.name());
    SessionOptions s = o.session;
    s.precision = precision;
    s.batch = batch;
    VIREO_ASSIGN(Session session, session_of(model, s));
    VIREO_ASSIGN(std::vector<DispatchWork> work, plan_work(session.impl().planned.plan));
    FitSample sample;
    sample.model = fmt::format("{} {}", which, model.name());  // files of several folders may share a name
    sample.work = std::move(work);
    const size_t n = session.impl().input_floats();
    subjects.push_back({std::move(sample), std::move(session), some_pixels(n), {}});
    return {};
  };
  for (size_t which = 0; which < models.size(); ++which)
    for (Precision precision : o.precisions) VIREO_TRY(add(which, precision, o.session.batch));
  // Batches have steps of their own: tokens of one image are a view, of several a copy.
  if (o.base.empty()) VIREO_TRY(add(0, o.precisions[0], 2 * o.session.batch));
  std::vector<double> probes;
  bool stopped = false;
  for (int round = 0; round < o.rounds && !stopped; ++round)
    for (FitSubject& s : subjects) {
      stopped = stopped || (o.stop && o.stop());
      if (stopped) break;
      report("measuring " + s.sample.model.substr(s.sample.model.find(' ') + 1));
      ProfileOptions p;
      p.runs = o.runs;
      p.warmup = round == 0 ? 2 : 1;
      p.roofs = p.compiler = false;
      p.timed_at_once = INT_MAX;  // what is as scheduled is not asked
      p.uncertainty = 0;          // there are rounds, each between probes that must not be far apart
      VIREO_ASSIGN(const double before, time_probe(probe, probe_pixels, kProbeRuns));
      VIREO_ASSIGN(const Profile measured, s.session.profile(s.pixels.data(), s.pixels.size(), p));
      VIREO_ASSIGN(const double after, time_probe(probe, probe_pixels, kProbeRuns));
      if (measured.dispatches.size() != s.sample.work.size())
        return fail(ErrorCode::kInternal, "fitting a machine: the profile of '{}' has other dispatches than its plan",
                    s.sample.model);
      FitSubject::Round r;
      for (const DispatchProfile& d : measured.dispatches) r.us.push_back(d.serialised_us);
      r.wall_us = measured.wall_us, r.probe_us = std::max(1e-3, (before + after) / 2);
      probes.push_back(r.probe_us);
      s.rounds.push_back(std::move(r));
    }
  if (subjects.back().rounds.empty())
    return fail(ErrorCode::kInvalidArgument,
                "fitting a machine: stopped before every model was measured once; there is nothing to fit");
  const double typical = median(probes);
  std::vector<FitSample> samples;
  for (FitSubject& s : subjects) samples.push_back(brought_to(typical, std::move(s)));
  VIREO_ASSIGN(Machine m, o.base.empty() ? fit(samples) : adapt(base, samples));
  const Device::Impl& d = *device.impl();
  m.name = o.name;
  m.device = d.caps.name;
  m.device.resize(std::min(m.device.size(), m.device.find('#')));  // drivers choose their own names
  if (d.kind == DeviceKind::kCpu) m.threads = uint32_t(d.threads);
  m.probe_us = typical;
  std::string text = to_text(m);
  VIREO_ASSIGN(const Machine readable, machine_from_text(text, "the fitted description"));
  return text;
}

}  // namespace

std::vector<std::string> machine_names() {
  std::vector<std::string> all;
  for (const BuiltInMachine& b : built_in_machines()) all.push_back(b.name);
  return all;
}

Result<std::string> machine_text(const std::string& name) {
  return no_throw([&]() -> Result<std::string> {
    for (const BuiltInMachine& b : built_in_machines())
      if (name == b.name) return std::string(b.text);
    return fail(ErrorCode::kNotFound, "there is no device description '{}'; built in are: {}", name, known_machines());
  });
}

Result<std::string> machine_caps(const std::string& name) {
  return no_throw([&]() -> Result<std::string> {
    for (const BuiltInMachine& b : built_in_machines())
      if (name == b.name)
        if (const char* text = embedded_caps(std::string(b.caps) + ".txt")) return std::string(text);
    return fail(ErrorCode::kNotFound, "no capabilities of a device '{}' are built in; those of {} are", name,
                known_machines());
  });
}

std::shared_ptr<ShaderCounts> shader_counts() { return std::make_shared<ShaderCounts>(); }

Result<Prediction> predict(const Model& model, const std::string& caps, const PredictOptions& options) {
  return no_throw([&] { return predict_checked(model, caps, options); });
}

Result<std::string> fit_machine(const std::vector<Model>& models, const Device& device, const FitOptions& options) {
  return no_throw([&] { return fit_checked(models, device, options); });
}

}  // namespace vireo
