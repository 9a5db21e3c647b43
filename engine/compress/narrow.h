// Methods that make a block narrower, and what they share. One file and one line of structures.def each.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compress/blocks.h"
#include "compress/moments.h"
#include "compress/obs.h"

namespace vireo::compress {

/// What calibration gathered of a block. Of a head, q q^T over all tokens, and k k^T around the picture's mean: softmax
/// does not see what is the same for all keys.
struct BlockMoments {
  std::vector<std::vector<double>> queries, keys;  // [head], sums [qk, qk]
  std::unique_ptr<Moments> mixed;                  // the attention's answer, which proj multiplies
  std::unique_ptr<Moments> hidden;                 // the activation's, which fc2 multiplies

  /// One picture's qkv rows.
  void add_qkv(const Rows& rows, const BlockSizes& sizes, ThreadPool& pool);
};

/// A block's part at one width.
struct Level {
  int64_t width = 0;
  double loss = 0;            // what the method minimises
  double kl = 0;              // of the answer, measured with this alone
  std::vector<float> weight;  // kV, kMlp: of the linear behind it, whole, zeros in columns that go
  std::vector<int64_t> kept;  // kV, kMlp: columns that stay, rising
};

/// What an elimination has left of a part.
Level level_of(const Elimination& e, int64_t width);

/// A part of a block and how narrow it can be.
struct Narrowed {
  size_t block = 0;
  Part part = Part::kMlp;
  std::vector<Level> levels;              // falling widths
  std::vector<std::vector<double>> q, k;  // kQk, by head: [qk, qk], of which the first `width` rows are taken
};

struct Narrower {
  const char* name;
  const char* what;    // for --list
  const char* source;  // where it is from
  Part part;
  /// The part at each of these widths. `heads`: those that stay (all, or fewer), rising. `weight`: of the linear behind
  /// it as the graph has it, [rows, cols]; empty for kQk.
  Result<Narrowed> (*run)(const Block& block, const BlockMoments& moments, const std::vector<float>& weight,
                          const std::vector<int64_t>& heads, const std::vector<int64_t>& widths, ThreadPool& pool);
};

#define STRUCTURE(name) extern const Narrower name;
#include "compress/structures.def"
#undef STRUCTURE

/// In the order of structures.def.
const std::vector<const Narrower*>& narrowers();
const Narrower& narrower_of(Part part);

/// The heads that stay when a block keeps `count` of them: one after another goes whose columns of proj cost least. All
/// of them where `count` is what the block has.
Result<std::vector<int64_t>> heads_to_keep(const Block& block, const BlockMoments& moments,
                                           const std::vector<float>& proj, int64_t count, ThreadPool& pool);

/// Ridge of the refits (obs.h), as measured on a ViT.
constexpr double kRidge = 0.3;

}  // namespace vireo::compress
