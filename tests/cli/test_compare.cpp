// vireo profile --compare: every step of two profiles beside each other, as text, JSON and page.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "run_cli.h"

namespace cli_test {
namespace {

using nlohmann::json;

json dispatch(const std::string& name, double us, int part = 0) {
  return {{"step", 0},      {"part", part},        {"name", name},       {"label", name},       {"op", "linear"},
          {"kernel", "k"},  {"device", "vulkan"},  {"flops", 1e6},       {"bytes", 1e4},        {"begin_us", 0},
          {"roof_us", 1.0}, {"groups", {1, 1, 1}}, {"scheduled_us", us}, {"serialised_us", us}, {"gflops", 1.0},
          {"gbs", 1.0},     {"share", 0.1},        {"roof_share", 0.5}};
}

json profile(const std::vector<json>& dispatches, const std::string& precision = "fp32") {
  double us = 0;
  for (const json& d : dispatches) us += double(d["serialised_us"]);
  return {{"schema", "vireo-profile/1"},
          {"model", "m"},
          {"device", {{"kind", "vulkan"}, {"name", "GPU"}, {"reason", ""}}},
          {"precision", precision},
          {"batch", 1},
          {"height", 32},
          {"width", 32},
          {"runs", 3},
          {"wall_us", us + 100},
          {"serialised_us", us},
          {"scheduled_us", us},
          {"overlap_us", 0},
          {"arena_bytes", 1024},
          {"weights_bytes", 1024},
          {"host_us", {{"upload", 1}, {"submit", 2}, {"wait", 3}, {"download", 4}}},
          {"roofs", {{"fma_gflops", 10}, {"half_fma_gflops", 0}, {"copy_gbs", 5}}},
          {"dispatches", dispatches}};
}

class Compare : public ::testing::Test {
 protected:
  Answer run(const json& a, const json& b, std::vector<std::string> more = {}) {
    std::vector<std::string> command{"profile", "--compare", dir.write("a.json", a.dump()),
                                     dir.write("b.json", b.dump())};
    command.insert(command.end(), more.begin(), more.end());
    return run_cli(command);
  }
  const Scratch dir;
};

TEST_F(Compare, StepsByNameTheLargestChangeFirst) {
  // fc1 became slower, fc2 faster by more, the head stays; one step is split in one of them, a name comes twice, and
  // each has a step that the other has not.
  const json a = profile({dispatch("fc1", 1000), dispatch("fc2", 3000), dispatch("head", 500), dispatch("split", 100),
                          dispatch("split", 200, 1), dispatch("twice", 10), dispatch("twice", 20),
                          dispatch("norm", 70)}),
             b = profile({dispatch("fc2", 1000), dispatch("fc1", 2500), dispatch("head", 500), dispatch("split", 330),
                          dispatch("twice", 11), dispatch("twice", 40), dispatch("convert", 5)},
                         "fp16");
  const Answer answer = run(a, b, {"--json"});
  ASSERT_EQ(answer.code, 0) << answer.text();
  const json c = answer.json();
  EXPECT_EQ(c["schema"], "vireo-comparison/1");
  struct Row {
    const char* name;
    double a, b;
  };
  const Row expected[] = {{"fc2", 3000, 1000}, {"fc1", 1000, 2500}, {"split", 300, 330},
                          {"twice", 20, 40},   {"twice", 10, 11},   {"head", 500, 500}};
  ASSERT_EQ(c["steps"].size(), std::size(expected)) << c.dump(1);
  for (size_t i = 0; i < std::size(expected); ++i) {
    const json& s = c["steps"][i];
    EXPECT_EQ(s["name"], expected[i].name);
    EXPECT_EQ(s["a_us"], expected[i].a);
    EXPECT_EQ(s["b_us"], expected[i].b);
    EXPECT_EQ(s["difference_us"], expected[i].b - expected[i].a);
    EXPECT_NEAR(double(s["ratio"]), expected[i].b / expected[i].a, 1e-4);
  }
  ASSERT_EQ(c["only_a"].size(), 1u);
  EXPECT_EQ(c["only_a"][0]["name"], "norm");
  EXPECT_EQ(c["only_a"][0]["us"], 70);
  ASSERT_EQ(c["only_b"].size(), 1u);
  EXPECT_EQ(c["only_b"][0]["name"], "convert");
  EXPECT_EQ(c["notes"], json::array({"precision: fp32 in a, fp16 in b"}));
  EXPECT_NE(c["made"]["command"].get<std::string>().find("--compare"), std::string::npos);

  const Answer text = run(a, b);
  ASSERT_EQ(text.code, 0) << text.text();
  for (const char* line :
       {"     3.000      1.000     -2.000   0.333  fc2\n", "     1.000      2.500     +1.500   2.500  fc1\n",
        "6 steps of both\n", "1 only in a: norm\n", "1 only in b: convert\n", "note: precision: fp32 in a, fp16 in b\n",
        "wall, without timestamps\n"})
    EXPECT_NE(text.out.find(line), std::string::npos) << line << text.text();
  EXPECT_LT(text.out.find("  fc2\n"), text.out.find("  fc1\n"));
}

TEST_F(Compare, TheSumsAddUp) {
  // Profiles of the tool itself: what both have and what one has make the whole.
  const std::string model = std::string(VIREO_TEST_DATA) + "/torchvision/even";
  json of[2];
  for (const char* precision : {"fp32", "fp16"})
    of[precision[2] == '1'] = run_cli({"profile", "--model", model, "--device", "cpu", "--runs", "1", "--no-roofs",
                                       "--precision", precision, "--json"})
                                  .json();
  const json c = run(of[0], of[1], {"--json"}).json();
  ASSERT_TRUE(c.is_object());
  EXPECT_GT(c["steps"].size(), 5u);
  for (const char* side : {"a", "b"}) {
    double us = 0;
    for (const json& s : c["steps"]) us += double(s[std::string(side) + "_us"]);
    for (const json& s : c[std::string("only_") + side]) us += double(s["us"]);
    EXPECT_NEAR(us, double(c[side]["serialised_us"]), 0.01 + 1e-4 * us) << side;
    EXPECT_EQ(c[side]["made"], of[*side == 'b']["made"]);
  }
  double before = 1e300;
  for (const json& s : c["steps"]) {
    EXPECT_LE(std::fabs(double(s["difference_us"])), before);
    before = std::fabs(double(s["difference_us"]));
  }
}

TEST_F(Compare, TwentyStepsUnlessAllAreAskedFor) {
  std::vector<json> many;
  for (int i = 0; i < 30; ++i) many.push_back(dispatch("step" + std::to_string(i), 10 + i));
  const auto lines = [](const std::string& text) {
    size_t n = 0;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) n += line.find("  step") != std::string::npos && line[0] == ' ';
    return n;
  };
  const Answer some = run(profile(many), profile(many)), all = run(profile(many), profile(many), {"--all"});
  EXPECT_EQ(lines(some.out), 21u) << some.out;  // and the heading
  EXPECT_NE(some.out.find("of 30 steps"), std::string::npos) << some.out;
  EXPECT_EQ(lines(all.out), 31u) << all.out;
}

TEST_F(Compare, WritesFilesAndRefusesWhatIsOfAMeasurement) {
  const json p = profile({dispatch("fc1", 1000)});
  const Answer files = run(p, p, {"--json", dir.path("c.json"), "--html", dir.path("c.html")});
  ASSERT_EQ(files.code, 0) << files.text();
  EXPECT_NE(files.out.find("1 step of both"), std::string::npos);
  EXPECT_EQ(json::parse(read_file(dir.path("c.json")))["steps"][0]["name"], "fc1");
  EXPECT_NE(read_file(dir.path("c.html")).find("vireo-comparison/1"), std::string::npos);
  EXPECT_TRUE(run(p, p, {"--csv", dir.path("c.csv")}).fails_clearly(2));
  EXPECT_TRUE(run(p, p, {"--phases"}).fails_clearly(2));
  const Answer over = run(p, p, {"--json", dir.path("a.json")});
  EXPECT_TRUE(over.fails_clearly(2)) << over.text();
  EXPECT_NE(over.err.find("would replace"), std::string::npos);
}

TEST_F(Compare, WhatAStrangersFileMayHold) {
  // Names with control characters, ratios of nothing, fields of other types than the tool writes.
  json a = profile({dispatch("evil\x1b[31m\nname", 0), dispatch("fc", 5)});
  json b = a;
  a["precision"] = 7, a["batch"] = json::array(), a["made"] = "yes", b["made"] = {{"vireo", {1, 2}}};
  a.erase("runs");
  const Answer answer = run(a, b);
  ASSERT_EQ(answer.code, 0) << answer.text();
  EXPECT_EQ(answer.out.find('\x1b'), std::string::npos);
  EXPECT_NE(answer.out.find("evil?[31m?name"), std::string::npos) << answer.out;
  const json c = run(a, b, {"--json"}).json();
  ASSERT_TRUE(c.is_object());
  for (const json& s : c["steps"])
    if (double(s["a_us"]) == 0) {
      EXPECT_TRUE(s["ratio"].is_null()) << s.dump();
    }
}

}  // namespace
}  // namespace cli_test
