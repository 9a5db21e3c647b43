// tune: measures the kernels that could do each step of a model on this device and keeps the fastest that are right.
//
// A step is taken out of the plan as a graph of one node. A candidate is a choice of constants (ops/tuned.h); the
// planner lowers the node with it, the executable runs it, and its answer must agree with the CPU's, whose kernels the
// conformance tests hold to the double reference. Time is what submit and wait take, the same overhead for all
// candidates.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <set>

#include "base/clock.h"
#include "base/half.h"
#include "base/write_file.h"
#include "ops/tuned.h"
#include "runtime/model_impl.h"
#include "runtime/session_impl.h"
#include "shader/modules.h"

#if VIREO_VULKAN

#include "runtime/self_test.h"

namespace vireo {
namespace {

using Clock = std::chrono::steady_clock;

/// The node of a step alone, with random operands; activations as the plan has them, or as fp32 for the CPU.
Graph single(const Plan& plan, const Step& step, bool as_fp32) {
  Graph g;
  g.name = step.name;
  Node node{step.name, step.op, step.attrs, {}, kNoValue};
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    if (!step.operand_present[i]) {
      node.inputs.push_back(kNoValue);
      continue;
    }
    const ValueId id = ValueId(g.values.size());
    node.inputs.push_back(id);
    if (step.inputs[i] >= 0) {
      TensorDesc d = plan.values[size_t(step.inputs[i])].desc;
      d.gap = 0;  // a key says nothing of where rows lie
      if (as_fp32) d.dtype = DType::kF32;
      g.values.push_back({fmt::format("in{}", i), d, nullptr});
      g.inputs.push_back(id);
    } else {
      const TensorDesc& d = step.const_descs[i];
      // Weights of a sum of cols terms: the result stays around 1.
      const float sigma = 1.f / std::sqrt(float(std::max<int64_t>(1, d.shape.c())));
      g.values.push_back({fmt::format("const{}", i), d,
                          random_constant(d.shape.w(), d.shape.c(), 17 + i, d.shape.w() > 1 ? sigma : 0.5f)});
    }
  }
  TensorDesc out = plan.values[size_t(step.output)].desc;
  out.gap = 0;
  if (as_fp32) out.dtype = DType::kF32;
  node.output = ValueId(g.values.size());
  g.values.push_back({"out", out, nullptr});
  g.outputs.push_back(node.output);
  g.nodes.push_back(std::move(node));
  return g;
}

/// Values in [-1, 1] that fp16 holds exactly, the same for every layout of the same operand.
float noise(size_t operand, int64_t element) {
  uint64_t z = (operand + 1) * 0x9E3779B97F4A7C15ull + uint64_t(element) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 30)) * 0x94D049BB133111EBull;
  return half_to_float(float_to_half(float(double((z ^ (z >> 31)) >> 11) / 4503599627370496.0 - 1.0)));
}

void fill(const Plan& plan, uint8_t* region) {
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    const PlanValue& v = plan.values[size_t(plan.inputs[i])];
    const TensorDesc& d = v.desc;
    uint8_t* const at = region + v.where.offset;
    std::memset(at, 0, v.where.bytes);
    const int64_t cols = d.layout == Layout::kRows ? d.shape.c() : d.shape.elements(),
                  rows = d.layout == Layout::kRows ? d.shape.rows() : 1;
    const int64_t stride = d.layout == Layout::kRows ? d.row_stride() : cols;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) {
        const float x = noise(i, r * cols + c);
        if (d.dtype == DType::kF16) reinterpret_cast<uint16_t*>(at)[r * stride + c] = float_to_half(x);
        else reinterpret_cast<float*>(at)[r * stride + c] = x;
      }
  }
}

/// A step's key, what the plan makes of it, and the answer that every candidate must give.
struct Subject {
  std::string key;
  const Step* step = nullptr;
  int times = 0;
  double flops = 0;  // of all its occurrences
};

struct Measured {
  std::string use;
  std::unique_ptr<Planned> planned;
  std::unique_ptr<vk::Executable> executable;
  double best_ms = INFINITY;
};

class Tuner {
 public:
  /// `policy`: settled on the device, so that a candidate which leaves it fewer kernels does not change the step.
  Tuner(const Device::Impl& device, std::shared_ptr<vk::Gpu> gpu, FormatPolicy policy, const TuneOptions& o)
      : device_(device), gpu_(std::move(gpu)), policy_(std::move(policy)), options_(o), pool_(device.threads) {
    policy_.half_beside_codes = false;
    failing_ = device.failing_kernels(tested_kernels(device.caps, policy_.activations), gpu_, pool_);
  }

  Result<TuneReport::Step> run(const Plan& plan, const Subject& subject, double budget_s, const TuneProgress& progress);

 private:
  PlanOptions plan_options(bool half_output) const {
    PlanOptions p;
    p.policy = policy_;
    p.fuse = false;
    p.half_outputs = half_output;
    return p;
  }
  Result<void> expect(const Plan& plan, const Step& step);
  Result<Measured> prepare(const Plan& plan, const Step& step, const std::string& use);
  Result<double> once(Measured& m);
  double error_of(const Measured& m) const;
  /// Largest error allowed: what the kernel may be off by itself comes to the operator's tolerance.
  double bound_of(const Measured& m) const;
  double cost_of(const Planned& p, const std::string& use) const;

  const Device::Impl& device_;
  const std::shared_ptr<vk::Gpu> gpu_;
  FormatPolicy policy_;
  const TuneOptions& options_;
  ThreadPool pool_;
  std::vector<std::string> failing_;
  std::vector<float> expected_;  // dense rows
  double bound_ = 0, largest_ = 1;
};

Result<void> Tuner::expect(const Plan& plan, const Step& step) {
  // Not the kernels that multiply bfloat16 for fp16: their own rounding is larger than what is allowed here.
  const simd::Kernels* kernels = &simd::best();
  for (int i = 0; kernels->gemm_bf16.run && simd::supported(i); ++i) kernels = simd::supported(i);
  DeviceCaps caps = make_cpu_device(device_.threads, "")->caps;
  caps.simd = kernels->name;
  VIREO_ASSIGN(const Planned on_cpu, make_plan(single(plan, step, true), caps, plan_options(false)));
  VIREO_ASSIGN(const std::unique_ptr<cpu::Executable> e,
               cpu::Executable::create(on_cpu.plan, on_cpu.graph, pool_, *kernels, 1));
  fill(on_cpu.plan,
       reinterpret_cast<uint8_t*>(e->input(0)) - on_cpu.plan.values[size_t(on_cpu.plan.inputs[0])].where.offset);
  e->run(0, pool_);
  const TensorDesc& d = on_cpu.plan.values[size_t(on_cpu.plan.outputs[0])].desc;
  expected_.clear();
  double& largest = largest_ = 1;
  for (int64_t r = 0; r < d.shape.rows(); ++r)
    expected_.insert(expected_.end(), e->output(0) + r * d.row_stride(),
                     e->output(0) + r * d.row_stride() + d.shape.c());
  for (float v : expected_) largest = std::max(largest, std::fabs(double(v)));
  // Both sides keep the operator's own bound against the exact answer; an fp16 result is rounded once more.
  const OpCall call = op_call(on_cpu.plan, on_cpu.plan.steps[0]);
  bound_ = 2 * op_def(step.op).tolerance(call) * largest;
  if (plan.values[size_t(step.output)].desc.dtype == DType::kF16) bound_ += std::ldexp(largest, -11);
  return {};
}

Result<Measured> Tuner::prepare(const Plan& plan, const Step& step, const std::string& use) {
  Tuning tuning = tuning_for(plan.caps);
  for (const std::string& kernel : failing_) tuning.constants.erase(kernel);
  if (!use.empty()) VIREO_TRY(apply_tuning(use, &tuning));
  PlanOptions o = plan_options(plan.values[size_t(step.output)].desc.dtype == DType::kF16);
  o.tuning = tuning;
  Measured m;
  m.use = use;
  VIREO_ASSIGN(Planned planned, make_plan(single(plan, step, false), plan.caps, o));
  for (const Step& s : planned.plan.steps)  // a candidate may name what failed its accuracy check
    if (s.by != nullptr && std::find(failing_.begin(), failing_.end(), s.by->name) != failing_.end())
      return fail(ErrorCode::kUnsupported, "{} failed its accuracy check", s.by->name);
  for (const Step& s : planned.plan.steps)  // of conversions beside it the reason is the step
    if (s.device == DeviceKind::kCpu && !op_def(s.op).conversion) return fail(ErrorCode::kUnsupported, "{}", s.reason);
  m.planned = std::make_unique<Planned>(std::move(planned));
  return m;
}

Result<double> Tuner::once(Measured& m) {
  const auto start = Clock::now();
  VIREO_TRY(m.executable->submit(0));
  VIREO_TRY(m.executable->wait(0));
  const double ms = seconds_since(start) * 1e3;
  m.best_ms = std::min(m.best_ms, ms);
  return ms;
}

double Tuner::error_of(const Measured& m) const {
  const Plan& p = m.planned->plan;
  const PlanValue& out = p.values[size_t(p.outputs[0])];
  const uint8_t* at = m.executable->read(out.where, 0);
  const TensorDesc& d = out.desc;
  double worst = 0;
  for (int64_t r = 0; r < d.shape.rows(); ++r)
    for (int64_t c = 0; c < d.shape.c(); ++c) {
      const int64_t k = r * d.row_stride() + c;
      const float got = d.dtype == DType::kF16 ? half_to_float(reinterpret_cast<const uint16_t*>(at)[k])
                                               : reinterpret_cast<const float*>(at)[k];
      const double error = std::fabs(double(got) - double(expected_[size_t(r * d.shape.c() + c)]));
      if (!(error <= worst)) worst = error;
      if (std::isnan(worst)) return INFINITY;
    }
  return worst;
}

double Tuner::bound_of(const Measured& m) const {
  const Step& step = m.planned->plan.steps[0];
  return step.by->error ? bound_ + step.by->error(step.constants) * largest_ : bound_;
}

/// For ranking candidates of one kernel before they are measured; only ratios mean something.
double Tuner::cost_of(const Planned& p, const std::string& use) const {
  const Step& step = p.plan.steps[0];
  Tuning t = tuning_for(p.plan.caps);
  if (!apply_tuning(use, &t)) return INFINITY;
  const OpCall call = op_call(p.plan, step);
  const double cost = step.by->cost ? step.by->cost(call, {&p.plan.caps, &t}) : 0;
  if (cost > 0 && cost < kLastResort) return cost;
  double issued = 0;
  for (const PlanDispatch& d : step.dispatches) issued += std::max(d.work.issued_flops, d.work.flops);
  return issued;
}

Result<TuneReport::Step> Tuner::run(const Plan& plan, const Subject& subject, double budget_s,
                                    const TuneProgress& progress) {
  const auto start = Clock::now();
  const Step& step = *subject.step;
  TuneReport::Step report;
  report.name = step.name;
  report.key = subject.key;
  report.times = subject.times;
  TuneProgress shown = progress;
  VIREO_TRY(expect(plan, step));

  const auto open = [&](Measured& m) -> Result<void> {
    vk::ExecutableOptions o;
    o.timeout_s = 60;
    VIREO_ASSIGN(m.executable, vk::Executable::create(gpu_, m.planned->plan, m.planned->graph, pool_, std::move(o)));
    fill(m.planned->plan, const_cast<uint8_t*>(m.executable->read({Region::kInput, 0, 1}, 0)));
    VIREO_TRY(once(m));
    m.best_ms = INFINITY;  // the first run warms up
    return {};
  };
  VIREO_ASSIGN(Measured base, prepare(plan, step, ""));
  VIREO_TRY(open(base));
  if (error_of(base) > bound_of(base))
    return fail(ErrorCode::kInternal,
                "tune: step '{}': the default kernel is off by {:.3g} on {}, allowed are {:.3g}; report it", step.name,
                error_of(base), plan.caps.name, bound_of(base));
  VIREO_TRY(once(base));

  // What the cost model leaves: per kernel those within 1.4 of its best, the cheapest first, kernels in turn.
  struct Candidate {
    Measured m;
    std::string kernel;
    double cost;
  };
  std::vector<Candidate> candidates;
  std::set<std::string> seen;
  const auto identity = [](const Plan& p) {
    std::string id;
    for (const PlanDispatch& d : p.steps[0].dispatches)
      id += fmt::format("{} {} {}\n", d.shader, fmt::join(d.spec, ","), fmt::join(d.groups, "x"));
    return id;
  };
  seen.insert(identity(base.planned->plan));
  std::map<std::string, double> least;
  for (const std::string& use : tuning_candidates(step.op, plan.caps)) {
    Result<Measured> m = prepare(plan, step, use);
    if (!m || !seen.insert(identity(m->planned->plan)).second) continue;
    const std::string kernel = m->planned->plan.steps[0].dispatches[0].shader;
    const double cost = cost_of(*m->planned, use);
    if (std::isinf(cost)) continue;
    least[kernel] = least.count(kernel) ? std::min(least[kernel], cost) : cost;
    candidates.push_back({std::move(*m), kernel, cost});
  }
  candidates.erase(std::remove_if(candidates.begin(), candidates.end(),
                                  [&](const Candidate& c) { return c.cost > 1.4 * least[c.kernel]; }),
                   candidates.end());
  std::stable_sort(candidates.begin(), candidates.end(), [&](const Candidate& a, const Candidate& b) {
    return a.cost / least[a.kernel] < b.cost / least[b.kernel];
  });

  Measured best;
  best.best_ms = base.best_ms;
  std::map<std::string, double> kernel_best;  // a kernel far behind is not looked at again
  std::map<std::string, int> kernel_tried;
  for (Candidate& c : candidates) {
    if (seconds_since(start) > budget_s || (options_.stop && options_.stop())) {
      report.complete = false;
      break;
    }
    if (kernel_tried[c.kernel] >= 3 && kernel_best[c.kernel] > 2 * best.best_ms) continue;
    ++report.tried;
    ++kernel_tried[c.kernel];
    const Result<void> opened = open(c.m);
    if (!opened && gpu_->lost()) return opened.error();
    if (!opened || error_of(c.m) > bound_of(c.m)) {
      ++report.rejected;
      continue;
    }
    VIREO_TRY(once(c.m));
    for (int i = 0; i < 3 && c.m.best_ms < 1.15 * best.best_ms; ++i) {
      VIREO_TRY(once(c.m));
      VIREO_TRY(once(best.executable ? best : base));
    }
    double& mine = kernel_best.emplace(c.kernel, INFINITY).first->second;
    mine = std::min(mine, c.m.best_ms);
    if (c.m.best_ms < best.best_ms) best = std::move(c.m);
    else c.m.executable.reset();
    shown.tried = report.tried;
    shown.best_ms = best.best_ms;
    shown.default_ms = base.best_ms;
    if (options_.progress) options_.progress(shown);
  }
  // The winner against the default once more, in turns: a quiet moment must not choose.
  if (best.executable) {
    best.best_ms = base.best_ms = INFINITY;
    for (int i = 0; i < 5; ++i) {
      VIREO_TRY(once(best));
      VIREO_TRY(once(base));
    }
  }
  report.default_ms = base.best_ms;
  report.ms = base.best_ms;
  if (best.executable && best.best_ms < 0.97 * base.best_ms) {
    report.ms = best.best_ms;
    report.use = best.use;
  }
  return report;
}

}  // namespace

Result<TuneReport> tune(const Model& model, const Device& device, const TuneOptions& options) {
  return no_throw([&]() -> Result<TuneReport> {
    const auto start = Clock::now();
    if (device.impl()->kind != DeviceKind::kVulkan)
      return fail(ErrorCode::kUnsupported,
                  "tune: {} is the CPU, whose kernels are not tuned; choose a Vulkan device (--device vulkan){}{}",
                  device.name(), device.reason().empty() ? "" : ": ", device.reason());
    if (options.session.precision == Precision::kAuto)
      return fail(ErrorCode::kInvalidArgument,
                  "tune: precision auto is chosen by times, which is what tuning changes; tune fp32, fp16 and int8 one "
                  "after the other (one file keeps all)");
    if (!(options.budget_s > 0 && options.budget_s <= 86400))
      return fail(ErrorCode::kInvalidArgument, "tune: budget_s is {}, expected more than 0 and at most 86400 seconds",
                  options.budget_s);
    const DeviceCaps& caps = device.impl()->caps;
    VIREO_ASSIGN(Graph graph, build_graph(model, options.session));
    const SessionOptions session = resolved(model, options.session);
    VIREO_ASSIGN(const PlanOptions how, plan_options(session));
    VIREO_ASSIGN(const Planned planned, plan_model(model, session, std::move(graph), caps, how));
    VIREO_ASSIGN(const std::shared_ptr<vk::Gpu> gpu, device.impl()->open_gpu());

    const TuningId id = tuning_id(caps, shader::all_hash());
    TuneReport report;
    report.file = tuning_path(options.session, id);
    if (!options.file.empty()) report.file = options.file;
    if (report.file.empty())
      return fail(ErrorCode::kInvalidArgument,
                  "tune: there is no folder for the tuning file; set VIREO_TUNING, VIREO_CACHE_DIR or HOME");
    TunedSteps tuned;
    if (Result<TunedSteps> old = load_tuning(report.file, id); old) tuned = std::move(*old);
    else if (old.error().code == ErrorCode::kCorrupt)
      report.notes.push_back(old.error().message + "; it is written anew");

    std::vector<Subject> subjects;
    double total = 0;
    for (const Step& s : planned.plan.steps) {
      if (s.device == DeviceKind::kCpu || tuning_candidates(s.op, caps).empty()) continue;
      const std::string key = step_key(planned.plan, s);
      auto at = std::find_if(subjects.begin(), subjects.end(), [&](const Subject& x) { return x.key == key; });
      if (at == subjects.end()) at = subjects.insert(at, Subject{key, &s, 0, 0});
      ++at->times;
      at->flops += s.cost.flops;
      total += s.cost.flops;
    }
    std::stable_sort(subjects.begin(), subjects.end(),
                     [](const Subject& a, const Subject& b) { return a.flops > b.flops; });

    PlanOptions of_precision;
    of_precision.precision = session.precision;
    Tuner tuner(*device.impl(), gpu, policy_for(of_precision, caps), options);
    double left = total;
    for (size_t i = 0; i < subjects.size(); ++i) {
      const Subject& s = subjects[i];
      const double remaining = options.budget_s - seconds_since(start);
      const bool over = remaining <= 0 || (options.stop && options.stop());
      if (over && i > 0) {  // the default of the first is measured in any case
        report.complete = false;
        break;
      }
      // A share of what is left by its share of the work, but never less than a few candidates' time.
      const double budget = std::max(remaining * s.flops / left, std::min(remaining, 0.02 * options.budget_s));
      left -= s.flops;
      TuneProgress p;
      p.step = int(i);
      p.steps = int(subjects.size());
      p.name = s.step->name.c_str();
      p.seconds = seconds_since(start);
      if (options.progress) options.progress(p);
      VIREO_ASSIGN(TuneReport::Step done, tuner.run(planned.plan, s, budget, p));
      report.complete = report.complete && done.complete;
      if (done.use.empty()) tuned.erase(s.key);
      else tuned[s.key] = {done.use, done.ms, done.default_ms};
      report.steps.push_back(std::move(done));
      // After every step: an interrupted run has lost nothing.
      if (std::string why = save_tuning(report.file, id, tuned); !why.empty())
        return fail(ErrorCode::kIo, "tune: {}", why);
    }
    report.seconds = seconds_since(start);
    return report;
  });
}

}  // namespace vireo

#else

namespace vireo {

Result<TuneReport> tune(const Model&, const Device& device, const TuneOptions&) {
  return fail(ErrorCode::kUnsupported,
              "tune: {} is the CPU, whose kernels are not tuned, and this build has no Vulkan path (VIREO_VULKAN=OFF)",
              device.name());
}

}  // namespace vireo

#endif
