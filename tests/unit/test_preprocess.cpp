// Preprocessing: Pillow's resize bit for bit, the crops and arithmetic of Transformers and timm, every dialect of the
// configuration files.
#include "model/preprocess.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "image.h"
#include "npy.h"
#include "support/plain_resizer.h"
#include "test_model_files.h"

#if VIREO_TEST_ALL_SIMD && defined(__x86_64__)
namespace vireo::simd::N_AVX3 {
Kernel<PictureArgs> picture_kernel();  // without VNNI
}
#endif

namespace vireo {
namespace {

using test::expect_error;

/// Every instruction set's kernels, and AVX-512's without VNNI where the CPU has it.
std::vector<simd::Kernels> all_kernels() {
  std::vector<simd::Kernels> all;
  for (int t = 0; const simd::Kernels* k = simd::supported(t); ++t) all.push_back(*k);
#if VIREO_TEST_ALL_SIMD && defined(__x86_64__)
  if (const simd::Kernels* k = simd::find("avx512")) {
    all.push_back(*k);
    all.back().name = "avx512 without VNNI", all.back().picture = simd::N_AVX3::picture_kernel();
  }
#endif
  return all;
}

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

TEST(Resize, EqualsPillow) {
  const std::string folder = std::string(VIREO_TEST_DATA) + "/resize/";
  const auto manifest = nlohmann::json::parse(slurp(folder + "manifest.json"), nullptr, false);
  ASSERT_TRUE(manifest.is_array()) << folder;
  test::PlainResizer resizer;  // one for all: its caches must notice every change
  for (const auto& item : manifest) {
    const std::string file = item["file"];
    SCOPED_TRACE(file);
    const auto source = cli::load_image(folder + std::string(item["src"]));
    ASSERT_TRUE(source) << source.error().message;
    const auto want = cli::read_npy(folder + file);
    ASSERT_TRUE(want) << want.error().message;
    const int64_t w = item["width"], h = item["height"];
    const PictureView picture{source->rgb.data(), source->width, source->height, source->width * 3};
    // The whole, and a window as a crop would ask for it.
    for (const Window& window : {Window{0, 0, w, h}, Window{w / 3, h / 4, (w + 1) / 2, (h + 1) / 2}}) {
      const PictureView got = resizer.resize(picture, 3, w, h, window, Filter(item["resample"].get<int>()));
      size_t wrong = 0;
      for (int64_t y = 0; y < window.height; ++y) {
        for (int64_t x = 0; x < window.width * 3; ++x) {
          const float expected = want->data[size_t(((y + window.y) * w + window.x) * 3 + x)];
          wrong += float(got.pixels[y * got.stride + x]) != expected;
        }
      }
      EXPECT_EQ(wrong, 0u) << "window at " << window.x << ", " << window.y;
    }
    // The same through the library's own way, on every instruction set.
    PreprocessConfig c;
    c.filter = Filter(item["resample"].get<int>());
    c.resize_h = c.input_h = h, c.resize_w = c.input_w = w;
    c.rescale = c.normalize = false;
    for (const simd::Kernels& k : all_kernels()) {
      std::vector<float> got(size_t(3 * h * w));
      ASSERT_TRUE(Preprocessor(c, k).run(Image{source->rgb.data(), source->width, source->height}, got.data()));
      size_t wrong = 0;
      for (int64_t i = 0; i < h * w; ++i)
        for (int64_t channel = 0; channel < 3; ++channel)
          wrong += got[size_t(channel * h * w + i)] != want->data[size_t(3 * i + channel)];
      EXPECT_EQ(wrong, 0u) << k.name;
    }
  }
}

/// A picture whose pixel (x, y) is (x, y, 7): what a crop took can be read off.
std::vector<uint8_t> coordinates(int64_t w, int64_t h) {
  std::vector<uint8_t> rgb;
  for (int64_t y = 0; y < h; ++y) {
    for (int64_t x = 0; x < w; ++x) rgb.insert(rgb.end(), {uint8_t(x), uint8_t(y), 7});
  }
  return rgb;
}

/// Only a crop: levels pass through.
PreprocessConfig crop_only(int64_t h, int64_t w, PreprocessConfig::CropRounding rounding) {
  PreprocessConfig c;
  c.resize = PreprocessConfig::Resize::kNone;
  c.crop = true;
  c.crop_h = c.input_h = h;
  c.crop_w = c.input_w = w;
  c.rounding = rounding;
  c.rescale = c.normalize = false;
  return c;
}

TEST(Preprocess, CropsWhereTheOriginalsCrop) {
  using Rounding = PreprocessConfig::CropRounding;
  struct Case {
    int64_t size, crop;
    Rounding rounding;
    int64_t offset;  // of the source pixel at output 0; negative: so many padded
  };
  // Transformers: (size - crop) // 2; torchvision: int(round((size - crop) / 2.0)), padding (crop - size) // 2.
  for (const Case& c : std::vector<Case>{{11, 8, Rounding::kFloor, 1},
                                         {13, 8, Rounding::kFloor, 2},
                                         {10, 8, Rounding::kFloor, 1},
                                         {11, 8, Rounding::kHalfEven, 2},
                                         {13, 8, Rounding::kHalfEven, 2},
                                         {9, 8, Rounding::kHalfEven, 0},
                                         {15, 8, Rounding::kHalfEven, 4},
                                         {10, 8, Rounding::kHalfEven, 1},
                                         {8, 8, Rounding::kHalfEven, 0},
                                         {5, 8, Rounding::kFloor, -2},
                                         {7, 8, Rounding::kFloor, -1},
                                         {6, 8, Rounding::kFloor, -1},
                                         {5, 8, Rounding::kHalfEven, -1},
                                         {7, 8, Rounding::kHalfEven, 0},
                                         {6, 8, Rounding::kHalfEven, -1}}) {
    SCOPED_TRACE(testing::Message() << c.size << " to " << c.crop << " rounding " << int(c.rounding));
    Preprocessor p(crop_only(c.crop, c.crop, c.rounding));
    const auto rgb = coordinates(c.size, c.size);
    std::vector<float> out(size_t(p.output_size()), -1.f);
    const auto done = p.run(rgb.data(), c.size, c.size, c.size * 3, out.data());
    ASSERT_TRUE(done) << done.error().message;
    for (int64_t i = 0; i < c.crop; ++i) {
      const int64_t at = i + c.offset;
      const float expected = at < 0 || at >= c.size ? 0.f : float(at);
      const int64_t middle = c.crop / 2;
      EXPECT_EQ(out[size_t(middle * c.crop + i)], expected) << "column " << i;
      EXPECT_EQ(out[size_t(c.crop * c.crop + i * c.crop + middle)], expected) << "row " << i;
    }
  }
}

TEST(Preprocess, ArithmeticIsNumpysOrTorchs) {
  using Arithmetic = PreprocessConfig::Arithmetic;
  const auto rgb = coordinates(256, 1);
  PreprocessConfig c;
  c.resize = PreprocessConfig::Resize::kNone;
  c.input_h = 1;
  c.input_w = 256;
  struct Numbers {
    double factor, mean[2], std[2];  // of the first channel and the last
  };
  const Numbers numbers[] = {{1.0 / 255, {0.485, 0.406}, {0.229, 0.225}},
                             {1.0 / 255, {0.5, 0.5}, {0.5, 0.5}},
                             {1.0 / 127.5, {1, 0.9}, {1, 1.1}},
                             {1, {123.675, 103.53}, {58.395, 57.375}},
                             {1.0 / 255, {0.48145466, 0.40821073}, {0.26862954, 0.27577711}}};
  for (const Numbers& n : numbers) {
    c.rescale_factor = n.factor;
    c.mean = {{n.mean[0], 0, n.mean[1]}}, c.std = {{n.std[0], 1, n.std[1]}};
    for (const auto arithmetic : {Arithmetic::kNumpy, Arithmetic::kTorch, Arithmetic::kTorchFused}) {
      c.arithmetic = arithmetic;
      const auto want = [&](size_t level, int channel) {
        float mean = float(n.mean[channel]), std = float(n.std[channel]), unit = float(double(level) * n.factor);
        if (arithmetic == Arithmetic::kTorch) unit = float(level) / 255.f;
        if (arithmetic == Arithmetic::kTorchFused) {
          const float back = float(1.0 / n.factor);
          mean *= back, std *= back, unit = float(level);
        }
        return (unit - mean) / std;
      };
      for (const simd::Kernels& k : all_kernels()) {
        SCOPED_TRACE(k.name);
        std::vector<float> out(3 * 256);
        Preprocessor p(c, k);
        EXPECT_TRUE(p.in_scales()) << "the table is read instead: " << n.factor << ", " << n.mean[0];
        ASSERT_TRUE(p.run(rgb.data(), 256, 1, 768, out.data()));
        size_t wrong = 0;
        for (size_t level = 0; level < 256; ++level)
          wrong += out[level] != want(level, 0) || out[512 + level] != want(7, 1);
        EXPECT_EQ(wrong, 0u) << n.factor << ", " << n.mean[0] << ", " << int(arithmetic);
      }
    }
  }
}

PreprocessConfig parsed(const std::string& text, Processor fallback = Processor::kVit, int64_t h = 96,
                        int64_t w = 112) {
  auto c = parse_preprocessor_config(text, "preprocessor_config.json", fallback, h, w, 3);
  EXPECT_TRUE(c) << c.error().message;
  return c ? *c : PreprocessConfig{};
}

TEST(PreprocessConfig, ReadsEveryDialect) {
  using Resize = PreprocessConfig::Resize;
  // google/vit-base-patch16-224: a number squashes, bilinear, mean and std 0.5.
  PreprocessConfig c = parsed(
      R"({"do_normalize":true,"do_resize":true,"image_mean":[0.5,0.5,0.5],"image_std":[0.5,0.5,0.5],"size":224})");
  EXPECT_EQ(c.resize, Resize::kExact);
  EXPECT_EQ(c.resize_w, 224);
  EXPECT_EQ(c.filter, Filter::kBilinear);
  EXPECT_FALSE(c.crop);
  EXPECT_TRUE(c.rescale && c.normalize);
  EXPECT_EQ(c.input_h, 224);
  EXPECT_EQ(c.rescale_factor, 1 / 255.0);

  c = parsed(
      R"({"image_processor_type":"ViTImageProcessorFast","size":{"height":56,"width":72},"resample":3,"do_rescale":false})");
  EXPECT_EQ(c.input_h, 56);
  EXPECT_EQ(c.input_w, 72);
  EXPECT_EQ(c.filter, Filter::kBicubic);
  EXPECT_FALSE(c.rescale);

  // facebook/dinov2-small
  c = parsed(
      R"({"image_processor_type":"BitImageProcessor","size":{"shortest_edge":256},"crop_size":{"height":224,"width":224},
                 "do_center_crop":true,"resample":3,"image_mean":[0.485,0.456,0.406],"image_std":[0.229,0.224,0.225]})");
  EXPECT_EQ(c.resize, Resize::kShortestEdge);
  EXPECT_EQ(c.shortest, 256);
  EXPECT_TRUE(c.crop);
  EXPECT_EQ(c.input_w, 224);
  EXPECT_EQ(c.mean[0], 0.485);
  EXPECT_EQ(c.rounding, PreprocessConfig::CropRounding::kFloor);

  // A number means the shorter side for Bit and CLIP processors, a square for ViT and DeiT.
  EXPECT_EQ(parsed(R"({"image_processor_type":"BitImageProcessor","size":64})").resize, Resize::kShortestEdge);
  EXPECT_EQ(parsed(R"({"feature_extractor_type":"CLIPFeatureExtractor","size":64})").shortest, 64);
  EXPECT_EQ(parsed(R"({"feature_extractor_type":"DeiTFeatureExtractor","size":64})").resize, Resize::kExact);
  EXPECT_EQ(parsed(R"({"size":64})", Processor::kBit).resize, Resize::kShortestEdge);

  // Defaults of absent keys follow the processor.
  c = parsed(R"({"image_processor_type":"DeiTImageProcessor"})");
  EXPECT_TRUE(c.crop);
  EXPECT_EQ(c.resize_h, 256);
  EXPECT_EQ(c.input_h, 224);
  EXPECT_EQ(c.filter, Filter::kBicubic);
  EXPECT_EQ(parsed("{}", Processor::kBit).shortest, 224);
  EXPECT_NEAR(parsed("{}", Processor::kBit).mean[0], 0.48145466, 1e-12);
  EXPECT_EQ(parsed("{}").input_h, 224);

  c = parsed(R"({"do_resize":false})");
  EXPECT_EQ(c.resize, Resize::kNone);
  EXPECT_EQ(c.input_h, 96);
  EXPECT_EQ(c.input_w, 112);
  c = parsed(
      R"({"size":[40,50],"do_center_crop":true,"crop_size":[30,20],"resample":"lanczos","image_mean":0.25,"image_std":[0.5]})");
  EXPECT_EQ(c.resize_h, 40);
  EXPECT_EQ(c.resize_w, 50);
  EXPECT_EQ(c.input_w, 20);
  EXPECT_EQ(c.filter, Filter::kLanczos);
  EXPECT_EQ(c.mean[2], 0.25);
  EXPECT_EQ(c.std[1], 0.5);
  c = parsed(R"({"size":{"shortest_edge":30,"longest_edge":40},"do_center_crop":true,"crop_size":16})");
  EXPECT_EQ(c.longest, 40);

  EXPECT_TRUE(parsed(R"({"image_processor_type":"ViTImageProcessor"})").warnings.empty());
  ASSERT_EQ(parsed(R"({"image_processor_type":"NewImageProcessor"})").warnings.size(), 1u);
  EXPECT_TRUE(
      parsed(R"({"image_processor_type":"SegformerImageProcessor","do_reduce_labels":false})").warnings.empty());
  for (const char* key : {"do_reduce_labels", "reduce_labels"}) {
    const PreprocessConfig c =
        parsed(std::string(R"({"image_processor_type":"SegformerImageProcessor",")") + key + "\":true}");
    ASSERT_EQ(c.warnings.size(), 1u) << key;
    EXPECT_NE(c.warnings[0].find("shift them by one first"), std::string::npos) << c.warnings[0];
  }
}

TEST(PreprocessConfig, RefusesBadKeys) {
  const auto bad = [](const char* text, ErrorCode code, std::initializer_list<const char*> parts) {
    expect_error(parse_preprocessor_config(text, "preprocessor_config.json", Processor::kVit, 8, 8, 3), code, parts);
  };
  bad("{", ErrorCode::kCorrupt, {"preprocessor_config.json", "not valid JSON"});
  bad(R"({"size":"big"})", ErrorCode::kCorrupt, {"'size'", "\"big\""});
  bad(R"({"size":0})", ErrorCode::kCorrupt, {"'size'", "is 0", "1 to 65536"});
  bad(R"({"size":{"edge":3}})", ErrorCode::kCorrupt, {"'size'", "shortest_edge"});
  bad(R"({"size":{"height":3}})", ErrorCode::kCorrupt, {"'size'"});
  bad(R"({"size":{"height":-3,"width":3}})", ErrorCode::kCorrupt, {"'height'", "-3"});
  bad(R"({"size":{"shortest_edge":1e30}})", ErrorCode::kCorrupt, {"'shortest_edge'"});
  bad(R"({"crop_size":{"shortest_edge":3}})", ErrorCode::kCorrupt, {"'crop_size'"});
  bad(R"({"resample":9})", ErrorCode::kCorrupt, {"'resample'", "9"});
  bad(R"({"image_mean":[0.5,0.5]})", ErrorCode::kCorrupt, {"'image_mean'", "three numbers"});
  bad(R"({"image_std":[0.5,0,0.5]})", ErrorCode::kCorrupt, {"image_std", "channel 1"});
  bad(R"({"do_resize":"yes"})", ErrorCode::kCorrupt, {"'do_resize'", "true or false"});
  bad(R"({"crop_pct":0.9})", ErrorCode::kUnsupported, {"'crop_pct'"});
  bad(R"({"do_flip_channel_order":true})", ErrorCode::kUnsupported, {"'do_flip_channel_order'"});
}

TEST(PreprocessConfig, ReadsTimm) {
  using Resize = PreprocessConfig::Resize;
  const auto timm = [](const std::string& text, int64_t h, int64_t w) {
    auto c = parse_timm_preprocess(text, "config.json", PreprocessConfig{}, h, w);
    EXPECT_TRUE(c) << c.error().message;
    return *c;
  };
  PreprocessConfig c =
      timm(R"({"pretrained_cfg":{"crop_pct":0.9,"interpolation":"bicubic","mean":[0.1,0.2,0.3]}})", 224, 224);
  EXPECT_EQ(c.resize, Resize::kShortestEdge);
  EXPECT_EQ(c.shortest, 248);  // floor(224 / 0.9)
  EXPECT_EQ(c.filter, Filter::kBicubic);
  EXPECT_EQ(c.rounding, PreprocessConfig::CropRounding::kHalfEven);
  EXPECT_EQ(c.arithmetic, PreprocessConfig::Arithmetic::kTorch);
  EXPECT_EQ(c.mean[2], 0.3);
  EXPECT_EQ(c.std[2], 0.5);
  EXPECT_EQ(timm(R"({"crop_pct":1.0,"interpolation":"bilinear"})", 96, 96).filter,
            Filter::kBilinear);  // an old, flat file
  c = timm(R"({"pretrained_cfg":{"crop_pct":0.5}})", 64, 96);
  EXPECT_EQ(c.resize, Resize::kCover);
  EXPECT_EQ(c.resize_h, 128);
  EXPECT_EQ(c.filter, Filter::kBilinear);
  EXPECT_EQ(timm(R"({"pretrained_cfg":{"crop_pct":0.5,"crop_mode":"squash"}})", 64, 96).resize, Resize::kExact);
  expect_error(parse_timm_preprocess(R"({"crop_mode":"border"})", "config.json", c, 8, 8), ErrorCode::kUnsupported,
               {"border"});
  expect_error(parse_timm_preprocess(R"({"crop_pct":0})", "config.json", c, 8, 8), ErrorCode::kCorrupt, {"'crop_pct'"});
  expect_error(parse_timm_preprocess(R"({"interpolation":"magic"})", "config.json", c, 8, 8), ErrorCode::kUnsupported,
               {"magic"});
}

TEST(Preprocess, TinyAndExtremePictures) {
  PreprocessConfig c = processor_defaults(Processor::kBit);
  c.crop_h = c.crop_w = c.input_h = c.input_w = 32;
  c.shortest = 36;
  Preprocessor p(c);
  std::vector<float> out(size_t(p.output_size()));
  const uint8_t pixel[3] = {10, 200, 30};
  ASSERT_TRUE(p.run(pixel, 1, 1, 3, out.data()));
  for (size_t i = 1; i < 1024; ++i) EXPECT_EQ(out[i], out[0]);
  // 1 x 20000 becomes 36 x 720,000, of which only the crop is computed.
  std::vector<uint8_t> line(20000 * 3, 77);
  ASSERT_TRUE(p.run(line.data(), 20000, 1, 60000, out.data()));
  ASSERT_TRUE(p.run(line.data(), 1, 20000, 3, out.data()));
  EXPECT_EQ(out[0], out[1023]);
  expect_error(p.run(nullptr, 5, 5, 15, out.data()), ErrorCode::kInvalidArgument, {"5 x 5"});
  expect_error(p.run(pixel, 0, 1, 0, out.data()), ErrorCode::kInvalidArgument, {"0 x 1"});
  expect_error(p.run(pixel, 2, 1, 3, out.data()), ErrorCode::kInvalidArgument, {"3 bytes per row"});
}

TEST(Preprocess, ASizeThatCannotFitIsExplained) {
  PreprocessConfig c;
  c.resize = PreprocessConfig::Resize::kNone;
  c.input_h = 50;
  c.input_w = 60;
  const auto rgb = coordinates(61, 50);
  std::vector<float> out(3 * 50 * 61);
  expect_error(Preprocessor(c).run(rgb.data(), 61, 50, 183, out.data()), ErrorCode::kInvalidArgument,
               {"61 x 50", "60 x 50", "do_resize false", "resize the picture first"});
  EXPECT_TRUE(Preprocessor(c).run(rgb.data(), 60, 50, 183, out.data()));  // a wider stride: the same rows cut
  EXPECT_EQ(out[59], (float(59 / 255.0) - 0.5f) / 0.5f);
  c.resize = PreprocessConfig::Resize::kShortestEdge;
  c.shortest = c.input_h = c.input_w = 50;
  expect_error(Preprocessor(c).run(rgb.data(), 61, 50, 183, out.data()), ErrorCode::kInvalidArgument,
               {"becomes 61 x 50", "crop the picture first"});
  c.channels = 4;
  expect_error(Preprocessor(c).run(rgb.data(), 50, 50, 183, out.data()), ErrorCode::kUnsupported, {"4 channels"});
}

TEST(Preprocess, OneChannelIsPillowsLuma) {
  PreprocessConfig c;
  c.resize = PreprocessConfig::Resize::kNone;
  c.input_h = c.input_w = 1;
  c.channels = 1;
  c.rescale = c.normalize = false;
  Preprocessor p(c);
  float out = 0;
  const uint8_t colours[][4] = {{255, 0, 0, 76}, {0, 255, 0, 150}, {0, 0, 255, 29}, {255, 255, 255, 255}, {1, 2, 3, 2}};
  for (const auto& colour : colours) {
    ASSERT_TRUE(p.run(colour, 1, 1, 3, &out));
    EXPECT_EQ(out, float(colour[3]));
  }
}

TEST(Preprocess, RepeatedSizesGiveTheSameAnswer) {
  PreprocessConfig c = processor_defaults(Processor::kBit);
  c.crop_h = c.crop_w = c.input_h = c.input_w = 16;
  c.shortest = 20;
  Preprocessor p(c);
  const auto a = coordinates(50, 40), b = coordinates(31, 77);
  std::vector<float> first(size_t(p.output_size())), again(first), other(first);
  ASSERT_TRUE(p.run(a.data(), 50, 40, 150, first.data()));
  ASSERT_TRUE(p.run(b.data(), 31, 77, 93, other.data()));
  ASSERT_TRUE(p.run(a.data(), 50, 40, 150, again.data()));
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other);
}

TEST(Preprocess, EqualsTransformersOnPhotographs) {
  const std::string data = std::string(VIREO_SHARED) + "/data/imagenet-dev/";
  const auto want = cli::read_npy(data + "pixels8.npy");
  if (!want) GTEST_SKIP() << want.error().message;
  std::istringstream labels(slurp(data + "labels.csv"));
  std::string line;
  std::getline(labels, line);
  if (line.find(".jpg") == std::string::npos && line.find(".JPEG") == std::string::npos) std::getline(labels, line);
  PreprocessConfig c = processor_defaults(Processor::kBit);
  c.shortest = 248;
  c.mean = c.std = {{0.5, 0.5, 0.5}};
  Preprocessor p(c);
  std::vector<float> out(size_t(p.output_size()));
  for (size_t i = 0; i < 8; ++i, std::getline(labels, line)) {
    const auto picture = cli::load_image(data + "images/" + line.substr(0, line.find(',')));
    ASSERT_TRUE(picture) << picture.error().message;
    ASSERT_TRUE(p.run(picture->rgb.data(), picture->width, picture->height, picture->width * 3, out.data()));
    float worst = 0;
    for (size_t k = 0; k < out.size(); ++k) worst = std::max(worst, std::fabs(out[k] - want->data[i * out.size() + k]));
    EXPECT_LE(worst, 1e-6f) << line;
  }
}

}  // namespace
}  // namespace vireo
