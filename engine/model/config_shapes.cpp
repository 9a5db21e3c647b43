// A checkpoint without config.json: the numbers of a ViT as its tensor names and shapes tell them.
#include <algorithm>

#include "model/config_parts.h"

namespace vireo {
namespace {

/// How many blocks `prefix`0, `prefix`1, ... have the tensor `suffix`.
int64_t count_blocks(const Checkpoint& weights, const std::string& prefix, const std::string& suffix) {
  int64_t n = 0;
  while (n < kMaxLayers && weights.has(prefix + std::to_string(n) + suffix)) ++n;
  return n;
}

Error unclear(const Checkpoint& weights, const std::string& what) {
  return fail(ErrorCode::kInvalidArgument, "'{}' has no config.json and its tensors do not tell {}; {}",
              weights.source(), what, kNameTheModel);
}

/// The number of columns of a matrix, or 0.
int64_t tensor_cols(const Checkpoint& weights, const std::string& name) {
  const TensorView* view = weights.find(name);
  return view == nullptr || view->shape.size() != 2 ? 0 : view->shape[1];
}

// ---- what shapes cannot tell, for networks that are known by theirs

/// A published ViT: what its tensors show, and how many heads it has, which they do not show.
struct Published {
  const char* name;  // % stands for the patch; timm's lack the picture's size
  int64_t hidden, layers, mlp, heads;
  const char* shows = "";  // as traits() writes it
  int64_t patch = 0;       // 0: any
};

/// What the tensors show beside sizes, one letter each: d a distillation token, n no class token, 1 to 9 registers, e
/// positions without rows for all of those tokens, s LayerScale, b no bias of q, k and v, g SwiGLU, f a norm behind
/// pooling, x no last norm.
std::string traits(const VitConfig& c) {
  std::string t;
  if (c.distilled) t += 'd';
  if (!c.class_token) t += 'n';
  if (c.registers > 0) t += char('0' + std::min(c.registers, int64_t(9)));
  if (c.position_prefix < c.prefix_tokens()) t += 'e';
  if (c.layerscale) t += 's';
  if (!c.qkv_bias) t += 'b';
  if (c.swiglu) t += 'g';
  if (c.final_norm == FinalNorm::kAfterPool) t += 'f';
  if (c.final_norm == FinalNorm::kNone) t += 'x';
  return t;
}

// timm's vision_transformer.py and deit.py, less the networks that another one has the tensors of: CLIP (gelu or
// quick_gelu), SigLIP and vit_base_patch16_gap (12 or 16 heads, gelu or its approximation), EVA's ViT-L (which mean is
// pooled).
constexpr Published kTimmPublished[] = {
    {"vit_tiny_patch%", 192, 12, 768, 3},
    {"vit_small_patch%", 384, 12, 1536, 6},
    {"vit_base_patch%", 768, 12, 3072, 12},
    {"vit_large_patch%", 1024, 24, 4096, 16},
    {"vit_huge_patch%", 1280, 32, 5120, 16},
    {"vit_giant_patch%", 1408, 40, 6144, 16},
    {"vit_gigantic_patch%", 1664, 48, 8192, 16},
    {"vit_base_patch%_miil", 768, 12, 3072, 12, "b"},
    {"deit_tiny_distilled_patch%", 192, 12, 768, 3, "d"},
    {"deit_small_distilled_patch%", 384, 12, 1536, 6, "d"},
    {"deit_base_distilled_patch%", 768, 12, 3072, 12, "d"},
    {"deit3_small_patch%", 384, 12, 1536, 6, "es"},
    {"deit3_medium_patch%", 512, 12, 2048, 8, "es"},
    {"deit3_base_patch%", 768, 12, 3072, 12, "es"},
    {"deit3_large_patch%", 1024, 24, 4096, 16, "es"},
    {"deit3_huge_patch%", 1280, 32, 5120, 16, "es"},
    {"flexivit_small", 384, 12, 1536, 6, "e"},
    {"flexivit_base", 768, 12, 3072, 12, "e"},
    {"flexivit_large", 1024, 24, 4096, 16, "e"},
    {"vit_small_patch%_dinov2", 384, 12, 1536, 6, "s", 14},
    {"vit_base_patch%_dinov2", 768, 12, 3072, 12, "s", 14},
    {"vit_large_patch%_dinov2", 1024, 24, 4096, 16, "s", 14},
    {"vit_giant_patch%_dinov2", 1536, 40, 4096, 24, "sg", 14},
    {"vit_small_patch%_reg4_dinov2", 384, 12, 1536, 6, "4es", 14},
    {"vit_base_patch%_reg4_dinov2", 768, 12, 3072, 12, "4es", 14},
    {"vit_large_patch%_reg4_dinov2", 1024, 24, 4096, 16, "4es", 14},
    {"vit_giant_patch%_reg4_dinov2", 1536, 40, 4096, 24, "4esg", 14},
    {"vit_small_patch%_36x1", 384, 36, 1536, 6, "s"},
    {"vit_base_patch%_plus", 896, 12, 3584, 14, "s"},
    {"vit_medium_patch%_gap", 512, 12, 2048, 8, "nsb"},
    {"vit_betwixt_patch%_gap", 640, 12, 2560, 10, "nsb"},
    {"vit_huge_patch%_gap", 1280, 32, 5120, 16, "n"},
    {"vit_giant_patch%_gap", 1408, 40, 6144, 16, "n"},
    {"vit_wee_patch%_reg1_gap", 256, 14, 1280, 4, "n1esf"},
    {"vit_little_patch%_reg1_gap", 320, 14, 1792, 5, "n1esf"},
    {"vit_little_patch%_reg4_gap", 320, 14, 1792, 5, "n4esf"},
    {"vit_medium_patch%_reg1_gap", 512, 12, 2048, 8, "n1esf"},
    {"vit_medium_patch%_reg4_gap", 512, 12, 2048, 8, "n4esf"},
    {"vit_mediumd_patch%_reg4_gap", 512, 20, 2048, 8, "n4esf"},
    {"vit_betwixt_patch%_reg1_gap", 640, 12, 2560, 10, "n1esf"},
    {"vit_betwixt_patch%_reg4_gap", 640, 12, 2560, 10, "n4esf"},
    {"vit_base_patch%_reg4_gap", 768, 12, 3072, 12, "n4ef"},
    {"vit_so150m_patch%_reg4_gap", 896, 18, 2304, 14, "n4"},
    {"vit_so150m2_patch%_reg1_gap", 832, 21, 2176, 13, "n1sbf"},
    {"vit_intern300m_patch%", 1024, 24, 4096, 16, "sx", 14},
};
// Hugging Face's ViT, DeiT and DINOv2.
constexpr Published kHfPublished[] = {
    {"vit-tiny", 192, 12, 768, 3},
    {"vit-small", 384, 12, 1536, 6},
    {"vit-base", 768, 12, 3072, 12},
    {"vit-large", 1024, 24, 4096, 16},
    {"vit-huge", 1280, 32, 5120, 16},
    {"deit-tiny-distilled", 192, 12, 768, 3, "d"},
    {"deit-small-distilled", 384, 12, 1536, 6, "d"},
    {"deit-base-distilled", 768, 12, 3072, 12, "d"},
    {"dinov2-small", 384, 12, 1536, 6, "s"},
    {"dinov2-base", 768, 12, 3072, 12, "s"},
    {"dinov2-large", 1024, 24, 4096, 16, "s"},
    {"dinov2-giant", 1536, 40, 4096, 24, "sg"},
    {"dinov2-with-registers-small", 384, 12, 1536, 6, "4es"},
    {"dinov2-with-registers-base", 768, 12, 3072, 12, "4es"},
    {"dinov2-with-registers-large", 1024, 24, 4096, 16, "4es"},
    {"dinov2-with-registers-giant", 1536, 40, 4096, 24, "4esg"},
};

template <size_t kRows>
const Published* find_published(const Published (&rows)[kRows], const VitConfig& c) {
  const std::string shows = traits(c);
  for (const Published& row : rows) {
    if (row.hidden == c.hidden && row.layers == c.layers && row.mlp == c.mlp && shows == row.shows &&
        (row.patch == 0 || row.patch == c.patch_h)) {
      return &row;
    }
  }
  return nullptr;
}

/// A tensor of timm's layout that the plain network does not have; empty when there is none.
std::string foreign_tensor(const Checkpoint& w, const VitConfig& c) {
  static constexpr const char* kBlock[] = {"norm1.weight",    "norm1.bias",    "norm2.weight",     "norm2.bias",
                                           "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias",
                                           "ls1.gamma",       "ls2.gamma",     "gamma_1",          "gamma_2",
                                           "mlp.fc1.weight",  "mlp.fc1.bias",  "mlp.fc2.weight",   "mlp.fc2.bias",
                                           "mlp.w12.weight",  "mlp.w12.bias",  "mlp.w3.weight",    "mlp.w3.bias"};
  const std::string start = c.prefix + "blocks.";
  for (const auto& [name, view] : w.tensors()) {
    if (name.rfind(start, 0) != 0) continue;
    const size_t dot = name.find('.', start.size());
    const std::string part = dot == std::string::npos ? name : name.substr(dot + 1);
    bool known = false;
    for (const char* k : kBlock) known = known || part == k;
    if (!known) return name;
  }
  for (const char* other : {"attn_pool.", "rel_pos_bias.", "rope.", "blocks_token_only.", "layers."}) {
    const auto at = w.tensors().lower_bound(c.prefix + other);
    if (at != w.tensors().end() && at->first.rfind(c.prefix + other, 0) == 0) return at->first;
  }
  return std::string();
}

Result<void> infer_hf(const Checkpoint& w, VitConfig* c) {
  const std::string& p = c->prefix;
  const bool dino = w.has(p + "encoder.layer.0.layer_scale1.lambda1");
  c->distilled = w.has(p + "embeddings.distillation_token");
  c->registers = tensor_rows(w, p + "embeddings.register_tokens");
  c->model_type = c->registers > 0 ? "dinov2_with_registers" : dino ? "dinov2" : c->distilled ? "deit" : "vit";
  const std::string block = p + "encoder.layer.";
  c->layers = count_blocks(w, block, ".attention.attention.query.weight");
  c->qkv_bias = w.has(block + "0.attention.attention.query.bias");
  c->layerscale = dino;
  c->eps = dino ? 1e-6 : 1e-12;
  c->swiglu = w.has(block + "0.mlp.weights_out.weight");
  c->mlp = tensor_cols(w, block + (c->swiglu ? "0.mlp.weights_out.weight"
                                   : dino    ? "0.mlp.fc2.weight"
                                             : "0.output.dense.weight"));
  c->position_prefix = c->distilled ? 2 : 1;
  c->resample = c->registers > 0 ? PosResample::kBicubicAntialias
                : dino           ? PosResample::kBicubicOffset
                                 : PosResample::kBicubic;
  c->head = w.has("distillation_classifier.weight") ? HeadKind::kDistilled
            : !w.has("classifier.weight")           ? HeadKind::kNone
            : dino                                  ? HeadKind::kTokenAndMean
                                                    : HeadKind::kLinear;
  c->classes = tensor_rows(w, c->head == HeadKind::kDistilled ? "cls_classifier.weight" : "classifier.weight");
  return {};
}

Result<void> infer_timm(const Checkpoint& w, VitConfig* c) {
  const std::string& p = c->prefix;
  c->model_type = "timm";
  c->class_token = w.has(p + "cls_token");
  c->distilled = w.has(p + "dist_token");
  c->registers = tensor_rows(w, p + "reg_token");
  if (c->registers == 0) c->registers = tensor_rows(w, p + "register_tokens");
  const std::string block = p + "blocks.";
  c->layers = count_blocks(w, block, ".norm1.weight");
  c->qkv_bias = w.has(block + "0.attn.qkv.bias");
  c->proj_bias = w.has(block + "0.attn.proj.bias");
  c->layerscale = w.has(block + "0.ls1.gamma") || w.has(block + "0.gamma_1");
  c->pre_norm = w.has(p + "norm_pre.weight");
  c->patch_bias = w.has(p + "patch_embed.proj.bias");
  c->eps = c->pre_norm ? 1e-5 : 1e-6;
  const bool original = w.has(block + "0.mlp.w12.weight");  // DINOv2's own names
  c->mlp = tensor_cols(w, block + (original ? "0.mlp.w3.weight" : "0.mlp.fc2.weight"));
  const int64_t fc1 = tensor_rows(w, block + (original ? "0.mlp.w12.weight" : "0.mlp.fc1.weight"));
  c->swiglu = c->mlp > 0 && fc1 == 2 * c->mlp;
  c->resample = PosResample::kBicubicAntialias;
  const bool fc_norm = w.has(p + "fc_norm.weight");
  c->final_norm = fc_norm                    ? FinalNorm::kAfterPool
                  : w.has(p + "norm.weight") ? FinalNorm::kBeforePool
                                             : FinalNorm::kNone;
  c->pool = fc_norm || !c->class_token ? Pool::kMean : Pool::kToken;
  c->head = w.has(p + "head_dist.weight") ? HeadKind::kDistilled
            : w.has(p + "head.weight")    ? HeadKind::kLinear
                                          : HeadKind::kNone;
  c->classes = tensor_rows(w, p + "head.weight");
  const std::string foreign = foreign_tensor(w, *c);
  if (!foreign.empty()) {
    return fail(ErrorCode::kUnsupported,
                "'{}' has no config.json, and its tensor '{}' belongs to no plain Vision Transformer, so it "
                "is another network; {}",
                w.source(), foreign, kNameTheModel);
  }
  return {};
}

}  // namespace

Result<VitConfig> infer_vit_config(const Checkpoint& weights) {
  VitConfig c;
  c.source = weights.source();
  std::string patch = "embeddings.patch_embeddings.projection.weight";
  const bool hf = find_prefix(weights, patch, "", &c.prefix);
  if (!hf) {
    patch = "patch_embed.proj.weight";
    if (!find_prefix(weights, patch, "", &c.prefix)) {
      return fail(ErrorCode::kUnsupported,
                  "'{}' has no config.json and holds no tensor named like a Vision Transformer's "
                  "patch projection ('embeddings.patch_embeddings.projection.weight' or 'patch_embed.proj.weight')",
                  weights.source());
    }
  }
  c.naming = hf ? Naming::kHuggingFace : Naming::kTimm;
  const TensorView& projection = *weights.find(c.prefix + patch);
  if (projection.shape.size() != 4) {
    return fail(ErrorCode::kCorrupt, "tensor '{}' in '{}' has shape {}, expected [width, channels, height, width]",
                projection.name, weights.source(), shape_text(projection.shape));
  }
  c.hidden = projection.shape[0];
  c.channels = projection.shape[1];
  c.patch_h = projection.shape[2];
  c.patch_w = projection.shape[3];
  VIREO_TRY(hf ? infer_hf(weights, &c) : infer_timm(weights, &c));
  if (c.layers == 0 || c.mlp == 0) return unclear(weights, "the number of blocks and their MLP");

  const std::string table = c.prefix + (hf ? "embeddings.position_embeddings" : "pos_embed");
  const int64_t rows = tensor_rows(weights, table);
  c.position = weights.has(table);
  int64_t side = 0;
  if (hf) {
    side = square_side(rows - c.position_prefix);
  } else if (c.position) {
    // With or without rows for the prefix tokens; DINOv2's own files have one for the class token only.
    c.position_prefix = weights.has(c.prefix + "register_tokens") ? 1 : c.prefix_tokens();
    side = square_side(rows - c.position_prefix);
    if (side == 0) {
      c.position_prefix = 0;
      side = square_side(rows);
    }
  }
  if (side == 0)
    return unclear(weights, fmt::format("the picture's size (tensor '{}' has {} rows, no square)", table, rows));
  c.image_h = side * c.patch_h;
  c.image_w = side * c.patch_w;
  // The number of heads, the activation and what is pooled are in no shape: they are known for published networks only.
  const bool plain = !c.pre_norm && c.patch_bias && c.proj_bias && c.position;
  const Published* known = !plain ? nullptr : hf ? find_published(kHfPublished, c) : find_published(kTimmPublished, c);
  if (known == nullptr) {
    return unclear(weights,
                   fmt::format("the number of attention heads, the activation and the pooling ({} blocks of width {} "
                               "with an MLP of {}{} are of no published Vision Transformer, or of several)",
                               c.layers, c.hidden, c.mlp, c.pre_norm ? " and a norm before them" : ""));
  }
  c.heads = known->heads;
  c.architecture = known->name;
  const size_t patch_at = c.architecture.find('%');
  if (patch_at != std::string::npos) c.architecture.replace(patch_at, 1, std::to_string(c.patch_h));
  if (!hf) c.architecture += "_" + std::to_string(c.image_h);
  c.assumed = fmt::format(
      "'{}' has no config.json: taken for {} by its tensors ({} heads of {}, {}, LayerNorm eps {}, {}); where it is "
      "another network, name it with --config FILE or --architecture NAME",
      weights.source(), c.architecture, c.heads, c.hidden / c.heads, c.swiglu ? "SwiGLU" : "GELU", c.eps,
      c.head == HeadKind::kTokenAndMean ? "class token and mean of the patches"
      : c.pool == Pool::kMean           ? "mean of the patches"
      : c.distilled                     ? "class and distillation token"
                                        : "class token");
  VIREO_TRY(validate_vit_config(c));
  return c;
}

}  // namespace vireo
