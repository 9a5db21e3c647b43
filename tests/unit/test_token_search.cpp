// The search for a schedule of token merging, against costs whose answers can be worked out.
#include <gtest/gtest.h>

#include <numeric>

#include "compress/token_search.h"

namespace vireo::compress {
namespace {

using Schedule = std::vector<int64_t>;

MergingShape shape_of(size_t blocks, int64_t tokens) { return {tokens, 1, std::vector<bool>(blocks, true)}; }

// A block takes the time of its tokens in whole tiles.
double tiles(const Schedule& s, int64_t tokens, int64_t tile) {
  double sum = 0;
  for (const int64_t r : s) {
    sum += double((tokens + tile - 1) / tile);
    tokens -= r;
  }
  return sum;
}

// What a block's merging costs grows as its square, and blocks differ.
double squares(const Schedule& s, const std::vector<double>& weights) {
  double sum = 0;
  for (size_t i = 0; i < s.size(); ++i) sum += weights[i] * double(s[i] * s[i]);
  return sum;
}

TEST(TokenSearch, MovesTokensToWhereTheyCostLess) {
  const MergingShape shape = shape_of(6, 197);
  const std::vector<double> weights{9, 9, 1, 1, 1, 9};
  const ScheduleCost cost{[&](const Schedule& s) -> Result<double> { return squares(s, weights); },
                          [](const Schedule& s) -> Result<double> { return tiles(s, 197, 1); }};
  const Schedule start(6, 12);
  const auto found = search_schedule(start, shape, cost);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_TRUE(shape.allows(*found));
  EXPECT_LE(tiles(*found, 197, 1), tiles(start, 197, 1));
  EXPECT_LT(squares(*found, weights), 0.75 * squares(start, weights));
  EXPECT_GT((*found)[2], 12);
}

// With tiles of 32 a schedule may keep tokens up to the next multiple without taking longer.
TEST(TokenSearch, KeepsTokensThatTakeNoTime) {
  const MergingShape shape = shape_of(4, 160);
  const std::vector<double> weights(4, 1);
  const ScheduleCost cost{[&](const Schedule& s) -> Result<double> { return squares(s, weights); },
                          [](const Schedule& s) -> Result<double> { return tiles(s, 160, 32); }};
  const Schedule start{40, 40, 24, 24};
  const auto found = search_schedule(start, shape, cost);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_LE(tiles(*found, 160, 32), tiles(start, 160, 32));
  EXPECT_LT(std::accumulate(found->begin(), found->end(), int64_t{0}), 128);
  EXPECT_LT(squares(*found, weights), squares(start, weights));
}

TEST(TokenSearch, KeepsWhatCannotBeBetter) {
  const MergingShape shape = shape_of(3, 100);
  const Schedule start{8, 8, 8};
  const ScheduleCost cost{[&](const Schedule& s) -> Result<double> {
                            double off = 1;
                            for (size_t i = 0; i < s.size(); ++i) off += double((s[i] - 8) * (s[i] - 8));
                            return off;
                          },
                          [](const Schedule& s) -> Result<double> { return tiles(s, 100, 1); }};
  EXPECT_EQ(*search_schedule(start, shape, cost), start);
}

// The last block's tokens cost the answer nothing, but save nothing either: a schedule with the same time needs the
// others.
TEST(TokenSearch, StaysWithinTheTime) {
  const MergingShape shape = shape_of(4, 100);
  const Schedule start{10, 10, 10, 10};
  const ScheduleCost cost{[](const Schedule& s) -> Result<double> {
                            return squares({s[0], s[1], s[2]}, {1, 1, 1}) + 1;
                          },
                          [](const Schedule& s) -> Result<double> { return tiles(s, 100, 1); }};
  const auto found = search_schedule(start, shape, cost);
  ASSERT_TRUE(found);
  EXPECT_LE(tiles(*found, 100, 1), tiles(start, 100, 1));
}

TEST(TokenSearch, LeavesBlocksWithoutAttentionAlone) {
  MergingShape shape = shape_of(4, 100);
  shape.attends[1] = false;
  const std::vector<double> weights{1, 0, 9, 9};
  const ScheduleCost cost{[&](const Schedule& s) -> Result<double> { return squares(s, weights); },
                          [](const Schedule& s) -> Result<double> { return tiles(s, 100, 1); }};
  const auto found = search_schedule({10, 0, 10, 10}, shape, cost);
  ASSERT_TRUE(found);
  EXPECT_EQ((*found)[1], 0);
  EXPECT_GT((*found)[0], 10);
}

TEST(TokenSearch, ErrorsOfItsCostsAreItsOwn) {
  const MergingShape shape = shape_of(3, 100);
  const auto fine = [](const Schedule&) -> Result<double> { return 1.0; };
  const auto broken = [](const Schedule&) -> Result<double> { return Error{ErrorCode::kNotFound, "no such machine"}; };
  for (const auto& [kl, ms] : {std::pair<decltype(ScheduleCost::kl), decltype(ScheduleCost::ms)>(fine, broken),
                               std::pair<decltype(ScheduleCost::kl), decltype(ScheduleCost::ms)>(broken, fine)}) {
    const auto found = search_schedule({4, 4, 4}, shape, {kl, ms});
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().message, "no such machine");
  }
}

// Predictions made up of a block's parts: the times of other schedules follow from those that were sampled.
TEST(TokenLatency, IsThatOfTheParts) {
  MergingShape shape = shape_of(12, 197);
  shape.attends[4] = false;
  const auto up = [](int64_t tokens) { return std::min<int64_t>(197, (tokens + 7) / 8 * 8); };
  const auto predicted = [&](const Schedule& s) {
    Prediction p;
    int64_t left = 197;
    const auto add = [&p](const std::string& name, const char* op, double us) {
      PredictedDispatch d;
      d.name = name, d.op = op, d.us = us;
      p.us += us;
      p.dispatches.push_back(std::move(d));
    };
    add("patch_embed", "conv2d", 500);
    for (size_t i = 0; i < s.size(); ++i) {
      const std::string block = "blocks." + std::to_string(i);
      add(block + ".attn.qkv", "linear", double(up(left)));
      add(block + ".attn", "attention", double(up(left) * up(left)) / 100);
      if (s[i] > 0) add(block + ".merge.match", "token_match", 40);
      left -= s[i];
      if (s[i] > 0) add(block + ".merge", "token_merge", 10);
      add(block + ".mlp.fc1", "linear", 2 * double(up(left)));
    }
    return p;
  };
  Latency latency(shape);
  const std::vector<Schedule> samples = latency.samples();
  EXPECT_LE(samples.size(), 4u);
  for (const Schedule& s : samples) {
    EXPECT_TRUE(shape.allows(s));
    latency.add(s, predicted(s));
  }
  for (const Schedule& s : {Schedule{0, 0, 0, 16, 0, 16, 16, 16, 16, 16, 16, 16}, Schedule(12, 0),
                            Schedule{3, 5, 7, 9, 0, 11, 13, 15, 17, 19, 21, 23}})
    EXPECT_NEAR(latency.us(s), predicted(s).us, 0.001 * predicted(s).us);
}

TEST(MergingShape, AllowsWhatHasPartners) {
  const MergingShape shape = shape_of(2, 17);  // a prefix and 16 others, 8 pairs
  EXPECT_TRUE(shape.allows({8, 4}));
  EXPECT_FALSE(shape.allows({9, 0}));
  EXPECT_FALSE(shape.allows({-1, 0}));
  EXPECT_FALSE(shape.allows({8, 5}));
}

}  // namespace
}  // namespace vireo::compress
