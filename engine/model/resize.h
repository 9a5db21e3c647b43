// Picture resizing with Pillow's results, bit for bit (Image.resize of 8-bit pictures, src/libImaging/Resample.c), and
// with torchvision's, which filters floats.
#pragma once

#include <cstdint>
#include <vector>

namespace vireo {

/// Values are PIL's resample codes, as preprocessor_config.json writes them.
enum class Filter : uint8_t { kNearest = 0, kLanczos = 1, kBilinear = 2, kBicubic = 3, kBox = 4, kHamming = 5 };

/// An 8-bit picture with interleaved channels, owned by somebody else.
struct PictureView {
  const uint8_t* pixels = nullptr;
  int64_t width = 0, height = 0;
  int64_t stride = 0;  // bytes from one row to the next
};

/// A window of the resized picture, in its pixels.
struct Window {
  int64_t x = 0, y = 0, width = 0, height = 0;
};

/// Resizes pictures; keeps its buffers and coefficients, so a repeated size allocates nothing. One per thread.
class Resizer {
 public:
  /// Resizes to out_w x out_h and computes only `window` of the result, which must lie inside it. Channels: 1 or 3.
  /// The answer is valid until the next call; its stride may exceed its width (an unchanged picture is not copied).
  PictureView resize(const PictureView& picture, int64_t channels, int64_t out_w, int64_t out_h, const Window& window,
                     Filter filter);

 private:
  /// Filter weights of one direction for outputs [first, first + count).
  struct Axis {
    int64_t in = -1, out = -1, first = 0, count = 0;
    Filter filter = Filter::kNearest;
    int64_t taps = 0;              // distance between two outputs' weights
    std::vector<int64_t> begin;    // per output: first source pixel
    std::vector<int64_t> length;   // per output: number of source pixels
    std::vector<int32_t> weights;  // fixed point, PRECISION_BITS fraction
    std::vector<double> scratch;

    void prepare(int64_t in_size, int64_t out_size, int64_t first_out, int64_t outputs, Filter kind);
  };

  PictureView nearest(const PictureView& picture, int64_t channels, int64_t out_w, int64_t out_h, const Window& window);

  Axis horizontal_, vertical_;
  std::vector<uint8_t> rows_;  // after the horizontal pass
  std::vector<uint8_t> result_;
  std::vector<int32_t> sums_;
  std::vector<int64_t> columns_;
};

/// torchvision's resize of 8-bit tensors with antialias, in single precision throughout: where Pillow rounds between
/// its two passes it differs by a level here and there. kBilinear and kBicubic only. Otherwise as Resizer.
class FloatResizer {
 public:
  PictureView resize(const PictureView& picture, int64_t channels, int64_t out_w, int64_t out_h, const Window& window,
                     Filter filter);

 private:
  struct Axis {
    int64_t in = -1, out = -1, first = 0, count = 0;
    Filter filter = Filter::kNearest;
    int64_t taps = 0;
    std::vector<int64_t> begin, length;
    std::vector<float> weights;

    void prepare(int64_t in_size, int64_t out_size, int64_t first_out, int64_t outputs, Filter kind);
  };

  Axis horizontal_, vertical_;
  std::vector<float> row_, sums_;
  std::vector<uint8_t> result_;
};

}  // namespace vireo
