// Swin Transformer (Liu et al., arXiv 2103.14030) and Swin V2 (arXiv 2111.09883) in Hugging Face's and torchvision's names.
#pragma once

#include <array>

#include "graph/constant.h"
#include "model/builder.h"
#include "model/family.h"
#include "model/json.h"

namespace vireo {

extern const Family kSwinFamily;

/// By whose rules windows are laid out on a map; they differ where a map is small.
enum class SwinRules {
  kModel,        ///< Hugging Face: a map no larger than the window (its shorter side) is one window high, unshifted
  kBackbone,     ///< Hugging Face's SwinBackbone: always the window and shift of the configuration
  kTorchvision,  ///< always that window; no shift along an axis that one window covers
};

struct SwinConfig {
  std::string source, architecture;
  bool v2 = false;
  SwinRules rules = SwinRules::kModel;  // kTorchvision: also torchvision's tensor names
  std::string prefix;                   // before trunk tensor names: "swin."
  int64_t channels = 3, image_h = 224, image_w = 224, patch_h = 4, patch_w = 4;
  int64_t embed = 96;
  std::vector<int64_t> depths{2, 2, 6, 2}, heads{3, 6, 12, 24}, pretrained{0, 0, 0, 0};  // per stage
  int64_t window = 7;
  double mlp_ratio = 4, eps = 1e-5;
  bool qkv_bias = true;
  Activation act = Activation::kGeluErf;
  int64_t classes = 0;                  // 0: no head
  std::vector<std::string> labels;

  int64_t stages() const { return int64_t(depths.size()); }
  int64_t width(int64_t stage) const { return embed << stage; }
  int64_t inner(int64_t stage) const { return int64_t(mlp_ratio * double(width(stage))); }  // of the MLP
};

/// SwinConfig or Swinv2Config of Transformers and their defaults; prefix, rules and head are left to the caller.
Result<SwinConfig> parse_swin_config(const Json& json, const std::string& source);
/// The numbers of a state dict of torchvision, which comes without a configuration.
Result<SwinConfig> infer_swin_config(const Checkpoint& weights);
Result<void> validate_swin_config(const SwinConfig& config);

/// The bias that attention adds to its scores, [heads * T, T] with T = window^2, from a table [(2 window - 1)^2, heads]: row
/// h * T + i, column j is the table's row (dy + window - 1) * (2 window - 1) + dx + window - 1 for the distance (dy, dx) from
/// token j to token i.
ConstantPtr relative_bias(ConstantPtr table, int64_t window);
/// Swin V2's table, 16 * sigmoid(W2 relu(W1 t + b1)) with t = sign(d) log2(1 + |d|) / log2(8) and d = 8 (dy, dx) / (reach - 1)
/// for reach, the window of pre-training, > 1. w1 [512, 2], b1 [1, 512], w2 [heads, 512].
ConstantPtr continuous_table(ConstantPtr w1, ConstantPtr b1, ConstantPtr w2, int64_t window, int64_t reach);

}  // namespace vireo
