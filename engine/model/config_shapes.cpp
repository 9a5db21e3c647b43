// A checkpoint without config.json: the numbers of a ViT as its tensor names and shapes tell them.
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
  return fail(ErrorCode::kInvalidArgument, "'{}' has no config.json and its tensors do not tell {}; put the model's "
              "config.json beside it", weights.source(), what);
}

/// The number of columns of a matrix, or 0.
int64_t tensor_cols(const Checkpoint& weights, const std::string& name) {
  const TensorView* view = weights.find(name);
  return view == nullptr || view->shape.size() != 2 ? 0 : view->shape[1];
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
  c->mlp = tensor_cols(w, block + (c->swiglu ? "0.mlp.weights_out.weight" : dino ? "0.mlp.fc2.weight" : "0.output.dense.weight"));
  c->position_prefix = c->distilled ? 2 : 1;
  c->resample = c->registers > 0 ? PosResample::kBicubicAntialias : dino ? PosResample::kBicubicOffset : PosResample::kBicubic;
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
  c->final_norm = fc_norm ? FinalNorm::kAfterPool : w.has(p + "norm.weight") ? FinalNorm::kBeforePool : FinalNorm::kNone;
  c->pool = fc_norm || !c->class_token ? Pool::kMean : Pool::kToken;
  c->head = w.has(p + "head_dist.weight") ? HeadKind::kDistilled : w.has(p + "head.weight") ? HeadKind::kLinear : HeadKind::kNone;
  c->classes = tensor_rows(w, p + "head.weight");
  for (const char* name : {"0.attn.q_norm.weight", "0.attn.norm.weight", "0.mlp.norm.weight", "0.attn.rel_pos.w_g.weight"}) {
    if (w.has(block + name)) {
      return fail(ErrorCode::kUnsupported, "'{}' holds the tensor '{}', a part that Vireo's Vision Transformer does not "
                  "have", w.source(), block + name);
    }
  }
  if (w.has(p + "attn_pool.q.weight")) {
    return fail(ErrorCode::kUnsupported, "'{}' pools with attention (tensor '{}attn_pool.q.weight'), which Vireo does not "
                "implement", w.source(), p);
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
      return fail(ErrorCode::kUnsupported, "'{}' has no config.json and holds no tensor named like a Vision Transformer's "
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
  c.architecture = c.model_type;
  if (c.layers == 0 || c.mlp == 0) return unclear(weights, "the number of blocks and their MLP");
  // Every published ViT of these families but a few timm ones uses 64 channels per head.
  if (c.hidden % 64 != 0) {
    return unclear(weights, fmt::format("the number of attention heads (its width is {}, no multiple of 64)", c.hidden));
  }
  c.heads = c.hidden / 64;

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
  if (side == 0) return unclear(weights, fmt::format("the picture's size (tensor '{}' has {} rows, no square)", table, rows));
  c.image_h = side * c.patch_h;
  c.image_w = side * c.patch_w;
  VIREO_TRY(validate_vit_config(c));
  return c;
}

}  // namespace vireo
