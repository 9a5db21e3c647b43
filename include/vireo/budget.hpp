// A budget in, a way to compress out: candidates are made of the recipes that there are, compressed, predicted or
// timed, and judged on pictures that they were not calibrated with.
//
//   vireo::BudgetOptions options;
//   options.budget.mb = 4;
//   auto found = vireo::search_budget(*model, pictures, options);
//   const vireo::Candidate& c = found->all[found->verdict.chosen];   // c.recipe(), c.policy: of a Compressor
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <vireo/compress.hpp>

namespace vireo {

/// What a model may cost; 0 is no limit.
struct Budget {
  double fps = 0;                       ///< pictures per second on `machine`
  double mb = 0;                        ///< 10^6 bytes of the file with the tensors
  double kl = 0;                        ///< mean KL divergence from the original
  std::string machine = "jetson-nano";  ///< as messages call it

  bool any() const { return fps > 0 || mb > 0 || kl > 0; }
};

/// One way to compress: recipes, and where a part of the linears keeps 8 bits the policy that names them.
struct VIREO_API Candidate {
  std::string weights;  ///< the recipe that says how weights are stored; "" leaves them
  std::string rows;     ///< those of rows and, beside them, of attention: "a8+attn8"; "" leaves them floats
  std::string network;  ///< those which change the network itself: "input86+tome29"; "" none
  int share = 100;      ///< percent of the linears' weights in the format of `weights`, the rest has 8 bits
  std::string policy;   ///< CompressOptions::policy
  std::string ranges;   ///< CompressOptions::ranges
  bool awq = false;     ///< CompressOptions::awq

  double kl = -1, ms = -1;  ///< -1: not known
  uint64_t bytes = 0;
  std::string why_not;  ///< where it cannot be had for this model
  bool known() const { return why_not.empty() && kl >= 0 && ms >= 0 && bytes > 0; }

  std::string recipe() const;  ///< CompressOptions::recipe
  std::string name() const;    ///< for people: "w4g64/50%(awq)+a8static(percentile)"
};

/// One of the points of a front that stand for it.
struct ChosenPoint {
  std::string what;      ///< "closest" answers, "cheapest" in time and size together, "balanced" between the two
  size_t candidate = 0;  ///< BudgetFound::all
};

struct Verdict {
  bool met = false;
  size_t chosen = 0;  ///< the best that meets it, or the closest
  std::vector<std::string>
      binds;  ///< "target-fps", "max-size", "max-kl": limits without which a better one could be had
  std::string sentence;
};

struct BudgetOptions {
  Budget budget;
  bool measured = false;  ///< time each candidate on this CPU; else predict it
  std::string machine;    ///< PredictOptions::machine, a built-in name or a text; not looked at where measured
  std::string caps;       ///< Device::caps_text() of that machine
  std::string method;     ///< CompressOptions::method
  std::string work;       ///< CompressOptions::work; candidates are written into a folder of it meanwhile
  bool all = false;       ///< every candidate that may stand on the front, else those that the budget leaves
  int threads = 0;        ///< 0 = all cores
  /// The candidate that is being looked at, how many have been and how many there are; called in the caller's thread.
  std::function<void(const std::string& name, size_t done, size_t all)> progress;
  /// Asked between steps; true ends the search with kInvalidArgument.
  std::function<bool()> stop;
};

struct BudgetFound {
  Candidate original;  ///< kl 0
  std::vector<Candidate> all;
  std::vector<size_t> front;        ///< of the known ones, by rising KL: those that nothing beats
  std::vector<ChosenPoint> points;  ///< three of the front; fewer where the closest is the cheapest
  Verdict verdict;
  size_t pictures = 0, folds = 0;
};

/// Judges candidates on these pictures, half of which calibrate while the other half judge. Uses the CPU. Errors:
/// kInvalidArgument (fewer than 16 pictures, no folder `work`, `stop`), kIo (the disk), those of predict(); where no
/// recipe can be had for the model, the first one's.
VIREO_API Result<BudgetFound> search_budget(const Model& model, const std::vector<Image>& pictures,
                                            const BudgetOptions& options);

}  // namespace vireo
