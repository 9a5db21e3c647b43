// Rounds of a measurement on a machine that a test makes busy: no real clock is asked.
#include <gtest/gtest.h>

#include "profile/rounds.h"

namespace vireo {
namespace {

/// A machine with `threads` threads of ours that get `share` of what they ask for.
struct Machine {
  double now = 0, ran = 0, waited = 0, share = 1;
  int threads = 2;
  bool tells = true;
  RoundWatch watch() {
    return {[this] { return now; },
            [this]() -> std::optional<CoreTime> {
              return tells ? std::optional<CoreTime>({ran, waited}) : std::nullopt;
            }};
  }
  /// Work that takes so long where it has the cores.
  double work(double seconds) {
    const double took = seconds / share;
    now += took, ran += threads * seconds, waited += threads * (took - seconds);
    return took;
  }
};

BestRound rounds(const RoundLimits& limits, const RoundWatch& watch, const std::function<Result<double>()>& round) {
  const Result<BestRound> best = best_round(limits, watch, round);
  EXPECT_TRUE(best.ok());
  return best ? *best : BestRound();
}

TEST(Rounds, AQuietMachineNeedsAsManyAsWanted) {
  Machine m;
  int done = 0;
  const BestRound best = rounds({5, 0.4, 0.95}, m.watch(), [&]() -> Result<double> { return ++done, m.work(0.004); });
  EXPECT_EQ(done, 5);
  EXPECT_TRUE(best.undisturbed);
  EXPECT_DOUBLE_EQ(best.seconds, 0.004);
  EXPECT_DOUBLE_EQ(best.share, 1);
}

TEST(Rounds, ABusyOneIsAskedUntilItIsQuietEnough) {
  Machine m;
  int done = 0;
  const BestRound best = rounds({5, 10, 0.95}, m.watch(), [&]() -> Result<double> {
    m.share = ++done % 4 ? 0.5 : 1;
    return m.work(0.004);
  });
  EXPECT_EQ(done, 20) << "every fourth counts";
  EXPECT_TRUE(best.undisturbed);
  EXPECT_DOUBLE_EQ(best.seconds, 0.004);
}

TEST(Rounds, OneThatStaysBusyIsSaidToBe) {
  Machine m;
  m.share = 0.6;
  int done = 0;
  const BestRound best = rounds({5, 0.4, 0.95}, m.watch(), [&]() -> Result<double> { return ++done, m.work(0.006); });
  EXPECT_FALSE(best.undisturbed);
  EXPECT_NEAR(best.share, 0.6, 1e-9);
  EXPECT_NEAR(best.seconds, 0.01, 1e-9);
  EXPECT_NEAR(done, 40, 1) << "0.4 s";
  m = {};
  m.share = 0.6, done = 0;
  rounds({5, 0.01, 0.95}, m.watch(), [&]() -> Result<double> { return ++done, m.work(0.006); });
  EXPECT_EQ(done, 5) << "the rounds that are wanted, however long they take";
}

// One undisturbed round is enough for the number to be good: the shortest is no shorter than the machine allows.
TEST(Rounds, OneUndisturbedRoundIsEnough) {
  Machine m;
  int done = 0;
  const BestRound best = rounds({5, 0.4, 0.95}, m.watch(), [&]() -> Result<double> {
    m.share = ++done == 3 ? 1 : 0.5;
    return m.work(0.01);
  });
  EXPECT_TRUE(best.undisturbed);
  EXPECT_DOUBLE_EQ(best.seconds, 0.01);
  EXPECT_DOUBLE_EQ(best.share, 1);
}

// A thread that sleeps while a device works asks for no core; one that is woken late makes the round longer.
TEST(Rounds, WaitingForADeviceIsNoDisturbance) {
  Machine m;
  m.threads = 0;
  EXPECT_TRUE(rounds({3, 0.4, 0.95}, m.watch(), [&]() -> Result<double> { return m.work(0.02); }).undisturbed);
  const BestRound late = rounds({3, 0.4, 0.95}, m.watch(), [&]() -> Result<double> {
    m.waited += 0.004;
    return m.work(0.016) + 0.004;
  });
  EXPECT_FALSE(late.undisturbed);
  EXPECT_NEAR(late.share, 0.8, 1e-9);
}

TEST(Rounds, WhereNobodyTellsEveryRoundCounts) {
  Machine m;
  m.tells = false, m.share = 0.5;
  int done = 0;
  const BestRound best = rounds({5, 0.4, 0.95}, m.watch(), [&]() -> Result<double> { return ++done, m.work(0.01); });
  EXPECT_EQ(done, 5);
  EXPECT_TRUE(best.undisturbed);
  EXPECT_EQ(best.share, 1);
}

TEST(Rounds, ThreadsThatEndTakeTheirTimesAlong) {
  Machine m;
  m.ran = 100, m.waited = 50;
  const BestRound best = rounds({1, 0.4, 0.95}, m.watch(), [&]() -> Result<double> {
    m.ran = m.waited = 0;
    return m.work(0.01);
  });
  EXPECT_TRUE(best.undisturbed);
  EXPECT_EQ(best.share, 1);
}

TEST(Rounds, AFailureIsToldAtOnce) {
  Machine m;
  int done = 0;
  const Result<BestRound> best = best_round({5, 0.4, 0.95}, m.watch(), [&]() -> Result<double> {
    return ++done == 2 ? Result<double>(fail(ErrorCode::kDeviceLost, "gone")) : Result<double>(m.work(0.01));
  });
  ASSERT_FALSE(best.ok());
  EXPECT_EQ(best.error().code, ErrorCode::kDeviceLost);
  EXPECT_EQ(done, 2);
}

TEST(CoreTimes, OfThisProcessGrowWithItsWork) {
  const std::optional<CoreTime> before = core_time();
  if (!before) GTEST_SKIP() << "this system does not tell";
  volatile double x = 1;
  std::optional<CoreTime> after;
  for (int i = 0; i < 100; ++i) {
    for (int k = 0; k < 1000000; ++k) x = x * 1.0000001;
    after = core_time();
    ASSERT_TRUE(after.has_value());
    if (after->ran_s > before->ran_s) break;
  }
  EXPECT_GT(after->ran_s, before->ran_s);
  EXPECT_GE(after->waited_s, before->waited_s);
}

}  // namespace
}  // namespace vireo
