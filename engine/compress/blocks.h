// The transformer blocks of a model that can be made smaller, found in its graph: which tensors of the checkpoint hold
// a block's queries, keys, values and MLP, what their widths are, and what a channel of each costs.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "compress/layers.h"
#include "graph/graph.h"
#include "model/extension.h"

namespace vireo::compress {

/// What of a block can become narrower.
enum class Part : uint8_t { kQk, kV, kMlp };
constexpr size_t kParts = 3;
/// "qk", "v", "mlp": as in configurations, policies and reports.
const char* to_string(Part p);

struct Block {
  std::string name;               // as in plans: "blocks.3"
  BlockSizes whole;               // as it is; heads 0: no attention, mlp 0: no MLP that is understood
  bool merges = false;            // tokens, by its keys
  bool narrow_attention = false;  // widths of its heads may change: nothing stands between projections and products
  bool plain_heads = false;       // its heads have nothing of their own beside them, so some may go

  std::vector<std::string> qkv;                    // modules as the file names them: one that holds all, or q, k and v
  std::string proj, fc1, fc2;                      // modules
  std::string qkv_value, mixed_value, proj_value;  // in the graph: the qkv rows, the attention's answer, its projection
  std::string act_value, fc2_value;                // the activation's answer, the second linear's
  bool gated = false;                              // fc1 holds gates, then values
  bool last = false;                               // behind the last attention only single tokens count
  std::vector<std::string> attention_tensors, mlp_tensors;  // all that only this branch reads, by the file's names

  /// MACs of a picture by channel: one of every head's q and k, one of every head's v, one of the MLP.
  std::array<double, kParts> macs{};

  int64_t width(Part p) const { return p == Part::kQk ? whole.qk : p == Part::kV ? whole.v : whole.mlp; }
  bool has(Part p) const { return p == Part::kMlp ? whole.mlp > 0 : whole.heads > 0 && narrow_attention; }
};

/// In order of execution. `graph`: of one picture.
std::vector<Block> find_blocks(const LoadedModel& model, const Graph& graph);

/// A tensor by the file's name as numbers; empty where there is none of it. Errors: those of Checkpoint::constant.
Result<std::vector<float>> tensor_values(const LoadedModel& model, const std::string& tensor);

}  // namespace vireo::compress
