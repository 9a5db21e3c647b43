// Class scores of logits: softmax or sigmoid, as the checkpoint says, and their order.
#include <gtest/gtest.h>

#include <cmath>

#include "image.h"
#include "npy.h"
#include "support/patch.h"
#include "test_model_files.h"

#include <vireo/vireo.h>
#include <vireo/vireo.hpp>

namespace vireo {
namespace {

using test::patch_model;
using test::TempDir;

const std::string kCases = std::string(VIREO_TEST_DATA) + "/cases/";

Model open_at(const std::string& path) {
  Result<Model> m = Model::open(path);
  EXPECT_TRUE(m.ok()) << m.error().message;
  return *m;
}

std::vector<float> ramp(const Session& s, const Model& m) {
  std::vector<float> x(size_t(s.batch()) * size_t(m.channels()) * size_t(s.input_height()) * size_t(s.input_width()));
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(0.01f * float(i));
  return x;
}

TEST(ScoreKind, FollowsProblemTypeAndTheNumberOfLabels) {
  TempDir dir;
  const auto of = [&](const nlohmann::json& config) {
    patch_model(kCases + "hf-vit", dir.path(), {}, config);
    return open_at(dir.path());
  };
  EXPECT_EQ(of({}).scores(), Scores::kSoftmax);
  EXPECT_EQ(of({{"problem_type", nullptr}}).scores(), Scores::kSoftmax);
  EXPECT_EQ(of({{"problem_type", "single_label_classification"}}).scores(), Scores::kSoftmax);
  EXPECT_EQ(of({{"problem_type", "multi_label_classification"}}).scores(), Scores::kSigmoid);
  EXPECT_EQ(of({{"problem_type", "regression"}}).scores(), Scores::kSoftmax)
      << "as the pipeline of Transformers has it";
  const Model odd = of({{"problem_type", "multilabel"}});
  EXPECT_EQ(odd.scores(), Scores::kSoftmax);
  ASSERT_FALSE(odd.warnings().empty());
  EXPECT_NE(odd.warnings().back().find("problem_type is 'multilabel', expected"), std::string::npos);
  EXPECT_EQ(open_at(kCases + "hf-upernet-vit").scores(), Scores::kSoftmax);
}

TEST(ScoreKind, ASingleLabelIsSigmoidWhateverTheProblemType) {
  TempDir dir;
  for (const char* type : {"", "single_label_classification", "regression"}) {
    nlohmann::json config = nlohmann::json::parse(test::bytes_of(kCases + "hf-vit/config.json"));
    config["id2label"] = {{"0", "defect"}}, config["label2id"] = {{"defect", 0}};
    if (*type) config["problem_type"] = type;
    const std::string path = dir.write("config.json", config.dump());
    Result<Model> m = Model::random(path, 7);
    ASSERT_TRUE(m.ok()) << m.error().message;
    ASSERT_EQ(m->classes(), 1);
    EXPECT_EQ(m->scores(), Scores::kSigmoid) << type;
    Result<Session> s = Session::create(*m, Device::cpu());
    ASSERT_TRUE(s.ok());
    const std::vector<float> x = ramp(*s, *m);
    Result<Output> out = s->run(x.data(), x.size());
    ASSERT_TRUE(out.ok());
    EXPECT_EQ(out->scores, Scores::kSigmoid);
    const std::vector<Score> top = top_k(*out, 5);
    ASSERT_EQ(top.size(), 1u);
    EXPECT_NEAR(top[0].value, 1 / (1 + std::exp(-double(out->data[0]))), 1e-7);
  }
}

TEST(ScoreKind, GoldenSigmoidScoresInBothApis) {
  TempDir dir;
  patch_model(kCases + "hf-vit", dir.path(), {}, {{"problem_type", "multi_label_classification"}});
  const Model m = open_at(dir.path());
  Result<cli::NpyArray> golden = cli::read_npy(std::string(VIREO_TEST_DATA) + "/numbers/sigmoid-scores.npy");
  ASSERT_TRUE(golden.ok());
  Result<Session> s = Session::create(m, Device::cpu());
  ASSERT_TRUE(s.ok());
  vireo_options o;
  vireo_options_init(&o);
  o.device = "cpu";
  vireo_error error;
  vireo_session* c = nullptr;
  ASSERT_EQ(vireo_open(dir.path().c_str(), &o, &c, &error), VIREO_OK) << error.message;
  EXPECT_EQ(vireo_model_scores(c), VIREO_SIGMOID);
  EXPECT_EQ(vireo_model_scores(nullptr), VIREO_SOFTMAX);
  for (int i = 0; i < 3; ++i) {
    Result<cli::Rgb8> picture = cli::load_image(kCases + "hf-vit/" + std::to_string(i) + ".png");
    ASSERT_TRUE(picture.ok());
    Result<Output> out = s->run(Image{picture->rgb.data(), picture->width, picture->height, 0});
    ASSERT_TRUE(out.ok());
    const std::vector<Score> all = top_k(*out, 10);
    ASSERT_EQ(all.size(), 10u);
    for (size_t k = 0; k < 10; ++k) {
      EXPECT_NEAR(all[k].value, golden->data[size_t(i) * 10 + size_t(all[k].index)], 1e-5);
      EXPECT_GE(all[k ? k - 1 : 0].value, all[k].value);
    }
    vireo_output co;
    ASSERT_EQ(vireo_run_rgb(c, picture->rgb.data(), picture->width, picture->height, 0, &co, &error), VIREO_OK)
        << error.message;
    EXPECT_EQ(co.scores, VIREO_SIGMOID);
    vireo_score top[10];
    ASSERT_EQ(vireo_top_k(&co, 0, 10, top), 10);
    for (size_t k = 0; k < 10; ++k) {
      EXPECT_EQ(top[k].index, all[k].index);
      EXPECT_EQ(top[k].value, all[k].value);
    }
  }
  vireo_close(c);
}

TEST(ScoreKind, SigmoidOfAnyLogitIsAProbability) {
  const float logits[] = {-1e4f, -90.f, 0.f, 90.f, 1e4f, 5.f};
  Output o;
  o.data = logits, o.batch = o.rows = 1, o.cols = 6, o.scores = Scores::kSigmoid;
  const std::vector<Score> s = top_k(o, 6);
  ASSERT_EQ(s.size(), 6u);
  EXPECT_EQ(s[0].index, 4);
  EXPECT_EQ(s[5].index, 0);
  EXPECT_EQ(s[0].value, 1.f);
  EXPECT_EQ(s[5].value, 0.f);
  EXPECT_EQ(s[3].value, 0.5f);
}

TEST(Scores, SoftmaxOrderAndTies) {
  const float x[] = {1.f, 3.f, 3.f, -2.f};
  Output o;
  o.data = x, o.batch = 1, o.rows = 1, o.cols = 4;
  const std::vector<Score> s = top_k(o, 10);
  ASSERT_EQ(s.size(), 4u);
  EXPECT_EQ(s[0].index, 1);
  EXPECT_EQ(s[1].index, 2);
  double sum = 0;
  for (const Score& v : s) sum += double(v.value);
  EXPECT_NEAR(sum, 1, 1e-6);
  EXPECT_TRUE(top_k(o, 0).empty());
  EXPECT_TRUE(top_k(o, 3, 1).empty());
}

}  // namespace
}  // namespace vireo
