// A model whose numbers are rounded while it runs: weights once, rows, attention's operands and its probabilities at
// every inference. Everything stays fp32, through the plan's own steps, so that grids which no device multiplies can be
// judged before anybody builds a kernel for them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compress/encode.h"
#include "compress/grids.h"
#include "compress/layers.h"
#include "compress/moments.h"
#include "compress/recipe.h"
#include "compress/runner.h"

namespace vireo::compress {

/// Numbers that share a scale, and the grid that they are rounded to. Without a grid they stay.
struct Rounding {
  const RowGrid* grid = nullptr;
  int bits = 8;
  bool tensor = false;  // one scale for all rows of a picture instead of one each
};

/// What a policy of simulation says.
struct SimulatedPolicy {
  Format weights;  // of linears within the network; floats: they stay
  Format others;   // of head, patch embedding and convolutions
  const Method* method = nullptr;
  Rounding rows;      // that linears within the network multiply
  Rounding gelu;      // instead, behind an activation function
  Rounding operands;  // of attention: queries and keys by token, values by channel, each head by itself
  Rounding softmax;   // of attention: a row of probabilities
  bool fold = false;  // columns behind a LayerNorm are brought to one scale first
  double answer_rows = 0, answer_rows_last = 0;  // how often rows of the answer count in H; 0: as compress has it
};
/// Lines, # begins a comment: `weights FORMAT [METHOD]`, `others FORMAT`, `rows|gelu|operands|softmax GRID BITS
/// [token|tensor]`, `fold on`, `answer-rows TIMES TIMES`. Errors: kInvalidArgument, with the line.
Result<SimulatedPolicy> parse_simulated_policy(const std::string& text, const std::string& source);

/// Runs a model with values rounded.
class Simulated {
 public:
  /// Rounds its weights; looks at these pictures where the method or the fold does. Errors: those of planning;
  /// kUnsupported (probabilities of attention in windows).
  static Result<std::unique_ptr<Simulated>> create(const LoadedModel& model, const SimulatedPolicy& policy, Head head,
                                                   const Device::Impl& device, ThreadPool& pool,
                                                   const std::vector<std::vector<float>>& pictures);

  const float* run(const std::vector<float>& pixels) { return run(*runner_, pixels, nullptr); }
  const Runner& runner() const { return *runner_; }

 private:
  /// Brings columns to one scale: y = x / by + shift.
  struct Fold {
    std::vector<float> by, shift;
  };
  /// Moments of rounded inputs, by node.
  using Seen = std::map<std::string, Moments>;

  Simulated(const SimulatedPolicy& policy, const Device::Impl& device, ThreadPool& pool)
      : policy_(policy), device_(device), pool_(pool) {}
  Rounding rounding_of(const Layer& l) const;
  Result<void> find_folds(const LoadedModel& model, const Graph& graph, const std::vector<std::vector<float>>& pictures,
                          Head head);
  /// `rounded`: owns what the model reads.
  Result<LoadedModel> with_rounded_weights(const LoadedModel& model, const Seen& seen,
                                           std::vector<std::vector<StoredTensor>>* rounded);
  void round_rows(const Layer& l, const Rows& rows, std::vector<float>* kept);
  void attend(const Plan& plan, const Step& step, Runner& runner);
  const float* run(Runner& runner, const std::vector<float>& pixels, Seen* seen);

  SimulatedPolicy policy_;
  const Device::Impl& device_;
  ThreadPool& pool_;
  Layers layers_;
  bool merges_ = false;     // tokens, so that values have more or fewer rows
  std::string not_finite_;  // a linear whose inputs were no numbers while they were looked at
  std::map<std::string, size_t> by_node_;
  std::map<std::string, Fold> folds_;  // by value
  std::unique_ptr<Runner> runner_;
};

}  // namespace vireo::compress
