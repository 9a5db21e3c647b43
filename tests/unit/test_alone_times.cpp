// The arithmetic of a profile's rows: what timestamps cost comes off every one, run by run, and the sums are those of
// what is shown.
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "profile/alone.h"
#include "profile/text.h"

namespace vireo {
namespace {

const std::vector<bool> kAll{true, true, true};

TEST(AloneTimes, WithoutWhatTimestampsCost) {
  const AloneTimes t = alone_times({{{40, 133, 53}, {33, 32, 34}}}, kAll);
  EXPECT_EQ(t.rows, (std::vector<double>{7, 100, 20}));
  EXPECT_EQ(t.sum, 127);
  EXPECT_EQ(t.empty, 33);
  EXPECT_EQ(t.noise, 0);
  EXPECT_EQ(t.clipped, 0);
}

// A machine that is twice as slow for a while is so for both: a run is corrected by its own empty dispatches.
TEST(AloneTimes, EveryRunByItsOwn) {
  const AloneRun quiet{{40, 133, 53}, {33, 33, 33}}, slow{{80, 266, 106}, {66, 66, 66}};
  const AloneTimes t = alone_times({quiet, slow, quiet, slow, quiet}, kAll);
  EXPECT_EQ(t.rows, (std::vector<double>{7, 100, 20}));
  EXPECT_EQ(t.empty, 33);
  // With the median of all empties, 33, the slow runs' rows would be 47, 233 and 73, and these the medians of four.
  const AloneTimes even = alone_times({quiet, slow}, kAll);
  EXPECT_EQ(even.rows, (std::vector<double>{10.5, 150, 30}));
}

TEST(AloneTimes, OneDisturbedEmptyDispatchChangesNothing) {
  const AloneTimes t = alone_times({{{40, 133, 53}, {33, 4000, 33}}}, kAll);
  EXPECT_EQ(t.rows, (std::vector<double>{7, 100, 20}));
}

TEST(AloneTimes, NeverBelowZeroAndSaid) {
  const AloneTimes t = alone_times({{{30, 133, 33}, {33, 33, 33}}}, kAll);
  EXPECT_EQ(t.rows, (std::vector<double>{0, 100, 0}));
  EXPECT_EQ(t.clipped, 2);
  EXPECT_EQ(t.sum, 100) << "of what is shown";
  EXPECT_EQ(t.noise, 0) << "what was clipped is no disturbance";
}

TEST(AloneTimes, StepsOnTheCpuHaveNoTimestamps) {
  const AloneTimes mixed = alone_times({{{40, 5, 53}, {33, 33}}}, {true, false, true});
  EXPECT_EQ(mixed.rows, (std::vector<double>{7, 5, 20}));
  EXPECT_EQ(mixed.clipped, 0);
  const AloneTimes cpu = alone_times({{{40, 5, 53}, {}}}, {false, false, false});
  EXPECT_EQ(cpu.rows, (std::vector<double>{40, 5, 53}));
  EXPECT_EQ(cpu.empty, 0);
}

// Rows are medians; what a run takes beyond their sum is the noise, so that both together are the median run.
TEST(AloneTimes, RowsAndNoiseMakeTheMedianRun) {
  std::vector<AloneRun> runs;
  std::vector<double> sums;
  for (int i = 0; i < 9; ++i) {
    AloneRun run{{43, 133, 53}, {33, 33, 33}};
    run.rows[size_t(i) % 3] += 50;  // in every run another one
    sums.push_back(std::accumulate(run.rows.begin(), run.rows.end(), -3 * 33.0));
    runs.push_back(run);
  }
  const AloneTimes t = alone_times(runs, kAll);
  EXPECT_EQ(t.rows, (std::vector<double>{10, 100, 20}));
  EXPECT_EQ(t.noise, 50);
  EXPECT_EQ(t.sum + t.noise, sums[0]);
}

TEST(AloneTimes, TotalsAreMeansOfTheMiddleHalf) {
  EXPECT_EQ(midmean({}), 0);
  EXPECT_EQ(midmean({5}), 5);
  EXPECT_EQ(midmean({5, 7}), 6);
  EXPECT_EQ(midmean({1e9, 4, 6, 0}), 5) << "outliers on both sides";
  // Half of the runs at one speed, half at another: one run more on either side moves a median from end to end.
  const std::vector<double> even{2, 2, 2, 2, 4, 4, 4, 4};
  std::vector<double> more = even;
  more.push_back(4);
  EXPECT_EQ(midmean(even), 3);
  EXPECT_NEAR(midmean(more), 3.2, 1e-12);
  EXPECT_EQ(median(more), 4);
}

TEST(AloneTimes, OfNothing) {
  EXPECT_TRUE(alone_times({}, {}).rows.empty());
  const AloneTimes t = alone_times({{{}, {}}}, {});
  EXPECT_EQ(t.sum, 0);
  EXPECT_EQ(t.noise, 0);
}

TEST(AloneTimes, UncertainWhereSomethingElseHadTheCores) {
  const auto pairs = [](int n, double noise) {
    std::vector<AloneRun> runs;
    std::vector<double> inferences;
    for (int i = 0; i < n; ++i) {
      runs.push_back({{30, 60}, {}});
      inferences.push_back(100 + (i % 2 == 0 ? noise : -noise));  // quartiles one `noise` from the middle
    }
    return uncertainty(runs, inferences);
  };
  EXPECT_EQ(pairs(7, 10), 0);
  EXPECT_EQ(pairs(10, 0), 0);
  // 1.09 of (two noises / 1.349) / sqrt(n), of 100.
  EXPECT_NEAR(pairs(20, 10), 1.09 * 20 / 1.349 / std::sqrt(20.0) / 100, 1e-9);
  EXPECT_NEAR(pairs(80, 10), pairs(20, 10) / 2, 1e-9);
  // One of ten that something held up for long does not count.
  std::vector<AloneRun> runs(10, {{30, 60}, {}});
  std::vector<double> inferences(10, 100);
  inferences[3] = 5000;
  EXPECT_EQ(uncertainty(runs, inferences), 0);
}

}  // namespace
}  // namespace vireo
