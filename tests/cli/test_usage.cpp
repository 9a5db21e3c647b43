// The command line as scripts depend on it: verbs, flags, exit codes, one clear line on stderr.
#include <gtest/gtest.h>
#include <unistd.h>

#include <sstream>

#include "cli/run_cli.h"

namespace {

using cli_test::Answer;
using cli_test::run_cli;
using cli_test::Scratch;

const std::string kModel = std::string(VIREO_TEST_DATA) + "/torchvision/even";
const std::string kPicture = std::string(VIREO_TEST_DATA) + "/images/rgb8.png";

/// As `vireo --help` lists them, without `help` itself.
std::vector<std::string> verbs() {
  const std::string text = run_cli({"--help"}).out;
  std::vector<std::string> names;
  std::istringstream lines(text.substr(std::min(text.find("Subcommands:"), text.size())));
  std::string line;
  for (std::getline(lines, line); std::getline(lines, line) && line.rfind("  ", 0) == 0;) {
    std::string name;
    if (line[2] != ' ' && std::istringstream(line) >> name && name != "help") names.push_back(name);
  }
  EXPECT_GE(names.size(), 14u) << text;
  return names;
}

TEST(Usage, NoVerbPrintsUsage) {
  const Answer run = run_cli({});
  EXPECT_EQ(run.code, 2) << run.text();
  EXPECT_EQ(run.out, "");
  for (const std::string& verb : verbs()) EXPECT_NE(run.err.find(verb), std::string::npos) << verb << run.text();
}

TEST(Usage, AnUnknownVerbIsNamed) {
  const Answer run = run_cli({"classfy", "--model", "x"});
  EXPECT_TRUE(run.fails_clearly(2)) << run.text();
  EXPECT_NE(run.err.find("there is no verb 'classfy'; did you mean 'classify'? There are devices, classify"),
            std::string::npos)
      << run.text();
}

TEST(Usage, HelpOfEveryVerb) {
  const Answer run = run_cli({"--help"});
  EXPECT_EQ(run.code, 0) << run.text();
  for (const std::string& verb : verbs()) {
    EXPECT_NE(run.out.find(verb), std::string::npos) << verb;
    const Answer help = run_cli({verb, "--help"});
    EXPECT_EQ(help.code, 0) << help.text();
    EXPECT_NE(help.out.find("--json"), std::string::npos) << help.text();
    EXPECT_EQ(help.err, "");
  }
}

TEST(Usage, Version) {
  const Answer run = run_cli({"--version"});
  EXPECT_EQ(run.code, 0) << run.text();
  EXPECT_EQ(run.out.rfind("vireo ", 0), 0u) << run.text();
}

TEST(Usage, WrongUsageIsCode2) {
  const std::vector<std::vector<std::string>> wrong{
      {"dance"},
      {"--what"},
      {"env", "--what"},
      {"devices", "--what"},
      {"classify"},
      {"classify", kPicture},
      {"classify", "--model", kModel},
      {"classify", "--model", kModel, kPicture, "--what"},
      {"classify", "--model", kModel, kPicture, "--device", "gpu"},
      {"classify", "--model", kModel, kPicture, "--device", "vulkan:"},
      {"classify", "--model", kModel, kPicture, "--device", "vulkan:x"},
      {"classify", "--model", kModel, kPicture, "--device", "vulkan:-1"},
      {"classify", "--model", kModel, kPicture, "--precision", "fp64"},
      {"classify", "--model", kModel, kPicture, "--threads", "-1"},
      {"classify", "--model", kModel, kPicture, "--threads", "many"},
      {"classify", "--model", kModel, kPicture, "--topk", "0"},
      {"classify", "--model", kModel, kPicture, "--size", "224"},
      {"segment"},
      {"segment", kPicture},
      {"segment", "--model", kModel},
      {"segment", "--model", kModel, "-"},
      {"segment", "--model", kModel, "-", "--size", "640x480"},
      {"segment", "--model", kModel, "-", "--frame", "640"},
      {"segment", "--model", kModel, "-", "--frame", "0x480"},
      {"segment", "--model", kModel, "-", "--frame", "999999x999999"},
      {"segment", "--model", kModel, "-", kPicture, "--frame", "640x480"},
      {"segment", "--model", kModel, "-", "--frame", "640x480", "--overlay"},
      {"segment", "--model", kModel, kPicture, "--frame", "640x480"},
      {"segment", "--model", kModel, kPicture, "--drop"},
      {"segment", "--model", kModel, kPicture, "--input", "224"},
      {"segment", "--model", kModel, kPicture, "--out-dir", ""},
      {"embed", "--model", kModel, kPicture},
      {"plan"},
      {"plan", "--model", kModel, "--batch", "0"},
      {"bench"},
      {"bench", "--random-weights", "1"},
      {"bench", "--model", kModel, "--config", kModel + "/config.json"},
      {"bench", "--model", kModel, "--iters", "0"},
      {"bench", "--model", kModel, "extra"},
      {"eval", "--model", kModel},
      {"eval", "--model", kModel, "--data", "x", "--fashion-mnist"},
      {"eval", "--model", kModel, "--fashion-mnist", "--limit", "0"},
      {"eval", "--model", kModel, "--data", "x", "--segmentation", "x"},
      {"eval", "--model", kModel, "--data", "x", "--ignore", "1"},
      {"eval", "--model", kModel, "--data", "x", "--split", "val"},
      {"eval", "--model", kModel, "--segmentation", "x", "--ignore", "256"},
      {"eval", "--model", kModel, "--segmentation", "x", "--logits", "l.npy"},
      {"diff"},
      {"diff", "--model", kModel, "--a", "moon"},
      {"diff", "--model", kModel, "--tolerance", "-1"},
  };
  for (const auto& arguments : wrong) {
    const Answer run = run_cli(arguments);
    std::string line;
    for (const std::string& a : arguments) line += " " + a;
    EXPECT_TRUE(run.fails_clearly(2)) << line << "\n" << run.text();
  }
}

TEST(Usage, MissingModelIsNamed) {
  for (const std::string verb : {"classify", "segment", "embed", "bench", "plan", "diff"}) {
    std::vector<std::string> arguments{verb, "--model", "/no/such/model"};
    if (verb == "classify" || verb == "segment" || verb == "embed") arguments.push_back(kPicture);
    Scratch scratch;
    if (verb == "embed") arguments.insert(arguments.end(), {"--out", scratch.path("e.npy")});
    const Answer run = run_cli(arguments);
    EXPECT_TRUE(run.fails_clearly(1)) << verb << run.text();
    EXPECT_NE(run.err.find("/no/such/model"), std::string::npos) << run.text();
    EXPECT_TRUE(scratch.list().empty()) << "nothing half-written";
  }
}

TEST(Usage, VulkanDeviceThatIsNotThere) {
  const Answer run = run_cli({"classify", "--model", kModel, "--device", "vulkan:9", kPicture});
  EXPECT_TRUE(run.fails_clearly(1)) << run.text();
  EXPECT_NE(run.err.find("Vulkan"), std::string::npos) << run.text();
}

TEST(Usage, ExplicitVulkanFailsWithoutALoaderAndAutoFallsBack) {
  // A driver list that names nothing: the loader is there, but no device is.
  const cli_test::Environment nothing{{"VK_ICD_FILENAMES", "/no/such/driver.json"},
                                      {"VK_DRIVER_FILES", "/no/such/driver.json"}};
  const Answer fails = run_cli({"classify", "--model", kModel, "--device", "vulkan", kPicture}, nothing);
  EXPECT_TRUE(fails.fails_clearly(1)) << fails.text();
  const Answer works = run_cli({"classify", "--model", kModel, "--json", kPicture}, nothing);
  EXPECT_EQ(works.code, 0) << works.text();
  const auto json = works.json();
  ASSERT_FALSE(json.is_discarded()) << works.text();
  EXPECT_EQ(json["device"]["kind"], "cpu");
  EXPECT_NE(json["device"]["reason"], "");
}

TEST(Usage, FullDiskBehindStdout) {
  if (access("/dev/full", W_OK) != 0) GTEST_SKIP() << "never: this machine has no /dev/full";
  const Answer run = run_cli({"env"}, {}, "/dev/full");
  EXPECT_TRUE(run.fails_clearly(1)) << run.text();
}

TEST(Devices, ListsTheCpuLast) {
  const Answer run = run_cli({"devices", "--json"});
  ASSERT_EQ(run.code, 0) << run.text();
  const auto json = run.json();
  ASSERT_FALSE(json.is_discarded()) << run.text();
  ASSERT_FALSE(json["devices"].empty());
  EXPECT_EQ(json["devices"].back()["kind"], "cpu");
  for (size_t i = 0; i + 1 < json["devices"].size(); ++i) EXPECT_EQ(json["devices"][i]["index"], i);
  EXPECT_EQ(run_cli({"devices"}).code, 0);
}

TEST(Devices, CapsAreReadBackByPlan) {
  Scratch scratch;
  for (const std::string which : {"", "cpu"}) {
    std::vector<std::string> arguments{"devices", "--caps"};
    if (!which.empty()) arguments.push_back(which);
    const Answer caps = run_cli(arguments);
    ASSERT_EQ(caps.code, 0) << caps.text();
    const std::string file = scratch.write("caps.txt", caps.out);
    const Answer plan = run_cli({"plan", "--model", kModel, "--caps", file});
    EXPECT_EQ(plan.code, 0) << plan.text();
    EXPECT_FALSE(plan.out.empty());
  }
  EXPECT_TRUE(run_cli({"devices", "--caps", "99"}).fails_clearly(1));
  EXPECT_TRUE(run_cli({"devices", "--caps", "moon"}).fails_clearly(2));
}

TEST(Env, ListsTheTable) {
  const Answer text = run_cli({"env"});
  EXPECT_EQ(text.code, 0);
  EXPECT_NE(text.out.find("VIREO_CACHE_DIR"), std::string::npos) << text.text();
  const Answer run = run_cli({"env", "--json"}, {{"VIREO_CACHE_DIR", "-"}});
  const auto json = run.json();
  ASSERT_FALSE(json.is_discarded()) << run.text();
  bool found = false;
  for (const auto& v : json["variables"]) {
    EXPECT_FALSE(v["text"].get<std::string>().empty()) << v;
    if (v["name"] == "VIREO_CACHE_DIR") found = v["value"] == "-";
  }
  EXPECT_TRUE(found) << run.text();
}

}  // namespace
