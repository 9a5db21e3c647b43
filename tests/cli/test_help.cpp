// What helps a person who types: `vireo help`, examples that work as printed, the name that was meant, and one bad
// picture that costs no other.
#include <gtest/gtest.h>
#include <unistd.h>

#include <sstream>

#include "cli/running.h"

namespace cli_test {
namespace {

const std::string kData = VIREO_TEST_DATA;
const std::string kModel = kData + "/torchvision/even";
const std::string kSegmenter = kData + "/cases/hf-upernet-vit";
const std::string kPicture = kData + "/images/rgb8.png";

/// As `vireo --help` lists them.
Words verbs() {
  const std::string text = run_cli({"--help"}).out;
  Words names;
  std::istringstream lines(text.substr(std::min(text.find("Subcommands:"), text.size())));
  std::string line;
  for (std::getline(lines, line); std::getline(lines, line) && line.rfind("  ", 0) == 0;) {
    std::string name;
    if (line[2] != ' ' && std::istringstream(line) >> name) names.push_back(name);
  }
  EXPECT_GE(names.size(), 15u) << text;
  return names;
}

TEST(Help, IsAVerbToo) {
  const Answer all = run_cli({"help"});
  EXPECT_EQ(all.code, 0) << all.text();
  EXPECT_EQ(all.out, run_cli({"--help"}).out);
  for (const std::string& verb : verbs()) {
    const Answer help = run_cli({"help", verb});
    EXPECT_EQ(help.code, 0) << help.text();
    EXPECT_EQ(help.err, "");
    EXPECT_EQ(help.out, run_cli({verb, "--help"}).out) << verb;
    EXPECT_NE(help.out.find("Usage: vireo " + verb + " "), std::string::npos) << help.out;
  }
  const Answer none = run_cli({"help", "tunes"});
  EXPECT_TRUE(none.fails_clearly(2)) << none.text();
  EXPECT_NE(none.err.find("there is no verb 'tunes'; did you mean 'tune'?"), std::string::npos) << none.err;
  EXPECT_TRUE(run_cli({"help", "tune", "more"}).fails_clearly(2));
}

/// Lines of --help behind "Example:" or "Examples:".
Words examples(const std::string& verb) {
  Words found;
  std::istringstream lines(run_cli({verb, "--help"}).out);
  bool within = false;
  for (std::string line; std::getline(lines, line);) {
    if (within && line.rfind("  ", 0) == 0) found.push_back(line.substr(2));
    within = within || line == "Example:" || line == "Examples:";
  }
  return found;
}

TEST(Help, ExamplesAreCommandLinesThatParse) {
  const Scratch empty;  // no model and no picture is here: what parses fails for want of them
  size_t count = 0;
  for (const std::string& verb : verbs()) {
    const Words lines = examples(verb);
    EXPECT_FALSE(lines.empty()) << verb << " has no example";
    for (const std::string& line : lines) {
      const size_t pipe = line.find("| vireo "), begin = pipe == std::string::npos ? 0 : pipe + 2;
      std::istringstream words(line.substr(begin));
      Words arguments;
      for (std::string word; words >> word && word != ">";) arguments.push_back(word);
      ASSERT_GE(arguments.size(), 2u) << line;
      EXPECT_EQ(arguments[0], "vireo") << line;
      EXPECT_EQ(arguments[1], verb) << line;
      arguments.erase(arguments.begin());
      Running::Options options;
      options.folder = empty.path();
      const Answer run = Running(arguments, options).finish();
      // What a pipe would bring does not come here.
      const bool unfed = run.fails_clearly(2) && run.err.find("standard input brought nothing") != std::string::npos;
      EXPECT_TRUE(run.code == 0 || run.fails_clearly(1) || unfed) << line << "\n" << run.text();
      ++count;
    }
  }
  EXPECT_GE(count, 20u);
  EXPECT_TRUE(empty.list().empty()) << "nothing was written";
}

TEST(Help, SaysWhichNameWasMeant) {
  const std::string caps = std::string(VIREO_SOURCE_DIR) + "/engine/profile/caps/jetson-nano.txt";
  struct Case {
    Words arguments;
    int code;
    std::string meant, listed;
  };
  const std::vector<Case> cases{
      {{"clasify"}, 2, "'classify'", "segment"},
      {{"plan", "--modle", kModel}, 2, "'--model'", "--help"},
      {{"classify", "--model", kModel, kPicture, "--precison=fp16"}, 2, "'--precision'", "--help"},
      {{"plan", "--model", kModel, "--precision", "fp61"}, 2, "'fp16'", "fp32, fp16, int8, w8a8, checkpoint and auto"},
      {{"plan", "--model", kModel, "--device", "vulcan"}, 2, "'vulkan'", "auto, cpu, vulkan or vulkan:N"},
      {{"plan", "--model", kModel, "--device", "gpu"}, 2, "'vulkan'", "vulkan:N"},
      {{"diff", "--model", kModel, "--a", "cpo"}, 2, "'cpu'", "vulkan:N"},
      {{"replay", "x.vireo", "--device", "atuo"}, 2, "'auto'", "vulkan:N"},
      {{"plan", "--model", kModel, "--cpu-ops", "lineer"}, 1, "'linear'", "layer_norm"},
      {{"capture", "--model", kModel, "--out", "x", "--head", "logit"}, 2, "'logits'", "features, tokens"},
      {{"segment", "--model", kSegmenter, kPicture, "--map-resize", "bilinar"}, 2, "'bilinear'", "nearest"},
      {{"predict", "--sweep", "--caps", caps, "--precisions", "fp32,in8"}, 2, "'int8'", "fp32, fp16"},
      {{"predict", "--fit", "x.txt", "--fit-precisions", "f16"}, 2, "'fp16'", "fp32"},
      {{"predict", "--model", kModel, "--caps", caps, "--machine", "jetson-nan"}, 1, "'jetson-nano'", "jetson-nano-5w"},
  };
  for (const Case& c : cases) {
    const Answer run = run_cli(c.arguments);
    EXPECT_TRUE(run.fails_clearly(c.code)) << run.text();
    EXPECT_NE(run.err.find("did you mean " + c.meant), std::string::npos) << run.err;
    EXPECT_NE(run.err.find(c.listed), std::string::npos) << run.err;
  }
  for (const Words& far : {Words{"xyzzy"}, Words{"plan", "--model", kModel, "--precision", "double"},
                           Words{"plan", "--model", kModel, "--device", "metal"}}) {
    const Answer run = run_cli(far);
    EXPECT_TRUE(run.fails_clearly(2)) << run.text();
    EXPECT_EQ(run.err.find("did you mean"), std::string::npos) << "nothing is near: " << run.err;
  }
}

TEST(Help, SizeIsHeightByWidthEverywhere) {
  // 48 x 64 and 64 x 48 tell which is which.
  const Answer plan = run_cli({"plan", "--model", kModel, "--device", "cpu", "--size", "48x64", "--json"});
  ASSERT_EQ(plan.code, 0) << plan.text();
  const Scratch scratch;
  const Answer maps = run_cli({"segment", "--model", kSegmenter, "--device", "cpu", "--size", "96x64", "--json",
                               "--out-dir", scratch.path(), kPicture});
  ASSERT_EQ(maps.code, 0) << maps.text();
  EXPECT_EQ(maps.json()["height"], 96);
  EXPECT_EQ(maps.json()["width"], 64);
  const Answer bench =
      run_cli({"bench", "--model", kModel, "--device", "cpu", "--iters", "1", "--size", "48x64", "--json"});
  ASSERT_EQ(bench.code, 0) << bench.text();
  EXPECT_EQ(bench.json()["height"], 48);
  EXPECT_EQ(bench.json()["width"], 64);
  for (const std::string& verb : verbs()) {
    const std::string help = run_cli({verb, "--help"}).out;
    EXPECT_EQ(help.find("--input"), std::string::npos) << help;
    EXPECT_EQ(help.find("\n  --size "), help.find("\n  --size HxW ")) << help;
    EXPECT_EQ(help.find("\n  --frame "), help.find("\n  --frame WxH ")) << help;
  }
}

TEST(Pictures, ABadStandardInputCostsNoOther) {
  const Scratch scratch;
  const std::vector<std::pair<std::string, std::string>> bad{
      {"", "is empty"}, {"hello, I am no picture", "no known format"}, {"%PDF-1.4", "PDF"}, {"\x89PNG\r\n\x1a\n", ""}};
  const std::vector<Words> all{{"classify", "--model", kModel},
                               {"embed", "--model", kModel, "--out", scratch.path("f.npy")},
                               {"segment", "--model", kSegmenter, "--out-dir", scratch.path("maps")}};
  for (const Words& verb : all)
    for (const auto& [bytes, word] : bad)
      for (const Words& order : {Words{"-", kPicture}, Words{kPicture, "-"}}) {
        const std::string sent = bytes;
        const Answer run = run_cli(verb + Words{"--device", "cpu", "--json"} + order, {}, "",
                                   [&](int pipe, pid_t) { (void)write_all(pipe, sent.data(), sent.size()); });
        EXPECT_TRUE(run.fails_clearly(1)) << run.text();
        EXPECT_NE(run.err.find("1 of 2 images failed"), std::string::npos) << run.err;
        EXPECT_NE(run.err.find(word), std::string::npos) << run.err;
        const auto json = run.json();
        ASSERT_FALSE(json.is_discarded()) << run.text();
        ASSERT_EQ(json["results"].size(), 2u) << run.text();
        for (size_t i = 0; i < 2; ++i)
          EXPECT_EQ(json["results"][i].contains("error"), order[i] == "-") << json["results"][i];
      }
}

TEST(Pictures, AnEndlessStandardInputThatIsNoneIsLeft) {
  const Answer run =
      run_cli({"classify", "--model", kModel, "--device", "cpu", "--json", "-", kPicture}, {}, "", [](int pipe, pid_t) {
        const std::string line(65536, 'x');
        while (write_all(pipe, line.data(), line.size())) {
        }
      });
  EXPECT_TRUE(run.fails_clearly(1)) << run.text();
  EXPECT_EQ(run.json()["results"].size(), 2u);
}

}  // namespace
}  // namespace cli_test
