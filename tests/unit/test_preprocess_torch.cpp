// Pictures prepared as Transformers' torchvision backend prepares them, and padding keys that a single picture does not
// feel. Goldens: tests/golden/resize-torch (torchvision).
#include <cmath>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "image.h"
#include "model/preprocess.h"
#include "npy.h"
#include "support/plain_resizer.h"
#include "test_model_files.h"

namespace vireo {
namespace {

using test::expect_error;

std::string golden(const std::string& name) { return std::string(VIREO_TEST_DATA) + "/" + name; }

TEST(ResizeTorch, EqualsTorchvision) {
  std::ifstream file(golden("resize-torch/manifest.json"));
  const auto manifest = nlohmann::json::parse(file, nullptr, false);
  ASSERT_TRUE(manifest.is_array());
  FloatResizer resizer;  // one for all: its caches must notice every change
  test::PlainResizer pillow;
  size_t levels = 0, apart = 0;
  for (const auto& item : manifest) {
    SCOPED_TRACE(std::string(item["file"]));
    const auto source = cli::load_image(golden("resize/" + std::string(item["src"])));
    ASSERT_TRUE(source) << source.error().message;
    const auto want = cli::read_npy(golden("resize-torch/" + std::string(item["file"])));
    ASSERT_TRUE(want) << want.error().message;
    const int64_t w = item["width"], h = item["height"];
    const PictureView picture{source->rgb.data(), source->width, source->height, source->width * 3};
    for (const Window& window : {Window{0, 0, w, h}, Window{w / 3, h / 4, (w + 1) / 2, (h + 1) / 2}}) {
      const PictureView got = resizer.resize(picture, 3, w, h, window, Filter(item["resample"].get<int>()));
      const PictureView other = pillow.resize(picture, 3, w, h, window, Filter(item["resample"].get<int>()));
      size_t wrong = 0;
      float worst = 0;
      for (int64_t y = 0; y < window.height; ++y) {
        for (int64_t x = 0; x < window.width * 3; ++x) {
          const float expected = want->data[size_t(((y + window.y) * w + window.x) * 3 + x)];
          const float off = std::fabs(float(got.pixels[y * got.stride + x]) - expected);
          wrong += off != 0;
          worst = std::max(worst, off);
          apart += got.pixels[y * got.stride + x] != other.pixels[y * other.stride + x];
          ++levels;
        }
      }
      // A sum within rounding of n + 1/2 may fall to either side, nothing else may differ.
      EXPECT_LE(worst, 1.f);
      EXPECT_LE(wrong, size_t(window.width * window.height * 3) / 500) << "window at " << window.x << ", " << window.y;
    }
  }
  EXPECT_GT(apart, levels / 100) << "this cannot tell the two ways apart";
}

Result<PreprocessConfig> parsed(const std::string& text) {
  return parse_preprocessor_config(text, "preprocessor_config.json", Processor::kVit, 224, 224, 3);
}

/// `text` applied to one of the pictures of tests/golden/resize, against a golden.
void expect_pixels(const std::string& text, const std::string& picture, const std::string& file) {
  const auto config = parsed(text);
  ASSERT_TRUE(config) << config.error().message;
  const auto source = cli::load_image(golden("resize/" + picture));
  const auto want = cli::read_npy(golden("resize-torch/" + file));
  ASSERT_TRUE(source && want);
  Preprocessor p(*config);
  std::vector<float> out(size_t(p.output_size()));
  ASSERT_EQ(out.size(), want->data.size());
  ASSERT_TRUE(p.run(source->rgb.data(), source->width, source->height, source->width * 3, out.data()));
  size_t wrong = 0;
  for (size_t i = 0; i < out.size(); ++i) wrong += out[i] != want->data[i];
  EXPECT_LE(wrong, out.size() / 500) << file;
}

TEST(PreprocessTorch, EqualsTransformersTorchvisionBackend) {
  const std::string rest =
      R"(,"size":{"shortest_edge":28},"crop_size":{"height":24,"width":24},"do_center_crop":true,"resample":3})";
  expect_pixels(R"({"image_processor_type":"CLIPImageProcessorFast")" + rest, "photo.png", "pixels.npy");
  expect_pixels(R"({"image_processor_type":"CLIPImageProcessor","use_fast":true)" + rest, "photo.png", "pixels.npy");
  expect_pixels(
      R"({"image_processor_type":"CLIPImageProcessorFast","size":{"shortest_edge":17},"crop_size":24,"resample":1})",
      "strip.png",
      "pad.npy");  // Lanczos becomes bicubic, and the border is above
}

TEST(PreprocessTorch, ExtremePictures) {
  const auto config = parsed(
      R"({"image_processor_type":"ViTImageProcessorFast","size":32,"resample":3,"do_normalize":false,"do_rescale":false})");
  ASSERT_TRUE(config) << config.error().message;
  Preprocessor p(*config);
  std::vector<float> out(size_t(p.output_size()));
  const std::vector<uint8_t> line(3 << 18, 77);
  for (const auto& size : {std::pair<int64_t, int64_t>{1, 1}, {1 << 18, 1}, {1, 1 << 18}, {32, 5}, {5, 32}, {32, 32}}) {
    ASSERT_TRUE(p.run(line.data(), size.first, size.second, size.first * 3, out.data()));
    for (float v : out) ASSERT_EQ(v, 77.f) << size.first << " x " << size.second;
  }
}

TEST(PreprocessTorch, WhoseArithmeticGoesByTheName) {
  const auto floats = [](const std::string& text) {
    const auto c = parsed(text);
    EXPECT_TRUE(c) << text << ": " << c.error().message;
    return c && c->float_resize;
  };
  EXPECT_TRUE(floats(R"({"image_processor_type":"ViTImageProcessorFast"})"));
  EXPECT_TRUE(floats(R"({"image_processor_type":"MobileViTImageProcessorFast"})"));
  EXPECT_TRUE(floats(R"({"image_processor_type":"BitImageProcessor","use_fast":true})"));
  for (const char* name :
       {"ViTImageProcessor", "ViTFeatureExtractor", "ViTImageProcessorPil", "BitImageProcessor", "DPTImageProcessor"}) {
    EXPECT_FALSE(floats(std::string(R"({"image_processor_type":")") + name + "\"}")) << name;
  }
  EXPECT_FALSE(floats(R"({"image_processor_type":"ViTImageProcessorFast","use_fast":false})"));
  EXPECT_FALSE(floats("{}"));
  for (const char* filter : {"4", "5"}) {
    expect_error(parsed(std::string(R"({"image_processor_type":"ViTImageProcessorFast","resample":)") + filter + "}"),
                 ErrorCode::kUnsupported, {"resample", filter, "ViTImageProcessorFast"});
  }
  // Nearest is Pillow's in both.
  EXPECT_EQ(int(parsed(R"({"image_processor_type":"ViTImageProcessorFast","resample":0})")->filter),
            int(Filter::kNearest));
}

TEST(PreprocessPadding, OfASinglePictureIsNothing) {
  for (
      const char* text :
      {R"({"image_processor_type":"YolosImageProcessor","do_pad":true,"size":{"height":64,"width":96}})",
       R"({"image_processor_type":"DetrImageProcessorFast","do_pad":true,"size":{"height":64,"width":96}})",
       R"({"image_processor_type":"DetrFeatureExtractor","do_pad":true,"size":{"height":64,"width":96},"pad_size":null})",
       R"({"do_pad":true,"size":{"height":64,"width":96},"pad_size":{"height":64,"width":96}})",
       R"({"image_processor_type":"ViTImageProcessorFast","do_pad":true,"size":{"height":64,"width":96},"size_divisor":32})",
       R"({"do_pad":false,"size":{"height":64,"width":96},"pad_size":{"height":999,"width":999}})",
       R"({"image_processor_type":"DPTImageProcessor","size":{"height":64,"width":96},"keep_aspect_ratio":false,
                               "ensure_multiple_of":32,"size_divisor":null,"do_pad":false})"}) {
    const auto c = parsed(text);
    ASSERT_TRUE(c) << text << ": " << c.error().message;
    EXPECT_EQ(c->input_h, 64);
    EXPECT_EQ(c->input_w, 96);
  }
  EXPECT_EQ(parsed(R"({"image_processor_type":"DPTImageProcessor"})")->input_h, 384);
}

TEST(PreprocessPadding, ThatChangesThePictureIsRefused) {
  const auto refused = [](const std::string& keys, std::initializer_list<const char*> parts) {
    SCOPED_TRACE(keys);
    expect_error(parsed("{\"size\":{\"height\":64,\"width\":96}," + keys + "}"), ErrorCode::kUnsupported, parts);
  };
  refused(R"("image_processor_type":"DPTImageProcessor","keep_aspect_ratio":true,"ensure_multiple_of":14)",
          {"'keep_aspect_ratio'", "true"});
  refused(R"("image_processor_type":"DPTImageProcessor","ensure_multiple_of":14)", {"'ensure_multiple_of'", "14"});
  refused(R"("image_processor_type":"DPTImageProcessorFast","do_pad":true,"size_divisor":14)",
          {"'size_divisor'", "14"});
  refused(R"("keep_aspect_ratio":true)", {"'keep_aspect_ratio'"});
  refused(R"("do_pad":true,"pad_size":{"height":64,"width":128})", {"'pad_size'"});
  refused(R"("do_pad":true,"pad_size":8)", {"'pad_size'", "8"});
  refused(R"("image_processor_type":"ZoeDepthImageProcessor","do_pad":true)",
          {"'do_pad'", "not known"});  // a border of mirrored pixels
  refused(R"("image_processor_type":"Swin2SRImageProcessor","do_pad":true,"pad_size":8)", {"'do_pad'"});
  refused(R"("size_divisibility":50)", {"'size_divisibility'", "50"});
  expect_error(parsed(R"({"do_pad":1})"), ErrorCode::kCorrupt, {"'do_pad'"});
}

}  // namespace
}  // namespace vireo
