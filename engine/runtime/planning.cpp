// What is decided before there is a device: options checked, the graph built, planned, and printed for devices that are
// only a description.
#include <algorithm>

#include "base/env.h"
#include "base/json.h"
#include "base/names.h"
#include "base/number.h"
#include "model/input_size.h"
#include "plan/picture.h"
#include "runtime/model_impl.h"
#include "runtime/session_impl.h"
#include "shader/modules.h"

namespace vireo {
namespace {

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    if (end > at) parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

Result<void> check_options(const Model& model, const SessionOptions& o) {
  if (o.batch < 1 || o.batch > 4096)
    return fail(ErrorCode::kInvalidArgument, "session: batch is {}, expected 1 to 4096", o.batch);
  if ((o.height == 0) != (o.width == 0) || o.height < 0 || o.width < 0 || o.height > 16384 || o.width > 16384)
    return fail(ErrorCode::kInvalidArgument,
                "session: input size is {}x{}, expected both sides from 1 to 16384 pixels, or 0x0 for the model's own",
                o.height, o.width);
  if (o.head == Head::kLogits && model.classes() == 0)
    return fail(ErrorCode::kUnsupported,
                "model '{}' has no classification head; ask for its features (`vireo embed`, Head::kFeatures)",
                model.name());
  if (!(o.timeout_s >= 0 && o.timeout_s <= 86400))
    return fail(ErrorCode::kInvalidArgument, "session: timeout_s is {}, expected 0 (the default) to 86400 seconds",
                o.timeout_s);
  if (o.latency_window < 1 || o.latency_window > LatencyRecorder::kMost)
    return fail(ErrorCode::kInvalidArgument, "session: latency_window is {}, expected 1 to {} inferences",
                o.latency_window, int(LatencyRecorder::kMost));
  const std::string seconds = env::get("VIREO_TIMEOUT");
  double timeout = 0;
  if (!parse_number(seconds, &timeout) || !(timeout > 0))
    return fail(ErrorCode::kInvalidArgument, "VIREO_TIMEOUT is '{}', expected a number of seconds", seconds);
  const std::string threads = env::get("VIREO_THREADS");
  if (threads.empty() || threads.size() > 6 || threads.find_first_not_of("0123456789") != std::string::npos)
    return fail(ErrorCode::kInvalidArgument, "VIREO_THREADS is '{}', expected a number of threads, 0 for all cores",
                threads);
  for (const std::string& name : all_cpu_ops(o)) {
    std::vector<std::string> known;
    for (OpKind k : all_ops()) known.push_back(op_def(k).name);
    if (std::find(known.begin(), known.end(), name) == known.end())
      return fail(ErrorCode::kInvalidArgument, "session: cpu_ops or VIREO_CPU_OPS names '{}', which is no operator{}",
                  name, known_names(name, known));
  }
  return {};
}

}  // namespace

std::string cache_dir(const SessionOptions& o) {
  std::string dir = o.cache_dir.empty() ? env::get("VIREO_CACHE_DIR") : o.cache_dir;
  if (dir == "-") return {};
  if (!dir.empty()) return dir;
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg == '/') return std::string(xdg) + "/vireo";
  if (const char* home = std::getenv("HOME"); home && *home == '/') return std::string(home) + "/.cache/vireo";
  return {};
}

bool fuses() { return !env::flag("VIREO_NO_FUSE"); }

std::vector<std::string> all_cpu_ops(const SessionOptions& o) {
  std::vector<std::string> all = o.cpu_ops;
  for (std::string& s : split_list(env::get("VIREO_CPU_OPS"))) all.push_back(std::move(s));
  return all;
}

SessionOptions resolved(const Model& model, SessionOptions o) {
  if (o.precision == Precision::kCheckpoint) o.precision = model.precision();
  return o;
}

Result<PlanOptions> plan_options(const SessionOptions& o) {
  PlanOptions p;
  p.precision = o.precision;
  if (!o.policy.empty()) {
    VIREO_ASSIGN(p.policy, parse_policy(o.policy, "policy"));
  }
  p.keep_all = o.keep_all;
  p.fuse = fuses();
  p.cpu_ops = all_cpu_ops(o);
  return p;
}

namespace {

/// Lines of a policy about some rows of weights that the checkpoint holds as codes, which are never rounded again.
void note_kept_rows(const FormatPolicy& policy, const Graph& graph, std::vector<std::string>* notes) {
  for (const FormatPolicy::Rule& r : policy.rules) {
    if (!r.some_rows()) continue;
    FormatPolicy one;
    FormatPolicy::Rule whole;
    whole.pattern = r.pattern, whole.format.grid.bits = 8;
    one.rules.push_back(std::move(whole));
    size_t count = 0;
    std::string first;
    for (const Node& n : graph.nodes) {
      const int m = op_def(n.op).matrix;
      if (m < 0 || size_t(m) >= n.inputs.size() || n.inputs[size_t(m)] == kNoValue) continue;
      const Value& v = graph.value(n.inputs[size_t(m)]);
      if (!v.constant || !v.constant->grid().coded() || !one.of(v.name, Grid{}).grid.coded()) continue;
      if (count++ == 0) first = v.name;
    }
    if (count > 0)
      notes->push_back(fmt::format(
          "policy, line {}: rows {} to {} of '{}'{} stay as the checkpoint holds them, whose codes are not rounded "
          "again",
          r.line, r.first_row, r.end_row - 1, first, count > 1 ? fmt::format(" and {} others", count - 1) : ""));
  }
}

}  // namespace

Result<Planned> plan_model(const Model& model, const SessionOptions& o, Graph graph, const DeviceCaps& caps,
                           const PlanOptions& how, std::vector<std::string>* notes) {
  if (how.policy && notes != nullptr) note_kept_rows(*how.policy, graph, notes);
  VIREO_ASSIGN(Planned planned, make_plan(std::move(graph), caps, how));
  if (!how.policy) return planned;
  std::vector<const Graph*> graphs = {&planned.graph};
  const FormatPolicy::Rule* lost = unmatched(*how.policy, graphs);
  // What reads features has no head, which one policy for the whole model may well name.
  Result<Graph> whole = fail(ErrorCode::kUnsupported, "");
  if (lost && model.classes() > 0 && (o.head == Head::kFeatures || o.head == Head::kTokens)) {
    SessionOptions scores = o;
    scores.head = Head::kLogits;
    whole = build_graph(model, scores);
    if (whole && how.fuse) whole = fuse(std::move(*whole), *how.policy, caps.kind);
    if (whole) graphs.push_back(&*whole);
    lost = unmatched(*how.policy, graphs);
  }
  if (!lost) return planned;
  std::string example = "head.weight";
  for (const PlanConst& c : planned.plan.consts)
    if (c.pack.pack != Pack::kVector && c.pack.pack != Pack::kRows) {
      example = c.name;
      break;
    }
  return fail(ErrorCode::kInvalidArgument,
              "policy '{}', line {}: '{}' names no weight of model '{}'; expected a name that `vireo plan` prints "
              "among the constants, such as '{}', with * for any characters and ? for one",
              how.policy->name, lost->line, lost->pattern, model.name(), example);
}

Result<Graph> build_graph(const Model& model, const SessionOptions& o) {
  VIREO_TRY(check_options(model, o));
  const int h = o.height ? o.height : model.input_height(), w = o.width ? o.width : model.input_width();
  return model.impl().loaded.build(o.head, o.batch, h, w);
}

TunedSteps tuned_steps(const SessionOptions& o, const DeviceCaps& caps, std::vector<std::string>* notes) {
  if (caps.kind != DeviceKind::kVulkan) return {};
  const TuningId id = tuning_id(caps, shader::all_hash());
  Result<TunedSteps> found = load_tuning(tuning_path(o, id), id);
  if (found) return std::move(*found);
  if (found.error().code == ErrorCode::kCorrupt) notes->push_back(found.error().message);
  return {};
}

Result<Planned> plan_for_caps(const Model& model, const std::string& caps_text, const SessionOptions& options,
                              std::vector<std::string>* notes, const std::string& machine) {
  VIREO_ASSIGN(const DeviceCaps caps, caps_from_text(caps_text, "caps"));
  VIREO_ASSIGN(Graph graph, build_graph(model, options));
  VIREO_ASSIGN(const SessionOptions chosen, with_precision(model, caps_text, options, machine, notes));
  VIREO_ASSIGN(PlanOptions how, plan_options(chosen));
  const TunedSteps tuned = tuned_steps(options, caps, notes);
  how.tuned = &tuned;
  return plan_model(model, options, std::move(graph), caps, how, notes);
}

Result<std::optional<Plan>> plan_frame(const Model& model, const SessionOptions& o, const DeviceCaps& caps,
                                       std::string* why) {
  why->clear();
  const bool none = o.frame.width == 0 && o.frame.height == 0;
  if (none) return std::optional<Plan>();
  const auto on_cpu = [why](std::string text) {
    *why = std::move(text);
    return std::optional<Plan>();
  };
  const int64_t h = o.height ? o.height : model.input_height(), w = o.width ? o.width : model.input_width();
  Preprocessor preprocessor(preprocess_for(model.impl().loaded.preprocess(), h, w));
  Result<PictureInput> in = preprocessor.describe(o.frame);
  if (!in && in.error().code != ErrorCode::kUnsupported) return in.error();
  if (!in) return on_cpu(in.error().message);
  if (o.preprocess == Preprocess::kCpu) return on_cpu("that was asked for");
  if (o.batch != 1) return on_cpu("pictures of a batch are prepared by the CPU");
  if (o.preprocess == Preprocess::kAuto && caps.device_class == DeviceClass::kSoftware)
    return on_cpu(software_reason(caps.name));
  Result<Plan> plan = plan_picture(*in, caps);
  if (plan) return std::optional<Plan>(std::move(*plan));
  if (plan.error().code != ErrorCode::kUnsupported) return plan.error();
  return on_cpu(plan.error().message);
}

Result<std::string> plan_text(const Model& model, const std::string& caps_text, const SessionOptions& options,
                              bool json) {
  return no_throw([&]() -> Result<std::string> {
    std::vector<std::string> notes;
    VIREO_ASSIGN(const Planned planned, plan_for_caps(model, caps_text, options, &notes));
    std::string why;
    VIREO_ASSIGN(const std::optional<Plan> frame, plan_frame(model, options, planned.plan.caps, &why));
    if (json) {
      if (!frame && why.empty()) return dump_json(planned.plan);
      SortedJson all = read_sorted_json(dump_json(planned.plan));
      all["preprocessing"] = frame ? read_sorted_json(dump_json(*frame)) : SortedJson{{"kind", "cpu"}, {"reason", why}};
      return write_json(all, 1);
    }
    std::string text = dump(planned.plan);
    if (frame) text += dump(*frame);
    else if (!why.empty()) text += "pictures on the cpu: " + why + "\n";
    for (const std::string& n : notes) text += "note: " + n + "\n";
    return text;
  });
}

Result<std::vector<PipelineDump>> plan_pipelines(const Model& model, const std::string& caps_text,
                                                 const SessionOptions& options) {
  return no_throw([&]() -> Result<std::vector<PipelineDump>> {
    std::vector<std::string> notes;
    VIREO_ASSIGN(const Planned planned, plan_for_caps(model, caps_text, options, &notes));
    std::vector<PipelineDump> all;
    for (const PlanPipeline& p : pipelines(planned.plan)) {
      VIREO_ASSIGN(std::string json, pipeline_json(p));
      const shader::Module& module = *shader::find(p.shader);
      all.push_back({p.shader, {module.words, module.words + module.word_count}, std::move(json)});
    }
    return all;
  });
}

}  // namespace vireo
