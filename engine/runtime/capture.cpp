// capture: runs a session once more and writes down everything that doing so elsewhere needs.
#include <vireo/capture.hpp>

#include "device/caps.h"
#include "runtime/capture_file.h"
#include "runtime/model_impl.h"
#include "runtime/replay.h"
#include "runtime/session_impl.h"

namespace vireo {
namespace {

/// Those constants of the tuning file that the plan uses.
std::string tuning_used(const Session::Impl& s) {
  TunedSteps used;
  for (const Step& step : s.planned.plan.steps)
    if (const auto found = s.tuned.find(step_key(s.planned.plan, step)); found != s.tuned.end()) used.insert(*found);
  return used.empty() ? std::string() : tuning_text({}, used);
}

CaptureInfo describe(const Session::Impl& s) {
  CaptureInfo i;
  const DeviceUsed used = s.used();
  i.vireo = version();
  i.model = s.model.name(), i.architecture = s.model.architecture();
  i.options = s.options;
  i.options.height = s.height, i.options.width = s.width;
  i.options.cpu_ops = all_cpu_ops(s.options);  // with what the environment adds
  i.fused = fuses() && !s.unfused;
  i.device_kind = used.kind, i.device_name = used.name, i.device_reason = used.reason;
  i.caps = to_text(s.planned.plan.caps);
  i.plan = dump(s.planned.plan);
  i.tuning = tuning_used(s);
  const ModelSource& source = s.model.impl().loaded.source();
  i.random_weights = source.weights == nullptr;
  i.seed = source.seed;
  const int in[] = {s.options.batch, s.model.channels(), s.height, s.width};
  std::copy_n(in, 4, i.input_shape);
  return i;
}

/// What the session keeps of its last inference, in order of execution.
Result<std::vector<CapturedValue>> values_of(const Session::Impl& s, bool whole) {
  const Plan& plan = s.planned.plan;
  std::vector<CapturedValue> values;
  for (const PlanValue& v : plan.values) {
    if (!s.kept(v) || v.where.region == Region::kInput) continue;
    int64_t shape[4];
    VIREO_ASSIGN(const std::vector<float> data, s.value(v.name, shape));
    values.push_back(captured_value(v.name, shape, data, whole));
  }
  return values;
}

/// The same inference with every value kept, in a session of its own: what the captured one lays over one another
/// stays.
Result<std::vector<CapturedValue>> values_beside(const Session::Impl& s, const CaptureFile& f, bool whole,
                                                 std::vector<std::string>* notes) {
  SessionOptions o = s.options;
  o.keep_all = true;
  o.fallback = false;
  o.on_inference = nullptr;
  Session::Impl kept(s.model, s.place == 0 ? s.device : Device(make_cpu_device(s.device.impl()->threads, "")),
                     std::move(o));
  kept.tuned = s.tuned, kept.tuned_given = true, kept.unfused = s.unfused;
  VIREO_TRY(kept.open());
  VIREO_ASSIGN(const Ticket t, kept.submit(f.input.data(), f.input.size(), 0));
  VIREO_ASSIGN(const Output out, kept.wait(t));
  const std::vector<float> again(out.data, out.data + f.output.size());
  const ReplayDifference d = answer_difference(f, again, tolerance_of(s.options));
  if (d.differs)
    notes->push_back(
        fmt::format("the answer differs when every value is kept ({:.4g} of the largest magnitude): suspect memory "
                    "that is used again too early, or a "
                    "kernel that does not give the same answer twice",
                    d.distance));
  return values_of(kept, whole);
}

Result<CaptureReport> write(Session::Impl& s, const float* pixels, size_t count, const std::string& file,
                            const CaptureOptions& options) {
#if VIREO_VULKAN
  if (s.buffers.input != VK_NULL_HANDLE || s.buffers.output != VK_NULL_HANDLE)
    return fail(ErrorCode::kUnsupported,
                "capture: the session works on the application's own buffers; capture a session made by "
                "Session::create instead");
#endif
  for (const Session::Impl::Slot& slot : s.slots)
    if (slot.ticket) return fail(ErrorCode::kInvalidArgument, "capture: an inference is in flight; wait for it first");
  VIREO_ASSIGN(const Ticket ticket, s.submit(pixels, count, 0));
  VIREO_ASSIGN(const Output out, s.wait(ticket));
  CaptureFile f;
  f.info = describe(s);  // after the run: it may have fallen back
  f.info.note = options.note;
  const LoadedModel& model = s.model.impl().loaded;
  f.config = model.source().config, f.preprocessor = model.preprocessor_text();
  f.weights = model.source().weights;
  f.input.assign(pixels, pixels + count);
  const int shape[] = {out.batch, out.rows, out.cols};
  std::copy_n(shape, 3, f.info.output_shape);
  f.output.assign(out.data, out.data + size_t(out.batch) * size_t(out.rows) * size_t(out.cols));
  CaptureReport report;
  if (options.values || options.all_values) {
    Result<std::vector<CapturedValue>> values =
        s.options.keep_all ? values_of(s, options.all_values) : values_beside(s, f, options.all_values, &report.notes);
    if (values) f.values = std::move(*values);
    else report.notes.push_back("no intermediate values: " + values.error().message);
  }
  report.values = f.values.size();
  VIREO_ASSIGN(report.bytes, write_capture(file, f));
  return report;
}

}  // namespace

Result<CaptureReport> capture(Session& session, const float* pixels, size_t count, const std::string& file,
                              const CaptureOptions& options) {
  Session::Impl& s = session.impl();
  return no_throw([&] { return s.alone("capture()", [&] { return write(s, pixels, count, file, options); }); });
}

Result<CaptureReport> capture(Session& session, const Image* images, int count, const std::string& file,
                              const CaptureOptions& options) {
  Session::Impl& s = session.impl();
  return no_throw([&] {
    return s.alone("capture()", [&]() -> Result<CaptureReport> {
      VIREO_TRY(s.stage(images, count));
      const std::vector<float> pixels = s.staged;
      return write(s, pixels.data(), pixels.size(), file, options);
    });
  });
}

Result<CaptureInfo> read_capture(const std::string& file) {
  return no_throw([&]() -> Result<CaptureInfo> {
    VIREO_ASSIGN(CaptureFile f, load_capture(file));
    return std::move(f.info);
  });
}

}  // namespace vireo
