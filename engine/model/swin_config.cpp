// What a Swin Transformer is, as plain numbers: from Transformers' config.json or from torchvision's tensors. (timm's:
// swin_timm.cpp.)
#include <algorithm>
#include <cmath>

#include "model/config_parts.h"
#include "model/json.h"
#include "model/swin.h"

namespace vireo {

Result<SwinConfig> parse_swin_config(const Json& json, const std::string& source) {
  Fields fields(json, source);
  SwinConfig c;
  c.source = source;
  c.architecture = first_architecture(fields);
  std::string type, act = "gelu";
  fields.string("model_type", &type);
  c.v2 = type.empty() ? c.architecture.rfind("Swinv2", 0) == 0 : type == "swinv2";
  if (c.architecture.empty()) c.architecture = type;
  if (c.architecture.find("MaskedImageModeling") != std::string::npos) {
    return fail(ErrorCode::kUnsupported,
                "'{}': {} is a model of pre-training, which Vireo does not run; expected "
                "SwinForImageClassification, Swinv2ForImageClassification or their *Model",
                source, c.architecture);
  }
  fields.integer("num_channels", &c.channels, 1, 1024);
  fields.size("image_size", &c.image_h, &c.image_w, 1, kMaxImageSide);
  fields.size("patch_size", &c.patch_h, &c.patch_w, 1, 1024);
  fields.integer("embed_dim", &c.embed, 1, kMaxWidth);
  int64_t window_w = c.window;
  fields.size("window_size", &c.window, &window_w, 1, 4096);
  if (fields.find("window_size") == nullptr) window_w = c.window;
  fields.number("mlp_ratio", &c.mlp_ratio, 1e-3, 1024);
  fields.number("layer_norm_eps", &c.eps, 0, 1);
  fields.boolean("qkv_bias", &c.qkv_bias);
  fields.string("hidden_act", &act);
  const auto list = [&](const char* key, std::vector<int64_t>* out, int64_t low, int64_t high) {
    const Json* v = fields.find(key);
    if (v == nullptr) return;
    bool good = v->is_array() && !v->empty() && v->size() <= 12;
    std::vector<int64_t> values;
    for (size_t i = 0; good && i < v->size(); ++i) {
      good = (*v)[i].is_number_integer() && (*v)[i] >= low && (*v)[i] <= high;
      if (good) values.push_back((*v)[i].get<int64_t>());
    }
    if (!good) return fields.reject(key, *v, fmt::format("a list of 1 to 12 numbers from {} to {}", low, high));
    *out = std::move(values);
  };
  list("depths", &c.depths, 1, kMaxLayers);
  list("num_heads", &c.heads, 1, kMaxWidth);
  c.pretrained.assign(c.depths.size(), 0);
  list("pretrained_window_sizes", &c.pretrained, 0, 4096);
  if (c.pretrained.size() > c.depths.size())
    c.pretrained.resize(c.depths.size());  // files with fewer stages keep the default of 4
  bool absolute = false;
  fields.boolean("use_absolute_embeddings", &absolute);
  VIREO_TRY(fields.status());
  if (absolute) {
    return fail(ErrorCode::kUnsupported,
                "'{}': use_absolute_embeddings is true, position embeddings that no published Swin has "
                "and Vireo does not implement; expected false",
                source);
  }
  if (window_w != c.window) {
    return fail(ErrorCode::kUnsupported, "'{}': window_size is {} x {}, expected a square window", source, c.window,
                window_w);
  }
  VIREO_ASSIGN(c.act, parse_activation(act, source, "hidden_act"));
  return c;
}

Result<void> validate_swin_config(const SwinConfig& c) {
  if (c.heads.size() != c.depths.size() || c.pretrained.size() != c.depths.size()) {
    return fail(ErrorCode::kCorrupt,
                "'{}': depths has {} stages, num_heads {} and pretrained_window_sizes {}; expected as many", c.source,
                c.depths.size(), c.heads.size(), c.pretrained.size());
  }
  if (c.act == Activation::kQuickGelu) {
    return fail(ErrorCode::kUnsupported,
                "'{}': hidden_act quick_gelu is not supported in Swin; expected a gelu, silu or relu", c.source);
  }
  if (c.width(c.stages() - 1) > kMaxWidth) {
    return fail(ErrorCode::kCorrupt,
                "'{}': an embed_dim of {} doubles to more than {} in {} stages; check embed_dim and depths", c.source,
                c.embed, kMaxWidth, c.stages());
  }
  for (int64_t s = 0; s < c.stages(); ++s) {
    const int64_t heads = c.heads[size_t(s)];
    if (heads < 1 || c.width(s) % heads != 0) {
      return fail(ErrorCode::kCorrupt,
                  "'{}': the width {} of stage {} is not divisible by its {} attention heads; check "
                  "embed_dim and num_heads",
                  c.source, c.width(s), s + 1, heads);
    }
    if (!(c.mlp_ratio > 0 && c.mlp_ratio <= 64) || c.inner(s) < 1 || c.inner(s) > 16 * kMaxWidth) {
      return fail(ErrorCode::kCorrupt, "'{}': mlp_ratio {} gives an MLP of {} in stage {}, expected 1 to {}", c.source,
                  c.mlp_ratio, c.inner(s), s + 1, 16 * kMaxWidth);
    }
    if (c.width(s) / heads > kMaxHeadDim) {
      return fail(ErrorCode::kUnsupported,
                  "'{}': width {} with {} heads in stage {} gives a head dimension of {}, expected at "
                  "most {}",
                  c.source, c.width(s), heads, s + 1, c.width(s) / heads, kMaxHeadDim);
    }
  }
  if (!c.windows.empty() && c.windows.size() != c.depths.size()) {
    return fail(ErrorCode::kCorrupt, "'{}': window_size has {} numbers for {} stages; expected one or as many",
                c.source, c.windows.size(), c.depths.size());
  }
  for (int64_t s = 0; s < c.stages(); ++s) {
    const int64_t heads = c.heads[size_t(s)], window = c.window_of(s);
    // A table of bias has heads x tokens x tokens entries: some small numbers in a config must not ask for gigabytes.
    const int64_t tokens = std::min<int64_t>(window, 64) * std::min<int64_t>(window, 64);
    if (heads > (int64_t(1) << 26) / std::max<int64_t>(1, tokens * tokens)) {
      return fail(
          ErrorCode::kUnsupported,
          "'{}': {} heads with a window_size of {} need a position bias of more than {} values; check num_heads "
          "and window_size",
          c.source, heads, window, int64_t(1) << 26);
    }
    if (window > 64) {
      return fail(ErrorCode::kUnsupported, "'{}': window_size is {}, expected at most 64", c.source, window);
    }
  }
  if (!c.labels.empty() && int64_t(c.labels.size()) != c.classes) {
    return fail(ErrorCode::kCorrupt, "'{}': it names {} labels for {} classes", c.source, c.labels.size(), c.classes);
  }
  return {};
}

namespace {

/// A published Swin of patches of 4, stages of 2, 2, `third` and 2 blocks, and heads that double from stage to stage:
/// what tells it from the others, and the pictures that it was made for, which its tensors do not show.
struct PublishedSwin {
  const char* name;
  bool v2;
  int64_t embed, third, heads, window, image;
};

// timm's swin_transformer.py and swin_transformer_v2.py; torchvision's are among them. Not those of V2 whose windows
// grew after training (window12to16, window12to24), nor base's window of 16, which one of them shares: their position
// tables follow the first window.
constexpr PublishedSwin kPublishedSwins[] = {
    {"swin_tiny_patch4_window7_224", false, 96, 6, 3, 7, 224},
    {"swin_small_patch4_window7_224", false, 96, 18, 3, 7, 224},
    {"swin_base_patch4_window7_224", false, 128, 18, 4, 7, 224},
    {"swin_base_patch4_window12_384", false, 128, 18, 4, 12, 384},
    {"swin_large_patch4_window7_224", false, 192, 18, 6, 7, 224},
    {"swin_large_patch4_window12_384", false, 192, 18, 6, 12, 384},
    {"swinv2_tiny_window8_256", true, 96, 6, 3, 8, 256},
    {"swinv2_tiny_window16_256", true, 96, 6, 3, 16, 256},
    {"swinv2_small_window8_256", true, 96, 18, 3, 8, 256},
    {"swinv2_small_window16_256", true, 96, 18, 3, 16, 256},
    {"swinv2_base_window8_256", true, 128, 18, 4, 8, 256},
    {"swinv2_base_window12_192", true, 128, 18, 4, 12, 192},
    {"swinv2_large_window12_192", true, 192, 18, 6, 12, 192},
};

const PublishedSwin* published(const SwinConfig& c) {
  for (const PublishedSwin& p : kPublishedSwins)
    if (c.v2 == p.v2 && c.embed == p.embed && c.window == p.window &&
        c.depths == std::vector<int64_t>{2, 2, p.third, 2} &&
        c.heads == std::vector<int64_t>{p.heads, 2 * p.heads, 4 * p.heads, 8 * p.heads} && c.mlp_ratio == 4 &&
        c.qkv_bias && c.channels == 3 && c.patch_h == 4 && c.patch_w == 4)
      return &p;
  return nullptr;
}

}  // namespace

Result<SwinConfig> infer_swin_config(const Checkpoint& weights) {
  SwinConfig c;
  c.source = weights.source();
  const bool timm = is_timm_swin(weights);
  c.architecture = "SwinTransformer";
  c.rules = timm ? SwinRules::kTimm : SwinRules::kTorchvision;
  c.merge_behind = timm && weights.has("layers.0.downsample.reduction.weight");
  const std::string patch_name = timm ? "patch_embed.proj.weight" : "features.0.0.weight";
  const std::string first = timm ? "layers.0.blocks.0." : "features.1.0.";
  const auto shape = [&](const std::string& name) {
    const TensorView* view = weights.find(name);
    return view == nullptr ? std::vector<int64_t>() : view->shape;
  };
  const auto unclear = [&](const std::string& what, const std::string& tensor) {
    return fail(ErrorCode::kInvalidArgument, "'{}' has no config.json and its tensor '{}' does not tell {}; {}",
                weights.source(), tensor, what, kNameTheModel);
  };
  const std::vector<int64_t> patch = shape(patch_name);
  if (patch.size() != 4) return unclear("the patch size", patch_name);
  for (int64_t v : patch)
    if (v < 1 || v > kMaxWidth) return unclear("the patch size", patch_name);
  c.embed = patch[0], c.channels = patch[1], c.patch_h = patch[2], c.patch_w = patch[3];
  c.v2 = weights.has(first + "attn.logit_scale");
  c.depths.clear();
  c.heads.clear();
  for (int64_t s = 0; s < 12; ++s) {
    const std::string at = timm ? fmt::format("layers.{}.blocks.", s) : fmt::format("features.{}.", 2 * s + 1);
    int64_t depth = 0;
    while (depth < kMaxLayers && weights.has(fmt::format("{}{}.norm1.weight", at, depth))) ++depth;
    if (depth == 0) break;
    const std::string table = at + (c.v2 ? "0.attn.logit_scale" : "0.attn.relative_position_bias_table");
    const std::vector<int64_t> size = shape(table);
    if (size.size() < 2 || (c.v2 ? size[0] : size[1]) < 1) return unclear("the number of heads", table);
    c.depths.push_back(depth);
    c.heads.push_back(c.v2 ? size[0] : size[1]);
  }
  if (c.depths.empty()) return unclear("the number of blocks", first + "norm1.weight");
  c.pretrained.assign(c.depths.size(), 0);
  // V1: (2 window - 1)^2 rows. V2's file holds a buffer of the window's tokens squared.
  const std::string table = first + (c.v2 ? "attn.relative_position_index" : "attn.relative_position_bias_table");
  const std::vector<int64_t> rows = shape(table);
  // torchvision's index is flat, the authors' is [tokens, tokens].
  const int64_t side = rows.empty() ? 0 : c.v2 && rows.size() == 2 ? rows[0] : square_side(rows[0]);
  c.window = c.v2 ? square_side(side) : (side + 1) / 2;
  if (c.window < 1 || (!c.v2 && side % 2 == 0)) return unclear("the window", table);
  const std::string fc1 = first + (timm ? "mlp.fc1.weight" : "mlp.0.weight");
  const std::vector<int64_t> hidden = shape(fc1);
  if (hidden.size() != 2) return unclear("the MLP's width", fc1);
  c.mlp_ratio = double(hidden[0]) / double(c.embed);
  c.qkv_bias = weights.has(first + (timm && c.v2 ? "attn.q_bias" : "attn.qkv.bias"));
  const std::vector<int64_t> head = shape(timm && !c.merge_behind ? "head.fc.weight" : "head.weight");
  c.classes = head.empty() ? 0 : head[0];
  // Tensors do not show the size of the pictures, which says how windows fit, nor the activation: only a network that
  // is known by them does.
  const PublishedSwin* known = published(c);
  if (known == nullptr)
    return fail(ErrorCode::kInvalidArgument,
                "'{}' has no config.json and its tensors are those of no published Swin (width {}, {} stages, window "
                "{}), so that they do "
                "not tell the size of its pictures; {}",
                weights.source(), c.embed, c.stages(), c.window, kNameTheModel);
  c.image_h = c.image_w = known->image;
  c.assumed = fmt::format(
      "'{}' has no config.json: taken for {}{} by its tensors (window {}, pictures of {} x {}, GELU, LayerNorm eps "
      "{}); "
      "where it is another network, name it with --config FILE or --architecture NAME",
      weights.source(), known->name, timm ? "" : " in torchvision's names", c.window, c.image_h, c.image_w, c.eps);
  VIREO_TRY(validate_swin_config(c));
  return c;
}

}  // namespace vireo
