// Names that people type: what is parsed, and which name was meant.
#include <gtest/gtest.h>

#include "base/names.h"
#include "base/text.h"
#include "ops/tuned.h"

namespace vireo {
namespace {

TEST(Names, Distance) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("linear", "linear"), 0u);
  EXPECT_EQ(edit_distance("lineer", "linear"), 1u) << "replaced";
  EXPECT_EQ(edit_distance("liner", "linear"), 1u) << "left out";
  EXPECT_EQ(edit_distance("linnear", "linear"), 1u) << "one too many";
  EXPECT_EQ(edit_distance("lienar", "linear"), 1u) << "swapped";
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("ca", "abc"), 3u) << "no letter is edited twice";
}

TEST(Names, TheNearestWithinAThird) {
  const std::vector<std::string> names{"conv2d", "linear", "layer_norm", "add", "and"};
  EXPECT_EQ(nearest_name("lineer", names), "linear");
  EXPECT_EQ(nearest_name("layernorm", names), "layer_norm");
  EXPECT_EQ(nearest_name("ad", names), "add") << "the first of two as near";
  EXPECT_EQ(nearest_name("softmax", names), "");
  EXPECT_EQ(nearest_name("", names), "");
  EXPECT_EQ(nearest_name(std::string(100000, 'a'), names), "") << "and no table of that size";
  EXPECT_EQ(nearest_name("linear", {}), "");
  EXPECT_EQ(known_names("lineer", {"add", "linear"}), "; did you mean 'linear'? There are add and linear");
  EXPECT_EQ(known_names("x", {"a1", "b2", "c3"}), "; there are a1, b2 and c3");
}

TEST(Names, Devices) {
  DeviceName n;
  ASSERT_TRUE(parse_device("auto", &n));
  EXPECT_EQ(n.kind, DeviceName::kAuto);
  ASSERT_TRUE(parse_device("cpu", &n));
  EXPECT_EQ(n.kind, DeviceName::kCpu);
  ASSERT_TRUE(parse_device("vulkan", &n));
  EXPECT_EQ(n.kind, DeviceName::kVulkan);
  EXPECT_EQ(n.index, -1);
  ASSERT_TRUE(parse_device("vulkan:12", &n));
  EXPECT_EQ(n.kind, DeviceName::kVulkan);
  EXPECT_EQ(n.index, 12);
  for (const char* wrong : {"", "CPU", "gpu", "vulkan:", "vulkan:x", "vulkan:-1", "vulkan: 1", "vulkan:1 ", "vulkan1",
                            "vulkan:1234567", "cpu:0"}) {
    n.index = 7;
    EXPECT_FALSE(parse_device(wrong, &n)) << wrong;
    EXPECT_EQ(n.index, 7) << "left alone";
  }
}

TEST(Names, PrecisionsAreThoseOfToString) {
  for (const std::string& name : precision_names()) {
    Precision p = Precision::kFp32;
    ASSERT_TRUE(parse_precision(name, &p));
    EXPECT_EQ(to_string(p), name);
  }
  Precision p = Precision::kFp16;
  for (const char* wrong : {"", "fp64", "FP32", "fp32 "}) EXPECT_FALSE(parse_precision(wrong, &p)) << wrong;
  EXPECT_EQ(p, Precision::kFp16) << "left alone";
}

TEST(Text, PartsOfPaths) {
  EXPECT_EQ(parent_folder("a/b/c"), "a/b");
  EXPECT_EQ(parent_folder("c"), ".");
  EXPECT_EQ(parent_folder("/c"), "/");
  EXPECT_EQ(file_name("a/b/c"), "c");
  EXPECT_EQ(file_name("c"), "c");
  EXPECT_EQ(file_name("a/"), "");
  EXPECT_TRUE(starts_with("abc", "ab") && starts_with("abc", "") && !starts_with("ab", "abc"));
  EXPECT_TRUE(ends_with("abc", "bc") && ends_with("abc", "") && !ends_with("bc", "abc"));
}

TEST(Tuned, HeadDimensionsAtATimeAreAnyMultipleOfFour) {
  // As the shader has it: shaders/README.md, attention.tile.
  for (int dc : {4, 8, 12, 20, 36, 60, 64}) {
    Tuning t;
    const Result<void> applied = apply_tuning("attention_tile=128,8,4,4," + std::to_string(dc) + ",32", &t);
    EXPECT_TRUE(applied.ok()) << dc;
    ASSERT_EQ(t.of("attention.tile").size(), 1u);
    EXPECT_EQ(t.of("attention.tile")[0][4], uint32_t(dc));
  }
  for (int dc : {1, 2, 6, 18, 66, 68}) {
    Tuning t;
    EXPECT_FALSE(apply_tuning("attention_tile=128,8,4,4," + std::to_string(dc) + ",32", &t).ok()) << dc;
  }
}

}  // namespace
}  // namespace vireo
