// The distilled classifier that is shipped: it has the accuracy that its README gives on all 10,000 test pictures of
// Fashion-MNIST, a quarter of its teacher's multiply-adds at most, and knows the teacher's samples on every device.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <regex>

#include "cli/run_cli.h"

namespace {

using cli_test::Answer;
using cli_test::read_file;
using cli_test::run_cli;

const std::string kTeacher = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
const std::string kSmall = kTeacher + "-small";

/// In percent, "**Test top-1: 91.10 %**" of its README; -1 where there is none.
double stated() {
  const std::string text = read_file(kSmall + "/README.md");
  std::smatch found;
  return std::regex_search(text, found, std::regex("\\*\\*Test top-1: ([0-9.]+) %\\*\\*")) ? std::stod(found[1]) : -1;
}

TEST(ShippedSmallClassifier, HasTheAccuracyThatItsReadmeStates) {
  if (access("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz", R_OK) != 0)
    GTEST_SKIP() << "never: dataset-fashion-mnist is not installed";
  const Answer run = run_cli({"eval", "--model", kSmall, "--fashion-mnist", "--device", "cpu", "--json"});
  ASSERT_EQ(run.code, 0) << run.text();
  EXPECT_EQ(run.json()["images"], 10000);
  // Three pictures: where two classes are nearly equal, the order of a CPU's sums decides.
  EXPECT_NEAR(100 * run.json()["top1"].get<double>(), stated(), 0.03) << run.text();
}

double multiply_adds(const std::string& model) {
  const Answer run = run_cli({"predict", "--machine", "jetson-nano", "--model", model, "--json"});
  EXPECT_EQ(run.code, 0) << run.text();
  const nlohmann::json prediction = run.json();
  double flops = 0;
  for (const auto& dispatch : prediction["dispatches"]) flops += dispatch["flops"].get<double>();
  return flops / 2;
}

TEST(ShippedSmallClassifier, TakesAQuarterOfTheMultiplyAddsAtMost) {
  const double large = multiply_adds(kTeacher), small = multiply_adds(kSmall);
  EXPECT_GT(small, 0);
  EXPECT_LE(small, large / 4);
  struct stat file;
  ASSERT_EQ(stat((kSmall + "/model.safetensors").c_str(), &file), 0);
  EXPECT_LE(file.st_size, 1000000);
}

TEST(ShippedSmallClassifier, KnowsTheTeachersSamplesOnEveryDevice) {
  const Answer devices = run_cli({"devices", "--json"});
  std::vector<std::string> names{"cpu"};
  if (devices.json()["devices"].size() >= 2) names.push_back("vulkan");
  for (const std::string& device : names) {
    const Answer run =
        run_cli({"eval", "--model", kSmall, "--data", kTeacher + "/samples", "--device", device, "--json"});
    ASSERT_EQ(run.code, 0) << run.text();
    EXPECT_EQ(run.json()["images"], 10);
    EXPECT_GE(run.json()["top1"].get<double>(), 0.9) << device;
  }
}

}  // namespace
