#include "model/swin.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include "model/backbone.h"
#include "model/config_parts.h"
#include "model/json.h"

namespace vireo {
namespace {

constexpr double kNormEps =
    1e-5;  // of the embeddings, of merging and of a backbone's taps, whatever layer_norm_eps says
constexpr double kMaxLogit = 4.605170185988092;  // ln 100

// ---- constants that are computed when they are read

class RelativeBias final : public Constant {
 public:
  RelativeBias(ConstantPtr table, int64_t window)
      : Constant(table->cols() * window * window, window * window), table_(std::move(table)), window_(window) {}
  void read(int64_t first, int64_t count, float* out) const override {
    std::call_once(once_,
                   [this] { values_ = table_->read_all(); });  // [(2 window - 1)^2, heads], a few thousand numbers
    const std::vector<float>& table = values_;
    const int64_t heads = table_->cols(), side = 2 * window_ - 1, tokens = cols();
    for (int64_t r = 0; r < count; ++r) {
      const int64_t head = (first + r) / tokens, i = (first + r) % tokens;
      for (int64_t j = 0; j < tokens; ++j) {
        const int64_t dy = i / window_ - j / window_, dx = i % window_ - j % window_;
        out[r * tokens + j] = table[size_t(((dy + window_ - 1) * side + dx + window_ - 1) * heads + head)];
      }
    }
  }

 private:
  ConstantPtr table_;
  int64_t window_;
  mutable std::once_flag once_;  // readers come row by row and from any thread
  mutable std::vector<float> values_;
};

class ContinuousTable final : public Constant {
 public:
  ContinuousTable(ConstantPtr w1, ConstantPtr b1, ConstantPtr w2, int64_t window, int64_t reach)
      : Constant((2 * window - 1) * (2 * window - 1), w2->rows()),
        w1_(std::move(w1)),
        b1_(std::move(b1)),
        w2_(std::move(w2)),
        window_(window),
        reach_(reach) {}
  void read(int64_t first, int64_t count, float* out) const override {
    std::call_once(once_, [this] { fill(); });  // readers come row by row and from any thread
    std::copy_n(values_.data() + first * cols(), size_t(count * cols()), out);
  }

 private:
  void fill() const {
    const std::vector<float> w1 = w1_->read_all(), b1 = b1_->read_all(), w2 = w2_->read_all();
    const size_t inner = b1.size();
    const int64_t side = 2 * window_ - 1;
    const auto coordinate = [&](int64_t i) {
      const double distance = double(i - (window_ - 1)) * 8 / double(reach_ > 1 ? reach_ - 1 : 1);
      return std::copysign(std::log2(1 + std::fabs(distance)) / 3, distance);
    };
    values_.resize(size_t(rows() * cols()));
    std::vector<double> hidden(inner);
    for (int64_t at = 0; at < rows(); ++at) {
      const double y = coordinate(at / side), x = coordinate(at % side);
      for (size_t k = 0; k < inner; ++k) {
        hidden[k] = std::max(0.0, double(w1[2 * k]) * y + double(w1[2 * k + 1]) * x + double(b1[k]));
      }
      for (int64_t head = 0; head < cols(); ++head) {
        double sum = 0;
        for (size_t k = 0; k < inner; ++k) sum += hidden[k] * double(w2[size_t(head) * inner + k]);
        values_[size_t(at * cols() + head)] = float(16 / (1 + std::exp(-sum)));
      }
    }
  }

  ConstantPtr w1_, b1_, w2_;
  int64_t window_, reach_;
  mutable std::once_flag once_;
  mutable std::vector<float> values_;
};

// ---- the network

/// Tensor names within a block.
struct SwinNames {
  std::string norm1, norm2, proj, fc1, fc2, attention;  // attention: before "logit_scale" and the like
  std::string mlp;                                      // V2's position network
};

SwinNames names_of(const SwinConfig& c) {
  if (c.rules == SwinRules::kTorchvision)
    return {".norm1", ".norm2", ".attn.proj", ".mlp.0", ".mlp.3", ".attn.", ".attn.cpb_mlp."};
  if (c.rules == SwinRules::kTimm)
    return {".norm1", ".norm2", ".attn.proj", ".mlp.fc1", ".mlp.fc2", ".attn.", ".attn.cpb_mlp."};
  return {".layernorm_before",
          ".layernorm_after",
          ".attention.output.dense",
          ".intermediate.dense",
          ".output.dense",
          ".attention.self.",
          ".attention.self.continuous_position_bias_mlp."};
}

/// Tensor names around the blocks. Stages are counted from 0.
struct Places {
  std::string patch, patch_norm, norm, head;

  explicit Places(const SwinConfig& c) : c_(c) {
    const bool tv = c.rules == SwinRules::kTorchvision, timm = c.rules == SwinRules::kTimm;
    patch = c.prefix + (tv ? "features.0.0" : timm ? "patch_embed.proj" : "embeddings.patch_embeddings.projection");
    patch_norm = c.prefix + (tv ? "features.0.2" : timm ? "patch_embed.norm" : "embeddings.norm");
    norm = c.prefix + (tv || timm ? "norm" : "layernorm");
    head = tv ? c.prefix + "head" : timm ? c.prefix + (c.merge_behind ? "head" : "head.fc") : "classifier";
  }
  std::string block(int64_t stage, int64_t i) const {
    return c_.prefix + (c_.rules == SwinRules::kTorchvision ? fmt::format("features.{}.{}", 2 * stage + 1, i)
                        : c_.rules == SwinRules::kTimm      ? fmt::format("layers.{}.blocks.{}", stage, i)
                                                            : fmt::format("encoder.layers.{}.blocks.{}", stage, i));
  }
  /// The merging behind a stage.
  std::string merge(int64_t stage) const {
    return c_.prefix + (c_.rules == SwinRules::kTorchvision ? fmt::format("features.{}", 2 * stage + 2)
                        : c_.rules == SwinRules::kTimm
                            ? fmt::format("layers.{}.downsample", stage + (c_.merge_behind ? 0 : 1))
                            : fmt::format("encoder.layers.{}.downsample", stage));
  }

 private:
  const SwinConfig& c_;
};

/// The windows of one block on its map.
struct Windows {
  int64_t size = 0, shift_h = 0, shift_w = 0;
};

/// Adds a Swin Transformer to a graph. All maps are [n, h, w, c].
class SwinBuilder {
 public:
  SwinBuilder(const SwinConfig& config, ModelBuilder& b) : c_(config), b_(b), n_(names_of(config)), at_(config) {}

  /// The embeddings and the maps of the first `stages` stages, each before its patch merging.
  std::vector<ValueId> maps(ValueId pixels, int64_t stages) {
    ValueId x = embed(pixels);
    std::vector<ValueId> maps{x};
    for (int64_t s = 0; s < stages && b_.ok(); ++s) {
      const std::string name = fmt::format("stages.{}", s + 1);
      for (int64_t i = 0; i < c_.depths[size_t(s)] && b_.ok(); ++i) {
        x = block(x, at_.block(s, i), s, i % 2 != 0, fmt::format("{}.blocks.{}", name, i));
      }
      maps.push_back(x);
      if (s + 1 < stages) x = merge(x, at_.merge(s), name + ".merge");
    }
    return maps;
  }

  ValueId head(Head head, int64_t batch, int64_t h, int64_t w) {
    ValueId x = maps(b_.pixels(batch, h, w, c_.channels), c_.stages()).back();
    x = b_.layer_norm(x, at_.norm, c_.eps, "norm");
    if (head == Head::kTokens) return x;
    x = b_.mean(x, 0, "pool");
    if (head == Head::kFeatures) return x;
    return b_.linear(x, at_.head, c_.classes, true, "head");
  }

 private:
  bool torchvision() const { return c_.rules == SwinRules::kTorchvision; }
  bool timm() const { return c_.rules == SwinRules::kTimm; }
  /// One matrix for q, k and v.
  bool joined() const { return torchvision() || timm(); }

  /// Patches of the picture, normalised. Hugging Face pads a picture that the patch does not divide with zeros on the
  /// right and at the bottom: the same as a kernel with as many zeros before its first tap on a picture padded on both
  /// sides.
  ValueId embed(ValueId pixels) {
    const std::string& at = at_.patch;
    const int64_t h = b_.shape(pixels).h(), w = b_.shape(pixels).w(), k = c_.channels * c_.patch_h * c_.patch_w;
    h_ = h;
    w_ = w;
    if (joined() && (h < c_.patch_h || w < c_.patch_w)) {
      b_.set_error(fail(ErrorCode::kInvalidArgument,
                        "model '{}' cannot take pictures of {} x {}: expected at least one patch of {} "
                        "x {}",
                        c_.architecture, h, w, c_.patch_h, c_.patch_w));
    }
    const int64_t top = joined() ? 0 : round_up(h, c_.patch_h) - h, left = joined() ? 0 : round_up(w, c_.patch_w) - w;
    ConstantPtr weight =
        b_.weight(at + ".weight", {c_.embed, c_.channels, c_.patch_h, c_.patch_w}, c_.embed, k, {0.f, 0.02f});
    ConstantPtr bias = b_.bias(at, c_.embed);
    if (!b_.ok()) return kNoValue;
    if (top > 0 || left > 0) weight = pad_kernel(std::move(weight), c_.channels, c_.patch_h, c_.patch_w, top, left);
    const ValueId wv = b_.constant(at + ".weight", std::move(weight));
    const ValueId x = b_.add(OpKind::kConv2d, "patch_embed", {pixels, wv, b_.constant(at + ".bias", std::move(bias))},
                             {{"kernel_h", double(c_.patch_h + top)},
                              {"kernel_w", double(c_.patch_w + left)},
                              {"stride_h", double(c_.patch_h)},
                              {"stride_w", double(c_.patch_w)},
                              {"pad_h", double(top)},
                              {"pad_w", double(left)}});
    return b_.layer_norm(x, at_.patch_norm, kNormEps, "patch_embed.norm");
  }

  /// timm's windows on a map: both its shift and, where a map is small, its window go by the picture. It rolls a map
  /// before it pads it, where everybody else pads first; no published model does both.
  Windows timm_windows(int64_t stage, bool odd, int64_t h, int64_t w) {
    const auto one = [&](int64_t picture, int64_t patch) {
      return std::min((picture / patch) >> stage, c_.window_of(stage));
    };
    const int64_t window = one(h_, c_.patch_h), configured = one(c_.image_h, c_.patch_h);
    const int64_t rows = (h_ / c_.patch_h) >> stage, cols = (w_ / c_.patch_w) >> stage;
    Windows out{window, odd && rows > window ? c_.window_of(stage) / 2 : 0,
                odd && cols > window ? c_.window_of(stage) / 2 : 0};
    const auto refuse = [&](const std::string& why) {
      b_.set_error(fail(ErrorCode::kInvalidArgument,
                        "model '{}' cannot take pictures of {} x {}: {}; expected its own size, {} x {}",
                        c_.architecture, h_, w_, why, c_.image_h, c_.image_w));
      return Windows{1, 0, 0};
    };
    if (window < 1) return refuse(fmt::format("they leave no row of patches in stage {}", stage + 1));
    if (window != one(w_, c_.patch_w))
      return refuse(fmt::format("stage {} would have windows that are not square", stage + 1));
    if (!c_.v2 && (window != configured || configured != one(c_.image_w, c_.patch_w))) {
      return refuse(fmt::format("stage {} would have a window of {}, and the checkpoint's position table is of {}",
                                stage + 1, window, configured));
    }
    if ((out.shift_h > 0 || out.shift_w > 0) && (h % window != 0 || w % window != 0)) {
      return refuse(fmt::format("the map of stage {}, {} x {}, is no multiple of its shifted window of {}", stage + 1,
                                h, w, window));
    }
    return out;
  }

  Windows windows(int64_t stage, bool odd, int64_t h, int64_t w) {
    if (timm()) return timm_windows(stage, odd, h, w);
    Windows out{c_.window, odd ? c_.window / 2 : 0, odd ? c_.window / 2 : 0};
    if (torchvision()) {
      if (c_.window >= round_up(h, c_.window)) out.shift_h = 0;
      if (c_.window >= round_up(w, c_.window)) out.shift_w = 0;
    } else if (c_.v2) {
      // Transformers goes by the configured picture, whatever is run, rounding down where merging rounds up.
      const int64_t side = (c_.image_h / c_.patch_h) >> stage;
      if (side <= c_.window) out = {side, 0, 0};
      if (side < 1) {
        b_.set_error(fail(ErrorCode::kCorrupt,
                          "'{}': image_size {} leaves no row of patches in stage {}; check image_size, "
                          "patch_size and depths",
                          c_.source, c_.image_h, stage + 1));
      }
    } else if (c_.rules == SwinRules::kModel && std::min(h, w) <= c_.window) {
      out = {std::min(h, w), 0, 0};
      if (out.size < c_.window) {
        b_.set_error(fail(ErrorCode::kInvalidArgument,
                          "model '{}': the picture gives a map of {} x {} in stage {}, smaller than "
                          "the window of {} that its position table was made for; give a picture of at least {} x {}",
                          c_.architecture, h, w, stage + 1, c_.window, c_.patch_h * (((c_.window - 1) << stage) + 1),
                          c_.patch_w * (((c_.window - 1) << stage) + 1)));
      }
    }
    return out;
  }

  /// One block. V1: x += attention(norm(x)); x += mlp(norm(x)). V2 norms behind: x += norm(attention(x)); x +=
  /// norm(mlp(x)).
  ValueId block(ValueId x, const std::string& at, int64_t stage, bool odd, const std::string& name) {
    const int64_t d = c_.width(stage);
    const auto norm = [&](ValueId v, const std::string& tensor, const char* part) {
      return b_.layer_norm(v, at + tensor, c_.eps, name + part);
    };
    const BlockSizes s = sizes(stage, name);
    ValueId y = kNoValue;
    if (s.heads > 0) {
      y = c_.v2 ? x : norm(x, n_.norm1, ".norm1");
      y = attention(y, s, at, stage, odd, name + ".attn");
      y = b_.linear(y, at + n_.proj, d, true, name + ".attn.proj");
      if (c_.v2) y = norm(y, n_.norm1, ".norm1");
      x = b_.add(OpKind::kAdd, name + ".attn.add", {x, y});
    }
    if (s.mlp == 0) return x;
    y = c_.v2 ? x : norm(x, n_.norm2, ".norm2");
    y = b_.linear(y, at + n_.fc1, s.mlp, true, name + ".mlp.fc1");
    y = b_.activation(y, c_.act, name + ".mlp.act");
    y = b_.linear(y, at + n_.fc2, d, true, name + ".mlp.fc2");
    if (c_.v2) y = norm(y, n_.norm2, ".norm2");
    return b_.add(OpKind::kAdd, name + ".mlp.add", {x, y});
  }

  BlockSizes sizes(int64_t stage, const std::string& name) {
    const int64_t heads = c_.heads[size_t(stage)], dim = c_.width(stage) / heads;
    const BlockSizes s = b_.sizes(name, {heads, dim, dim, c_.inner(stage)});
    // Norms of queries and keys are not those of their projections, and values share the rows that are normed.
    if (c_.v2 && (s.qk != dim || s.v != dim))
      b_.set_error(fail(ErrorCode::kUnsupported,
                        "'{}': quantization_config.vireo.structure gives the block '{}' heads of {} and {} channels; "
                        "Swin V2 normalises queries and keys, so they must keep their {}",
                        b_.source().config_path, name, s.qk, s.v, dim));
    return s;
  }

  /// q, k, v and the attention within windows. A row of zeros becomes the qkv bias, which is what padding holds.
  ValueId attention(ValueId x, const BlockSizes& s, const std::string& at, int64_t stage, bool odd,
                    const std::string& name) {
    const int64_t d = c_.width(stage), heads = s.heads, h = b_.shape(x).h(), w = b_.shape(x).w();
    const int64_t qk = heads * s.qk, all = 2 * qk + heads * s.v;
    const Windows win = windows(stage, odd, h, w);
    std::vector<ConstantPtr> weights, biases;
    for (int64_t i = 0; i < 3; ++i) {
      const int64_t rows = i == 2 ? heads * s.v : qk;
      const bool biased =
          c_.qkv_bias && !(c_.v2 && i == 1);  // cosine attention's keys have none; torchvision's file has, unused
      if (joined()) {
        weights.push_back(b_.part(at + ".attn.qkv.weight", {all, d}, i * qk, rows, d, {0.f, 0.02f}));
        const bool apart = timm() && c_.v2;  // q_bias and v_bias
        biases.push_back(!biased ? nullptr
                         : apart ? b_.vector(at + (i == 0 ? ".attn.q_bias" : ".attn.v_bias"), rows, {0.f, 0.02f})
                                 : bias_part(at + ".attn.qkv.bias", all, i * qk, rows));
      } else {
        const std::string tensor = at + n_.attention + (i == 0 ? "query" : i == 1 ? "key" : "value");
        weights.push_back(b_.matrix(tensor, rows, d));
        biases.push_back(biased ? b_.bias(tensor, rows) : nullptr);
      }
    }
    if (!b_.ok()) return kNoValue;
    const bool padded = h % win.size != 0 || w % win.size != 0;
    ConstantPtr pad;
    if (padded && c_.qkv_bias) {
      std::vector<ConstantPtr> rows = biases;
      if (c_.v2) rows[1] = fill_constant(1, qk, 0.f);  // a key without length
      pad = stack_cols(std::move(rows));
    }
    const std::string tensors = at + (joined() ? ".attn.qkv" : n_.attention + "query|key|value");
    ValueId y = b_.stacked_linear(x, std::move(weights), std::move(biases), tensors, name + ".qkv");
    if (c_.v2) {
      const ConstantPtr logit =
          b_.weight(at + n_.attention + "logit_scale", {heads, 1, 1}, 1, heads, {2.302585f, 0.02f});
      if (!b_.ok()) return kNoValue;
      std::vector<float> scale = logit->read_all();
      for (float& v : scale) v = float(std::exp(std::min(double(v), kMaxLogit)));
      const ValueId factor = b_.constant(at + n_.attention + "logit_scale", make_constant(1, heads, std::move(scale)));
      y = b_.add(OpKind::kHeadNorm, name + ".norm", {y, factor}, {{"heads", double(heads)}});
    }
    const ValueId bias =
        b_.constant(at + n_.attention + "relative_position_bias", position_bias(at, stage, heads, win.size));
    const ValueId pv = b_.constant(tensors + ".pad", std::move(pad));
    std::vector<std::pair<const char*, double>> attrs = {{"group_h", double(win.size)},
                                                         {"group_w", double(win.size)},
                                                         {"shift_h", double(win.shift_h)},
                                                         {"shift_w", double(win.shift_w)}};
    if (c_.v2) attrs.emplace_back("scale", 1.0);
    return b_.attention(y, s, d / c_.heads[size_t(stage)], name, {bias, pv}, std::move(attrs));
  }

  /// Elements [first, first + count) of a vector of `all`.
  ConstantPtr bias_part(const std::string& tensor, int64_t all, int64_t first, int64_t count) {
    if (all % count == 0 && first % count == 0) return b_.part(tensor, {all}, first / count, 1, count, {0.f, 0.02f});
    const ConstantPtr whole = b_.vector(tensor, all, {0.f, 0.02f});
    if (!b_.ok()) return nullptr;
    const std::vector<float> values = whole->read_all();
    return make_constant(1, count, std::vector<float>(values.begin() + first, values.begin() + first + count));
  }

  ConstantPtr position_bias(const std::string& at, int64_t stage, int64_t heads, int64_t window) {
    const int64_t side = 2 * window - 1;
    if (!c_.v2) {
      ConstantPtr table = b_.weight(at + n_.attention + "relative_position_bias_table", {side * side, heads},
                                    side * side, heads, {0.f, 0.02f});
      return b_.ok() ? relative_bias(std::move(table), window) : nullptr;
    }
    ConstantPtr w1 = b_.matrix(at + n_.mlp + "0", 512, 2), b1 = b_.bias(at + n_.mlp + "0", 512),
                w2 = b_.matrix(at + n_.mlp + "2", heads, 512);
    if (!b_.ok()) return nullptr;
    const int64_t pretrained = c_.pretrained[size_t(stage)];
    return relative_bias(
        continuous_table(std::move(w1), std::move(b1), std::move(w2), window, pretrained > 0 ? pretrained : window),
        window);
  }

  /// Four neighbours become one pixel of twice the width. V1 norms the 4 c channels first, V2 the 2 c that are left.
  ValueId merge(ValueId x, const std::string& at, const std::string& name) {
    const int64_t d = b_.shape(x).c();
    x = b_.add(OpKind::kMerge, name, {x});
    if (!c_.v2) x = b_.layer_norm(x, at + ".norm", kNormEps, name + ".norm");
    x = b_.linear(x, at + ".reduction", 2 * d, false, name + ".reduction");
    return c_.v2 ? b_.layer_norm(x, at + ".norm", kNormEps, name + ".norm") : x;
  }

  const SwinConfig& c_;
  ModelBuilder& b_;
  SwinNames n_;
  Places at_;
  int64_t h_ = 0, w_ = 0;  // of the picture
};

/// Buffers that follow from the configuration.
bool is_buffer(const std::string& tensor) {
  return ends_with(tensor, "relative_position_index") || ends_with(tensor, "relative_coords_table") ||
         ends_with(tensor, "attn_mask") || ends_with(tensor, "mask_token");
}

class SwinModel final : public ConfiguredModel<SwinConfig> {
 public:
  using ConfiguredModel::ConfiguredModel;

  Result<PreprocessConfig> preprocess(const std::string& text, const std::string& source) const override;
  Result<Graph> build(Head head, int64_t batch, int64_t h, int64_t w) const override {
    if (head == Head::kLogits && config_.classes == 0) return no_head();
    ModelBuilder b(source_, config_.architecture, "from '" + config_.source + "'");
    const ValueId answer = SwinBuilder(config_, b).head(head, batch, h, w);
    return b.finish(answer);
  }
  bool is_known_unused(const std::string& tensor) const override { return is_buffer(tensor); }
  bool is_within(const std::string& tensor) const override {
    if (tensor.rfind(config_.prefix, 0) != 0) return false;
    const std::string name = tensor.substr(config_.prefix.size());
    for (const char* part : {"encoder.layers.", "embeddings.", "features.", "layers.", "patch_embed.",
                             "absolute_pos_embed", "norm.", "layernorm."}) {
      if (name.rfind(part, 0) == 0) return true;
    }
    return false;
  }
  std::string assumed() const override { return config_.assumed; }
};

Result<PreprocessConfig> SwinModel::preprocess(const std::string& text, const std::string& source) const {
  if (!text.empty()) {
    return parse_preprocessor_config(text, source, Processor::kVit, config_.image_h, config_.image_w, config_.channels);
  }
  if (config_.rules == SwinRules::kTimm) {
    PreprocessConfig c =
        timm_preprocess(config_.image_h, config_.image_w, config_.image_h >= 384 ? 1.0 : 0.9, Filter::kBicubic);
    c.channels = config_.channels;
    c.mean = {{0.485, 0.456, 0.406}};
    c.std = {{0.229, 0.224, 0.225}};
    if (!source_.config.empty())
      return parse_timm_preprocess(source_.config, source_.config_path, c, config_.image_h, config_.image_w);
    c.warnings.push_back(fmt::format(
        "'{}' has no preprocessor_config.json; pictures are prepared as is usual for timm's Swin, mean {} and std {}",
        source_.path, c.mean[0], c.std[0]));
    return c;
  }
  PreprocessConfig c = processor_defaults(Processor::kVit);
  c.mean = {{0.485, 0.456, 0.406}};
  c.std = {{0.229, 0.224, 0.225}};
  c.filter = Filter::kBicubic;
  c.channels = config_.channels;
  c.resize_h = c.crop_h = c.input_h = config_.image_h;
  c.resize_w = c.crop_w = c.input_w = config_.image_w;
  if (config_.rules == SwinRules::kTorchvision) {
    // Swin_T_Weights and Swin_V2_T_Weights: 232 for 224, 260 for 256, then the centre.
    c.resize = PreprocessConfig::Resize::kShortestEdge;
    c.shortest = std::max(config_.image_h, config_.image_w) + (config_.v2 ? 4 : 8);
    c.crop = true;
    c.rounding = PreprocessConfig::CropRounding::kHalfEven;
    c.arithmetic = PreprocessConfig::Arithmetic::kTorch;
  }
  c.warnings.push_back(
      fmt::format("'{}' has no preprocessor_config.json; pictures are prepared as is usual for Swin models, mean {} "
                  "and std {}",
                  source_.path, c.mean[0], c.std[0]));
  return c;
}

class SwinBackbone final : public Backbone {
 public:
  SwinBackbone(SwinConfig config, std::vector<int64_t> stages)
      : config_(std::move(config)), stages_(std::move(stages)) {}

  int64_t channels() const override { return config_.channels; }
  int64_t image_h() const override { return 0; }
  int64_t image_w() const override { return 0; }
  std::vector<ValueId> taps(ModelBuilder& b, ValueId pixels) const override {
    const std::vector<ValueId> maps = SwinBuilder(config_, b).maps(pixels, stages_.back());
    std::vector<ValueId> tapped;
    for (int64_t s : stages_) {
      ValueId map = b.ok() ? maps[size_t(s)] : kNoValue;
      if (normed())
        map = b.layer_norm(map, fmt::format("{}hidden_states_norms.{}", config_.prefix, tap_name(s)), kNormEps,
                           fmt::format("taps.{}.norm", s));
      tapped.push_back(map);
    }
    return tapped;
  }
  bool is_known_unused(const std::string& tensor) const override {
    if (is_buffer(tensor)) return true;
    // A whole model's last norm and head, and the merging behind the last tap.
    for (const char* part : {"norm.", "head.", "layernorm."}) {
      if (tensor.rfind(config_.prefix + part, 0) == 0) return true;
    }
    return false;
  }

 private:
  bool normed() const {
    return !config_.v2 && config_.rules == SwinRules::kBackbone;
  }  // Swin V2's backbone has no norms
  static std::string tap_name(int64_t s) { return s == 0 ? "stem" : "stage" + std::to_string(s); }

  SwinConfig config_;
  std::vector<int64_t> stages_;
};

bool is_torchvision(const ModelSource& source, const std::string& prefix, const std::string& architecture) {
  if (source.weights != nullptr) return source.weights->has(prefix + "features.0.0.weight");
  return architecture == "SwinTransformer";
}

bool matches_swin(const ModelSource& source) {
  if (source.config.empty()) {
    return source.weights != nullptr &&
           (is_timm_swin(*source.weights) ||
            (source.weights->has("features.0.0.weight") && source.weights->has("features.1.0.attn.qkv.weight")));
  }
  const Json json = parse_json(source.config);
  if (!json.is_object()) return false;
  Fields fields(json, source.config_path);
  std::string type, name;
  if (find_member(json, "architecture") != nullptr) {
    fields.string("architecture", &name);
    return name.rfind("swin_", 0) == 0 || name.rfind("swinv2_", 0) == 0;
  }
  fields.string("model_type", &type);
  const std::string architecture = first_architecture(fields);
  return type.empty() ? architecture.rfind("Swin", 0) == 0 && architecture.rfind("Swin2SR", 0) != 0
                      : type == "swin" || type == "swinv2";
}

Result<std::unique_ptr<VisionModel>> open_swin(const ModelSource& source) {
  const Checkpoint* weights = source.weights.get();
  if (source.config.empty()) {
    VIREO_ASSIGN(SwinConfig c, infer_swin_config(*weights));
    return std::unique_ptr<VisionModel>(std::make_unique<SwinModel>(std::move(c), source));
  }
  VIREO_ASSIGN(const Json json, parse_json_object(source.config, source.config_path));
  if (find_member(json, "architecture") != nullptr) {
    VIREO_ASSIGN(SwinConfig c, parse_timm_swin_config(json, source.config_path, weights));
    VIREO_TRY(validate_swin_config(c));
    return std::unique_ptr<VisionModel>(std::make_unique<SwinModel>(std::move(c), source));
  }
  VIREO_ASSIGN(SwinConfig c, parse_swin_config(json, source.config_path));
  const bool bare = ends_with(c.architecture, "Model") || ends_with(c.architecture, "Backbone");
  std::string head = "classifier.weight";
  if (is_torchvision(source, "", c.architecture)) {
    c.rules = SwinRules::kTorchvision;
    head = "head.weight";
  } else {
    c.prefix = bare ? "" : c.v2 ? "swinv2." : "swin.";
    if (weights != nullptr) find_prefix(*weights, "embeddings.patch_embeddings.projection.weight", c.prefix, &c.prefix);
  }
  if (ends_with(c.architecture, "ForImageClassification") || (weights != nullptr ? weights->has(head) : !bare)) {
    Fields fields(json, source.config_path);
    VIREO_TRY(read_classes(fields, weights, head, &c.classes, &c.labels));
  }
  VIREO_TRY(validate_swin_config(c));
  return std::unique_ptr<VisionModel>(std::make_unique<SwinModel>(std::move(c), source));
}

Result<std::unique_ptr<Backbone>> open_swin_backbone(const BackboneSource& source) {
  VIREO_ASSIGN(SwinConfig c, parse_swin_config(*source.json, source.source));
  c.prefix = source.prefix;
  const bool tv = source.model->weights != nullptr ? is_torchvision(*source.model, source.prefix, "") : source.plain;
  c.rules = tv ? SwinRules::kTorchvision : SwinRules::kBackbone;
  VIREO_TRY(validate_swin_config(c));
  Fields fields(*source.json, source.source);
  VIREO_ASSIGN(std::vector<int64_t> stages, read_taps(fields, c.stages()));
  return std::unique_ptr<Backbone>(std::make_unique<SwinBackbone>(std::move(c), std::move(stages)));
}

constexpr const char* kSwinBackbones[] = {"swin", "swinv2", nullptr};

}  // namespace

ConstantPtr relative_bias(ConstantPtr table, int64_t window) {
  return std::make_shared<RelativeBias>(std::move(table), window);
}

ConstantPtr continuous_table(ConstantPtr w1, ConstantPtr b1, ConstantPtr w2, int64_t window, int64_t reach) {
  return std::make_shared<ContinuousTable>(std::move(w1), std::move(b1), std::move(w2), window, reach);
}

const Family kSwinFamily = {"swin", matches_swin, open_swin, kSwinBackbones, open_swin_backbone};

}  // namespace vireo
