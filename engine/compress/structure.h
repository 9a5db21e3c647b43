// Tensors that really shrink: which parts of which blocks become how narrow, and the model that comes of it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "compress/narrow.h"
#include "compress/stored.h"
#include "runtime/device_impl.h"

namespace vireo::compress {

/// Either a share of all MACs that goes, from where it costs least, or sizes by a block's name.
struct StructureChoice {
  std::vector<Part> parts;
  double share = 0;
  struct Rule {
    std::string pattern;  // a block's name, with * for any characters
    BlockSizes sizes;     // -1: as it is
  };
  std::vector<Rule> rules;
  /// Of a share: linears that read what became narrower keep a multiple of so many columns, the groups of their codes.
  int64_t columns = 1;

  bool any() const { return share > 0 || !rules.empty(); }
  /// `qk,mlp,v 15`, as recipes.def has it. Errors: none; the table is our own.
  static StructureChoice of_recipe(const std::string& text);
  /// Takes the lines `block PATTERN [heads N] [qk N] [v N] [mlp N]` out of a policy's text. Errors: kInvalidArgument.
  static Result<StructureChoice> of_policy(std::string* text);
  /// Everything that it says, for comparison.
  std::string text() const;
};

/// A block that was made smaller.
struct SmallerBlock {
  std::string block;
  BlockSizes before, after;
  double kl = -1;  // the sum of what each part alone costs; -1: not measured
};

/// Which blocks become how narrow, with the tensors and the configuration that come of it.
struct Narrowing {
  std::string config;
  Replaced tensors;
  std::vector<SmallerBlock> blocks;
  size_t passes = 0;  // over the pictures
};

/// Seconds of work that find_narrowing() will report.
double structure_work(const StructureChoice& choice, size_t pictures);

/// Errors: kInvalidArgument (a rule that names no block, sizes above the block's, more than can go), kCorrupt
/// (activations that are not finite), those of `step`.
Result<Narrowing> find_narrowing(const LoadedModel& model, const StructureChoice& choice,
                                 const std::vector<std::vector<float>>& pictures, const Device::Impl& device,
                                 ThreadPool& pool, const Progress& step);

/// Which level of each part to take, -1 for none, so that at least `macs` go at the least sum of KL: steps along the
/// lower convex hull of each part's KL over the MACs that it saves, the cheapest per MAC first. All that there is where
/// it is not enough.
std::vector<int> allocate(const std::vector<Block>& blocks, const std::vector<Narrowed>& parts, double macs);

/// What a block became: sizes, the heads that stay, and for each part the level (null: as it was).
struct Chosen {
  const Block* block = nullptr;
  BlockSizes sizes;
  std::vector<int64_t> heads;
  const Narrowed* parts[kParts] = {};
  const Level* levels[kParts] = {};
  std::vector<float> whole[kParts];  // the linears behind the parts, as the graph has them
};
/// Tensors and configuration of these blocks, into `narrowing`. Errors: those of Checkpoint::constant; kCorrupt.
Result<void> narrow_tensors(const LoadedModel& model, const std::vector<Chosen>& blocks, Narrowing* narrowing);

}  // namespace vireo::compress
