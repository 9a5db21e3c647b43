// `vireo compress` with --ranges, --awq and --bias-correction, as users run it.
#include <gtest/gtest.h>

#include "cli/running.h"

namespace cli_test {
namespace {

using Words = std::vector<std::string>;

const std::string kShipped = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
const std::string kSamples = kShipped + "/samples";

Answer compress(const std::string& out, const Words& more) {
  Words words{"compress", "--model", kShipped, "--out", out, "--calibrate", kSamples, "--no-sensitivity", "--json"};
  words.insert(words.end(), more.begin(), more.end());
  return run_cli(words);
}

TEST(CompressExtras, AreInTheFolderAndInItsReport) {
  const Scratch scratch;
  const std::string plain = scratch.path("plain");
  ASSERT_EQ(compress(plain, {"--recipe", "w8a8static"}).code, 0);
  for (const char* ranges : {"minmax", "percentile", "mse", "pearson"}) {
    const std::string out = scratch.path(ranges);
    const Answer a = compress(out, {"--recipe", "w8a8static", "--ranges", ranges});
    ASSERT_EQ(a.code, 0) << a.text();
    EXPECT_EQ(a.json()["options"], nlohmann::json::array({std::string("ranges ") + ranges}));
    const bool same = read_file(out + "/model.safetensors") == read_file(plain + "/model.safetensors");
    EXPECT_EQ(same, std::string(ranges) == "minmax") << ranges;
    EXPECT_EQ(run_cli({"classify", "--model", out, "--device", "cpu", kSamples + "/03_dress.png"}).code, 0) << ranges;
  }
  for (const char* what : {"awq", "bias-correction"}) {
    const Answer a = compress(scratch.path(what), {"--recipe", "w4g32", std::string("--") + what});
    ASSERT_EQ(a.code, 0) << a.text();
    EXPECT_EQ(a.json()["options"], nlohmann::json::array({what}));
    EXPECT_LT(a.json()["compared"]["kl"].get<double>(), 0.1);
  }
}

TEST(CompressExtras, WrongUseIsOneSentence) {
  const Scratch scratch;
  const std::string out = scratch.path("out");
  const auto refuses = [&](int code, const Words& words, const std::string& what) {
    const Answer a = compress(out, words);
    EXPECT_TRUE(a.fails_clearly(code)) << a.text();
    EXPECT_NE(a.err.find(what), std::string::npos) << a.err;
    EXPECT_EQ(scratch.list(), Words{});
  };
  refuses(1, {"--recipe", "w8a8static", "--ranges", "maximum"}, "there is no way 'maximum' to find ranges");
  refuses(1, {"--recipe", "w8", "--ranges", "mse"}, "no rows get one");
  refuses(1, {"--recipe", "tome25", "--awq"}, "no weight is rounded");
  refuses(2, {"--max-size", "3", "--awq"}, "not with a budget");
  const Answer blind = run_cli({"compress", "--model", kShipped, "--out", out, "--recipe", "w8", "--bias-correction"});
  EXPECT_TRUE(blind.fails_clearly(2)) << blind.text();
  EXPECT_NE(blind.err.find("give --calibrate"), std::string::npos) << blind.err;
}

}  // namespace
}  // namespace cli_test
