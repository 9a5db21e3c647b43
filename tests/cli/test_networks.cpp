// Checkpoints as trainers leave them, through the command line: which network of several, and files that are none.
#include "run_cli.h"

#include <gtest/gtest.h>

#include <cstring>

namespace {

using namespace cli_test;
using Json = nlohmann::json;

const std::string kCase = std::string(VIREO_TEST_DATA) + "/cases/timm-vit";

/// The case's network under "teacher.backbone." beside a student of zeros.
std::string teacher_and_student() {
  const std::string bytes = read_file(kCase + "/model.safetensors");
  uint64_t size = 0;
  for (int i = 7; i >= 0; --i) size = size << 8 | uint8_t(bytes[size_t(i)]);
  const std::string data = bytes.substr(8 + size);
  const Json header = Json::parse(bytes.substr(8, size));
  Json out;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") continue;
    out["teacher.backbone." + name] = value;
    Json other = value;
    for (Json& at : other["data_offsets"]) at = at.get<uint64_t>() + data.size();
    out["student.backbone." + name] = other;
  }
  const std::string text = out.dump();
  std::string file;
  for (int i = 0; i < 8; ++i) file += char(uint64_t(text.size()) >> (8 * i) & 0xff);
  return file + text + data + std::string(data.size(), '\0');
}

TEST(Networks, TeacherAndStudent) {
  Scratch scratch;
  scratch.write("config.json", read_file(kCase + "/config.json"));
  scratch.write("model.safetensors", teacher_and_student());
  const std::string out = scratch.path("out.npy");
  std::vector<std::string> arguments = {"classify", "--model", scratch.path(),   "--device",       "cpu",
                                        "--logits", out,       kCase + "/0.png", kCase + "/1.png", kCase + "/2.png"};
  const Answer silent = run_cli(arguments);
  EXPECT_TRUE(silent.fails_clearly(1)) << silent.text();
  for (const char* part : {"'student.backbone.'", "'teacher.backbone.'", "--weights teacher.backbone."})
    EXPECT_NE(silent.err.find(part), std::string::npos) << silent.text();
  const Array expected = read_array(kCase + "/expected.npy");
  ASSERT_FALSE(expected.data.empty());
  for (const char* weights : {"teacher.backbone.", "teacher"}) {
    std::vector<std::string> chosen = arguments;
    chosen.insert(chosen.begin() + 1, {"--weights", weights});
    const Answer answer = run_cli(chosen);
    ASSERT_EQ(answer.code, 0) << answer.text();
    const Array got = read_array(out);
    ASSERT_EQ(got.shape, expected.shape);
    float largest = 1;
    for (float e : expected.data) largest = std::max(largest, std::abs(e));
    for (size_t i = 0; i < got.data.size(); ++i) EXPECT_NEAR(got.data[i], expected.data[i], 5e-5f * largest);
  }
  arguments.insert(arguments.begin() + 1, {"--weights", "ema"});
  const Answer wrong = run_cli(arguments);
  EXPECT_TRUE(wrong.fails_clearly(1)) << wrong.text();
  EXPECT_NE(wrong.err.find("'ema'"), std::string::npos) << wrong.text();
}

TEST(Networks, ACaptureKeepsTheChosenOne) {
  Scratch scratch;
  scratch.write("config.json", read_file(kCase + "/config.json"));
  scratch.write("model.safetensors", teacher_and_student());
  const std::string capture = scratch.path("c.capture");
  const Answer made = run_cli({"capture", "--model", scratch.path(), "--weights", "teacher", "--device", "cpu", "--out",
                               capture, kCase + "/0.png"});
  ASSERT_EQ(made.code, 0) << made.text();
  const Answer again = run_cli({"replay", capture, "--device", "cpu"});
  EXPECT_EQ(again.code, 0) << again.text();
}

TEST(Networks, WhatIsNoModelIsNamed) {
  Scratch scratch;
  const std::string pointer =
      scratch.write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10\n");
  for (const std::string& model : {scratch.path(), pointer}) {
    const Answer a = run_cli({"classify", "--model", model, kCase + "/0.png"});
    EXPECT_TRUE(a.fails_clearly(1)) << a.text();
    EXPECT_NE(a.err.find("git lfs pull"), std::string::npos) << a.text();
  }
  const Answer picture = run_cli({"classify", "--model", kCase + "/0.png", kCase + "/1.png"});
  EXPECT_TRUE(picture.fails_clearly(1)) << picture.text();
  EXPECT_NE(picture.err.find("PNG picture"), std::string::npos) << picture.text();
}

}  // namespace
