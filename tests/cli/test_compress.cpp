// `vireo compress` as users run it: a folder that every other verb opens, or one sentence and no folder.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>

#include "cli/running.h"

namespace cli_test {
namespace {

const std::string kShipped = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
const std::string kSamples = kShipped + "/samples";
const std::string kCases = std::string(VIREO_TEST_DATA) + "/cases/";

/// A command with the shipped model into `out` of a folder that holds nothing else.
struct Work {
  Scratch scratch;
  std::string out = scratch.path("out");
  Words command(const Words& more) const { return Words{"compress", "--model", kShipped, "--out", out} + more; }
  Answer run(const Words& more) const { return run_cli(command(more)); }
  /// The failure's sentence says this, and nothing was left, hidden or not.
  void refuses(int code, const Words& more, const std::string& what) const {
    const Words before = scratch.list();
    const Answer a = run(more);
    EXPECT_TRUE(a.fails_clearly(code)) << a.text();
    EXPECT_NE(a.err.find(what), std::string::npos) << a.err;
    EXPECT_EQ(scratch.list(), before) << a.err;
  }
};

const Words kFour{"--recipe", "w4g32", "--calibrate", kSamples};

TEST(Compress, WritesAFolderThatOtherVerbsOpen) {
  const Work w;
  const Answer a = w.run(kFour + Words{"--eval", kSamples, "--json"});
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_EQ(Scratch::names_in(w.out),
            (Words{"config.json", "model.safetensors", "preprocessor_config.json", "report.html", "report.json"}));
  EXPECT_EQ(w.scratch.list(), Words{"out"});  // no hidden folder either
  const auto report = a.json();
  EXPECT_EQ(report, nlohmann::json::parse(read_file(w.out + "/report.json"), nullptr, false));
  EXPECT_EQ(report["schema"], "vireo-compression/1");
  EXPECT_EQ(report["calibration_pictures"], 10);
  EXPECT_LT(report["size_ratio"], 0.25);
  EXPECT_EQ(report["compared"]["calibration"], false);
  EXPECT_GT(report["compared"]["kl"], 0);
  EXPECT_GT(report["predicted"]["ms"], 0);
  // What the report says is what `eval` finds.
  const std::string logits = w.scratch.path("l.npy");
  ASSERT_EQ(run_cli({"eval", "--model", kShipped, "--data", kSamples, "--device", "cpu", "--logits", logits}).code, 0);
  const Answer eval =
      run_cli({"eval", "--model", w.out, "--data", kSamples, "--device", "cpu", "--json", "--compare-logits", logits});
  ASSERT_EQ(eval.code, 0) << eval.text();
  EXPECT_NEAR(eval.json()["compared"]["kl"].get<double>(), report["compared"]["kl"].get<double>(), 1e-6);
  EXPECT_NEAR(eval.json()["top1"].get<double>(), report["compared"]["top1_after"].get<double>(), 1e-9);
  const Answer plan = run_cli({"plan", "--model", w.out, "--device", "cpu"});
  EXPECT_EQ(plan.code, 0) << plan.text();
  EXPECT_NE(plan.out.find("i4g32"), std::string::npos) << plan.out;
  const Answer again = run_cli({"compress", "--model", w.out, "--out", w.scratch.path("twice"), "--recipe", "w8"});
  EXPECT_TRUE(again.fails_clearly(1)) << again.text();
  EXPECT_NE(again.err.find("is compressed already"), std::string::npos) << again.err;
}

TEST(Compress, EightBitsNeedNoPictures) {
  const Work w;
  const Answer a = w.run({"--recipe", "w8"});
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_NE(a.out.find("by w8"), std::string::npos) << a.out;
  const Answer classify =
      run_cli({"classify", "--model", w.out, "--device", "cpu", kSamples + "/03_dress.png", "--json"});
  ASSERT_EQ(classify.code, 0) << classify.text();
  EXPECT_NE(classify.out.find("Dress"), std::string::npos) << classify.out;
}

TEST(Compress, NeverWritesIntoWhatItReads) {
  const Scratch scratch;
  const std::string in = scratch.make_folder("in");
  for (const char* name : {"config.json", "model.safetensors", "preprocessor_config.json"})
    scratch.write(std::string("in/") + name, read_file(kShipped + "/" + name));
  for (const std::string& out : {in, in + "/", in + "/model.safetensors", in + "/../in"})
    for (const Words& force : {Words{}, Words{"--force"}}) {
      const Answer a = run_cli(Words{"compress", "--model", in, "--out", out, "--recipe", "w8"} + force);
      EXPECT_TRUE(a.fails_clearly(2)) << out << ": " << a.text();
    }
  EXPECT_EQ(read_file(in + "/model.safetensors"), read_file(kShipped + "/model.safetensors"));
  EXPECT_EQ(Scratch::names_in(in).size(), 3u);
}

TEST(Compress, ReplacesOnlyItsOwnFolderAndOnlyByForce) {
  const Work w;
  ASSERT_EQ(w.run({"--recipe", "w8"}).code, 0);
  const std::string first = read_file(w.out + "/model.safetensors");
  w.refuses(2, {"--recipe", "w8"}, "exists");
  EXPECT_EQ(read_file(w.out + "/model.safetensors"), first);
  const Answer a = w.run(kFour + Words{"--force"});
  EXPECT_EQ(a.code, 0) << a.text();
  EXPECT_NE(read_file(w.out + "/model.safetensors"), first);
  EXPECT_EQ(w.scratch.list(), Words{"out"});
  w.scratch.write("out/thesis.txt", "mine");
  w.refuses(2, {"--recipe", "w8", "--force"}, "'thesis.txt'");
  EXPECT_EQ(read_file(w.out + "/thesis.txt"), "mine");
  const Scratch other;
  other.write("out", "a file");
  const Answer file =
      run_cli({"compress", "--model", kShipped, "--out", other.path("out"), "--recipe", "w8", "--force"});
  EXPECT_TRUE(file.fails_clearly(2)) << file.text();
  EXPECT_EQ(read_file(other.path("out")), "a file");
}

TEST(Compress, BadInputIsOneSentence) {
  const Work w;
  const std::string empty = w.scratch.make_folder("empty"), few = w.scratch.make_folder("few");
  w.scratch.write("few/a.png", read_file(kSamples + "/03_dress.png"));
  const std::string broken = w.scratch.make_folder("broken");
  for (int i = 0; i < 7; ++i)
    w.scratch.write("broken/" + std::to_string(i) + ".png", read_file(kSamples + "/03_dress.png"));
  w.scratch.write("broken/9.png", "no picture");
  const std::string nothing = w.scratch.write("nothing.txt", "blocks.99.* i8\n");
  const std::string blank = w.scratch.write("blank.txt", "");
  w.refuses(2, {}, "--recipe NAME");
  w.refuses(1, {"--recipe", "w8", "--policy", nothing}, "names no weight");
  w.refuses(1, {"--recipe", "w5"}, "there is no recipe 'w5'");
  w.refuses(1, {"--recipe", "w5"}, "w4g32");
  w.refuses(1, {"--recipe", "w8", "--method", "gptk"}, "did you mean 'gptq'");
  w.refuses(1, {"--recipe", "w8+w4g64", "--calibrate", kSamples}, "both say how weights are stored");
  w.refuses(2, {"--recipe", "w4g32"}, "looks at pictures: give --calibrate");
  w.refuses(1, {"--recipe", "w4g32", "--calibrate", empty}, "pictures");
  w.refuses(1, {"--recipe", "w4g32", "--calibrate", few}, "was given 1 picture");
  w.refuses(1, {"--recipe", "w4g32", "--calibrate", broken}, "was given 7 pictures");
  w.refuses(1, {"--recipe", "w4g32", "--calibrate", w.scratch.path("absent")}, "absent");
  w.refuses(1, kFour + Words{"--pictures", "3"}, "was given 3 pictures");
  w.refuses(1, {"--policy", nothing}, "'blocks.99.*' names no weight");
  w.refuses(1, {"--policy", blank}, "is empty");
  w.refuses(1, {"--policy", w.scratch.path("absent")}, "absent");
  w.refuses(1, {"--recipe", "w8", "--machine", "toaster"}, "toaster");
  const Answer nowhere =
      run_cli({"compress", "--model", kShipped, "--out", w.scratch.path("no/such/place"), "--recipe", "w8"});
  EXPECT_TRUE(nowhere.fails_clearly(1)) << nowhere.text();
  EXPECT_TRUE(run_cli({"compress", "--out", w.out, "--recipe", "w8"}).fails_clearly(2));
  EXPECT_TRUE(run_cli({"compress", "--model", kShipped, "--recipe", "w8"}).fails_clearly(2));
}

TEST(Compress, ListSaysWhatEachDoesAndItsSource) {
  const Answer text = run_cli({"compress", "--list"});
  ASSERT_EQ(text.code, 0) << text.text();
  const Answer json = run_cli({"compress", "--list", "--json"});
  ASSERT_EQ(json.code, 0) << json.text();
  for (const char* kind : {"recipes", "methods", "ranges", "extras"})
    for (const auto& entry : json.json()[kind])
      for (const char* field : {"name", "what", "source"}) {
        EXPECT_FALSE(entry[field].get<std::string>().empty());
        EXPECT_NE(text.out.find(entry[field].get<std::string>()), std::string::npos) << text.out;
      }
  EXPECT_NE(text.out.find("w4g32"), std::string::npos);
  EXPECT_NE(text.out.find("gptq"), std::string::npos);
}

TEST(Compress, InterruptedItLeavesNothing) {
  const Work w;
  Running::Options terminal;
  terminal.terminal = true;
  for (const char* when : {"reading", "picture", "sensitivity", "comparing"}) {
    Running tool(w.command(kFour), terminal);
    if (!tool.wait_for_stderr([&](const std::string& so_far) { return so_far.find(when) != std::string::npos; }))
      continue;  // it was through with that before its bar was drawn again
    tool.signal(SIGINT);
    const Answer a = tool.finish();
    EXPECT_EQ(a.code, 130) << when << ": " << a.text();
    EXPECT_NE(a.err.find("interrupted; nothing was written"), std::string::npos) << a.text();
    EXPECT_EQ(w.scratch.list(), Words{}) << when;
  }
}

/// 5 sessions of fp32 weights or their Hessians must not stand in memory at once.
TEST(Compress, PeakMemoryIsBounded) {
  const Scratch scratch;
  const Answer a = run_cli({"compress", "--model", kShipped, "--out", scratch.path("out"), "--recipe", "w4g32",
                            "--calibrate", kSamples, "--json"});
  ASSERT_EQ(a.code, 0) << a.text();
  const double stored = a.json()["bytes_before"].get<double>() / 1048576;
  EXPECT_LT(a.json()["peak_rss_mib"].get<double>(), 2.5 * stored + 256);
}

}  // namespace
}  // namespace cli_test
