#include "model/config.h"

#include <cmath>

#include "model/config_parts.h"
#include "model/json.h"

namespace vireo {
namespace {

constexpr const char* kHfPatch = "embeddings.patch_embeddings.projection.weight";
constexpr const char* kTimmPatch = "patch_embed.proj.weight";

}  // namespace

Result<Activation> parse_activation(const std::string& name, const std::string& source, const char* key) {
  struct Row {
    const char* name;
    Activation act;
  };
  static constexpr Row kRows[] = {
      {"gelu", Activation::kGeluErf},
      {"gelu_python", Activation::kGeluErf},
      {"gelu_new", Activation::kGeluTanh},
      {"gelu_fast", Activation::kGeluTanh},
      {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"gelu_accurate", Activation::kGeluTanh},
      {"gelu_python_tanh", Activation::kGeluTanh},
      {"gelu_tanh", Activation::kGeluTanh},
      {"quick_gelu", Activation::kQuickGelu},
      {"silu", Activation::kSilu},
      {"swish", Activation::kSilu},
      {"relu", Activation::kRelu},
  };
  for (const Row& row : kRows) {
    if (name == row.name) return row.act;
  }
  return fail(ErrorCode::kUnsupported,
              "'{}': key '{}' names the activation '{}', which Vireo does not implement; expected "
              "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, quick_gelu, silu or relu",
              source, key, name);
}

bool find_prefix(const Checkpoint& weights, const std::string& suffix, const std::string& wish, std::string* prefix) {
  if (weights.has(wish + suffix)) {
    *prefix = wish;
    return true;
  }
  for (const auto& [name, view] : weights.tensors()) {
    if (name.size() < suffix.size() || name.compare(name.size() - suffix.size(), suffix.size(), suffix) != 0) continue;
    const std::string found = name.substr(0, name.size() - suffix.size());
    if (!found.empty() && found.back() != '.') continue;
    *prefix = found;
    return true;
  }
  return false;
}

int64_t square_side(int64_t count) {
  const int64_t side = int64_t(std::llround(std::sqrt(double(count))));
  return side > 0 && side * side == count ? side : 0;
}

int64_t tensor_rows(const Checkpoint& weights, const std::string& name) {
  const TensorView* view = weights.find(name);
  if (view == nullptr || view->shape.size() < 2) return 0;
  return view->shape[view->shape.size() - 2];
}

bool is_vit_config(const std::string& text) {
  const Json json = parse_json(text);
  if (!json.is_object()) return false;
  std::string name;
  if (const Json* architecture = find_member(json, "architecture")) {
    if (!architecture->is_string()) return false;
    name = architecture->get<std::string>();
    for (const char* start : {"vit_", "deit_", "deit3_", "flexivit_", "eva_large_", "test_vit"}) {
      if (name.rfind(start, 0) == 0) return true;
    }
    return false;
  }
  const Json* type = find_member(json, "model_type");
  if (type != nullptr && type->is_string()) {
    name = type->get<std::string>();
    return name == "vit" || name == "deit" || name == "dinov2" || name == "dinov2_with_registers";
  }
  const Json* list = find_member(json, "architectures");
  if (list == nullptr || !list->is_array() || list->empty() || !(*list)[0].is_string()) return false;
  name = (*list)[0].get<std::string>();
  return name.rfind("ViT", 0) == 0 || name.rfind("DeiT", 0) == 0 || name.rfind("Dinov2", 0) == 0;
}

bool is_vit_checkpoint(const Checkpoint& weights) {
  std::string prefix;
  if (find_prefix(weights, kHfPatch, "", &prefix)) return true;
  return find_prefix(weights, kTimmPatch, "", &prefix) &&
         !weights.has(prefix + "layers.0.blocks.0.norm1.weight");  // that is Swin
}

Result<VitConfig> parse_vit_config(const std::string& text, const std::string& source, const Checkpoint* weights) {
  VIREO_ASSIGN(const Json json, parse_json_object(text, source));
  const bool timm = find_member(json, "architecture") != nullptr;
  VIREO_ASSIGN(VitConfig config,
               timm ? parse_timm_config(json, source, weights) : parse_hf_config(json, source, weights));
  VIREO_TRY(validate_vit_config(config));
  return config;
}

Result<void> validate_vit_config(const VitConfig& c) {
  const auto bad = [&](const std::string& what) { return fail(ErrorCode::kCorrupt, "'{}': {}", c.source, what); };
  const auto in_range = [](int64_t v, int64_t low, int64_t high) { return v >= low && v <= high; };
  if (!in_range(c.hidden, 1, kMaxWidth) || !in_range(c.mlp, 1, 16 * kMaxWidth) || !in_range(c.layers, 1, kMaxLayers)) {
    return bad(fmt::format("{} layers of width {} with an MLP of {} are beyond all reason; check the configuration",
                           c.layers, c.hidden, c.mlp));
  }
  if (c.heads < 1 || c.hidden % c.heads != 0) {
    return bad(
        fmt::format("the width {} is not divisible by {} attention heads; check hidden_size and "
                    "num_attention_heads (timm: embed_dim and num_heads)",
                    c.hidden, c.heads));
  }
  if (c.hidden / c.heads > kMaxHeadDim) {
    return fail(ErrorCode::kUnsupported,
                "'{}': width {} with {} heads gives a head dimension of {}, expected at most {}", c.source, c.hidden,
                c.heads, c.hidden / c.heads, kMaxHeadDim);
  }
  if (!in_range(c.image_h, 1, kMaxImageSide) || !in_range(c.image_w, 1, kMaxImageSide) ||
      !in_range(c.patch_h, 1, kMaxImageSide) || !in_range(c.patch_w, 1, kMaxImageSide)) {
    return bad(fmt::format("an image of {} x {} in patches of {} x {} is out of range", c.image_h, c.image_w, c.patch_h,
                           c.patch_w));
  }
  if (c.patch_h > c.image_h || c.patch_w > c.image_w) {
    return bad(fmt::format("the patch ({} x {}) is larger than the image ({} x {}); check patch_size and image_size",
                           c.patch_h, c.patch_w, c.image_h, c.image_w));
  }
  const int64_t patches = c.grid_h() * c.grid_w();
  if (patches > kMaxTokens || patches * c.hidden > kMaxTokenFloats) {
    return bad(
        fmt::format("an image of {} x {} gives {} patches of width {}, more than any machine should be asked for; "
                    "check image_size, patch_size and hidden_size",
                    c.image_h, c.image_w, patches, c.hidden));
  }
  if (!in_range(c.channels, 1, 1024)) return bad(fmt::format("{} picture channels are out of range", c.channels));
  if (!in_range(c.registers, 0, 4096)) return bad(fmt::format("{} register tokens are out of range", c.registers));
  if (!(c.eps >= 0) || c.eps > 1) return bad(fmt::format("a LayerNorm eps of {} is out of range", c.eps));
  if (c.pool == Pool::kToken && !c.class_token) {
    return bad("pooling takes the class token, but class_token is false; set global_pool to 'avg'");
  }
  if (c.head != HeadKind::kNone && !in_range(c.classes, 1, kMaxClasses)) {
    return bad(fmt::format("{} classes are out of range", c.classes));
  }
  if (!c.labels.empty() && c.head != HeadKind::kNone && int64_t(c.labels.size()) != c.classes) {
    return bad(fmt::format("it names {} labels for {} classes", c.labels.size(), c.classes));
  }
  return {};
}

}  // namespace vireo
