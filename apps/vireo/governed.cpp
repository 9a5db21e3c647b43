#include "governed.h"

#include <cstdio>
#include <cstdlib>

#include "frames.h"
#include "measure.h"

namespace cli {
namespace {

constexpr size_t kKeptChanges = 1000;

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

GovernedSessions::GovernedSessions(const vireo::Model& model, const Common& common, vireo::Head head,
                                   const std::vector<std::string>& faster, double fps)
    : governor_(int(faster.size()) + 1, options_of(fps)) {
  levels_.push_back(std::make_unique<Level>(model.name(), model, common, head));
  for (const std::string& name : faster) {
    Common how = common;
    how.model = split_size(name, &how.height, &how.width);
    const vireo::Model other = open_model(how);
    if (other.classes() != model.classes() || other.task() != model.task())
      throw Failure("'" + how.model + "' has " + std::to_string(other.classes()) + " classes and '" + model.name() +
                    "' has " + std::to_string(model.classes()) +
                    ": --faster takes models that answer the same question");
    levels_.push_back(std::make_unique<Level>(name, other, how, head));
  }
  if (!any()) return;
  uint64_t bytes = 0;
  for (const auto& level : levels_) {
    const auto f = level->sessions.last().footprint();
    bytes += f.arena_bytes + f.weights_bytes;
  }
  std::fprintf(stderr, "note: %zu levels are prepared to hold %g frames a second: %.1f MiB of weights and buffers\n",
               levels_.size(), fps, double(bytes) / (1 << 20));
}

void GovernedSessions::frame(double ms) {
  if (!any()) return;
  ++levels_[size_t(governor_.level())]->frames;
  if (!governor_.frame(ms, double(monotonic_ns()) / 1e9)) return;
  if (changes_.size() < kKeptChanges) changes_.push_back(governor_.last_change());
  std::fprintf(stderr, "note: %s\n", governor_.last_change().sentence.c_str());
}

void GovernedSessions::add_to(Json& json) const {
  if (!any()) return;
  json["levels"] = Json::array();
  for (const auto& level : levels_) json["levels"].push_back(Json{{"model", level->name}, {"frames", level->frames}});
  json["changes"] = Json::array();
  for (const vireo::GovernorChange& c : changes_)
    json["changes"].push_back(Json{{"frame", c.frame}, {"from", c.from}, {"to", c.to}, {"ms", c.ms}});
  json["saturated"] = governor_.saturated();
}

}  // namespace cli
