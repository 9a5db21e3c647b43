// replay: a captured inference on this machine's device, with the captured plan where that can run here, and how far
// the answer is from the captured one.
#include "runtime/replay.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/checksum.h"
#include "runtime/model_impl.h"
#include "runtime/session_impl.h"
#include "shader/modules.h"
#include "shader/reflect.h"

namespace vireo {
namespace {

/// Why a plan made for other capabilities cannot run on a device of these; fine where it can.
Result<void> check_fit(const Plan& made, const DeviceCaps& here) {
  if (made.device == DeviceKind::kCpu) return {};
  Plan plan = made;
  const uint32_t subgroup = plan.caps.subgroup_size;
  plan.caps = here;
  VIREO_TRY(verify(plan));
  if (subgroup == here.subgroup_size) return {};
  for (const Step& s : plan.steps)
    for (const PlanDispatch& d : s.dispatches) {
      VIREO_ASSIGN(const shader::Reflection r, shader::reflect(*shader::find(d.shader)));
      if (r.needs(shader::kSubgroupShuffle))
        return fail(ErrorCode::kUnsupported, "step '{}' exchanges values within subgroups of {}, this device's have {}",
                    s.name, subgroup, here.subgroup_size);
    }
  return {};
}

/// The first line in which two plans differ, beyond the one that names the device; empty when there is none.
std::string first_other_line(const std::string& captured, const std::string& here) {
  size_t a = captured.find('\n'), b = here.find('\n');
  for (int line = 2; a != std::string::npos || b != std::string::npos; ++line) {
    const auto next = [](const std::string& text, size_t* at) {
      if (*at == std::string::npos) return std::string("nothing");
      const size_t from = *at + 1;
      *at = text.find('\n', from);
      return text.substr(from, *at == std::string::npos ? *at : *at - from);
    };
    const std::string x = next(captured, &a), y = next(here, &b);
    if (x != y) return fmt::format("line {} was '{}', is '{}'", line, x.substr(0, 160), y.substr(0, 160));
  }
  return {};
}

class Replayer {
 public:
  Replayer(const CaptureFile& f, const Model& model, const Device& device, const ReplayOptions& o)
      : f_(f), model_(model), device_(device), o_(o) {}

  Result<ReplayReport> run() {
    report_.tolerance = o_.tolerance >= 0 ? o_.tolerance : tolerance_of(f_.info.options);
    VIREO_ASSIGN(std::unique_ptr<Session::Impl> session, open(f_.info.options.keep_all));
    Session::Impl& s = *session;
    report_.device_kind = s.used().kind, report_.device_name = device_.name(), report_.device_reason = s.used().reason;
    report_.notes.insert(report_.notes.end(), s.warnings.begin(), s.warnings.end());
    VIREO_TRY(infer(s));
    if (!o_.values || f_.values.empty()) return std::move(report_);
    if (s.options.keep_all) {
      VIREO_TRY(compare_values(s));
      return std::move(report_);
    }
    session.reset();  // the one with every value kept needs the memory
    Result<void> compared = [&]() -> Result<void> {
      VIREO_ASSIGN(const std::unique_ptr<Session::Impl> kept, open(true));
      VIREO_ASSIGN(const Ticket t, kept->submit(f_.input.data(), f_.input.size(), 0));
      VIREO_ASSIGN([[maybe_unused]] const Output out, kept->wait(t));
      return compare_values(*kept);
    }();
    if (!compared) report_.notes.push_back("intermediate values were not compared: " + compared.error().message);
    return std::move(report_);
  }

 private:
  /// A device that plans as the captured one did, and runs here; null, with the reason in `*why`, where there is none.
  std::shared_ptr<Device::Impl> twin(std::string* why) const {
    const Device::Impl& here = *device_.impl();
    const DeviceCaps& then = f_.caps;
    if (then.kind != here.kind) return *why = fmt::format("it is for a {} device", to_string(then.kind)), nullptr;
    if (then.threads > 256)
      return *why = fmt::format("it is for {} threads, more than a session takes", then.threads), nullptr;
    const simd::Kernels* kernels = simd::find(then.simd.c_str());
    if (!kernels && then.kind == DeviceKind::kCpu)
      return *why = fmt::format("its kernels '{}' do not exist on this CPU", then.simd), nullptr;
    auto d = std::make_shared<Device::Impl>();
    d->kind = here.kind;
    d->caps = here.caps;
    if (then.kind == DeviceKind::kVulkan) {
      // A plan's offsets are multiples of these, whoever reads there.
      if (then.storage_alignment % here.caps.storage_alignment || then.texel_alignment % here.caps.texel_alignment)
        return *why = fmt::format("its memory is aligned to {} and {} bytes, this device needs {} and {}",
                                  then.storage_alignment, then.texel_alignment, here.caps.storage_alignment,
                                  here.caps.texel_alignment),
               nullptr;
      d->caps = then;
      d->caps.name = here.caps.name;
    }
    d->caps.simd = then.simd, d->caps.threads = then.threads, d->caps.caches = then.caches;
    d->reason = here.reason;
    d->index = here.index;
    d->threads = int(std::max<uint32_t>(then.threads, 1));
    d->kernels = kernels ? kernels : here.kernels;
#if VIREO_VULKAN
    d->instance = here.instance;
    {
      const std::lock_guard<std::mutex> lock(here.mutex);
      d->gpu = here.gpu;
    }
    d->validation = here.validation;
    d->adopted = here.adopted;
    d->gpu_options = here.gpu_options;
#endif
    const Result<void> fits = [&]() -> Result<void> {
      VIREO_ASSIGN(Graph graph, build_graph(model_, f_.info.options));
      VIREO_ASSIGN(PlanOptions how, plan_options(f_.info.options));
      how.fuse = how.fuse && f_.info.fused;
      how.tuned = &f_.tuned;
      VIREO_ASSIGN(const Planned p, make_plan(std::move(graph), d->caps, how));
      if (!kernels && p.plan.has_cpu_steps())
        return fail(ErrorCode::kUnsupported,
                    "its steps on the CPU need the kernels '{}', which do not exist on this one", then.simd);
      return check_fit(p.plan, here.caps);
    }();
    if (fits) return d;
    *why = fits.error().message;
    return nullptr;
  }

  Result<std::unique_ptr<Session::Impl>> open_on(const Device& d, bool keep_all, bool as_captured) const {
    SessionOptions o = f_.info.options;
    o.keep_all = keep_all;
    o.fallback = false;
    auto s = std::make_unique<Session::Impl>(model_, d, std::move(o));
    s->unfused = !f_.info.fused;
    if (as_captured) s->tuned = f_.tuned, s->tuned_given = true;
    VIREO_TRY(s->open());
    return s;
  }

  /// With the captured plan where that is possible. What became of it is noted of the session that is like the captured
  /// one.
  Result<std::unique_ptr<Session::Impl>> open(bool keep_all) {
    std::string why = o_.plan_anew ? "a plan for this device was asked for" : "";
    const std::shared_ptr<Device::Impl> like = o_.plan_anew ? nullptr : twin(&why);
    Result<std::unique_ptr<Session::Impl>> s =
        like ? open_on(Device(like), keep_all, true) : open_on(device_, keep_all, false);
    if (!s && like && s.error().code == ErrorCode::kUnsupported) {  // what only the driver could tell
      why = s.error().message;
      s = open_on(device_, keep_all, false);
    } else if (s && like) {
      if (const std::string other = first_other_line(f_.info.plan, dump((*s)->planned.plan)); !other.empty())
        why = fmt::format("Vireo {} captured, this {} plans otherwise for the same device: {}", f_.info.vireo,
                          version(), other);
    }
    if (s && keep_all == f_.info.options.keep_all) report_.plan_reason = why, report_.captured_plan = why.empty();
    return s;
  }

  Result<void> infer(Session::Impl& s) {
    if (s.input_floats() != f_.input.size())
      return fail(ErrorCode::kCorrupt, "the capture holds {} input values, its model takes {}; capture anew",
                  f_.input.size(), s.input_floats());
    VIREO_ASSIGN(const Ticket t, s.submit(f_.input.data(), f_.input.size(), 0));
    VIREO_ASSIGN(const Output out, s.wait(t));
    report_.ms = out.ms;
    report_.device_reason = out.device.reason;  // it may have been computed again in fp32
    const size_t count = size_t(out.batch) * size_t(out.rows) * size_t(out.cols);
    if (out.batch != f_.info.output_shape[0] || out.rows != f_.info.output_shape[1] ||
        out.cols != f_.info.output_shape[2])
      return fail(ErrorCode::kCorrupt,
                  "the capture holds an answer of {} x {} x {}, its model gives {} x {} x {}; capture anew",
                  f_.info.output_shape[0], f_.info.output_shape[1], f_.info.output_shape[2], out.batch, out.rows,
                  out.cols);
    report_.output = answer_difference(f_, {out.data, out.data + count}, report_.tolerance);
    return {};
  }

  Result<void> compare_values(const Session::Impl& s) {
    const Plan& plan = s.planned.plan;
    std::map<std::string, const PlanValue*> here;
    for (const PlanValue& v : plan.values) here[v.name] = &v;
    const std::string& answer = plan.values[size_t(plan.outputs[0])].name;
    size_t absent = 0;
    for (const CapturedValue& then : f_.values) {
      if (!here.count(then.name)) {  // plans for other devices fuse otherwise
        ++absent;
        continue;
      }
      int64_t shape[4];
      VIREO_ASSIGN(const std::vector<float> data, s.value(then.name, shape));
      const bool classes = f_.info.options.head == Head::kClassMap && then.name == answer;
      report_.values.push_back(difference(then, shape, data, classes, report_.tolerance));
      if (report_.first < 0 && report_.values.back().differs) report_.first = int(report_.values.size()) - 1;
    }
    if (absent)
      report_.notes.push_back(
          fmt::format("{} of {} captured values do not exist in this plan", absent, f_.values.size()));
    return {};
  }

  const CaptureFile& f_;
  const Model& model_;
  const Device& device_;
  const ReplayOptions& o_;
  ReplayReport report_;
};

}  // namespace

ReplayDifference difference(const CapturedValue& captured, const int64_t shape[4], const std::vector<float>& here,
                            bool classes, double tolerance) {
  ReplayDifference d;
  d.name = captured.name;
  std::copy_n(shape, 4, d.shape);
  d.scale = captured.scale;
  if (!std::equal(shape, shape + 4, captured.shape.begin()) || int64_t(here.size()) != captured.elements()) {
    d.problem =
        fmt::format("its shape was [{}], is [{}]", fmt::join(captured.shape, ", "), fmt::join(shape, shape + 4, ", "));
    d.differs = true;
    return d;
  }
  d.compared = captured.samples.size();
  d.identical = checksum(here.data(), here.size() * sizeof(float)) == captured.sum;
  size_t where = 0;
  for (size_t i = 0; i < captured.samples.size(); ++i) {
    const size_t at = sample_position(i, captured.samples.size(), here.size());
    const float x = captured.samples[i], y = here[at];
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    ++d.unequal;
    double far = std::fabs(double(x) - double(y));
    if (!std::isfinite(far)) far = INFINITY;
    if (far <= d.largest) continue;
    d.largest = far;
    d.captured = x, d.here = y;
    where = at;
  }
  for (int i = 3; i >= 0; --i) {
    d.at[i] = int64_t(where) % shape[i];
    where /= size_t(shape[i]);
  }
  d.distance = classes          ? double(d.unequal) / double(d.compared)
               : d.largest == 0 ? 0
               : d.scale > 0    ? d.largest / d.scale
                                : INFINITY;
  d.differs = !(d.distance <= tolerance);
  return d;
}

ReplayDifference answer_difference(const CaptureFile& f, const std::vector<float>& here, double tolerance) {
  const int* dims = f.info.output_shape;
  const int64_t shape[4] = {dims[0], 1, dims[1], dims[2]};
  return difference(captured_value("output", shape, f.output, true), shape, here,
                    f.info.options.head == Head::kClassMap, tolerance);
}

Result<ReplayReport> replay(const std::string& file, const Device& device, const ReplayOptions& options) {
  return no_throw([&]() -> Result<ReplayReport> {
    if (std::isnan(options.tolerance))
      return fail(ErrorCode::kInvalidArgument, "replay: the tolerance is no number; expected one from 0");
    VIREO_ASSIGN(const CaptureFile f, load_capture(file));
    VIREO_ASSIGN(LoadedModel loaded, captured_model(f, file));
    const Model model = Model::Impl::wrap(std::move(loaded), f.info.model);
    return Replayer(f, model, device, options).run();
  });
}

}  // namespace vireo
