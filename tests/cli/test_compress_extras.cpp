// `vireo compress` with --ranges, --awq and --bias-correction, as users run it.
#include <gtest/gtest.h>

#include "cli/running.h"

namespace cli_test {
namespace {

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

// Where there are no pictures, drawn ones do, and are better than looking at none: rounding to nearest is what there is
// without.
TEST(CompressExtras, DrawnPicturesCalibrate) {
  const Scratch scratch;
  const auto compressed = [&](const std::string& out, const Words& more) {
    Words words{"compress", "--model", kShipped,           "--out", scratch.path(out),
                "--eval",   kSamples,  "--no-sensitivity", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return run_cli(words);
  };
  const Answer a = compressed("drawn", {"--recipe", "w8a8static", "--synthetic", "--pictures", "24"});
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_EQ(a.json()["options"], nlohmann::json::array({"synthetic"}));
  EXPECT_EQ(a.json()["calibration_pictures"], 24);
  EXPECT_FALSE(a.json()["compared"]["calibration"].get<bool>());
  EXPECT_LT(a.json()["compared"]["kl"].get<double>(), 0.05);
  EXPECT_NE(a.json()["notes"].dump().find("24 drawn pictures"), std::string::npos) << a.out;
  const Answer again = compressed("again", {"--recipe", "w8a8static", "--synthetic", "--pictures", "24"});
  ASSERT_EQ(again.code, 0) << again.text();
  EXPECT_EQ(read_file(scratch.path("again/model.safetensors")), read_file(scratch.path("drawn/model.safetensors")));

  const Answer none = compressed("none", {"--recipe", "w8", "--synthetic"});
  ASSERT_EQ(none.code, 0) << none.text();
  EXPECT_EQ(none.json()["calibration_pictures"], 0);
  EXPECT_NE(none.json()["notes"].dump().find("looks at no pictures"), std::string::npos) << none.out;
}

// A searched schedule takes no longer than the one it starts from, by the prediction, and the folder opens.
TEST(CompressExtras, SchedulesAreSearched) {
  const Scratch scratch;
  const Answer a = compress(scratch.path("searched"), {"--recipe", "hatp29"});
  ASSERT_EQ(a.code, 0) << a.text();
  const Answer b = compress(scratch.path("even"), {"--recipe", "tome29"});
  ASSERT_EQ(b.code, 0) << b.text();
  EXPECT_EQ(a.json()["tokens_merged"].size(), b.json()["tokens_merged"].size());
  EXPECT_LE(a.json()["compared"]["kl"].get<double>(), b.json()["compared"]["kl"].get<double>());
  EXPECT_NE(a.json()["notes"].dump().find("was searched"), std::string::npos) << a.out;
  const std::string config = read_file(scratch.path("searched/config.json"));
  EXPECT_EQ(nlohmann::json::parse(config)["quantization_config"]["vireo"]["tokens"]["merge"],
            a.json()["tokens_merged"]);
  EXPECT_EQ(
      run_cli({"classify", "--model", scratch.path("searched"), "--device", "cpu", kSamples + "/03_dress.png"}).code,
      0);
  EXPECT_EQ(compress(scratch.path("both"), {"--recipe", "w8a8+hatp29"}).code, 0);
  EXPECT_NE(compress(scratch.path("two"), {"--recipe", "tome29+hatp29"}).err.find("how tokens are merged"),
            std::string::npos);
  const Answer blind = run_cli({"compress", "--model", kShipped, "--out", scratch.path("blind"), "--recipe", "hatp29"});
  EXPECT_TRUE(blind.fails_clearly(2)) << blind.text();
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
  refuses(2, {"--recipe", "w4g32", "--synthetic"}, "choose one of them");
  const Answer blind = run_cli({"compress", "--model", kShipped, "--out", out, "--recipe", "w8", "--bias-correction"});
  EXPECT_TRUE(blind.fails_clearly(2)) << blind.text();
  EXPECT_NE(blind.err.find("give --calibrate"), std::string::npos) << blind.err;
  for (const auto& [words, what] : {std::pair(Words{"--max-size", "3"}, "drawn ones (--synthetic) cannot judge"),
                                    std::pair(Words{"--recipe", "w4g32", "--pictures", "3"}, "was given 3 pictures")}) {
    Words all{"compress", "--model", kShipped, "--out", out, "--synthetic"};
    all.insert(all.end(), words.begin(), words.end());
    const Answer drawn = run_cli(all);
    EXPECT_NE(drawn.code, 0) << drawn.text();
    EXPECT_NE(drawn.err.find(what), std::string::npos) << drawn.err;
    EXPECT_EQ(scratch.list(), Words{});
  }
}

}  // namespace
}  // namespace cli_test
