// What a Vision Transformer is, as plain numbers: read from a Hugging Face or timm config.json, or from tensor shapes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace vireo {

class Checkpoint;

/// Whose tensor names and rules the checkpoint follows.
enum class Naming { kHuggingFace, kTimm };

enum class Activation { kGeluErf, kGeluTanh, kQuickGelu, kSilu, kRelu };

/// How a position table is fitted to another grid.
enum class PosResample {
  kBicubic,           ///< torch bicubic, a = -0.75, to the size (HF ViT and DeiT)
  kBicubicOffset,     ///< the same with scale (size + 0.1) / table size (DINOv2, HF Dinov2Model of Transformers 4.38)
  kBicubicAntialias,  ///< torch antialiased bicubic, a = -0.5 (timm, DINOv2 with registers)
};

enum class Pool { kToken, kMean, kNone };

/// Where the last LayerNorm stands.
enum class FinalNorm { kBeforePool, kAfterPool, kNone };

enum class HeadKind {
  kNone,
  kLinear,        ///< one linear on the pooled vector
  kDistilled,     ///< mean of a linear on the class token and one on the distillation token
  kTokenAndMean,  ///< one linear on class token ++ mean of patch tokens (HF DINOv2)
};

struct VitConfig {
  std::string source;        // where it was read, for messages
  std::string architecture;  // "ViTForImageClassification", "vit_tiny_patch16_224"
  std::string model_type;    // HF: "vit", "deit", "dinov2", "dinov2_with_registers"; timm: "timm"
  Naming naming = Naming::kHuggingFace;
  std::string prefix;  // before trunk tensor names: "vit."

  int64_t hidden = 768;
  int64_t layers = 12;
  int64_t heads = 12;
  int64_t mlp = 3072;                    // width between fc1's activation and fc2 (SwiGLU: after gating)
  int64_t image_h = 224, image_w = 224;  // the size the position table was made for
  int64_t patch_h = 16, patch_w = 16;
  int64_t channels = 3;
  double eps = 1e-12;
  Activation act = Activation::kGeluErf;
  bool swiglu = false;
  bool qkv_bias = true;
  bool proj_bias = true;  // biases of the attention projection and the MLP
  bool layerscale = false;
  double layerscale_value = 1;  // for random weights
  bool patch_bias = true;
  bool pre_norm = false;  // LayerNorm between the tokens and the first block (CLIP)

  bool class_token = true;
  bool distilled = false;  // a distillation token after the class token
  int64_t registers = 0;   // register tokens after those
  bool position = true;
  int64_t position_prefix = 1;  // rows of the position table that belong to prefix tokens, in their order
  PosResample resample = PosResample::kBicubic;

  FinalNorm final_norm = FinalNorm::kBeforePool;
  Pool pool = Pool::kToken;
  bool pool_prefix = false;  // kMean also counts the prefix tokens
  HeadKind head = HeadKind::kNone;
  int64_t classes = 0;
  std::vector<std::string> labels;  // empty when the configuration names none
  std::string assumed;              // a sentence: what the tensors do not tell and was taken for granted

  int64_t grid_h() const { return image_h / patch_h; }
  int64_t grid_w() const { return image_w / patch_w; }
  int64_t prefix_tokens() const { return (class_token ? 1 : 0) + (distilled ? 1 : 0) + registers; }
};

/// Reads a config.json. `weights` may be null (random weights); where it is given, what the file leaves open (classes,
/// head, prefix) is taken from the tensors. Errors: kCorrupt (not JSON, a key of a wrong type, absurd or
/// contradictory), kUnsupported (another model type, an option Vireo does not implement).
Result<VitConfig> parse_vit_config(const std::string& text, const std::string& source, const Checkpoint* weights);

/// True when the text is an HF or timm configuration of a family that parse_vit_config reads.
bool is_vit_config(const std::string& text);

/// For a checkpoint without config.json: what its names and shapes tell, and the rest from the one published network
/// that has them. Errors: kUnsupported (tensors of another network), kInvalidArgument (no published network, or
/// several).
Result<VitConfig> infer_vit_config(const Checkpoint& weights);

/// True when the checkpoint's tensor names are those of a ViT (HF or timm).
bool is_vit_checkpoint(const Checkpoint& weights);

/// Checks the numbers against each other and against what the engine can run.
Result<void> validate_vit_config(const VitConfig& config);

}  // namespace vireo
