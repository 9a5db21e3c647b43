// Checkpoints whose values are rounded to grids while they run, or whose functions are computed in integers: what the
// compressor writes answers as simulation does, which tests/unit/test_simulate*.cpp hold against statements in double
// precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "ops/row_grids.h"
#include "test_model_family.h"

#include <vireo/compress.hpp>
#include <vireo/predict.hpp>
#include <vireo/simulate.hpp>

namespace vireo {
namespace {

using test::TempDir;

constexpr int kCalibrate = 8;

struct Picture {
  std::vector<uint8_t> rgb;
  explicit Picture(int number) {
    for (int y = 0; y < 112; ++y)
      for (int x = 0; x < 112; ++x)
        for (int c = 0; c < 3; ++c)
          rgb.push_back(uint8_t(127.5 + 100 * std::sin(0.1 * (x * (1 + number % 3) + y * (c + 1)) + number)));
  }
  Image image() const { return {rgb.data(), 112, 112, 0}; }
};

Model open_case(const std::string& name) {
  auto m = Model::open(family_test::kCases + name);
  EXPECT_TRUE(m.ok()) << m.error().message;
  return *m;
}

Result<CompressReport> compress_into(const std::string& folder, const Model& model, const std::string& policy,
                                     const std::string& recipe = "") {
  CompressOptions o;
  o.policy = policy, o.recipe = recipe, o.sensitivity = false, o.threads = 2;
  VIREO_ASSIGN(Compressor c, Compressor::create(model, o));
  for (int i = 0; i < kCalibrate; ++i) VIREO_TRY(c.add(Picture(i).image()));
  return c.write(folder);
}

std::vector<float> answers(const Model& model, int batch) {
  SessionOptions o;
  o.batch = batch;
  auto session = Session::create(model, Device::cpu(2), o);
  EXPECT_TRUE(session.ok()) << session.error().message;
  std::vector<Picture> pictures;
  for (int i = 0; i < batch; ++i) pictures.emplace_back(20 + i);
  std::vector<Image> images;
  for (const Picture& p : pictures) images.push_back(p.image());
  const auto out = session->run(images.data(), batch);
  EXPECT_TRUE(out.ok()) << out.error().message;
  return {out->data, out->data + int64_t(out->batch) * out->rows * out->cols};
}

/// Squared difference over the square.
double apart(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double off = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i)
    off += std::pow(double(a[i]) - double(b[i]), 2), size += std::pow(double(a[i]), 2);
  return off / size;
}

const char* const kLines[] = {"layernorm ptf 6",
                              "layernorm asymmetric 4 tensor",
                              "softmax adalog 3",
                              "softmax twinsoftmax 3",
                              "softmax rowlog2 3 token",
                              "gelu shiftadalog 3",
                              "gelu twingelu 4",
                              "rows asymmetric 4",
                              "rows symmetric 4 tensor\ngelu shiftlog 4",
                              "operands symmetric 4",
                              "integer softmax 5",
                              "integer gelu 5 tensor",
                              "integer layernorm 5",
                              "rows symmetric 8\ninteger gelu 8\ninteger softmax 8\ninteger layernorm 8"};

TEST(NumberGrids, CheckpointsAnswerAsSimulationDoes) {
  const Model whole = open_case("hf-vit");
  const std::vector<float> plain = answers(whole, 1);
  for (const std::string text : kLines) {
    const TempDir out;
    const auto report = compress_into(out.path(), whole, text);
    ASSERT_TRUE(report.ok()) << text << ": " << report.error().message;
    const auto small = Model::open(out.path());
    ASSERT_TRUE(small.ok()) << text << ": " << small.error().message;
    auto simulator = Simulator::create(whole, text, "mine", 2);
    ASSERT_TRUE(simulator.ok()) << simulator.error().message;
    for (int i = 0; i < kCalibrate; ++i) ASSERT_TRUE(simulator->calibrate(Picture(i).image()).ok());
    const auto simulated = simulator->run(Picture(20).image());
    ASSERT_TRUE(simulated.ok()) << simulated.error().message;
    const std::vector<float> got = answers(*small, 1);
    const double changed = apart(plain, simulated->after);
    EXPECT_GT(changed, 1e-7) << text << " rounds nothing";
    // Sums in another order bring a few numbers to the next code.
    EXPECT_LT(apart(simulated->after, got), 0.05 * changed) << text;
  }
}

TEST(NumberGrids, EveryPictureOfABatchHasScalesOfItsOwn) {
  const Model whole = open_case("hf-vit");
  const TempDir out;
  ASSERT_TRUE(
      compress_into(out.path(), whole,
                    "layernorm ptf 6\nsoftmax rowlog2 4 tensor\nrows asymmetric 4 tensor\noperands symmetric 6\n"
                    "integer gelu 6 tensor\n")
          .ok());
  const auto small = Model::open(out.path());
  ASSERT_TRUE(small.ok()) << small.error().message;
  const std::vector<float> one = answers(*small, 1), three = answers(*small, 3);
  EXPECT_LT(apart(one, {three.begin(), three.begin() + int64_t(one.size())}), 1e-3 * apart(answers(whole, 1), one));
}

TEST(NumberGrids, GoWithCodesAndMergedTokens) {
  const Model whole = open_case("hf-vit");
  for (const char* recipe : {"w8", "w4g32", "w8a8", "w8+tome25", "w8+input86"}) {
    const TempDir out, plain;
    ASSERT_TRUE(compress_into(plain.path(), whole, "", recipe).ok());
    const auto report = compress_into(out.path(), whole, "integer softmax 6\nlayernorm ptf 7\n", recipe);
    ASSERT_TRUE(report.ok()) << recipe << ": " << report.error().message;
    const auto small = Model::open(out.path()), without = Model::open(plain.path());
    ASSERT_TRUE(small.ok()) << recipe << ": " << small.error().message;
    EXPECT_EQ(family_test::read_file(out.path() + "/model.safetensors"),
              family_test::read_file(plain.path() + "/model.safetensors"))
        << recipe << ": grids are of values and change no weight";
    const double off = apart(answers(*without, 1), answers(*small, 1));
    EXPECT_GT(off, 1e-9) << recipe;
    EXPECT_LT(off, 0.2) << recipe;
  }
}

TEST(NumberGrids, AGpusPlanHasThemOnTheCpuAndSaysSo) {
  const TempDir out;
  ASSERT_TRUE(
      compress_into(out.path(), open_case("hf-vit"), "layernorm ptf 6\nsoftmax adalog 4\ninteger gelu 8\n").ok());
  const auto small = Model::open(out.path());
  ASSERT_TRUE(small.ok()) << small.error().message;
  for (const Precision p : {Precision::kFp32, Precision::kFp16}) {
    SessionOptions o;
    o.precision = p;
    const auto text = plan_text(*small, *machine_caps("jetson-nano"), o, false);
    ASSERT_TRUE(text.ok()) << text.error().message;
    for (const char* what : {"cpu round", "cpu rounded_attention", "cpu integer_gelu", "ptf 6", "softmax adalog 4",
                             "integers of 8 bits", "are computed on the CPU alone"})
      EXPECT_NE(text->find(what), std::string::npos) << what << " in\n" << *text;
  }
}

TEST(NumberGrids, WhatAFileSaysIsChecked) {
  const TempDir out;
  ASSERT_TRUE(
      compress_into(out.path(), open_case("hf-vit"), "layernorm ptf 6\nsoftmax adalog 4\ninteger gelu 8\n").ok());
  const OrderedJson config = OrderedJson::parse(family_test::read_file(out.path() + "/config.json"));
  const OrderedJson& section = config["quantization_config"]["vireo"]["grids"];
  EXPECT_EQ(section["layernorm"], (OrderedJson{{"grid", "ptf"}, {"bits", 6}}));
  EXPECT_EQ(section["fits"]["blocks.0.norm1 in"].size(), 98u);  // a step, a zero point and 96 factors
  EXPECT_EQ(section["fits"]["blocks.0.attn in"].size(), 2u);
  const auto says = [&](auto change, ErrorCode code, const std::string& what) {
    OrderedJson other = config;
    change(other["quantization_config"]["vireo"]["grids"]);
    out.write("config.json", other.dump());
    const auto r = Model::open(out.path());
    ASSERT_FALSE(r.ok()) << what;
    EXPECT_EQ(r.error().code, code) << r.error().message;
    EXPECT_NE(r.error().message.find(what), std::string::npos) << r.error().message;
    EXPECT_EQ(std::count(r.error().message.begin(), r.error().message.end(), '\n'), 0);
  };
  using J = OrderedJson;
  const auto newer = ErrorCode::kUnsupported;
  says([](J& g) { g["colour"] = J::object(); }, newer, "has the key 'colour'");
  says([](J& g) { g["layernorm"]["grid"] = "ptg"; }, newer, "has the grid 'ptg'");
  says([](J& g) { g["layernorm"]["scope"] = "row"; }, newer, "has the scope 'row'");
  says([](J& g) { g["layernorm"]["shift"] = 1; }, newer, "has the key 'shift'");
  says([](J& g) { g["integer"]["tanh"] = J{{"bits", 8}}; }, newer, "has the key 'tanh'");
  says([](J& g) { g["integer"]["gelu"]["bits"] = 16; }, ErrorCode::kCorrupt, "bits");
  says([](J& g) { g["layernorm"]["bits"] = 1; }, ErrorCode::kCorrupt, "bits");
  says([](J& g) { g["layernorm"].erase("bits"); }, ErrorCode::kCorrupt, "says no bits");
  says([](J& g) { g["layernorm"] = 3; }, ErrorCode::kCorrupt, "expected an object");
  says([](J& g) { g["integer"]["layernorm"] = J{{"bits", 8}}; }, ErrorCode::kCorrupt, "says twice");
  says([](J& g) { g["operands"] = J{{"grid", "ptf"}, {"bits", 8}}; }, ErrorCode::kCorrupt, "rows of one length");
  says([](J& g) { g["fits"].erase("blocks.1.norm2 in"); }, ErrorCode::kCorrupt, "nothing for 'blocks.1.norm2 in'");
  says([](J& g) { g.erase("fits"); }, ErrorCode::kCorrupt, "nothing for");
  says([](J& g) { g["fits"]["blocks.1.norm2 in"].erase(5); }, ErrorCode::kCorrupt, "no such numbers");
  says([](J& g) { g["fits"]["blocks.1.norm2 in"][0] = 0; }, ErrorCode::kCorrupt, "no such numbers");
  says([](J& g) { g["fits"]["blocks.1.norm2 in"][9] = 3; }, ErrorCode::kCorrupt, "no such numbers");
  says([](J& g) { g["fits"]["blocks.1.norm2 in"][1] = 300; }, ErrorCode::kCorrupt, "no such numbers");
  says([](J& g) { g["fits"]["blocks.2.attn in"][1] = 1e9; }, ErrorCode::kCorrupt, "no such numbers");
  says([](J& g) { g["fits"]["blocks.2.attn in"][1] = "37"; }, ErrorCode::kCorrupt, "expected a list of numbers");
  says([](J& g) { g["fits"] = 1; }, ErrorCode::kCorrupt, "expected an object");
}

TEST(NumberGrids, NamesAreThoseOfTheTable) {
  for (size_t i = 0; i < row_grids().size(); ++i) EXPECT_STREQ(kRowGridNames[i], row_grids()[i]->name);
  EXPECT_EQ(kRowGridNames[row_grids().size()], nullptr);
}

TEST(NumberGrids, WhatCannotBeRoundedSaysWhy) {
  const TempDir out;
  const auto says = [&](const char* model, const char* policy, const std::string& what) {
    const auto r = compress_into(out.path(), open_case(model), policy);
    ASSERT_FALSE(r.ok()) << model;
    EXPECT_NE(r.error().message.find(what), std::string::npos) << r.error().message;
  };
  says("hf-swin", "softmax rowlog2 4\n", "attends in windows");
  says("hf-vit", "layernorm ptf\n", "line 1: '' is no number of bits");
  says("hf-vit", "softmax ptq 4\n", "there is no grid 'ptq'");
  says("hf-vit", "layernorm ptf 8\ninteger layernorm 8\n", "both say what LayerNorms are given");
  says("hf-vit", "integer sigmoid 8\n", "'sigmoid' has no form in integers");
  says("hf-vit", "softmax rowlog2 4 token more\n", "'more' is more than a line has");
}

}  // namespace
}  // namespace vireo
