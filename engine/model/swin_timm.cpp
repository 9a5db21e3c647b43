// timm's config.json of swin_* and swinv2_*: the architecture's name gives the numbers, model_args overrides them
// (timm 1.0: swin_transformer.py, swin_transformer_v2.py).
#include <cstdlib>

#include "model/config_parts.h"
#include "model/json.h"
#include "model/swin.h"

namespace vireo {
namespace {

struct SwinSize {
  const char* name;
  int64_t embed, third;  // blocks of the third stage
  int64_t heads;         // of the first
};
constexpr SwinSize kSwinSizes[] = {
    {"tiny", 96, 6, 3}, {"small", 96, 18, 3}, {"base", 128, 18, 4}, {"large", 192, 18, 6}};

/// A number at the front of `text`, which is cut off; -1 when there is none.
int64_t take_number(std::string* text) {
  const size_t end = std::min(text->find_first_not_of("0123456789"), text->size());
  if (end == 0 || end > 5) return -1;
  const int64_t number = std::strtol(text->c_str(), nullptr, 10);
  text->erase(0, end);
  return number;
}
bool take(std::string* text, const std::string& start) {
  if (text->rfind(start, 0) != 0) return false;
  text->erase(0, start.size());
  return true;
}

/// swin_tiny_patch4_window7_224, swin_s3_tiny_224, swinv2_base_window12to16_192to256.
Result<void> read_name(const std::string& full_name, const std::string& source, SwinConfig* c) {
  const auto unknown = [&] {
    return fail(ErrorCode::kUnsupported,
                "'{}': timm architecture '{}' is not supported; expected a name like "
                "swin_tiny_patch4_window7_224, swin_s3_small_224 or swinv2_base_window12to16_192to256",
                source, full_name);
  };
  std::string rest = full_name.substr(0, full_name.find('.'));  // without the weights' tag
  c->v2 = take(&rest, "swinv2_");
  if (!c->v2 && !take(&rest, "swin_")) return unknown();
  if (c->v2 && rest.rfind("cr_", 0) == 0) {
    return fail(ErrorCode::kUnsupported,
                "'{}': timm architecture '{}' is Christoph Reich's version of Swin V2, another network, which Vireo "
                "does not implement",
                source, full_name);
  }
  const bool searched = !c->v2 && take(&rest, "s3_");
  const SwinSize* size = nullptr;
  for (const SwinSize& row : kSwinSizes)
    if (size == nullptr && take(&rest, std::string(row.name) + "_")) size = &row;
  if (size == nullptr || (searched && size->embed == 192)) return unknown();
  const bool s3_base = searched && size->embed == 128;
  c->embed = searched ? 96 : size->embed;
  c->depths = {2, 2, s3_base ? 30 : size->third, 2};
  const int64_t heads = searched ? 3 : size->heads;
  c->heads = {heads, 2 * heads, 4 * heads, 8 * heads};
  c->pretrained.assign(4, 0);
  int64_t side = -1;
  if (searched) {
    const bool small = size->third == 18 && size->embed == 96;
    c->windows = {small ? 14 : 7, small ? 14 : 7, 14, 7};
    side = take_number(&rest);
  } else {
    if (!c->v2) {
      if (!take(&rest, "patch")) return unknown();
      c->patch_h = c->patch_w = take_number(&rest);
      if (!take(&rest, "_")) return unknown();
    }
    if (!take(&rest, "window")) return unknown();
    c->window = take_number(&rest);
    if (c->v2 && take(&rest, "to")) {
      c->pretrained.assign(4, c->window);
      c->pretrained[3] = c->window / 2;  // 6 for 12: the last map of pre-training
      c->window = take_number(&rest);
    }
    if (!take(&rest, "_")) return unknown();
    side = take_number(&rest);
    if (c->v2 && take(&rest, "to")) side = take_number(&rest);
  }
  for (const char* tag : {"_in22ft1k", "_22kft1k", "_in22k", "_22k"}) take(&rest, tag);  // old names
  if (!rest.empty() || side < 1 || side > kMaxImageSide || c->window < 1 || c->patch_h < 1 || c->patch_h > 1024)
    return unknown();
  c->image_h = c->image_w = side;
  return {};
}

/// One number for all stages or a list; false when it is neither.
bool read_list(const Json& v, int64_t low, int64_t high, std::vector<int64_t>* out) {
  if (!v.is_array() || v.empty() || v.size() > 12) return false;
  std::vector<int64_t> values;
  for (const Json& item : v) {
    if (!item.is_number_integer() || item < low || item > high) return false;
    values.push_back(item.get<int64_t>());
  }
  *out = std::move(values);
  return true;
}

Result<void> read_args(const Json& args, const std::string& source, SwinConfig* c, std::string* pool) {
  Fields f(args, source);
  const auto list = [&](const char* key, int64_t low, int64_t high, std::vector<int64_t>* out) {
    const Json* v = f.find(key);
    if (v != nullptr && !read_list(*v, low, high, out))
      f.reject(key, *v, fmt::format("a list of 1 to 12 numbers from {} to {}", low, high));
  };
  f.size("img_size", &c->image_h, &c->image_w, 1, kMaxImageSide);
  f.size("patch_size", &c->patch_h, &c->patch_w, 1, 1024);
  f.integer("in_chans", &c->channels, 1, 1024);
  f.integer("num_classes", &c->classes, 0, kMaxClasses);
  f.string("global_pool", pool);
  f.integer("embed_dim", &c->embed, 1, kMaxWidth);
  list("depths", 1, kMaxLayers, &c->depths);
  list("num_heads", 1, kMaxWidth, &c->heads);
  const Json* window = f.find("window_size");
  if (window != nullptr && window->is_array()) {
    list("window_size", 1, 4096, &c->windows);
    if (window->size() == 2) {
      if (c->windows.size() == 2 && c->windows[0] != c->windows[1]) f.reject("window_size", *window, "a square window");
      if (c->windows.size() == 2) c->window = c->windows[0];
      c->windows.clear();
    }
  } else if (window != nullptr) {
    c->windows.clear();
    f.integer("window_size", &c->window, 1, 4096);
  }
  f.number("mlp_ratio", &c->mlp_ratio, 1e-3, 1024);
  f.boolean("qkv_bias", &c->qkv_bias);
  if (c->v2) list("pretrained_window_sizes", 0, 4096, &c->pretrained);
  if (!c->v2 || f.find("pretrained_window_sizes") == nullptr) c->pretrained.resize(c->depths.size(), 0);
  std::string act = "gelu";
  f.string("act_layer", &act);
  VIREO_TRY(f.status());
  VIREO_ASSIGN(c->act, parse_activation(act, source, "act_layer"));
  static constexpr const char* kRead[] = {"img_size",    "patch_size", "in_chans", "num_classes",
                                          "global_pool", "embed_dim",  "depths",   "num_heads",
                                          "window_size", "mlp_ratio",  "qkv_bias", "pretrained_window_sizes",
                                          "act_layer"};
  static constexpr const char* kNoEffect[] = {"drop_rate",   "proj_drop_rate",  "attn_drop_rate", "drop_path_rate",
                                              "weight_init", "strict_img_size", "pretrained",     "pretrained_strict",
                                              "scriptable",  "exportable"};
  for (const auto& [key, value] : args.items()) {
    bool known = value.is_null() || value == false || (key == "patch_norm" && value == true);
    for (const char* k : kRead) known = known || key == k;
    for (const char* k : kNoEffect) known = known || key == k;
    if (key == "act_layer" && !c->v2 && value != "gelu") known = false;  // timm's first version takes none
    if (!known) {
      return fail(ErrorCode::kUnsupported, "'{}': model_args sets '{}' to {}, which Vireo does not implement for Swin",
                  source, key, json_text(value));
    }
  }
  return {};
}

}  // namespace

bool is_timm_swin(const Checkpoint& weights) {
  return weights.has("patch_embed.proj.weight") && weights.has("layers.0.blocks.0.attn.qkv.weight") &&
         (weights.has("layers.0.blocks.0.attn.relative_position_bias_table") ||
          weights.has("layers.0.blocks.0.attn.cpb_mlp.0.weight"));
}

Result<SwinConfig> parse_timm_swin_config(const Json& json, const std::string& source, const Checkpoint* weights) {
  Fields top(json, source);
  SwinConfig c;
  c.source = source;
  c.rules = SwinRules::kTimm;
  top.string("architecture", &c.architecture);
  VIREO_TRY(top.status());
  VIREO_TRY(read_name(c.architecture, source, &c));
  c.classes = 1000;

  const Json* nested = top.find("pretrained_cfg");
  if (nested != nullptr && !nested->is_object()) {
    top.reject("pretrained_cfg", *nested, "an object");
    return top.status().error();
  }
  const Json& cfg = nested != nullptr ? *nested : json;
  Fields pretrained(cfg, source);
  int64_t input[3] = {0, 0, 0};
  VIREO_TRY(read_timm_input_size(cfg, source, input));
  if (input[0] > 0) {
    c.channels = input[0];
    c.image_h = input[1];
    c.image_w = input[2];
  }
  std::string pool = "avg";
  pretrained.integer("num_classes", &c.classes, 0, kMaxClasses);
  top.integer("num_classes", &c.classes, 0, kMaxClasses);
  top.string("global_pool", &pool);
  VIREO_TRY(pretrained.status());
  const Json* args = top.find("model_args");
  if (args != nullptr && !args->is_object()) top.reject("model_args", *args, "an object");
  VIREO_TRY(top.status());
  if (args != nullptr) VIREO_TRY(read_args(*args, source, &c, &pool));
  if (pool != "avg") {
    return fail(ErrorCode::kUnsupported, "'{}': global_pool '{}' is not supported for Swin; expected 'avg'", source,
                pool.substr(0, 40));
  }
  if (weights != nullptr) {
    find_prefix(*weights, "patch_embed.proj.weight", "", &c.prefix);
    // Until timm 0.9, and in the authors' files, a stage's merging stands behind its blocks.
    c.merge_behind = weights->has(c.prefix + "layers.0.downsample.reduction.weight");
  }
  c.labels = read_timm_labels(json, cfg, c.classes);
  return c;
}

}  // namespace vireo
