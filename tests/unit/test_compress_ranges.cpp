// How one scale of all rows is found, held against statements of the formulae in double precision on the values
// themselves: sorted, or every candidate tried, with products of their own.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "compress/ranges.h"

namespace vireo::compress {
namespace {

/// Rows of several pictures: a large middle and rare values far from it, more of them above 0.
struct Sample {
  int64_t rows, cols, pictures;
  std::vector<std::vector<float>> values;  // [picture][rows * cols]

  Sample(int64_t r, int64_t c, int64_t p, unsigned seed, double tail = 9) : rows(r), cols(c), pictures(p) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < p; ++i) {
      std::vector<float> x;
      for (int64_t k = 0; k < r * c; ++k) {
        const double v = normal(random);
        x.push_back(float(random() % 2000 == 0 ? tail * std::fabs(v) : v));
      }
      values.push_back(x);
    }
  }
  RangeStatistics seen(const RangeMethod& method) const {
    RangeStatistics s(cols, method.looks);
    for (const auto& x : values) s.add({x.data(), rows, cols, cols});
    return s;
  }
  std::vector<double> sorted() const {
    std::vector<double> all;
    for (const auto& x : values) all.insert(all.end(), x.begin(), x.end());
    std::sort(all.begin(), all.end());
    return all;
  }
};

/// The 256 numbers that codes of a range stand for, and the one that a value becomes.
double rounded(double x, double least, double most) {
  const double scale = double((float(most) - float(least)) / 255.f);
  const double zero = std::nearbyint(-128 - least / scale);
  return (std::min(127.0, std::max(-128.0, std::nearbyint(x / scale) + zero)) - zero) * scale;
}

Range found(const RangeMethod& m, const Sample& s, const std::vector<RangeReader>& readers = {}) {
  ThreadPool pool(2);
  return m.find(s.seen(m), readers, simd::best(), pool);
}

TEST(CompressRanges, MinMaxIsTheLeastAndTheLargestAndZero) {
  const Sample s(11, 24, 3, 1);
  const std::vector<double> all = s.sorted();
  const Range r = found(kMinMaxRange, s);
  EXPECT_EQ(double(r.least), all.front());
  EXPECT_EQ(double(r.most), all.back());
  Sample positive = s;
  for (auto& x : positive.values)
    for (float& v : x) v = std::fabs(v) + 1;
  EXPECT_EQ(found(kMinMaxRange, positive).least, 0.f);
}

TEST(CompressRanges, CodesAreThoseOfTheFile) {
  for (const auto& [least, most] : {std::pair<float, float>{-1, 3}, {0, 2}, {-5, 0}, {-1e-6f, 1e6f}, {0, 0}}) {
    const RangeCodes codes({least, most});
    EXPECT_EQ(codes.scale, most > least ? (most - least) / 255.f : 1.f);
    EXPECT_EQ(codes.zero, std::nearbyint(codes.zero));
    for (const double x : {0.0, double(least), double(most), 0.3 * double(most), 2.0 * double(most), -1e9}) {
      if (most <= least) break;
      EXPECT_NEAR(codes.rounded(x), rounded(x, double(least), double(most)), 1e-9 * (1 + std::fabs(double(most)))) << x;
    }
    EXPECT_EQ(codes.rounded(0), 0) << "0 has a code of its own";
  }
}

TEST(CompressRanges, AHistogramHoldsEveryValueInWhateverOrder) {
  const Sample s(40, 64, 2, 2, 300);
  std::vector<float> all;
  for (const auto& x : s.values) all.insert(all.end(), x.begin(), x.end());
  all.insert(all.begin(), {0.f, -0.f, 1e-30f, -1e-30f, 0.5f, -0.5f});
  std::vector<float> turned = all;
  std::reverse(turned.begin(), turned.end());
  Histogram a, b;
  a.add(all.data(), int64_t(all.size()));
  for (const float v : turned) b.add(&v, 1);
  EXPECT_EQ(a.values(), all.size());
  EXPECT_EQ(a.width(), b.width());
  float most = 0;
  for (const float v : all) most = std::max(most, std::fabs(v));
  EXPECT_LT(double(most), a.width() * Histogram::kHalf);
  EXPECT_GE(double(most), a.width() * Histogram::kHalf / 2);
  std::vector<uint64_t> wanted(2 * Histogram::kHalf, 0);
  for (const float v : all) ++wanted[size_t(std::floor(double(v) / a.width()) + Histogram::kHalf)];
  for (int i = -Histogram::kHalf; i < Histogram::kHalf; ++i) {
    ASSERT_EQ(a.count(i), wanted[size_t(i + Histogram::kHalf)]) << i;
    ASSERT_EQ(b.count(i), a.count(i)) << i;
  }
}

TEST(CompressRanges, PercentileLeavesOneOfAHundredThousandBeyond) {
  const Sample s(200, 256, 8, 3, 40);  // 409,600 values: 4 may lie beyond
  const std::vector<double> all = s.sorted();
  const Range r = found(kPercentileRange, s);
  Histogram h;
  for (const auto& x : s.values) h.add(x.data(), int64_t(x.size()));
  // The fifth from either end is the first that may not be cut off.
  EXPECT_GE(double(r.most), all[all.size() - 5]);
  EXPECT_LE(double(r.most), all[all.size() - 5] + h.width());
  EXPECT_LE(double(r.least), all[4]);
  EXPECT_GE(double(r.least), all[4] - h.width());
  EXPECT_LT(double(r.most), all.back()) << "the sample cuts nothing off";
  // Of few values none may.
  const Sample few(10, 16, 2, 4);
  EXPECT_EQ(double(found(kPercentileRange, few).most), few.sorted().back());
  EXPECT_EQ(double(found(kPercentileRange, few).least), few.sorted().front());
}

TEST(CompressRanges, MseIsTheLeastSquaredErrorOfAllValues) {
  int cut = 0;
  for (const double tail : {1.0, 9.0, 60.0}) {
    Sample s(60, 64, 4, 5, 1);
    s.values[1][100] = float(2 * tail);  // one alone
    const std::vector<double> all = s.sorted();
    const auto error = [&](double least, double most) {
      double sum = 0;
      for (const double x : all) sum += (x - rounded(x, least, most)) * (x - rounded(x, least, most));
      return sum;
    };
    double best = INFINITY;
    for (int i = 0; i < 90; ++i)
      best = std::min(best, error(all.front() * (1 - 0.01 * i), all.back() * (1 - 0.01 * i)));
    const Range r = found(kMseRange, s);
    // Counted in bins, of which 128 fall to a step of the codes at least.
    EXPECT_LE(error(double(r.least), double(r.most)), 1.02 * best) << tail;
    EXPECT_NEAR(double(r.least) / double(r.most), all.front() / all.back(), 1e-5);
    cut += double(r.most) < 0.97 * all.back() ? 1 : 0;
  }
  EXPECT_GT(cut, 0) << "no sample has a range that is better cut";
}

TEST(CompressRanges, PearsonCorrelatesWhatTheLinearsAnswer) {
  int cut = 0;
  for (const double tail : {1.0, 9.0, 60.0}) {
    Sample s(40, 20, 5, 6, 1);
    s.values[1][100] = float(2 * tail);  // in a row that is not looked at
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> first(6 * 20), second(3 * 20);
    for (std::vector<float>* w : {&first, &second})
      for (float& v : *w) v = normal(random) + 0.3f;
    // The first row of each picture, and three more that move on by one from picture to picture.
    std::vector<std::vector<double>> rows;
    for (int64_t p = 0; p < s.pictures; ++p)
      for (const int64_t r : {int64_t(0), 10 + p, 20 + p, 30 + p})
        rows.emplace_back(s.values[size_t(p)].begin() + r * 20, s.values[size_t(p)].begin() + (r + 1) * 20);
    const RangeStatistics seen = s.seen(kPearsonRange);
    ASSERT_EQ(seen.rows().size(), rows.size() * 20);
    for (size_t r = 0; r < rows.size(); ++r)
      for (size_t k = 0; k < 20; ++k) ASSERT_EQ(double(seen.rows()[r * 20 + k]), rows[r][k]) << r;
    const auto answers = [&](double least, double most) {
      std::vector<double> all;
      for (const auto& row : rows)
        for (const std::vector<float>* w : {&first, &second})
          for (size_t o = 0; o < w->size() / 20; ++o) {
            double sum = 0;
            for (size_t k = 0; k < 20; ++k)
              sum += double((*w)[o * 20 + k]) * (most > least ? rounded(row[k], least, most) : row[k]);
            all.push_back(sum);
          }
      return all;
    };
    const std::vector<double> exact = answers(0, 0);
    const auto correlation = [&](const std::vector<double>& b) {
      const double n = double(b.size());
      double a1 = 0, b1 = 0, aa = 0, bb = 0, ab = 0;
      for (size_t i = 0; i < b.size(); ++i) a1 += exact[i] / n, b1 += b[i] / n;
      for (size_t i = 0; i < b.size(); ++i) {
        aa += (exact[i] - a1) * (exact[i] - a1), bb += (b[i] - b1) * (b[i] - b1);
        ab += (exact[i] - a1) * (b[i] - b1);
      }
      return ab / std::sqrt(aa * bb);
    };
    const std::vector<double> all = s.sorted();
    double best = -1;
    for (int i = 0; i <= 70; ++i)
      best = std::max(best, correlation(answers(all.front() * (0.5 + 0.01 * i), all.back() * (0.5 + 0.01 * i))));
    const Range r = found(kPearsonRange, s, {{first.data(), 6}, {second.data(), 3}});
    // Products in fp32: what is lost beside 1 may differ by a little of itself.
    EXPECT_LE(1 - correlation(answers(double(r.least), double(r.most))), 1.001 * (1 - best) + 1e-9) << tail;
    cut += double(r.most) < 0.97 * all.back() ? 1 : 0;
  }
  EXPECT_GT(cut, 0) << "no sample has a range that is better cut";
}

TEST(CompressRanges, ZerosAreARange) {
  const std::vector<float> zeros(32, 0.f), weight(8, 1.f);
  ThreadPool pool(1);
  for (const RangeMethod* m : range_methods()) {
    EXPECT_EQ(find_range_method(m->name), m);
    RangeStatistics s(8, m->looks);
    s.add({zeros.data(), 4, 8, 8});
    const Range r = m->find(s, {{weight.data(), 1}}, simd::best(), pool);
    EXPECT_EQ(r.least, 0.f) << m->name;
    EXPECT_EQ(r.most, 0.f) << m->name;
  }
  EXPECT_EQ(find_range_method("maximum"), nullptr);
}

}  // namespace
}  // namespace vireo::compress
