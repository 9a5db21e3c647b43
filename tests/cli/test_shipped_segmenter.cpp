// The segmentation model that is shipped (models/disaster-upernet): its answers on its samples are PyTorch's, in every
// precision and on every device, and each verb that takes a segmenter takes it. tests/golden/disaster-upernet has the
// class maps of the samples from PyTorch in float32 (models/disaster-upernet/train.py --answers).
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "classmap.h"
#include "cli/run_cli.h"

namespace {

using cli::ClassMap;
using cli_test::Answer;
using cli_test::operator+;
using cli_test::run_cli;
using cli_test::Scratch;
using cli_test::Words;

const std::string kModel = std::string(VIREO_SOURCE_DIR) + "/models/disaster-upernet";
const std::string kSamples = kModel + "/samples";
const std::string kAnswers = std::string(VIREO_TEST_DATA) + "/disaster-upernet";
const int kClasses = 8;

Words names() {
  Words out;
  for (const std::string& file : Scratch::names_in(kAnswers))
    if (file.size() > 4 && file.compare(file.size() - 4, 4, ".png") == 0)
      out.push_back(file.substr(0, file.size() - 4));
  return out;
}

ClassMap labels(const std::string& path) {
  auto map = cli::load_labels(path);
  EXPECT_TRUE(map.ok()) << map.error().message;
  return map ? *map : ClassMap{};
}

int64_t bytes_of(const std::string& path) {
  struct stat s;
  return stat(path.c_str(), &s) == 0 ? int64_t(s.st_size) : -1;
}

/// The part of the pixels of all samples to which Vireo gives PyTorch's class.
double agreement(const std::string& device, const std::string& precision) {
  Scratch scratch;
  Words command{"segment",     "--model", kModel,      "--device",    device,
                "--precision", precision, "--out-dir", scratch.path()};
  const Words samples = names();
  for (const std::string& name : samples) command.push_back(kSamples + "/images/" + name + ".jpg");
  const Answer run = run_cli(command);
  EXPECT_EQ(run.code, 0) << run.text();
  uint64_t same = 0, all = 0;
  for (const std::string& name : samples) {
    const ClassMap ours = labels(scratch.path(name + ".classes.png")), theirs = labels(kAnswers + "/" + name + ".png");
    EXPECT_EQ(ours.width, theirs.width);
    EXPECT_EQ(ours.height, theirs.height);
    if (ours.index.size() != theirs.index.size()) return 0;
    for (size_t i = 0; i < ours.index.size(); ++i) same += ours.index[i] == theirs.index[i];
    all += ours.index.size();
  }
  return all ? double(same) / double(all) : 0;
}

bool vulkan_here() { return run_cli({"devices", "--json"}).json()["devices"].size() >= 2; }

TEST(ShippedSegmenter, IsSmallAndItsSamplesAreComplete) {
  const int64_t weights = bytes_of(kModel + "/model.safetensors");
  EXPECT_GT(weights, 0);
  EXPECT_LE(weights, 4000000);
  const Words samples = names();
  ASSERT_GE(samples.size(), 3u);
  int64_t total = 0;
  for (const std::string& name : samples)
    for (const std::string& file : {"/images/" + name + ".jpg", "/labels/" + name + ".png"}) {
      const int64_t bytes = bytes_of(kSamples + file);
      EXPECT_GT(bytes, 0) << file;
      total += bytes;
    }
  EXPECT_LE(total, 300000);
  EXPECT_EQ(Scratch::names_in(kSamples + "/images").size(), samples.size());
  EXPECT_EQ(Scratch::names_in(kSamples + "/labels").size(), samples.size());
}

TEST(ShippedSegmenter, AnswersAsPyTorch) { EXPECT_GE(agreement("cpu", "fp32"), 0.9999); }

TEST(ShippedSegmenter, AnswersAsPyTorchInFewerBits) {
  EXPECT_GE(agreement("cpu", "fp16"), 0.99);
  EXPECT_GE(agreement("cpu", "int8"), 0.985);
}

TEST(ShippedSegmenter, AnswersAsPyTorchOnVulkan) {
  if (!vulkan_here()) GTEST_SKIP() << "never: no Vulkan device here";
  EXPECT_GE(agreement("vulkan", "fp32"), 0.9999);
}

TEST(ShippedSegmenter, EvalScoresItsSamples) {
  const Answer run = run_cli({"eval", "--model", kModel, "--device", "cpu", "--segmentation", kSamples, "--json"});
  ASSERT_EQ(run.code, 0) << run.text();
  const auto json = run.json();
  ASSERT_FALSE(json.is_discarded()) << run.text();
  EXPECT_EQ(json["images"], names().size());
  EXPECT_FALSE(json.contains("errors")) << run.text();
  ASSERT_EQ(json["classes"].size(), size_t(kClasses));
  // The answer that names the commonest class everywhere, on the same pixels.
  double commonest = 0, pixels = json["pixels"].get<double>();
  for (const auto& c : json["classes"]) {
    EXPECT_GT(c["labelled"].get<double>(), 0) << c["label"] << " occurs in no sample";
    commonest = std::max(commonest, c["labelled"].get<double>());
  }
  EXPECT_GE(json["miou"].get<double>(), 0.60);
  EXPECT_GE(json["pixel_accuracy"].get<double>(), commonest / pixels + 0.3);
}

TEST(ShippedSegmenter, OtherVerbsTakeIt) {
  Scratch scratch;
  const Words on_cpu{"--model", kModel, "--device", "cpu"};
  const auto with = [&](Words a, const Words& more) {
    a.insert(a.end(), on_cpu.begin(), on_cpu.end());
    a.insert(a.end(), more.begin(), more.end());
    return run_cli(a);
  };
  for (const Words& verb : {Words{"bench"}, Words{"plan"}}) {
    const Answer run = with(verb, {"--json"});
    EXPECT_EQ(run.code, 0) << run.text();
    EXPECT_FALSE(run.json().is_discarded()) << run.text();
  }
  const Answer profile = with({"profile"}, {"--json"});
  ASSERT_EQ(profile.code, 0) << profile.text();
  EXPECT_FALSE(profile.json().is_discarded()) << profile.text();
}

}  // namespace
