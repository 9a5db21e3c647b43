// Recipes that change the network, together and one after the other: structure, merging of tokens, numbers.
#include <gtest/gtest.h>

#include "cli/running.h"

namespace cli_test {
namespace {

const std::string kShipped = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
const std::string kSamples = kShipped + "/samples";

Answer compress(const std::string& model, const std::string& out, const Words& more) {
  Words words{"compress", "--model", model, "--out", out, "--calibrate", kSamples, "--no-sensitivity", "--json"};
  words.insert(words.end(), more.begin(), more.end());
  return run_cli(words);
}

TEST(CompressTogether, BlocksThatMergeTokensHaveNarrowKeys) {
  const Scratch scratch;
  const std::string out = scratch.path("out");
  const Answer a = compress(kShipped, out, {"--recipe", "qkrank10+tome25"});
  ASSERT_EQ(a.code, 0) << a.text();
  const auto report = a.json();
  const auto merged = report["tokens_merged"].get<std::vector<int>>();
  bool both = false;
  for (const auto& b : report["blocks"]) {
    const std::string name = b["block"];
    const size_t number = size_t(std::stoi(name.substr(name.rfind('.') + 1)));
    both = both || (b["after"]["qk"] < b["before"]["qk"] && number < merged.size() && merged[number] > 0);
  }
  EXPECT_TRUE(both) << report["blocks"] << report["tokens_merged"];
  EXPECT_LT(report["macs"].get<double>(), 0.72 * report["macs_before"].get<double>());
  EXPECT_LT(report["compared"]["kl"].get<double>(), 0.5);
  const std::string picture = kSamples + "/03_dress.png";
  const auto best = [&](const std::string& device) {
    const Answer c = run_cli({"classify", "--model", out, "--device", device, "--json", picture});
    EXPECT_EQ(c.code, 0) << c.text();
    return c.json()["results"][0]["top"][0];
  };
  const auto cpu = best("cpu");
  if (!has_vulkan()) GTEST_SKIP() << "no Vulkan device";
  const auto vulkan = best("vulkan");
  EXPECT_EQ(cpu["label"], vulkan["label"]);
  EXPECT_NEAR(cpu["score"].get<double>(), vulkan["score"].get<double>(), 1e-4);
}

TEST(CompressTogether, OneCommandGivesTheCodesOfTwo) {
  const Scratch scratch;
  ASSERT_EQ(compress(kShipped, scratch.path("merged"), {"--recipe", "tome25"}).code, 0);
  ASSERT_EQ(compress(scratch.path("merged"), scratch.path("two"), {"--recipe", "w4g32"}).code, 0);
  ASSERT_EQ(compress(kShipped, scratch.path("one"), {"--recipe", "w4g32+tome25"}).code, 0);
  EXPECT_EQ(read_file(scratch.path("one") + "/model.safetensors"),
            read_file(scratch.path("two") + "/model.safetensors"));
}

TEST(CompressTogether, APolicysBlocksCountBesideARecipe) {
  const Scratch scratch;
  const Answer a = compress(kShipped, scratch.path("out"),
                            {"--recipe", "w8", "--policy", scratch.write("p", "block blocks.2 mlp 64\n")});
  ASSERT_EQ(a.code, 0) << a.text();
  ASSERT_EQ(a.json()["blocks"].size(), 1u) << a.json()["blocks"];
  EXPECT_EQ(a.json()["blocks"][0]["after"]["mlp"], 64);

  const Answer wrong = compress(kShipped, scratch.path("wrong"),
                                {"--recipe", "w8", "--policy", scratch.write("q", "block blocks.99 mlp 64\n")});
  EXPECT_EQ(wrong.code, 1);
  EXPECT_NE(wrong.text().find("blocks.99"), std::string::npos) << wrong.text();
  const Answer twice =
      compress(kShipped, scratch.path("twice"), {"--recipe", "prune15", "--policy", scratch.path("p")});
  EXPECT_EQ(twice.code, 1);
  EXPECT_NE(twice.text().find("give one of them"), std::string::npos) << twice.text();
}

TEST(CompressTogether, ALaterLineTakesBack) {
  const Scratch scratch;
  const Answer whole = run_cli({"plan", "--model", kShipped, "--device", "cpu", "--json"});
  ASSERT_EQ(whole.code, 0);
  const Answer a = compress(kShipped, scratch.path("a"), {"--policy", scratch.write("p", "block blocks.* mlp 64\n")});
  ASSERT_EQ(a.code, 0) << a.text();
  const int64_t mlp = a.json()["blocks"][0]["before"]["mlp"];
  const Answer b = compress(
      kShipped, scratch.path("b"),
      {"--policy", scratch.write("q", "block blocks.* mlp 64\nblock blocks.1 mlp " + std::to_string(mlp) + "\n")});
  ASSERT_EQ(b.code, 0) << b.text();
  EXPECT_EQ(b.json()["blocks"].size() + 1, a.json()["blocks"].size());
  for (const auto& block : b.json()["blocks"]) EXPECT_NE(block["block"], "blocks.1");
}

TEST(CompressTogether, WhatAPolicyCannotSayIsRefused) {
  const Scratch scratch;
  const Answer values =
      compress(kShipped, scratch.path("out"), {"--policy", scratch.write("p", "weights i8\nactivations f16\n")});
  EXPECT_EQ(values.code, 1);
  EXPECT_NE(values.text().find("'activations' are said when the model runs"), std::string::npos) << values.text();
  const Answer merged = compress(kShipped, scratch.path("merged"), {"--recipe", "tome25"});
  ASSERT_EQ(merged.code, 0) << merged.text();
  const auto schedule = merged.json()["tokens_merged"].get<std::vector<int>>();
  const std::string block = "blocks." + std::to_string(schedule.size() - 1);
  ASSERT_GT(schedule.back(), 0);
  const Answer gone = compress(scratch.path("merged"), scratch.path("gone"),
                               {"--policy", scratch.write("q", "block " + block + " heads 0\n")});
  EXPECT_EQ(gone.code, 1);
  EXPECT_NE(gone.text().find("merges tokens by the keys of its attention"), std::string::npos) << gone.text();
}

}  // namespace
}  // namespace cli_test
