#include "model/upernet.h"

#include <utility>

#include "model/backbone.h"
#include "model/config_parts.h"
#include "model/json.h"

namespace vireo {
namespace {

constexpr size_t kMaxConcat = 8;  // operands of the concat operator
constexpr int64_t kPictureSide =
    512;  // where nothing says how large pictures are: what published UPerNets were trained on

struct UperNetConfig {
  std::string source, architecture;
  bool paper = false;    // the network of arXiv 2309.02617's code, tensors PPN.*, FPN.* and head.*
  int64_t hidden = 512;  // width of every map of the head
  std::vector<int64_t> scales{1, 2, 3, 6};
  int64_t classes = 0;
  std::vector<std::string> labels;
};

/// UperNetConfig of Transformers and its defaults.
Result<UperNetConfig> parse_config(const Json& json, const std::string& source, const Checkpoint* weights) {
  Fields fields(json, source);
  UperNetConfig c;
  c.source = source;
  c.architecture = first_architecture(fields);
  if (c.architecture.empty()) c.architecture = "UperNetForSemanticSegmentation";
  c.paper = weights != nullptr ? weights->has("PPN.bottleneck.0.weight") : c.architecture == "UperNet";
  fields.integer("hidden_size", &c.hidden, 1, kMaxWidth);
  if (const Json* list = fields.find("pool_scales")) {
    bool good = list->is_array() && !list->empty() && list->size() < kMaxConcat;
    c.scales.clear();
    for (size_t i = 0; good && i < list->size(); ++i) {
      good = (*list)[i].is_number_integer() && (*list)[i] >= 1 && (*list)[i] <= 1024;
      if (good) c.scales.push_back((*list)[i].get<int64_t>());
    }
    if (!good) fields.reject("pool_scales", *list, fmt::format("1 to {} whole numbers from 1 to 1024", kMaxConcat - 1));
  }
  VIREO_TRY(fields.status());
  VIREO_TRY(
      read_classes(fields, weights, c.paper ? "head.weight" : "decode_head.classifier.weight", &c.classes, &c.labels));
  if (c.classes < 1)
    return fail(ErrorCode::kCorrupt,
                "'{}': a segmentation model needs at least one class, but id2label or num_labels gives none", source);
  const Json* backbone = fields.find("backbone_config");
  if (backbone == nullptr || !backbone->is_object()) {
    return fail(backbone == nullptr ? ErrorCode::kUnsupported : ErrorCode::kCorrupt,
                "'{}' has no backbone_config{}; expected an "
                "object with the backbone's model_type and sizes",
                source,
                fields.find("backbone") != nullptr ? " but names a backbone of another library (key 'backbone')" : "");
  }
  return c;
}

/// Adds the head to a graph whose taps [n, h, w, c] are there.
class HeadBuilder {
 public:
  HeadBuilder(const UperNetConfig& config, ModelBuilder& b, std::vector<ValueId> taps)
      : c_(config), b_(b), taps_(std::move(taps)) {}

  /// Scores [n, h, w, classes] at the first tap's size.
  ValueId scores() { return c_.paper ? paper() : hugging_face(); }

 private:
  int64_t width(ValueId v) const { return b_.shape(v).c(); }

  /// A convolution with batch norm and ReLU, or with a bias alone.
  ValueId conv(ValueId x, const std::string& tensor, const std::string& norm, int64_t out, int64_t kernel,
               const std::string& name) {
    ConvLayer l;
    l.conv = tensor;
    l.norm = norm;
    l.in = width(x);
    l.out = out;
    l.kernel = kernel;
    l.bias = norm.empty();
    x = b_.conv(x, l, name);
    return norm.empty() ? x : b_.activation(x, Activation::kRelu, name + ".act");
  }
  ValueId concat(const std::vector<ValueId>& parts, const std::string& name) {
    return parts.size() == 1 ? parts[0] : b_.add(OpKind::kConcat, name, parts);
  }
  /// `x` at the size of `like`.
  ValueId resize(ValueId x, ValueId like, const std::string& name) {
    return b_.resize(x, b_.shape(like).h(), b_.shape(like).w(), c_.paper, name);
  }

  /// Pyramid pooling (Zhao et al., arXiv 1612.01105): averages of s x s parts of the map, brought back to its size.
  ValueId pyramid(ValueId top, int64_t part, int64_t out) {
    std::vector<ValueId> parts{top};
    for (size_t i = 0; i < c_.scales.size(); ++i) {
      const std::string name = fmt::format("head.pool.{}", i);
      const std::string at =
          c_.paper ? fmt::format("PPN.stages.{}.", i) : fmt::format("decode_head.psp_modules.{}.1.", i);
      ValueId x = b_.add(OpKind::kAdaptivePool, name, {top},
                         {{"out_h", double(c_.scales[i])}, {"out_w", double(c_.scales[i])}});
      x = c_.paper ? conv(x, at + "1", at + "2", part, 1, name + ".conv")
                   : conv(x, at + "conv", at + "batch_norm", part, 1, name + ".conv");
      parts.push_back(resize(x, top, name + ".resize"));
    }
    const ValueId all = concat(parts, "head.pool.concat");
    return c_.paper ? conv(all, "PPN.bottleneck.0", "PPN.bottleneck.1", out, 3, "head.pool.fuse")
                    : conv(all, "decode_head.bottleneck.conv", "decode_head.bottleneck.batch_norm", out, 3,
                           "head.pool.fuse");
  }

  /// UperNetHead of Transformers: every map to `hidden` channels, sums from the top down.
  ValueId hugging_face() {
    std::vector<ValueId> outs(taps_.size());
    ValueId x = outs.back() = pyramid(taps_.back(), c_.hidden, c_.hidden);
    for (size_t i = taps_.size() - 1; i-- > 0 && b_.ok();) {
      const std::string name = fmt::format("head.fpn.{}", i), lateral = fmt::format("decode_head.lateral_convs.{}.", i),
                        smooth = fmt::format("decode_head.fpn_convs.{}.", i);
      const ValueId side = conv(taps_[i], lateral + "conv", lateral + "batch_norm", c_.hidden, 1, name + ".lateral");
      x = b_.add(OpKind::kAdd, name + ".add", {side, resize(x, taps_[i], name + ".resize")});
      outs[i] = conv(x, smooth + "conv", smooth + "batch_norm", c_.hidden, 3, name + ".conv");
    }
    x = conv(joined(outs), "decode_head.fpn_bottleneck.conv", "decode_head.fpn_bottleneck.batch_norm", c_.hidden, 3,
             "head.fuse");
    return conv(x, "decode_head.classifier", "", c_.classes, 1, "head.classifier");
  }

  /// The paper's code: all in the width of the first map, sums of neighbours only, resizing with aligned corners.
  ValueId paper() {
    const int64_t d = width(taps_[0]), top = width(taps_.back());
    std::vector<ValueId> maps = taps_;
    maps.back() = pyramid(maps.back(), top / int64_t(c_.scales.size()), top);
    for (size_t i = 1; i < maps.size(); ++i) {
      maps[i] = conv(maps[i], fmt::format("FPN.conv1x1.{}", i - 1), "", d, 1, fmt::format("head.fpn.{}.lateral", i));
    }
    std::vector<ValueId> outs;
    for (size_t i = 0; i + 1 < maps.size() && b_.ok(); ++i) {
      const std::string name = fmt::format("head.fpn.{}", i);
      const ValueId sum =
          b_.add(OpKind::kAdd, name + ".add", {maps[i], resize(maps[i + 1], maps[i], name + ".resize")});
      // One layer under several names; a file may hold it once.
      std::string smooth = fmt::format("FPN.smooth_conv.{}", i);
      if (!b_.has(smooth + ".weight") && b_.has("FPN.smooth_conv.0.weight")) smooth = "FPN.smooth_conv.0";
      outs.push_back(conv(sum, smooth, "", d, 3, name + ".conv"));
    }
    outs.push_back(maps.back());
    const ValueId x = conv(joined(outs), "FPN.conv_fusion.0", "FPN.conv_fusion.1", d, 3, "head.fuse");
    return conv(x, "head", "", c_.classes, 3, "head.classifier");
  }

  /// All maps at the first one's size, side by side.
  ValueId joined(std::vector<ValueId> maps) {
    for (size_t i = 1; i < maps.size() && b_.ok(); ++i)
      maps[i] = resize(maps[i], maps[0], fmt::format("head.fuse.resize.{}", i));
    return b_.ok() ? concat(maps, "head.fuse.concat") : kNoValue;
  }

  const UperNetConfig& c_;
  ModelBuilder& b_;
  std::vector<ValueId> taps_;
};

class UperNetModel final : public VisionModel {
 public:
  UperNetModel(UperNetConfig config, std::unique_ptr<Backbone> backbone, ModelSource source)
      : config_(std::move(config)), backbone_(std::move(backbone)), source_(std::move(source)) {}

  const std::string& architecture() const override { return config_.architecture; }
  int64_t channels() const override { return backbone_->channels(); }
  int64_t image_h() const override { return backbone_->image_h() > 0 ? backbone_->image_h() : kPictureSide; }
  int64_t image_w() const override { return backbone_->image_w() > 0 ? backbone_->image_w() : kPictureSide; }
  int64_t classes() const override { return config_.classes; }
  Task task() const override { return Task::kSegmentation; }
  const std::vector<std::string>& labels() const override { return config_.labels; }
  Result<PreprocessConfig> preprocess(const std::string& text, const std::string& source) const override;
  Result<Graph> build(Head head, int64_t batch, int64_t h, int64_t w) const override;
  bool is_known_unused(const std::string& tensor) const override {
    // The auxiliary head serves training.
    return ends_with(tensor, ".num_batches_tracked") || tensor.rfind("auxiliary_head.", 0) == 0 ||
           backbone_->is_known_unused(tensor);
  }

 private:
  UperNetConfig config_;
  std::unique_ptr<Backbone> backbone_;
  ModelSource source_;
};

Result<Graph> UperNetModel::build(Head head, int64_t batch, int64_t h, int64_t w) const {
  ModelBuilder b(source_, config_.architecture, "from '" + config_.source + "'");
  const ValueId pixels = b.pixels(batch, h, w, channels());
  std::vector<ValueId> taps = backbone_->taps(b, pixels);
  if (!b.ok()) return b.finish(kNoValue);  // the taps end where the backbone does
  if (taps.empty())
    return fail(ErrorCode::kUnsupported,
                "'{}': backbone_config taps no stage, expected at least one; check out_indices or out_features",
                config_.source);
  if (taps.size() > kMaxConcat) {
    return fail(ErrorCode::kUnsupported,
                "'{}': backbone_config taps {} stages, expected at most {}; check out_indices or "
                "out_features",
                config_.source, taps.size(), kMaxConcat);
  }
  if (config_.paper && b.shape(taps[0]).c() != config_.hidden) {
    return fail(ErrorCode::kCorrupt,
                "'{}': hidden_size is {}, but the backbone's first tap has {} channels, which is the width of "
                "this network's head; check hidden_size, out_indices and the backbone's sizes",
                config_.source, config_.hidden, b.shape(taps[0]).c());
  }
  ValueId x = HeadBuilder(config_, b, std::move(taps)).scores();
  if (head == Head::kClassMap) {
    // A picture's map is read from the scores at the input's size, as post_process_semantic_segmentation does.
    x = b.add(OpKind::kArgmax, "class_map", {x},
              {{"out_h", double(h)}, {"out_w", double(w)}, {"mid_h", double(h)}, {"mid_w", double(w)}});
  } else {
    x = b.resize(x, h, w, false, "logits");
  }
  return b.finish(x);
}

Result<PreprocessConfig> UperNetModel::preprocess(const std::string& text, const std::string& source) const {
  if (!text.empty()) {
    VIREO_ASSIGN(PreprocessConfig c,
                 parse_preprocessor_config(text, source, Processor::kSegformer, image_h(), image_w(), channels()));
    if (c.crop)
      return fail(ErrorCode::kUnsupported,
                  "'{}': do_center_crop is true, which leaves the margins of a picture without a class; expected false "
                  "for a model that segments",
                  source);
    return c;
  }
  PreprocessConfig c = processor_defaults(Processor::kSegformer);
  c.resize_h = c.input_h = c.crop_h = image_h();
  c.resize_w = c.input_w = c.crop_w = image_w();
  c.channels = channels();
  c.warnings.push_back(
      fmt::format("'{}' has no preprocessor_config.json; pictures are prepared as is usual for UPerNet: {} x {}, "
                  "mean {} and std {}",
                  source_.path, c.input_h, c.input_w, c.mean[0], c.std[0]));
  return c;
}

bool matches_upernet(const ModelSource& source) {
  if (source.config.empty()) return false;
  const Json json = parse_json(source.config);
  if (!json.is_object() || find_member(json, "architecture") != nullptr) return false;
  Fields fields(json, source.config_path);
  std::string type;
  fields.string("model_type", &type);
  return type == "upernet" || (type.empty() && first_architecture(fields).rfind("UperNet", 0) == 0);
}

Result<std::unique_ptr<VisionModel>> open_upernet(const ModelSource& source) {
  VIREO_ASSIGN(const Json json, parse_json_object(source.config, source.config_path));
  VIREO_ASSIGN(UperNetConfig c, parse_config(json, source.config_path, source.weights.get()));
  BackboneSource trunk;
  trunk.json = find_member(json, "backbone_config");
  trunk.source = source.config_path;
  trunk.model = &source;
  trunk.prefix = "backbone.";
  trunk.plain = c.paper;
  VIREO_ASSIGN(std::unique_ptr<Backbone> backbone, open_backbone(trunk));
  return std::unique_ptr<VisionModel>(std::make_unique<UperNetModel>(std::move(c), std::move(backbone), source));
}

}  // namespace

const Family kUperNetFamily = {"upernet", matches_upernet, open_upernet};

}  // namespace vireo
