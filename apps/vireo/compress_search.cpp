#include "compress_search.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <vireo/predict.hpp>

#include "base/divergence.h"
#include "base/text.h"
#include "base/write_file.h"
#include "interrupt.h"
#include "machines.h"
#include "made.h"
#include "measure.h"
#include "new_folder.h"
#include "pictures.h"
#include "sessions.h"

namespace cli {
namespace {

constexpr size_t kFolds = 2, kLeastPictures = 16;
constexpr int64_t kRows = 4096;  // of a map, evenly spread: all of them of every picture would not fit into memory
constexpr double kSlack = 0.7;   // of the KL that parts add up to: together they may cost less than that
constexpr size_t kClosest = 6;   // candidates that are judged where the budget leaves none

const std::vector<std::string> kModelFiles = {"config.json", "model.safetensors", "preprocessor_config.json"};

class Searcher {
 public:
  Searcher(const vireo::Model& model, const Common& common, const SearchOptions& options)
      : model_(model), common_(common), options_(options) {
    common_.precision = vireo::Precision::kCheckpoint;
    const std::string& machine = options.budget.machine;
    here_ = machine == "this";
    if (here_) return;
    predicting_.machine = machine_argument(machine), predicting_.caps_name = machine;
    const std::vector<std::string> built_in = vireo::machine_names();
    const bool known = std::find(built_in.begin(), built_in.end(), machine) != built_in.end();
    // A description that is a file was fitted somewhere, most often here.
    caps_ = !options.caps.empty() ? caps_argument(options.caps)
            : known               ? caps_argument(machine)
                                  : open_device("cpu", common.threads).caps_text();
  }

  void read(const PictureSet& set, const std::vector<Sample>& samples);
  /// Its time and size, and the answers that the others are held against.
  void original(Candidate* c);
  void measure(Candidate* c, bool judged);
  /// Policies for those of which only a part gets few bits.
  void give_parts(std::vector<Candidate>* all);
  size_t pictures() const { return pictures_.size(); }
  uint64_t bytes_before() const { return bytes_before_; }

 private:
  struct Judged {
    double kl = 0, ms = 0;
    size_t pictures = 0;
  };

  std::unique_ptr<NewFolder> compressed(const Candidate& c, const std::vector<size_t>& with, bool sensitivity,
                                        vireo::CompressReport* report, bool* looks);
  Judged judge(const vireo::Model& compressed, const std::vector<size_t>& on);
  double time_of(const vireo::Model& model, vireo::Precision precision) const;
  std::vector<float> rows_of(const vireo::Output& answer) const;
  double apart(const std::vector<float>& a, const std::vector<float>& b, int cols) const;
  std::vector<size_t> fold(size_t number, bool held_out) const;
  static void stop_where_interrupted() {
    if (interrupted()) throw Interrupted("interrupted; nothing was written");
  }

  const vireo::Model& model_;
  Common common_;
  const SearchOptions& options_;
  bool here_ = false;
  vireo::PredictOptions predicting_;
  std::string caps_;
  std::vector<Rgb8> pictures_;
  std::vector<std::vector<float>> answers_;
  uint64_t bytes_before_ = 0;
};

void Searcher::read(const PictureSet& set, const std::vector<Sample>& samples) {
  for (const Sample& s : samples) {
    auto picture = set.data.load(s, read_options(common_));
    if (picture) pictures_.push_back(std::move(*picture));
    stop_where_interrupted();
  }
  if (pictures_.size() < kLeastPictures)
    throw Failure("compress: a search was given " + std::to_string(pictures_.size()) + " pictures and needs at least " +
                  std::to_string(kLeastPictures) +
                  ": half of them judge what the other half calibrated; 32 to 64 are usual");
}

std::vector<size_t> Searcher::fold(size_t number, bool held_out) const {
  std::vector<size_t> some;
  for (size_t i = 0; i < pictures_.size(); ++i)
    if ((i % kFolds == number) == held_out) some.push_back(i);
  return some;
}

std::vector<float> Searcher::rows_of(const vireo::Output& a) const {
  const int64_t every = std::max<int64_t>(1, a.rows / kRows);
  std::vector<float> some;
  for (int64_t r = 0; r < a.rows; r += every) some.insert(some.end(), a.data + r * a.cols, a.data + (r + 1) * a.cols);
  return some;
}

double Searcher::apart(const std::vector<float>& a, const std::vector<float>& b, int cols) const {
  if (a.size() != b.size() || cols <= 0) return INFINITY;
  double sum = 0, square = 0;
  if (model_.classes() > 0) {
    for (size_t at = 0; at < a.size(); at += size_t(cols)) sum += vireo::kl_divergence(&a[at], &b[at], cols);
    return sum * double(cols) / double(a.size());
  }
  for (size_t i = 0; i < a.size(); ++i) {
    sum += (double(a[i]) - double(b[i])) * (double(a[i]) - double(b[i]));
    square += double(a[i]) * double(a[i]);
  }
  return square > 0 ? sum / square : 0;
}

double Searcher::time_of(const vireo::Model& model, vireo::Precision precision) const {
  vireo::PredictOptions o = predicting_;
  o.session.precision = precision;
  o.session.head = default_head(model);
  return need(vireo::predict(model, caps_, o)).us / 1000;
}

void Searcher::original(Candidate* c) {
  Sessions sessions(model_, common_, model_.classes() > 0 ? vireo::Head::kLogits : vireo::Head::kFeatures);
  Reasons reasons;
  std::vector<double> ms;
  for (const Rgb8& p : pictures_) {
    stop_where_interrupted();
    const vireo::Output a = need(run_one(sessions, p, reasons));
    answers_.push_back(rows_of(a));
    ms.push_back(a.ms);
  }
  std::sort(ms.begin(), ms.end());
  c->kl = 0;
  c->ms = here_ ? median(ms) : time_of(model_, vireo::Precision::kFp32);
}

Searcher::Judged Searcher::judge(const vireo::Model& compressed, const std::vector<size_t>& on) {
  Sessions sessions(compressed, common_, model_.classes() > 0 ? vireo::Head::kLogits : vireo::Head::kFeatures);
  Reasons reasons;
  Judged j;
  std::vector<double> ms;
  for (const size_t i : on) {
    stop_where_interrupted();
    const vireo::Output a = need(run_one(sessions, pictures_[i], reasons));
    j.kl += apart(answers_[i], rows_of(a), a.cols);
    ms.push_back(a.ms);
  }
  std::sort(ms.begin(), ms.end());
  j.ms = median(ms);
  j.pictures = on.size();
  return j;
}

/// The model in a hidden folder; null where it cannot be had, with why in the candidate's place.
std::unique_ptr<NewFolder> Searcher::compressed(const Candidate& c, const std::vector<size_t>& with, bool sensitivity,
                                                vireo::CompressReport* report, bool* looks) {
  vireo::CompressOptions o;
  o.recipe = c.recipe(), o.policy = c.policy, o.method = options_.method;
  o.threads = common_.threads;
  o.sensitivity = sensitivity;
  o.work = options_.work;
  o.stop = [] { return interrupted(); };
  vireo::Compressor compressor = need(vireo::Compressor::create(model_, o));
  *looks = compressor.least_pictures() > 0;
  if (*looks || sensitivity)
    for (const size_t i : with)
      need(compressor.add(vireo::Image{pictures_[i].rgb.data(), pictures_[i].width, pictures_[i].height, 0}));
  auto folder = std::make_unique<NewFolder>("compress", options_.work + ".candidate", kModelFiles, false);
  auto written = compressor.write(folder->at());
  stop_where_interrupted();
  *report = need(std::move(written));
  bytes_before_ = report->bytes_before;
  return folder;
}

void Searcher::measure(Candidate* c, bool judged) try {
  vireo::CompressReport report;
  bool looks = false;
  double kl = 0, ms = 0;
  size_t pictures = 0;
  for (size_t f = 0; f < kFolds; ++f) {
    const auto folder = compressed(*c, fold(f, false), false, &report, &looks);
    const vireo::Model model = need(vireo::Model::open(folder->at()));
    c->bytes = report.bytes_after;
    if (!here_ && f == 0) c->ms = time_of(model, vireo::Precision::kCheckpoint);
    if (!judged && !here_) return;
    std::vector<size_t> on = fold(f, true);
    if (!looks)  // nothing was fitted to any of them
      for (on.clear(); on.size() < pictures_.size();) on.push_back(on.size());
    const Judged j = judge(model, on);
    kl += j.kl, ms += j.ms * double(j.pictures), pictures += j.pictures;
    if (!looks) break;
  }
  c->kl = std::max(0.0, kl / double(pictures));
  if (here_) c->ms = ms / double(pictures);
} catch (const IoFailure&) {
  throw;
} catch (const Failure& e) {  // this one cannot be had; the others may
  c->why_not = e.what();
}

void Searcher::give_parts(std::vector<Candidate>* all) {
  std::map<std::string, vireo::CompressReport> reports;
  std::vector<size_t> every;
  for (size_t i = 0; i < pictures_.size(); ++i) every.push_back(i);
  for (Candidate& c : *all) {
    if (c.share == 100) continue;
    const auto [report, fresh] = reports.try_emplace(c.weights);
    if (fresh) {
      Candidate whole;
      whole.weights = c.weights;
      bool looks = false;
      try {
        (void)compressed(whole, every, true, &report->second, &looks);
      } catch (const Failure&) {  // measure() finds out and says why
      }
    }
    for (const std::string& node : kept_at_8_bits(report->second.layers, c.share)) c.policy += node + " i8\n";
  }
  // A model without such linears: the parts are the whole.
  all->erase(
      std::remove_if(all->begin(), all->end(), [](const Candidate& c) { return c.share < 100 && c.policy.empty(); }),
      all->end());
}

/// Whether nothing else of the same kind is better in everything: of changes to the network in KL and time, since few
/// bits save more bytes than those do; of weights and rows in size too. What is put together of others is not better.
bool leads(const Candidate& c, const std::vector<Candidate>& all) {
  const bool network = !c.network.empty();
  return c.known() && std::none_of(all.begin(), all.end(), [&](const Candidate& o) {
           const bool alike = network ? !o.network.empty() && o.weights.empty() && o.rows.empty() : o.network.empty();
           return alike && o.known() && o.kl <= c.kl && o.ms <= c.ms && (network || o.bytes <= c.bytes) &&
                  (o.kl < c.kl || o.ms < c.ms || (!network && o.bytes < c.bytes));
         });
}

/// KL of a candidate as the sum of what its parts cost by themselves; 0 where one of them is not known.
double estimate(const Candidate& c, const std::vector<Candidate>& all) {
  const auto kl_of = [&](const std::string& weights, const std::string& rows, const std::string& network, int share) {
    for (const Candidate& o : all)
      if (o.weights == weights && o.rows == rows && o.network == network && o.share == share)
        return std::max(0.0, o.kl);
    return 0.0;
  };
  return kl_of(c.weights, c.rows, "", c.share) + kl_of("", "", c.network, 100);
}

}  // namespace

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
  f.budget = options.budget, f.folds = kFolds;
  Searcher searcher(model, common, options);
  searcher.read(set, samples);
  f.pictures = searcher.pictures();
  searcher.original(&f.original);
  f.all = candidates(vireo::compress_recipes());
  searcher.give_parts(&f.all);
  const Budget& b = options.budget;
  const auto affordable = [&](const Candidate& c) {
    return c.why_not.empty() && (b.fps <= 0 || c.ms <= 1000 / b.fps) && (b.mb <= 0 || double(c.bytes) / 1e6 <= b.mb);
  };
  Progress progress(f.all.size());
  size_t done = 0;
  const auto look_at = [&](bool combined) {
    for (Candidate& c : f.all) {
      const bool parts = !c.network.empty() && !c.weights.empty();
      if (parts != combined) continue;
      progress.step(++done, c.name());
      if (combined && !std::all_of(f.all.begin(), f.all.end(), [&](const Candidate& o) {
            const bool part = o.network.empty() ? o.weights == c.weights && o.rows == c.rows && o.share == c.share
                                                : o.weights.empty() && o.rows.empty() && o.network == c.network;
            return !part || leads(o, f.all);
          })) {
        c.why_not = "another is better than one of its parts in everything";
        continue;
      }
      // What combined ones are put together from is judged whatever the budget says, but rows only where they pay.
      searcher.measure(&c, !combined && c.rows.empty());
      if (c.kl >= 0 || !c.why_not.empty()) continue;
      bool worth = options.all || !combined || affordable(c);
      // Codes of rows and of attention pay in time alone: where they do not, the same without them is better.
      worth = worth && std::none_of(f.all.begin(), f.all.end(), [&](const Candidate& o) {
                const bool fewer = c.rows != o.rows && (o.rows.empty() || vireo::starts_with(c.rows, o.rows + "+"));
                return fewer && o.weights == c.weights && o.network == c.network && o.share == c.share && o.ms >= 0 &&
                       o.ms <= c.ms && o.bytes <= c.bytes;
              });
      if (combined) {
        const double least = kSlack * estimate(c, f.all);
        worth = worth && std::none_of(f.all.begin(), f.all.end(), [&](const Candidate& o) {
                  return o.known() && o.kl <= least && o.ms <= c.ms && o.bytes <= c.bytes;
                });
      }
      if (worth) searcher.measure(&c, true);
    }
  };
  look_at(false), look_at(true);
  if (std::none_of(f.all.begin(), f.all.end(), [&](const Candidate& c) { return c.known() && affordable(c); })) {
    // The closest in time and size deserve a KL: one of them is the answer.
    std::vector<Candidate*> rest;
    for (Candidate& c : f.all)
      if (c.kl < 0 && c.why_not.empty()) rest.push_back(&c);
    const auto over = [&](const Candidate* c) {
      return std::max(b.fps > 0 ? c->ms * b.fps / 1000 : 0, b.mb > 0 ? double(c->bytes) / 1e6 / b.mb : 0);
    };
    std::stable_sort(rest.begin(), rest.end(),
                     [&](const Candidate* x, const Candidate* y) { return over(x) < over(y); });
    rest.resize(std::min(rest.size(), kClosest));
    for (Candidate* c : rest) searcher.measure(c, true);
  }
  if (std::none_of(f.all.begin(), f.all.end(), [](const Candidate& c) { return c.known(); }))
    throw Failure("compress: no recipe can be had for '" + model.name() +
                  "'; first: " + (f.all.empty() ? "there are none" : f.all[0].why_not));
  f.original.bytes = searcher.bytes_before();
  f.front = pareto_front(f.all);
  f.verdict = choose(f.all, b);
  f.seconds = ms_since(start) / 1000;
  return f;
}

namespace {

Json candidate_json(const Candidate& c) {
  Json j{{"name", c.name()}, {"recipe", c.recipe()}, {"share", c.share}};
  if (!c.policy.empty()) j["policy"] = c.policy;
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
  j["candidates"] = Json::array();
  for (const Candidate& c : f.all) j["candidates"].push_back(candidate_json(c));
  return with_made(j, f.budget.machine == "this" ? made_on(open_device("cpu", 0).caps_text()) : made_of());
}

void print_front(const Found& f) {
  const bool here = f.budget.machine == "this";
  std::printf("%zu candidates on %zu pictures in %zu folds, %.1f s; the front, ms %s:\n", f.all.size(), f.pictures,
              f.folds, f.seconds, here ? "measured here" : ("predicted on " + f.budget.machine).c_str());
  std::printf("  %-28s %9s %9s %9s\n", "recipe", "KL", "ms", "MB");
  std::printf("  %-28s %9s %9.2f %9.2f\n", "(the original)", "0", f.original.ms, double(f.original.bytes) / 1e6);
  for (const size_t i : f.front) {
    const Candidate& c = f.all[i];
    std::printf("%s %-28s %9.3g %9.2f %9.2f\n", i == f.verdict.chosen && f.budget.any() ? "*" : " ", c.name().c_str(),
                c.kl, c.ms, double(c.bytes) / 1e6);
  }
  if (f.budget.any()) std::printf("%s\n", f.verdict.sentence.c_str());
}

}  // namespace cli
