// Token merging in a network of plain transformer blocks: what quantization_config.vireo.tokens asks for, between the
// attention and the MLP of each block (Bolya et al. 2023, arXiv 2210.09461).
#pragma once

#include <string>
#include <vector>

#include "model/builder.h"

namespace vireo {

/// Of one graph. Blocks are numbered from 0 and come in order; without a schedule nothing is added.
class TokenMerging {
 public:
  /// `prefix`: tokens before the patches, which stay as they are. Sets b's error where the schedule does not fit.
  TokenMerging(ModelBuilder& b, int64_t blocks, int64_t prefix);

  bool any() const { return any_; }
  int64_t count(int64_t index) const { return any_ ? schedule_[size_t(index)] : 0; }
  /// What the scores of this block's keys get added (operand 3 of attention); kNoValue: nothing.
  ValueId key_bias();
  /// Behind the attention of block `index`: which tokens join, by the keys in the rows of `qkv`.
  void match(ValueId qkv, int64_t index, const BlockSizes& s, const std::string& block);
  /// Then the rows with those merged; x itself where none are.
  ValueId merge(ValueId x, const std::string& block);
  /// The mean of the tokens from `start` on, each as often as the picture has it.
  ValueId mean(ValueId x, int64_t start, const std::string& name);

 private:
  ModelBuilder& b_;
  std::vector<int64_t> schedule_;
  int64_t prefix_;
  bool any_ = false;
  ValueId lists_ = kNoValue;  // of the block whose rows are still apart
  ValueId sizes_ = kNoValue;
  ValueId waiting_ = kNoValue;  // lists whose sizes nobody has needed yet
  std::string waiting_name_;
  int64_t rows_ = 0;
};

/// How many of so many tokens a block may merge at most: those of every other one that are no prefix, if there is a
/// partner for them.
int64_t most_merged(int64_t tokens, int64_t prefix);

}  // namespace vireo
