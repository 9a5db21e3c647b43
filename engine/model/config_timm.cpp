// timm's config.json: the architecture's name gives the numbers, model_args overrides them
// (timm 1.0: vision_transformer.py, deit.py, _builder.py).
#include <cstdlib>

#include "model/config_parts.h"
#include "model/json.h"

namespace vireo {
namespace {

/// timm's constructor arguments that matter here, before they become a VitConfig.
struct Args {
  int64_t img_h = 0, img_w = 0;  // 0: not said
  int64_t patch_h = 16, patch_w = 16;
  int64_t in_chans = 3;
  int64_t num_classes = 1000;
  std::string global_pool = "token";
  int64_t embed_dim = 768, depth = 12, num_heads = 12;
  double mlp_ratio = 4;
  bool qkv_bias = true, proj_bias = true;
  double init_values = 0;  // 0: no LayerScale
  bool class_token = true;
  bool pos_embed = true;
  bool no_embed_class = false;
  int64_t reg_tokens = 0;
  bool pre_norm = false;
  bool final_norm = true;
  int fc_norm = -1;  // -1: by global_pool
  bool pool_include_prefix = false;
  std::string act_layer = "gelu";
  bool swiglu = false;
  double eps = 1e-6;
  bool distilled = false;
};

struct VitSize {
  const char* name;
  int64_t dim, depth, heads;
  double mlp_ratio;
};
constexpr VitSize kVitSizes[] = {
    {"tiny", 192, 12, 3, 4},          {"xsmall", 256, 10, 4, 4},          {"small", 384, 12, 6, 4},
    {"wee", 256, 14, 4, 5},           {"so150m", 896, 18, 14, 2.572},     {"so150m2", 832, 21, 13, 34.0 / 13},
    {"so400m", 1152, 27, 16, 3.7362}, {"intern300m", 1024, 24, 16, 4},    {"giantopt", 1536, 40, 16, 4},
    {"medium", 512, 12, 8, 4},        {"mediumd", 512, 20, 8, 4},         {"betwixt", 640, 12, 10, 4},
    {"little", 320, 14, 5, 5.6},      {"base", 768, 12, 12, 4},           {"large", 1024, 24, 16, 4},
    {"huge", 1280, 32, 16, 4},        {"giant", 1408, 40, 16, 48.0 / 11}, {"gigantic", 1664, 48, 16, 64.0 / 13},
};

/// Parts of names whose networks differ from the plain one in a way that has a name.
struct OtherRow {
  const char* part;
  const char* what;
};
constexpr OtherRow kOthers[] = {
    {"pwee", "parallel blocks"},           {"dwee", "differential attention"}, {"dpwee", "differential attention"},
    {"dlittle", "differential attention"}, {"18x2", "parallel blocks"},        {"map", "attention pooling"},
    {"rope", "rotary positions"},          {"dinov3", "rotary positions"},     {"pe", "rotary positions"},
    {"relpos", "relative positions"},      {"srelpos", "relative positions"},  {"xp", "other norms"},
    {"rpn", "norms behind the blocks"},    {"mci", "a convolutional stem"},
};

bool is_number(const std::string& text) {
  return !text.empty() && text.size() <= 5 && text.find_first_not_of("0123456789") == std::string::npos;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == '_') parts.emplace_back();
    else parts.back() += c;
  }
  return parts;
}

/// Arguments that the architecture's name stands for. `sized` tells whether the name fixed width and depth.
Result<void> read_architecture(const std::string& full_name, const std::string& source, Args* a, bool* sized) {
  const auto unknown = [&](const std::string& part) {
    for (const OtherRow& row : kOthers) {
      if (part != row.part) continue;
      return fail(ErrorCode::kUnsupported,
                  "'{}': timm architecture '{}' is another network than a plain Vision Transformer "
                  "({}: {}), which Vireo does not implement",
                  source, full_name, part, row.what);
    }
    return fail(ErrorCode::kUnsupported,
                "'{}': timm architecture '{}' is not supported (part '{}'); expected a name like "
                "vit_small_patch16_224, deit_tiny_distilled_patch16_224 or vit_base_patch14_reg4_dinov2",
                source, full_name, part);
  };
  const std::string name = full_name.substr(0, full_name.find('.'));  // without the weights' tag
  std::vector<std::string> parts = split(name);
  const std::string kind = parts[0];
  bool deit3 = false, dino = false, gap = false, clip = false, plus = false, siglip = false;
  int64_t number = 0;
  std::string size;
  if (name == "test_vit" || name == "test_vit2") {
    *a = Args{};
    a->embed_dim = 64;
    a->depth = 6;
    a->num_heads = 2;
    a->mlp_ratio = 3;
    a->img_h = a->img_w = 160;
    if (name == "test_vit2") {
      a->depth = 8;
      a->class_token = false;
      a->reg_tokens = 1;
      a->global_pool = "avg";
      a->init_values = 1e-5;
    }
    *sized = true;
    return {};
  }
  if (kind == "flexivit") {
    a->no_embed_class = true;
    number = 240;
  } else if (kind == "eva") {
    a->global_pool = "avg";
  } else if (kind == "deit3") {
    deit3 = true;
  } else if (kind != "vit" && kind != "deit") {
    return unknown(kind);
  }
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::string& p = parts[i];
    if (i == 1) {
      size = p;
      for (const OtherRow& row : kOthers)
        if (p == row.part) return unknown(p);
    } else if (p.rfind("patch", 0) == 0 && is_number(p.substr(5))) {
      a->patch_h = a->patch_w = std::strtol(p.c_str() + 5, nullptr, 10);
    } else if (p.rfind("reg", 0) == 0 && is_number(p.substr(3))) {
      a->reg_tokens = std::strtol(p.c_str() + 3, nullptr, 10);
      a->no_embed_class = size.rfind("so150m", 0) != 0;
    } else if (is_number(p)) {
      number = std::strtol(p.c_str(), nullptr, 10);
    } else if (p == "distilled") {
      a->distilled = true;
    } else if (p == "dinov2") {
      dino = true;
    } else if (p == "gap") {
      gap = true;
    } else if (p == "clip") {
      clip = true;
    } else if (p == "siglip") {
      siglip = true;
    } else if (p == "quickgelu") {
      a->act_layer = "quick_gelu";
    } else if (p == "plus") {
      plus = true;
    } else if (p == "miil") {
      a->qkv_bias = false;
    } else if (p == "36x1") {
      a->depth = 36;
    } else if (p != "in21k" && p != "in1k" && p != "dino" && p != "mae" && p != "sam" && p != "augreg") {
      return unknown(p);  // the names let through are older spellings of weights' tags
    }
  }
  const bool deep = a->depth == 36;
  for (const VitSize& row : kVitSizes) {
    if (size != row.name) continue;
    a->embed_dim = row.dim;
    a->depth = deep ? 36 : row.depth;
    a->num_heads = row.heads;
    a->mlp_ratio = row.mlp_ratio;
    *sized = true;
  }
  if (plus) {
    a->embed_dim = 896;
    a->num_heads = 14;
  }
  if ((plus && !clip) || deep || dino) a->init_values = 1e-5;
  if (deit3) {
    a->no_embed_class = true;
    a->init_values = 1e-6;
  }
  if (dino) {
    if (number == 0) number = 518;
    if (size == "giant") {
      a->embed_dim = 1536;
      a->num_heads = 24;
      a->mlp_ratio = 2.66667 * 2;
      a->swiglu = true;
    }
  }
  if (clip) {
    a->pre_norm = true;
    a->eps = 1e-5;
  }
  if (gap) {
    a->class_token = false;
    a->global_pool = "avg";
    if (a->reg_tokens > 0) {
      if (size != "base" && size != "so150m") a->init_values = 1e-5;
      if (size == "so150m") a->fc_norm = 0;
      if (size == "so150m2") a->qkv_bias = false;
    } else {
      a->fc_norm = 0;
      if (size == "medium" || size == "betwixt") {
        a->qkv_bias = false;
        a->init_values = 1e-6;
      }
      if (size == "base" && !siglip) a->num_heads = 16;
    }
  }
  if (siglip && !gap) {
    return fail(ErrorCode::kUnsupported,
                "'{}': timm architecture '{}' pools with attention ('siglip' without 'gap'), which Vireo does "
                "not implement",
                source, full_name);
  }
  // The SigLIP 2 towers among them use the approximation of tanh.
  if (siglip && (size == "giantopt" || (size == "so400m" && a->patch_h == 16) || (size == "base" && a->patch_h == 32) ||
                 (size == "large" && number == 512))) {
    a->act_layer = "gelu_tanh";
  }
  if (size == "intern300m") {
    a->init_values = 0.1;
    a->final_norm = false;
  }
  if (number > 0) a->img_h = a->img_w = number;
  return {};
}

/// model_args: constructor arguments stored with the weights. A key that could change the answer and is not known here
/// is an error, never ignored.
Result<void> read_model_args(const Json& args, const std::string& source, Args* a) {
  Fields f(args, source);
  f.size("img_size", &a->img_h, &a->img_w, 1, kMaxImageSide);
  f.size("patch_size", &a->patch_h, &a->patch_w, 1, kMaxImageSide);
  f.integer("in_chans", &a->in_chans, 1, 1024);
  f.integer("num_classes", &a->num_classes, 0, kMaxClasses);
  f.string("global_pool", &a->global_pool);
  f.integer("embed_dim", &a->embed_dim, 1, kMaxWidth);
  f.integer("depth", &a->depth, 1, kMaxLayers);
  f.integer("num_heads", &a->num_heads, 1, kMaxWidth);
  f.number("mlp_ratio", &a->mlp_ratio, 1e-3, 1024);
  f.boolean("qkv_bias", &a->qkv_bias);
  f.boolean("proj_bias", &a->proj_bias);
  if (args.contains("init_values") && args["init_values"].is_null()) a->init_values = 0;
  f.number("init_values", &a->init_values, -1e6, 1e6);
  f.boolean("class_token", &a->class_token);
  f.boolean("no_embed_class", &a->no_embed_class);
  f.integer("reg_tokens", &a->reg_tokens, 0, 4096);
  f.boolean("pre_norm", &a->pre_norm);
  f.boolean("final_norm", &a->final_norm);
  f.boolean("pool_include_prefix", &a->pool_include_prefix);
  f.string("act_layer", &a->act_layer);
  if (f.find("fc_norm") != nullptr) {
    bool fc_norm = false;
    f.boolean("fc_norm", &fc_norm);
    a->fc_norm = fc_norm ? 1 : 0;
  }
  std::string text = "learn";
  f.string("pos_embed", &text);
  if (text != "learn" && text != "none" && !text.empty()) f.reject("pos_embed", text, "'learn' or 'none'");
  a->pos_embed = text == "learn";
  text = "layernorm";
  f.string("norm_layer", &text);
  if (text != "layernorm" && text != "LayerNorm" && text != "layer_norm") f.reject("norm_layer", text, "'layernorm'");
  text = a->swiglu ? "swiglupacked" : "mlp";
  f.string("mlp_layer", &text);
  if (text == "SwiGLUPacked" || text == "swiglupacked" || text == "swiglu_packed") a->swiglu = true;
  else if (text == "Mlp" || text == "mlp") a->swiglu = false;
  else f.reject("mlp_layer", text, "'Mlp' or 'SwiGLUPacked'");
  VIREO_TRY(f.status());

  static constexpr const char* kRead[] = {
      "img_size",    "patch_size",     "in_chans",   "num_classes", "global_pool", "embed_dim",
      "depth",       "num_heads",      "mlp_ratio",  "qkv_bias",    "proj_bias",   "init_values",
      "class_token", "no_embed_class", "reg_tokens", "pre_norm",    "final_norm",  "pool_include_prefix",
      "act_layer",   "fc_norm",        "pos_embed",  "norm_layer",  "mlp_layer"};
  static constexpr const char* kNoEffect[] = {
      // training and set-up options
      "drop_rate",         "pos_drop_rate",   "patch_drop_rate", "proj_drop_rate",
      "attn_drop_rate",    "drop_path_rate",  "weight_init",     "fix_init",
      "dynamic_img_size",  "dynamic_img_pad", "strict_img_size", "pretrained",
      "pretrained_strict", "scriptable",      "exportable",      "distilled_training"};
  for (const auto& [key, value] : args.items()) {
    bool known = value.is_null() || value == false;  // an option that is off
    for (const char* k : kRead) known = known || key == k;
    for (const char* k : kNoEffect) known = known || key == k;
    if (!known) {
      return fail(ErrorCode::kUnsupported,
                  "'{}': model_args sets '{}' to {}, which Vireo does not implement; expected a "
                  "plain vision_transformer",
                  source, key, json_text(value));
    }
  }
  return {};
}

}  // namespace

Result<void> read_timm_input_size(const Json& cfg, const std::string& source, int64_t size[3]) {
  const Json* list = find_member(cfg, "input_size");
  if (list == nullptr) return {};
  bool ok = list->is_array() && list->size() == 3;
  for (size_t i = 0; ok && i < 3; ++i) {
    ok = (*list)[i].is_number_unsigned() && (*list)[i].get<uint64_t>() >= 1 &&
         (*list)[i].get<uint64_t>() <= uint64_t(kMaxImageSide);
    if (ok) size[i] = (*list)[i].get<int64_t>();
  }
  if (!ok) {
    return fail(ErrorCode::kCorrupt, "'{}': key 'input_size' is {}, expected [channels, height, width]", source,
                json_text(*list));
  }
  return {};
}

std::vector<std::string> read_timm_labels(const Json& config, const Json& pretrained, int64_t classes) {
  std::vector<std::string> labels;
  for (const Json* names : {find_member(config, "label_names"), find_member(pretrained, "label_names")}) {
    if (names == nullptr || !names->is_array() || !labels.empty() || int64_t(names->size()) != classes) continue;
    for (const Json& name : *names) labels.push_back(name.is_string() ? name.get<std::string>() : json_text(name));
  }
  return labels;
}

Result<VitConfig> parse_timm_config(const Json& json, const std::string& source, const Checkpoint* weights) {
  Fields top(json, source);
  VitConfig c;
  c.source = source;
  c.model_type = "timm";
  c.naming = Naming::kTimm;
  top.string("architecture", &c.architecture);
  VIREO_TRY(top.status());

  Args a;
  bool sized = false;
  VIREO_TRY(read_architecture(c.architecture, source, &a, &sized));

  // Old files hold pretrained_cfg's members at the top level.
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
    a.in_chans = input[0];
    a.img_h = input[1];
    a.img_w = input[2];
  }
  pretrained.integer("num_classes", &a.num_classes, 0, kMaxClasses);
  pretrained.string("global_pool", &a.global_pool);
  top.integer("num_classes", &a.num_classes, 0, kMaxClasses);
  top.string("global_pool", &a.global_pool);
  VIREO_TRY(pretrained.status());
  VIREO_TRY(top.status());

  const Json* args = top.find("model_args");
  if (args != nullptr && !args->is_object()) {
    top.reject("model_args", *args, "an object");
    return top.status().error();
  }
  if (!sized) {
    const bool given =
        args != nullptr && args->contains("embed_dim") && args->contains("depth") && args->contains("num_heads");
    if (!given) {
      return fail(ErrorCode::kUnsupported,
                  "'{}': the size in timm architecture '{}' is not known; give embed_dim, depth and "
                  "num_heads in model_args",
                  source, c.architecture);
    }
  }
  if (args != nullptr) VIREO_TRY(read_model_args(*args, source, &a));
  if (a.img_h == 0) a.img_h = a.img_w = 224;

  c.hidden = a.embed_dim;
  c.layers = a.depth;
  c.heads = a.num_heads;
  c.swiglu = a.swiglu;
  const int64_t fc1 = int64_t(double(a.embed_dim) * a.mlp_ratio);
  c.mlp = c.swiglu ? fc1 / 2 : fc1;
  c.image_h = a.img_h;
  c.image_w = a.img_w;
  c.patch_h = a.patch_h;
  c.patch_w = a.patch_w;
  c.channels = a.in_chans;
  c.eps = a.eps;
  if (!c.swiglu) {
    VIREO_ASSIGN(c.act, parse_activation(a.act_layer, source, "act_layer"));
  }
  c.qkv_bias = a.qkv_bias;
  c.proj_bias = a.proj_bias;
  c.layerscale = a.init_values != 0;
  c.layerscale_value = a.init_values;
  c.pre_norm = a.pre_norm;
  c.patch_bias = !a.pre_norm;
  c.class_token = a.class_token;
  c.distilled = a.distilled;
  c.registers = a.reg_tokens;
  c.position = a.pos_embed;
  c.position_prefix = a.no_embed_class ? 0 : c.prefix_tokens();
  c.resample = PosResample::kBicubicAntialias;

  c.pool_prefix = a.pool_include_prefix;
  if (a.global_pool == "token") c.pool = Pool::kToken;
  else if (a.global_pool == "avg") c.pool = Pool::kMean;
  else if (a.global_pool.empty()) c.pool = Pool::kNone;
  else {
    return fail(ErrorCode::kUnsupported, "'{}': global_pool '{}' is not supported; expected 'token', 'avg' or ''",
                source, a.global_pool.substr(0, 40));
  }
  const bool after_pool = a.fc_norm < 0 ? c.pool == Pool::kMean : a.fc_norm == 1;
  c.final_norm = !a.final_norm ? FinalNorm::kNone : after_pool ? FinalNorm::kAfterPool : FinalNorm::kBeforePool;
  if (c.distilled && c.pool != Pool::kToken) {
    return fail(ErrorCode::kUnsupported, "'{}': a distilled DeiT pools by 'token', not '{}'", source, a.global_pool);
  }
  c.classes = a.num_classes;
  c.head = c.classes == 0 ? HeadKind::kNone : c.distilled ? HeadKind::kDistilled : HeadKind::kLinear;
  if (weights != nullptr) find_prefix(*weights, "patch_embed.proj.weight", "", &c.prefix);

  c.labels = read_timm_labels(json, cfg, c.classes);
  return c;
}

}  // namespace vireo
