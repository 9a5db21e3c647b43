// Picture resizing: the weights of Pillow's filters (Image.resize of 8-bit pictures, src/libImaging/Resample.c), which
// simd/picture.h applies with Pillow's results bit for bit, and torchvision's resize, which filters floats.
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

/// Filter weights of one direction for outputs [first, first + count), kNearest excepted.
struct ResizeAxis {
  int64_t in = -1, out = -1, first = 0, count = 0;
  Filter filter = Filter::kNearest;
  int64_t taps = 0;              // distance between two outputs' weights
  std::vector<int64_t> begin;    // per output: first source pixel
  std::vector<int64_t> length;   // per output: number of source pixels
  std::vector<int32_t> weights;  // fixed point, PRECISION_BITS fraction
  std::vector<double> scratch;

  void prepare(int64_t in_size, int64_t out_size, int64_t first_out, int64_t outputs, Filter kind);
};

/// The source pixel of each output [first, first + count) of kNearest, as Pillow's sums round.
void nearest_pixels(int64_t in_size, int64_t out_size, int64_t first, int64_t count, std::vector<int64_t>* at);

/// A picture's rows, one after the other.
class RowSource {
 public:
  virtual ~RowSource() = default;
  /// Row y, valid until the next call; y never falls.
  virtual const uint8_t* row(int64_t y) = 0;
};

/// torchvision's resize of 8-bit tensors with antialias, in single precision throughout: where Pillow rounds between
/// its two passes it differs by a level here and there. kBilinear and kBicubic only.
/// Keeps its buffers and coefficients, so a repeated size allocates nothing; one per thread. It computes only `window`
/// of the result, which must lie inside it; the answer is valid until the next call, and its stride may exceed its
/// width. Channels: 1 or 3.
class FloatResizer {
 public:
  PictureView resize(const PictureView& picture, int64_t channels, int64_t out_w, int64_t out_h, const Window& window,
                     Filter filter);
  /// The same of rows that are made as they are needed.
  PictureView resize(RowSource& rows, int64_t width, int64_t height, int64_t channels, int64_t out_w, int64_t out_h,
                     const Window& window, Filter filter);

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
