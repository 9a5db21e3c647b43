// Swin Transformer (Liu et al., arXiv 2103.14030) and Swin V2 (arXiv 2111.09883) in Hugging Face's, torchvision's and
// timm's names.
#pragma once

#include <array>

#include "graph/constant.h"
#include "model/builder.h"
#include "model/family.h"
#include "model/fields.h"

namespace vireo {

extern const Family kSwinFamily;

/// By whose rules windows are laid out on a map; they differ where a map is small.
enum class SwinRules {
  kModel,        ///< Hugging Face: a map no larger than the window (its shorter side) is one window high, unshifted
  kBackbone,     ///< Hugging Face's SwinBackbone: always the window and shift of the configuration
  kTorchvision,  ///< always that window; no shift along an axis that one window covers
  kTimm,         ///< a map no larger than the window is one window, unshifted; maps are counted rounding down
};

struct SwinConfig {
  std::string source, architecture;
  bool v2 = false;
  SwinRules rules = SwinRules::kModel;  // kTorchvision and kTimm: also their tensor names
  bool merge_behind =
      false;           // timm before 0.9 and the authors: layers.N holds the merging behind stage N, not before it
  std::string prefix;  // before trunk tensor names: "swin."
  int64_t channels = 3, image_h = 224, image_w = 224, patch_h = 4, patch_w = 4;
  int64_t embed = 96;
  std::vector<int64_t> depths{2, 2, 6, 2}, heads{3, 6, 12, 24}, pretrained{0, 0, 0, 0};  // per stage
  int64_t window = 7;
  std::vector<int64_t> windows;  // timm: one per stage; empty: `window` in all
  double mlp_ratio = 4, eps = 1e-5;
  bool qkv_bias = true;
  Activation act = Activation::kGeluErf;
  int64_t classes = 0;  // 0: no head
  std::vector<std::string> labels;
  std::string assumed;  // a sentence: what the tensors do not tell and was taken for granted

  int64_t window_of(int64_t stage) const { return windows.empty() ? window : windows[size_t(stage)]; }
  int64_t stages() const { return int64_t(depths.size()); }
  int64_t width(int64_t stage) const { return embed << stage; }
  int64_t inner(int64_t stage) const { return int64_t(mlp_ratio * double(width(stage))); }  // of the MLP
};

/// SwinConfig or Swinv2Config of Transformers and their defaults; prefix, rules and head are left to the caller.
Result<SwinConfig> parse_swin_config(const Json& json, const std::string& source);
/// timm's config.json of swin_* and swinv2_*. `weights` may be null.
Result<SwinConfig> parse_timm_swin_config(const Json& json, const std::string& source, const Checkpoint* weights);
/// True for a state dict in timm's (and the authors') names.
bool is_timm_swin(const Checkpoint& weights);
/// The numbers of a state dict of torchvision or timm that comes without a configuration.
Result<SwinConfig> infer_swin_config(const Checkpoint& weights);
Result<void> validate_swin_config(const SwinConfig& config);

/// The bias that attention adds to its scores, [heads * T, T] with T = window^2, from a table [(2 window - 1)^2,
/// heads]: row h * T + i, column j is the table's row (dy + window - 1) * (2 window - 1) + dx + window - 1 for the
/// distance (dy, dx) from token j to token i.
ConstantPtr relative_bias(ConstantPtr table, int64_t window);
/// Swin V2's table, 16 * sigmoid(W2 relu(W1 t + b1)) with t = sign(d) log2(1 + |d|) / log2(8) and d = 8 (dy, dx) /
/// (reach - 1) for reach, the window of pre-training, > 1. w1 [512, 2], b1 [1, 512], w2 [heads, 512].
ConstantPtr continuous_table(ConstantPtr w1, ConstantPtr b1, ConstantPtr w2, int64_t window, int64_t reach);

}  // namespace vireo
