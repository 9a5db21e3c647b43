// Checkpoints of compressed-tensors that are damaged, or that Vireo does not read: one sentence that names the tensor
// or key.
#include <cmath>
#include <cstring>

#include "model/checkpoint.h"
#include "model/compressed.h"
#include "test_model_files.h"

#include <vireo/vireo.hpp>

namespace vireo {
namespace {

/// config.json with one group for every Linear.
std::string config(const std::string& weights, const std::string& more = "") {
  return R"({"quantization_config":{"quant_method":"compressed-tensors",)" + more +
         R"("config_groups":{"g":{"targets":["Linear"],"weights":{)" + weights + "}}}}}";
}

/// A weight "l.weight" [4, 8] of int8 codes with a scale per row, to be spoilt.
struct File {
  std::vector<int8_t> codes = std::vector<int8_t>(32, 3);
  std::vector<float> scales = std::vector<float>(4, 0.5f);
  std::vector<int64_t> scale_shape = {4, 1};
  bool scale = true;
  std::vector<float> input_scale;  // where not empty
  std::vector<int8_t> input_zero;

  Result<ConstantPtr> open(const std::string& text) const {
    const auto view = [](const char* name, const char* dtype, std::vector<int64_t> shape, const void* data,
                         size_t bytes) {
      return TensorView{name, dtype, std::move(shape), static_cast<const uint8_t*>(data), bytes};
    };
    std::vector<TensorView> views = {view("l.weight", "I8", {4, 8}, codes.data(), codes.size())};
    if (scale) views.push_back(view("l.weight_scale", "F32", scale_shape, scales.data(), scales.size() * 4));
    if (!input_scale.empty())
      views.push_back(
          view("l.input_scale", "F32", {int64_t(input_scale.size())}, input_scale.data(), input_scale.size() * 4));
    if (!input_zero.empty())
      views.push_back(
          view("l.input_zero_point", "I8", {int64_t(input_zero.size())}, input_zero.data(), input_zero.size()));
    VIREO_ASSIGN(const auto plain, Checkpoint::from_views(std::move(views), nullptr, "file"));
    VIREO_ASSIGN(const auto compression, parse_compression(text, "config.json"));
    VIREO_ASSIGN(const auto weights, plain->with_compression(compression));
    return weights->constant("l.weight", {4, 8}, "a test", 0, 4, 8);
  }
};

template <typename T>
void expect_says(const Result<T>& r, const std::string& what) {
  ASSERT_FALSE(r.ok()) << "expected: " << what;
  EXPECT_NE(r.error().message.find(what), std::string::npos) << r.error().message;
}

const std::string kChannel = R"("num_bits":8,"strategy":"channel")";

TEST(Compressed, ReadsWhatTheFileHolds) {
  const File f;  // holds what the constant reads
  const Result<ConstantPtr> c = f.open(config(kChannel));
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_EQ(to_string(Format{DType::kI8, (*c)->grid()}), "i8");
  EXPECT_EQ((*c)->read_all(), std::vector<float>(32, 1.5f));
}

TEST(Compressed, DamagedTensorsAreNamed) {
  for (const float bad : {0.f, -1.f, NAN, INFINITY}) {
    File f;
    f.scales[2] = bad;
    expect_says(f.open(config(kChannel)), "'l.weight_scale' in 'file' holds the scale");
  }
  File f;
  f.scales.resize(2), f.scale_shape = {2, 1};
  expect_says(f.open(config(kChannel)), "'l.weight_scale' in 'file' is F32 of [2, 1], expected 4 floats");
  f = {};
  f.scale = false;
  expect_says(f.open(config(kChannel)), "'l.weight' in 'file' has dtype I8");
  f = {};
  f.codes[9] = 9;
  expect_says(f.open(config(R"("num_bits":4,"strategy":"channel")")), "holds the code 9 at [1, 1], expected -8 to 7");
  expect_says(File().open(config(R"("num_bits":8,"strategy":"group","group_size":3)")), "groups of 3 do not divide");
  expect_says(File().open(config(kChannel + R"(,"symmetric":false)")), "weight_zero_point is missing");
  expect_says(File().open("{}"), "no config.json with a quantization_config");
}

TEST(Compressed, OtherMethodsAndFormatsAreRefusedByName) {
  const auto refused = [](const std::string& text, const std::string& what) {
    expect_says(parse_compression(text, "config.json"), what);
  };
  refused(R"({"quantization_config":{"quant_method":"gptq"}})", "quant_method is 'gptq'");
  refused(R"({"quantization_config":3})", "is 3, expected an object");
  refused(config(kChannel, R"("format":"float-quantized",)"), "'float-quantized'");
  refused(config(kChannel, R"("sparsity_config":{"format":"sparse-24-bitmask"},)"), "sparse-24-bitmask");
  refused(config(R"("num_bits":8,"type":"float")"), "8 bits of type 'float'");
  refused(config(R"("num_bits":9)"), "9 bits");
  refused(config(R"("num_bits":8,"strategy":"block")"), "strategy 'block'");
  for (const char* pattern : {"re:(", "re:(a{9}){9}", R"(re:(a)\\1)"})
    refused(config(kChannel, std::string(R"("ignore":[")") + pattern + "\"],"), "no regular expression");
  EXPECT_TRUE(parse_compression("{}", "config.json").ok());
}

TEST(Compressed, APatternCannotHang) {
  const auto c = parse_compression(config(kChannel, R"("ignore":["re:([a-z.]+)+X"],)"), "config.json");
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_NE((*c)->find(std::string(200, 'a') + ".weight", "Linear"), nullptr);
  EXPECT_EQ((*c)->find("abX", "Linear"), nullptr);
  EXPECT_EQ((*c)->find("a", "Conv2d"), nullptr);
}

TEST(Compressed, RowsOfCodesAreThoseThatTheProductsTake) {
  using Kind = RowCodes::Kind;
  const auto rows = [](const std::string& arguments, Kind kind, bool stay) {
    const std::string text = R"({"quantization_config":{"quant_method":"compressed-tensors","config_groups":{"g":{)"
                             R"("targets":["Linear"],"weights":{"num_bits":8,"strategy":"channel"},)"
                             R"("input_activations":{)" +
                             arguments + "}}}}}";
    const auto c = parse_compression(text, "config.json");
    ASSERT_TRUE(c.ok()) << c.error().message;
    EXPECT_EQ((*c)->groups[0].scheme.rows.kind, kind) << arguments;
    EXPECT_EQ((*c)->rows_stay(), stay) << arguments;
  };
  rows(R"("dynamic":true,"strategy":"token")", Kind::kDynamic, false);
  rows(R"("dynamic":false,"strategy":"tensor")", Kind::kStatic, false);
  rows(R"("symmetric":false)", Kind::kStatic, false);
  rows(R"("dynamic":true,"strategy":"token","symmetric":false)", Kind::kNone, true);
  rows(R"("dynamic":true,"strategy":"tensor")", Kind::kNone, true);
  rows(R"("dynamic":"local","strategy":"token")", Kind::kNone, true);
  rows(R"("dynamic":false,"strategy":"token")", Kind::kNone, true);
  rows(R"("num_bits":4,"dynamic":true,"strategy":"token")", Kind::kNone, true);
  rows(R"("type":"float","dynamic":true,"strategy":"token")", Kind::kNone, true);
}

TEST(Compressed, TheGridOfRowsIsChecked) {
  const std::string text = R"({"quantization_config":{"quant_method":"compressed-tensors","config_groups":{"g":{)"
                           R"("targets":["Linear"],"weights":{"num_bits":8,"strategy":"channel"},)"
                           R"("input_activations":{"strategy":"tensor","symmetric":false}}}}})";
  expect_says(File().open(text), "its input_scale is missing");
  File f;
  f.input_scale = {0.25f};
  f.input_zero = {-7};
  const auto c = f.open(text);
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_EQ((*c)->row_codes().kind, RowCodes::Kind::kStatic);
  EXPECT_EQ((*c)->row_codes().scale, 0.25f);
  EXPECT_EQ((*c)->row_codes().zero, -7);
  f.input_zero = {1, 2};
  expect_says(f.open(text), "'l.input_zero_point' in 'file' is I8 of [2], expected one I8");
  f.input_zero = {};
  f.input_scale = {0.1f, 0.2f};
  expect_says(f.open(text), "'l.input_scale' in 'file' is F32 of [2], expected one float");
  for (const float bad : {0.f, -1.f, NAN, INFINITY}) {
    f.input_scale = {bad};
    expect_says(f.open(text), "'l.input_scale' in 'file' holds the scale");
  }
}

TEST(Compressed, StaticRowsNeedNoNote) {
  const auto m = Model::open(std::string(VIREO_TEST_DATA) + "/cases/ct-swin-tensor-a8");
  ASSERT_TRUE(m.ok()) << m.error().message;
  EXPECT_TRUE(m->warnings().empty()) << m->warnings()[0];
  EXPECT_EQ(m->precision(), Precision::kCheckpoint);
}

}  // namespace
}  // namespace vireo
