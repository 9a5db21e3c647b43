// Reads preprocessor_config.json in its three dialects of `size`, and the data part of timm's config.json.
#include <cmath>

#include "model/json.h"
#include "model/preprocess.h"

namespace vireo {
namespace {

constexpr int64_t kMaxSize = 1 << 16;

/// The image processors of Transformers whose steps are resize, crop, rescale, normalise.
struct ProcessorRow {
  const char* name;
  Processor defaults;
};
// Less "ImageProcessor", "FeatureExtractor" and the backend's suffix ("Fast" or "Pil").
constexpr ProcessorRow kProcessors[] = {
    {"ViT", Processor::kVit},  {"DeiT", Processor::kDeit},           {"Bit", Processor::kBit},
    {"CLIP", Processor::kBit}, {"MobileViT", Processor::kMobileVit}, {"Segformer", Processor::kSegformer},
    {"DPT", Processor::kDpt},
};
// Processors whose do_pad brings the pictures of a batch to one size and leaves a picture of its own alone.
constexpr const char* kPadders[] = {"Yolos",  "Detr",       "ConditionalDetr", "DeformableDetr", "GroundingDino",
                                    "RTDetr", "MaskFormer", "Mask2Former",     "OneFormer"};

/// "ViT" of "ViTImageProcessorFast"; `fast` tells whether torchvision does the work.
std::string processor_stem(std::string type, bool* fast) {
  const auto cut = [&type](const char* end) {
    const std::string tail = end;
    if (type.size() < tail.size() || type.compare(type.size() - tail.size(), tail.size(), tail) != 0) return false;
    type.resize(type.size() - tail.size());
    return true;
  };
  if (cut("Fast")) *fast = true;
  else cut("Pil");
  if (!cut("ImageProcessor")) cut("FeatureExtractor");
  return type;
}

struct FilterRow {
  const char* name;
  Filter filter;
};
constexpr FilterRow kFilters[] = {
    {"nearest", Filter::kNearest}, {"bilinear", Filter::kBilinear}, {"bicubic", Filter::kBicubic},
    {"lanczos", Filter::kLanczos}, {"box", Filter::kBox},           {"hamming", Filter::kHamming},
};

bool find_filter(const std::string& name, Filter* filter) {
  for (const FilterRow& row : kFilters) {
    if (name == row.name) return *filter = row.filter, true;
  }
  return false;
}

void read_resample(Fields& f, Filter* filter) {
  const Json* v = f.find("resample");
  if (v == nullptr) return;
  if (v->is_string()) {
    if (!find_filter(v->get<std::string>(), filter))
      f.reject("resample", *v, "nearest, bilinear, bicubic, lanczos, box or hamming");
    return;
  }
  int64_t code = 0;
  f.integer("resample", &code, 0, 5);
  *filter = Filter(code);
}

/// [r, g, b] or one number for all.
void read_triple(Fields& f, const char* key, std::array<double, 3>* out) {
  const Json* v = f.find(key);
  if (v == nullptr) return;
  if (v->is_number()) {
    out->fill(v->get<double>());
    return;
  }
  bool ok = v->is_array() && (v->size() == 3 || v->size() == 1);
  for (size_t i = 0; ok && i < 3; ++i) {
    const Json& item = (*v)[v->size() == 1 ? 0 : i];
    ok = item.is_number();
    if (ok) (*out)[i] = item.get<double>();
  }
  if (!ok) f.reject(key, *v, "three numbers");
}

/// `size`: 224, [h, w], {"height", "width"} or {"shortest_edge" (, "longest_edge")}.
void read_size(Fields& f, bool square_from_int, PreprocessConfig* c) {
  const Json* v = f.find("size");
  if (v == nullptr) return;
  if (v->is_object()) {
    Fields size(*v, f.source());
    if (size.find("shortest_edge") != nullptr) {
      c->resize = PreprocessConfig::Resize::kShortestEdge;
      size.integer("shortest_edge", &c->shortest, 1, kMaxSize);
      size.integer("longest_edge", &c->longest, 1, 1 << 24);
    } else if (size.find("height") != nullptr && size.find("width") != nullptr) {
      c->resize = PreprocessConfig::Resize::kExact;
      size.integer("height", &c->resize_h, 1, kMaxSize);
      size.integer("width", &c->resize_w, 1, kMaxSize);
    } else {
      return f.reject("size", *v, "a number, {\"height\", \"width\"} or {\"shortest_edge\"}");
    }
    if (!size.status()) f.set_error(size.status().error());
    return;
  }
  if (v->is_array() || square_from_int) {
    c->resize = PreprocessConfig::Resize::kExact;
    f.size("size", &c->resize_h, &c->resize_w, 1, kMaxSize);
  } else {
    c->resize = PreprocessConfig::Resize::kShortestEdge;
    f.integer("size", &c->shortest, 1, kMaxSize);
  }
}

void read_crop_size(Fields& f, PreprocessConfig* c) {
  const Json* v = f.find("crop_size");
  if (v == nullptr) return;
  if (!v->is_object()) return f.size("crop_size", &c->crop_h, &c->crop_w, 1, kMaxSize);
  Fields size(*v, f.source());
  if (size.find("height") == nullptr || size.find("width") == nullptr) {
    return f.reject("crop_size", *v, "a number or {\"height\", \"width\"}");
  }
  size.integer("height", &c->crop_h, 1, kMaxSize);
  size.integer("width", &c->crop_w, 1, kMaxSize);
  if (!size.status()) f.set_error(size.status().error());
}

/// Padding and rounding of sizes: kUnsupported where they would change a picture that comes alone.
Result<void> check_padding(Fields& f, const std::string& stem, bool known, const PreprocessConfig& c) {
  const bool fixed = c.crop || c.resize == PreprocessConfig::Resize::kExact;  // every picture becomes input_h x input_w
  const auto refuse = [&](const char* key, const std::string& why) {
    return fail(ErrorCode::kUnsupported,
                "'{}': key '{}' is {}, {}, which Vireo does not implement; expected resize, crop, rescale and "
                "normalise",
                f.source(), key, json_text(*f.find(key)), why);
  };
  bool pad = false;
  f.boolean("do_pad", &pad);
  VIREO_TRY(f.status());
  if (pad) {
    bool padder = known;
    for (const char* name : kPadders) padder = padder || stem == name;
    if (!padder) return refuse("do_pad", "a padding of a processor that is not known");
    const Json* size = f.find("pad_size");
    if (size != nullptr) {
      int64_t h = 0, w = 0;
      if (size->is_object()) {
        Fields sides(*size, f.source());
        sides.integer("height", &h, 1, kMaxSize);
        sides.integer("width", &w, 1, kMaxSize);
        VIREO_TRY(sides.status());
      } else {
        f.size("pad_size", &h, &w, 1, kMaxSize);
      }
      VIREO_TRY(f.status());
      if (!fixed || h != c.input_h || w != c.input_w) return refuse("pad_size", "a border around the picture");
    }
  }
  for (const char* key : {"size_divisor", "size_divisibility", "ensure_multiple_of"}) {
    int64_t divisor = 1;
    f.integer(key, &divisor, 0, kMaxSize);
    VIREO_TRY(f.status());
    if (divisor > 1 && (!fixed || c.input_h % divisor != 0 || c.input_w % divisor != 0))
      return refuse(key, "sizes brought to its multiples");
  }
  return {};
}

}  // namespace

PreprocessConfig processor_defaults(Processor processor) {
  PreprocessConfig c;  // ViTImageProcessor: squashed to 224 x 224, bilinear, mean and std 0.5
  if (processor == Processor::kDeit) {
    c.resize_h = c.resize_w = 256;
    c.filter = Filter::kBicubic;
    c.crop = true;
  } else if (processor == Processor::kBit) {
    c.resize = PreprocessConfig::Resize::kShortestEdge;
    c.filter = Filter::kBicubic;
    c.crop = true;
    c.mean = {{0.48145466, 0.4578275, 0.40821073}};
    c.std = {{0.26862954, 0.26130258, 0.27577711}};
  } else if (processor == Processor::kMobileVit) {
    c.resize = PreprocessConfig::Resize::kShortestEdge;
    c.crop = true;
    c.crop_h = c.crop_w = 256;
    c.normalize = false;
    c.bgr = true;
  } else if (processor == Processor::kDpt) {
    c.resize_h = c.resize_w = 384;
    c.filter = Filter::kBicubic;
  } else if (processor == Processor::kSegformer) {
    c.resize_h = c.resize_w = 512;
    c.mean = {{0.485, 0.456, 0.406}};
    c.std = {{0.229, 0.224, 0.225}};
  }
  return c;
}

Result<PreprocessConfig> parse_preprocessor_config(const std::string& text, const std::string& source,
                                                   Processor fallback, int64_t image_h, int64_t image_w,
                                                   int64_t channels) {
  VIREO_ASSIGN(const Json json, parse_json_object(text, source));
  Fields f(json, source);
  std::string type;
  f.string("feature_extractor_type", &type);
  f.string("image_processor_type", &type);
  VIREO_TRY(f.status());
  // By whose arithmetic: a name that ends in Fast, or use_fast. The plain names are Pillow's, as they were when they
  // were written.
  bool fast = false;
  const std::string stem = processor_stem(type, &fast);
  f.boolean("use_fast", &fast);
  VIREO_TRY(f.status());
  bool known = type.empty();
  for (const ProcessorRow& row : kProcessors) {
    if (stem != row.name) continue;
    fallback = row.defaults;
    known = true;
  }
  PreprocessConfig c = processor_defaults(fallback);
  if (!known) {
    c.warnings.push_back(fmt::format(
        "'{}': the image processor '{}' is not known; its keys are read as a standard one's", source, type));
  }
  // Keys of other processors that would change the pixels.
  const bool mobile = fallback == Processor::kMobileVit;
  for (const char* key :
       {"crop_pct", "do_flip_channel_order", "do_flip_channels", "do_grayscale", "do_center_pad", "keep_aspect_ratio",
        "max_image_size", "do_image_splitting", "do_thumbnail", "do_align_long_axis"}) {
    const Json* v = f.find(key);
    if (mobile && std::string(key).rfind("do_flip", 0) == 0) {
      f.boolean(key, &c.bgr);  // do_flip_channels: its name of before Transformers 4.26
    } else if (v != nullptr && *v != false) {
      return fail(ErrorCode::kUnsupported,
                  "'{}': key '{}' is {}, a step that Vireo does not implement; expected resize, crop, "
                  "rescale and normalise",
                  source, key, json_text(*v));
    }
  }

  bool do_resize = true;
  f.boolean("do_resize", &do_resize);
  f.boolean("do_center_crop", &c.crop);
  f.boolean("do_rescale", &c.rescale);
  f.boolean("do_normalize", &c.normalize);
  f.number("rescale_factor", &c.rescale_factor, -1e6, 1e6);
  read_resample(f, &c.filter);
  read_triple(f, "image_mean", &c.mean);
  read_triple(f, "image_std", &c.std);
  read_size(f, fallback != Processor::kBit && !mobile, &c);
  read_crop_size(f, &c);
  VIREO_TRY(f.status());

  c.channels = channels;
  if (!do_resize) c.resize = PreprocessConfig::Resize::kNone;
  if (c.crop) {
    c.input_h = c.crop_h;
    c.input_w = c.crop_w;
  } else if (c.resize == PreprocessConfig::Resize::kExact) {
    c.input_h = c.resize_h;
    c.input_w = c.resize_w;
  } else if (c.resize == PreprocessConfig::Resize::kShortestEdge) {
    c.input_h = c.input_w = c.shortest;  // square pictures only; run() says so for others
  } else {
    c.input_h = image_h;
    c.input_w = image_w;
  }
  if (fast) {
    c.float_resize = true;
    c.rounding = PreprocessConfig::CropRounding::kFloorPad;
    c.arithmetic = PreprocessConfig::Arithmetic::kTorchFused;
    if (c.filter == Filter::kLanczos) {
      c.filter = Filter::kBicubic;
      c.warnings.push_back(fmt::format("'{}': {} asks for Lanczos, for which torchvision takes bicubic", source, type));
    } else if (do_resize && (c.filter == Filter::kBox || c.filter == Filter::kHamming)) {
      return fail(ErrorCode::kUnsupported,
                  "'{}': resample {} is a filter that torchvision does not have for tensors ({}); expected nearest, "
                  "bilinear or bicubic",
                  source, int(c.filter), type);
    }
  }
  VIREO_TRY(check_padding(f, stem, known, c));
  VIREO_TRY(validate_preprocess(c, source));
  bool reduce = false;
  for (const char* key : {"do_reduce_labels", "reduce_labels"}) f.boolean(key, &reduce);
  VIREO_TRY(f.status());
  if (reduce)
    c.warnings.push_back(
        fmt::format("'{}': do_reduce_labels is true, which concerns labels alone: `eval --segmentation` takes them as "
                    "they are, so shift them by one first (0 to the ignored "
                    "value)",
                    source));
  return c;
}

PreprocessConfig timm_preprocess(int64_t image_h, int64_t image_w, double crop_pct, Filter filter) {
  PreprocessConfig c;
  c.filter = filter;
  c.crop = true;
  c.crop_h = c.input_h = image_h;
  c.crop_w = c.input_w = image_w;
  c.resize_h = int64_t(std::floor(double(image_h) / crop_pct));
  c.resize_w = int64_t(std::floor(double(image_w) / crop_pct));
  c.shortest = c.resize_h;
  c.resize = PreprocessConfig::Resize::kShortestEdge;
  if (c.resize_h != c.resize_w) {
    c.resize = PreprocessConfig::Resize::kCover;
    c.filter = Filter::kBilinear;  // timm's ResizeKeepRatio is made without the configured interpolation
  }
  c.rounding = PreprocessConfig::CropRounding::kHalfEven;
  c.arithmetic = PreprocessConfig::Arithmetic::kTorch;
  return c;
}

Result<PreprocessConfig> parse_timm_preprocess(const std::string& text, const std::string& source,
                                               const PreprocessConfig& initial, int64_t image_h, int64_t image_w) {
  VIREO_ASSIGN(const Json json, parse_json_object(text, source));
  const Json* nested = find_member(json, "pretrained_cfg");
  const Json& cfg = nested != nullptr && nested->is_object() ? *nested : json;
  Fields f(cfg, source);
  double crop_pct = 0.875;
  f.number("crop_pct", &crop_pct, 1e-3, 100);
  std::string interpolation = "bicubic", mode = "center";
  f.string("interpolation", &interpolation);
  f.string("crop_mode", &mode);
  VIREO_TRY(f.status());
  Filter filter = Filter::kBicubic;
  if (!find_filter(interpolation, &filter)) {
    return fail(ErrorCode::kUnsupported,
                "'{}': interpolation '{}' is not supported; expected nearest, bilinear, bicubic, "
                "lanczos, box or hamming",
                source, interpolation.substr(0, 40));
  }
  PreprocessConfig c = timm_preprocess(image_h, image_w, crop_pct, filter);
  if (mode == "squash") {
    c.resize = PreprocessConfig::Resize::kExact;
    c.filter = filter;
  } else if (mode != "center") {
    return fail(ErrorCode::kUnsupported, "'{}': crop_mode '{}' is not supported; expected center or squash", source,
                mode.substr(0, 40));
  }
  c.channels = initial.channels;
  c.mean = initial.mean;
  c.std = initial.std;
  read_triple(f, "mean", &c.mean);
  read_triple(f, "std", &c.std);
  VIREO_TRY(f.status());
  VIREO_TRY(validate_preprocess(c, source));
  return c;
}

}  // namespace vireo
