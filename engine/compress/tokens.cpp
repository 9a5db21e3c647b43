#include "compress/tokens.h"

#include <algorithm>
#include <cmath>

#include "compress/extend.h"
#include "compress/layers.h"
#include "model/token_merging.h"

namespace vireo::compress {
namespace {

/// What a picture costs, by block: with t of the `tokens` tokens what stands before the merging grows as t, scores as
/// its square, and what stands behind as the tokens that are left.
struct Block {
  double before = 0, scores = 0, behind = 0;
};
struct Network {
  std::vector<Block> blocks;
  double rest = 0;
  int64_t tokens = 0, prefix = 0;

  double macs(const std::vector<int64_t>& schedule) const {
    double sum = rest, t = double(tokens);
    for (size_t i = 0; i < blocks.size(); ++i) {
      const double share = t / double(tokens);
      t -= double(schedule[i]);
      sum += blocks[i].before * share + blocks[i].scores * share * share + blocks[i].behind * t / double(tokens);
    }
    return sum;
  }
};

/// The number of a node's block, "blocks.3.mlp.fc1", and what follows it; -1 for other nodes.
int64_t block_of(const std::string& name, std::string* part) {
  const std::string prefix = "blocks.";
  if (name.compare(0, prefix.size(), prefix) != 0) return -1;
  size_t at = prefix.size();
  int64_t number = 0;
  while (at < name.size() && name[at] >= '0' && name[at] <= '9' && number < 1 << 20)
    number = number * 10 + (name[at++] - '0');
  if (at == prefix.size() || at >= name.size() || name[at] != '.') return -1;
  *part = name.substr(at + 1);
  return number;
}

/// Errors: kUnsupported where the blocks are not plain.
Result<Network> network_of(const LoadedModel& model, const Graph& g) {
  Network n;
  const auto refused = [&](const char* why) {
    return fail(ErrorCode::kUnsupported,
                "compress: tokens cannot be merged in '{}' ({}): {}. A ViT, DeiT or DINOv2 that answers with classes "
                "or features can have them merged",
                model.source().path, model.architecture(), why);
  };
  for (const Node& node : g.nodes) {
    const TensorDesc& in = g.value(node.inputs[0]).desc;
    if (node.op == OpKind::kTokenMatch) return refused("they are merged already");
    if (node.op == OpKind::kTokens && node.inputs.size() > 1 && node.inputs[1] != kNoValue)
      n.prefix = g.value(node.inputs[1]).desc.shape.w();
    std::string part;
    const int64_t block = block_of(node.name, &part);
    if (node.op == OpKind::kAttention) {
      if (block < 0 || in.shape.h() != 1) return refused("its attention works on maps");
      n.tokens = in.shape.w();
    }
    const double macs = op_def(node.op).matrix >= 0 || node.op == OpKind::kAttention ? macs_of(g, node) : 0;
    if (block < 0) {
      n.rest += macs;
      continue;
    }
    if (size_t(block) >= n.blocks.size()) n.blocks.resize(size_t(block) + 1);
    Block& b = n.blocks[size_t(block)];
    (node.op == OpKind::kAttention ? b.scores : part.compare(0, 4, "attn") == 0 ? b.before : b.behind) += macs;
  }
  if (n.tokens == 0) return refused("it has no attention");
  return n;
}

std::vector<int64_t> schedule_of(const Network& n, int64_t each) {
  std::vector<int64_t> schedule(n.blocks.size(), 0);
  int64_t tokens = n.tokens;
  for (size_t i = n.blocks.size() / 4; i < n.blocks.size(); ++i) {
    if (n.blocks[i].scores == 0) continue;  // a block without attention has no keys
    schedule[i] = std::min(each, most_merged(tokens, n.prefix));
    tokens -= schedule[i];
  }
  return schedule;
}

}  // namespace

bool merges_tokens(const LoadedModel& model) {
  return model.source().extension != nullptr && !model.source().extension->merge.empty();
}

Result<MergedModel> merge_tokens(const LoadedModel& model, Head head, double percent) {
  if (merges_tokens(model))
    return fail(ErrorCode::kUnsupported, "compress: '{}' merges tokens already; use the original checkpoint",
                model.source().path);
  VIREO_ASSIGN(const Graph g, model.build(head, 1));
  VIREO_ASSIGN(const Network n, network_of(model, g));
  const double all = n.macs(std::vector<int64_t>(n.blocks.size(), 0));
  MergedModel merged;
  double nearest = 100;
  for (int64_t each = 1; each <= n.tokens; ++each) {
    const std::vector<int64_t> schedule = schedule_of(n, each);
    const double off = std::fabs(100 * (1 - n.macs(schedule) / all) - percent);
    if (off >= nearest) continue;
    nearest = off;
    merged.schedule = schedule;
  }
  if (nearest > 2)
    return fail(ErrorCode::kInvalidArgument,
                "compress: merging the {} tokens of '{}' takes {:.1f} % of the multiply-adds away and not {:g} %; give "
                "another recipe, or larger pictures",
                n.tokens, model.source().path,
                merged.schedule.empty() ? 0.0 : 100 * (1 - n.macs(merged.schedule) / all), percent);
  merged.shape.tokens = n.tokens, merged.shape.prefix = n.prefix;
  for (const Block& b : n.blocks) merged.shape.attends.push_back(b.scores > 0);
  VIREO_ASSIGN(merged.model, with_schedule(model, merged.schedule));
  return merged;
}

Result<LoadedModel> with_schedule(const LoadedModel& model, const std::vector<int64_t>& schedule) {
  VIREO_ASSIGN(OrderedJson config, configuration_of(model));
  section_of(config, "tokens") = OrderedJson{{"method", "tome"}, {"merge", schedule}};
  if (schedule.empty()) config["quantization_config"]["vireo"].erase("tokens");
  return reconfigured(model, config);
}

bool MergingShape::allows(const std::vector<int64_t>& schedule) const {
  int64_t left = tokens;
  for (size_t i = 0; i < schedule.size(); ++i) {
    const int64_t most = attends[i] ? most_merged(left, prefix) : 0;
    if (schedule[i] < 0 || schedule[i] > most) return false;
    left -= schedule[i];
  }
  return true;
}

}  // namespace vireo::compress
