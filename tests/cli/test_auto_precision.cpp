// --precision auto on the command line: what was chosen is seen, by people and in JSON.
#include <gtest/gtest.h>

#include "cli/running.h"

namespace cli_test {
namespace {

const std::string kShipped = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
const std::string kPicture = kShipped + "/samples/03_dress.png";

bool is_one(const nlohmann::json& precision) {
  return precision == "fp32" || precision == "fp16" || precision == "int8";
}

TEST(AutoPrecision, ClassifyAndBenchSayWhichAndWhy) {
  for (const std::vector<std::string>& verb :
       {std::vector<std::string>{"classify", kPicture}, {"bench", "--iters", "1", "--warmup", "1"}}) {
    std::vector<std::string> all = verb;
    all.insert(all.end(), {"--model", kShipped, "--device", "cpu", "--precision", "auto"});
    const Answer text = run_cli(all);
    ASSERT_EQ(text.code, 0) << text.text();
    EXPECT_NE(text.out.find("\nprecision: auto: "), std::string::npos) << text.text();
    all.push_back("--json");
    const Answer a = run_cli(all);
    ASSERT_EQ(a.code, 0) << a.text();
    EXPECT_TRUE(is_one(a.json()["precision"])) << a.text();
    EXPECT_EQ(std::string(a.json()["precision_reason"]).find("auto: "), 0u) << a.text();
  }
  const Answer named =
      run_cli({"classify", "--model", kShipped, "--device", "cpu", "--precision", "fp32", "--json", kPicture});
  EXPECT_FALSE(named.json().contains("precision_reason")) << named.text();
}

TEST(AutoPrecision, PlanAndPredictOfADescribedDevice) {
  const Answer plan = run_cli({"plan", "--model", kShipped, "--caps", "jetson-nano", "--precision", "auto"});
  ASSERT_EQ(plan.code, 0) << plan.text();
  EXPECT_NE(plan.out.find("note: precision auto is "), std::string::npos) << plan.out;
  const Answer a =
      run_cli({"predict", "--model", kShipped, "--machine", "jetson-nano", "--precision", "auto", "--json"});
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_TRUE(is_one(a.json()["precision"])) << a.text();
  EXPECT_NE(a.json()["notes"].dump().find("precision auto is "), std::string::npos) << a.text();
}

TEST(AutoPrecision, IsNoPrecisionToFitOrTune) {
  const Scratch scratch;
  const Answer fit = run_cli({"predict", "--fit", scratch.path("m.txt"), "--fit-precisions", "auto"});
  EXPECT_TRUE(fit.fails_clearly(2)) << fit.text();
  const Answer help = run_cli({"classify", "--help"});
  EXPECT_NE(help.out.find("auto"), std::string::npos);
}

}  // namespace
}  // namespace cli_test
