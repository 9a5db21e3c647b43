// Lines of a policy about some rows: the same rows to compress and to a session, and a note where they change nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "test_model_family.h"

#include <vireo/compress.hpp>
#include <vireo/predict.hpp>

namespace vireo {
namespace {

using test::TempDir;

const std::string kFour = "weights f32\nblocks.0.attn.qkv i4g32\n";
const std::string kAttention = "vit.encoder.layer.0.attention.attention.";

Model opened(const std::string& path) {
  auto m = Model::open(path);
  EXPECT_TRUE(m.ok()) << m.error().message;
  return *m;
}

Result<CompressReport> compress_into(const std::string& folder, const std::string& policy) {
  CompressOptions o;
  o.policy = policy, o.method = "rtn", o.sensitivity = false, o.threads = 2;
  VIREO_ASSIGN(Compressor c, Compressor::create(opened(family_test::kCases + "hf-vit"), o));
  return c.write(folder);
}

/// Formats of the first block's query, key and value.
std::map<std::string, std::string> formats(const std::string& line) {
  const TempDir out;
  const auto report = compress_into(out.path(), kFour + line);
  EXPECT_TRUE(report.ok()) << line << ": " << report.error().message;
  std::map<std::string, std::string> found;
  if (!report) return found;
  for (const CompressedLayer& l : report->layers)
    if (l.tensor.compare(0, kAttention.size(), kAttention) == 0)
      found[l.tensor.substr(kAttention.size(), 1)] = l.format;  // q, k, v
  return found;
}

using Formats = std::map<std::string, std::string>;

TEST(PolicyRows, OfAPlansMatrixCountThroughIt) {
  // 96 rows of queries, 96 of keys, 96 of values.
  const Formats keys{{"q", "i4g32"}, {"k", "i4g32+96xi8"}, {"v", "i4g32"}};
  EXPECT_EQ(formats("blocks.0.attn.qkv[96:192] i8g32\n"), keys);
  EXPECT_EQ(formats(kAttention + "query|key|value.weight[96:192] i8g32\n"), keys);
  EXPECT_EQ(formats("blocks.0.attn.qkv.weight[90:196] i8g32\n"),
            (Formats{{"q", "i4g32+6xi8"}, {"k", "i4g32+96xi8"}, {"v", "i4g32+4xi8"}}));
  // What matches the plan's name means the plan's rows, whatever else it matches.
  EXPECT_EQ(formats("*layer.0.attention.attention*[280:288] i8g32\n"),
            (Formats{{"q", "i4g32"}, {"k", "i4g32"}, {"v", "i4g32+8xi8"}}));
  const TempDir out;
  const auto beyond = compress_into(out.path(), kFour + "blocks.0.attn.qkv[0:289] i8g32\n");
  ASSERT_FALSE(beyond.ok());
  EXPECT_NE(beyond.error().message.find("has 288 rows, not the 0 to 288"), std::string::npos) << beyond.error().message;
}

TEST(PolicyRows, OfAFilesTensorCountInIt) {
  EXPECT_EQ(formats(kAttention + "key.weight[10:20] i8g32\n"),
            (Formats{{"q", "i4g32"}, {"k", "i4g32+10xi8"}, {"v", "i4g32"}}));
  EXPECT_EQ(formats(kAttention + "value[0:96] i8g32\n"),
            (Formats{{"q", "i4g32"}, {"k", "i4g32"}, {"v", "i4g32+96xi8"}}));
}

TEST(PolicyRows, ASessionTakesThemTheSame) {
  const Model model = opened(family_test::kCases + "hf-vit");
  SessionOptions o;
  o.policy = "weights i4g32\n" + kAttention + "query|key|value.weight[90:196] i8g32\n";
  const auto text = plan_text(model, Device::cpu(1).caps_text(), o, false);
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_NE(text->find("i4g32+106xi8"), std::string::npos) << *text;
}

TEST(PolicyRows, WhatChangesNothingIsNoted) {
  const TempDir out;
  ASSERT_TRUE(compress_into(out.path(), kFour).ok());
  const Model coded = opened(out.path());
  SessionOptions o;
  o.policy = "checkpoint keep\n" + kAttention + "query|key|value.weight[0:96] i8g32\n";
  const auto text = plan_text(coded, Device::cpu(1).caps_text(), o, false);
  ASSERT_TRUE(text.ok()) << text.error().message;
  const std::string said =
      "policy, line 2: rows 0 to 95 of '" + kAttention + "query|key|value.weight' stay as the checkpoint holds them";
  EXPECT_NE(text->find(said), std::string::npos) << *text;
  const auto session = Session::create(coded, Device::cpu(1), o);
  ASSERT_TRUE(session.ok()) << session.error().message;
  const auto noted = [&](const std::vector<std::string>& all) {
    return std::count_if(all.begin(), all.end(), [&](const std::string& w) { return w.find(said) == 0; });
  };
  EXPECT_EQ(noted(session->warnings()), 1);
  // Of floats they change something, and a policy without such lines is not spoken of.
  o.policy = "weights i4g32\n" + kAttention + "query|key|value.weight[0:96] i8g32\n";
  const auto floats = Session::create(opened(family_test::kCases + "hf-vit"), Device::cpu(1), o);
  ASSERT_TRUE(floats.ok()) << floats.error().message;
  EXPECT_EQ(noted(floats->warnings()), 0);
}

}  // namespace
}  // namespace vireo
