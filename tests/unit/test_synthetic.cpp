// Pictures drawn for calibration: the same for a seed, another one for each, and with the statistics that make them
// better than noise.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include <vireo/compress.hpp>

namespace vireo {
namespace {

struct Statistics {
  double mean = 0, deviation = 0;
  double neighbours = 0, apart = 0;  // correlation of pixels one and sixteen columns apart
};

// Of the green channel.
Statistics statistics(const std::vector<uint8_t>& rgb, int width, int height) {
  const auto at = [&](int x, int y) { return double(rgb[size_t((y * width + x) * 3 + 1)]); };
  Statistics s;
  const double n = double(width) * height;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) s.mean += at(x, y) / n;
  double variance = 0;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) variance += (at(x, y) - s.mean) * (at(x, y) - s.mean) / n;
  s.deviation = std::sqrt(variance);
  const auto correlation = [&](int distance) {
    double sum = 0;
    for (int y = 0; y < height; ++y)
      for (int x = 0; x + distance < width; ++x) sum += (at(x, y) - s.mean) * (at(x + distance, y) - s.mean);
    return sum / (double(width - distance) * height * std::max(variance, 1e-9));
  };
  s.neighbours = correlation(1), s.apart = correlation(16);
  return s;
}

TEST(SyntheticPictures, AreTheSameForASeedAndNoOther) {
  std::set<std::vector<uint8_t>> all;
  for (uint64_t seed = 0; seed < 16; ++seed) {
    const std::vector<uint8_t> one = synthetic_picture(seed, 40, 30);
    ASSERT_EQ(one.size(), 40u * 30u * 3u);
    EXPECT_EQ(one, synthetic_picture(seed, 40, 30));
    all.insert(one);
  }
  EXPECT_EQ(all.size(), 16u);
}

// As of photographs: light and dark are far apart, neighbours are nearly alike and those further away less so.
TEST(SyntheticPictures, HaveTheStatisticsOfPhotographs) {
  Statistics mean;
  constexpr int kPictures = 12, kSide = 128;
  for (uint64_t seed = 0; seed < kPictures; ++seed) {
    const Statistics s = statistics(synthetic_picture(seed, kSide, kSide), kSide, kSide);
    EXPECT_GT(s.deviation, 20) << seed;
    EXPECT_GT(s.neighbours, 0.6) << seed;
    EXPECT_LT(s.apart, s.neighbours) << seed;
    mean.mean += s.mean / kPictures, mean.deviation += s.deviation / kPictures;
    mean.neighbours += s.neighbours / kPictures, mean.apart += s.apart / kPictures;
  }
  EXPECT_NEAR(mean.mean, 118, 20);
  EXPECT_NEAR(mean.deviation, 55, 15);
  EXPECT_GT(mean.neighbours, 0.85);
  EXPECT_LT(mean.apart, 0.85);
}

TEST(SyntheticPictures, HaveAnySize) {
  for (const auto& [width, height] : {std::pair(1, 1), std::pair(1, 7), std::pair(640, 2), std::pair(33, 65)})
    EXPECT_EQ(synthetic_picture(3, width, height).size(), size_t(width) * size_t(height) * 3) << width << "x" << height;
  EXPECT_TRUE(synthetic_picture(3, 0, 5).empty());
  EXPECT_TRUE(synthetic_picture(3, 5, -1).empty());
}

}  // namespace
}  // namespace vireo
