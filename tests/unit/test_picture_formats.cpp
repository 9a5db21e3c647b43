// Pictures as cameras give them: every format, range, matrix, odd size, stride, crop and rotation against a reference
// in double precision that knows nothing of the library's kernels, and the network's input against the plain way
// there: the RGB picture first, then Pillow's resize, then the numbers.
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "model/picture.h"
#include "model/preprocess.h"
#include "model/resize.h"
#include "support/plain_resizer.h"
#include "test_model_files.h"

#include <vireo/vireo.hpp>

namespace vireo {
namespace {

using test::expect_error;

constexpr PixelFormat kAll[] = {PixelFormat::kRgb,  PixelFormat::kBgr,    PixelFormat::kRgba, PixelFormat::kBgra,
                                PixelFormat::kGrey, PixelFormat::kGrey16, PixelFormat::kNv12, PixelFormat::kNv21,
                                PixelFormat::kI420, PixelFormat::kI422,   PixelFormat::kI444, PixelFormat::kYuyv,
                                PixelFormat::kUyvy};

bool has_luma(PixelFormat f) { return f >= PixelFormat::kNv12; }

/// A picture of noise with planes of their own, `pad` bytes longer in each row than they need be.
struct Noise {
  std::vector<uint8_t> plane[3];
  Image image;

  Noise(PixelFormat f, int w, int h, int pad, uint32_t seed) {
    image.format = f;
    image.width = w, image.height = h;
    std::mt19937 random(seed);
    const int half_w = (w + 1) / 2, half_h = (h + 1) / 2;
    const auto fill = [&](int p, int bytes, int rows) {
      for (int i = 0; i < (bytes + pad) * rows; ++i) plane[p].push_back(uint8_t(random() >> 11));
      // Nothing of the last row's padding need be there.
      plane[p].resize(plane[p].size() - size_t(pad));
      plane[p].shrink_to_fit();
      (p == 0 ? image.stride : image.chroma_stride[p - 1]) = bytes + pad;
      (p == 0 ? image.rgb : image.chroma[p - 1]) = plane[p].data();
    };
    switch (f) {
      case PixelFormat::kRgb:
      case PixelFormat::kBgr: fill(0, 3 * w, h); break;
      case PixelFormat::kRgba:
      case PixelFormat::kBgra: fill(0, 4 * w, h); break;
      case PixelFormat::kGrey: fill(0, w, h); break;
      case PixelFormat::kGrey16: fill(0, 2 * w, h); break;
      case PixelFormat::kNv12:
      case PixelFormat::kNv21: fill(0, w, h), fill(1, 2 * half_w, half_h); break;
      case PixelFormat::kI420: fill(0, w, h), fill(1, half_w, half_h), fill(2, half_w, half_h); break;
      case PixelFormat::kI422: fill(0, w, h), fill(1, half_w, h), fill(2, half_w, h); break;
      case PixelFormat::kI444: fill(0, w, h), fill(1, w, h), fill(2, w, h); break;
      case PixelFormat::kYuyv:
      case PixelFormat::kUyvy: fill(0, 4 * half_w, h); break;
    }
  }
  int byte(int p, int x, int y) const {
    const ptrdiff_t stride = p == 0 ? image.stride : image.chroma_stride[p - 1];
    return plane[p][size_t(y * stride + x)];
  }
};

struct Yuv {
  int y, u, v;
};
Yuv yuv_at(const Noise& n, int x, int y) {
  switch (n.image.format) {
    case PixelFormat::kNv12: return {n.byte(0, x, y), n.byte(1, x / 2 * 2, y / 2), n.byte(1, x / 2 * 2 + 1, y / 2)};
    case PixelFormat::kNv21: return {n.byte(0, x, y), n.byte(1, x / 2 * 2 + 1, y / 2), n.byte(1, x / 2 * 2, y / 2)};
    case PixelFormat::kI420: return {n.byte(0, x, y), n.byte(1, x / 2, y / 2), n.byte(2, x / 2, y / 2)};
    case PixelFormat::kI422: return {n.byte(0, x, y), n.byte(1, x / 2, y), n.byte(2, x / 2, y)};
    case PixelFormat::kI444: return {n.byte(0, x, y), n.byte(1, x, y), n.byte(2, x, y)};
    case PixelFormat::kYuyv: return {n.byte(0, 2 * x, y), n.byte(0, x / 2 * 4 + 1, y), n.byte(0, x / 2 * 4 + 3, y)};
    default: return {n.byte(0, 2 * x + 1, y), n.byte(0, x / 2 * 4, y), n.byte(0, x / 2 * 4 + 2, y)};
  }
}

/// Red, green and blue as real numbers by the standards' own equations; with `stated`, the factors of luma and of the
/// chroma differences rounded to 1/16384 as image.hpp says.
void real_rgb(const Image& image, const Yuv& p, bool stated, double rgb[3]) {
  const bool hd = image.matrix == YuvMatrix::kBt709, limited = image.range == YuvRange::kLimited;
  const double r = hd ? 0.2126 : 0.299, b = hd ? 0.0722 : 0.114, g = 1 - r - b;
  const auto factor = [&](double f) { return stated ? std::floor(f * 16384 + 0.5) / 16384 : f; };
  const double scale_y = limited ? 255.0 / (235 - 16) : 1, scale_c = limited ? 255.0 / (240 - 16) : 1;
  const double y = p.y - (limited ? 16 : 0), u = p.u - 128, v = p.v - 128;
  rgb[0] = factor(scale_y) * y + factor(scale_c * (2 - 2 * r)) * v;
  rgb[1] =
      factor(scale_y) * y + factor(-scale_c * (2 - 2 * b) * b / g) * u + factor(-scale_c * (2 - 2 * r) * r / g) * v;
  rgb[2] = factor(scale_y) * y + factor(scale_c * (2 - 2 * b)) * u;
}

/// The stored picture's pixel by the stated rounding.
void reference_pixel(const Noise& n, int x, int y, uint8_t out[3]) {
  const auto three = [&](int r, int g, int b) { out[0] = uint8_t(r), out[1] = uint8_t(g), out[2] = uint8_t(b); };
  switch (n.image.format) {
    case PixelFormat::kRgb: return three(n.byte(0, 3 * x, y), n.byte(0, 3 * x + 1, y), n.byte(0, 3 * x + 2, y));
    case PixelFormat::kBgr: return three(n.byte(0, 3 * x + 2, y), n.byte(0, 3 * x + 1, y), n.byte(0, 3 * x, y));
    case PixelFormat::kRgba: return three(n.byte(0, 4 * x, y), n.byte(0, 4 * x + 1, y), n.byte(0, 4 * x + 2, y));
    case PixelFormat::kBgra: return three(n.byte(0, 4 * x + 2, y), n.byte(0, 4 * x + 1, y), n.byte(0, 4 * x, y));
    case PixelFormat::kGrey: return three(n.byte(0, x, y), n.byte(0, x, y), n.byte(0, x, y));
    case PixelFormat::kGrey16: {
      const int v = int(std::lround((n.byte(0, 2 * x, y) + 256 * n.byte(0, 2 * x + 1, y)) / 257.0));
      return three(v, v, v);
    }
    default: break;
  }
  double rgb[3];
  real_rgb(n.image, yuv_at(n, x, y), true, rgb);
  for (int c = 0; c < 3; ++c) out[c] = uint8_t(std::min(std::max(std::floor(rgb[c] + 0.5), 0.0), 255.0));
}

/// The upright picture by the reference.
std::vector<uint8_t> reference_rgb(const Noise& n) {
  const Image& i = n.image;
  const Crop c = i.crop.width > 0 ? i.crop : Crop{0, 0, i.width, i.height};
  const bool turned = i.rotation % 180 != 0;
  const int w = turned ? c.height : c.width, h = turned ? c.width : c.height;
  std::vector<uint8_t> out(size_t(w) * size_t(h) * 3);
  for (int y = 0; y < c.height; ++y)
    for (int x = 0; x < c.width; ++x) {
      // Where pixel (x, y) of the part comes to lie when the picture is turned clockwise.
      const int to_x = i.rotation == 0     ? x
                       : i.rotation == 90  ? c.height - 1 - y
                       : i.rotation == 180 ? c.width - 1 - x
                                           : y;
      const int to_y = i.rotation == 0     ? y
                       : i.rotation == 90  ? x
                       : i.rotation == 180 ? c.height - 1 - y
                                           : c.width - 1 - x;
      reference_pixel(n, c.x + x, c.y + y, &out[(size_t(to_y) * size_t(w) + size_t(to_x)) * 3]);
    }
  return out;
}

std::string described(const Image& i) {
  return std::string(to_string(i.format)) + " " + std::to_string(i.width) + "x" + std::to_string(i.height) + " range " +
         std::to_string(int(i.range)) + " matrix " + std::to_string(int(i.matrix)) + " rotation " +
         std::to_string(i.rotation) + " crop " + std::to_string(i.crop.width) + "x" + std::to_string(i.crop.height) +
         " at " + std::to_string(i.crop.x) + "," + std::to_string(i.crop.y);
}

/// f(noise) for every format, range and matrix with sizes, strides, crops and rotations.
template <typename F>
void over_pictures(F f) {
  struct Size {
    int w, h;
    Crop crop;
  };
  // Below a vector, odd, past several, and crops that begin between pixels that share their chroma.
  const Size sizes[] = {{1, 1, {}},
                        {7, 5, {}},
                        {33, 17, {}},
                        {150, 70, {}},
                        {131, 31, {3, 5, 100, 21}},
                        {140, 80, {1, 1, 137, 78}},
                        {260, 9, {2, 4, 257, 3}}};
  uint32_t seed = 1;
  for (const PixelFormat format : kAll)
    for (const Size& size : sizes)
      for (int kind = 0; kind < (has_luma(format) ? 4 : 1); ++kind)
        for (const int rotation : {0, 90, 180, 270}) {
          Noise n(format, size.w, size.h, int(seed % 3) * 5, seed);
          ++seed;
          n.image.range = kind % 2 == 0 ? YuvRange::kLimited : YuvRange::kFull;
          n.image.matrix = kind / 2 == 0 ? YuvMatrix::kBt601 : YuvMatrix::kBt709;
          n.image.rotation = rotation;
          n.image.crop = size.crop;
          f(n);
        }
}

/// Upright rows by one instruction set's kernel.
std::vector<uint8_t> rows_of(const simd::Kernels& kernels, const Image& image) {
  const auto source = check_image(image);
  EXPECT_TRUE(source.ok()) << source.error().message;
  simd::PictureRowsArgs args;
  args.source = *source;
  args.rows = source->upright_height();
  std::vector<uint8_t> out(size_t(args.rows * source->upright_width()) * 3);
  args.out = out.data();
  AlignedBuffer scratch(kernels.picture_rows.scratch_bytes(args));
  kernels.picture_rows.run(args, 0, kernels.picture_rows.items(args), scratch.data());
  return out;
}

TEST(PictureFormats, BecomeTheStatedRgbOnEveryInstructionSet) {
  over_pictures([](const Noise& n) {
    const std::vector<uint8_t> want = reference_rgb(n);
    for (int t = 0; const simd::Kernels* k = simd::supported(t); ++t)
      ASSERT_EQ(rows_of(*k, n.image), want) << k->name << ": " << described(n.image);
    std::vector<uint8_t> got(want.size());
    const Result<void> done = to_rgb(n.image, got.data());
    ASSERT_TRUE(done.ok()) << done.error().message;
    ASSERT_EQ(got, want) << described(n.image);
    const auto w = size_t(n.image.upright_width()), h = size_t(n.image.upright_height());
    ASSERT_EQ(w * h * 3, want.size());
  });
}

// The stated factors are the standards' to within a level, and nearly always on it.
TEST(PictureFormats, AreWithinALevelOfTheStandards) {
  for (const YuvRange range : {YuvRange::kLimited, YuvRange::kFull})
    for (const YuvMatrix matrix : {YuvMatrix::kBt601, YuvMatrix::kBt709}) {
      std::vector<uint8_t> y, u, v;
      for (int a = 0; a < 256; a += 3)
        for (int b = 0; b < 256; b += 5)
          for (int c = 0; c < 256; c += 5) y.push_back(uint8_t(a)), u.push_back(uint8_t(b)), v.push_back(uint8_t(c));
      Image image;
      image.format = PixelFormat::kI444;
      image.width = int(y.size()), image.height = 1;
      image.rgb = y.data(), image.chroma[0] = u.data(), image.chroma[1] = v.data();
      image.range = range, image.matrix = matrix;
      std::vector<uint8_t> got(y.size() * 3);
      ASSERT_TRUE(to_rgb(image, got.data()).ok());
      size_t off = 0;
      for (size_t i = 0; i < y.size(); ++i) {
        double rgb[3];
        real_rgb(image, {y[i], u[i], v[i]}, false, rgb);
        for (size_t c = 0; c < 3; ++c) {
          const double want = std::min(std::max(std::floor(rgb[c] + 0.5), 0.0), 255.0);
          ASSERT_LE(std::fabs(want - got[3 * i + c]), 1) << int(y[i]) << " " << int(u[i]) << " " << int(v[i]);
          off += want != got[3 * i + c];
        }
      }
      EXPECT_LT(double(off), 0.005 * double(got.size()));
    }
}

/// The plain way: the RGB picture, Pillow's resize of the whole, its levels as numbers.
std::vector<float> plainly(const PreprocessConfig& c, const Image& image) {
  const int64_t w = image.upright_width(), h = image.upright_height();
  std::vector<uint8_t> rgb(size_t(w * h) * 3);
  EXPECT_TRUE(to_rgb(image, rgb.data()).ok());
  test::PlainResizer resizer;
  FloatResizer float_resizer;
  const PictureView picture{rgb.data(), w, h, 3 * w};
  const Window all{0, 0, c.resize_w, c.resize_h};
  const PictureView small = c.float_resize ? float_resizer.resize(picture, 3, c.resize_w, c.resize_h, all, c.filter)
                                           : resizer.resize(picture, 3, c.resize_w, c.resize_h, all, c.filter);
  std::vector<float> out;
  const int64_t top = (c.resize_h - c.input_h) / 2, left = (c.resize_w - c.input_w) / 2;  // even margins
  for (int channel = 0; channel < 3; ++channel)
    for (int64_t y = 0; y < c.input_h; ++y)
      for (int64_t x = 0; x < c.input_w; ++x) {
        const int from = c.bgr ? 2 - channel : channel;
        const int64_t sy = y + top, sx = x + left;
        const bool outside = sy < 0 || sx < 0 || sy >= c.resize_h || sx >= c.resize_w;
        const float level = outside ? 0.f : float(small.pixels[sy * small.stride + sx * 3 + from]);
        const float scaled = float(double(level) * c.rescale_factor);
        out.push_back((scaled - float(c.mean[size_t(from)])) / float(c.std[size_t(from)]));
      }
  return out;
}

PreprocessConfig config_of(Filter filter, int64_t h, int64_t w) {
  PreprocessConfig c;
  c.filter = filter;
  c.resize_h = c.input_h = h;
  c.resize_w = c.input_w = w;
  c.mean = {{0.485, 0.456, 0.406}}, c.std = {{0.229, 0.224, 0.225}};
  return c;
}

TEST(PictureFormats, GiveTheInputOfTheirRgbPicture) {
  ThreadPool pool(3);
  int number = 0;
  over_pictures([&](const Noise& n) {
    constexpr Filter kFilters[] = {Filter::kBilinear, Filter::kBicubic, Filter::kLanczos,
                                   Filter::kNearest,  Filter::kBox,     Filter::kHamming};
    // In turns, so that each format meets each filter, sizes above and below its own, and sides that stay.
    PreprocessConfig c = config_of(kFilters[number % 6], number % 5 == 0 ? n.image.upright_height() : 40 + number % 7,
                                   number % 11 == 0 ? n.image.upright_width() : 37 + number % 13);
    c.float_resize = number % 17 == 0 && (c.filter == Filter::kBilinear || c.filter == Filter::kBicubic);
    c.bgr = number % 3 == 0;
    ++number;
    const std::vector<float> want = plainly(c, n.image);
    for (int t = 0; const simd::Kernels* k = simd::supported(t); ++t) {
      Preprocessor p(c, *k);
      std::vector<float> got(want.size(), -77.f);
      const Result<void> done = p.run(n.image, got.data(), t % 2 == 0 ? &pool : nullptr);
      ASSERT_TRUE(done.ok()) << done.error().message;
      ASSERT_EQ(got, want) << k->name << ": " << described(n.image) << ", filter " << int(c.filter) << " to "
                           << c.resize_w << "x" << c.resize_h;
    }
  });
}

// A crop reads a part of the rows and columns; one that is larger than the picture has black around it.
TEST(PictureFormats, AreCutByTheModelsCrop) {
  ThreadPool pool(2);
  for (const PixelFormat format : kAll)
    for (const int rotation : {0, 90, 180, 270})
      for (const int64_t input : {20, 64}) {
        Noise n(format, 90, 70, 3, 5);
        n.image.rotation = rotation;
        PreprocessConfig c = config_of(Filter::kBicubic, 44, 48);
        c.crop = true;
        c.crop_h = c.crop_w = c.input_h = c.input_w = input;
        for (int t = 0; const simd::Kernels* k = simd::supported(t); ++t) {
          std::vector<float> got(size_t(3 * input * input));
          ASSERT_TRUE(Preprocessor(c, *k).run(n.image, got.data(), &pool).ok());
          ASSERT_EQ(got, plainly(c, n.image)) << k->name << ": " << described(n.image);
        }
      }
}

TEST(PictureFormats, ModelsOfOneChannelGetPillowsGrey) {
  for (const PixelFormat format : kAll) {
    const Noise n(format, 61, 43, 2, 9);
    PreprocessConfig c = config_of(Filter::kBilinear, 28, 28);
    c.channels = 1;
    c.rescale = c.normalize = false;
    std::vector<uint8_t> rgb(61 * 43 * 3), grey;
    ASSERT_TRUE(to_rgb(n.image, rgb.data()).ok());
    for (size_t i = 0; i < rgb.size(); i += 3)
      grey.push_back(uint8_t((rgb[i] * 19595 + rgb[i + 1] * 38470 + rgb[i + 2] * 7471 + 32768) / 65536));
    test::PlainResizer resizer;
    const PictureView want = resizer.resize({grey.data(), 61, 43, 61}, 1, 28, 28, {0, 0, 28, 28}, c.filter);
    for (int t = 0; const simd::Kernels* k = simd::supported(t); ++t) {
      std::vector<float> got(28 * 28);
      ASSERT_TRUE(Preprocessor(c, *k).run(n.image, got.data()).ok());
      for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], float(want.pixels[i])) << k->name << " " << i;
    }
  }
}

TEST(PictureFormats, LargeFramesOnSeveralThreadsAreThoseOfOne) {
  Noise n(PixelFormat::kNv12, 641, 479, 0, 3);
  const PreprocessConfig c = config_of(Filter::kBilinear, 200, 301);
  const std::vector<float> want = plainly(c, n.image);
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    Preprocessor p(c);
    for (int again = 0; again < 2; ++again) {
      std::vector<float> got(want.size());
      ASSERT_TRUE(p.run(n.image, got.data(), &pool).ok());
      ASSERT_EQ(got, want) << threads;
    }
  }
}

TEST(PictureFormats, PackedPlanesFollowOneAnother) {
  for (const PixelFormat format : kAll) {
    const Noise n(format, 35, 21, 0, 4);
    std::vector<uint8_t> bytes;
    for (const std::vector<uint8_t>& p : n.plane) bytes.insert(bytes.end(), p.begin(), p.end());
    ASSERT_EQ(packed_bytes(format, 35, 21), bytes.size()) << to_string(format);
    const Image packed = Image::packed(format, bytes.data(), 35, 21);
    std::vector<uint8_t> a(35 * 21 * 3), b(a);
    ASSERT_TRUE(to_rgb(packed, a.data()).ok());
    ASSERT_TRUE(to_rgb(n.image, b.data()).ok());
    EXPECT_EQ(a, b) << to_string(format);
  }
  EXPECT_EQ(packed_bytes(PixelFormat::kNv12, 0, 5), 0u);
  EXPECT_EQ(packed_bytes(PixelFormat(99), 5, 5), 0u);
}

TEST(PictureFormats, BadPicturesAreExplained) {
  const Noise n(PixelFormat::kI420, 17, 9, 0, 2);
  std::vector<uint8_t> rgb(17 * 9 * 3);
  const auto refused = [&](std::initializer_list<const char*> words, const auto& change) {
    Image image = n.image;
    change(image);
    expect_error(to_rgb(image, rgb.data()), ErrorCode::kInvalidArgument, words);
  };
  ASSERT_TRUE(to_rgb(n.image, rgb.data()).ok());
  refused({"17 x 9 (i420)", "no first plane"}, [](Image& i) { i.rgb = nullptr; });
  refused({"17 x 9 (i420)", "no second plane"}, [](Image& i) { i.chroma[0] = nullptr; });
  refused({"17 x 9 (i420)", "no third plane"}, [](Image& i) { i.chroma[1] = nullptr; });
  refused({"16 bytes per row of its first plane", "at least 17"}, [](Image& i) { i.stride = 16; });
  refused({"8 bytes per row of its third plane", "at least 9"}, [](Image& i) { i.chroma_stride[1] = 8; });
  refused({"-17 bytes per row"}, [](Image& i) { i.stride = -17; });
  refused({"0 x 9", "at least 1 x 1"}, [](Image& i) { i.width = 0; });
  refused({"17 x -1", "at least 1 x 1"}, [](Image& i) { i.height = -1; });
  refused({"17 x 20000000", "too large"}, [](Image& i) { i.height = 20000000; });
  refused({"rotation is 45", "0, 90, 180 or 270"}, [](Image& i) { i.rotation = 45; });
  refused({"rotation is -90"}, [](Image& i) { i.rotation = -90; });
  for (const Crop c : {Crop{0, 0, 18, 9}, Crop{0, 0, 17, 10}, Crop{-1, 0, 4, 4}, Crop{0, -1, 4, 4}, Crop{14, 0, 4, 4},
                       Crop{0, 6, 4, 4}, Crop{2, 2, 0, 4}, Crop{2, 2, 4, 0}, Crop{3, 0, 0, 0}, Crop{0, 0, 5, 0},
                       Crop{2147483647, 0, 4, 4}, Crop{0, 0, -4, 4}})
    refused({"a crop of", "17 x 9"}, [&](Image& i) { i.crop = c; });
  refused({"format is 13", "PixelFormat"}, [](Image& i) { i.format = PixelFormat(13); });
  refused({"range is 2"}, [](Image& i) { i.range = YuvRange(2); });
  refused({"matrix is 7"}, [](Image& i) { i.matrix = YuvMatrix(7); });
  expect_error(to_rgb(n.image, nullptr), ErrorCode::kInvalidArgument, {"null"});
}

}  // namespace
}  // namespace vireo
