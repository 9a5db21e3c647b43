// Rows of 8 bits among rows of 4 through the tool: the recipe, plans, both devices, policies, what is refused.
#include <gtest/gtest.h>

#include <fstream>

#include "cli/running.h"

namespace cli_test {
namespace {

const std::string kShipped = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
const std::string kSamples = kShipped + "/samples";
const std::string kPicture = kSamples + "/03_dress.png";

Answer compress(const std::string& out, const std::string& recipe) {
  return run_cli({"compress", "--model", kShipped, "--out", out, "--calibrate", kSamples, "--no-sensitivity", "--json",
                  "--recipe", recipe});
}

TEST(WideRows, AFolderOpensOnBothDevicesAndItsPlansSayThem) {
  const Scratch scratch;
  const std::string out = scratch.path("out");
  const Answer a = compress(out, "w4w8rows:25"), four = compress(scratch.path("four"), "w4g64");
  ASSERT_EQ(a.code, 0) << a.text();
  ASSERT_EQ(four.code, 0) << four.text();
  const auto kl = [](const Answer& of) { return of.json()["compared"]["kl"].get<double>(); };
  EXPECT_LT(kl(a), kl(four));
  // Of 128 rows 32, of queries, keys and values stacked 96.
  for (const char* caps : {"jetson-nano", "jetson-nano-cpu"}) {
    const Answer plan = run_cli({"plan", "--model", out, "--caps", caps});
    ASSERT_EQ(plan.code, 0) << plan.text();
    EXPECT_NE(plan.out.find("query|key|value.weight i4g64+96xi8 "), std::string::npos) << plan.out;
    EXPECT_NE(plan.out.find("attention.output.dense.weight i4g64+32xi8 "), std::string::npos) << plan.out;
  }
  const auto best = [&](const std::string& device) {
    const Answer c = run_cli({"classify", "--model", out, "--device", device, "--json", kPicture});
    EXPECT_EQ(c.code, 0) << c.text();
    return c.json()["results"][0]["top"][0];
  };
  const auto cpu = best("cpu");
  EXPECT_EQ(cpu["label"], "Dress");
  if (!has_vulkan()) GTEST_SKIP() << "no Vulkan device";
  const auto vulkan = best("vulkan");
  EXPECT_EQ(cpu["label"], vulkan["label"]);
  EXPECT_NEAR(cpu["score"].get<double>(), vulkan["score"].get<double>(), 1e-4);
}

TEST(WideRows, AConfigurationThatSaysMoreIsRefusedByName) {
  const Scratch scratch;
  const std::string out = scratch.path("out"), config = out + "/config.json";
  ASSERT_EQ(compress(out, "w4w8rows").code, 0);
  std::string text = read_file(config);
  const size_t at = text.find("\"rows\": {");
  ASSERT_NE(at, std::string::npos) << text;
  const auto says = [&](const std::string& instead, const std::string& what) {
    std::string other = text;
    other.replace(at, std::string("\"rows\"").size(), instead);
    std::ofstream(config) << other;
    const Answer a = run_cli({"classify", "--model", out, "--device", "cpu", kPicture});
    EXPECT_TRUE(a.fails_clearly(1)) << a.text();
    EXPECT_NE(a.err.find(what), std::string::npos) << a.err;
  };
  says("\"columns\"", "has the section 'columns', which this Vireo does not know");
  says("\"rows\": {\"bits\": 6}, \"tokens\"", "rows has 6 bits; this Vireo knows rows of 8");
}

TEST(WideRows, APolicyGivesThemWhileLoading) {
  const Scratch scratch;
  const auto plan = [&](const std::string& policy) {
    std::ofstream(scratch.path("p")) << policy;
    return run_cli({"plan", "--model", kShipped, "--device", "cpu", "--precision", scratch.path("p")});
  };
  const Answer a = plan("weights i4g32\n*.attention.output.dense.weight[16:48] i8g32\n");
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_NE(a.out.find("attention.output.dense.weight i4g32+32xi8 cpu panels"), std::string::npos) << a.out;
  const auto refused = [&](const std::string& policy, const std::string& what) {
    const Answer b = plan(policy);
    EXPECT_TRUE(b.fails_clearly(1)) << b.text();
    EXPECT_NE(b.err.find(what), std::string::npos) << b.err;
  };
  refused("weights i4g32\n*.attention.output.dense.weight[16:480] i8g32\n", "has 128 rows, not the 16 to 479");
  refused("weights i4g32\n*.attention.output.dense.weight[16:48] i8\n", "are to be i4g32 and i8;");
  refused("weights i4g32\n*.attention.output.dense.weight[48:16] i8g32\n", "line 2: ");
  refused("weights i4g32\nnothing[0:4] i8g32\n", "'nothing' names no weight");
}

TEST(WideRows, TheRecipeIsListedAndItsNumberChecked) {
  const Answer list = run_cli({"compress", "--list"});
  EXPECT_NE(list.out.find("w4w8rows"), std::string::npos) << list.out;
  EXPECT_NE(list.out.find("2407.18175"), std::string::npos) << list.out;
  const Scratch scratch;
  for (const char* bad : {"w4w8rows:0", "w4w8rows:101", "w4w8rows:"}) {
    const Answer a = compress(scratch.path("out"), bad);
    EXPECT_TRUE(a.fails_clearly(1)) << a.text();
    EXPECT_NE(a.err.find("is no percentage of rows"), std::string::npos) << a.err;
  }
}

}  // namespace
}  // namespace cli_test
