// A budget and the candidates that may meet it: lists of recipes, the Pareto front, what binds. Nothing here runs a
// model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>
#include <vireo/compress.hpp>

namespace cli {

/// What a model may cost; 0 is no limit.
struct Budget {
  double fps = 0;  // pictures per second on `machine`
  double mb = 0;   // 10^6 bytes of the file with the tensors
  double kl = 0;   // mean KL divergence from the original
  std::string machine = "jetson-nano";

  bool any() const { return fps > 0 || mb > 0 || kl > 0; }
};

/// One way to compress: recipes, and where a part of the linears keeps 8 bits the policy that names them.
struct Candidate {
  std::string weights;  // the recipe that says how weights are stored; "" leaves them
  std::string rows;     // those of rows and, beside them, of attention: "a8+attn8"; "" leaves them floats
  std::string network;  // that which changes the network itself; "" none
  int share = 100;      // percent of the linears' weights in the format of `weights`, the rest has 8 bits
  std::string policy;

  double kl = -1, ms = -1;  // -1: not known
  uint64_t bytes = 0;
  std::string why_not;  // where it cannot be had for this model
  bool known() const { return why_not.empty() && kl >= 0 && ms >= 0 && bytes > 0; }

  /// For --recipe.
  std::string recipe() const;
  /// For people: "w4g64/50%+a8".
  std::string name() const;
};

/// Every recipe for weights alone (those of few bits also for parts of the linears), with every recipe for rows alone
/// (also with every one for attention), with every recipe that says none of these. Recipes that are shorthands of
/// several of these are not looked at.
std::vector<Candidate> candidates(const std::vector<vireo::CompressEntry>& recipes);

/// The nodes of a model's linears that keep 8 bits when `share` percent of their weights get few bits: those whose few
/// bits move the answer most, for the bytes that they save. `layers`: of a run that gave all of them few bits and
/// measured what each costs.
std::vector<std::string> kept_at_8_bits(const std::vector<vireo::CompressedLayer>& layers, int share);

/// Of known candidates, by index: those that no other one is at least as good as in KL, ms and bytes, and better in
/// one. By rising KL.
std::vector<size_t> pareto_front(const std::vector<Candidate>& all);

/// How many times over the budget, in the worst of its limits; at most 1 where it is met. Of unknown numbers: infinite.
double excess(const Candidate& c, const Budget& b);

struct Verdict {
  bool met = false;
  size_t chosen = 0;               // the best that meets it, or the closest
  std::vector<std::string> binds;  // "target-fps", "max-size", "max-kl"
  std::string sentence;
};
/// The least KL that meets the budget (with --max-kl alone the smallest file), and what stands in the way of a smaller
/// one. `all` holds a known one at least.
Verdict choose(const std::vector<Candidate>& all, const Budget& b);

}  // namespace cli
