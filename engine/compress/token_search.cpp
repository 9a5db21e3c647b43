// The idea is of HATP (Eccles et al. 2024, arXiv 2407.05941): latency over the number of tokens has steps, so the
// schedule comes from the device's latency and not from multiply-adds. What merging costs is measured by the answer.
#include "compress/token_search.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "compress/sensitivity.h"
#include "model/token_merging.h"
#include "runtime/model_impl.h"

namespace vireo::compress {
namespace {

using Schedule = std::vector<int64_t>;

constexpr size_t kSearchPictures = 16, kRoughPictures = 8;

/// Dispatches compute tiles of at least so many tokens.
constexpr int64_t kTokenStep = 8, kLeastTokens = 16;
constexpr size_t kSamples = 8;

/// A change for the better is at least so much of the KL, or a search would follow noise for long.
constexpr double kGain = 0.005;
constexpr int kTriedPairs = 4, kMovesOfAStep = 4;

class Search {
 public:
  Search(const MergingShape& shape, const ScheduleCost& cost) : shape_(shape), cost_(cost) {}

  Result<Schedule> run(const Schedule& start) {
    best_ = start;
    VIREO_ASSIGN(kl_, kl(start));
    VIREO_ASSIGN(limit_, cost_.ms(start));
    const int64_t merged = std::accumulate(start.begin(), start.end(), int64_t{0});
    const auto blocks = int64_t(std::count_if(start.begin(), start.end(), [](int64_t r) { return r > 0; }));
    if (blocks == 0) return best_;
    const int64_t each = merged / blocks;
    for (const int64_t divisor : {2, 4, 8}) {
      const int64_t by = std::max<int64_t>(1, each / divisor);
      VIREO_TRY(moves_of(by));
      if (by == 1) break;
    }
    return best_;
  }

 private:
  Result<double> kl(const Schedule& s) { return asked(cost_.kl, &known_, s); }
  Result<double> rough(const Schedule& s) { return cost_.rough ? asked(cost_.rough, &guessed_, s) : kl(s); }
  static Result<double> asked(const std::function<Result<double>(const Schedule&)>& of,
                              std::map<Schedule, double>* known, const Schedule& s) {
    if (const auto found = known->find(s); found != known->end()) return found->second;
    VIREO_ASSIGN(const double kl, of(s));
    (*known)[s] = kl;
    return kl;
  }
  Result<bool> in_time(const Schedule& s) {
    VIREO_ASSIGN(const double ms, cost_.ms(s));
    return ms <= limit_;
  }
  Schedule changed(size_t block, int64_t by) const {
    Schedule s = best_;
    s[block] += by;
    return s;
  }

  /// What the KL changes by when a block merges more or fewer; infinite where it cannot.
  Result<double> change(size_t block, int64_t by) {
    const Schedule s = changed(block, by);
    if (!shape_.allows(s)) return INFINITY;
    VIREO_ASSIGN(const double before, rough(best_));
    VIREO_ASSIGN(const double moved, rough(s));
    return moved - before;
  }

  Result<void> moves_of(int64_t by) {
    const size_t blocks = best_.size();
    std::vector<double> more(blocks), fewer(blocks);
    const auto look = [&](size_t block) -> Result<void> {
      VIREO_ASSIGN(more[block], change(block, by));
      VIREO_ASSIGN(fewer[block], change(block, -by));
      return {};
    };
    for (size_t i = 0; i < blocks; ++i) VIREO_TRY(look(i));
    for (int move = 0; move < kMovesOfAStep; ++move) {
      VIREO_ASSIGN(const std::vector<size_t> touched, one_move(by, more, fewer));
      if (touched.empty()) break;
      // What other blocks' changes are worth moves little; only those that moved are measured anew.
      for (const size_t i : touched) VIREO_TRY(look(i));
    }
    return {};
  }

  /// The blocks that changed; none where nothing gains.
  Result<std::vector<size_t>> one_move(int64_t by, const std::vector<double>& more, const std::vector<double>& fewer) {
    // Tokens that the latency model gives for nothing.
    for (size_t j = 0; j < best_.size(); ++j) {
      if (!(fewer[j] < 0)) continue;
      VIREO_ASSIGN(const bool taken, take(changed(j, -by)));
      if (taken) return std::vector<size_t>{j};
    }
    struct Pair {
      double gain;
      size_t more, fewer;
    };
    std::vector<Pair> pairs;
    for (size_t i = 0; i < best_.size(); ++i)
      for (size_t j = 0; j < best_.size(); ++j)
        if (i != j && more[i] + fewer[j] < 0) pairs.push_back({more[i] + fewer[j], i, j});
    std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.gain < b.gain; });
    int tried = 0;
    for (const Pair& p : pairs) {
      // A token that goes in a later block saves less time: then more of them.
      for (const int64_t extra : {by, by + (by + 1) / 2, 2 * by}) {
        Schedule s = changed(p.fewer, -by);
        s[p.more] += extra;
        if (!shape_.allows(s)) break;
        VIREO_ASSIGN(const bool fits, in_time(s));
        if (!fits) continue;
        VIREO_ASSIGN(const bool taken, take(s));
        if (taken) return std::vector<size_t>{p.more, p.fewer};
        if (++tried == kTriedPairs) return std::vector<size_t>{};
        break;
      }
    }
    return std::vector<size_t>{};
  }

  Result<bool> take(const Schedule& s) {
    VIREO_ASSIGN(const bool fits, in_time(s));
    if (!fits) return false;
    VIREO_ASSIGN(const double moved, kl(s));
    if (!(moved < kl_ * (1 - kGain))) return false;
    best_ = s, kl_ = moved;
    return true;
  }

  const MergingShape& shape_;
  const ScheduleCost& cost_;
  std::map<Schedule, double> known_, guessed_;
  Schedule best_;
  double kl_ = 0, limit_ = 0;
};

/// "blocks.3.mlp.fc1": 3; -1 for what is in no block.
int64_t block_of(const std::string& name) {
  const std::string prefix = "blocks.";
  return name.compare(0, prefix.size(), prefix) == 0 ? std::atoll(name.c_str() + prefix.size()) : -1;
}

}  // namespace

std::vector<Schedule> Latency::samples() const {
  // Blocks that have eight tokens less each: few predictions then give all of them. The first ones come down from all
  // tokens to where the sample before ended.
  std::vector<Schedule> all;
  const int64_t blocks = int64_t(shape_.attends.size());
  for (int64_t next = (shape_.tokens - 1) / kTokenStep * kTokenStep; next >= kLeastTokens && all.size() < kSamples;) {
    Schedule s(size_t(blocks), 0);
    int64_t left = shape_.tokens;
    const int64_t before = next;
    for (int64_t i = 0; i < blocks; ++i) {
      if (!shape_.attends[size_t(i)] || (i == 0 && all.empty())) continue;  // and once all tokens reach an MLP
      const int64_t goal = left > next ? next : left - kTokenStep;
      s[size_t(i)] =
          std::clamp<int64_t>(left - goal, 0, std::min(left - kLeastTokens, most_merged(left, shape_.prefix)));
      left -= s[size_t(i)];
      next = std::min(next, left);
    }
    if (next >= before) break;  // no block gets there
    all.push_back(std::move(s));
  }
  if (all.empty()) all.emplace_back(size_t(blocks), 0);
  return all;
}

void Latency::add(const Schedule& s, const Prediction& p) {
  std::vector<double> attention(s.size()), merging(s.size()), mlp(s.size());
  double rest = 0;
  for (const PredictedDispatch& d : p.dispatches) {
    const int64_t block = block_of(d.name);
    if (block < 0 || size_t(block) >= s.size()) rest += d.us;
    else if (d.op.compare(0, 6, "token_") == 0) merging[size_t(block)] += d.us;
    else (d.name.find(".mlp") != std::string::npos ? mlp : attention)[size_t(block)] += d.us;
  }
  rest_ = std::max(rest_, rest);
  int64_t left = shape_.tokens;
  const auto keep = [](std::map<int64_t, double>& at, int64_t tokens, double us) {
    at[tokens] = std::max(at[tokens], us);
  };
  for (size_t i = 0; i < s.size(); ++i) {
    keep(attention_, left, attention[i]);
    if (s[i] > 0) keep(merging_, left, merging[i]);
    left -= s[i];
    keep(mlp_, left, mlp[i]);
  }
}

double Latency::us(const Schedule& s) const {
  const auto of = [](const std::map<int64_t, double>& at, int64_t tokens) {
    if (at.empty()) return 0.0;
    const auto found = at.lower_bound(tokens);
    return found == at.end() ? at.rbegin()->second : found->second;
  };
  double sum = rest_;
  int64_t left = shape_.tokens;
  for (const int64_t r : s) {
    sum += of(attention_, left);
    if (r > 0) sum += of(merging_, left);
    left -= r;
    sum += of(mlp_, left);
  }
  return sum;
}

Result<Schedule> search_schedule(const Schedule& start, const MergingShape& shape, const ScheduleCost& cost) {
  return Search(shape, cost).run(start);
}

Result<ScheduleSearch> find_schedule(const MergedModel& merged, Head head, const std::string& machine,
                                     const std::string& caps, const std::vector<std::vector<float>>& pictures,
                                     const Device::Impl& device, ThreadPool& pool, const Progress& progress) {
  const size_t count = std::min(pictures.size(), kSearchPictures);
  std::vector<std::vector<float>> answers;
  const auto run = [&](const Schedule& schedule, size_t every, auto&& each) -> Result<void> {
    VIREO_ASSIGN(const LoadedModel model, with_schedule(merged.model, schedule));
    VIREO_ASSIGN(Graph g, model.build(head, 1));
    VIREO_ASSIGN(const std::unique_ptr<Runner> runner, Runner::create(std::move(g), device, pool, false));
    for (size_t i = 0; i < count; i += every) each(i, *runner, runner->run(pictures[i * pictures.size() / count]));
    return {};
  };
  VIREO_TRY(run({}, 1, [&](size_t, Runner& runner, const float* answer) {
    answers.emplace_back(answer, answer + runner.output_rows() * runner.output_stride());
  }));

  Latency latency(merged.shape);
  PredictOptions how;
  how.machine = machine.empty() ? "jetson-nano" : machine;
  how.counts = shader_counts();
  how.session.precision = Precision::kFp16;
  how.session.head = head;
  std::string of = caps;
  if (of.empty()) {
    VIREO_ASSIGN(of, machine_caps(how.machine));
  }
  const auto predicted = [&](const Schedule& s) -> Result<Prediction> {
    VIREO_TRY(progress("latency", kPredictionWork));
    VIREO_ASSIGN(LoadedModel model, with_schedule(merged.model, s));
    return predict(Model::Impl::wrap(std::move(model), "schedule"), of, how);
  };
  for (const Schedule& s : latency.samples()) {
    VIREO_ASSIGN(const Prediction p, predicted(s));
    latency.add(s, p);
  }

  int asked = 0;
  ScheduleCost cost;
  const auto apart = [&](const Schedule& s, size_t every) -> Result<double> {
    VIREO_TRY(progress("tokens", ++asked <= kUsualSchedules ? kScheduleWork : 0));
    double sum = 0;
    size_t looked = 0;
    VIREO_TRY(run(s, every, [&](size_t i, Runner& runner, const float* answer) {
      ++looked;
      sum += answer_difference(merged.model.has_classes(), answers[i].data(), answer, runner.output_rows(),
                               runner.outputs(), runner.output_stride());
    }));
    return sum / double(looked);
  };
  cost.kl = [&](const Schedule& s) { return apart(s, 1); };
  if (count >= 2 * kRoughPictures)  // else the rough look is the whole
    cost.rough = [&](const Schedule& s) { return apart(s, std::max<size_t>(1, count / kRoughPictures)); };
  cost.ms = [&](const Schedule& s) -> Result<double> { return latency.us(s) / 1000; };

  ScheduleSearch found;
  VIREO_ASSIGN(found.schedule, search_schedule(merged.schedule, merged.shape, cost));
  VIREO_ASSIGN(found.kl_before, cost.kl(merged.schedule));
  VIREO_ASSIGN(found.kl, cost.kl(found.schedule));
  VIREO_ASSIGN(const Prediction before, predicted(merged.schedule));
  VIREO_ASSIGN(const Prediction after, predicted(found.schedule));
  found.ms_before = before.us / 1000, found.ms = after.us / 1000;
  if (found.ms > found.ms_before)  // the sampled latency was off
    found.schedule = merged.schedule, found.kl = found.kl_before, found.ms = found.ms_before;
  return found;
}

}  // namespace vireo::compress
