// vireo::search_budget: candidates are compressed into a folder, predicted or timed, and judged on pictures that they
// were not calibrated with.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <list>
#include <map>
#include <vireo/predict.hpp>

#include "base/divergence.h"
#include "base/text.h"
#include "base/write_file.h"
#include "compress/budget.h"
#include "compress/recipe.h"
#include "runtime/model_impl.h"

namespace vireo {
namespace compress {
namespace {

constexpr size_t kFolds = 2, kLeastPictures = 16;
constexpr int64_t kRows = 4096;  // of a map, evenly spread: all of them of every picture would not fit into memory
constexpr double kSlack = 0.7;   // of the KL that parts add up to: together they may cost less than that
constexpr size_t kClosest = 6;   // candidates that are judged where the budget leaves none
constexpr size_t kSessions = 3;  // of sizes that pictures have; each holds the model's weights as its plan wants them

const char* const kModelFiles[] = {"config.json", "model.safetensors", "preprocessor_config.json"};

double median_of(std::vector<double> x) {
  if (x.empty()) return 0;
  std::sort(x.begin(), x.end());
  const size_t half = x.size() / 2;
  return x.size() % 2 != 0 ? x[half] : (x[half - 1] + x[half]) / 2;
}

/// Runs one picture after another: one session, or one for each size where the image processor keeps proportions.
class Runs {
 public:
  Runs(const Model& model, int threads) : model_(model), threads_(threads) {}

  Result<Output> run(const Image& picture) {
    int height = 0, width = 0;
    if (model_.keeps_proportions()) model_.input_size_for(picture.width, picture.height, &height, &width);
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (it->height != height || it->width != width) continue;
      entries_.splice(entries_.begin(), entries_, it);
      return entries_.front().session.run(picture);
    }
    SessionOptions o;
    o.head = model_.classes() > 0 ? Head::kLogits : Head::kFeatures;
    o.height = height, o.width = width;
    VIREO_ASSIGN(Session session, Session::create(model_, Device::cpu(threads_), o));
    if (entries_.size() >= kSessions) entries_.pop_back();
    entries_.push_front({height, width, std::move(session)});
    return entries_.front().session.run(picture);
  }

 private:
  struct Entry {
    int height, width;
    Session session;
  };
  const Model& model_;
  int threads_;
  std::list<Entry> entries_;  // the last used first
};

/// A folder for one model, which goes with this object.
class CandidateFolder {
 public:
  static Result<std::unique_ptr<CandidateFolder>> create(const std::string& work) {
    const std::string path = work + "/" + temporary_name();  // `work` may be another search's as well
    if (mkdir(path.c_str(), 0777) != 0)
      return fail(ErrorCode::kIo, "cannot make the folder '{}'; check its parent, access rights and free space", path);
    return std::make_unique<CandidateFolder>(path);
  }
  explicit CandidateFolder(std::string path) : path_(std::move(path)) {}
  CandidateFolder(const CandidateFolder&) = delete;
  CandidateFolder& operator=(const CandidateFolder&) = delete;
  ~CandidateFolder() {
    for (const char* file : kModelFiles) (void)unlink((path_ + "/" + file).c_str());
    (void)rmdir(path_.c_str());
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class Searcher {
 public:
  Searcher(const Model& model, const std::vector<Image>& pictures, const BudgetOptions& options)
      : model_(model), pictures_(pictures), options_(options) {}

  Result<BudgetFound> run();

 private:
  struct Judged {
    double kl = 0, ms = 0;
    size_t pictures = 0;
  };
  /// A candidate's model in its folder.
  struct Written {
    std::unique_ptr<CandidateFolder> folder;
    CompressReport report;
    bool looks = false;  // at pictures, of which those that it saw judge too kindly
  };

  Result<void> may_go_on() const {
    if (options_.stop && options_.stop())
      return fail(ErrorCode::kInvalidArgument, "compress: the search was stopped before it was done");
    return {};
  }
  static std::vector<size_t> numbers(size_t count, size_t fold, bool held_out);
  static std::vector<float> rows_of(const Output& answer);
  double apart(const std::vector<float>& a, const std::vector<float>& b, int cols) const;
  Result<double> time_of(const Model& model, Precision precision) const;
  Result<void> original();
  Result<Written> compressed(const Candidate& c, const std::vector<size_t>& with, bool sensitivity);
  Result<Judged> judge(const Model& compressed, const std::vector<size_t>& on);
  Result<void> try_to_measure(Candidate* c, bool judged);
  Result<void> measure(Candidate* c, bool judged);
  Result<void> give_parts();
  Candidate* whole(const std::string& weights, const std::string& rows);
  Result<void> give_scales(std::vector<Candidate>* more);
  Result<void> give_ranges(std::vector<Candidate>* more);
  void pair_networks();
  void combine_pairs(size_t pairs, size_t end);
  bool rows_pay(const Candidate& c) const;
  Result<void> look_at(bool combined, size_t from);
  bool worth(const Candidate& c, bool combined) const;
  bool affordable(const Candidate& c) const;
  bool parts_lead(const Candidate& c) const;
  Result<void> look_at_closest();

  const Model& model_;
  const std::vector<Image>& pictures_;
  const BudgetOptions& options_;
  BudgetFound found_;
  std::vector<std::vector<float>> answers_;  // of the original
  size_t done_ = 0;                          // candidates
  const std::shared_ptr<ShaderCounts> counts_ = shader_counts();
};

/// Pictures of a fold, or those of all others.
std::vector<size_t> Searcher::numbers(size_t count, size_t fold, bool held_out) {
  std::vector<size_t> some;
  for (size_t i = 0; i < count; ++i)
    if ((i % kFolds == fold) == held_out) some.push_back(i);
  return some;
}

std::vector<float> Searcher::rows_of(const Output& a) {
  const int64_t every = std::max<int64_t>(1, a.rows / kRows);
  std::vector<float> some;
  for (int64_t r = 0; r < a.rows; r += every) some.insert(some.end(), a.data + r * a.cols, a.data + (r + 1) * a.cols);
  return some;
}

double Searcher::apart(const std::vector<float>& a, const std::vector<float>& b, int cols) const {
  if (a.size() != b.size() || cols <= 0) return std::numeric_limits<double>::infinity();
  double sum = 0, square = 0;
  if (model_.classes() > 0) {
    for (size_t at = 0; at < a.size(); at += size_t(cols)) sum += kl_divergence(&a[at], &b[at], cols);
    return sum * double(cols) / double(a.size());
  }
  for (size_t i = 0; i < a.size(); ++i) {
    sum += (double(a[i]) - double(b[i])) * (double(a[i]) - double(b[i]));
    square += double(a[i]) * double(a[i]);
  }
  return square > 0 ? sum / square : 0;
}

Result<double> Searcher::time_of(const Model& model, Precision precision) const {
  PredictOptions o;
  o.machine = options_.machine, o.caps_name = options_.budget.machine, o.counts = counts_;
  o.session.precision = precision;
  o.session.head = model.task() == Task::kSegmentation ? Head::kClassMap
                   : model.classes() > 0               ? Head::kLogits
                                                       : Head::kFeatures;
  VIREO_ASSIGN(const Prediction p, predict(model, options_.caps, o));
  return p.us / 1000;
}

/// Its time, and the answers that the others are held against.
Result<void> Searcher::original() {
  Runs runs(model_, options_.threads);
  std::vector<double> ms;
  for (const Image& p : pictures_) {
    VIREO_TRY(may_go_on());
    VIREO_ASSIGN(const Output a, runs.run(p));
    answers_.push_back(rows_of(a));
    ms.push_back(a.ms);
  }
  found_.original.kl = 0;
  found_.original.ms = median_of(ms);
  if (!options_.measured) {
    VIREO_ASSIGN(found_.original.ms, time_of(model_, Precision::kFp32));
  }
  return {};
}

Result<Searcher::Judged> Searcher::judge(const Model& compressed, const std::vector<size_t>& on) {
  Runs runs(compressed, options_.threads);
  Judged j;
  std::vector<double> ms;
  for (const size_t i : on) {
    VIREO_TRY(may_go_on());
    VIREO_ASSIGN(const Output a, runs.run(pictures_[i]));
    j.kl += apart(answers_[i], rows_of(a), a.cols);
    ms.push_back(a.ms);
  }
  j.ms = median_of(ms);
  j.pictures = on.size();
  return j;
}

Result<Searcher::Written> Searcher::compressed(const Candidate& c, const std::vector<size_t>& with, bool sensitivity) {
  CompressOptions o;
  o.recipe = c.recipe(), o.policy = c.policy, o.method = options_.method;
  o.ranges = c.ranges, o.awq = c.awq;
  o.threads = options_.threads;
  o.sensitivity = sensitivity;
  o.work = options_.work;
  o.stop = options_.stop;
  VIREO_ASSIGN(Compressor compressor, Compressor::create(model_, o));
  Written w;
  w.looks = compressor.least_pictures() > 0;
  if (w.looks || sensitivity)
    for (const size_t i : with) VIREO_TRY(compressor.add(pictures_[i]));
  VIREO_ASSIGN(w.folder, CandidateFolder::create(options_.work));
  VIREO_ASSIGN(w.report, compressor.write(w.folder->path()));
  found_.original.bytes = w.report.bytes_before;
  return w;
}

Result<void> Searcher::try_to_measure(Candidate* c, bool judged) {
  double kl = 0, ms = 0;
  size_t pictures = 0;
  for (size_t f = 0; f < kFolds; ++f) {
    VIREO_ASSIGN(const Written w, compressed(*c, numbers(pictures_.size(), f, false), false));
    VIREO_ASSIGN(const Model model, Model::open(w.folder->path()));
    c->bytes = w.report.bytes_after;
    if (!options_.measured && c->ms < 0) {
      VIREO_ASSIGN(c->ms, time_of(model, Precision::kCheckpoint));
    }
    if (!judged && !options_.measured) return {};
    std::vector<size_t> on = numbers(pictures_.size(), f, true);
    if (!w.looks)  // nothing was fitted to any of them
      for (on.clear(); on.size() < pictures_.size();) on.push_back(on.size());
    VIREO_ASSIGN(const Judged j, judge(model, on));
    kl += j.kl, ms += j.ms * double(j.pictures), pictures += j.pictures;
    if (!w.looks) break;
  }
  c->kl = std::max(0.0, kl / double(pictures));
  if (options_.measured) c->ms = ms / double(pictures);
  return {};
}

/// One that cannot be had says why; the others may be had. A full disk or a caller who wants to stop ends the search.
Result<void> Searcher::measure(Candidate* c, bool judged) {
  Result<void> r = try_to_measure(c, judged);
  VIREO_TRY(may_go_on());
  if (!r && r.error().code == ErrorCode::kIo) return r;
  if (!r) c->why_not = r.error().message;
  return {};
}

/// Policies for those of which only a part gets few bits.
Result<void> Searcher::give_parts() {
  std::map<std::string, CompressReport> reports;
  std::vector<size_t> every;
  while (every.size() < pictures_.size()) every.push_back(every.size());
  for (Candidate& c : found_.all) {
    if (c.share == 100) continue;
    const auto [report, fresh] = reports.try_emplace(c.weights);
    if (fresh) {
      Candidate whole;
      whole.weights = c.weights;
      if (Result<Written> w = compressed(whole, every, true)) report->second = std::move(w->report);
      VIREO_TRY(may_go_on());  // of other errors measure() finds out, and says why
    }
    for (const std::string& node : kept_at_8_bits(report->second.layers, c.share)) c.policy += node + " i8\n";
  }
  // A model without such linears: the parts are the whole.
  const auto same = [](const Candidate& c) { return c.share < 100 && c.policy.empty(); };
  found_.all.erase(std::remove_if(found_.all.begin(), found_.all.end(), same), found_.all.end());
  return {};
}

/// The candidate that does this to weights and rows and nothing else.
Candidate* Searcher::whole(const std::string& weights, const std::string& rows) {
  for (Candidate& c : found_.all)
    if (c.weights == weights && c.rows == rows && c.network.empty() && c.share == 100) return &c;
  return nullptr;
}

/// AWQ, with all linears of a network in few bits: where it is better, everything else with them in few bits has it.
/// Parts would each want scales of their own, which take the longest to find.
Result<void> Searcher::give_scales(std::vector<Candidate>* more) {
  for (const CompressEntry& r : compress_recipes()) {
    Candidate* const plain = r.rows.empty() && has_few_bits(r.weights) ? whole(r.name, "") : nullptr;
    if (plain == nullptr) continue;
    VIREO_TRY(measure(plain, true));
    if (!plain->known()) continue;
    Candidate scaled = *plain;
    scaled.kl = -1, scaled.awq = true;
    VIREO_TRY(measure(&scaled, true));
    if (!scaled.known() || scaled.kl == plain->kl) continue;  // nothing can be scaled, or nothing gains by it
    for (Candidate& c : found_.all)
      if (c.weights == r.name && c.share == 100 && &c != plain) c.awq = scaled.kl < plain->kl;
    more->push_back(std::move(scaled));
  }
  return {};
}

/// Ways to find the one scale of all rows, with weights of 8 bits and where such rows pay: the best is everybody's.
Result<void> Searcher::give_ranges(std::vector<Candidate>* more) {
  const std::vector<CompressEntry> recipes = compress_recipes();
  const auto first = std::find_if(recipes.begin(), recipes.end(), [](const CompressEntry& r) {
    return !r.weights.empty() && r.rows.empty() && !has_few_bits(r.weights);
  });
  Candidate* const floats = first == recipes.end() ? nullptr : whole(first->name, "");
  if (floats == nullptr) return {};
  VIREO_TRY(measure(floats, true));
  for (const CompressEntry& r : recipes) {
    const bool one_scale = r.weights.empty() && (r.rows == "static" || r.rows == "mixed");
    Candidate* const plain = one_scale ? whole(first->name, r.name) : nullptr;
    if (plain == nullptr) continue;
    VIREO_TRY(measure(plain, false));
    if (plain->kl < 0 && plain->why_not.empty() && worth(*plain, false)) VIREO_TRY(measure(plain, true));
    if (!plain->known()) continue;
    Candidate best = *plain;
    for (const CompressEntry& way : compress_ranges()) {
      if (way.name == compress_ranges()[0].name) continue;
      Candidate c = *plain;
      c.kl = -1, c.ranges = way.name;
      VIREO_TRY(measure(&c, true));
      if (c.known() && c.kl < best.kl) best = c;
      more->push_back(std::move(c));
    }
    for (Candidate& c : found_.all)
      if (&c != plain && (c.rows == r.name || starts_with(c.rows, r.name + "+"))) c.ranges = best.ranges;
  }
  return {};
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

/// Whether one of a candidate's two parts: what is done to numbers, and what to the network.
bool is_part(const Candidate& o, const Candidate& c) {
  if (!o.network.empty()) return o.weights.empty() && o.rows.empty() && o.network == c.network;
  return o.weights == c.weights && o.rows == c.rows && o.share == c.share && o.awq == c.awq && o.ranges == c.ranges;
}

/// KL of a candidate as the sum of what its parts cost by themselves; 0 of one that is not known.
double estimate(const Candidate& c, const std::vector<Candidate>& all) {
  double sum = 0;
  for (const Candidate& o : all)
    if (is_part(o, c)) sum += std::max(0.0, o.kl);
  return sum;
}

/// Smaller inputs whose tokens merge too, where each of the two is worth it by itself.
void Searcher::pair_networks() {
  const auto leading = [&](auto is) {
    std::vector<std::string> names;
    for (const Recipe& r : recipes())
      for (const Candidate& c : found_.all)
        if (is(r) && !r.searched && c.weights.empty() && c.network == r.name && leads(c, found_.all))
          names.emplace_back(r.name);
    return names;
  };
  const std::vector<std::string> tokens = leading([](const Recipe& r) { return r.tokens > 0; });
  for (const std::string& input : leading([](const Recipe& r) { return r.input > 0; }))
    for (const std::string& merging : tokens) {
      Candidate c;
      c.network = input + "+" + merging;
      found_.all.push_back(std::move(c));
    }
}

/// Everything that is done to numbers, in the networks of candidates [pairs, end) that lead.
void Searcher::combine_pairs(size_t pairs, size_t end) {
  for (size_t p = pairs; p < end; ++p) {
    if (!leads(found_.all[p], found_.all)) continue;
    for (size_t i = 0; i < pairs; ++i) {
      Candidate c = found_.all[i];
      if (!c.network.empty()) continue;
      c.network = found_.all[p].network;
      c.kl = -1, c.ms = -1, c.bytes = 0, c.why_not.clear();
      found_.all.push_back(std::move(c));
    }
  }
}

/// Codes of rows that save no time with these weights save none where a part of them has more bits or the network is
/// smaller.
bool Searcher::rows_pay(const Candidate& c) const {
  if (c.rows.empty() || options_.measured || (c.network.empty() && c.share == 100)) return true;
  double with = -1, without = -1;
  for (const Candidate& o : found_.all) {
    if (o.weights != c.weights || !o.network.empty() || o.share < 100 || o.ms < 0) continue;
    if (o.rows == c.rows) with = o.ms;
    if (o.rows.empty()) without = o.ms;
  }
  return with < 0 || without < 0 || with < without;
}

bool Searcher::affordable(const Candidate& c) const {
  const Budget& b = options_.budget;
  return c.why_not.empty() && (b.fps <= 0 || c.ms <= 1000 / b.fps) && (b.mb <= 0 || double(c.bytes) / 1e6 <= b.mb);
}

/// Of a combination: whether neither of the two that it is put together from is beaten.
bool Searcher::parts_lead(const Candidate& c) const {
  return std::all_of(found_.all.begin(), found_.all.end(),
                     [&](const Candidate& o) { return !is_part(o, c) || leads(o, found_.all); });
}

/// Whether a candidate whose time and size are known may stand on the front.
bool Searcher::worth(const Candidate& c, bool combined) const {
  const std::vector<Candidate>& all = found_.all;
  if (!options_.all && combined && !affordable(c)) return false;
  // Codes of rows and of attention pay in time alone: where they do not, the same without them is better.
  if (std::any_of(all.begin(), all.end(), [&](const Candidate& o) {
        const bool fewer = c.rows != o.rows && (o.rows.empty() || starts_with(c.rows, o.rows + "+"));
        return fewer && o.weights == c.weights && o.network == c.network && o.share == c.share && o.ms >= 0 &&
               o.ms <= c.ms && o.bytes <= c.bytes;
      }))
    return false;
  const double least = kSlack * estimate(c, all);
  return !combined || std::none_of(all.begin(), all.end(), [&](const Candidate& o) {
    return o.known() && o.kl <= least && o.ms <= c.ms && o.bytes <= c.bytes;
  });
}

Result<void> Searcher::look_at(bool combined, size_t from) {
  for (size_t i = from; i < found_.all.size(); ++i) {
    Candidate& c = found_.all[i];
    if ((!c.network.empty() && !c.weights.empty()) != combined) continue;
    VIREO_TRY(may_go_on());
    if (options_.progress) options_.progress(c.name(), ++done_, found_.all.size());
    if (!rows_pay(c)) {
      c.why_not = "rows as codes save no time with these weights";
      continue;
    }
    if (combined && !parts_lead(c)) {
      c.why_not = "another is better than one of its parts in everything";
      continue;
    }
    if (c.known() || !c.why_not.empty()) continue;  // looked at already
    // What combined ones are put together from is judged whatever the budget says, but rows only where they pay.
    VIREO_TRY(measure(&c, !combined && c.rows.empty()));
    if (c.kl < 0 && c.why_not.empty() && worth(c, combined)) VIREO_TRY(measure(&c, true));
  }
  return {};
}

/// Where the budget leaves none, the closest in time and size deserve a KL: one of them is the answer.
Result<void> Searcher::look_at_closest() {
  const Budget& b = options_.budget;
  std::vector<Candidate*> rest;
  for (Candidate& c : found_.all)
    if (c.kl < 0 && c.why_not.empty()) rest.push_back(&c);
  const auto over = [&](const Candidate* c) {
    return std::max(b.fps > 0 ? c->ms * b.fps / 1000 : 0, b.mb > 0 ? double(c->bytes) / 1e6 / b.mb : 0);
  };
  std::stable_sort(rest.begin(), rest.end(), [&](const Candidate* x, const Candidate* y) { return over(x) < over(y); });
  rest.resize(std::min(rest.size(), kClosest));
  for (Candidate* c : rest) VIREO_TRY(measure(c, true));
  return {};
}

Result<BudgetFound> Searcher::run() {
  if (pictures_.size() < kLeastPictures)
    return fail(
        ErrorCode::kInvalidArgument,
        "compress: a search was given {} pictures and needs at least {}: half of them judge what the other half "
        "calibrated; 32 to 64 are usual",
        pictures_.size(), kLeastPictures);
  if (options_.work.empty())
    return fail(ErrorCode::kInvalidArgument,
                "compress: a search needs a folder for its work, and BudgetOptions::work is "
                "empty");
  found_.pictures = pictures_.size(), found_.folds = kFolds;
  VIREO_TRY(original());
  found_.all = candidates(compress_recipes());
  VIREO_TRY(give_parts());
  std::vector<Candidate> more;
  VIREO_TRY(give_scales(&more));
  VIREO_TRY(give_ranges(&more));
  found_.all.insert(found_.all.end(), more.begin(), more.end());
  VIREO_TRY(look_at(false, 0));
  const size_t pairs = found_.all.size();
  pair_networks();
  const size_t end = found_.all.size();
  VIREO_TRY(look_at(false, pairs));
  combine_pairs(pairs, end);
  VIREO_TRY(look_at(true, 0));
  const std::vector<Candidate>& all = found_.all;
  if (std::none_of(all.begin(), all.end(), [&](const Candidate& c) { return c.known() && affordable(c); }))
    VIREO_TRY(look_at_closest());
  if (std::none_of(all.begin(), all.end(), [](const Candidate& c) { return c.known(); }))
    return fail(ErrorCode::kUnsupported, "compress: no recipe can be had for '{}'; first: {}", model_.name(),
                all.empty() ? "there are none" : all[0].why_not);
  found_.front = pareto_front(all);
  found_.points = choose_points(all, found_.front, found_.original);
  found_.verdict = choose(all, options_.budget);
  return std::move(found_);
}

}  // namespace
}  // namespace compress

Result<BudgetFound> search_budget(const Model& model, const std::vector<Image>& pictures,
                                  const BudgetOptions& options) {
  return no_throw([&] { return compress::Searcher(model, pictures, options).run(); });
}

}  // namespace vireo
