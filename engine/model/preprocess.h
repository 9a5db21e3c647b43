// From an RGB picture to the model's input tensor, as Hugging Face's image processors and timm's transforms do it:
// resize (Pillow's results), centre crop, rescale, normalise.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "model/resize.h"

namespace vireo {

struct PreprocessConfig {
  enum class Resize : uint8_t {
    kNone,
    kExact,         ///< to resize_h x resize_w, whatever the proportions
    kShortestEdge,  ///< the shorter side to `shortest`, the longer in proportion, truncated (at most `longest` if set)
    kCover,  ///< in proportion, the smallest size that covers resize_h x resize_w (timm, inputs that are not square)
  };
  /// Where an odd margin goes: floor((size - crop) / 2), or that half rounded to even as torchvision does.
  /// Transformers' torchvision backend rounds like its numpy one, but for pictures smaller than the crop: there the
  /// black margin is halved rounding down.
  enum class CropRounding : uint8_t { kFloor, kHalfEven, kFloorPad };
  /// Pixel arithmetic: numpy's (x * rescale_factor in double, then float), torch's (x / 255 in float), or that of
  /// Transformers' torchvision backend, (x - mean / factor) / (std / factor) in float.
  enum class Arithmetic : uint8_t { kNumpy, kTorch, kTorchFused };

  Resize resize = Resize::kExact;
  int64_t resize_h = 224, resize_w = 224;
  int64_t shortest = 224, longest = 0;
  Filter filter = Filter::kBilinear;
  bool float_resize = false;  ///< torchvision's filtering of floats instead of Pillow's (bilinear and bicubic)
  bool crop = false;
  int64_t crop_h = 224, crop_w = 224;
  CropRounding rounding = CropRounding::kFloor;
  bool rescale = true;
  double rescale_factor = 1.0 / 255;
  bool normalize = true;
  std::array<double, 3> mean{{0.5, 0.5, 0.5}}, std{{0.5, 0.5, 0.5}};
  Arithmetic arithmetic = Arithmetic::kNumpy;

  int64_t channels = 3;                  // 3: RGB, 1: Pillow's luma of it
  bool bgr = false;                      // the three planes in the order blue, green, red
  int64_t input_h = 224, input_w = 224;  // what the model gets
  std::vector<std::string> warnings;     // doubtful points of the configuration
};

/// True where pictures keep their proportions and are not cropped, so that each size of picture is an input size of its
/// own.
inline bool keeps_proportions(const PreprocessConfig& c) {
  return !c.crop && c.resize == PreprocessConfig::Resize::kShortestEdge;
}
/// (height, width) that a picture is resized to, before any crop.
std::pair<int64_t, int64_t> resized_size(const PreprocessConfig& config, int64_t width, int64_t height);

/// Which of Transformers' image processors gives the defaults of absent keys.
enum class Processor { kVit, kDeit, kBit, kMobileVit, kSegformer, kDpt };
PreprocessConfig processor_defaults(Processor processor);

/// Reads preprocessor_config.json. A processor type in the file decides the defaults, else `fallback`; image_h and
/// image_w (the model configuration's) are the input size where the file names none. Errors: kCorrupt, kUnsupported.
Result<PreprocessConfig> parse_preprocessor_config(const std::string& text, const std::string& source,
                                                   Processor fallback, int64_t image_h, int64_t image_w,
                                                   int64_t channels);

/// Reads the data part of timm's pretrained_cfg from a config.json (its defaults: bicubic, crop_pct 0.875, ImageNet
/// mean). `initial` holds what absent keys mean.
Result<PreprocessConfig> parse_timm_preprocess(const std::string& text, const std::string& source,
                                               const PreprocessConfig& initial, int64_t image_h, int64_t image_w);
/// timm's evaluation transform for an input size: resize to floor(size / crop_pct), crop the centre.
PreprocessConfig timm_preprocess(int64_t image_h, int64_t image_w, double crop_pct, Filter filter);

/// Checks the numbers: sizes in range, no division by zero.
Result<void> validate_preprocess(const PreprocessConfig& config, const std::string& source);

/// Turns pictures into tensors. Keeps its buffers, so repeated sizes allocate nothing; use one per thread.
class Preprocessor {
 public:
  explicit Preprocessor(PreprocessConfig config);

  const PreprocessConfig& config() const { return config_; }
  /// Floats that run() writes: channels * input_h * input_w.
  int64_t output_size() const { return config_.channels * config_.input_h * config_.input_w; }

  /// `rgb`: rows of width * 3 bytes, `stride` bytes apart. Writes planar [channels, input_h, input_w] floats.
  /// Errors: kInvalidArgument (an empty picture; a size that the configuration does not bring to the model's input).
  Result<void> run(const uint8_t* rgb, int64_t width, int64_t height, int64_t stride, float* out);

 private:
  PreprocessConfig config_;
  Resizer resizer_;
  FloatResizer float_resizer_;
  std::vector<uint8_t> grey_;
  std::vector<float> table_;  // [channels][256]: the value of every pixel level
};

}  // namespace vireo
