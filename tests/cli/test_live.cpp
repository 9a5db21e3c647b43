// Streams that live: a rate held by every verb, a camera or pipe that falls silent, JSON of a stream without end, and
// pictures that become pixels on the device.
#include <gtest/gtest.h>
#include <unistd.h>

#include <sstream>
#include <vector>
#include <vireo/image.hpp>

#include "cli/run_cli.h"

namespace {

using cli_test::Answer;
using cli_test::operator+;
using cli_test::read_file;
using cli_test::run_cli;
using cli_test::Scratch;
using cli_test::Words;
using cli_test::write_all;
using nlohmann::json;

const std::string kModels = std::string(VIREO_SOURCE_DIR) + "/models/";
const std::string kClassifier = kModels + "fashion-vit", kSegmenter = kModels + "disaster-upernet";
const std::string kPictures = kClassifier + "/samples";

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// ---------------------------------------------------------------------------------------------------- the governor

/// No machine does ten million frames a second: after five late frames the next level takes over.
const Words kHurry{"--hold-fps", "1000000", "--json"};

std::vector<int> levels_of(const json& j) {
  std::vector<int> levels;
  for (const json& r : j["results"]) levels.push_back(r["level"].get<int>());
  return levels;
}

TEST(Live, EmbedTakesTheFasterModel) {
  const Scratch scratch;
  const std::string out = scratch.path("f.npy");
  const Words words{"embed", "--device", "cpu", "--model", kClassifier, "--out", out, kPictures};
  const Answer a = run_cli(words + kHurry + Words{"--faster", kClassifier + "@56x56"});
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_EQ(levels_of(a.json()), (std::vector<int>{0, 0, 0, 0, 0, 1, 1, 1, 1, 1}));
  EXPECT_EQ(a.json()["levels"][0]["frames"], 5);
  EXPECT_EQ(a.json()["levels"][1]["frames"], 5);
  EXPECT_EQ(a.json()["changes"].size(), 1u);
  // The same model at another size: its checkpoint is there once.
  EXPECT_TRUE(has(a.err, "2 levels are prepared") && has(a.err, "beside 1 mapped checkpoint\n")) << a.err;
  // ... and all weights but the positions', which are of its size.
  EXPECT_EQ(a.json()["levels"][0]["shared_weights_mib"], 0);
  const json level = a.json()["levels"][1];
  EXPECT_GT(level["shared_weights_mib"].get<double>(), 0.9 * level["weights_mib"].get<double>());
  const Answer tokens = run_cli(words + Words{"--hold-fps", "5", "--tokens", "--faster", kClassifier + "@56x56"});
  EXPECT_TRUE(tokens.fails_clearly(2) && has(tokens.err, "--tokens and --hold-fps")) << tokens.text();
}

/// Eight frames of raw RGB, 64x48.
Answer segment(const Words& more) {
  std::string frames;
  for (size_t i = 0; i < size_t(8) * 64 * 48 * 3; ++i) frames += char(uint8_t(i / 5 + i / 9216 * 40));
  return run_cli(Words{"segment", "--model", kSegmenter, "--json", "--frame", "64x48", "-"} + more, {}, "",
                 [&](int pipe, pid_t) { (void)write_all(pipe, frames.data(), frames.size()); });
}

TEST(Live, SegmentTakesTheFasterModelAndKeepsTheOrder) {
  const std::string small = kSegmenter + "@64x96";
  const Answer a = segment({"--device", "cpu", "--hold-fps", "1000000", "--faster", small});
  ASSERT_EQ(a.code, 0) << a.text();
  const json j = a.json();
  EXPECT_EQ(levels_of(j), (std::vector<int>{0, 0, 0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(j["levels"][1]["model"], small);
  EXPECT_EQ(j["changes"][0]["frame"], 5);
  // What a level answers is what it answers alone.
  const Answer best = segment({"--device", "cpu"}), fast = segment({"--device", "cpu", "--size", "64x96"});
  ASSERT_EQ(fast.code, 0) << fast.text();
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(j["results"][i]["image"], best.json()["results"][i]["image"]);
    EXPECT_EQ(j["results"][i]["classes"], (i < 5 ? best : fast).json()["results"][i]["classes"]) << i;
  }
}

TEST(Live, AGovernorOnTheDeviceWithTwoInFlight) {
  const Answer a = segment({"--device", "vulkan", "--hold-fps", "1000000", "--faster", kSegmenter + "@64x96"});
  if (a.code != 0 && has(a.err, "Vulkan")) GTEST_SKIP() << a.err;
  ASSERT_EQ(a.code, 0) << a.text();
  const std::vector<int> levels = levels_of(a.json());
  ASSERT_EQ(levels.size(), 8u);
  // The next may have been on its way when the level changed.
  for (size_t i : {0, 1, 2, 3, 4, 6, 7}) EXPECT_EQ(levels[i], i < 5 ? 0 : 1) << i;
}

TEST(Live, LevelsKeepTheirOwnPrecision) {
  const Scratch scratch;
  const std::string made = scratch.path("w8");
  ASSERT_EQ(run_cli({"compress", "--model", kClassifier, "--out", made, "--recipe", "w8"}).code, 0);
  const Words words{"classify", "--device", "cpu", "--model", kClassifier, kPictures, "--faster", made};
  const Answer a = run_cli(words + kHurry), b = run_cli(words + kHurry + Words{"--precision", "fp16"});
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_EQ(a.json()["levels"][0]["precision"], "fp32");
  EXPECT_EQ(a.json()["levels"][1]["precision"], "checkpoint");
  EXPECT_EQ(b.json()["levels"][1]["precision"], "fp16");
}

TEST(Live, WrongUseOfTheGovernorIsOneSentence) {
  for (const Words& verb : {Words{"segment", "--model", kSegmenter, kPictures},
                            Words{"embed", "--model", kClassifier, "--jsonl", kPictures}}) {
    const Answer rate = run_cli(verb + Words{"--hold-fps", "3"}), model = run_cli(verb + Words{"--faster", "x"});
    EXPECT_TRUE(rate.fails_clearly(2) && has(rate.err, "go together")) << rate.text();
    EXPECT_TRUE(model.fails_clearly(2) && has(model.err, "go together")) << model.text();
    const Answer gone = run_cli(verb + Words{"--hold-fps", "3", "--faster", "/no/such"});
    EXPECT_TRUE(gone.fails_clearly(1) && has(gone.err, "/no/such")) << gone.text();
  }
  const Answer other =
      run_cli({"segment", "--model", kSegmenter, kPictures, "--hold-fps", "3", "--faster", kClassifier});
  EXPECT_TRUE(other.fails_clearly(1) && has(other.err, "answer the same question")) << other.text();
}

// --------------------------------------------------------------------------------------------------------- silence

const Words kClassify{"classify", "--device", "cpu", "--model", kClassifier};

TEST(Live, ACameraThatFallsSilentEndsItsStream) {
  const std::string shim = VIREO_CAMERA_SHIM;
  if (shim.empty()) GTEST_SKIP() << "a library cannot be preloaded before a sanitizer's";
  const auto camera = [&](const std::string& kind, const Words& words) {
    return run_cli(words, {{"LD_PRELOAD", shim}, {"VIREO_FAKE_CAMERA", kind}}, "");
  };
  for (const Words& verb : {kClassify, Words{"embed", "--device", "cpu", "--model", kClassifier},
                            Words{"segment", "--device", "cpu", "--model", kSegmenter}}) {
    const Answer a = camera("formats=YUYV,stall=2", verb + Words{"--jsonl", "--stall", "0.2", "/dev/video7"});
    EXPECT_EQ(a.code, 1) << a.text();
    EXPECT_TRUE(has(a.err, "camera '/dev/video7' gave no frame for 0.2 seconds (--stall), and no error")) << a.err;
  }
  const Answer first = camera("formats=YUYV,stall=0", kClassify + Words{"--stall", "0.1", "/dev/video7"});
  EXPECT_TRUE(first.code == 1 && has(first.err, "frame-000001 did not come")) << first.text();
}

TEST(Live, APipeMayBeGivenATimeToo) {
  const std::string frame(size_t(32) * 24 * 3, 'x');
  const Words words = kClassify + Words{"--frame", "32x24", "--json", "-"};
  // One frame and a half, then nothing while the pipe stays open.
  const auto silent = [&](int pipe, pid_t process) {
    const std::string bytes = frame + frame.substr(0, 1000);
    (void)write_all(pipe, bytes.data(), bytes.size());
    (void)process;
    usleep(1000000);
  };
  const Answer a = run_cli(words + Words{"--stall", "0.2"}, {}, "", silent);
  EXPECT_EQ(a.code, 1) << a.text();
  EXPECT_TRUE(has(a.err, "standard input sent nothing for 0.2 seconds (--stall)")) << a.err;
  EXPECT_EQ(a.json()["results"].size(), 2u);
  EXPECT_EQ(a.json()["results"][1]["image"], "frame-000002");
  const Answer patient = run_cli(words, {}, "", silent);
  EXPECT_TRUE(has(patient.err, "is cut short")) << patient.text();
  const Answer files = run_cli(kClassify + Words{"--stall", "3", kPictures});
  EXPECT_TRUE(files.fails_clearly(2) && has(files.err, "--stall is for frames")) << files.text();
  const Answer zero = run_cli(words + Words{"--stall", "0"});
  EXPECT_TRUE(zero.fails_clearly(2)) << zero.text();
}

TEST(Live, JsonOfAStreamComesAtOnce) {
  const std::string frame(size_t(32) * 24 * 3, 'x');
  for (const Words& verb : {kClassify + Words{"--json"},
                            Words{"embed", "--device", "cpu", "--model", kClassifier, "--json", "--out", ""}}) {
    const Scratch scratch;
    Words words = verb;
    if (words.back().empty()) words.back() = scratch.path("f.npy");
    const std::string out = scratch.write("out", "");
    size_t seen = 0;
    const Answer a = run_cli(words + Words{"--frame", "32x24", "-"}, {}, out, [&](int pipe, pid_t) {
      (void)write_all(pipe, frame.data(), frame.size());
      // The first result is there before anything else is sent.
      for (int i = 0; i < 3000 && seen == 0; ++i, usleep(10000)) seen = read_file(out).size();
      (void)write_all(pipe, frame.data(), frame.size());
    });
    EXPECT_EQ(a.code, 0) << a.text();
    EXPECT_GT(seen, 0u);
    const json all = json::parse(read_file(out), nullptr, false);
    ASSERT_TRUE(all.is_object()) << read_file(out);
    EXPECT_EQ(all["results"].size(), 2u);
    EXPECT_TRUE(all.contains("device") && all.contains("latency"));
  }
}

// ------------------------------------------------------------------------------------------------------ on the GPU

TEST(Live, PicturesArePreparedOnTheDevice) {
  const Words vulkan{"classify", "--device", "vulkan", "--model", kClassifier, "--json", kPictures};
  const Answer there = run_cli(vulkan + Words{"--preprocess", "gpu"});
  if (there.code != 0 && has(there.err, "Vulkan")) GTEST_SKIP() << there.err;
  const Answer here = run_cli(vulkan + Words{"--preprocess", "cpu"});
  ASSERT_EQ(there.code, 0) << there.text();
  EXPECT_EQ(there.json()["preprocessing"]["kind"], "vulkan");
  EXPECT_EQ(there.json()["preprocessing"]["reason"], "");
  EXPECT_EQ(here.json()["preprocessing"]["kind"], "cpu");
  for (size_t i = 0; i < there.json()["results"].size(); ++i)
    EXPECT_EQ(there.json()["results"][i]["top"], here.json()["results"][i]["top"]) << i;
  const Answer cpu = run_cli({"classify", "--device", "cpu", "--model", kClassifier, kPictures, "--preprocess", "gpu"});
  EXPECT_EQ(cpu.code, 0) << cpu.text();
  EXPECT_TRUE(has(cpu.err, "note: pictures were prepared by the CPU: the session runs on the CPU")) << cpu.err;
  const Answer bad = run_cli(vulkan + Words{"--preprocess", "tpu"});
  EXPECT_TRUE(bad.fails_clearly(2) && has(bad.err, "'tpu' is no way to prepare pictures")) << bad.text();
  const Answer profile = run_cli({"profile", "--device", "vulkan", "--model", kClassifier, "--preprocess", "gpu",
                                  "--runs", "1", "--no-roofs", "--json", "-"});
  ASSERT_EQ(profile.code, 0) << profile.text();
  ASSERT_EQ(profile.json()["preprocessing"].size(), 2u);
  EXPECT_EQ(profile.json()["preprocessing"][0]["shader"], "picture.columns");
  EXPECT_GT(profile.json()["preprocessing"][0]["serialised_us"], 0);
}

TEST(Live, PlansAndPredictionsOfAFrame) {
  const Words frame{"--frame", "1920x1080", "--format", "nv12"};
  const Answer plan = run_cli(Words{"plan", "--model", kClassifier, "--caps", "jetson-nano"} + frame);
  ASSERT_EQ(plan.code, 0) << plan.text();
  EXPECT_TRUE(has(plan.out, "dispatch picture.columns ")) << plan.out;
  const Answer soft = run_cli(Words{"plan", "--model", kClassifier, "--caps", "lavapipe"} + frame);
  EXPECT_TRUE(has(soft.out, "pictures on the cpu: ") && has(soft.out, "software driver")) << soft.out;
  const Answer predicted =
      run_cli(Words{"predict", "--model", kSegmenter, "--machine", "jetson-nano", "--size", "512x512"} + frame);
  ASSERT_EQ(predicted.code, 0) << predicted.text();
  EXPECT_TRUE(has(predicted.out, "a picture of --frame to the network's input")) << predicted.out;
  const Answer sweep = run_cli({"predict", "--sweep", "--machine", "jetson-nano", "--frame", "64x64"});
  EXPECT_TRUE(sweep.fails_clearly(2)) << sweep.text();
}

}  // namespace
