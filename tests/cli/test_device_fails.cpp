// A device that fails after the tool has said that it runs there: the answers are right, and the tool says who gave
// them and why.
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/run_cli.h"

namespace cli_test {
namespace {

TEST(DeviceFails, TheToolSaysThatTheCpuGoesOn) {
  const Answer devices = run_cli({"devices"});
  if (devices.out.find("vulkan:0") == std::string::npos) GTEST_SKIP() << "no Vulkan device to test on";
  const std::string model = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
  std::vector<std::string> arguments{"classify", "--model", model};
  for (const std::string& name : Scratch::names_in(model + "/samples"))
    if (name.find(".png") != std::string::npos) arguments.push_back(model + "/samples/" + name);
  const size_t pictures = arguments.size() - 3;
  ASSERT_GT(pictures, 5u);
  // A nanosecond: a device that answers all of these in time would have to be done with each before it is asked.
  const Answer a = run_cli(arguments, {{"VIREO_DEVICE", "vulkan:0"}, {"VIREO_TIMEOUT", "0.000000001"}});
  EXPECT_EQ(a.code, 0) << a.text();
  const size_t at = a.err.find("vireo: the device failed, ");
  ASSERT_NE(at, std::string::npos) << a.text();
  EXPECT_NE(a.err.find("no answer for", at), std::string::npos) << a.text();
  EXPECT_EQ(a.err.find("vireo: the device failed, ", at + 1), std::string::npos) << "once: " << a.text();
  // As the CPU alone answers, line by line but for where and how long.
  const auto answers = [](const std::string& text) {
    std::string kept;
    for (size_t from = 0, end; from < text.size(); from = end + 1) {
      end = std::min(text.find('\n', from), text.size());
      if (text[from] == ' ' && text.compare(from, 10, "  reason: ") != 0) kept += text.substr(from, end - from) + "\n";
    }
    return kept;
  };
  arguments.insert(arguments.begin() + 1, {"--device", "cpu"});
  const Answer cpu = run_cli(arguments);
  ASSERT_EQ(cpu.code, 0) << cpu.text();
  EXPECT_EQ(answers(a.out), answers(cpu.out));
  EXPECT_FALSE(answers(a.out).empty());
}

}  // namespace
}  // namespace cli_test
