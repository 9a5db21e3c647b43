// The part of conformance's runs that is done where time is short.
#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "support/sample.h"

namespace vireo {
namespace {

test::Sample sample_of(size_t runs, const char* most) {
  if (most != nullptr) setenv("VIREO_CONFORMANCE_RUNS", most, 1);
  else unsetenv("VIREO_CONFORMANCE_RUNS");
  test::Sample s(runs);
  unsetenv("VIREO_CONFORMANCE_RUNS");
  return s;
}

TEST(Sample, IsEverythingUnlessThereIsMoreThanAsked) {
  for (const char* most : {static_cast<const char*>(nullptr), "0", "100", "1000", "nonsense"}) {
    const test::Sample s = sample_of(100, most);
    EXPECT_TRUE(s.all()) << (most != nullptr ? most : "unset");
    EXPECT_TRUE(s.takes(3, 17));
  }
}

TEST(Sample, EveryCaseAndEveryTargetHasAShare) {
  constexpr size_t kCases = 40, kTargets = 22;  // as many as there are today; an even number, like most strides
  for (const char* most : {"440", "300", "110", "90"}) {
    const test::Sample s = sample_of(kCases * kTargets, most);
    ASSERT_FALSE(s.all());
    std::vector<size_t> of_case(kCases), of_target(kTargets);
    size_t runs = 0;
    for (size_t i = 0; i < kCases; ++i)
      for (size_t k = 0; k < kTargets; ++k)
        if (s.takes(i, k)) ++runs, ++of_case[i], ++of_target[k];
    EXPECT_LE(runs, size_t(std::atoi(most)) + kCases) << "a case may round up";
    EXPECT_GE(runs * s.stride(), kCases * (kTargets - s.stride())) << most;
    for (const size_t n : of_case) EXPECT_GE(n, kTargets / s.stride()) << most;
    for (const size_t n : of_target) EXPECT_GE(n, kCases / s.stride()) << most;
  }
}

}  // namespace
}  // namespace vireo
