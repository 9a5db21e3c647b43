// `vireo classify --hold-fps`: which of several models answers, told in the text, in JSON and on stderr.
#include <gtest/gtest.h>

#include "cli/running.h"

namespace cli_test {
namespace {

using nlohmann::json;

const std::string kModels = std::string(VIREO_SOURCE_DIR) + "/models/";
const std::string kBest = kModels + "fashion-vit", kSmall = kModels + "fashion-vit-small";
const std::string kPictures = kBest + "/samples";

Answer classify(const Words& more) {
  Words words{"classify", "--model", kBest, "--device", "cpu", kPictures};
  words.insert(words.end(), more.begin(), more.end());
  return run_cli(words);
}

// No machine classifies ten million pictures a second: after five late frames the next level takes over.
TEST(Governed, AnImpossibleRateTakesTheFastest) {
  const Answer a = classify({"--hold-fps", "1000000", "--faster", kSmall, "--json"});
  ASSERT_EQ(a.code, 0) << a.text();
  const json j = a.json();
  ASSERT_EQ(j["results"].size(), 10u);
  for (size_t i = 0; i < 10; ++i) EXPECT_EQ(j["results"][i]["level"], i < 5 ? 0 : 1) << i;
  ASSERT_EQ(j["changes"].size(), 1u);
  EXPECT_EQ(j["changes"][0]["frame"], 5);
  EXPECT_EQ(j["changes"][0]["to"], 1);
  EXPECT_EQ(j["levels"][0]["frames"], 5);
  EXPECT_EQ(j["levels"][1]["frames"], 5);
  EXPECT_EQ(j["levels"][1]["model"], kSmall);
  EXPECT_TRUE(j["saturated"].get<bool>());
  EXPECT_NE(a.err.find("2 levels are prepared"), std::string::npos) << a.err;
  EXPECT_NE(a.err.find("level 1 of 0 to 1 from frame 6 on"), std::string::npos) << a.err;
  // What each level answers is what its model answers by itself.
  const Answer alone = run_cli({"classify", "--model", kSmall, "--device", "cpu", "--json", kPictures});
  for (size_t i = 5; i < 10; ++i) EXPECT_EQ(j["results"][i]["top"], alone.json()["results"][i]["top"]) << i;
}

TEST(Governed, AnEasyRateKeepsTheBest) {
  const Answer a = classify({"--hold-fps", "0.01", "--faster", kSmall, "--json"});
  ASSERT_EQ(a.code, 0) << a.text();
  for (const json& r : a.json()["results"]) EXPECT_EQ(r["level"], 0);
  EXPECT_TRUE(a.json()["changes"].empty());
  EXPECT_FALSE(a.json()["saturated"].get<bool>());
}

TEST(Governed, LinesOfJsonSayTheLevel) {
  const Answer a = classify({"--hold-fps", "1000000", "--faster", kSmall, "--faster", kSmall, "--jsonl"});
  ASSERT_EQ(a.code, 0) << a.text();
  std::istringstream lines(a.out);
  std::vector<int> levels;
  for (std::string line; std::getline(lines, line);) levels.push_back(json::parse(line)["level"].get<int>());
  EXPECT_EQ(levels, (std::vector<int>{0, 0, 0, 0, 0, 1, 1, 1, 1, 1}));
}

TEST(Governed, WrongUseIsOneSentence) {
  const auto refuses = [](int code, const Words& words, const std::string& what) {
    const Answer a = classify(words);
    EXPECT_TRUE(a.fails_clearly(code)) << a.text();
    EXPECT_NE(a.err.find(what), std::string::npos) << a.err;
  };
  refuses(2, {"--hold-fps", "30"}, "--hold-fps and --faster go together");
  refuses(2, {"--faster", kSmall}, "--hold-fps and --faster go together");
  refuses(2, {"--hold-fps", "30", "--faster", kSmall + "@0x16"}, "a size is HxW");
  refuses(1, {"--hold-fps", "30", "--faster", "/no/such"}, "/no/such");
  refuses(1, {"--hold-fps", "30", "--faster", kModels + "disaster-upernet"}, "answer the same question");
}

}  // namespace
}  // namespace cli_test
