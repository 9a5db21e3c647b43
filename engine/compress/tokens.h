// Token merging as a way to compress: how many tokens each block merges so that a share of the multiply-adds goes.
#pragma once

#include <vector>

#include "model/model.h"

namespace vireo::compress {

/// Of a network, what schedules must keep within.
struct MergingShape {
  int64_t tokens = 0, prefix = 0;
  std::vector<bool> attends;  // by block: one without attention has no keys to merge by

  bool allows(const std::vector<int64_t>& schedule) const;
};

struct MergedModel {
  LoadedModel model;
  std::vector<int64_t> schedule;  // tokens that go in each block
  MergingShape shape;
};

/// The model whose configuration asks for merging: nothing in the first quarter of the blocks, whose tokens are not yet
/// alike, then equally many in each, as many as come closest to `percent` of the multiply-adds; where fewer can be
/// merged, those. Errors: kUnsupported (no plain transformer blocks; tokens are merged already), kInvalidArgument (too
/// few tokens for that much).
Result<MergedModel> merge_tokens(const LoadedModel& model, Head head, double percent);

/// The model with another schedule; an empty one merges nothing.
Result<LoadedModel> with_schedule(const LoadedModel& model, const std::vector<int64_t>& schedule);

/// Whether blocks of this model merge tokens, so that its values have more or fewer rows.
bool merges_tokens(const LoadedModel& model);

}  // namespace vireo::compress
