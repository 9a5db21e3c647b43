// JSON whose destructors need no memory (base/json.h): documents of every kind are built, changed and destroyed; what
// happens where memory has run out is in tests/faults.
#include "base/json.h"

#include <gtest/gtest.h>

namespace vireo {
namespace {

template <typename J>
class JsonTree : public ::testing::Test {};
using Both = ::testing::Types<SortedJson, OrderedJson>;
TYPED_TEST_SUITE(JsonTree, Both);

TYPED_TEST(JsonTree, IsStillNlohmanns) {
  const std::string text = R"({"a":[1,2.5,{"b":[[[]],"x"]}],"c":{"d":{"e":null}},"f":true})";
  const TypeParam j = TypeParam::parse(text, nullptr, false);
  EXPECT_EQ(j.dump(), text);
  TypeParam copy = j, moved;
  EXPECT_EQ(copy, j);
  moved = std::move(copy);
  EXPECT_EQ(moved, j);
  moved["a"] = TypeParam::array({moved["c"], moved["a"], "text"});
  moved["a"].push_back({{"key", {1, 2, 3}}});
  EXPECT_EQ(moved["a"].size(), 4u);
  EXPECT_EQ(moved["a"][1][2]["b"][1], "x");
  moved.erase("a");
  moved["c"].clear();
  EXPECT_EQ(moved.dump(), R"({"c":{},"f":true})");
  EXPECT_TRUE(TypeParam::parse("[1, {\"a\": [", nullptr, false).is_discarded());
}

TYPED_TEST(JsonTree, NestedDeeperThanAnyStack) {
  constexpr int kDepth = 200000;
  const TypeParam lists = TypeParam::parse(std::string(kDepth, '[') + std::string(kDepth, ']'), nullptr, false);
  EXPECT_TRUE(lists.is_array());
  std::string text;
  for (int i = 0; i < kDepth; ++i) text += R"({"a":[0,)";
  EXPECT_TRUE(TypeParam::parse(text, nullptr, false).is_discarded());
  text += "1";
  for (int i = 0; i < kDepth; ++i) text += "]}";
  EXPECT_TRUE(TypeParam::parse(text, nullptr, false).is_object());
}

TYPED_TEST(JsonTree, WideAndDeep) {
  TypeParam all = TypeParam::array();
  for (int i = 0; i < 100; ++i) {
    TypeParam chain = i;
    for (int k = 0; k < i; ++k) chain = TypeParam{{"next", std::move(chain)}, {"numbers", {k, k + 1}}};
    all.push_back(std::move(chain));
  }
  EXPECT_EQ(all[99]["next"]["next"]["numbers"][1], 97);
  all.clear();
  EXPECT_TRUE(all.empty());
}

}  // namespace
}  // namespace vireo
