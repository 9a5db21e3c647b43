// The governor under a clock of the test's own: boards that throttle, recover and flicker.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include <vireo/governor.hpp>

namespace vireo {
namespace {

constexpr double kFps = 10;  // 100 ms a frame

// Runs frames for some seconds on a board that is `slowness(t)` times as slow as cold; frames come every 100 ms or when
// the last one is done.
struct Board {
  std::vector<double> cold_ms;  // by level
  std::function<double(double)> slowness;
  double now = 0;
  std::vector<GovernorChange> changes{};
  int late = 0, frames = 0;

  void run(Governor& g, double seconds) {
    for (const double end = now + seconds; now < end;) {
      const double ms = cold_ms[size_t(g.level())] * slowness(now);
      now += std::max(ms, 1000 / kFps) / 1000;
      ++frames;
      late += ms > 1000 / kFps ? 1 : 0;
      if (g.frame(ms, now)) changes.push_back(g.last_change());
    }
  }
};

Governor governor(int levels) {
  GovernorOptions options;
  options.fps = kFps;
  return {levels, options};
}

TEST(Governor, StaysWhereThereIsTime) {
  Governor g = governor(3);
  Board b{{60, 40, 20}, [](double) { return 1.0; }};
  b.run(g, 60);
  EXPECT_EQ(g.level(), 0);
  EXPECT_EQ(g.changes(), 0u);
  EXPECT_FALSE(g.saturated());
}

TEST(Governor, HoldsTheRateOfABoardThatThrottlesAndReturns) {
  Governor g = governor(3);
  // Twice as slow from the tenth second to the fortieth.
  Board b{{80, 40, 20}, [](double t) { return t >= 10 && t < 40 ? 2.0 : 1.0; }};
  b.run(g, 30);
  EXPECT_EQ(g.level(), 1);
  EXPECT_LE(b.late, 6);
  b.run(g, 40);
  EXPECT_EQ(g.level(), 0);
  ASSERT_EQ(b.changes.size(), 2u);
  EXPECT_EQ(b.changes[0].to, 1);
  EXPECT_EQ(b.changes[1].to, 0);
  EXPECT_GE(b.changes[1].now_s, 43);  // calm for three seconds
  EXPECT_LE(b.changes[1].now_s, 46);
  EXPECT_NE(b.changes[0].sentence.find("level 1 of 0 to 2"), std::string::npos) << b.changes[0].sentence;
  EXPECT_NE(b.changes[1].sentence.find("level 0"), std::string::npos) << b.changes[1].sentence;
}

TEST(Governor, GoesAsFarAsItMust) {
  Governor g = governor(3);
  Board b{{80, 60, 20}, [](double) { return 3.0; }};
  b.run(g, 20);
  EXPECT_EQ(g.level(), 2);
  EXPECT_FALSE(g.saturated());
  b.slowness = [](double) { return 6.0; };
  b.run(g, 20);
  EXPECT_EQ(g.level(), 2);
  EXPECT_TRUE(g.saturated());
}

TEST(Governor, AFewLateFramesAreNoReason) {
  Governor g = governor(2);
  Board b{{80, 40}, [](double t) { return std::fmod(t, 1.0) < 0.35 ? 1.5 : 1.0; }};  // three or four of ten
  b.run(g, 60);
  EXPECT_EQ(g.level(), 0);
}

// A swing that level 1 sees and level 0 suffers more from: each way up that does not hold makes the next one rarer.
TEST(Governor, TriesThatFailBecomeRare) {
  Governor g = governor(2);
  std::vector<double> ups;
  double now = 0;
  while (now < 600) {
    const bool slow = std::fmod(now, 8) < 4;
    const double ms = g.level() == 0 ? (slow ? 130 : 80) : (slow ? 65 : 40);
    now += std::max(ms, 100.0) / 1000;
    if (g.frame(ms, now) && g.level() == 0) ups.push_back(now);
  }
  ASSERT_GE(ups.size(), 2u);
  EXPECT_LE(ups.size(), 12u);  // 75 swings
}

// What slows level 0 alone cannot be seen from level 1: it is tried now and then, and taken again when it is gone.
TEST(Governor, TriesInTheDarkNowAndThen) {
  Governor g = governor(2);
  std::vector<double> ups;
  double now = 0;
  const auto run = [&](double until, double ms_of_level_0) {
    while (now < until) {
      const double ms = g.level() == 0 ? ms_of_level_0 : 40;
      now += std::max(ms, 100.0) / 1000;
      if (g.frame(ms, now) && g.level() == 0) ups.push_back(now);
    }
  };
  run(5, 80);
  run(900, 130);
  EXPECT_GE(ups.size(), 5u);
  EXPECT_LE(ups.size(), 8u);
  EXPECT_EQ(g.level(), 1);
  run(1200, 80);
  EXPECT_EQ(g.level(), 0);
}

TEST(Governor, TheSameFramesGiveTheSameMoves) {
  std::vector<std::vector<uint64_t>> all;
  for (int i = 0; i < 2; ++i) {
    Governor g = governor(3);
    Board b{{90, 50, 30}, [](double t) { return 1.5 + std::sin(t / 7); }};
    b.run(g, 200);
    all.emplace_back();
    for (const GovernorChange& c : b.changes) all.back().push_back(c.frame * 10 + uint64_t(c.to));
  }
  EXPECT_GT(all[0].size(), 4u);
  EXPECT_EQ(all[0], all[1]);
}

// A sine between half and two and a half times: late frames stay few although every level is passed through.
TEST(Governor, HoldsTheRateUnderASwing) {
  Governor g = governor(3);
  Board b{{90, 50, 30}, [](double t) { return 1.5 + std::sin(t / 20); }};
  b.run(g, 600);
  EXPECT_LT(double(b.late) / b.frames, 0.06);
}

TEST(Governor, OddArgumentsDoNoHarm) {
  Governor one(0, {});
  EXPECT_FALSE(one.frame(1e9, 0));
  EXPECT_EQ(one.level(), 0);
  GovernorOptions odd;
  odd.fps = kFps, odd.late_frames = 0, odd.headroom = NAN, odd.calm_s = -1;
  Governor g(2, odd);
  EXPECT_FALSE(g.frame(NAN, 0));
  EXPECT_TRUE(g.frame(200, 1));
  EXPECT_EQ(g.level(), 1);
  EXPECT_EQ(g.frames(), 2u);
}

}  // namespace
}  // namespace vireo
