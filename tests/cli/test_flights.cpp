// Frames in flight: on a GPU two at once, and what comes out is what one at a time gives, in the frames' order; none is
// held back for the next; and what says that an answer does not come.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <sstream>
#include <thread>

#include "cli/run_cli.h"
#include "frame_times.h"

namespace {

using cli_test::Answer;
using cli_test::feed;
using cli_test::has_vulkan;
using cli_test::operator+;
using cli_test::read_file;
using cli_test::run_cli;
using cli_test::Scratch;
using cli_test::Words;
using cli_test::write_all;
using nlohmann::json;

const std::string kData = VIREO_TEST_DATA;
const std::string kModel = kData + "/torchvision/even";
const std::string kSegmenter = kData + "/cases/hf-upernet-vit";

/// Raw frames of 16x12, no two alike.
std::string frames(int count) {
  std::string bytes;
  for (int f = 0; f < count; ++f)
    for (int i = 0; i < 16 * 12 * 3; ++i) bytes += char(uint8_t(128 + 100 * std::sin(0.013 * i * (f + 1) + f)));
  return bytes;
}

/// Lines that begin alike are of the same picture, and their numbers differ by rounding alone.
void expect_alike(const json& a, const json& b, const std::string& what) {
  if (a.is_number()) {
    EXPECT_NEAR(a.get<double>(), b.get<double>(), 2e-3) << what;
  } else if (a.is_array() || a.is_object()) {
    ASSERT_EQ(a.size(), b.size()) << what;
    for (auto i = a.begin(), j = b.begin(); i != a.end(); ++i, ++j) expect_alike(*i, *j, what);
  } else {
    EXPECT_EQ(a, b) << what;
  }
}

TEST(Flights, AnswersOfAGpuAreInTheFramesOrder) {
  if (!has_vulkan()) GTEST_SKIP() << "no Vulkan device";
  const int count = 24;
  struct Verb {
    Words words;
    const char* field;
  };
  for (const Verb& verb :
       {Verb{{"classify", "--topk", "1", "--model", kModel}, "top"}, Verb{{"embed", "--model", kModel}, "features"},
        Verb{{"segment", "--model", kSegmenter}, "classes"}}) {
    std::vector<std::vector<json>> all;
    for (const char* device : {"cpu", "vulkan"}) {
      const Answer a = feed(verb.words + Words{"--device", device, "--jsonl", "--frame", "16x12", "-"}, frames(count));
      ASSERT_EQ(a.code, 0) << a.text();
      std::vector<json> lines;
      std::istringstream text(a.out);
      for (std::string line; std::getline(text, line);) lines.push_back(json::parse(line));
      all.push_back(lines);
    }
    ASSERT_EQ(all[0].size(), size_t(count));
    ASSERT_EQ(all[1].size(), size_t(count));
    bool differ = false;
    for (size_t i = 0; i < size_t(count); ++i) {
      EXPECT_EQ(all[0][i]["image"], all[1][i]["image"]);
      expect_alike(all[0][i][verb.field], all[1][i][verb.field], verb.words[0] + " " + all[0][i]["image"].dump());
      differ = differ || all[1][i][verb.field] != all[1][0][verb.field];
    }
    EXPECT_TRUE(differ) << "frames that all answer alike would not show their order, " << verb.words[0];
  }
}

TEST(Flights, PicturesThatFailKeepTheirPlace) {
  if (!has_vulkan()) GTEST_SKIP() << "no Vulkan device";
  const Scratch dir;
  const std::string in = dir.make_folder("in"), pictures = kData + "/images/";
  int at = 0;
  for (const char* name : {"rgb8.png", "", "grey8.png", "rgb8.png", ""})
    dir.write("in/" + std::to_string(at++) + ".png", *name != '\0' ? read_file(pictures + name) : "no picture");
  std::vector<cli_test::Array> rows;
  for (const Words& how :
       {Words{"--device", "cpu"}, Words{"--device", "vulkan"}, Words{"--device", "vulkan", "--preprocess", "gpu"}}) {
    const std::string logits = dir.path("l" + std::to_string(rows.size()) + ".npy");
    const Answer a = run_cli(Words{"classify", "--json", "--model", kModel, "--logits", logits} + how + Words{in});
    EXPECT_EQ(a.code, 1) << a.text();
    const json whole = a.json();
    ASSERT_EQ(whole["results"].size(), 5u) << a.text();
    for (const size_t i : {1u, 4u}) EXPECT_TRUE(whole["results"][i].contains("error")) << a.text();
    rows.push_back(cli_test::read_array(logits));
    ASSERT_EQ(rows.back().shape.size(), 2u);
    ASSERT_EQ(rows.back().shape[0], 5);
  }
  for (const cli_test::Array& r : rows) {
    ASSERT_EQ(r.shape, rows[0].shape);
    for (size_t i = 0; i < r.data.size(); ++i) {
      const int64_t row = int64_t(i) / r.shape[1];
      ASSERT_EQ(std::isnan(r.data[i]), row == 1 || row == 4) << row;
      if (std::isnan(r.data[i])) continue;
      EXPECT_NEAR(r.data[i], rows[0].data[i], 2e-3) << row;
    }
  }
}

/// The answer of a frame comes while the sender has not sent the next one.
TEST(Flights, NoneIsHeldBackForTheNext) {
  if (!has_vulkan()) GTEST_SKIP() << "no Vulkan device";
  const Scratch dir;
  const std::string bytes = frames(3);
  int came = 0;
  const Answer a = run_cli(
      {"segment", "--device", "vulkan", "--model", kSegmenter, "--out-dir", dir.path(""), "--frame", "16x12", "-"}, {},
      "", [&](int pipe, pid_t) {
        for (int i = 0; i < 3; ++i) {
          (void)write_all(pipe, bytes.data() + i * 16 * 12 * 3, 16 * 12 * 3);
          const std::string map = dir.path("frame-00000" + std::to_string(i + 1) + ".classes.png");
          for (int tries = 0; tries < 12000 && access(map.c_str(), R_OK) != 0; ++tries)
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
          came += access(map.c_str(), R_OK) == 0;
        }
      });
  EXPECT_EQ(a.code, 0) << a.text();
  EXPECT_EQ(came, 3);
}

TEST(Flights, AnAnswerThatDoesNotComeIsTold) {
  cli::Frame good, stuck, picture;
  good.name = "frame-000001", stuck.name = "frame-000002", picture.name = "a.png";
  testing::internal::CaptureStderr();
  {
    cli::FrameTimes times(2.0);
    good.came_ns = stuck.came_ns = cli::monotonic_ns();
    times.watch(picture);  // no stream's: nobody waits for it
    times.watch(stuck);
    for (int tries = 0; tries < 6000 && times.overdue() == 0; ++tries)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(times.overdue(), 1u);
    EXPECT_GT(times.add(stuck), 4.0);
    good.came_ns = cli::monotonic_ns() + 3600 * int64_t(1000000000);  // far from its time
    times.watch(good);
    times.forget(good);
    EXPECT_EQ(times.overdue(), 1u);
    EXPECT_LT(times.add(picture), 0);
  }
  const std::string err = testing::internal::GetCapturedStderr();
  EXPECT_NE(err.find("note: frame-000002 has no answer after "), std::string::npos) << err;
  EXPECT_NE(err.find("ms, --deadline is 2 ms\n"), std::string::npos) << err;
  EXPECT_NE(err.find("note: the answer of frame-000002 came after "), std::string::npos) << err;
  EXPECT_EQ(err.find("frame-000001"), std::string::npos) << err;
}

}  // namespace
