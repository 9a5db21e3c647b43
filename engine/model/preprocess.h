// From an RGB picture to the model's input tensor, as Hugging Face's image processors and timm's transforms do it:
// resize (Pillow's results), centre crop, rescale, normalise.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/aligned.h"
#include "base/error.h"
#include "model/picture.h"
#include "model/resize.h"
#include "simd/kernels.h"

#include <vireo/image.hpp>

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

class ThreadPool;

/// The filter of one direction along a picture as it is stored: turned and flipped pictures have theirs reversed.
struct StoredFilter {
  int64_t outputs = 0, taps = 0;
  std::vector<int32_t> begin;    // [outputs]: the first pixel, of a packed part
  std::vector<int32_t> weights;  // [outputs][taps], Pillow's 22 bits
};

/// What makes a network's input of a picture, for compute shaders.
struct PictureInput {
  simd::PictureSource source;  // its planes do not count
  PackedPart part;
  StoredFilter columns, rows;  // of the upright picture's columns and rows
  Window window;               // of the input that the picture fills; the rest is black
  int64_t input_w = 0, input_h = 0, channels = 3;
  bool flip = false;          // planes in the order blue, green, red
  std::vector<float> levels;  // [channels][256]: what a level becomes in each plane
};

/// Turns pictures into tensors. Keeps its buffers, so repeated sizes allocate nothing; use one per thread.
class Preprocessor {
 public:
  explicit Preprocessor(PreprocessConfig config, const simd::Kernels& kernels = simd::best());

  const PreprocessConfig& config() const { return config_; }
  /// Whether vectors can compute what a level becomes (simd::PictureScale), to the bit.
  bool in_scales() const { return in_scales_; }
  /// Floats that run() writes: channels * input_h * input_w.
  int64_t output_size() const { return config_.channels * config_.input_h * config_.input_w; }

  /// Writes planar [channels, input_h, input_w] floats; on the pool's threads where there is one.
  /// Errors: kInvalidArgument (a picture that cannot be read, check_image(); a size that the configuration does not
  /// bring to the model's input), kUnsupported (channels), kOutOfMemory.
  Result<void> run(const Image& image, float* out, ThreadPool* pool = nullptr);
  /// The same as data, for pictures of that shape. Errors: as run(), and kUnsupported for what has no such form
  /// (torchvision's filtering of floats).
  Result<PictureInput> describe(const Image& image);
  /// `rgb`: rows of width * 3 bytes, `stride` bytes apart.
  Result<void> run(const uint8_t* rgb, int64_t width, int64_t height, int64_t stride, float* out);

 private:
  /// One direction's filter as the kernel reads it.
  struct Axis {
    int64_t in = -1, out = -1, first = 0, count = 0;
    Filter filter = Filter::kNearest;
    std::vector<int32_t> begin, length, words, digits;
    int64_t words_each = 0, digits_each = 0, max_length = 0;
    int64_t from = 0, end = 0;  // the source pixels that it reads

    /// False: it is there already. Else `in` is set when it is.
    bool changes(int64_t in_size, int64_t out_size, int64_t first_out, int64_t outputs, Filter kind);
    /// `digits` of `count` outputs' weights; `all`: outputs, with those of no taps.
    void set_digits(const ResizeAxis& taps, size_t all);
    simd::PictureAxis view() const;
  };
  /// Where a picture comes to lie in the input.
  struct Placed {
    int64_t full_w = 0, full_h = 0;
    Window window;           // of the resized picture
    int64_t x0 = 0, y0 = 0;  // where it begins in the input
  };
  Result<Placed> place(const simd::PictureSource& source) const;
  bool in_floats() const {
    return config_.float_resize && (config_.filter == Filter::kBilinear || config_.filter == Filter::kBicubic);
  }
  StoredFilter stored_filter(int64_t in, int64_t out, int64_t first, int64_t count, int64_t start, bool reversed);
  void prepare_columns(int64_t in, int64_t out, int64_t first, int64_t count);
  void prepare_rows(int64_t in, int64_t out, int64_t first, int64_t count);
  /// The taps of outputs [first, first + count) into taps_, of any filter and none.
  void find_taps(int64_t in, int64_t out, int64_t first, int64_t count);
  int64_t channel_of(int64_t plane) const { return config_.bgr && config_.channels == 3 ? 2 - plane : plane; }
  const float* table(int64_t plane) const { return table_.data() + channel_of(plane) * 256; }
  Result<void> fixed_point(const simd::PictureSource& source, int64_t full_w, int64_t full_h, const Window& window,
                           float* out, ThreadPool* pool);
  Result<void> floating(const Image& image, const simd::PictureSource& source, int64_t full_w, int64_t full_h,
                        const Window& window, float* out);

  PreprocessConfig config_;
  const simd::Kernels& kernels_;
  ResizeAxis taps_;
  Axis columns_, rows_;
  FloatResizer float_resizer_;
  std::vector<uint8_t> block_;              // rows of a picture, for float_resizer_
  std::vector<AlignedBuffer> scratch_;      // of each thread
  std::vector<float> table_;                // [channels][256]: the value of every pixel level
  std::vector<simd::PictureScale> scales_;  // [channels]: the same as arithmetic, where `in_scales_`
  bool in_scales_ = true;
};

}  // namespace vireo
