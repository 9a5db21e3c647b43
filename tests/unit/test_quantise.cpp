// The int8 quantiser: ranges, ties, what centring and balancing promise, and constants packed through it.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/rounding.h"
#include "plan/plan.h"
#include "plan/quantise.h"

namespace vireo {
namespace {

std::vector<float> noise(int64_t n, unsigned seed, float shift = 0.f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(shift, 0.1f);
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = normal(engine);
  return v;
}

TEST(Quantise, RoundsHalfToEvenAndReachesTheEnds) {
  const float row[] = {127.f, -127.f, 0.5f, 1.5f, 2.5f, -0.5f, 0.f};
  int8_t q[7];
  EXPECT_EQ(quantise_row(row, 7, q), 1.f);
  const int8_t expected[] = {127, -127, 0, 2, 2, 0, 0};
  for (int i = 0; i < 7; ++i) EXPECT_EQ(q[i], expected[i]) << i;
}

TEST(Quantise, ZeroRowHasScaleZero) {
  const float row[3] = {};
  int8_t q[3] = {1, 2, 3};
  EXPECT_EQ(quantise_row(row, 3, q), 0.f);
  for (int8_t v : q) EXPECT_EQ(v, 0);
  balance_roundings(row, 0.f, 3, 1, q);
}

TEST(Quantise, RoundsAsNearbyintDoesWhateverComes) {
  std::vector<float> w = noise(4099, 7);
  for (float& x : w) x *= 400.f;  // some beyond the bounds
  for (int i = -300; i <= 300; ++i) w.push_back(0.5f * float(i));
  for (const float x : {0.f, -0.f, 1e-42f, 3e38f, -3e38f, 4194303.5f, 8388609.f, 0.49999997f, 1.49999988f})
    w.insert(w.end(), {x, -x});
  for (const float zero : {0.f, -3.f, 8.f})
    for (const auto& [least, most] : {std::pair(-127.f, 127.f), {-128.f, 127.f}, {-8.f, 7.f}}) {
      std::vector<int8_t> q(w.size());
      round_to_codes(w.data(), int64_t(w.size()), 0.75f, zero, least, most, q.data());
      for (size_t i = 0; i < w.size(); ++i)
        ASSERT_EQ(float(q[i]), std::max(least, std::min(most, std::nearbyint(w[i] / 0.75f + zero)))) << w[i];
    }
  for (const int64_t n : {0, 1, 3, 4, 31, 4099}) {
    float most = 0;
    for (int64_t i = 0; i < n; ++i) most = std::max(most, std::fabs(w[size_t(i)]));
    EXPECT_EQ(max_magnitude(w.data(), n), most);
  }
}

TEST(Quantise, ErrorIsAtMostHalfAStep) {
  const std::vector<float> row = noise(768, 1);
  std::vector<int8_t> q(row.size());
  const float s = quantise_row(row.data(), 768, q.data());
  for (size_t i = 0; i < row.size(); ++i) EXPECT_LE(std::fabs(float(q[i]) * s - row[i]), 0.5001f * s);
}

TEST(Quantise, CentringShrinksTheStepsAndKeepsTheProduct) {
  std::vector<float> row = noise(192, 2, 0.05f), centred = row;
  centre_row(centred.data(), 192);
  std::vector<int8_t> q(row.size());
  EXPECT_LT(quantise_row(centred.data(), 192, q.data()), quantise_row(row.data(), 192, q.data()));
  std::vector<float> x = noise(192, 3);
  double mean = 0, a = 0, b = 0;
  for (float v : x) mean += double(v) / 192;
  for (size_t i = 0; i < row.size(); ++i)
    a += double(row[i]) * (double(x[i]) - mean), b += double(centred[i]) * (double(x[i]) - mean);
  EXPECT_NEAR(a, b, 1e-6);
}

TEST(Quantise, BalancedErrorsSumToLessThanHalfAStep) {
  for (const int64_t step : {1, 3}) {
    const std::vector<float> row = noise(256 * step, 4);
    std::vector<int8_t> q(row.size());
    const float s = quantise_row(row.data(), int64_t(row.size()), q.data());
    const std::vector<int8_t> before = q;
    balance_roundings(row.data(), s, 256, step, q.data());
    double sum = 0;
    for (int64_t i = 0; i < 256; ++i) sum += double(q[size_t(i * step)]) - double(row[size_t(i * step)]) / double(s);
    EXPECT_LE(std::fabs(sum), 0.5 + 1e-6);
    for (size_t i = 0; i < q.size(); ++i) {
      EXPECT_LE(std::abs(q[i] - before[i]), 1);
      if (i % size_t(step)) {
        EXPECT_EQ(q[i], before[i]) << "another kernel's weight";
      }
    }
  }
}

TEST(Pack, WeightsThatAreNotFiniteAreNamed) {
  for (const float bad : {NAN, INFINITY}) {
    std::vector<float> w(6, 1.f);
    w[4] = bad;
    GraphBuilder b("broken");
    const ValueId x = b.input("x", {DType::kF32, Shape{{1, 1, 2, 3}}});
    b.output(b.add(OpKind::kLinear, "fc", {x, b.constant("encoder.fc.weight", make_constant(2, 3, w))}));
    DeviceCaps cpu;
    cpu.kind = DeviceKind::kCpu;
    Result<Planned> p = make_plan(*b.finish(), cpu, {});
    ASSERT_TRUE(p.ok());
    std::vector<uint8_t> out(size_t(p->plan.consts[0].pack.bytes));
    const Result<void> r = pack_constant(p->plan, p->graph, 0, out.data());
    ASSERT_FALSE(r.ok());
    EXPECT_NE(r.error().message.find("weight 'encoder.fc.weight' holds"), std::string::npos);
    EXPECT_NE(r.error().message.find("[1, 1]"), std::string::npos) << r.error().message;
  }
}

TEST(Pack, WeightsBeyondFp16AreNamed) {
  GraphBuilder b("large");
  const ValueId x = b.input("x", {DType::kF32, Shape{{1, 1, 2, 3}}});
  b.output(b.add(OpKind::kLinear, "fc", {x, b.constant("w", fill_constant(2, 3, 1e5f))}));
  DeviceCaps cpu;
  cpu.kind = DeviceKind::kCpu;
  PlanOptions options;
  options.precision = Precision::kFp16;
  Result<Planned> p = make_plan(*b.finish(), cpu, options);
  ASSERT_TRUE(p.ok());
  std::vector<uint8_t> out(size_t(p->plan.consts[0].pack.bytes));
  const Result<void> r = pack_constant(p->plan, p->graph, 0, out.data());
  ASSERT_FALSE(r.ok());
  EXPECT_NE(r.error().message.find("beyond fp16's 65504"), std::string::npos);
}

}  // namespace
}  // namespace vireo
