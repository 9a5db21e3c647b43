// What the tool prints and writes is always a number: fp16 that overflows, sigmoid scores, devices that are no GPU,
// diff's tolerance.
#include <gtest/gtest.h>

#include <cmath>

#include "cli/run_cli.h"
#include "support/patch.h"

namespace {

using cli_test::Answer;
using cli_test::operator+;
using cli_test::read_array;
using cli_test::run_cli;
using cli_test::Scratch;
using cli_test::Words;
using vireo::test::patch_model;

const std::string kCases = std::string(VIREO_TEST_DATA) + "/cases/";
const std::string kCase = kCases + "hf-vit";
const std::string kShipped = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
const std::vector<vireo::test::Patch> kMassive{{"vit.encoder.layer.1.output.dense.bias", 7, 70000.f}};
const cli_test::Environment kAuto{{"VIREO_DEVICE", "auto"}};

Words pictures(const std::string& folder) { return {folder + "/0.png", folder + "/1.png", folder + "/2.png"}; }

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Vulkan, or the reason why not.
std::string no_vulkan() {
  const Answer run = run_cli({"devices", "--json"});
  return run.json()["devices"][0]["kind"] == "vulkan" ? "" : run.json()["reason"].get<std::string>();
}
#define NEED_VULKAN() \
  if (const std::string why = no_vulkan(); !why.empty()) GTEST_SKIP() << why

void expect_finite(const std::string& npy) {
  const auto array = read_array(npy);
  ASSERT_FALSE(array.data.empty());
  for (float v : array.data) ASSERT_TRUE(std::isfinite(v)) << npy;
}

TEST(Numbers, ClassifyInFp16BeyondItsRange) {
  NEED_VULKAN();
  Scratch scratch;
  patch_model(kCase, scratch.path(), kMassive);
  const std::string npy = scratch.path("l.npy");
  const Words words =
      Words{"classify", "--model", scratch.path(), "--device", "vulkan", "--precision", "fp16", "--logits", npy} +
      pictures(kCase);
  const Answer text = run_cli(words);
  ASSERT_EQ(text.code, 0) << text.text();
  EXPECT_FALSE(has(text.out, "nan")) << text.out;
  EXPECT_TRUE(has(text.out, "  reason: ")) << text.out;
  EXPECT_TRUE(has(text.out, "fp16 overflowed (values past 65504); recomputed in fp32")) << text.out;
  expect_finite(npy);
  const auto logits = read_array(npy),
             golden = read_array(std::string(VIREO_TEST_DATA) + "/numbers/massive-activation.npy");
  ASSERT_EQ(logits.shape, golden.shape);
  for (size_t i = 0; i < golden.data.size(); ++i) EXPECT_NEAR(logits.data[i], golden.data[i], 2e-3) << i;

  const auto json = run_cli(words + Words{"--json"}).json();
  ASSERT_FALSE(json.is_discarded());
  for (const auto& result : json["results"]) {
    EXPECT_TRUE(has(result["reason"], "recomputed in fp32")) << result;
    for (const auto& entry : result["top"]) EXPECT_TRUE(entry["score"].is_number()) << result;
  }
  // Where nothing overflows nothing is said.
  const auto plain =
      run_cli({"classify", "--model", kCase, "--device", "vulkan", "--precision", "fp16", "--json", kCase + "/0.png"})
          .json();
  EXPECT_FALSE(plain["results"][0].contains("reason")) << plain;
}

TEST(Numbers, EveryOtherVerbInFp16BeyondItsRange) {
  NEED_VULKAN();
  Scratch model, out;
  patch_model(kCase, model.path(), kMassive);
  const Words common{"--model", model.path(), "--device", "vulkan", "--precision", "fp16"};
  for (const bool tokens : {false, true}) {
    const Words embed =
        Words{"embed", "--out", out.path("e.npy")} + common + pictures(kCase) + (tokens ? Words{"--tokens"} : Words{});
    const Answer text = run_cli(embed);
    ASSERT_EQ(text.code, 0) << text.text();
    EXPECT_TRUE(has(text.out, "recomputed in fp32")) << text.out;
    expect_finite(out.path("e.npy"));
    EXPECT_TRUE(has(run_cli(embed + Words{"--json"}).json()["results"][0]["reason"], "recomputed in fp32"));
  }
  out.write("labels.csv", "file,label\na.png,LABEL_0\nb.png,LABEL_1\n");
  for (const char* name : {"a.png", "b.png"}) out.write(name, cli_test::read_file(kCase + "/0.png"));
  const Answer eval = run_cli(Words{"eval", "--data", out.path(), "--json", "--logits", out.path("l.npy")} + common);
  ASSERT_EQ(eval.code, 0) << eval.text();
  EXPECT_TRUE(has(eval.json()["reasons"][0]["reason"], "recomputed in fp32")) << eval.out;
  EXPECT_EQ(eval.json()["reasons"][0]["pictures"], 2);
  expect_finite(out.path("l.npy"));
  const Answer bench = run_cli(Words{"bench", "--warmup", "1", "--iters", "3", "--json"} + common);
  ASSERT_EQ(bench.code, 0) << bench.text();
  EXPECT_TRUE(has(bench.json()["device"]["reason"], "fp32")) << bench.out;
  // Comparing devices is what finds the place: the values are fp16's own.
  const Answer diff = run_cli(Words{"diff", "--json"} + common);
  EXPECT_EQ(diff.code, 1) << diff.text();
  EXPECT_TRUE(has(diff.json()["first"]["name"], "1")) << diff.out;
  const Answer capture = run_cli(Words{"capture", "--out", out.path("c"), kCase + "/0.png"} + common);
  ASSERT_EQ(capture.code, 0) << capture.text();
  const Answer replay = run_cli({"replay", out.path("c"), "--device", "vulkan", "--json"});
  ASSERT_EQ(replay.code, 0) << replay.text();
  EXPECT_TRUE(has(replay.json()["device"]["reason"], "recomputed in fp32")) << replay.out;
}

TEST(Numbers, SegmentInFp16BeyondItsRange) {
  NEED_VULKAN();
  Scratch model, out;
  patch_model(kCases + "hf-upernet-vit", model.path(), {{"backbone.encoder.layer.1.output.dense.bias", 7, 70000.f}});
  const Words words = Words{"segment", "--model", model.path(), "--json", "--out-dir"};
  const Words shots = pictures(kCases + "hf-upernet-vit");
  const Answer half =
      run_cli(words + Words{out.make_folder("half"), "--device", "vulkan", "--precision", "fp16"} + shots);
  const Answer full = run_cli(words + Words{out.make_folder("full"), "--device", "cpu"} + shots);
  ASSERT_EQ(half.code, 0) << half.text();
  ASSERT_EQ(full.code, 0) << full.text();
  EXPECT_TRUE(has(half.json()["results"][0]["reason"], "recomputed in fp32")) << half.out;
  for (size_t i = 0; i < shots.size(); ++i)
    for (const auto& c : full.json()["results"][i]["classes"])
      for (const auto& d : half.json()["results"][i]["classes"])
        if (c["index"] == d["index"]) {
          EXPECT_NEAR(c["share"].get<double>(), d["share"].get<double>(), 5e-3);
        }
}

TEST(Numbers, BeyondFp32IsAnErrorOnEveryVerb) {
  Scratch model, out;
  patch_model(
      kCase, model.path(),
      {{"vit.encoder.layer.0.output.dense.bias", 7, 3e38f}, {"vit.encoder.layer.1.output.dense.bias", 7, 3e38f}});
  for (const Words& verb :
       {Words{"classify"}, Words{"embed", "--out", out.path("e.npy")},
        Words{"embed", "--tokens", "--out", out.path("e.npy")}, Words{"capture", "--out", out.path("c")}}) {
    const Answer run = run_cli(verb + Words{"--model", model.path(), "--device", "cpu", kCase + "/0.png"});
    EXPECT_TRUE(run.fails_clearly(1)) << run.text();
    EXPECT_TRUE(has(run.err, "no finite numbers")) << run.err;
  }
  EXPECT_TRUE(out.list().empty()) << "nothing was written";
}

TEST(Scores, SigmoidOfSeveralLabels) {
  Scratch model;
  patch_model(kCase, model.path(), {}, {{"problem_type", "multi_label_classification"}});
  const auto golden = read_array(std::string(VIREO_TEST_DATA) + "/numbers/sigmoid-scores.npy");
  const Words words = Words{"classify", "--model", model.path(), "--device", "cpu", "--topk", "10"} + pictures(kCase);
  const auto json = run_cli(words + Words{"--json"}).json();
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["scores"], "sigmoid");
  for (size_t i = 0; i < 3; ++i) {
    ASSERT_EQ(json["results"][i]["top"].size(), 10u);
    for (const auto& entry : json["results"][i]["top"])
      EXPECT_NEAR(entry["score"].get<double>(), golden.data[i * 10 + entry["index"].get<size_t>()], 1e-5);
  }
  EXPECT_TRUE(has(run_cli(words).out, "scores are sigmoid, one per label"));
  const Answer plain = run_cli({"classify", "--model", kCase, "--device", "cpu", kCase + "/0.png"});
  EXPECT_FALSE(has(plain.out, "sigmoid")) << plain.out;
  EXPECT_EQ(run_cli({"classify", "--model", kCase, "--device", "cpu", "--json", kCase + "/0.png"}).json()["scores"],
            "softmax");
}

TEST(Software, AutoTakesTheCpuBeforeADriverThatComputesOnIt) {
  const auto devices = run_cli({"devices", "--json"}).json()["devices"];
  bool gpu = false, software = false;
  for (const auto& d : devices) {
    if (d["kind"] != "vulkan") continue;
    ASSERT_TRUE(d["software"].is_boolean());
    (d["software"].get<bool>() ? software : gpu) = true;
  }
  if (gpu || !software) GTEST_SKIP() << "this machine has a GPU, or no software driver";
  const auto used = [](const Words& more, const cli_test::Environment& environment) {
    return run_cli(Words{"classify", "--model", kCase, "--json", kCase + "/0.png"} + more, environment)
        .json()["device"];
  };
  for (const Words& words : {Words{}, Words{"--device", "auto"}}) {
    const auto device = used(words, kAuto);
    EXPECT_EQ(device["kind"], "cpu");
    EXPECT_TRUE(has(device["reason"], "no GPU was found (")) << device;
    EXPECT_TRUE(has(device["reason"], "is a software driver; --device vulkan")) << device;
  }
  // Named, it runs.
  EXPECT_EQ(used({"--device", "vulkan"}, kAuto)["kind"], "vulkan");
  EXPECT_EQ(used({"--device", "vulkan:0"}, kAuto)["kind"], "vulkan");
  EXPECT_EQ(used({}, {{"VIREO_DEVICE", "vulkan"}})["kind"], "vulkan");
  EXPECT_EQ(used({}, {{"VIREO_DEVICE", "vulkan:0"}})["kind"], "vulkan");
  EXPECT_EQ(used({"--device", "vulkan"}, {{"VIREO_DEVICE", "cpu"}})["kind"], "vulkan")
      << "an option is more than the environment";
  EXPECT_TRUE(has(run_cli({"devices"}).out, "(a software driver: auto takes the CPU before it)"));
  // What auto takes is what --caps without a number prints.
  EXPECT_TRUE(has(run_cli({"devices", "--caps"}, kAuto).out, "kind: cpu")) << run_cli({"devices", "--caps"}, kAuto).out;
}

TEST(Diff, TheShippedModelIsFineInEveryPrecision) {
  NEED_VULKAN();
  for (const char* precision : {"fp32", "fp16", "int8"}) {
    const Answer run =
        run_cli({"diff", "--model", kShipped, "--precision", precision, "--json", kShipped + "/samples/03_dress.png"});
    EXPECT_EQ(run.code, 0) << run.text();
    EXPECT_EQ(run.json()["differing"], 0) << run.out;
    EXPECT_EQ(run.json()["tolerance"], std::string(precision) == "fp32" ? 1e-3 : 2e-2);
  }
  EXPECT_TRUE(has(run_cli({"diff", "--help"}).out, "fp16 and int8: 0.02"));
}

}  // namespace
