// Pictures as programs and cameras hold them: packed colours, grey levels, or luma with chroma of its own.
//
//   vireo::Image frame = vireo::Image::packed(vireo::PixelFormat::kNv12, bytes, 1920, 1080);
//   frame.matrix = vireo::YuvMatrix::kBt709;
//   frame.rotation = 90;                                            // the camera hangs on its side
//   auto out = session->run(frame);
#ifndef VIREO_IMAGE_HPP
#define VIREO_IMAGE_HPP

#include <cstddef>
#include <cstdint>

#include <vireo/result.hpp>
#include <vireo/types.hpp>

namespace vireo {

/// How pixels lie in memory. Chroma is that of the block of pixels that shares it, without interpolation; at an odd
/// width or height the last block is cut.
enum class PixelFormat : uint8_t {
  kRgb,     ///< 3 bytes per pixel: red, green, blue
  kBgr,     ///< 3 bytes: blue, green, red
  kRgba,    ///< 4 bytes; what the fourth holds does not count
  kBgra,    ///< 4 bytes: blue, green, red, and one that does not count
  kGrey,    ///< 1 byte
  kGrey16,  ///< 2 bytes in the machine's order; 65535 is white
  kNv12,    ///< a plane of luma, then one of U and V in turns, of half the width and height
  kNv21,    ///< the same with V before U
  kI420,    ///< three planes: luma, U and V of half the width and height
  kI422,    ///< three planes: luma, U and V of half the width
  kI444,    ///< three planes of the same size
  kYuyv,    ///< one plane; two pixels in 4 bytes: Y, U, Y, V
  kUyvy,    ///< one plane; two pixels in 4 bytes: U, Y, V, Y
};
/// "rgb", "nv12", "i420", ...
VIREO_API const char* to_string(PixelFormat f);

/// Which numbers luma and chroma take.
enum class YuvRange : uint8_t {
  kLimited,  ///< luma 16 to 235, chroma 16 to 240: television, most cameras and files
  kFull,     ///< 0 to 255: JPEG, most webcams' MJPEG
};
/// Which weights make luma of red, green and blue.
enum class YuvMatrix : uint8_t {
  kBt601,  ///< 0.299, 0.587, 0.114: standard definition, JPEG
  kBt709,  ///< 0.2126, 0.7152, 0.0722: high definition
};

/// Pixels of a picture as it is stored, before any rotation. All 0: the whole picture.
struct Crop {
  int x = 0, y = 0, width = 0, height = 0;
};

/// A picture owned by the caller. Image{rgb, width, height} is 8-bit RGB without padding.
///
/// A colour of luma and chroma becomes 8-bit RGB by the matrix and range, with factors rounded to 1/16384 and the sum
/// to the nearest level (halves up, cut at 0 and 255); a 16-bit grey level v becomes v / 257, rounded. What comes then
/// (resize, normalisation) is the same for all formats, and so is its answer.
struct Image {
  const uint8_t* rgb = nullptr;  ///< the first plane, whatever the format: its first row
  int width = 0;                 ///< pixels, as stored: before `crop` and `rotation`
  int height = 0;
  ptrdiff_t stride = 0;  ///< bytes from one row of the first plane to the next; 0 = no padding
  PixelFormat format = PixelFormat::kRgb;
  /// The planes after the first: U and V in turns (kNv12, kNv21), or U and V (kI420, kI422, kI444).
  const uint8_t* chroma[2] = {nullptr, nullptr};
  ptrdiff_t chroma_stride[2] = {0, 0};  ///< of their rows; 0 = no padding
  YuvRange range = YuvRange::kLimited;  ///< formats with luma and chroma only
  YuvMatrix matrix = YuvMatrix::kBt601;
  Crop crop{};       ///< the part that counts
  int rotation = 0;  ///< degrees clockwise that turn it upright: 0, 90, 180 or 270

  /// A picture whose planes follow one another without padding, as a pipe or a file brings frames.
  VIREO_API static Image packed(PixelFormat format, const uint8_t* bytes, int width, int height) noexcept;

  /// The size of the picture that the model sees: of the crop, turned.
  int upright_width() const { return turned() ? part_height() : part_width(); }
  int upright_height() const { return turned() ? part_width() : part_height(); }

 private:
  bool turned() const { return rotation == 90 || rotation == 270; }
  int part_width() const { return crop.width > 0 ? crop.width : width; }
  int part_height() const { return crop.height > 0 ? crop.height : height; }
};

/// How many bytes such a picture has; 0 for a size below 1 x 1.
VIREO_API size_t packed_bytes(PixelFormat format, int width, int height) noexcept;

/// The upright picture as 8-bit RGB, image.upright_width() * image.upright_height() * 3 bytes: what the model's resize
/// starts from. Sessions need no such call. Errors: kInvalidArgument (a plane that is missing, a stride that is too
/// small, a crop that is not inside, another rotation).
VIREO_API Result<void> to_rgb(const Image& image, uint8_t* rgb);

}  // namespace vireo

#endif  // VIREO_IMAGE_HPP
