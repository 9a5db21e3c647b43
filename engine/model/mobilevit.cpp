#include "model/mobilevit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "model/backbone.h"
#include "model/config_parts.h"
#include "model/json.h"

namespace vireo {
namespace {

constexpr std::array<int64_t, 3> kLayers{{2, 4, 3}};  // transformer layers of the last three stages, in every size
constexpr int64_t kStages = 5;                        // after the stem

struct MobileVitConfig {
  std::string source, architecture;
  Naming naming = Naming::kHuggingFace;
  std::string prefix;  // before trunk tensor names: "mobilevit."
  int64_t channels = 3, image_h = 256, image_w = 256, patch = 2;
  std::array<int64_t, 3> hidden{{144, 192, 240}};
  std::array<int64_t, 7> neck{{16, 32, 64, 96, 128, 160, 640}};  // stem, five stages, the last 1x1 convolution
  int64_t heads = 4;
  double mlp_ratio = 2, expand_ratio = 4, eps = 1e-5;
  Activation act = Activation::kSilu;
  int64_t kernel = 3, output_stride = 32;
  bool qkv_bias = true;
  int64_t classes = 0;  // 0: no head
  std::vector<std::string> labels;
};

// ---- configuration

/// MobileViTConfig of Transformers and its defaults. `expect_last`: the last width belongs to a classifier.
Result<MobileVitConfig> parse_config(const Json& json, const std::string& source) {
  Fields fields(json, source);
  MobileVitConfig c;
  c.source = source;
  c.architecture = first_architecture(fields);
  if (c.architecture.empty()) c.architecture = "mobilevit";
  if (c.architecture == "MobileViTForSemanticSegmentation") {
    return fail(ErrorCode::kUnsupported,
                "'{}': {} has a DeepLabV3 head, which Vireo does not implement; expected "
                "MobileViTForImageClassification, MobileViTModel, or MobileViT as the backbone of UPerNet",
                source, c.architecture);
  }
  std::string act = "silu";
  fields.integer("num_channels", &c.channels, 1, 1024);
  fields.size("image_size", &c.image_h, &c.image_w, 1, kMaxImageSide);
  fields.integer("patch_size", &c.patch, 1, 256);
  fields.integer("num_attention_heads", &c.heads, 1, kMaxWidth);
  fields.number("mlp_ratio", &c.mlp_ratio, 1e-3, 1024);
  fields.number("expand_ratio", &c.expand_ratio, 1e-3, 1024);
  fields.number("layer_norm_eps", &c.eps, 0, 1);
  fields.integer("conv_kernel_size", &c.kernel, 1, 255);
  fields.integer("output_stride", &c.output_stride, 1, 1024);
  fields.boolean("qkv_bias", &c.qkv_bias);
  fields.string("hidden_act", &act);
  const auto widths = [&](const char* key, int64_t* out, size_t count) {
    const Json* list = fields.find(key);
    if (list == nullptr) return;
    bool good = list->is_array() && list->size() == count;
    for (size_t i = 0; good && i < count; ++i) {
      good = (*list)[i].is_number_integer() && (*list)[i] >= 1 && (*list)[i] <= kMaxWidth;
      if (good) out[i] = (*list)[i].get<int64_t>();
    }
    if (!good) fields.reject(key, *list, fmt::format("{} widths of 1 to {}", count, kMaxWidth));
  };
  widths("hidden_sizes", c.hidden.data(), c.hidden.size());
  widths("neck_hidden_sizes", c.neck.data(), c.neck.size());
  VIREO_TRY(fields.status());
  VIREO_ASSIGN(c.act, parse_activation(act, source, "hidden_act"));
  return c;
}

/// timm's mobilevit_s, mobilevit_xs and mobilevit_xxs (timm 1.0: mobilevit.py).
Result<MobileVitConfig> parse_timm(const Json& json, const std::string& source) {
  Fields fields(json, source);
  MobileVitConfig c;
  c.source = source;
  c.naming = Naming::kTimm;
  fields.string("architecture", &c.architecture);
  VIREO_TRY(fields.status());
  const std::string size = c.architecture.substr(0, c.architecture.find('.'));
  if (size == "mobilevit_xs") {
    c.hidden = {{96, 120, 144}};
    c.neck = {{16, 32, 48, 64, 80, 96, 384}};
  } else if (size == "mobilevit_xxs") {
    c.hidden = {{64, 80, 96}};
    c.neck = {{16, 16, 24, 48, 64, 80, 320}};
    c.expand_ratio = 2;
  } else if (size != "mobilevit_s") {
    return fail(ErrorCode::kUnsupported,
                "'{}': timm architecture '{}' is not supported; expected mobilevit_s, mobilevit_xs or "
                "mobilevit_xxs",
                source, c.architecture.substr(0, 60));
  }
  const Json* nested = fields.find("pretrained_cfg");
  const Json& cfg = nested != nullptr && nested->is_object() ? *nested : json;
  Fields pretrained(cfg, source);
  if (const Json* input = pretrained.find("input_size")) {
    const bool good = input->is_array() && input->size() == 3;
    int64_t* const out[] = {&c.channels, &c.image_h, &c.image_w};
    for (size_t i = 0; i < 3; ++i) {
      if (!good || !(*input)[i].is_number_integer() || (*input)[i] < 1 || (*input)[i] > kMaxImageSide) {
        pretrained.reject("input_size", *input, "[channels, height, width]");
        break;
      }
      *out[i] = (*input)[i].get<int64_t>();
    }
  }
  c.classes = 1000;
  pretrained.integer("num_classes", &c.classes, 0, kMaxClasses);
  fields.integer("num_classes", &c.classes, 0, kMaxClasses);
  VIREO_TRY(pretrained.status());
  VIREO_TRY(fields.status());
  if (const Json* args = fields.find("model_args"); args != nullptr && !args->empty()) {
    return fail(ErrorCode::kUnsupported,
                "'{}': model_args is not empty; Vireo knows timm's MobileViT as timm makes it by its "
                "name, expected no model_args",
                source);
  }
  for (const Json* names : {fields.find("label_names"), find_member(cfg, "label_names")}) {
    if (names == nullptr || !names->is_array() || !c.labels.empty() || int64_t(names->size()) != c.classes) continue;
    for (const Json& name : *names) c.labels.push_back(name.is_string() ? name.get<std::string>() : json_text(name));
  }
  return c;
}

Result<void> check(const MobileVitConfig& c) {
  if (c.output_stride != 8 && c.output_stride != 16 && c.output_stride != 32) {
    return fail(ErrorCode::kUnsupported, "'{}': output_stride is {}, expected 8, 16 or 32", c.source, c.output_stride);
  }
  if (c.kernel % 2 == 0) {
    return fail(ErrorCode::kUnsupported,
                "'{}': conv_kernel_size is {}, expected an odd number, which keeps a map's size", c.source, c.kernel);
  }
  if (c.act == Activation::kQuickGelu) {
    return fail(ErrorCode::kUnsupported,
                "'{}': hidden_act quick_gelu is not supported in MobileViT; expected silu, relu or a "
                "gelu",
                c.source);
  }
  for (int64_t width : c.hidden) {
    if (width % c.heads != 0 || width / c.heads > kMaxHeadDim) {
      return fail(width % c.heads != 0 ? ErrorCode::kCorrupt : ErrorCode::kUnsupported,
                  "'{}': the width {} with {} attention "
                  "heads gives no head dimension from 1 to {}; check hidden_sizes and num_attention_heads",
                  c.source, width, c.heads, kMaxHeadDim);
    }
    if (int64_t(double(width) * c.mlp_ratio) < 1 || int64_t(double(width) * c.mlp_ratio) > 16 * kMaxWidth) {
      return fail(ErrorCode::kCorrupt, "'{}': mlp_ratio {} gives an MLP of {} for the width {}; expected 1 to {}",
                  c.source, c.mlp_ratio, int64_t(double(width) * c.mlp_ratio), width, 16 * kMaxWidth);
    }
  }
  if (!c.labels.empty() && int64_t(c.labels.size()) != c.classes) {
    return fail(ErrorCode::kCorrupt, "'{}': it names {} labels for {} classes", c.source, c.labels.size(), c.classes);
  }
  return {};
}

/// Width of an inverted residual's inner maps: a multiple of 8 that is no more than a tenth below in * ratio
/// (make_divisible of both libraries).
int64_t inner_width(int64_t in, double ratio) {
  const int64_t width = int64_t(std::nearbyint(double(in) * ratio));
  const int64_t rounded = std::max<int64_t>(8, (width + 4) / 8 * 8);
  return double(rounded) < 0.9 * double(width) ? rounded + 8 : rounded;
}

// ---- the network

/// Tensor names: of a whole stage's parts in both spellings.
struct MobileVitNames {
  std::string conv, norm;                 // within a convolution layer: ".convolution", ".normalization"
  std::string expand, depthwise, reduce;  // within an inverted residual
  std::string local, widen, layer, last_norm, project, fuse;         // within a block
  std::string norm1, qkv, query, key, value, proj, norm2, fc1, fc2;  // within a transformer layer
};

MobileVitNames names_of(const MobileVitConfig& c) {
  MobileVitNames n;
  if (c.naming == Naming::kTimm) {
    n.conv = ".conv", n.norm = ".bn";
    n.expand = ".conv1_1x1", n.depthwise = ".conv2_kxk", n.reduce = ".conv3_1x1";
    n.local = ".conv_kxk", n.widen = ".conv_1x1", n.layer = ".transformer.", n.last_norm = ".norm";
    n.project = ".conv_proj", n.fuse = ".conv_fusion";
    n.norm1 = ".norm1", n.qkv = ".attn.qkv", n.proj = ".attn.proj", n.norm2 = ".norm2", n.fc1 = ".mlp.fc1",
    n.fc2 = ".mlp.fc2";
    return n;
  }
  n.conv = ".convolution", n.norm = ".normalization";
  n.expand = ".expand_1x1", n.depthwise = ".conv_3x3", n.reduce = ".reduce_1x1";
  n.local = ".conv_kxk", n.widen = ".conv_1x1.convolution", n.layer = ".transformer.layer.", n.last_norm = ".layernorm";
  n.project = ".conv_projection", n.fuse = ".fusion";
  n.norm1 = ".layernorm_before", n.proj = ".attention.output.dense", n.norm2 = ".layernorm_after";
  n.query = ".attention.attention.query", n.key = ".attention.attention.key", n.value = ".attention.attention.value";
  n.fc1 = ".intermediate.dense", n.fc2 = ".output.dense";
  return n;
}

/// Adds a MobileViT to a graph. All maps are [n, h, w, c].
class MobileVitBuilder {
 public:
  MobileVitBuilder(const MobileVitConfig& config, ModelBuilder& b) : c_(config), b_(b), n_(names_of(config)) {}

  /// The maps of the stem and the first `stages` stages: stem, stage1, ...
  std::vector<ValueId> maps(ValueId pixels, int64_t stages) {
    const bool timm = c_.naming == Naming::kTimm;
    std::vector<ValueId> maps{conv(pixels, c_.prefix + (timm ? "stem" : "conv_stem"), c_.neck[0], 3, 2, true, "stem")};
    for (int64_t s = 0; s < stages && b_.ok(); ++s) {
      const std::string at = c_.prefix + (timm ? "stages." : "encoder.layer.") + std::to_string(s);
      const std::string name = fmt::format("stages.{}", s + 1);
      ValueId x = maps.back();
      const int64_t out = c_.neck[size_t(s + 1)];
      if (s < 2) {
        const int64_t layers = s == 0 ? 1 : 3;
        for (int64_t i = 0; i < layers; ++i) {
          const std::string layer = at + (timm ? "." : ".layer.") + std::to_string(i);
          x = inverted_residual(x, layer, out, s == 1 && i == 0 ? 2 : 1, 1, fmt::format("{}.{}", name, i));
        }
      } else {
        // A smaller output stride keeps the last stages' maps large. Transformers dilates the depthwise convolution of
        // the last one by 2 where stride 8 is asked for, and nothing else.
        const bool keep = s == 3 ? c_.output_stride == 8 : s == 4 && c_.output_stride <= 16;
        const int64_t dilation = s == 4 && c_.output_stride == 8 ? 2 : 1;
        x = inverted_residual(x, at + (timm ? ".0" : ".downsampling_layer"), out, keep ? 1 : 2, dilation,
                              name + ".down");
        x = block(x, at + (timm ? ".1" : ""), c_.hidden[size_t(s - 2)], kLayers[size_t(s - 2)], name);
      }
      maps.push_back(x);
    }
    return maps;
  }

  ValueId head(Head head, int64_t batch, int64_t h, int64_t w) {
    const bool timm = c_.naming == Naming::kTimm;
    ValueId x = maps(b_.pixels(batch, h, w, c_.channels), kStages).back();
    x = conv(x, c_.prefix + (timm ? "final_conv" : "conv_1x1_exp"), c_.neck[6], 1, 1, true, "expand");
    if (head == Head::kTokens) return x;
    x = b_.mean(x, 0, "pool");
    if (head == Head::kFeatures) return x;
    return b_.linear(x, timm ? c_.prefix + "head.fc" : "classifier", c_.classes, true, "head");
  }

 private:
  ValueId conv(ValueId x, const std::string& tensor, int64_t out, int64_t kernel, int64_t stride, bool act,
               const std::string& name, int64_t groups = 1, int64_t dilation = 1) {
    ConvLayer l;
    l.conv = tensor + n_.conv;
    l.norm = tensor + n_.norm;
    l.in = b_.shape(x).c();
    l.out = out;
    l.kernel = kernel;
    l.stride = stride;
    l.groups = groups;
    l.dilation = dilation;
    x = b_.conv(x, l, name);
    return act ? b_.activation(x, c_.act, name + ".act") : x;
  }

  /// Expand, depthwise, reduce (MobileNetV2's block, Sandler et al. 2018), with a shortcut where the shape stays.
  ValueId inverted_residual(ValueId x, const std::string& at, int64_t out, int64_t stride, int64_t dilation,
                            const std::string& name) {
    const int64_t in = b_.shape(x).c(), inner = inner_width(in, c_.expand_ratio);
    ValueId y = conv(x, at + n_.expand, inner, 1, 1, true, name + ".expand");
    y = conv(y, at + n_.depthwise, inner, 3, stride, true, name + ".depthwise", inner, dilation);
    y = conv(y, at + n_.reduce, out, 1, 1, false, name + ".reduce");
    return stride == 1 && in == out ? b_.add(OpKind::kAdd, name + ".add", {x, y}) : y;
  }

  /// A MobileViT block: local convolutions, transformer layers among the pixels that stand at the same place of their
  /// patches, and the fusion of both. Tokens stay in the order of the map: which of them attend to each other is the
  /// attention's business, so nothing is unfolded or folded back.
  ValueId block(ValueId x, const std::string& at, int64_t width, int64_t layers, const std::string& name) {
    const int64_t out = b_.shape(x).c();
    ValueId y = conv(x, at + n_.local, out, c_.kernel, 1, true, name + ".local");
    ConvLayer widen;
    widen.conv = at + n_.widen;
    widen.in = out;
    widen.out = width;
    y = b_.conv(y, widen, name + ".widen");
    const int64_t h = b_.shape(y).h(), w = b_.shape(y).w();
    y = b_.resize(y, round_up(h, c_.patch), round_up(w, c_.patch), false, name + ".fit");
    for (int64_t i = 0; i < layers && b_.ok(); ++i) {
      y = transformer_layer(y, at + n_.layer + std::to_string(i), width, fmt::format("{}.layers.{}", name, i));
    }
    y = b_.layer_norm(y, at + n_.last_norm, c_.eps, name + ".norm");
    y = b_.resize(y, h, w, false, name + ".fit_back");
    y = conv(y, at + n_.project, out, 1, 1, true, name + ".project");
    y = b_.add(OpKind::kConcat, name + ".concat", {x, y});
    return conv(y, at + n_.fuse, out, c_.kernel, 1, true, name + ".fuse");
  }

  ValueId transformer_layer(ValueId x, const std::string& at, int64_t d, const std::string& name) {
    const int64_t dim = d / c_.heads;
    const BlockSizes s = b_.sizes(name, {c_.heads, dim, dim, int64_t(double(d) * c_.mlp_ratio)});
    if (s.heads > 0) x = attention(x, s, at, d, name);
    return s.mlp > 0 ? mlp(x, s.mlp, at, d, name) : x;
  }

  ValueId attention(ValueId x, const BlockSizes& s, const std::string& at, int64_t d, const std::string& name) {
    const int64_t qk = s.heads * s.qk, v = s.heads * s.v;
    ValueId y = b_.layer_norm(x, at + n_.norm1, c_.eps, name + ".norm1");
    if (c_.naming == Naming::kTimm) {
      y = b_.linear(y, at + n_.qkv, 2 * qk + v, c_.qkv_bias, name + ".attn.qkv");
    } else {
      std::vector<ConstantPtr> weights, biases;
      for (const std::string* part : {&n_.query, &n_.key, &n_.value}) {
        const int64_t rows = part == &n_.value ? v : qk;
        weights.push_back(b_.matrix(at + *part, rows, d));
        biases.push_back(c_.qkv_bias ? b_.bias(at + *part, rows) : nullptr);
      }
      y = b_.stacked_linear(y, std::move(weights), std::move(biases), at + ".attention.attention.query|key|value",
                            name + ".attn.qkv");
    }
    const double patch = double(c_.patch);
    y = b_.attention(y, s, d / c_.heads, name + ".attn", {}, {{"step_h", patch}, {"step_w", patch}});
    y = b_.linear(y, at + n_.proj, d, true, name + ".attn.proj");
    return b_.add(OpKind::kAdd, name + ".attn.add", {x, y});
  }

  ValueId mlp(ValueId x, int64_t width, const std::string& at, int64_t d, const std::string& name) {
    ValueId y = b_.layer_norm(x, at + n_.norm2, c_.eps, name + ".norm2");
    y = b_.linear(y, at + n_.fc1, width, true, name + ".mlp.fc1");
    y = b_.activation(y, c_.act, name + ".mlp.act");
    y = b_.linear(y, at + n_.fc2, d, true, name + ".mlp.fc2");
    return b_.add(OpKind::kAdd, name + ".mlp.add", {x, y});
  }

  const MobileVitConfig& c_;
  ModelBuilder& b_;
  MobileVitNames n_;
};

bool is_batch_counter(const std::string& tensor) { return ends_with(tensor, ".num_batches_tracked"); }

class MobileVitModel final : public ConfiguredModel<MobileVitConfig> {
 public:
  using ConfiguredModel::ConfiguredModel;

  Result<PreprocessConfig> preprocess(const std::string& text, const std::string& source) const override;
  Result<Graph> build(Head head, int64_t batch, int64_t h, int64_t w) const override {
    if (head == Head::kLogits && config_.classes == 0) return no_head();
    ModelBuilder b(source_, config_.architecture, "from '" + config_.source + "'");
    const ValueId answer = MobileVitBuilder(config_, b).head(head, batch, h, w);
    return b.finish(answer);
  }
  bool is_known_unused(const std::string& tensor) const override { return is_batch_counter(tensor); }
  bool is_within(const std::string& tensor) const override {
    if (tensor.rfind(config_.prefix, 0) != 0) return false;
    const std::string name = tensor.substr(config_.prefix.size());
    for (const char* part : {"conv_stem.", "encoder.", "stem.", "stages.", "final_conv."}) {
      if (name.rfind(part, 0) == 0) return true;
    }
    return false;
  }
};

Result<PreprocessConfig> MobileVitModel::preprocess(const std::string& text, const std::string& source) const {
  if (!text.empty()) {
    return parse_preprocessor_config(text, source, Processor::kMobileVit, config_.image_h, config_.image_w,
                                     config_.channels);
  }
  PreprocessConfig c;
  if (config_.naming == Naming::kTimm) {
    // _cfg() of mobilevit.py: RGB in [0, 1]; timm turned the first weights round.
    c = timm_preprocess(config_.image_h, config_.image_w, 0.9, Filter::kBicubic);
    c.mean = {{0, 0, 0}};
    c.std = {{1, 1, 1}};
    c.channels = config_.channels;
    return parse_timm_preprocess(source_.config, source_.config_path, c, config_.image_h, config_.image_w);
  }
  c = processor_defaults(Processor::kMobileVit);
  c.crop_h = c.input_h = config_.image_h;
  c.crop_w = c.input_w = config_.image_w;
  c.shortest = std::max(config_.image_h, config_.image_w) * 288 / 256;  // as the published ones
  c.channels = config_.channels;
  c.warnings.push_back(
      fmt::format("'{}' has no preprocessor_config.json; pictures are prepared as is usual for MobileViT: BGR "
                  "from 0 to 1",
                  source_.path));
  return c;
}

/// The backbone of a dense head: the trunk without its last 1x1 convolution.
class MobileVitBackbone final : public Backbone {
 public:
  MobileVitBackbone(MobileVitConfig config, std::vector<int64_t> stages)
      : config_(std::move(config)), stages_(std::move(stages)) {}

  int64_t channels() const override { return config_.channels; }
  int64_t image_h() const override { return 0; }
  int64_t image_w() const override { return 0; }
  std::vector<ValueId> taps(ModelBuilder& b, ValueId pixels) const override {
    const std::vector<ValueId> maps = MobileVitBuilder(config_, b).maps(pixels, stages_.back());
    std::vector<ValueId> tapped;
    for (int64_t s : stages_) tapped.push_back(b.ok() ? maps[size_t(s)] : kNoValue);
    return tapped;
  }
  bool is_known_unused(const std::string& tensor) const override {
    return is_batch_counter(tensor) || tensor.rfind(config_.prefix + "conv_1x1_exp.", 0) == 0;
  }

 private:
  MobileVitConfig config_;
  std::vector<int64_t> stages_;
};

bool matches_mobilevit(const ModelSource& source) {
  if (source.config.empty()) return false;
  const Json json = parse_json(source.config);
  if (!json.is_object()) return false;
  Fields fields(json, source.config_path);
  std::string type, architecture;
  fields.string("model_type", &type);
  fields.string("architecture", &architecture);
  if (!architecture.empty()) return architecture.rfind("mobilevit_", 0) == 0;
  return type.empty() ? first_architecture(fields).rfind("MobileViTFor", 0) == 0 ||
                            first_architecture(fields) == "MobileViTModel"
                      : type == "mobilevit";
}

Result<std::unique_ptr<VisionModel>> open_mobilevit(const ModelSource& source) {
  VIREO_ASSIGN(const Json json, parse_json_object(source.config, source.config_path));
  const Checkpoint* weights = source.weights.get();
  if (find_member(json, "architecture") != nullptr) {
    VIREO_ASSIGN(MobileVitConfig c, parse_timm(json, source.config_path));
    VIREO_TRY(check(c));
    return std::unique_ptr<VisionModel>(std::make_unique<MobileVitModel>(std::move(c), source));
  }
  VIREO_ASSIGN(MobileVitConfig c, parse_config(json, source.config_path));
  c.prefix = ends_with(c.architecture, "Model") ? "" : "mobilevit.";
  if (weights != nullptr) find_prefix(*weights, "conv_stem.convolution.weight", c.prefix, &c.prefix);
  const bool head = weights != nullptr ? weights->has("classifier.weight") : !ends_with(c.architecture, "Model");
  if (head || ends_with(c.architecture, "ForImageClassification")) {
    Fields fields(json, source.config_path);
    VIREO_TRY(read_classes(fields, weights, "classifier.weight", &c.classes, &c.labels));
  }
  VIREO_TRY(check(c));
  return std::unique_ptr<VisionModel>(std::make_unique<MobileVitModel>(std::move(c), source));
}

Result<std::unique_ptr<Backbone>> open_mobilevit_backbone(const BackboneSource& source) {
  VIREO_ASSIGN(MobileVitConfig c, parse_config(*source.json, source.source));
  c.prefix = source.prefix;
  VIREO_TRY(check(c));
  Fields fields(*source.json, source.source);
  VIREO_ASSIGN(std::vector<int64_t> stages, read_taps(fields, kStages));
  return std::unique_ptr<Backbone>(std::make_unique<MobileVitBackbone>(std::move(c), std::move(stages)));
}

constexpr const char* kMobileVitBackbones[] = {"mobilevit", nullptr};

}  // namespace

const Family kMobileVitFamily = {"mobilevit", matches_mobilevit, open_mobilevit, kMobileVitBackbones,
                                 open_mobilevit_backbone};

}  // namespace vireo
