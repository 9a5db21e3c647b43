#include "compress_search.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vireo/predict.hpp>

#include "base/text.h"
#include "base/write_file.h"
#include "interrupt.h"
#include "machines.h"
#include "made.h"
#include "measure.h"
#include "pictures.h"

namespace cli {

WorkFolder::WorkFolder(const std::string& out, bool stays) : stays_(stays) {
  std::string place = out;
  while (place.size() > 1 && place.back() == '/') place.pop_back();
  if (stays) {
    path_ = place + ".resume";
  } else {
    const char* temporary = std::getenv("TMPDIR");
    const std::string parent = !place.empty() ? vireo::parent_folder(place) : temporary ? temporary : "/tmp";
    path_ = parent + "/" + vireo::temporary_name();
  }
  struct stat s {};
  if (mkdir(path_.c_str(), 0777) == 0 || (stays && stat(path_.c_str(), &s) == 0 && S_ISDIR(s.st_mode))) return;
  throw Failure("cannot make the folder '" + path_ + "'; check its parent, access rights and free space");
}

WorkFolder::~WorkFolder() {
  if (stays_) return;
  if (DIR* dir = opendir(path_.c_str())) {
    while (const dirent* e = readdir(dir)) {
      const std::string name = e->d_name;
      if (vireo::ends_with(name, ".kept")) unlink((path_ + "/" + name).c_str());
    }
    closedir(dir);
  }
  (void)rmdir(path_.c_str());
}

Found search(const vireo::Model& model, const Common& common, const PictureSet& set, const std::vector<Sample>& samples,
             const SearchOptions& options) {
  const Clock::time_point start = Clock::now();
  Found f;
  f.budget = options.budget;
  vireo::BudgetOptions how;
  how.budget = options.budget, how.method = options.method, how.work = options.work, how.all = options.all;
  how.threads = common.threads;
  how.measured = options.budget.machine == "this";
  how.stop = [] { return interrupted(); };
  if (!how.measured) {
    const std::string& machine = options.budget.machine;
    how.machine = machine_argument(machine);
    const std::vector<std::string> built_in = vireo::machine_names();
    const bool known = std::find(built_in.begin(), built_in.end(), machine) != built_in.end();
    // A description that is a file was fitted somewhere, most often here.
    how.caps = !options.caps.empty() ? caps_argument(options.caps)
               : known               ? caps_argument(machine)
                                     : open_device("cpu", common.threads).caps_text();
  }
  const auto stop_where_interrupted = [] {
    if (interrupted()) throw Interrupted("interrupted; nothing was written");
  };
  std::vector<Rgb8> read;
  for (const Sample& s : samples) {
    auto picture = set.data.load(s, read_options(common));
    if (picture) read.push_back(std::move(*picture));
    stop_where_interrupted();
  }
  std::vector<vireo::Image> pictures;
  for (const Rgb8& p : read) pictures.push_back({p.rgb.data(), p.width, p.height, 0});
  std::unique_ptr<Progress> progress;
  how.progress = [&progress](const std::string& name, size_t done, size_t all) {
    if (progress == nullptr) progress = std::make_unique<Progress>(all);
    progress->step(done, name);
  };
  auto found = vireo::search_budget(model, pictures, how);
  progress.reset();
  stop_where_interrupted();
  static_cast<vireo::BudgetFound&>(f) = need(std::move(found));
  f.seconds = ms_since(start) / 1000;
  return f;
}

namespace {

Json candidate_json(const vireo::Candidate& c) {
  Json j{{"name", c.name()}, {"recipe", c.recipe()}, {"share", c.share}};
  if (!c.policy.empty()) j["policy"] = c.policy;
  if (!c.ranges.empty()) j["ranges"] = c.ranges;
  if (c.awq) j["awq"] = true;
  j["kl"] = c.kl < 0 ? Json(nullptr) : Json(c.kl);
  j["ms"] = c.ms < 0 ? Json(nullptr) : Json(c.ms);
  j["bytes"] = c.bytes;
  if (!c.why_not.empty()) j["why_not"] = c.why_not;
  return j;
}

}  // namespace

Json front_json(const Found& f, const vireo::Model& model) {
  Json budget = Json::object();
  if (f.budget.fps > 0) budget["target_fps"] = f.budget.fps;
  if (f.budget.mb > 0) budget["max_mb"] = f.budget.mb;
  if (f.budget.kl > 0) budget["max_kl"] = f.budget.kl;
  Json j{{"schema", "vireo-front/1"},
         {"model", model.name()},
         {"machine", f.budget.machine},
         {"measured", f.budget.machine == "this"},
         {"distance", model.classes() > 0 ? "kl" : "difference"},
         {"pictures", f.pictures},
         {"folds", f.folds},
         {"seconds", f.seconds},
         {"original", {{"ms", f.original.ms}, {"bytes", f.original.bytes}}},
         {"budget", budget},
         {"met", f.verdict.met},
         {"chosen", f.all[f.verdict.chosen].name()},
         {"binds", f.verdict.binds},
         {"sentence", f.verdict.sentence}};
  j["front"] = Json::array();
  for (const size_t i : f.front) j["front"].push_back(f.all[i].name());
  j["points"] = Json::array();
  for (const vireo::ChosenPoint& p : f.points)
    j["points"].push_back(Json{{"what", p.what}, {"name", f.all[p.candidate].name()}});
  j["candidates"] = Json::array();
  for (const vireo::Candidate& c : f.all) j["candidates"].push_back(candidate_json(c));
  return with_made(j, f.budget.machine == "this" ? made_on(open_device("cpu", 0).caps_text()) : made_of());
}

void print_front(const Found& f) {
  const bool here = f.budget.machine == "this";
  std::printf("%zu candidates on %zu pictures in %zu folds, %.1f s; the front, ms %s:\n", f.all.size(), f.pictures,
              f.folds, f.seconds, here ? "measured here" : ("predicted on " + f.budget.machine).c_str());
  std::printf("  %-36s %9s %9s %9s\n", "recipe", "KL", "ms", "MB");
  std::printf("  %-36s %9s %9.2f %9.2f\n", "(the original)", "0", f.original.ms, double(f.original.bytes) / 1e6);
  for (const size_t i : f.front) {
    const vireo::Candidate& c = f.all[i];
    std::string stands;
    for (const vireo::ChosenPoint& p : f.points)
      if (p.candidate == i) stands = "  " + p.what;
    std::printf("%s %-36s %9.3g %9.2f %9.2f%s\n", i == f.verdict.chosen && f.budget.any() ? "*" : " ", c.name().c_str(),
                c.kl, c.ms, double(c.bytes) / 1e6, stands.c_str());
  }
  if (f.budget.any()) std::printf("%s\n", f.verdict.sentence.c_str());
}

}  // namespace cli
