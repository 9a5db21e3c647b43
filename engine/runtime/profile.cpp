// Session::profile: times of every dispatch as scheduled and alone, of the host's phases, and of a plain inference,
// medians over runs.
#include <vireo/profile.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "profile/alone.h"
#include "profile/compiler_fields.h"
#include "profile/features.h"
#include "profile/roof_rows.h"
#include "profile/text.h"
#include "runtime/roofline.h"
#include "runtime/session_impl.h"
#include "shader/modules.h"
#if VIREO_VULKAN
#include "vk/statistics.h"
#endif

namespace vireo {
namespace {

using Clock = std::chrono::steady_clock;

double us_since(Clock::time_point t) { return std::chrono::duration<double, std::micro>(Clock::now() - t).count(); }

/// Begin and length of neighbouring dispatches in one run, since its first dispatch began.
struct Run {
  std::vector<double> begin, length;
};

/// Dispatches first .. last of the plan, which are timed in the same runs.
struct Block {
  size_t first = 0, last = 0;
  std::vector<Run> runs;
};

/// From the first begin to the last end, and by how much the lengths are more than that.
struct Extent {
  double span = 0, overlap = 0;
};
Extent extent_of(const Run& r) {
  Extent e;
  double sum = 0, last = 0;
  for (size_t i = 0; i < r.begin.size(); ++i) sum += r.length[i], last = std::max(last, r.begin[i] + r.length[i]);
  e.span = r.begin.empty() ? 0 : last - r.begin[0];
  e.overlap = std::max(0.0, sum - e.span);
  return e;
}

/// The run whose span is the median one: medians of every number by itself would call the noise between runs an
/// overlap.
const Run& typical(const std::vector<Run>& runs) {
  std::vector<std::pair<double, size_t>> by_span;
  for (size_t i = 0; i < runs.size(); ++i) by_span.push_back({extent_of(runs[i]).span, i});
  std::sort(by_span.begin(), by_span.end());
  return runs[by_span[by_span.size() / 2].second];
}

/// The graph's name with what was fused into the step: "LN + blocks.3.mlp.fc1 + GELU".
std::string label_of(const Step& step) {
  constexpr std::pair<const char*, const char*> kActs[] = {
      {"gelu_erf", "GELU"}, {"gelu_tanh", "GELU (tanh)"}, {"silu", "SiLU"}, {"relu", "ReLU"}};
  std::string before, behind;
  const OpDef& def = op_def(step.op);
  const auto attr = [&step](int i) { return i >= 0 ? size_t(step.attrs[size_t(i)]) : 0; };
  if (attr(def.slots.norm)) before = "LN + ";
  if (const size_t v = attr(def.slots.act)) {
    const char* act = def.attrs[def.slots.act].names[v];
    for (const auto& [name, text] : kActs)
      if (!std::strcmp(act, name)) act = text;
    behind += std::string(" + ") + act;
  }
  const size_t residual = size_t(def.slots.residual);
  if (def.slots.residual >= 0 && residual < step.operand_present.size() && step.operand_present[residual])
    behind += " + residual";
  return before + step.name + behind;
}

class Profiler {
 public:
  Profiler(Session::Impl& s, const float* pixels, size_t count, const ProfileOptions& o)
      : s_(s), plan_(s.planned.plan), pixels_(pixels), count_(count), o_(o) {}

  Result<Profile> run() {
    if (o_.runs < 1 || o_.runs > 100000 || o_.warmup < 0)
      return fail(ErrorCode::kInvalidArgument,
                  "profile: got {} runs after {} for warming up, expected 1 to 100000 after 0 or more", o_.runs,
                  o_.warmup);
    if (!(o_.least_seconds >= 0 && o_.least_seconds <= 3600))
      return fail(ErrorCode::kInvalidArgument, "profile: got {} seconds at least, expected 0 to 3600",
                  o_.least_seconds);
    if (o_.timed_at_once < 0)
      return fail(
          ErrorCode::kInvalidArgument,
          "profile: got {} dispatches to time at once, expected 1 or more, or 0 for as many as change the whole little",
          o_.timed_at_once);
    for (const auto& slot : s_.slots)
      if (slot.ticket)
        return fail(ErrorCode::kInvalidArgument, "profile: an inference is in flight; wait for it first");
    const size_t expected = s_.input_floats();
    if (pixels_ ? count_ != expected : needs_pixels())
      return fail(ErrorCode::kInvalidArgument, "profile: got {} input values, expected {}", pixels_ ? count_ : 0,
                  expected);
    if (!s_.health) return s_.health.error();
    describe();
    for (int i = 0; i < std::max(1, o_.warmup) && (i == 0 || !stopped()); ++i) VIREO_TRY(plain());
    VIREO_TRY(make_blocks());
    const int pairs = pairs_of(wall_.back());
    wall_.clear(), upload_.clear(), submit_.clear(), wait_.clear(), download_.clear();
    // Kinds in turns, so that a machine that slows down slows all of them.
    for (int pair = 0; p_.runs < o_.runs && (p_.runs == 0 || !stopped()); ++p_.runs) {
      for (; pair < int(int64_t(pairs) * (p_.runs + 1) / o_.runs); ++pair) VIREO_TRY(in_turns());
      VIREO_TRY(scheduled());
    }
    // Where something else had the cores in some of them, a few pairs say little of what the rows add up to.
    constexpr double kMoreTime = 20;
    constexpr int kMorePairs = 4;
    const auto more = Clock::now();
    for (int pair = 0; pair < kMorePairs * pairs && us_since(more) < kMoreTime * o_.least_seconds * 1e6 &&
                       o_.uncertainty > 0 && uncertainty(alone_, wall_) > o_.uncertainty && !stopped();
         ++pair)
      VIREO_TRY(in_turns());
    if (p_.runs < o_.runs || stopped_) {
      VIREO_TRY(complete_blocks());
      p_.notes.push_back(fmt::format("stopped after {} of {} runs", p_.runs, o_.runs));
    }
    VIREO_TRY(preprocess());
    VIREO_TRY(upload());  // value() of the input is that of what was profiled
    finish();
    if (pixels_ && needs_pixels()) s_.slots[0].pixels.assign(pixels_, pixels_ + count_);
    if (Result<void> finite = s_.answer_is_finite(0); !finite)
      p_.notes.push_back("measured as is: " + finite.error().message);
    // Without these the profile is still one.
    if (on_gpu())
      if (Result<void> counted = instructions(); !counted)
        p_.notes.push_back("no instruction counts: " + counted.error().message);
    if (stopped()) return std::move(p_);
    if (o_.compiler && on_gpu())
      if (Result<void> asked = compiler(); !asked) p_.no_compiler = asked.error().message;
    if (o_.phases)
      if (Result<void> measured = phases(); !measured) p_.no_phases = measured.error().message;
    if (o_.roofs)
      if (Result<void> measured = roofs(); !measured) p_.notes.push_back("no roofs: " + measured.error().message);
    return std::move(p_);
  }

 private:
  bool on_gpu() const { return !s_.cpu; }
  /// Whether the caller wants the end; once it does, it does.
  bool stopped() { return stopped_ = stopped_ || (o_.stop && o_.stop()); }
  bool needs_pixels() const {
#if VIREO_VULKAN
    if (s_.buffers.input != VK_NULL_HANDLE) return false;
#endif
    return true;
  }

  void describe() {
    const DeviceUsed used = s_.used();
    p_.model = s_.model.name();
    p_.device_kind = used.kind, p_.device_name = used.name, p_.device_reason = used.reason;
    p_.precision = plan_.policy;
    p_.batch = s_.options.batch, p_.height = s_.height, p_.width = s_.width;
    p_.arena_bytes = plan_.arena_bytes, p_.weights_bytes = plan_.weights_bytes;
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      const Step& step = plan_.steps[i];
      const bool cpu = step.device == DeviceKind::kCpu;
      DispatchProfile d;
      d.step = int(i);
      d.name = step.name, d.label = label_of(step), d.op = op_def(step.op).name, d.kernel = step.kernel, d.cpu = cpu;
      d.flops = step.cost.flops;
      d.bytes = step.cost.read_bytes + step.cost.write_bytes;
      if (cpu) {
        p_.dispatches.push_back(d);
        kernels_.push_back(step.by);
        continue;
      }
      // A part's share of the step's cost is that of its work; an operator that does not say gets equal shares.
      double work = 0;
      for (const PlanDispatch& each : step.dispatches) work += each.work.flops;
      const double flops = d.flops, bytes = d.bytes;
      for (size_t part = 0; part < step.dispatches.size(); ++part) {
        const PlanDispatch& dispatch = step.dispatches[part];
        const double share = work > 0 ? dispatch.work.flops / work : 1.0 / double(step.dispatches.size());
        d.part = int(part);
        d.shader = dispatch.shader, d.spec = dispatch.spec;
        std::copy(dispatch.groups.begin(), dispatch.groups.end(), d.groups);
        d.flops = flops * share;
        d.bytes = bytes * share;
        p_.dispatches.push_back(d);
        kernels_.push_back(step.by);
      }
    }
  }

  /// What the shaders of each dispatch execute, and what stands in them.
  Result<void> instructions() {
    const auto named = [](const shader::Mix& mix) {
      std::vector<std::pair<std::string, double>> all;
      for (size_t i = 0; i < shader::kCounts; ++i) all.push_back({shader::to_string(shader::Count(i)), mix.n[i]});
      return all;
    };
    VIREO_ASSIGN(const std::vector<DispatchWork> work, plan_work(plan_));
    for (size_t i = 0; i < work.size() && i < p_.dispatches.size(); ++i) {
      DispatchProfile& d = p_.dispatches[i];
      if (d.cpu) continue;
      VIREO_ASSIGN(const shader::Mix once, shader::count_static(*shader::find(d.shader)));
      d.executed = named(work[i].mix);
      d.spirv = named(once);
    }
    return {};
  }

  /// The profile's pixels are ready-made; what pictures cost before they are is measured on a grey-scale ramp of a
  /// camera's size.
  Result<void> preprocess() {
    constexpr int kWidth = 640, kHeight = 480;
    std::vector<uint8_t> picture(size_t(kWidth) * kHeight * 3);
    for (size_t i = 0; i < picture.size(); ++i) picture[i] = uint8_t(i / 3 % 251);
    std::vector<float> out(s_.input_floats() / size_t(s_.options.batch));
    std::vector<double> times;
#if VIREO_VULKAN
    const Image ramp{picture.data(), kWidth, kHeight};
    if (on_gpu() && s_.options.batch == 1 && needs_pixels()) {
      VIREO_ASSIGN(const bool on_device, s_.bring(&ramp, 1));
      if (on_device) return s_.profile_front(ramp, &p_);
    }
#endif
    for (int run = 0; run < p_.runs; ++run) {
      const auto start = Clock::now();
      for (int i = 0; i < s_.options.batch; ++i)
        VIREO_TRY(s_.preprocessor->run(Image{picture.data(), kWidth, kHeight}, out.data(), &s_.pool));
      times.push_back(us_since(start));
    }
    p_.host.preprocess = median(std::move(times));
    return {};
  }

  Result<void> upload() {
#if VIREO_VULKAN
    if (on_gpu() && s_.device_input) {  // to where the plan reads it, by way of the device
      Session::Impl::Slot& slot = s_.slots[0];
      slot.pixels.assign(pixels_, pixels_ + count_);
      slot.unprepared = false;
      VIREO_TRY(s_.feed(0));
      return s_.by_floats->run->wait(0);
    }
#endif
    float* in = s_.cpu ? s_.cpu->input(0) : nullptr;
#if VIREO_VULKAN
    if (on_gpu()) in = s_.gpu->input(0);
#endif
    if (in) std::memcpy(in, pixels_, count_ * sizeof(float));  // null: the application's own buffer
    return {};
  }

  /// What Session::submit and wait do, with the time of each phase.
  Result<void> plain() {
    Session::Impl::Slot& slot = s_.slots[0];  // what it held was the last inference's, perhaps a map of another size
    slot.map = {};
    s_.last_slot = s_.newest_slot = 0, s_.recomputed = nullptr;  // value() is of what ran last
    slot.result.resize(size_t(s_.planned.plan.values[size_t(s_.planned.plan.outputs[0])].desc.shape.elements()));
    const auto start = Clock::now();
    VIREO_TRY(upload());
    const double uploaded = us_since(start);
    if (s_.cpu) s_.cpu->run(0, s_.pool);
#if VIREO_VULKAN
    if (on_gpu()) VIREO_TRY(s_.gpu->submit(0));
#endif
    const double submitted = us_since(start);
#if VIREO_VULKAN
    if (on_gpu()) VIREO_TRY(s_.gpu->wait(0));
#endif
    const double waited = us_since(start);
    s_.gather(0);
    const double done = us_since(start);
    wall_.push_back(done);
    upload_.push_back(uploaded);
    submit_.push_back(submitted - uploaded);
    wait_.push_back(waited - submitted);
    download_.push_back(done - waited);
    return {};
  }

  /// Which dispatches are timed in one run as scheduled: all, unless what their timestamps cost changes the whole by
  /// more than kMostChange (lavapipe flushes a scene for each). Blocks end at barriers, so that nothing overlaps from
  /// one to the next.
  Result<void> make_blocks() {
    const size_t all = p_.dispatches.size();
    size_t most = o_.timed_at_once ? std::min(all, size_t(o_.timed_at_once)) : all;
#if VIREO_VULKAN
    if (on_gpu() && all > 0 && !o_.timed_at_once) {
      constexpr double kMostChange = 0.02;
      constexpr double kSeconds = 5;  // of one inference after another, for every block to have o_.runs of its own
      // The least of a few, as noise only adds, and the difference as far as commands of nothing but timestamps make it
      // credible.
      double with = 1e300, whole = 1e300;
      for (int i = 0; i < 5; ++i) {
        VIREO_ASSIGN(const vk::Executable::Times every, s_.gpu->time(vk::Executable::Timing::kScheduled));
        VIREO_ASSIGN(const vk::Executable::Times none, s_.gpu->time(vk::Executable::Timing::kScheduled, 0, 0));
        with = std::min(with, every.end_us - every.begin_us), whole = std::min(whole, none.end_us - none.begin_us);
        if (whole > 5e4 * (4 - i)) break;  // long runs show more in fewer
      }
      VIREO_ASSIGN(const double alone, s_.gpu->timestamp_us());
      p_.timestamp_us = std::min(std::max((with - whole) / double(2 * all), alone), 10 * alone);
      if (const double cost = 2 * p_.timestamp_us; cost > 0)
        most = size_t(std::min(double(all), std::max(1.0, kMostChange * whole / cost)));
      const double blocks = std::max(double(o_.runs), kSeconds * 1e6 / std::max(1.0, whole));
      most = std::max(most, size_t(std::ceil(double(all) / blocks)));
      const double each = kSeconds * 1e6 / std::max(1.0, whole * std::ceil(double(all) / double(most)));
      runs_of_block_ = most == all ? size_t(o_.runs) : size_t(std::min(double(o_.runs), std::max(1.0, each)));
    }
#endif
    if (!on_gpu()) {
      if (most < all) p_.notes.push_back("on the CPU every step is timed in every run, which costs nothing");
      most = all;
    }
    if (!runs_of_block_) runs_of_block_ = size_t(o_.runs);
    p_.timed_at_once = int(most);
    size_t barrier = 0;
    for (size_t i = 0; i < all; ++i) {
      const DispatchProfile& d = p_.dispatches[i];
      bool waits = i == 0 || d.cpu || p_.dispatches[i - 1].cpu;
      for (; d.part == 0 && barrier < plan_.barriers.size() && plan_.barriers[barrier].before_step <= d.step; ++barrier)
        waits = true;
      if (i == 0 || (waits && i - blocks_.back().first >= most)) blocks_.push_back({i, i, {}});
      blocks_.back().last = i + 1;
    }
    if (most < all) {
      std::string why = p_.timestamp_us > 0
                            ? fmt::format("a timestamp costs this driver about {:.0f} us", p_.timestamp_us)
                            : "as asked";
      p_.notes.push_back(
          fmt::format("as scheduled, about {} of {} dispatches were timed in a run ({}); their times, the medians of "
                      "{} runs each, are put together to the total of a run",
                      most, all, why, runs_of_block_));
    }
    return {};
  }

  /// How often the plain inference and the one of dispatches alone take turns: as many times as asked for, and short
  /// ones more often, because a few of them say little where something else has the cores now and then.
  int pairs_of(double wall_us) const {
    constexpr double kMore = 50;
    return int(std::max(double(o_.runs), std::min(kMore * o_.runs, o_.least_seconds * 1e6 / std::max(1.0, wall_us))));
  }

  Result<void> in_turns() {
    VIREO_TRY(plain());
    return alone();
  }

  /// Every dispatch behind the one before it, and what a submission takes without any.
  Result<void> alone() {
    if (!on_gpu()) {
      Run r;
      const auto start = Clock::now();
      VIREO_TRY(upload());
      for (size_t i = 0; i < plan_.steps.size(); ++i) {
        r.begin.push_back(us_since(start));
        s_.cpu->run_step(0, i, s_.pool);
        r.length.push_back(us_since(start) - r.begin.back());
      }
      profiled_.push_back(us_since(start));
      spans_.push_back(extent_of(r).span);
      alone_.push_back({r.length, {}});
      if (!blocks_.empty()) blocks_[0].runs.push_back(std::move(r));
      return {};
    }
#if VIREO_VULKAN
    VIREO_TRY(upload());
    VIREO_ASSIGN(vk::Executable::Times times, s_.gpu->time(vk::Executable::Timing::kSerialised));
    alone_.push_back({run_of(times, 0, times.spans.size()).length, std::move(times.empty_us)});
    VIREO_ASSIGN(const double launch, s_.gpu->launch_us());
    launch_.push_back(launch);
#endif
    return {};
  }

  Result<void> scheduled() {
#if VIREO_VULKAN
    if (!on_gpu() || blocks_.empty()) return {};  // the CPU's steps are always alone
    // As many runs as every block needs to have its turn.
    for (size_t i = 0; i < (blocks_.size() * runs_of_block_ + size_t(o_.runs) - 1) / size_t(o_.runs); ++i)
      VIREO_TRY(next_block());
#endif
    return {};
  }

  /// A run as scheduled that times the block whose turn it is.
  Result<void> next_block() {
#if VIREO_VULKAN
    Block& block = blocks_[next_block_++ % blocks_.size()];
    const auto start = Clock::now();
    VIREO_TRY(upload());
    VIREO_ASSIGN(const vk::Executable::Times times,
                 s_.gpu->time(vk::Executable::Timing::kScheduled, block.first, block.last));
    profiled_.push_back(us_since(start));
    spans_.push_back(times.end_us - times.begin_us);
    // Its own rows', that of the one before them and that of the last one.
    ends_.push_back(double(block.last - block.first) + (block.first > 0) + (block.last < p_.dispatches.size()));
    block.runs.push_back(run_of(times, block.first, block.last));
#endif
    return {};
  }

  /// Runs that ended early may have left blocks without one, and every dispatch needs a time.
  Result<void> complete_blocks() {
#if VIREO_VULKAN
    while (on_gpu() && next_block_ < blocks_.size()) VIREO_TRY(next_block());
#endif
    return {};
  }

#if VIREO_VULKAN
  static Run run_of(const vk::Executable::Times& times, size_t first, size_t last) {
    Run r;
    for (size_t i = first; i < last; ++i) {
      const vk::Executable::Span& s = times.spans[i];
      r.begin.push_back(s.begin_us - times.begin_us), r.length.push_back(s.end_us - s.begin_us);
    }
    return r;
  }
#endif

  void finish() {
    p_.wall_us = midmean(wall_);
    p_.profiled_us = median(profiled_);
    p_.host = {midmean(upload_),   midmean(submit_), midmean(wait_),
               midmean(download_), midmean(launch_), p_.host.preprocess};
    std::vector<bool> stamped;
    for (const DispatchProfile& d : p_.dispatches) stamped.push_back(on_gpu() && !d.cpu);
    const AloneTimes alone = alone_times(alone_, stamped);
    p_.serialised_us = alone.sum, p_.noise_us = alone.noise, p_.empty_us = alone.empty, p_.clipped = alone.clipped;
    p_.accounted_us = alone.sum + alone.noise + p_.host.upload + p_.host.launch + p_.host.download;
    for (size_t i = 0; i < ends_.size(); ++i) spans_[i] -= ends_[i] * alone.empty;
    for (Block& block : blocks_)
      for (Run& run : block.runs) take_off_stamps(block, &run);
    p_.scheduled_us = std::max(0.0, median(spans_));
    // Blocks are of different runs: they stand one behind the other, and are brought to the total of the runs.
    double extents = 0;
    for (const Block& block : blocks_) extents += extent_of(typical(block.runs)).span;
    // What lies between a CPU's steps and a device's is no dispatch's time: such plans stay as they were measured.
    const bool mixed = on_gpu() && std::any_of(p_.dispatches.begin(), p_.dispatches.end(),
                                               [](const DispatchProfile& d) { return d.cpu; });
    const double factor = blocks_.size() > 1 && extents > 0 && !mixed ? p_.scheduled_us / extents : 1;
    double at = 0;
    for (const Block& block : blocks_) {
      const Run& run = typical(block.runs);
      const Extent extent = extent_of(run);
      p_.overlap_us += factor * extent.overlap;
      for (size_t i = block.first; i < block.last; ++i) {
        DispatchProfile& d = p_.dispatches[i];
        d.begin_us = at + factor * (run.begin[i - block.first] - run.begin[0]);
        d.scheduled_us = factor * run.length[i - block.first];
        d.serialised_us = alone.rows[i];
      }
      at += factor * extent.span;
    }
  }

  /// Timestamps cost the rows as scheduled what they cost the rows alone; what comes behind begins earlier without.
  void take_off_stamps(const Block& block, Run* run) const {
    double before = 0, begin = 0;
    for (size_t i = 0; i < run->length.size(); ++i) {
      const bool stamped = on_gpu() && !p_.dispatches[block.first + i].cpu;
      const double cost = stamped ? std::min(p_.empty_us, run->length[i]) : 0;
      run->begin[i] = begin = std::max(i ? begin : run->begin[i], run->begin[i] - before);
      run->length[i] -= cost;
      before += cost;
    }
  }

  /// What the driver's compiler made of each distinct pipeline.
  Result<void> compiler() {
#if VIREO_VULKAN
    std::vector<vk::PipelineRequest> requests;
    for (const DispatchProfile& d : p_.dispatches)
      if (!d.cpu) requests.push_back({&d.shader, &d.spec, d.name.c_str()});
    const vk::Gpu& gpu = s_.gpu->gpu();
    VIREO_ASSIGN(const std::vector<vk::PipelineStatistics> all,
                 vk::pipeline_statistics(gpu.shared_instance(), gpu.physical().index, requests, s_.pool));
    size_t next = 0;
    for (DispatchProfile& d : p_.dispatches) {
      if (d.cpu) continue;
      const vk::PipelineStatistics& s = all[next++];
      d.compiler.subgroup_size = int(s.subgroup_size);
      for (const auto& [name, value] : s.values) d.compiler.values.push_back({name, value});
      read_compiler_fields(d.compiler);
    }
#endif
    return {};
  }

  /// Loads, arithmetic and stores within the workgroups. A few runs are enough: every workgroup of each is counted.
  Result<void> phases() {
    if (!on_gpu()) return fail(ErrorCode::kUnsupported, "the CPU's steps have no phases; profile a Vulkan device");
#if VIREO_VULKAN
    constexpr int kMostRuns = 5;
    const int runs = std::min(o_.runs, kMostRuns);
    VIREO_TRY(upload());
    VIREO_ASSIGN(const std::vector<vk::Executable::Phases> all, s_.gpu->phases(runs, s_.pool));
    bool any = false;
    for (size_t i = 0; i < p_.dispatches.size() && i < all.size(); ++i) {
      // Medians over the runs: a workgroup that the system interrupted would outweigh all others.
      double ticks[3], largest[3];
      for (size_t k = 0; k < 3; ++k) {
        std::vector<double> sums, most;
        for (const auto& run : all[i].runs) sums.push_back(run.sum[k]), most.push_back(run.largest[k]);
        ticks[k] = median(std::move(sums)), largest[k] = median(std::move(most));
      }
      const double sum = ticks[0] + ticks[1] + ticks[2];
      if (sum <= 0) continue;
      any = true;
      PhaseProfile& to = p_.dispatches[i].phases;
      to.workgroups = all[i].workgroups;
      PhaseProfile::Part* const parts[] = {&to.load, &to.compute, &to.store};
      for (size_t k = 0; k < 3; ++k) *parts[k] = {ticks[k] / sum, ticks[k] / to.workgroups, largest[k]};
    }
    if (!any) return fail(ErrorCode::kUnsupported, "no kernel of this plan has a variant that tells its phases");
#endif
    return {};
  }

  Result<void> roofs() {
    const auto measure = [this]() -> Result<MeasuredRoofs> {
#if VIREO_VULKAN
      if (on_gpu()) {
        VIREO_ASSIGN(const std::shared_ptr<vk::Gpu> gpu, s_.device.impl()->open_gpu());
        return measure_roofline(gpu, s_.pool, RoundWatch::real());
      }
#endif
      return measure_cpu_roofline(s_.pool, *s_.device.impl()->kernels, RoundWatch::real());
    };
    const std::string dir = cache_dir(s_.options);
    VIREO_ASSIGN(UsedRoofs used, kept_roofs(plan_.caps, dir, o_.measure_roofs, measure, &p_.notes));
    if (!used.measured && roofs_are_beaten(used.roofs, on_gpu(), kernels_, p_.dispatches)) {
      p_.notes.push_back("a step beats the kept roofs by more than noise: they are measured anew");
      VIREO_ASSIGN(used, kept_roofs(plan_.caps, dir, true, measure, &p_.notes));
    }
    p_.roofs = used.roofs;
    hold_against(used.roofs, on_gpu(), used.disturbed, kernels_, &p_.dispatches);
    std::map<std::string, int> above;
    for (const DispatchProfile& d : p_.dispatches)
      if (!d.above_roof.empty()) ++above[d.above_roof];
    for (const auto& [why, count] : above)
      p_.notes.push_back(
          fmt::format("{} of {} steps took less than the roofs allow: {}", count, p_.dispatches.size(), why));
    return {};
  }

  Session::Impl& s_;
  const Plan& plan_;
  const float* pixels_;
  size_t count_;
  const ProfileOptions& o_;
  Profile p_;
  std::vector<const KernelDef*> kernels_;  // by dispatch
  std::vector<double> wall_, profiled_, upload_, submit_, wait_, download_;
  std::vector<double> spans_;  // of the runs as scheduled, from the first dispatch's begin to the last one's end
  std::vector<double> ends_;   // how many dispatches' timestamps those hold
  std::vector<Block> blocks_;
  size_t runs_of_block_ = 0;
#if VIREO_VULKAN
  size_t next_block_ = 0;
#endif
  std::vector<AloneRun> alone_;
  std::vector<double> launch_;
  bool stopped_ = false;
};

}  // namespace

Result<Profile> Session::profile(const float* pixels, size_t count) { return profile(pixels, count, {}); }

Result<Profile> Session::profile(const float* pixels, size_t count, const ProfileOptions& options) {
  return no_throw(
      [&] { return impl().alone("profile()", [&] { return Profiler(impl(), pixels, count, options).run(); }); });
}

}  // namespace vireo
