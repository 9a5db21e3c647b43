// Ctrl-C and SIGTERM: every verb that works for long keeps what it has done, says so in one line and ends with 128 +
// the signal; a second one ends it at once. Signals are sent when the program has shown how far it is, never by time.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "cli/running.h"

namespace cli_test {
namespace {

const std::string kData = VIREO_TEST_DATA;
const std::string kModel = kData + "/torchvision/even";
const std::string kSegmenter = kData + "/cases/hf-upernet-vit";
const std::string kPicture = kData + "/images/rgb8.png";
const std::string kNano = std::string(VIREO_SOURCE_DIR) + "/engine/profile/caps/jetson-nano.txt";
const std::string kConfig = kData + "/cases/hf-vit/config.json";

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

/// A named pipe that is a picture nobody has sent yet.
class Fifo {
 public:
  explicit Fifo(const std::string& path) : path_(path) { made_ = mkfifo(path.c_str(), 0600) == 0; }
  ~Fifo() { close_writer(); }
  const std::string& path() const { return path_; }
  /// Returns when the tool has opened it to read, so it is at this picture.
  bool wait_for_reader() {
    writer_ = made_ ? open(path_.c_str(), O_WRONLY | O_CLOEXEC) : -1;
    return writer_ >= 0;
  }
  bool send(const std::string& bytes) const { return write_all(writer_, bytes.data(), bytes.size()); }
  void close_writer() {
    if (writer_ >= 0) close(writer_);
    writer_ = -1;
  }

 private:
  std::string path_;
  bool made_ = false;
  int writer_ = -1;
};

/// A verb on two pictures, a pipe and one more picture.
struct OnPictures {
  std::string verb;
  Words arguments;
};

/// `at` holds the pipe and what is written.
std::vector<OnPictures> on_pictures(const Scratch& at, const std::string& pipe) {
  const Words four{kPicture, kPicture, pipe, kPicture};
  const std::string name = pipe.substr(pipe.rfind('/') + 1);
  at.write("labels.csv", "file,label\na.png,0\nb.png,0\n" + name + ",0\na.png,0\n");
  for (const char* file : {"a.png", "b.png"}) at.write(file, read_file(kPicture));
  Words own{at.path("a.png"), at.path("b.png"), pipe, kPicture};  // results have names of their own
  return {{"classify", Words{"classify", "--model", kModel, "--logits", at.path("out.npy")} + four},
          {"embed", Words{"embed", "--model", kModel, "--out", at.path("out.npy")} + four},
          {"segment", Words{"segment", "--model", kSegmenter, "--out-dir", at.path("maps")} + own},
          {"eval", Words{"eval", "--model", kModel, "--data", at.path(), "--logits", at.path("out.npy")}}};
}

TEST(Interrupt, WhatWasDoneOfPicturesIsKept) {
  for (const int signal : {SIGINT, SIGTERM})
    for (size_t i = 0; i < 4; ++i) {
      const Scratch scratch;
      Fifo pipe(scratch.path("pipe.png"));
      const OnPictures what = on_pictures(scratch, pipe.path())[i];
      SCOPED_TRACE(what.verb + " " + std::to_string(signal));
      Running tool(what.arguments + Words{"--device", "cpu", "--json"});
      ASSERT_TRUE(pipe.wait_for_reader());
      ASSERT_TRUE(tool.wait_for_handler());
      tool.signal(signal);
      const Answer run = tool.finish();
      EXPECT_TRUE(run.fails_clearly(128 + signal)) << run.text();
      EXPECT_EQ(tool.killed_by(), 0) << "it ended by itself";
      EXPECT_NE(run.err.find("interrupted after 2 of 4 pictures"), std::string::npos) << run.err;
      const auto json = run.json();
      ASSERT_FALSE(json.is_discarded()) << run.text();
      EXPECT_EQ(json["interrupted"], true);
      if (what.verb == "eval") EXPECT_EQ(json["images"], 2);
      else ASSERT_EQ(json["results"].size(), 2u);
      for (const auto& result : json["results"]) EXPECT_FALSE(result.contains("error")) << result;
      if (what.verb == "segment") {
        EXPECT_EQ(Scratch::names_in(scratch.path("maps")), (Words{"a.classes.png", "b.classes.png"}));
      } else {
        const Array rows = read_array(scratch.path("out.npy"));
        ASSERT_EQ(rows.shape.size(), 2u);
        EXPECT_EQ(rows.shape[0], 2);
        EXPECT_TRUE(std::all_of(rows.data.begin(), rows.data.end(), [](float x) { return x == x; }));
      }
    }
}

TEST(Interrupt, TheSameInText) {
  for (size_t i = 0; i < 4; ++i) {
    const Scratch scratch;
    Fifo pipe(scratch.path("pipe.png"));
    const OnPictures what = on_pictures(scratch, pipe.path())[i];
    SCOPED_TRACE(what.verb);
    Running tool(what.arguments + Words{"--device", "cpu"});
    ASSERT_TRUE(pipe.wait_for_reader());
    ASSERT_TRUE(tool.wait_for_handler());
    tool.signal(SIGINT);
    const Answer run = tool.finish();
    EXPECT_TRUE(run.fails_clearly(130)) << run.text();
    const char* said = what.verb == "eval" ? "2 pictures" : what.verb == "embed" ? "float32 [2, " : "rgb8.png";
    EXPECT_NE(run.out.find(what.verb == "segment" ? "b.png" : said), std::string::npos) << run.text();
  }
}

TEST(Interrupt, APipeThatNobodyOpensEndsToo) {
  const Scratch scratch;
  const Fifo pipe(scratch.path("pipe.png"));
  for (const OnPictures& what : on_pictures(scratch, pipe.path())) {
    SCOPED_TRACE(what.verb);
    Running tool(what.arguments + Words{"--device", "cpu", "--json"});
    ASSERT_TRUE(tool.wait_for_handler()) << "wherever it is then, it cannot come past the pipe";
    tool.signal(SIGINT);
    const Answer run = tool.finish();
    EXPECT_TRUE(run.fails_clearly(130)) << run.text();
    EXPECT_FALSE(run.json().is_discarded()) << run.text();
  }
}

TEST(Interrupt, NothingDoneWritesNothing) {
  const Scratch scratch;
  Fifo pipe(scratch.path("pipe.png"));
  Running tool(
      {"embed", "--model", kModel, "--device", "cpu", "--out", scratch.path("out.npy"), pipe.path(), kPicture});
  ASSERT_TRUE(pipe.wait_for_reader());
  ASSERT_TRUE(tool.wait_for_handler());
  tool.signal(SIGINT);
  const Answer run = tool.finish();
  EXPECT_TRUE(run.fails_clearly(130)) << run.text();
  EXPECT_NE(run.err.find("after 0 of 2 pictures"), std::string::npos) << run.err;
  EXPECT_EQ(scratch.list(), Words{"pipe.png"});
}

TEST(Interrupt, BadPicturesBeforeItAreTold) {
  const Scratch scratch;
  Fifo pipe(scratch.path("pipe.png"));
  Running tool({"classify", "--model", kModel, "--device", "cpu", scratch.path("none.png"), pipe.path()});
  ASSERT_TRUE(pipe.wait_for_reader());
  ASSERT_TRUE(tool.wait_for_handler());
  tool.signal(SIGINT);
  const Answer run = tool.finish();
  EXPECT_TRUE(run.fails_clearly(130)) << run.text();
  EXPECT_NE(run.err.find("after 1 of 2 pictures"), std::string::npos) << run.err;
  EXPECT_NE(run.err.find("1 of 1 image failed"), std::string::npos) << run.err;
}

TEST(Interrupt, ASecondOneEndsAtOnce) {
  // 1,500 results are more than a pipe holds, and nobody reads them: the tool waits there when the second signal comes.
  const Scratch scratch;
  Fifo pipe(scratch.path("pipe.png"));
  Words words{"classify", "--model", kModel, "--device", "cpu", "--threads", "1", "--json"};
  words.insert(words.end(), 1500, kPicture);
  words.push_back(pipe.path());
  Running::Options options;
  options.reads_stdout = false;
  Running tool(words, options);
  ASSERT_TRUE(pipe.wait_for_reader());
  ASSERT_TRUE(tool.wait_for_handler());
  tool.signal(SIGINT);
  ASSERT_TRUE(tool.wait_for_handler(false)) << "the first one was taken";
  tool.signal(SIGINT);
  const Answer run = tool.finish();
  EXPECT_EQ(tool.killed_by(), SIGINT) << run.err;
}

TEST(Interrupt, IgnoredSignalsStayIgnored) {
  const Scratch scratch;
  Fifo pipe(scratch.path("pipe.png"));
  Running::Options options;
  options.ignores = true;
  Running tool({"classify", "--model", kModel, "--device", "cpu", "--json", kPicture, pipe.path(), kPicture}, options);
  ASSERT_TRUE(pipe.wait_for_reader());
  tool.signal(SIGINT);
  ASSERT_TRUE(pipe.send(read_file(kPicture)));
  pipe.close_writer();
  const Answer run = tool.finish();
  EXPECT_EQ(run.code, 0) << run.text();
  EXPECT_EQ(run.json()["results"].size(), 3u);
}

TEST(Interrupt, BenchTellsTheIterationsDone) {
  Running tool({"bench", "--model", kModel, "--device", "cpu", "--threads", "1", "--iters", "1000000", "--json"});
  ASSERT_TRUE(tool.wait_for_handler());
  tool.signal(SIGINT);
  const Answer run = tool.finish();
  EXPECT_TRUE(run.fails_clearly(130)) << run.text();
  const auto json = run.json();
  ASSERT_FALSE(json.is_discarded()) << run.text();
  EXPECT_GE(json["iters"], 1);
  EXPECT_LT(json["iters"], 1000000);
  EXPECT_GT(json["median_ms"], 0);
  EXPECT_EQ(json["interrupted"], true);
  EXPECT_NE(run.err.find("after " + std::to_string(json["iters"].get<int>()) + " of 1000000"), std::string::npos);
}

TEST(Interrupt, ProfileIsOfTheRunsDone) {
  const Scratch scratch;
  Running tool({"profile", "--model", kModel, "--device", "cpu", "--threads", "1", "--runs", "100000", "--json",
                scratch.path("p.json"), "--html", scratch.path("p.html")});
  ASSERT_TRUE(tool.wait_for_handler());
  tool.signal(SIGINT);
  const Answer run = tool.finish();
  EXPECT_TRUE(run.fails_clearly(130)) << run.text();
  const auto json = nlohmann::json::parse(read_file(scratch.path("p.json")), nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_GE(json["runs"], 1);
  EXPECT_LT(json["runs"], 100000);
  EXPECT_GT(json["wall_us"], 0);
  EXPECT_TRUE(exists(scratch.path("p.html")));
  EXPECT_NE(run.out.find("note: stopped after"), std::string::npos) << run.out;
}

TEST(Interrupt, TuneWritesItsFile) {
  const Scratch scratch;
  if (!has_vulkan()) GTEST_SKIP() << "no Vulkan device";
  Running tool(
      {"tune", "--model", kModel, "--device", "vulkan", "--budget", "86400", "--out", scratch.path("t.txt"), "--json"});
  ASSERT_TRUE(tool.wait_for_handler());
  tool.signal(SIGINT);
  const Answer run = tool.finish();
  EXPECT_TRUE(run.fails_clearly(130)) << run.text();
  const auto json = run.json();
  ASSERT_FALSE(json.is_discarded()) << run.text();
  EXPECT_EQ(json["complete"], false);
  EXPECT_GE(json["steps"].size(), 1u);
  EXPECT_TRUE(exists(scratch.path("t.txt")));
}

/// The number before `all` in "[###...] 12/100 ...", the last one said; -1 without.
int steps_said(const std::string& err, int all) {
  const std::string of = "/" + std::to_string(all) + " ";
  const size_t at = err.rfind(of);
  if (at == std::string::npos) return -1;
  size_t begin = at;
  while (begin > 0 && isdigit(static_cast<unsigned char>(err[begin - 1]))) --begin;
  return begin < at ? std::atoi(err.c_str() + begin) : -1;
}

/// Waits until the bar of `all` steps says at least `least`.
bool wait_for_steps(Running& tool, int least, int all) {
  return tool.wait_for_stderr([&](const std::string& err) { return steps_said(err, all) >= least; });
}

Running::Options on_terminal() {
  Running::Options options;
  options.terminal = true;
  return options;
}

/// What is said in the end, behind the bar.
std::string last_line(const std::string& err) {
  const size_t at = err.rfind("vireo: ");
  return at == std::string::npos ? "" : err.substr(at);
}

TEST(Interrupt, EvalOfSegmentationPrintsItsSums) {
  const Scratch scratch;
  scratch.make_folder("images");
  scratch.make_folder("labels");
  constexpr int kCount = 3000;
  for (int i = 0; i < kCount; ++i) {
    const std::string name = std::to_string(i) + ".png";
    ASSERT_EQ(symlink((kSegmenter + "/0.png").c_str(), scratch.path("images/" + name).c_str()), 0);
  }
  // Labels are what the model itself finds.
  ASSERT_EQ(run_cli({"segment", "--model", kSegmenter, "--device", "cpu", "--out-dir", scratch.path("maps"),
                     kSegmenter + "/0.png"})
                .code,
            0);
  for (int i = 0; i < kCount; ++i) {
    const std::string name = std::to_string(i) + ".png";
    ASSERT_EQ(symlink(scratch.path("maps/0.classes.png").c_str(), scratch.path("labels/" + name).c_str()), 0);
  }
  Running tool({"eval", "--model", kSegmenter, "--device", "cpu", "--segmentation", scratch.path()}, on_terminal());
  ASSERT_TRUE(wait_for_steps(tool, 1, kCount));
  tool.signal(SIGINT);
  const Answer run = tool.finish();
  EXPECT_EQ(run.code, 130) << run.text();
  EXPECT_NE(last_line(run.err).find("interrupted after "), std::string::npos) << run.err;
  EXPECT_NE(run.out.find("mIoU             100.00 %"), std::string::npos) << run.text();
}

TEST(Interrupt, SweepKeepsItsRows) {
  const Scratch scratch;
  std::string sizes = "224";
  for (int i = 1; i < 1000; ++i) sizes += ",224";
  Running tool({"predict", "--caps", kNano, "--sweep", "--models", kConfig, "--precisions", "fp32,int8", "--sizes",
                sizes, "--json", "--csv", scratch.path("s.csv")},
               on_terminal());
  ASSERT_TRUE(wait_for_steps(tool, 1, 2000));
  tool.signal(SIGINT);
  const Answer run = tool.finish();
  EXPECT_EQ(run.code, 130) << run.text();
  const auto json = run.json();
  ASSERT_FALSE(json.is_discarded());
  const size_t rows = json["rows"].size();
  EXPECT_GE(rows, 1u);
  EXPECT_LT(rows, 2000u);
  EXPECT_EQ(json["interrupted"], true);
  EXPECT_NE(last_line(run.err).find("interrupted after " + std::to_string(rows) + " of 2000 rows"), std::string::npos);
  const std::string csv = read_file(scratch.path("s.csv"));
  EXPECT_EQ(size_t(std::count(csv.begin(), csv.end(), '\n')), rows + 1);
}

TEST(Interrupt, FitIsOfTheRoundsDone) {
  const Scratch scratch;
  const Words fit{"predict",
                  "--fit",
                  scratch.path("f.txt"),
                  "--fit-on",
                  kConfig + "," + kConfig,
                  "--fit-precisions",
                  "fp32",
                  "--device",
                  "cpu",
                  "--threads",
                  "1",
                  "--rounds",
                  "1000"};
  // Three things to prepare (two models, and one of them as a batch of two), then as many to measure in each round.
  Running tool(fit, on_terminal());
  ASSERT_TRUE(wait_for_steps(tool, 3 + 3 + 1, 3 + 3 * 1000));
  tool.signal(SIGINT);
  const Answer run = tool.finish();
  EXPECT_EQ(run.code, 130) << run.text();
  EXPECT_NE(read_file(scratch.path("f.txt")).find("kind: fitted"), std::string::npos);
  EXPECT_NE(last_line(run.err).find("of those done"), std::string::npos) << run.err;

  Running early(fit, Running::Options());
  ASSERT_TRUE(early.wait_for_handler());
  unlink(scratch.path("f.txt").c_str());
  early.signal(SIGINT);
  const Answer none = early.finish();
  EXPECT_TRUE(none.fails_clearly(130)) << none.text();
}

TEST(Progress, IsForTerminals) {
  const Scratch scratch;
  std::string csv = "file,label\n";
  for (int i = 0; i < 300; ++i) csv += "a.png,0\n";
  scratch.write("labels.csv", csv);
  scratch.write("a.png", read_file(kPicture));
  const Words eval{"eval", "--model", kModel, "--device", "cpu", "--data", scratch.path()};
  Running seen(eval, on_terminal());
  const Answer shown = seen.finish();
  EXPECT_EQ(shown.code, 0) << shown.text();
  EXPECT_NE(shown.err.find("] 1/300 "), std::string::npos) << shown.err;
  EXPECT_NE(shown.err.find("] 300/300 "), std::string::npos) << shown.err;
  EXPECT_NE(shown.err.find("/s, 0:00 left, top-1 "), std::string::npos) << shown.err;
  EXPECT_EQ(shown.err.substr(shown.err.size() - 4), "\r\033[K") << "it is taken away in the end";
  const Answer quiet = run_cli(eval);
  EXPECT_EQ(quiet.code, 0);
  EXPECT_EQ(quiet.err, "");
}

TEST(Progress, OfSweepAndFitToo) {
  const Scratch scratch;
  const std::vector<Words> verbs{
      {"predict", "--caps", kNano, "--sweep", "--models", kConfig, "--precisions", "fp32", "--sizes", "224,256"},
      {"predict", "--fit", scratch.path("f.txt"), "--fit-on", kConfig + "," + kConfig, "--fit-precisions", "fp32",
       "--device", "cpu", "--threads", "1", "--rounds", "2"}};
  for (const Words& verb : verbs) {
    Running seen(verb, on_terminal());
    const Answer shown = seen.finish();
    EXPECT_EQ(shown.code, 0) << shown.text();
    EXPECT_NE(shown.err.find("] 0/"), std::string::npos) << shown.err;
    const Answer quiet = run_cli(verb);
    EXPECT_EQ(quiet.code, 0) << quiet.text();
    EXPECT_EQ(quiet.err, "") << quiet.text();
  }
}

}  // namespace
}  // namespace cli_test
