// A model whose numbers are rounded while it runs: weights once, rows, attention's operands and its probabilities at
// every inference. Everything stays fp32, through the plan's own steps, so that grids which no device multiplies can be
// judged before anybody builds a kernel for them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compress/encode.h"
#include "compress/layers.h"
#include "compress/moments.h"
#include "compress/recipe.h"
#include "compress/runner.h"
#include "ops/rounded.h"

namespace vireo::compress {

/// What a policy of simulation says.
struct SimulatedPolicy : NumberGrids {
  Format weights;  // of linears within the network; floats: they stay
  Format others;   // of head, patch embedding and convolutions
  const Method* method = nullptr;
  double wide = 0;    // the percentage of their rows that have 8 bits where `weights` has 4 (mix_rows.h)
  bool fold = false;  // columns behind a LayerNorm are brought to one scale first
  double answer_rows = 0, answer_rows_last = 0;  // how often rows of the answer count in H; 0: as compress has it

  /// Second moments of what linears are given.
  bool needs_moments() const { return method != nullptr && method->needs_pictures && weights.grid.coded(); }
  bool needs_pictures() const { return fold || needs_moments() || fitted(); }
};
/// Lines, # begins a comment: `weights FORMAT [METHOD]`, `others FORMAT`, `wide PERCENT`,
/// `rows|gelu|operands|softmax|layernorm GRID BITS [token|tensor]`, `integer softmax|gelu|layernorm BITS
/// [token|tensor]`, `fold on`, `answer-rows TIMES TIMES`. Errors: kInvalidArgument, with the line.
Result<SimulatedPolicy> parse_simulated_policy(const std::string& text, const std::string& source);

/// Brings columns to one scale: y = x / by + shift.
struct Fold {
  std::vector<float> by, shift;
};
/// RepQ-ViT's reparameterisation (Li et al. 2023), of the least and the largest of each column.
Fold repq_fold(const std::vector<float>& least, const std::vector<float>& most, int bits);

/// Runs a model with values rounded.
class Simulated {
 public:
  /// Rounds its weights; looks at these pictures where the policy does. Errors: those of planning; kUnsupported
  /// (probabilities of attention in windows), kCorrupt (values that are not finite).
  static Result<std::unique_ptr<Simulated>> create(const LoadedModel& model, const SimulatedPolicy& policy, Head head,
                                                   const Device::Impl& device, ThreadPool& pool,
                                                   const std::vector<std::vector<float>>& pictures);

  const float* run(const std::vector<float>& pixels) { return run(*runner_, pixels, nullptr); }
  const Runner& runner() const { return *runner_; }
  /// What fitted grids found (NumberGrids::fits).
  const std::map<std::string, std::vector<double>>& fits() const { return policy_.fits; }
  /// Times that the pictures were run for second moments: once for each group of layers whose moments fit into memory.
  size_t passes() const { return passes_; }

 private:
  /// Moments of rounded inputs, by node; of the layers that are there to begin with.
  using Moments = std::map<std::string, compress::Moments>;

  Simulated(const SimulatedPolicy& policy, const Device::Impl& device, ThreadPool& pool)
      : policy_(policy), device_(device), pool_(pool) {}
  Rounding rounding_of(const Layer& l) const;
  Result<void> check(const Graph& graph) const;
  Result<void> find_folds(const LoadedModel& model, const Graph& graph, const std::vector<std::vector<float>>& pictures,
                          Head head);
  Result<void> fit_grids(const LoadedModel& model, const Graph& graph, const std::vector<std::vector<float>>& pictures,
                         Head head);
  /// `rounded`: of all layers, what their weights become.
  Result<void> round_weights(const LoadedModel& model, const std::vector<std::vector<float>>& pictures, Head head,
                             std::vector<std::vector<StoredTensor>>* rounded);
  Result<void> round_weight(const LoadedModel& model, size_t layer, const compress::Moments* moments,
                            std::vector<StoredTensor>* rounded);
  void round_rows(const Layer& l, Rows rows);
  void attend(const Plan& plan, const Step& step, Runner& runner, std::vector<std::vector<float>>* seen) const;
  void integer_gelu(const Plan& plan, const Step& step, Runner& runner) const;
  void integer_layernorm(const Plan& plan, const Step& step, Runner& runner) const;
  void add_moments(const Layer& l, Rows rows, Moments* moments);
  const float* run(Runner& runner, const std::vector<float>& pixels, Moments* moments);

  SimulatedPolicy policy_;
  const Device::Impl& device_;
  ThreadPool& pool_;
  Layers layers_;
  bool merges_ = false;  // tokens, so that values have more or fewer rows
  size_t passes_ = 0;
  std::string not_finite_;  // a linear whose inputs were no numbers while they were looked at
  std::map<std::string, size_t> by_node_;
  std::map<std::string, Fold> folds_;  // by value
  /// Gain and offset of LayerNorms that are computed in integers, by node.
  std::map<std::string, std::pair<std::vector<float>, std::vector<float>>> norms_;
  std::unique_ptr<Runner> runner_;
};

}  // namespace vireo::compress
