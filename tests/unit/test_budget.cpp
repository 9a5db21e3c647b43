// Candidates, the Pareto front and what a budget chooses, held against statements of their own.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "compress/budget.h"

namespace vireo::compress {
namespace {

Candidate made(const std::string& name, double kl, double ms, double mb) {
  Candidate c;
  c.weights = name, c.kl = kl, c.ms = ms, c.bytes = uint64_t(mb * 1e6);
  return c;
}

std::vector<std::string> names(const std::vector<Candidate>& all) {
  std::vector<std::string> n;
  for (const Candidate& c : all) n.push_back(c.name());
  return n;
}

bool has(const std::vector<Candidate>& all, const std::string& name, const std::string& recipe) {
  return std::any_of(all.begin(), all.end(),
                     [&](const Candidate& c) { return c.name() == name && c.recipe() == recipe; });
}

TEST(Budget, CandidatesAreMadeOfTheRecipesThereAre) {
  std::vector<vireo::CompressEntry> recipes{{"w8", "", "", "i8", ""},
                                            {"w4g64", "", "", "i4g64", ""},
                                            {"a8", "", "", "", "dynamic"},
                                            {"w8a8", "", "", "i8", "dynamic"}};
  const std::vector<Candidate> plain = candidates(recipes);
  EXPECT_EQ(plain.size(), 2u + 2u * 4u) << ::testing::PrintToString(names(plain));
  EXPECT_TRUE(has(plain, "w8+a8", "w8+a8"));
  EXPECT_TRUE(has(plain, "w4g64/50%+a8", "w4g64+a8"));
  EXPECT_FALSE(has(plain, "w8/50%", "w8"));  // 8 bits for a part and 8 for the rest are 8 for all
  EXPECT_FALSE(has(plain, "w8a8", "w8a8"));  // the same as w8+a8
  // A recipe about the network joins by standing in the table: alone and with every other.
  recipes.push_back({"tokens", "", "", "", ""});
  const std::vector<Candidate> more = candidates(recipes);
  EXPECT_EQ(more.size(), 2 * plain.size() + 1);
  EXPECT_TRUE(has(more, "tokens", "tokens"));
  EXPECT_TRUE(has(more, "w4g64/25%+a8+tokens", "w4g64+a8+tokens"));
  const std::vector<std::string> all = names(more);
  EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), all.size());
}

TEST(Budget, CodesOfAttentionGoWithCodesOfRows) {
  vireo::CompressEntry attention{"attn8", "", "", "", ""};
  attention.attention = "i8";
  const std::vector<Candidate> all =
      candidates({{"w8", "", "", "i8", ""}, {"a8", "", "", "", "dynamic"}, {"tokens", "", "", "", ""}, attention});
  EXPECT_EQ(all.size(), 3u + 1u + 3u) << ::testing::PrintToString(names(all));
  EXPECT_TRUE(has(all, "w8+a8+attn8", "w8+a8+attn8"));
  EXPECT_TRUE(has(all, "w8+a8+attn8+tokens", "w8+a8+attn8+tokens"));
  EXPECT_FALSE(has(all, "w8+attn8", "w8+attn8"));
  EXPECT_FALSE(has(all, "attn8", "attn8")) << "it is no change to the network";
}

TEST(Budget, TheShippedRecipesGiveCandidates) {
  const std::vector<Candidate> all = candidates(vireo::compress_recipes());
  EXPECT_TRUE(has(all, "w8", "w8"));
  EXPECT_TRUE(has(all, "w4g32/75%+a8static", "w4g32+a8static"));
  EXPECT_TRUE(has(all, "w8+a8mixed", "w8+a8mixed"));
  EXPECT_TRUE(has(all, "w4w8rows+a8", "w4w8rows+a8"));
  EXPECT_FALSE(has(all, "w4w8rows/50%", "w4w8rows"));
}

vireo::CompressedLayer layer(const std::string& node, int64_t rows, int64_t cols, double kl, const char* format,
                             const char* kind = "linear") {
  vireo::CompressedLayer l;
  l.node = node, l.rows = rows, l.cols = cols, l.kl = kl, l.format = format, l.kind = kind;
  return l;
}

TEST(Budget, LayersThatMoveTheAnswerMostPerWeightKeepEightBits) {
  const std::vector<vireo::CompressedLayer> layers{
      layer("qkv", 10, 10, 0.2, "i4g32"),    layer("qkv", 10, 10, 0.2, "i4g32"), layer("qkv", 10, 10, 0.2, "i4g32"),
      layer("o", 10, 10, 0.1, "i4g32"),      layer("fc1", 40, 10, 0.1, "i4g32"), layer("fc2", 10, 20, 0.9, "i4g32"),
      layer("head", 90, 10, 9, "i8", "head")};
  // Per weight: fc2 .0045, o .001, qkv .00067, fc1 .00025; of 1000 weights.
  using Nodes = std::vector<std::string>;
  EXPECT_EQ(kept_at_8_bits(layers, 100), Nodes());
  EXPECT_EQ(kept_at_8_bits(layers, 90), (Nodes{"fc2"}));
  EXPECT_EQ(kept_at_8_bits(layers, 80), (Nodes{"fc2"}));
  EXPECT_EQ(kept_at_8_bits(layers, 75), (Nodes{"fc2", "o"}));
  EXPECT_EQ(kept_at_8_bits(layers, 50), (Nodes{"fc2", "o", "qkv"}));
  EXPECT_EQ(kept_at_8_bits(layers, 0), (Nodes{"fc2", "o", "qkv", "fc1"}));
  EXPECT_EQ(kept_at_8_bits({}, 50), Nodes());
}

TEST(Budget, TheFrontIsWhatNothingBeats) {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    std::vector<Candidate> all;
    std::uniform_int_distribution<int> number(1, 6);  // few, so that many are equal in one or in all
    for (int i = 0; i < 30; ++i)
      all.push_back(made("c" + std::to_string(i), number(random), number(random), number(random)));
    all[4].kl = -1, all[9].why_not = "no";
    const std::vector<size_t> front = pareto_front(all);
    const std::set<size_t> on(front.begin(), front.end());
    EXPECT_TRUE(std::is_sorted(front.begin(), front.end(), [&](size_t a, size_t b) { return all[a].kl < all[b].kl; }));
    EXPECT_EQ(on.count(4) + on.count(9), 0u);
    for (size_t i = 0; i < all.size(); ++i) {
      if (!all[i].known()) continue;
      size_t better = 0, same_on_front = 0;
      for (size_t j = 0; j < all.size(); ++j) {
        if (!all[j].known()) continue;
        const bool no_worse = all[j].kl <= all[i].kl && all[j].ms <= all[i].ms && all[j].bytes <= all[i].bytes;
        const bool equal = all[j].kl == all[i].kl && all[j].ms == all[i].ms && all[j].bytes == all[i].bytes;
        better += no_worse && !equal ? 1 : 0;
        same_on_front += equal && on.count(j) > 0 ? 1 : 0;
      }
      EXPECT_EQ(same_on_front, better > 0 ? 0u : 1u) << "candidate " << i;
    }
  }
}

const std::vector<Candidate> kThree{made("good", 0.001, 20, 6), made("fast", 0.01, 10, 6), made("small", 0.1, 20, 3)};

Budget budget(double fps, double mb, double kl) {
  Budget b;
  b.fps = fps, b.mb = mb, b.kl = kl;
  return b;
}

TEST(Budget, TheLeastDivergenceThatMeetsItIsChosen) {
  using Names = std::vector<std::string>;
  Verdict v = choose(kThree, budget(0, 0, 0));
  EXPECT_TRUE(v.met);
  EXPECT_EQ(v.chosen, 0u);
  EXPECT_EQ(v.binds, Names());
  v = choose(kThree, budget(40, 7, 0));
  EXPECT_TRUE(v.met) << v.sentence;
  EXPECT_EQ(v.chosen, 0u);
  EXPECT_NE(v.sentence.find("nothing stands in the way"), std::string::npos) << v.sentence;
  v = choose(kThree, budget(60, 7, 0));
  EXPECT_TRUE(v.met);
  EXPECT_EQ(v.chosen, 1u);
  EXPECT_EQ(v.binds, Names{"target-fps"});
  EXPECT_NE(v.sentence.find("--target-fps binds"), std::string::npos) << v.sentence;
  v = choose(kThree, budget(0, 4, 0.5));
  EXPECT_TRUE(v.met);
  EXPECT_EQ(v.chosen, 2u);
  EXPECT_EQ(v.binds, Names{"max-size"});
}

TEST(Budget, OfADivergenceAloneTheSmallestFile) {
  EXPECT_EQ(choose(kThree, budget(0, 0, 0.2)).chosen, 2u);
  const Verdict v = choose(kThree, budget(0, 0, 0.05));
  EXPECT_EQ(v.chosen, 1u);  // as small as the other, and faster
  EXPECT_EQ(v.binds, std::vector<std::string>{"max-kl"});
}

TEST(Budget, WhatCannotBeMetSaysWhyAndWhatIsClosest) {
  Verdict v = choose(kThree, budget(200, 0, 0));
  EXPECT_FALSE(v.met);
  EXPECT_EQ(v.chosen, 1u);
  EXPECT_NE(v.sentence.find("nothing meets --target-fps, nearest is fast"), std::string::npos) << v.sentence;
  v = choose(kThree, budget(0, 2, 0));
  EXPECT_FALSE(v.met);
  EXPECT_EQ(v.chosen, 2u);
  EXPECT_EQ(v.binds, std::vector<std::string>{"max-size"});
  v = choose(kThree, budget(90, 4, 0));
  EXPECT_FALSE(v.met);
  EXPECT_NE(v.sentence.find("not all of them by one model"), std::string::npos) << v.sentence;
  EXPECT_EQ(v.chosen, 1u);  // 6 MB of 4 are 1.5 times too many; the other is 1.8 times too slow
  EXPECT_DOUBLE_EQ(excess(kThree[1], budget(90, 4, 0)), 1.5);
  EXPECT_LE(excess(kThree[0], budget(50, 6, 0.001)), 1);
}

}  // namespace
}  // namespace vireo::compress
