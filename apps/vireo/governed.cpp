#include "governed.h"

#include <cstdio>
#include <cstdlib>

#include "frames.h"
#include "measure.h"

namespace cli {
namespace {

constexpr size_t kKeptChanges = 1000;
constexpr double kMib = 1 << 20;

/// "MODEL@HxW" into its parts; a name without a size stays whole.
std::string split_size(const std::string& text, int* height, int* width) {
  const size_t at = text.rfind('@');
  if (at == std::string::npos) return text;
  int end = 0;
  if (std::sscanf(text.c_str() + at, "@%dx%d%n", height, width, &end) != 2 || size_t(end) != text.size() - at)
    return text;
  if (*height < 1 || *width < 1) throw UsageError("'" + text + "': a size is HxW, both above 0");
  return text.substr(0, at);
}

vireo::GovernorOptions options_of(double fps) {
  vireo::GovernorOptions options;
  options.fps = fps;
  return options;
}

}  // namespace

void add_governing(CLI::App& verb, Governing& governing) {
  verb.add_option("--hold-fps", governing.fps,
                  "frames per second to hold: those of --faster take over while work on a frame takes longer")
      ->type_name("F")
      ->check(CLI::Range(1e-3, 1e6));
  verb.add_option("--faster", governing.faster,
                  "a faster model that answers the same question, or at a smaller input; several from slower to faster")
      ->type_name("MODEL[@HxW]")
      ->allow_extra_args(false);
}

void check_governing(const char* verb, const Governing& governing) {
  if (governing.faster.empty() != (governing.fps == 0))
    throw UsageError(std::string(verb) +
                     ": --hold-fps and --faster go together: a rate, and the models that may take over");
}

GovernedSessions::GovernedSessions(const vireo::Model& model, const Common& common, vireo::Head head,
                                   const Governing& governing)
    : governor_(int(governing.faster.size()) + 1, options_of(governing.fps)) {
  Common shared = common;
  if (!governing.faster.empty()) shared.together = std::make_shared<Common::Together>();
  levels_.push_back(std::make_unique<Level>(model.name(), model, shared, head));
  size_t mapped = 1;
  for (const std::string& name : governing.faster) {
    Common how = shared;
    how.chosen = std::make_shared<Common::Chosen>();  // by itself
    how.model = split_size(name, &how.height, &how.width);
    // As its own checkpoint holds its weights, unless one precision was asked for.
    if (!how.precision_given) how.precision = vireo::Precision::kCheckpoint;
    const bool same = same_file(how.model, common.model);
    mapped += same ? 0 : 1;
    const vireo::Model other = same ? model : open_model(how);
    if (same) how.precision = common.precision;
    if (other.classes() != model.classes() || other.task() != model.task())
      throw Failure("'" + how.model + "' has " + std::to_string(other.classes()) + " classes and '" + model.name() +
                    "' has " + std::to_string(model.classes()) +
                    ": --faster takes models that answer the same question");
    levels_.push_back(std::make_unique<Level>(name, other, how, head));
  }
  if (!any()) return;
  uint64_t weights = 0, shared_weights = 0, buffers = 0;
  for (const auto& level : levels_) {
    const auto f = level->sessions.last().footprint();
    level->weights_bytes = f.weights_bytes, level->shared_weights_bytes = f.shared_weights_bytes;
    weights += f.weights_bytes - f.shared_weights_bytes, shared_weights += f.shared_weights_bytes;
    buffers += f.arena_bytes;
  }
  if (head == vireo::Head::kFeatures) check_lengths();
  std::fprintf(stderr,
               "note: %zu levels are prepared to hold %g frames a second: %.1f MiB (weights as each plan packs them "
               "%.1f, where %.1f more would be there twice; buffers %.1f) beside %zu mapped checkpoint%s\n",
               levels_.size(), governing.fps, double(weights + buffers) / kMib, double(weights) / kMib,
               double(shared_weights) / kMib, double(buffers) / kMib, mapped, mapped == 1 ? "" : "s");
}

/// How many numbers a level gives is known from an answer: of nothing, before the first frame.
void GovernedSessions::check_lengths() {
  int first = 0;
  for (const auto& level : levels_) {
    vireo::Session& session = level->sessions.last();
    const std::vector<float> nothing(size_t(level->model.channels()) * size_t(session.input_height()) *
                                     size_t(session.input_width()));
    const vireo::Result<vireo::Output> out = session.run(nothing.data(), nothing.size());
    if (!out) throw Failure(out.error().message);
    if (first == 0) first = out->cols;
    if (out->cols != first)
      throw Failure("'" + level->name + "' gives " + std::to_string(out->cols) + " numbers and '" + levels_[0]->name +
                    "' gives " + std::to_string(first) + ": --faster takes models that answer the same question");
  }
}

void GovernedSessions::frame(double ms, int level) {
  if (!any()) return;
  ++levels_[size_t(level)]->frames;
  if (level != governor_.level()) ms = -1;  // counted; it says nothing of the present level
  if (!governor_.frame(ms, double(monotonic_ns()) / 1e9)) return;
  if (changes_.size() < kKeptChanges) changes_.push_back(governor_.last_change());
  std::fprintf(stderr, "note: %s\n", governor_.last_change().sentence.c_str());
}

void GovernedSessions::add_to(Json& json) const {
  if (!any()) return;
  json["levels"] = Json::array();
  for (const auto& level : levels_)
    json["levels"].push_back(Json{{"model", level->name},
                                  {"precision", precision_text(level->common)},
                                  {"frames", level->frames},
                                  {"weights_mib", double(level->weights_bytes) / kMib},
                                  {"shared_weights_mib", double(level->shared_weights_bytes) / kMib}});
  json["changes"] = Json::array();
  for (const vireo::GovernorChange& c : changes_)
    json["changes"].push_back(Json{{"frame", c.frame}, {"from", c.from}, {"to", c.to}, {"ms", c.ms}});
  json["saturated"] = governor_.saturated();
}

}  // namespace cli
