// The points that stand for a front, and how candidates are called.
#include <gtest/gtest.h>

#include <map>

#include "compress/budget.h"

namespace vireo::compress {
namespace {

Candidate made(double kl, double ms, double mb) {
  Candidate c;
  c.weights = "w", c.kl = kl, c.ms = ms, c.bytes = uint64_t(mb * 1e6);
  return c;
}

std::map<std::string, size_t> points(const std::vector<Candidate>& all) {
  const std::vector<size_t> front = pareto_front(all);
  std::map<std::string, size_t> found;
  for (const ChosenPoint& p : choose_points(all, front, made(0, 20, 20))) {
    EXPECT_TRUE(found.emplace(p.what, p.candidate).second) << p.what;
  }
  return found;
}

using Points = std::map<std::string, size_t>;

TEST(BudgetPoints, AreClosestCheapestAndBetween) {
  // Cost is ms / 20 + MB / 20: 2, 1.5, 1.0, .9.
  EXPECT_EQ(points({made(1e-4, 20, 20), made(1e-3, 15, 15), made(1e-3 * 1.5, 10, 10), made(0.09, 9, 9)}),
            (Points{{"closest", 0}, {"balanced", 2}, {"cheapest", 3}}));
  // What is cheaper in one and dearer in the other counts by both.
  EXPECT_EQ(points({made(1e-4, 20, 20), made(0.01, 18, 4), made(0.02, 4, 19), made(0.05, 3, 18)}),
            (Points{{"closest", 0}, {"balanced", 1}, {"cheapest", 3}}));
}

TEST(BudgetPoints, OtherAnswersAreNoneOfThem) {
  std::vector<Candidate> all{made(1e-3, 20, 20), made(0.01, 15, 15), made(0.05, 10, 10), made(0.8, 5, 5)};
  EXPECT_EQ(points(all).at("cheapest"), 2u);
  all[1].kl = 0.5, all[2].kl = 0.6;  // fewer than three are near: the front's first three
  EXPECT_EQ(points(all), (Points{{"closest", 0}, {"balanced", 1}, {"cheapest", 2}}));
}

TEST(BudgetPoints, OfShortFrontsAreFewer) {
  EXPECT_EQ(points({}), Points());
  EXPECT_EQ(points({made(0.1, 10, 10)}), (Points{{"closest", 0}}));
  EXPECT_EQ(points({made(0.1, 10, 10), made(0.2, 5, 10)}), (Points{{"closest", 0}, {"cheapest", 1}}));
  EXPECT_EQ(points({made(0, 12, 12), made(0, 5, 18), made(0, 18, 4)}).size(), 3u) << "a KL of 0 has no logarithm";
}

TEST(BudgetPoints, NamesSayEverything) {
  Candidate c;
  c.weights = "w4g64", c.rows = "a8static", c.network = "input86+tome29", c.share = 50;
  c.awq = true, c.ranges = "percentile";
  EXPECT_EQ(c.name(), "w4g64/50%(awq)+a8static(percentile)+input86+tome29");
  EXPECT_EQ(c.recipe(), "w4g64+a8static+input86+tome29");
  c.awq = false, c.ranges = "", c.share = 100;
  EXPECT_EQ(c.name(), c.recipe());
}

}  // namespace
}  // namespace vireo::compress
