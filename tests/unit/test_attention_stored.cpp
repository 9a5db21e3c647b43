// Attention's number format as a checkpoint says it: what a configuration may ask for, which policies take it, and what
// compress writes.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/json.h"
#include "runtime/model_impl.h"
#include "support/small_vits.h"
#include "test_model_family.h"

#include <vireo/compress.hpp>
#include <vireo/predict.hpp>

namespace vireo {
namespace {

using test::kVit;
using test::TempDir;

constexpr const char* kInteger = "attention int8";
const std::string kI8 = R"({"attention": {"format": "i8"}})";

std::string with_sections(const std::string& config, const std::string& sections) {
  OrderedJson j = OrderedJson::parse(config, nullptr, false);
  j["quantization_config"] = {{"quant_method", "vireo"}, {"vireo", OrderedJson::parse(sections, nullptr, false)}};
  j["quantization_config"]["vireo"]["version"] = 1;
  return j.dump();
}

Result<Model> open_text(const std::string& config) {
  ModelSource source;
  source.path = "folder", source.config_path = "folder/config.json", source.seed = 3;
  source.config = config;
  VIREO_ASSIGN(LoadedModel m, LoadedModel::from_parts(std::move(source), "", ""));
  return Model::Impl::wrap(std::move(m), "model");
}

std::string plan_of(const Model& m, const std::string& policy, Precision p = Precision::kCheckpoint) {
  SessionOptions o;
  o.policy = policy, o.precision = p;
  const auto text = plan_text(m, Device::cpu(1).caps_text(), o, false);
  EXPECT_TRUE(text.ok()) << text.error().message;
  return text.ok() ? *text : "";
}

bool in_codes(const std::string& plan) {
  const bool codes = plan.find(kInteger) != std::string::npos,
             floats = plan.find("[flash attention") != std::string::npos ||
                      plan.find("[attention bf16") != std::string::npos;
  EXPECT_NE(codes, floats) << plan;
  return codes;
}

template <typename T>
void expect_says(const Result<T>& r, const std::string& what) {
  ASSERT_FALSE(r.ok()) << "expected: " << what;
  EXPECT_NE(r.error().message.find(what), std::string::npos) << r.error().message;
}

TEST(AttentionStored, APolicyThatKeepsWhatIsStoredTakesIt) {
  const auto with = open_text(with_sections(kVit, kI8)), without = open_text(kVit);
  ASSERT_TRUE(with.ok()) << with.error().message;
  ASSERT_TRUE(without.ok()) << without.error().message;
  EXPECT_EQ(with->precision(), Precision::kCheckpoint);
  EXPECT_EQ(without->precision(), Precision::kFp32);
  const struct {
    const char* policy;
    bool with, without;
  } lines[] = {
      {"", true, false},  // the checkpoint's own
      {"products bf16\n", true, false},
      {"checkpoint keep\n", true, false},
      {"checkpoint decode\n", false, false},
      {"attention f32\n", false, false},
      {"attention i8\n", true, true},
      {"checkpoint decode\nattention i8\n", true, true},
      {"attention f32\ncheckpoint keep\n", false, false},
  };
  for (const auto& l : lines) {
    EXPECT_EQ(in_codes(plan_of(*with, l.policy)), l.with) << l.policy;
    EXPECT_EQ(in_codes(plan_of(*without, l.policy)), l.without) << l.policy;
  }
  // A precision that is named is what it says, whatever is stored.
  for (const Precision p : {Precision::kFp32, Precision::kFp16, Precision::kInt8, Precision::kW8A8})
    EXPECT_FALSE(in_codes(plan_of(*with, "", p))) << to_string(p);
}

TEST(AttentionStored, WhatIsNotKnownIsRefusedByName) {
  const struct {
    const char *sections, *says;
  } bad[] = {
      {R"({"attention": {"format": "i4"}})", "vireo.attention has the format 'i4'; this Vireo knows 'i8'"},
      {R"({"attention": {}})", "has the format ''"},
      {R"({"attention": {"format": 8}})", "format"},
      {R"({"attention": {"format": "i8", "softmax": "u8"}})", "has the key 'softmax', which this Vireo does not know"},
      {R"({"attention": "i8"})", "vireo.attention is \"i8\", expected an object"},
      {R"({"attentions": {"format": "i8"}})", "has the section 'attentions', which this Vireo does not know"},
  };
  for (const auto& b : bad) expect_says(open_text(with_sections(kVit, b.sections)), b.says);
}

// Rounded to bfloat16 where the CPU multiplies it faster; else the plan says that it is not.
TEST(AttentionStored, ThePlanSaysWhetherBfloat16IsMultiplied) {
  const auto model = open_text(kVit);
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto caps = caps_from_text(Device::cpu(1).caps_text(), "cpu");
  ASSERT_TRUE(caps.ok()) << caps.error().message;
  const simd::Kernels* const here = simd::find(caps->simd.c_str());
  ASSERT_NE(here, nullptr) << caps->simd;
  const bool fast = here->attention_bf16.run != nullptr;
  const std::string plan = plan_of(*model, "attention bf16\n"), floats = "flash attention, products stay floats";
  const std::string rounded = "[attention " + std::string(here->bf16_name) + "]";
  EXPECT_EQ(plan.find(rounded) != std::string::npos, fast) << plan;
  EXPECT_EQ(plan.find(floats) == std::string::npos, fast) << plan;
  SessionOptions o;
  o.policy = "attention bf16\n";
  const auto nano = plan_text(*model, *machine_caps("jetson-nano"), o, false);
  ASSERT_TRUE(nano.ok()) << nano.error().message;
  EXPECT_NE(nano->find("products stay floats"), std::string::npos) << *nano;
}

// What may be rounded in linears may be so in attention, unless a policy says that it may not.
TEST(AttentionStored, PrecisionsRoundItWhereTheCpuGainsByThat) {
  const auto model = open_text(kVit);
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto caps = caps_from_text(Device::cpu(1).caps_text(), "cpu");
  ASSERT_TRUE(caps.ok()) << caps.error().message;
  const bool fast = simd::find(caps->simd.c_str())->attention_bf16.run != nullptr;
  const auto rounded = [](const std::string& plan) { return plan.find("[attention bf16") != std::string::npos; };
  EXPECT_FALSE(rounded(plan_of(*model, "", Precision::kFp32)));
  for (const Precision p : {Precision::kFp16, Precision::kInt8, Precision::kW8A8}) {
    const std::string plan = plan_of(*model, "", p);
    EXPECT_EQ(rounded(plan), fast) << plan;
    EXPECT_EQ(plan.find("products stay floats"), std::string::npos) << plan;  // nobody asked
  }
  EXPECT_EQ(rounded(plan_of(*model, "products bf16\n")), fast);
  EXPECT_FALSE(rounded(plan_of(*model, "products bf16\nattention f32\n")));
}

struct Picture {
  std::vector<uint8_t> rgb;
  explicit Picture(int number) : rgb(50 * 50 * 3) {
    std::mt19937 random{uint32_t(number)};
    for (uint8_t& v : rgb) v = uint8_t(random());
  }
};

Result<CompressReport> compress_into(const std::string& folder, const Model& model, const std::string& recipe,
                                     const std::string& policy = "") {
  CompressOptions o;
  o.recipe = recipe, o.policy = policy, o.sensitivity = false, o.threads = 2;
  VIREO_ASSIGN(Compressor c, Compressor::create(model, o));
  for (int i = 0; i < 8; ++i) VIREO_TRY(c.add(Image{Picture(i).rgb.data(), 50, 50, 0}));
  return c.write(folder);
}

Model open_folder(const std::string& path) {
  auto m = Model::open(path);
  EXPECT_TRUE(m.ok()) << m.error().message;
  return *m;
}

Model open_case(const std::string& name) { return open_folder(std::string(VIREO_TEST_DATA) + "/cases/" + name); }

std::vector<float> answer(const Model& m, const std::string& policy) {
  SessionOptions o;
  o.policy = policy;
  auto s = Session::create(m, Device::cpu(2), o);
  EXPECT_TRUE(s.ok()) << s.error().message;
  const Picture p(1);
  const auto out = s->run(Image{p.rgb.data(), 50, 50, 0});
  EXPECT_TRUE(out.ok()) << out.error().message;
  return std::vector<float>(out->data, out->data + out->rows * out->cols);
}

OrderedJson config_in(const TempDir& folder) {
  return OrderedJson::parse(family_test::read_file(folder.path() + "/config.json"), nullptr, false);
}

TEST(AttentionStored, TheRecipeWritesWhatALineOfAPolicyDoes) {
  for (const char* weights : {"w8", "w8a8", "w4a8"}) {
    const TempDir plain, coded;
    const Model model = open_case("hf-vit");
    ASSERT_TRUE(compress_into(plain.path(), model, weights).ok());
    const auto report = compress_into(coded.path(), model, std::string(weights) + "+attn8");
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_EQ(report->attention, "i8");
    EXPECT_EQ(family_test::read_file(plain.path() + "/model.safetensors"),
              family_test::read_file(coded.path() + "/model.safetensors"))
        << "weights are calibrated in fp32, whatever attention does";
    const Model without = open_folder(plain.path()), with = open_folder(coded.path());
    EXPECT_TRUE(in_codes(plan_of(with, "")));
    EXPECT_FALSE(in_codes(plan_of(without, "")));
    EXPECT_EQ(answer(with, ""), answer(without, "attention i8\n"));
    EXPECT_EQ(answer(with, "attention f32\n"), answer(without, ""));
    EXPECT_NE(answer(with, ""), answer(without, ""));
    EXPECT_EQ(config_in(plain)["quantization_config"].contains("vireo"), false);
  }
}

TEST(AttentionStored, ItStandsBesideOtherSectionsAndOutlivesAnotherCompression) {
  const TempDir first, second, by_policy;
  const auto report = compress_into(first.path(), open_case("hf-vit"), "attn8", "block blocks.1 mlp 8\n");
  ASSERT_TRUE(report.ok()) << report.error().message;
  const OrderedJson own = config_in(first)["quantization_config"];
  EXPECT_EQ(own["quant_method"], "vireo");
  EXPECT_EQ(own["vireo"]["attention"]["format"], "i8");
  EXPECT_TRUE(own["vireo"].contains("structure"));
  EXPECT_EQ(open_folder(first.path()).precision(), Precision::kCheckpoint);
  ASSERT_TRUE(compress_into(second.path(), open_folder(first.path()), "w8a8").ok());
  EXPECT_EQ(config_in(second)["quantization_config"]["vireo"], own["vireo"]);
  EXPECT_TRUE(in_codes(plan_of(open_folder(second.path()), "")));
  // A policy says it too, by itself and beside a recipe.
  const auto alone = compress_into(by_policy.path(), open_case("hf-vit"), "", "attention i8\n");
  ASSERT_TRUE(alone.ok()) << alone.error().message;
  EXPECT_TRUE(alone->layers.empty());
  EXPECT_TRUE(in_codes(plan_of(open_folder(by_policy.path()), "")));
  const TempDir beside, nowhere;
  expect_says(compress_into(nowhere.path(), open_case("hf-vit"), "w8", "attention bf16\n"),
              "a checkpoint holds 'attention i8' or nothing");
  ASSERT_TRUE(compress_into(beside.path(), open_case("hf-vit"), "w8", "attention i8\n").ok());
  EXPECT_TRUE(in_codes(plan_of(open_folder(beside.path()), "")));
}

}  // namespace
}  // namespace vireo
