#include "model/vit.h"

#include <algorithm>
#include <utility>

#include "model/backbone.h"
#include "model/config_parts.h"
#include "model/position.h"
#include "model/token_merging.h"

namespace vireo {
namespace {

// quick_gelu(x) = x * sigmoid(1.702 x) = silu(1.702 x) / 1.702: the factors go into the weights around a SiLU.
constexpr float kQuickGelu = 1.702f;

/// Tensor names of one block (without ".weight") and of the parts around the blocks.
struct VitNames {
  std::string cls, dist, registers, position, patch, pre_norm, norm, fc_norm;
  std::string block;  // before the block's number
  std::string norm1, qkv, query, key, value, proj, scale1, norm2, fc1, fc2, scale2;
  std::string head, head_dist;
};

VitNames hf_names(const VitConfig& c) {
  VitNames n;
  n.cls = c.prefix + "embeddings.cls_token";
  n.dist = c.prefix + "embeddings.distillation_token";
  n.registers = c.prefix + "embeddings.register_tokens";
  n.position = c.prefix + "embeddings.position_embeddings";
  n.patch = c.prefix + "embeddings.patch_embeddings.projection";
  n.norm = n.fc_norm = c.prefix + "layernorm";
  n.block = c.prefix + "encoder.layer.";
  const bool dino = c.model_type == "dinov2" || c.model_type == "dinov2_with_registers";
  n.norm1 = dino ? ".norm1" : ".layernorm_before";
  n.query = ".attention.attention.query";
  n.key = ".attention.attention.key";
  n.value = ".attention.attention.value";
  n.proj = ".attention.output.dense";
  n.scale1 = ".layer_scale1.lambda1";
  n.norm2 = dino ? ".norm2" : ".layernorm_after";
  n.fc1 = !dino ? ".intermediate.dense" : c.swiglu ? ".mlp.weights_in" : ".mlp.fc1";
  n.fc2 = !dino ? ".output.dense" : c.swiglu ? ".mlp.weights_out" : ".mlp.fc2";
  n.scale2 = ".layer_scale2.lambda1";
  n.head = c.head == HeadKind::kDistilled ? "cls_classifier" : "classifier";
  n.head_dist = "distillation_classifier";
  return n;
}

/// timm's names; `has` tells which of two spellings a checkpoint uses (DeiT III's and DINOv2's own files differ).
template <typename Has>
VitNames timm_names(const VitConfig& c, const Has& has) {
  const std::string first = c.prefix + "blocks.0";
  VitNames n;
  n.cls = c.prefix + "cls_token";
  n.dist = c.prefix + "dist_token";
  n.registers = c.prefix + (has(c.prefix + "register_tokens") ? "register_tokens" : "reg_token");
  n.position = c.prefix + "pos_embed";
  n.patch = c.prefix + "patch_embed.proj";
  n.pre_norm = c.prefix + "norm_pre";
  n.norm = c.prefix + "norm";
  n.fc_norm = c.prefix + "fc_norm";
  n.block = c.prefix + "blocks.";
  n.norm1 = ".norm1";
  n.qkv = ".attn.qkv";
  n.proj = ".attn.proj";
  n.scale1 = has(first + ".gamma_1") ? ".gamma_1" : ".ls1.gamma";
  n.norm2 = ".norm2";
  n.fc1 = has(first + ".mlp.w12.weight") ? ".mlp.w12" : ".mlp.fc1";
  n.fc2 = has(first + ".mlp.w3.weight") ? ".mlp.w3" : ".mlp.fc2";
  n.scale2 = has(first + ".gamma_2") ? ".gamma_2" : ".ls2.gamma";
  n.head = has("linear_head.weight") && !has(c.prefix + "head.weight") ? "linear_head"
                                                                       : c.prefix + "head";  // torch.hub's dinov2_*_lc
  n.head_dist = c.prefix + "head_dist";
  return n;
}

/// Adds a Vision Transformer to a graph.
class VitBuilder {
 public:
  VitBuilder(const VitConfig& config, ModelBuilder& b)
      : c_(config), b_(b), merging_(b, config.layers, config.prefix_tokens()), d_(config.hidden) {
    n_ = c_.naming == Naming::kHuggingFace ? hf_names(c_)
                                           : timm_names(c_, [&](const std::string& name) { return b.has(name); });
  }

  /// The answer of a head to the picture.
  ValueId head(Head head, int64_t batch, int64_t h, int64_t w) {
    check(head, h, w);
    if (head == Head::kTokens) refuse_merging("gives every token");
    ValueId x = embed(b_.pixels(batch, h, w, c_.channels));
    for (int64_t i = 0; i < c_.layers && b_.ok(); ++i) x = block(x, i);
    if (!b_.ok()) return kNoValue;
    return head == Head::kTokens ? final_tokens(x) : head == Head::kFeatures ? features(x) : logits(x);
  }

  /// The patches of `stages` (0: the embeddings, n: after block n - 1) as maps [n, h / patch, w / patch, width], with
  /// the final norm where `norm` (Transformers' Dinov2Backbone).
  std::vector<ValueId> taps(ValueId pixels, const std::vector<int64_t>& stages, bool norm) {
    check(Head::kTokens, b_.shape(pixels).h(), b_.shape(pixels).w());
    refuse_merging("reads maps of all tokens");
    std::vector<ValueId> maps;
    ValueId x = embed(pixels);
    for (int64_t i = 0; i <= c_.layers && b_.ok(); ++i) {
      if (i > 0) x = block(x, i - 1);
      if (std::find(stages.begin(), stages.end(), i) == stages.end()) continue;
      const std::string name = fmt::format("taps.{}", i);
      const ValueId map = b_.add(
          OpKind::kSlice, name, {x},
          {{"start", double(c_.prefix_tokens())}, {"count", double(out_h() * out_w())}, {"height", double(out_h())}});
      maps.push_back(norm ? b_.layer_norm(map, n_.norm, c_.eps, name + ".norm") : map);
      if (i == stages.back()) break;  // nothing reads what comes behind it
    }
    return maps;
  }

 private:
  bool ok() const { return b_.ok(); }
  int64_t out_h() const { return h_ / c_.patch_h; }
  int64_t out_w() const { return w_ / c_.patch_w; }

  void check(Head head, int64_t h, int64_t w) {
    h_ = h;
    w_ = w;
    if (h_ < c_.patch_h || w_ < c_.patch_w || h_ > kMaxImageSide || w_ > kMaxImageSide ||
        out_h() * out_w() > kMaxTokens || out_h() * out_w() * d_ > kMaxTokenFloats) {
      b_.set_error(fail(ErrorCode::kInvalidArgument,
                        "model '{}' cannot take pictures of {} x {}: expected at least one patch of "
                        "{} x {} and at most {} patches",
                        c_.architecture, h_, w_, c_.patch_h, c_.patch_w, std::min(kMaxTokens, kMaxTokenFloats / d_)));
    }
    const std::string& path = b_.source().path;
    if (head == Head::kLogits && c_.head == HeadKind::kNone) {
      b_.set_error(fail(ErrorCode::kUnsupported,
                        "model '{}' ({}) has no classification head; use `embed` to get its features", path,
                        c_.architecture));
    }
    if (head == Head::kLogits && c_.pool == Pool::kNone) {
      b_.set_error(fail(ErrorCode::kUnsupported,
                        "model '{}' ({}) has global_pool '', so its head gives scores for every token; use "
                        "`embed --tokens`, or set global_pool to 'token' or 'avg'",
                        path, c_.architecture));
    }
  }

  void refuse_merging(const char* what) {
    if (merging_.any())
      b_.set_error(fail(ErrorCode::kUnsupported,
                        "'{}': quantization_config.vireo.tokens merges tokens, and this use of the network {}; take "
                        "the checkpoint without merging for it",
                        b_.source().config_path, what));
  }

  ConstantPtr weight(const std::string& name, const std::vector<int64_t>& shape, int64_t rows, int64_t cols,
                     WeightInit init) {
    return b_.weight(name, shape, rows, cols, init);
  }
  ValueId layer_norm(ValueId x, const std::string& tensor, const std::string& name) {
    return b_.layer_norm(x, tensor, c_.eps, name);
  }
  ValueId slice(ValueId x, int64_t start, int64_t count, const std::string& name) {
    return b_.add(OpKind::kSlice, name, {x}, {{"start", double(start)}, {"count", double(count)}});
  }

  // ---- parts of the model

  ValueId embed(ValueId pixels) {
    const int64_t k = c_.channels * c_.patch_h * c_.patch_w;
    ConstantPtr w = weight(n_.patch + ".weight", {d_, c_.channels, c_.patch_h, c_.patch_w}, d_, k, {0.f, 0.02f});
    ConstantPtr b = c_.patch_bias ? b_.bias(n_.patch, d_) : nullptr;
    std::vector<float> prefix = prefix_tokens();
    ConstantPtr position = positions(&prefix);
    if (!ok()) return kNoValue;
    const ValueId wv = b_.constant(n_.patch + ".weight", w);
    ValueId x = b_.add(OpKind::kConv2d, "patch_embed", {pixels, wv, b_.constant(n_.patch + ".bias", b)},
                       {{"kernel_h", double(c_.patch_h)},
                        {"kernel_w", double(c_.patch_w)},
                        {"stride_h", double(c_.patch_h)},
                        {"stride_w", double(c_.patch_w)},
                        {"pad_h", 0.0},
                        {"pad_w", 0.0}});
    const int64_t p = c_.prefix_tokens();
    const ValueId pv = p > 0 ? b_.constant("prefix_tokens", make_constant(p, d_, std::move(prefix))) : kNoValue;
    x = b_.add(OpKind::kTokens, "tokens", {x, pv, b_.constant(n_.position, position)});
    return c_.pre_norm ? layer_norm(x, n_.pre_norm, "norm_pre") : x;
  }

  /// The rows before the patches: class token, distillation token, registers.
  std::vector<float> prefix_tokens() {
    std::vector<float> rows;
    const auto append = [&](const std::string& name, int64_t count) {
      if (count == 0) return;
      ConstantPtr token = weight(name, {1, count, d_}, count, d_, {0.f, 0.02f});
      if (token == nullptr) return;
      const std::vector<float> values = token->read_all();
      rows.insert(rows.end(), values.begin(), values.end());
    };
    append(n_.cls, c_.class_token ? 1 : 0);
    append(n_.dist, c_.distilled ? 1 : 0);
    append(n_.registers, c_.registers);
    return rows;
  }

  /// The position of every patch, fitted to this input; adds the table's first rows to the prefix tokens.
  ConstantPtr positions(std::vector<float>* prefix) {
    if (!ok()) return nullptr;
    const int64_t patches = out_h() * out_w();
    if (!c_.position) return fill_constant(patches, d_, 0.f);
    int64_t from_h = c_.grid_h(), from_w = c_.grid_w(), before = c_.position_prefix;
    if (c_.naming == Naming::kTimm && b_.source().weights != nullptr) {
      // DINOv2's own files have one row for the class token and none for the registers.
      if (n_.registers == c_.prefix + "register_tokens") before = 1;
      // timm fits the table of a checkpoint made for another (square) size when it is loaded.
      const int64_t rows = tensor_rows(*b_.source().weights, n_.position) - before;
      const int64_t side = square_side(rows);
      if (rows != from_h * from_w && side > 0) from_h = from_w = side;
    }
    const int64_t cells = from_h * from_w;
    ConstantPtr table = weight(n_.position, {1, before + cells, d_}, before + cells, d_, {0.f, 0.02f});
    if (table == nullptr) return nullptr;
    if (before > 0) {
      std::vector<float> first(size_t(before * d_));
      table->read(0, before, first.data());
      for (size_t i = 0; i < first.size() && i < prefix->size(); ++i) (*prefix)[i] += first[i];
    }
    std::vector<float> cell_rows(size_t(cells * d_));
    table->read(before, cells, cell_rows.data());
    if (from_h == out_h() && from_w == out_w()) return make_constant(cells, d_, std::move(cell_rows));
    return make_constant(patches, d_, resample_positions(cell_rows, from_h, from_w, out_h(), out_w(), d_, c_.resample));
  }

  ValueId qkv(ValueId x, const BlockSizes& s, const std::string& at, const std::string& name) {
    const int64_t qk = s.heads * s.qk, v = s.heads * s.v;
    if (!n_.qkv.empty()) return b_.linear(x, at + n_.qkv, 2 * qk + v, c_.qkv_bias, name);
    std::vector<ConstantPtr> weights, biases;
    for (const std::string* part : {&n_.query, &n_.key, &n_.value}) {
      const int64_t rows = part == &n_.value ? v : qk;
      weights.push_back(b_.matrix(at + *part, rows, d_));
      biases.push_back(c_.qkv_bias ? b_.bias(at + *part, rows) : nullptr);
    }
    return b_.stacked_linear(x, std::move(weights), std::move(biases), at + ".attention.attention.query|key|value",
                             name);
  }

  ValueId layer_scale(ValueId x, const std::string& tensor, const std::string& name) {
    const ConstantPtr gamma = b_.vector(tensor, d_, {float(c_.layerscale_value), 0.f});
    return b_.add(OpKind::kScale, name, {x, b_.constant(tensor, gamma)});
  }

  ValueId block(ValueId x, int64_t index) {
    const std::string name = fmt::format("blocks.{}", index);
    const std::string at = n_.block + std::to_string(index);
    const int64_t dim = d_ / c_.heads;
    const BlockSizes s = b_.sizes(name, {c_.heads, dim, dim, c_.mlp});
    if (s.heads > 0) x = attention(x, s, at, name, index);
    else if (merging_.count(index) > 0)
      b_.set_error(fail(ErrorCode::kCorrupt,
                        "'{}': quantization_config.vireo.tokens merges tokens in {}, which has no attention by whose "
                        "keys it could",
                        b_.source().config_path, name));
    if (s.mlp > 0) x = mlp(x, s.mlp, at, name);
    return x;
  }

  ValueId attention(ValueId x, const BlockSizes& s, const std::string& at, const std::string& name, int64_t index) {
    ValueId y = layer_norm(x, at + n_.norm1, name + ".norm1");
    const ValueId rows = qkv(y, s, at, name + ".attn.qkv");
    std::vector<ValueId> rest;
    if (merging_.key_bias() != kNoValue) rest = {kNoValue, kNoValue, merging_.key_bias()};
    y = b_.attention(rows, s, d_ / c_.heads, name + ".attn", std::move(rest));
    merging_.match(rows, index, s, name);
    y = b_.linear(y, at + n_.proj, d_, c_.proj_bias, name + ".attn.proj");
    if (c_.layerscale) y = layer_scale(y, at + n_.scale1, name + ".attn.ls");
    return merging_.merge(b_.add(OpKind::kAdd, name + ".attn.add", {x, y}), name);
  }

  ValueId mlp(ValueId x, int64_t width, const std::string& at, const std::string& name) {
    const bool quick = !c_.swiglu && c_.act == Activation::kQuickGelu;
    const float factor = quick ? kQuickGelu : 1.f;
    ValueId y = layer_norm(x, at + n_.norm2, name + ".norm2");
    y = b_.linear(y, at + n_.fc1, c_.swiglu ? 2 * width : width, c_.proj_bias, name + ".mlp.fc1", factor, factor);
    y = b_.add(activation(), name + ".mlp.act", {y});
    y = b_.linear(y, at + n_.fc2, d_, c_.proj_bias, name + ".mlp.fc2", 1.f / factor);
    if (c_.layerscale) y = layer_scale(y, at + n_.scale2, name + ".mlp.ls");
    return b_.add(OpKind::kAdd, name + ".mlp.add", {x, y});
  }

  OpKind activation() const { return c_.swiglu ? OpKind::kSwiglu : activation_op(c_.act); }

  // ---- after the blocks

  ValueId final_tokens(ValueId x) {
    return c_.final_norm == FinalNorm::kBeforePool ? layer_norm(x, n_.norm, "norm") : x;
  }

  /// The final norm of something already pooled or cut to single tokens: LayerNorm works on each token alone.
  ValueId norm_rows(ValueId x, const std::string& name) {
    if (c_.final_norm == FinalNorm::kNone) return x;
    return layer_norm(x, c_.final_norm == FinalNorm::kAfterPool ? n_.fc_norm : n_.norm, name);
  }

  ValueId pooled(ValueId x) {
    if (c_.pool == Pool::kToken || (c_.pool == Pool::kNone && c_.class_token)) {
      return norm_rows(slice(x, 0, 1, "pool"), "norm");
    }
    // The mean of normed tokens is not the norm of their mean: the order is the model's.
    const int64_t start = c_.pool_prefix ? 0 : c_.prefix_tokens();
    if (c_.final_norm == FinalNorm::kBeforePool) return merging_.mean(layer_norm(x, n_.norm, "norm"), start, "pool");
    return norm_rows(merging_.mean(x, start, "pool"), "norm");
  }

  ValueId features(ValueId x) {
    // timm's pre-logits of a distilled DeiT are the mean of both tokens; Hugging Face's are the class token.
    if (c_.model_type == "timm" && c_.distilled)
      return b_.mean(norm_rows(slice(x, 0, 2, "pool"), "norm"), 0, "features");
    return pooled(x);
  }

  ValueId logits(ValueId x) {
    if (c_.head == HeadKind::kDistilled) {
      // (head(cls) + head_dist(dist)) / 2 with the halves inside the weights.
      const ValueId cls = norm_rows(slice(x, 0, 1, "pool.cls"), "norm.cls");
      const ValueId dist = norm_rows(slice(x, 1, 1, "pool.dist"), "norm.dist");
      const ValueId a = b_.linear(cls, n_.head, c_.classes, true, "head.cls", 0.5f, 0.5f);
      const ValueId b = b_.linear(dist, n_.head_dist, c_.classes, true, "head.dist", 0.5f, 0.5f);
      return b_.add(OpKind::kAdd, "head", {a, b});
    }
    if (c_.head == HeadKind::kTokenAndMean) {
      const ValueId normed = layer_norm(x, n_.norm, "norm");
      const ValueId cls = slice(normed, 0, 1, "pool.cls");
      const ValueId patches = merging_.mean(normed, c_.prefix_tokens(), "pool.mean");
      return b_.linear(b_.add(OpKind::kConcat, "pool", {cls, patches}), n_.head, c_.classes, true, "head");
    }
    return b_.linear(pooled(x), n_.head, c_.classes, true, "head");
  }

  const VitConfig& c_;
  ModelBuilder& b_;
  TokenMerging merging_;
  VitNames n_;
  int64_t h_ = 0, w_ = 0, d_;
};

/// Masks of pre-training, HF's tanh pooler and the decoder of masked image modelling.
bool unused_in_vit(const std::string& tensor) {
  for (const char* part : {"mask_token", "pooler.dense.", "decoder.", "decoder_", "position_ids"}) {
    if (tensor.find(part) != std::string::npos) return true;
  }
  return false;
}

class VitModel final : public ConfiguredModel<VitConfig> {
 public:
  using ConfiguredModel::ConfiguredModel;

  int64_t classes() const override { return config_.head == HeadKind::kNone ? 0 : config_.classes; }
  Result<PreprocessConfig> preprocess(const std::string& text, const std::string& source) const override;
  Result<Graph> build(Head head, int64_t batch, int64_t h, int64_t w) const override {
    return build_vit(config_, source_, head, batch, h, w);
  }
  bool is_known_unused(const std::string& tensor) const override { return unused_in_vit(tensor); }
  bool is_within(const std::string& tensor) const override {
    if (tensor.rfind(config_.prefix, 0) != 0) return false;
    const std::string name = tensor.substr(config_.prefix.size());
    for (const char* part : {"blocks", "encoder.layer", "embeddings.", "patch_embed.", "pos_embed", "cls_token",
                             "dist_token", "reg_token", "register_tokens", "norm.", "norm_pre.", "fc_norm.",
                             "layernorm.", "head_dist.", "attn_pool.", "rel_pos", "rope"}) {
      if (name.rfind(part, 0) == 0) return true;
    }
    return false;
  }
  std::string assumed() const override { return config_.assumed; }
};

Result<PreprocessConfig> VitModel::preprocess(const std::string& text, const std::string& source) const {
  const bool dino = config_.model_type == "dinov2" || config_.model_type == "dinov2_with_registers";
  const Processor processor = dino                           ? Processor::kBit
                              : config_.model_type == "deit" ? Processor::kDeit
                                                             : Processor::kVit;
  if (!text.empty()) {
    return parse_preprocessor_config(text, source, processor, config_.image_h, config_.image_w, config_.channels);
  }
  constexpr std::array<double, 3> kImagenetMean{{0.485, 0.456, 0.406}}, kImagenetStd{{0.229, 0.224, 0.225}};
  PreprocessConfig c;
  if (config_.model_type == "timm") {
    // _cfg() of vision_transformer.py and deit.py; a pretrained_cfg normally says it all.
    const std::string& name = config_.architecture;
    const bool timm_dino = name.find("dinov2") != std::string::npos;
    c = timm_preprocess(config_.image_h, config_.image_w, timm_dino ? 1.0 : 0.9, Filter::kBicubic);
    c.channels = config_.channels;
    if (timm_dino || name.rfind("deit", 0) == 0) {
      c.mean = kImagenetMean;
      c.std = kImagenetStd;
    }
    if (!source_.config.empty()) {
      return parse_timm_preprocess(source_.config, source_.config_path, c, config_.image_h, config_.image_w);
    }
  } else if (dino) {
    // Published DINOv2 models see 224 x 224 although their position table was made for 518 x 518.
    const int64_t h = std::min(config_.image_h, int64_t(224)), w = std::min(config_.image_w, int64_t(224));
    c = processor_defaults(processor);
    c.mean = kImagenetMean;
    c.std = kImagenetStd;
    c.shortest = std::max(h, w) * 256 / 224;
    c.crop_h = c.input_h = h;
    c.crop_w = c.input_w = w;
  } else {
    c = processor_defaults(processor);
    c.crop_h = c.input_h = config_.image_h;
    c.crop_w = c.input_w = config_.image_w;
    c.resize_h = c.crop ? config_.image_h * 256 / 224 : config_.image_h;
    c.resize_w = c.crop ? config_.image_w * 256 / 224 : config_.image_w;
  }
  c.channels = config_.channels;
  c.warnings.push_back(
      fmt::format("'{}' has no preprocessor_config.json; pictures are prepared as is usual for {} models, "
                  "mean {} and std {}",
                  source_.path, config_.model_type, c.mean[0], c.std[0]));
  return c;
}

bool matches_vit(const ModelSource& source) {
  if (!source.config.empty()) return is_vit_config(source.config);
  return source.weights != nullptr && is_vit_checkpoint(*source.weights);
}

Result<std::unique_ptr<VisionModel>> open_vit(const ModelSource& source) {
  VIREO_ASSIGN(VitConfig config, source.config.empty()
                                     ? infer_vit_config(*source.weights)
                                     : parse_vit_config(source.config, source.config_path, source.weights.get()));
  return std::unique_ptr<VisionModel>(std::make_unique<VitModel>(std::move(config), source));
}

/// ViT, DeiT or DINOv2 as a backbone, in the way of Transformers' Dinov2Backbone.
class VitBackbone final : public Backbone {
 public:
  VitBackbone(VitConfig config, std::vector<int64_t> stages, bool norm)
      : config_(std::move(config)), stages_(std::move(stages)), norm_(norm) {}

  int64_t channels() const override { return config_.channels; }
  int64_t image_h() const override { return config_.image_h; }
  int64_t image_w() const override { return config_.image_w; }
  std::vector<ValueId> taps(ModelBuilder& b, ValueId pixels) const override {
    return VitBuilder(config_, b).taps(pixels, stages_, norm_);
  }
  bool is_known_unused(const std::string& tensor) const override {
    return unused_in_vit(tensor) || (!norm_ && tensor.rfind(config_.prefix + "layernorm.", 0) == 0);
  }

 private:
  VitConfig config_;
  std::vector<int64_t> stages_;
  bool norm_;  // the final LayerNorm on each map
};

Result<std::unique_ptr<Backbone>> open_vit_backbone(const BackboneSource& source) {
  VIREO_ASSIGN(VitConfig config, parse_hf_config(*source.json, source.source, source.model->weights.get()));
  config.prefix = source.prefix;
  config.head = HeadKind::kNone;
  config.classes = 0;
  VIREO_TRY(validate_vit_config(config));
  Fields fields(*source.json, source.source);
  bool norm = true, reshape = true;
  fields.boolean("apply_layernorm", &norm);
  fields.boolean("reshape_hidden_states", &reshape);
  VIREO_TRY(fields.status());
  if (!reshape) {
    return fail(ErrorCode::kUnsupported,
                "'{}': backbone_config has reshape_hidden_states false, tokens instead of maps, with "
                "which a dense head can do nothing; expected true",
                source.source);
  }
  VIREO_ASSIGN(std::vector<int64_t> stages, read_taps(fields, config.layers));
  return std::unique_ptr<Backbone>(std::make_unique<VitBackbone>(std::move(config), std::move(stages), norm));
}

constexpr const char* kVitBackbones[] = {"vit", "deit", "dinov2", "dinov2_with_registers", nullptr};

}  // namespace

const Family kVitFamily = {"vit", matches_vit, open_vit, kVitBackbones, open_vit_backbone};

Result<Graph> build_vit(const VitConfig& config, const ModelSource& source, Head head, int64_t batch, int64_t h,
                        int64_t w) {
  ModelBuilder b(source, config.architecture, "from '" + config.source + "'");
  const ValueId answer = VitBuilder(config, b).head(head, batch, h, w);
  return b.finish(answer);
}

}  // namespace vireo
