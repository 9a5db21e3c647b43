// Patterns of quantization_config mean what they mean to Python's re.match, cost what their length costs, and say what
// they are not.
#include <gtest/gtest.h>

#include "model/pattern.h"

namespace vireo {
namespace {

bool matches(const std::string& pattern, const std::string& text) {
  const Result<Pattern> p = Pattern::parse(pattern);
  EXPECT_TRUE(p.ok()) << pattern << ": " << (p ? "" : p.error().message);
  return p.ok() && p->matches(text);
}

TEST(Pattern, NamesOfModules) {
  const std::string name = "model.layers.12.self_attn.q_proj";
  for (const char* yes :
       {"", ".*", "model", "^model", R"(model\.layers\.\d+\.self_attn\.(q|k|v)_proj$)", ".*q_proj", ".*[qkv]_proj",
        ".*self_attn.*", R"(.*\.1[0-9]\..*)", R"((?!.*lm_head).*)", R"((?=.*attn)(?!.*mlp).*_proj\Z)", R"(\w+\b)"})
    EXPECT_TRUE(matches(yes, name)) << yes;
  for (const char* no : {"layers", "model$", "q_proj", R"(model\.layers\.\d\.)", ".*mlp.*", ".*[^j]$",
                         R"((?!.*attn).*)", "modelx?y", R"(.*\s)", "MODEL"})
    EXPECT_FALSE(matches(no, name)) << no;
}

TEST(Pattern, WhatPythonMatches) {
  // Made at random; the digits are bool(re.match(pattern, text)) of Python 3.11 for each text.
  constexpr const char* kTexts[] = {"a", "b", "ab", "ba", "aab", "a.b", "a1", "b-c", "abc", "c.1a", "..", "aa-b"};
  constexpr struct {
    const char *pattern, *of_each;
  } kCases[] = {
      {R"([]a][^a](?=c[^a])?)", "001001101000"},
      {R"([a-c\d]\W(?![a-c\d])*?)", "000001010100"},
      {R"([ab]+?)", "111111111001"},
      {R"(\.)", "000000000010"},
      {R"(c\w?)", "000000000100"},
      {R"(\w(?=[a-c\d][ab])+)", "000010000000"},
      {R"((a|\s)+[a-])", "000010000001"},
      {R"(((-|c)?)*\Z|a)", "101011101001"},
      {R"(b\b|\sc*1*)", "010000010000"},
      {R"((1*)?a\B)", "001010101001"},
      {R"((a[a-c\d]))", "001010101001"},
      {R"(\b(?:\.|\B)*(\Z)?)", "111111111101"},
      {R"(((\w)?.)*1)", "000000100100"},
      {R"(a(?!\B)\w?[^a][ab]|^\b)", "111111111101"},
      {R"(([]a]*?\s+?\.+)*(?:\W))", "000000000010"},
      {R"([]a])", "101011101001"},
      {R"(\w)", "111111111101"},
      {R"([ab]1*?(?!\A)\B.?b)", "001010001000"},
      {R"(((.)($)*)?\B^)", "000000000010"},
      {R"((\Ac)+?)", "000000000100"},
      {R"(\.(?=.)?[a-]*?)", "000000000010"},
      {R"((\B\A\.)?\w)", "111111111101"},
      {R"((a??$)?\.)", "000000000010"},
      {R"([a-]+?)", "101011101001"},
      {R"((|[a-c\d])??)", "111111111111"},
      {R"(\Z|[^a])", "010100010110"},
      {R"((\w\w)?(c))", "000000001100"},
      {R"((?:(\d))??((a))+?)", "101011101001"},
      {R"((b\d|c[a-c\d]\d*?)*\B)", "000000000010"},
      {R"((?!(a)))", "010100010110"},
      {R"(c(?:-)*?.+)", "000000000100"},
      {R"([ab]|.(?=(?=a))+?)", "111111111001"},
      {R"((?=([a-c\d])))", "111111111101"},
      {R"(([]a])+[a-c\d]|1)", "001010101001"},
      {R"((\.|a)+)", "101011101011"},
      {R"(\Z([a-]|1)?.[ab]|^)", "111111111111"},
      {R"((?=(|\w))+?[a-]+)", "101011101001"},
      {R"((-)*[^a])", "010100010110"},
      {R"((([]a])+?1??)?[ab])", "111111111001"},
      {R"([a-c\d](?!c[ab]))", "111111111101"},
      {R"((\A)*(?!\B))", "111111111101"},
      {R"(a|\.(?!\s)*?(?=-|a)+)", "101011101001"},
      {R"(\s|(?=[ab]))", "111111111001"},
      {R"((\A((?:\W))??\Z1)?[ab])", "111111111001"},
      {R"(((?!\d)+?)+([]a]))", "101011101001"},
      {R"(([^a])*b)", "010100010000"},
      {R"((?=(?!\w))+?\A)", "000000000010"},
      {R"(b*\.+?(b)?)", "000000000010"},
      {R"(.\d[a-]??($)(1)*?)", "000000100000"},
      {R"((?:(?=[ab])))", "111111111001"},
      {R"((\B)+)", "000000000010"},
      {R"(\W??c)", "000000000100"},
      {R"(-*?(?=(\W)))", "000000000010"},
      {R"((?:.)(?:([^a]))+)", "001001111110"},
      {R"((\.*?)+(?!.))", "000000000010"},
      {R"(\W?(|[]a])|(?![]a])+?)", "111111111111"},
      {R"([^a]\A[a-])", "000000000000"},
      {R"((\w)\Zb??)", "110000000000"},
      {R"((c*?[]a]\d|[a-])*\b)", "111111111101"},
      {R"(c[a-c\d]??)", "000000000100"},
  };
  for (const auto& c : kCases)
    for (size_t i = 0; i < std::size(kTexts); ++i)
      EXPECT_EQ(matches(c.pattern, kTexts[i]), c.of_each[i] == '1') << c.pattern << " on " << kTexts[i];
}

TEST(Pattern, EveryByte) {
  for (int i = 1; i < 256; ++i) {
    const std::string text(1, char(i));
    const bool digit = i >= '0' && i <= '9', space = i == ' ' || (i >= '\t' && i <= '\r');
    const bool word = digit || (i >= 'a' && i <= 'z') || (i >= 'A' && i <= 'Z') || i == '_';
    EXPECT_EQ(matches(R"(\d)", text), digit) << i;
    EXPECT_EQ(matches(R"(\D)", text), !digit) << i;
    EXPECT_EQ(matches(R"(\w)", text), word) << i;
    EXPECT_EQ(matches(R"([\W])", text), !word) << i;
    EXPECT_EQ(matches(R"(\s)", text), space) << i;
    EXPECT_EQ(matches(R"([^\S])", text), space) << i;
    EXPECT_EQ(matches(".", text), i != '\n') << i;
    if (!word) {
      EXPECT_TRUE(matches("\\" + text, text)) << i;
    }
  }
}

TEST(Pattern, WhatIsWrongAndWhere) {
  constexpr struct {
    const char *pattern, *says;
  } kCases[] = {
      {"ab(c", "a '(' without its ')' at character 3"},
      {"a)", "a ')' without its '(' at character 2"},
      {"[ab", "a '[' without its ']' at character 1"},
      {"[]", "a '[' without its ']' at character 1"},
      {"a\\", "a '\\' at the end at character 3"},
      {"*a", "nothing to repeat at character 1"},
      {"(|+)", "nothing to repeat at character 3"},
      {"a**", "a repeat of a repeat at character 3"},
      {"a*+", "a repeat of a repeat at character 3"},
      {"^*", "an anchor that is repeated at character 1"},
      {"a{2}", "a count of repeats, which is not supported at character 2"},
      {R"((a)\1)", "an unknown '\\1' at character 4"},
      {R"(\p)", "an unknown '\\p' at character 1"},
      {R"([\b])", "an unknown '\\b' at character 2"},
      {"(?i)a", "a kind of group that is not supported at character 1"},
      {"(?<=a)", "a kind of group that is not supported at character 1"},
      {"(?P<n>a)", "a kind of group that is not supported at character 1"},
      {"[z-a]", "a range that is none at character 5"},
      {R"([a-\d])", "a range that is none at character 6"},
      {"[[:alpha:]]", "a named class, which is not supported at character 2"},
      {"[\xc3\xa4]", "a class of characters beyond ASCII, which is not supported at character 2"},
  };
  for (const auto& c : kCases) {
    const Result<Pattern> p = Pattern::parse(c.pattern);
    ASSERT_FALSE(p.ok()) << c.pattern;
    EXPECT_EQ(p.error().message, c.says) << c.pattern;
    EXPECT_EQ(p.error().code, ErrorCode::kUnsupported);
  }
  EXPECT_TRUE(Pattern::parse(std::string(256, 'a')).ok());
  EXPECT_FALSE(Pattern::parse(std::string(257, 'a')).ok());
}

TEST(Pattern, CannotHangOrGoDeep) {
  const std::string text(1024, 'a');
  EXPECT_FALSE(matches("((a*)*)*b", text));
  EXPECT_FALSE(matches("(a|a|aa)*(a|aa)+$b", text));
  EXPECT_FALSE(matches("(?!(?!(?!(a+)+$))).*b", text));
  std::string nested = "a";
  while (nested.size() + 4 <= Pattern::kLongest) nested = "(" + nested + ")*";
  EXPECT_FALSE(matches(nested + "$", text + "b"));
  EXPECT_TRUE(matches(nested + "$", text));
  std::string deep = std::string(127, '(') + "a" + std::string(127, ')');
  EXPECT_TRUE(matches(deep, "a"));
}

}  // namespace
}  // namespace vireo
