// Policy files on the command line: a line that changes nothing is refused, by every verb that plans.
#include <gtest/gtest.h>

#include <fstream>

#include "cli/running.h"

namespace cli_test {
namespace {

const std::string kShipped = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
const std::string kPicture = kShipped + "/samples/03_dress.png";

struct Policy {
  Scratch scratch;
  std::string file = scratch.path("policy.txt");
  explicit Policy(const std::string& text) { std::ofstream(file) << text; }
};

TEST(PolicyLines, APatternThatMatchesNoWeightIsRefusedByLineAndName) {
  // No weight of that name; a bias, which no policy stores otherwise; and a name that only begins like one.
  for (const std::string pattern : {"blocks.*.mlp.fc9.weight", "*.bias", "vit"}) {
    const Policy p("weights i8\n\n" + pattern + " i4g32\n");
    for (const Words& verb : {Words{"classify", "--device", "cpu", kPicture}, Words{"plan", "--caps", "jetson-nano"},
                              Words{"predict", "--caps", "jetson-nano"},
                              Words{"embed", "--device", "cpu", "--out", p.scratch.path("x.npy"), kPicture},
                              Words{"bench", "--device", "cpu"}}) {
      Words all = verb;
      all.insert(all.begin() + 1, {"--model", kShipped, "--precision", p.file});
      const Answer a = run_cli(all);
      EXPECT_TRUE(a.fails_clearly(1)) << a.text();
      EXPECT_NE(a.err.find("line 3: '" + pattern + "' names no weight of model"), std::string::npos) << a.err;
      EXPECT_NE(a.err.find("vireo plan"), std::string::npos) << a.err;
    }
  }
}

TEST(PolicyLines, TheNameThatTheRefusalGivesIsTaken) {
  const Policy wrong("nothing i8\n");
  const Answer refusal = run_cli({"plan", "--model", kShipped, "--device", "cpu", "--precision", wrong.file});
  const size_t at = refusal.err.find("such as '") + 9, end = refusal.err.find('\'', at);
  ASSERT_NE(end, std::string::npos) << refusal.err;
  const Policy right(refusal.err.substr(at, end - at) + " i8\n");
  const Answer a = run_cli({"plan", "--model", kShipped, "--device", "cpu", "--precision", right.file});
  EXPECT_EQ(a.code, 0) << a.text();
}

TEST(PolicyLines, APolicyOfTheWholeModelServesFeaturesThatHaveNoHead) {
  const Policy p("*classifier* i8\n");
  for (const Words& verb : {Words{"classify"}, Words{"embed", "--out", p.scratch.path("x.npy")}}) {
    Words all = verb;
    all.insert(all.end(), {"--model", kShipped, "--device", "cpu", "--precision", p.file, kPicture});
    const Answer a = run_cli(all);
    EXPECT_EQ(a.code, 0) << a.text();
  }
}

TEST(PolicyLines, AttentionMultipliesCodesWhereThereIsSuchAKernelAndElseThePlanSaysSo) {
  const Policy p("attention i8\n");
  const std::string swin = std::string(VIREO_SOURCE_DIR) + "/models/configs/swin-t.json";
  const std::string on_cpu = "attention int8", floats = "products stay floats";
  const auto plan = [](Words more) {
    more.insert(more.begin(), "plan");
    const Answer a = run_cli(more);
    EXPECT_EQ(a.code, 0) << a.text();
    return a.out;
  };
  const std::string cpu = plan({"--model", kShipped, "--device", "cpu", "--precision", p.file});
  EXPECT_NE(cpu.find(on_cpu), std::string::npos) << cpu;
  EXPECT_EQ(cpu.find(floats), std::string::npos) << cpu;
  const std::string gpu = plan({"--model", kShipped, "--caps", "jetson-nano", "--precision", p.file});
  EXPECT_EQ(gpu.find(on_cpu), std::string::npos) << gpu;
  EXPECT_NE(gpu.find(floats), std::string::npos) << gpu;
  const std::string windows = plan({"--config", swin, "--device", "cpu", "--precision", p.file});
  EXPECT_NE(windows.find("in groups, " + floats), std::string::npos) << windows;
  // Nobody asked: nothing is said.
  EXPECT_EQ(plan({"--model", kShipped, "--device", "cpu", "--precision", "w8a8"}).find(floats), std::string::npos);
}

// A step on the CPU of a plan whose values are halves: what is converted around it are steps, with bytes in the arena.
TEST(PolicyLines, ConversionsAroundStepsOfTheCpuAreSteps) {
  const Words command{"plan", "--model", kShipped, "--caps", "jetson-nano", "--cpu-ops", "attention"};
  const Answer half = run_cli(command + Words{"--precision", "fp16"}), full = run_cli(command);
  ASSERT_EQ(half.code, 0) << half.text();
  for (const char* step : {"cpu convert [f16 to f32] blocks.0.attn.qkv.f32 f32[1, 1, 50, 384] -> ",
                           "cpu attention heads=4 [flash attention] blocks.0.attn f32[1, 1, 50, 128] -> ",
                           "cpu convert [f32 to f16] blocks.0.attn.f16 f16[1, 1, 50, 128] -> "})
    EXPECT_NE(half.out.find(step), std::string::npos) << half.out;
  ASSERT_EQ(full.code, 0) << full.text();
  EXPECT_NE(full.out.find("[flash attention]"), std::string::npos) << full.out;
  EXPECT_EQ(full.out.find("convert"), std::string::npos) << full.out;
}

}  // namespace
}  // namespace cli_test
