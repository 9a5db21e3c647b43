// Rows beside their roofs: a share above 100 % comes with its reason, and shows whether the roofs are to be measured
// again.
#include <gtest/gtest.h>

#include "profile/roof_rows.h"

namespace vireo {
namespace {

// 100 GFLOP/s and 10 GB/s: 1e8 FLOPs or 1e7 bytes take 1 ms.
const DeviceRoofs kRoofs{100, 200, 10, 0, 0, 0};

DispatchProfile row(double flops, double bytes, double us, const char* kernel = "linear.gemm", bool cpu = true) {
  DispatchProfile d;
  d.flops = flops, d.bytes = bytes, d.serialised_us = us, d.kernel = kernel, d.cpu = cpu;
  return d;
}

DispatchProfile held(DispatchProfile d, bool gpu = false, bool disturbed = false) {
  std::vector<DispatchProfile> all{std::move(d)};
  hold_against(kRoofs, gpu, disturbed, {find_kernel(all[0].kernel)}, &all);
  return all[0];
}

bool beaten(const DispatchProfile& d, bool gpu = false) {
  return roofs_are_beaten(kRoofs, gpu, {find_kernel(d.kernel)}, {d});
}

TEST(RoofRows, TheLeastTimeIsThatOfArithmeticOrBytes) {
  EXPECT_DOUBLE_EQ(held(row(1e8, 1e6, 2000)).roof_us, 1000);
  EXPECT_DOUBLE_EQ(held(row(1e7, 1e7, 2000)).roof_us, 1000);
  EXPECT_EQ(held(row(1e8, 1e6, 2000)).above_roof, "");
  EXPECT_EQ(held(row(1e8, 1e6, 960)).above_roof, "") << "noise";
  EXPECT_EQ(held(row(1e8, 1e6, 0)).above_roof, "") << "no time, no share";
  EXPECT_EQ(held(row(1e8, 1e6, 500), true).roof_us, 0) << "a CPU step under a GPU's roofs";
}

TEST(RoofRows, TheRateOfTheFormatCounts) {
  EXPECT_DOUBLE_EQ(held(row(1e8, 0, 600, "linear.bf16")).roof_us, 500);
  EXPECT_EQ(held(row(1e8, 0, 600, "linear.bf16")).above_roof, "");
  EXPECT_FALSE(beaten(row(1e8, 0, 600, "linear.bf16")));
  EXPECT_NEAR(held(row(1e8, 0, 500, "conv2d.winograd")).roof_us, 1000 * 16.0 / 36, 1e-9);
  EXPECT_DOUBLE_EQ(held(row(1e8, 0, 600, "linear.half", false), true).roof_us, 500);
  EXPECT_DOUBLE_EQ(held(row(1e8, 0, 600, "linear.tile", false), true).roof_us, 1000) << "its products are fp32";
}

TEST(RoofRows, AboveTheRoofThereIsAReason) {
  EXPECT_EQ(held(row(1e6, 1e7, 500)).above_roof, "bytes from caches");
  EXPECT_EQ(held(row(1e8, 0, 500)).above_roof, "fewer operations than defined");
  EXPECT_EQ(held(row(1e8, 1e7, 500)).above_roof, "fewer operations than defined") << "not the caches alone";
  EXPECT_EQ(held(row(1e6, 0, 5)).above_roof, "too short to tell");
  EXPECT_EQ(held(row(1e8, 0, 500), false, true).above_roof, "roofs of a busy moment");
}

TEST(RoofRows, AStepThatBeatsArithmeticBeatsTheRoofs) {
  EXPECT_TRUE(beaten(row(1e8, 0, 500)));
  EXPECT_FALSE(beaten(row(1e8, 0, 970))) << "noise";
  EXPECT_FALSE(beaten(row(1e6, 0, 5))) << "too short to tell";
  EXPECT_FALSE(beaten(row(0, 1e7, 500))) << "caches";
  EXPECT_TRUE(beaten(row(0, 1e8, 5000))) << "more than caches hold";
  EXPECT_FALSE(beaten(row(1e8, 0, 500), true)) << "a CPU step under a GPU's roofs";
  EXPECT_FALSE(roofs_are_beaten(kRoofs, false, {}, {}));
}

}  // namespace
}  // namespace vireo
