// Hugging Face's config.json: ViTConfig, DeiTConfig, Dinov2Config, Dinov2WithRegistersConfig and their defaults
// (Transformers 4.38; registers 4.48).
#include <cstdlib>

#include "model/config_parts.h"
#include "model/json.h"

namespace vireo {
namespace {

/// model_type, or what the class name implies when an old file lacks it.
Result<std::string> family_of(Fields& fields, const std::string& architecture) {
  std::string type;
  fields.string("model_type", &type);
  VIREO_TRY(fields.status());
  if (type.empty()) {
    if (architecture.rfind("Dinov2WithRegisters", 0) == 0) type = "dinov2_with_registers";
    else if (architecture.rfind("Dinov2", 0) == 0) type = "dinov2";
    else if (architecture.rfind("DeiT", 0) == 0) type = "deit";
    else if (architecture == "ViTModel" || architecture.rfind("ViTFor", 0) == 0) type = "vit";
  }
  if (type.empty()) {
    return fail(ErrorCode::kCorrupt,
                "'{}' has neither 'model_type' (Hugging Face) nor 'architecture' (timm), so the kind "
                "of model is unknown; expected a model's config.json",
                fields.source());
  }
  if (type != "vit" && type != "deit" && type != "dinov2" && type != "dinov2_with_registers") {
    return fail(ErrorCode::kUnsupported,
                "'{}': model_type '{}' is not supported; expected vit, deit, dinov2 or "
                "dinov2_with_registers",
                fields.source(), type);
  }
  return type;
}

/// Which head the class name asks for; an absent or unknown name leaves it to the tensors.
HeadKind head_of(const std::string& architecture, bool dino, const Checkpoint* weights, bool has_labels) {
  const HeadKind linear = dino ? HeadKind::kTokenAndMean : HeadKind::kLinear;
  if (ends_with(architecture, "ForImageClassificationWithTeacher")) return HeadKind::kDistilled;
  if (ends_with(architecture, "ForImageClassification")) return linear;
  for (const char* end : {"Model", "Backbone", "ForMaskedImageModeling", "ForPreTraining"}) {
    if (ends_with(architecture, end)) return HeadKind::kNone;
  }
  if (weights == nullptr) return has_labels ? linear : HeadKind::kNone;
  if (weights->has("distillation_classifier.weight") || weights->has("head_dist.weight")) return HeadKind::kDistilled;
  for (const char* head : {"classifier.weight", "head.weight", "linear_head.weight"}) {
    if (weights->has(head)) return linear;
  }
  return HeadKind::kNone;
}

}  // namespace

Result<void> read_labels(const Json& map, const std::string& source, std::vector<std::string>* labels) {
  const auto text = [](const Json& v) { return v.is_string() ? v.get<std::string>() : json_text(v); };
  if (map.is_array()) {
    for (const Json& v : map) labels->push_back(text(v));
    return {};
  }
  if (!map.is_object()) {
    return fail(ErrorCode::kCorrupt, "'{}': key 'id2label' is {}, expected an object from class numbers to names",
                source, json_text(map));
  }
  labels->assign(map.size(), std::string());
  for (const auto& [key, value] : map.items()) {
    const bool digits = !key.empty() && key.size() <= 9 && key.find_first_not_of("0123456789") == std::string::npos;
    const size_t index = digits ? size_t(std::strtoul(key.c_str(), nullptr, 10)) : map.size();
    if (index >= map.size()) {
      return fail(ErrorCode::kCorrupt,
                  "'{}': id2label has {} entries and names class '{}'; expected the numbers from 0 to "
                  "{}",
                  source, map.size(), key.substr(0, 40), int64_t(map.size()) - 1);
    }
    (*labels)[index] = text(value);
  }
  return {};
}

std::string first_architecture(const Fields& fields) {
  const Json* list = fields.find("architectures");
  if (list == nullptr || !list->is_array() || list->empty() || !(*list)[0].is_string()) return std::string();
  return (*list)[0].get<std::string>();
}

Result<void> read_classes(Fields& fields, const Checkpoint* weights, const std::string& head, int64_t* classes,
                          std::vector<std::string>* labels) {
  int64_t num_labels = -1;
  fields.integer("num_labels", &num_labels, 0, kMaxClasses);
  VIREO_TRY(fields.status());
  // PretrainedConfig: the length of id2label, else num_labels, else 2. A file with neither is trusted to its tensors.
  if (const Json* id2label = fields.find("id2label")) {
    VIREO_TRY(read_labels(*id2label, fields.source(), labels));
    *classes = int64_t(labels->size());
  } else if (num_labels >= 0) {
    *classes = num_labels;
  } else {
    const TensorView* view = weights != nullptr ? weights->find(head) : nullptr;
    *classes = view != nullptr && !view->shape.empty() ? view->shape[0] : 2;
  }
  return {};
}

Result<VitConfig> parse_hf_config(const Json& json, const std::string& source, const Checkpoint* weights) {
  Fields fields(json, source);
  VitConfig c;
  c.source = source;
  c.architecture = first_architecture(fields);
  VIREO_ASSIGN(c.model_type, family_of(fields, c.architecture));
  const bool registers = c.model_type == "dinov2_with_registers";
  const bool dino = registers || c.model_type == "dinov2";
  const bool deit = c.model_type == "deit";
  if (c.architecture.empty()) c.architecture = c.model_type;

  fields.integer("hidden_size", &c.hidden, 1, kMaxWidth);
  fields.integer("num_hidden_layers", &c.layers, 1, kMaxLayers);
  fields.integer("num_attention_heads", &c.heads, 1, kMaxWidth);
  fields.size("image_size", &c.image_h, &c.image_w, 1, kMaxImageSide);
  fields.size("patch_size", &c.patch_h, &c.patch_w, 1, kMaxImageSide);
  fields.integer("num_channels", &c.channels, 1, 1024);
  c.eps = dino ? 1e-6 : 1e-12;
  fields.number("layer_norm_eps", &c.eps, 0, 1);
  fields.boolean("qkv_bias", &c.qkv_bias);
  std::string act = "gelu";
  fields.string("hidden_act", &act);
  if (dino) {
    double ratio = 4;
    fields.number("mlp_ratio", &ratio, 1e-3, 1024);
    fields.boolean("use_swiglu_ffn", &c.swiglu);
    fields.number("layerscale_value", &c.layerscale_value, -1e6, 1e6);
    c.layerscale = true;
    // As Dinov2MLP and Dinov2SwiGLUFFN compute them, truncations included.
    c.mlp = int64_t(double(c.hidden) * ratio);
    if (c.swiglu) c.mlp = (int64_t(double(c.mlp) * 2 / 3) + 7) / 8 * 8;
  } else {
    fields.integer("intermediate_size", &c.mlp, 1, 16 * kMaxWidth);
  }
  if (registers) {
    c.registers = 4;
    fields.integer("num_register_tokens", &c.registers, 0, 4096);
  }
  VIREO_TRY(fields.status());
  if (!c.swiglu) {
    VIREO_ASSIGN(c.act, parse_activation(act, source, "hidden_act"));
  }
  c.distilled = deit;
  c.position_prefix = deit ? 2 : 1;
  c.resample = registers ? PosResample::kBicubicAntialias : dino ? PosResample::kBicubicOffset : PosResample::kBicubic;

  // Bare *Model checkpoints have no prefix; the others carry the base model's name.
  const bool bare =
      c.architecture.size() >= 5 && (ends_with(c.architecture, "Model") || ends_with(c.architecture, "Backbone"));
  c.prefix = bare ? "" : c.model_type + ".";
  if (weights != nullptr &&
      !find_prefix(*weights, "embeddings.patch_embeddings.projection.weight", c.prefix, &c.prefix) &&
      find_prefix(*weights, "patch_embed.proj.weight", c.prefix, &c.prefix)) {
    c.naming = Naming::kTimm;  // this configuration beside the weights as their authors published them:
                               // facebookresearch/dinov2
  }

  c.head = head_of(c.architecture, dino, weights,
                   fields.find("id2label") != nullptr || fields.find("num_labels") != nullptr);
  const bool authors = c.naming == Naming::kTimm;
  VIREO_TRY(read_classes(fields, weights,
                         authors
                             ? (weights->has("linear_head.weight") ? "linear_head.weight" : c.prefix + "head.weight")
                         : c.head == HeadKind::kDistilled ? "cls_classifier.weight"
                                                          : "classifier.weight",
                         &c.classes, &c.labels));
  if (c.classes == 0) c.head = HeadKind::kNone;
  if (c.head == HeadKind::kNone) {
    c.classes = 0;
    c.labels.clear();
  }
  return c;
}

}  // namespace vireo
