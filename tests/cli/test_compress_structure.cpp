// `vireo compress` where tensors shrink, as users run it.
#include <gtest/gtest.h>

#include <cmath>

#include "cli/running.h"

namespace cli_test {
namespace {

const std::string kShipped = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
const std::string kSamples = kShipped + "/samples";

Answer compress(const std::string& model, const std::string& out, const Words& more) {
  Words words{"compress", "--model", model, "--out", out, "--calibrate", kSamples, "--json"};
  words.insert(words.end(), more.begin(), more.end());
  return run_cli(words);
}

TEST(CompressStructure, AShippedModelShrinksAndEveryVerbOpensIt) {
  const Scratch scratch;
  const std::string out = scratch.path("out");
  const Answer a = compress(kShipped, out, {"--recipe", "prune15"});
  ASSERT_EQ(a.code, 0) << a.text();
  const auto report = a.json();
  EXPECT_LE(report["macs"].get<double>(), 0.85 * report["macs_before"].get<double>());
  EXPECT_GT(report["macs"].get<double>(), 0.7 * report["macs_before"].get<double>());
  EXPECT_LT(report["parameters_after"], report["parameters_before"]);
  EXPECT_LT(report["bytes_after"], report["bytes_before"]);
  ASSERT_FALSE(report["blocks"].empty());
  bool differs = false;
  for (const auto& b : report["blocks"]) {
    differs = differs || b["before"] != b["after"];
    EXPECT_TRUE(b["kl"].is_number()) << b;
  }
  EXPECT_TRUE(differs);
  EXPECT_LT(report["compared"]["kl"].get<double>(), 0.5);

  const Answer text = run_cli({"compress", "--model", kShipped, "--out", scratch.path("text"), "--calibrate", kSamples,
                               "--recipe", "qkrank10"});
  ASSERT_EQ(text.code, 0) << text.text();
  EXPECT_NE(text.out.find("blocks are smaller"), std::string::npos) << text.out;

  const Answer plan = run_cli({"plan", "--model", out, "--device", "cpu"});
  ASSERT_EQ(plan.code, 0) << plan.text();
  const Answer again = compress(out, scratch.path("w8"), {"--recipe", "w8"});
  ASSERT_EQ(again.code, 0) << again.text();
  EXPECT_LT(again.json()["bytes_after"].get<double>(), 0.5 * report["bytes_after"].get<double>());
  const Answer classify =
      run_cli({"classify", "--model", scratch.path("w8"), "--device", "cpu", "--json", kSamples + "/03_dress.png"});
  EXPECT_EQ(classify.code, 0) << classify.text();
}

/// Every kernel of Vulkan and of the CPU takes the widths; nothing runs elsewhere in silence.
TEST(CompressStructure, DevicesAgree) {
  const Scratch scratch;
  const std::string policy = scratch.write("policy", "block blocks.* qk 20 v 12 mlp 100\nblock blocks.2 heads 3\n"),
                    out = scratch.path("out");
  const Answer a = compress(kShipped, out, {"--policy", policy});
  ASSERT_EQ(a.code, 0) << a.text();
  for (const auto& b : a.json()["blocks"]) {
    EXPECT_EQ(b["after"]["qk"], 20);
    EXPECT_EQ(b["after"]["v"], 12);
    EXPECT_EQ(b["after"]["mlp"], 100);
    EXPECT_EQ(b["after"]["heads"], b["block"] == "blocks.2" ? 3 : 4);
    EXPECT_TRUE(b["kl"].is_null());
  }
  const Answer devices = run_cli({"devices", "--json"});
  ASSERT_EQ(devices.code, 0) << devices.text();
  if (devices.out.find("\"vulkan\"") == std::string::npos) GTEST_SKIP() << "no Vulkan device";
  const Answer diff = run_cli({"diff", "--model", out, "--b", "vulkan", "--json", kSamples + "/03_dress.png"});
  EXPECT_EQ(diff.code, 0) << diff.text();
}

TEST(CompressStructure, BadInputIsOneSentence) {
  const Scratch scratch;
  const auto refuses = [&](const Words& more, const std::string& what) {
    const Answer a = compress(kShipped, scratch.path("out"), more);
    EXPECT_TRUE(a.fails_clearly(1)) << a.text();
    EXPECT_NE(a.err.find(what), std::string::npos) << a.err;
    EXPECT_EQ(Scratch::names_in(scratch.path(".")).size(), 1u) << a.err;
  };
  scratch.write("policy", "block blocks.99 mlp 4\n");
  refuses({"--policy", scratch.path("policy")}, "'blocks.99' names no transformer block");
  scratch.write("policy", "block blocks.1 mlp four\n");
  refuses({"--policy", scratch.path("policy")}, "gives 'mlp' no number");
  refuses({"--recipe", "prune15+prune20"}, "two recipes");
  refuses({"--recipe", "prune15", "--pictures", "4"}, "was given 4 pictures");
  const Answer none = run_cli({"compress", "--model", kShipped, "--out", scratch.path("out"), "--recipe", "prune15"});
  EXPECT_TRUE(none.fails_clearly(2)) << none.text();
  EXPECT_NE(none.err.find("give --calibrate"), std::string::npos) << none.err;
}

TEST(CompressStructure, ListSaysTheMethods) {
  const Answer text = run_cli({"compress", "--list"});
  for (const char* name : {"qkrank10", "prune15", "qk-rank", "mlp-columns", "value-columns"})
    EXPECT_NE(text.out.find(name), std::string::npos) << text.out;
}

}  // namespace
}  // namespace cli_test
