// What a config.json says of a model that was made smaller in ways that no other format has words for:
// quantization_config.vireo. One section for each way, in one table (extension.cpp); what is not known is refused.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "ops/op.h"
#include "ops/rounded.h"

namespace vireo {

/// The sizes of a transformer block. -1: as the rest of the configuration has it. No heads: the block has no attention;
/// mlp 0: it has no MLP.
struct BlockSizes {
  int64_t heads = -1;
  int64_t qk = -1;   // width of a head's queries and keys; their scale stays that of the whole head
  int64_t v = -1;    // of its values
  int64_t mlp = -1;  // between the MLP's two linears (of a gated one behind the gate)

  bool operator==(const BlockSizes& o) const { return heads == o.heads && qk == o.qk && v == o.v && mlp == o.mlp; }
  bool operator!=(const BlockSizes& o) const { return !(*this == o); }
};

struct Extension {
  std::map<std::string, BlockSizes> structure;  // by the block's name in plans: "blocks.3"
  Products attention = Products::kF32;          // what the factors of attention's products are rounded to
  NumberGrids grids;                            // values that are rounded while it runs, functions in integers
  std::vector<int64_t> merge;                   // tokens that token merging takes away in each block; empty: none
};

constexpr int kExtensionVersion = 1;

/// Null where the configuration has none. `source` is the file's name for messages. Errors: kCorrupt (wrong types),
/// kUnsupported (another version, a section or key that is not known).
Result<std::shared_ptr<const Extension>> parse_extension(const std::string& config, const std::string& source);

}  // namespace vireo
