// Which blocks merge how many tokens, searched on pictures under a latency model.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <vireo/predict.hpp>

#include "compress/runner.h"
#include "compress/tokens.h"

namespace vireo::compress {

/// The time of a schedule by parts of blocks, which predict() gives for a few schedules: predicting each of hundreds
/// would take minutes. Blocks are taken to be alike; of token counts in between, the next larger one's time counts.
class Latency {
 public:
  explicit Latency(const MergingShape& shape) : shape_(shape) {}

  /// The schedules to predict.
  std::vector<std::vector<int64_t>> samples() const;
  void add(const std::vector<int64_t>& schedule, const Prediction& prediction);
  /// Microseconds of an inference.
  double us(const std::vector<int64_t>& schedule) const;

 private:
  MergingShape shape_;
  std::map<int64_t, double> attention_, merging_, mlp_;  // of a block, by tokens
  double rest_ = 0;                                      // outside blocks
};

/// Of find_schedule(), in compress.cpp's terms: seconds of a schedule that is looked at, and how many usually are.
constexpr double kScheduleWork = 0.15;
constexpr int kUsualSchedules = 60;
constexpr double kPredictionWork = 2;
constexpr int kUsualPredictions = 4;

/// What a schedule is held against. Both are asked often and of the same schedules; search_schedule() remembers.
struct ScheduleCost {
  std::function<Result<double>(const std::vector<int64_t>&)> kl;  // how far the answer moves
  std::function<Result<double>(const std::vector<int64_t>&)> ms;
  /// As kl, cheaper and less certain: says which changes are worth looking at. Null: kl.
  std::function<Result<double>(const std::vector<int64_t>&)> rough = nullptr;
};

/// From `start`, of a network of `shape`: tokens move from blocks where merging them costs the answer much to others
/// where it costs little, and where a step of the latency curve gives tokens for nothing they are kept, as long as the
/// time is not above that of `start` and the answer comes nearer. Never worse than `start` in either. Errors: those of
/// `cost`.
Result<std::vector<int64_t>> search_schedule(const std::vector<int64_t>& start, const MergingShape& shape,
                                             const ScheduleCost& cost);

struct ScheduleSearch {
  std::vector<int64_t> schedule;
  double kl_before = 0, kl = 0;  // on the pictures that were looked at
  double ms_before = 0, ms = 0;  // predicted
};

/// The same with what a model that merges by merged.schedule answers to pictures, and the time of a fp16 inference that
/// predict() gives for a machine (as CompressOptions has it). Errors: those of predict() and of planning.
Result<ScheduleSearch> find_schedule(const MergedModel& merged, Head head, const std::string& machine,
                                     const std::string& caps, const std::vector<std::vector<float>>& pictures,
                                     const Device::Impl& device, ThreadPool& pool, const Progress& progress);

}  // namespace vireo::compress
