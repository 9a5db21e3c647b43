// Recipes that give a network a smaller input: what is written opens as the original does at that size.
#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "test_model_family.h"

#include <vireo/compress.hpp>
#include <vireo/predict.hpp>

namespace vireo {
namespace {

using test::TempDir;

struct Picture {
  int width = 150, height = 120;
  std::vector<uint8_t> rgb;
  explicit Picture(int number) {
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x)
        for (int c = 0; c < 3; ++c)
          rgb.push_back(uint8_t(127.5 + 100 * std::sin(0.1 * (x * (1 + number % 3) + y * (c + 1)) + number)));
  }
  Image image() const { return {rgb.data(), width, height, 0}; }
};

Model open_case(const std::string& name) {
  auto m = Model::open(family_test::kCases + name);
  EXPECT_TRUE(m.ok()) << m.error().message;
  return *m;
}

Result<CompressReport> compress_into(const std::string& folder, const Model& model, const std::string& recipe,
                                     int pictures = 0) {
  CompressOptions o;
  o.recipe = recipe, o.sensitivity = false, o.threads = 2;
  VIREO_ASSIGN(Compressor c, Compressor::create(model, o));
  for (int i = 0; i < pictures; ++i) VIREO_TRY(c.add(Picture(i).image()));
  return c.write(folder);
}

std::vector<float> answer(const Model& model, int h, int w) {
  SessionOptions o;
  o.height = h, o.width = w;
  auto session = Session::create(model, Device::cpu(1), o);
  EXPECT_TRUE(session.ok()) << session.error().message;
  const auto out = session->run(Picture(5).image());
  EXPECT_TRUE(out.ok()) << out.error().message;
  return {out->data, out->data + out->rows * out->cols};
}

OrderedJson preprocessor(const TempDir& dir) {
  return OrderedJson::parse(family_test::read_file(dir.path() + "/preprocessor_config.json"));
}

struct Size {
  const char *model, *recipe;
  int h, w;  // patches of the whole x its percentage, rounded, x the patch
};

TEST(SmallerInput, IsTheOriginalAtThatSize) {
  // 7 patches of 16 are 6 and 5; 5 patches of 14 are 4.
  for (const Size& s : {Size{"hf-vit", "input86", 96, 96}, Size{"hf-vit", "input71", 80, 80},
                        Size{"hf-dinov2-interpolated", "input86", 56, 56}}) {
    const Model whole = open_case(s.model);
    const TempDir out;
    const auto report = compress_into(out.path(), whole, s.recipe);
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_EQ(report->input_height, s.h);
    EXPECT_EQ(report->input_width, s.w);
    EXPECT_LT(report->macs, report->macs_before);
    const auto small = Model::open(out.path());
    ASSERT_TRUE(small.ok()) << small.error().message;
    EXPECT_EQ(small->input_height(), s.h);
    EXPECT_EQ(small->input_width(), s.w);
    EXPECT_EQ(answer(*small, 0, 0), answer(whole, s.h, s.w)) << s.model << ' ' << s.recipe;
    EXPECT_NE(answer(*small, 0, 0), answer(whole, 0, 0));
  }
}

TEST(SmallerInput, TheMarginAroundACropShrinksWithIt) {
  const TempDir out;
  ASSERT_TRUE(compress_into(out.path(), open_case("hf-dinov2-interpolated"), "input86").ok());
  const OrderedJson j = preprocessor(out);
  EXPECT_EQ(j["size"], (OrderedJson{{"shortest_edge", 64}}));  // 80 of 70 is 64 of 56
  EXPECT_EQ(j["crop_size"], (OrderedJson{{"height", 56}, {"width", 56}}));
  // Everything else is as it was.
  OrderedJson before = OrderedJson::parse(
      family_test::read_file(family_test::kCases + "hf-dinov2-interpolated/preprocessor_config.json"));
  for (const char* key : {"size", "crop_size"}) before[key] = j[key];
  EXPECT_EQ(j, before);
}

TEST(SmallerInput, MultiplyAddsAreThoseOfFewerPatches) {
  // A ViT of width d: t tokens, 3 blocks of 4 d^2 + 2 d m in linears and 2 t d in attention, patches and a head.
  const auto macs = [](double patches) {
    const double d = 96, m = 384, t = patches + 1;
    return 3 * (t * (4 * d * d + 2 * d * m) + 2 * t * t * d) + patches * 3 * 16 * 16 * d + 10 * d;
  };
  const TempDir out;
  const auto report = compress_into(out.path(), open_case("hf-vit"), "input71");
  ASSERT_TRUE(report.ok()) << report.error().message;
  // Softmax counts a little besides.
  EXPECT_NEAR(report->macs / report->macs_before, macs(25) / macs(49), 0.01);
}

TEST(SmallerInput, GoesWithOtherRecipes) {
  const Model whole = open_case("hf-vit");
  for (const char* recipe : {"w8+input86", "w4g32+input71", "input86+tome25", "w8a8static+input86"}) {
    const TempDir out;
    const auto report = compress_into(out.path(), whole, recipe, 8);
    ASSERT_TRUE(report.ok()) << recipe << ": " << report.error().message;
    const auto small = Model::open(out.path());
    ASSERT_TRUE(small.ok()) << recipe << ": " << small.error().message;
    EXPECT_LT(small->input_height(), whole.input_height()) << recipe;
    const std::vector<float> a = answer(*small, 0, 0), b = answer(whole, small->input_height(), small->input_width());
    double off = 0, size = 0;
    for (size_t i = 0; i < a.size(); ++i) off += std::pow(a[i] - b[i], 2), size += std::pow(b[i], 2);
    EXPECT_LT(off, 0.1 * size) << recipe;
    EXPECT_GT(off, 0) << recipe;
  }
}

TEST(SmallerInput, WhatCannotHaveOneSaysWhy) {
  const TempDir out;
  const auto says = [&](const char* model, const char* recipe, const std::string& what) {
    const auto r = compress_into(out.path(), open_case(model), recipe);
    ASSERT_FALSE(r.ok()) << model << ' ' << recipe;
    EXPECT_NE(r.error().message.find(what), std::string::npos) << r.error().message;
  };
  says("hf-swin", "input86", "no table of positions");
  says("hf-upernet-vit", "input86", "answers for every pixel");
  says("timm-vit", "input86", "no preprocessor_config.json");
  says("hf-vit", "input86+input71", "two recipes that say how large the input is");
  says("hf-vit", "a8+input86", "says nothing of weights");
}

}  // namespace
}  // namespace vireo
