// Streams where something is in the way: results that would replace them, a program that is slower than its camera, a
// reader that is gone, Ctrl-C, options that have nothing to say.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <vector>

#include "cli/running.h"

namespace cli_test {
namespace {

using nlohmann::json;

const std::string kModel = std::string(VIREO_TEST_DATA) + "/torchvision/even";
const std::string kSegmenter = std::string(VIREO_TEST_DATA) + "/cases/hf-upernet-vit";
const std::string kPicture = std::string(VIREO_TEST_DATA) + "/images/rgb8.png";
const Words kClassify{"classify", "--device", "cpu", "--model", kModel};
const Words kSegment{"segment", "--device", "cpu", "--model", kSegmenter};
const Words kEmbed{"embed", "--device", "cpu", "--model", kModel};
const Words kFrame{"--frame", "16x12", "-"};
constexpr size_t kFrameBytes = 16 * 12 * 3;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

std::string y4m(int frames) {
  std::string all = "YUV4MPEG2 W16 H12 F25:1 C420jpeg\n";
  for (int i = 0; i < frames; ++i) all += "FRAME\n" + std::string(16 * 12 * 3 / 2, char(40 + i));
  return all;
}

Answer feed(const Words& words, int frames, const std::string& out = "") {
  return run_cli(words, {}, out, [&](int pipe, pid_t) {
    const std::string bytes(size_t(frames) * kFrameBytes, '\5');
    (void)write_all(pipe, bytes.data(), bytes.size());
  });
}

/// A named pipe, open for writing. Opening it and writing wait for no reader: one that has left already is a failure of
/// the test and no end of it.
class Pipe {
 public:
  explicit Pipe(const std::string& path) {
    if (mkfifo(path.c_str(), 0600) == 0 || errno == EEXIST) file_ = open(path.c_str(), O_RDWR | O_CLOEXEC);
  }
  ~Pipe() { end(); }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  /// As much as a pipe holds, at most.
  bool send(const std::string& bytes) const { return write_all(file_, bytes.data(), bytes.size()); }
  /// Waits until all is read.
  void wait() const {
    int left = 1;
    for (int i = 0; i < 3000 && left > 0; ++i, usleep(10000)) (void)ioctl(file_, FIONREAD, &left);
  }
  void end() {
    if (file_ >= 0) close(file_);
    file_ = -1;
  }

 private:
  int file_ = -1;
};

/// A standard output that holds a few lines and that nobody reads until drain(): what prints into it stands still.
class Stall {
 public:
  explicit Stall(const std::string& path) : path_(path) {
    if (mkfifo(path.c_str(), 0600) == 0) file_ = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    held_ = file_ < 0 ? -1 : fcntl(file_, F_SETPIPE_SZ, 4096);
  }
  ~Stall() { leave(); }
  Stall(const Stall&) = delete;
  Stall& operator=(const Stall&) = delete;
  const std::string& path() const { return path_; }
  bool ready() const { return held_ > 0; }
  /// Reads to the end.
  void drain() {
    wait();
    char buffer[4096];
    for (ssize_t n = 0; (n = read(file_, buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR);)
      if (n > 0) text_.append(buffer, size_t(n));
  }
  /// Waits for the first byte, or the end.
  void wait() const {
    pollfd one{file_, POLLIN, 0};
    while (poll(&one, 1, -1) < 0 && errno == EINTR) continue;
    fcntl(file_, F_SETFL, 0);
  }
  void leave() {
    if (file_ >= 0) close(file_);
    file_ = -1;
  }
  std::vector<json> lines() const {
    std::vector<json> all;
    std::istringstream text(text_);
    for (std::string line; std::getline(text, line);) all.push_back(json::parse(line, nullptr, false));
    return all;
  }

 private:
  std::string path_, text_;
  int file_ = -1, held_ = -1;
};

/// How many frames gave way, as the end says on stderr.
int told_dropped(const Answer& a) {
  const size_t at = a.err.find(" frames gave way to newer ones");
  if (at == std::string::npos) return 0;
  return std::atoi(a.err.c_str() + a.err.rfind(' ', at - 1) + 1);
}

// ---------------------------------------------------------------------------------------------------- what is written

TEST(StreamFaults, ClassMapsReplaceNoInput) {
  const Scratch scratch;
  const std::string picture = scratch.write("a.png", read_file(kPicture)), film = scratch.write("f.y4m", y4m(1));
  scratch.make_folder("m");
  for (const char* file : {"config.json", "model.safetensors", "preprocessor_config.json"})
    scratch.write(std::string("m/") + file, read_file(kSegmenter + "/" + file));
  struct Case {
    std::string maps, input;
  };
  for (const Case& c : std::vector<Case>{{picture, picture},
                                         {film, film},
                                         {scratch.path("m/model.safetensors"), picture},
                                         {scratch.path("m/config.json"), film}}) {
    const std::string before = read_file(c.maps);
    const Answer a =
        run_cli({"segment", "--device", "cpu", "--model", scratch.path("m"), "--json", "--maps", c.maps, c.input});
    EXPECT_TRUE(a.fails_clearly(2)) << a.text();
    EXPECT_TRUE(has(a.err, "would replace")) << a.err;
    EXPECT_EQ(a.out, "");
    EXPECT_EQ(read_file(c.maps), before) << c.maps;
  }
  // What cannot begin leaves an earlier file alone.
  const std::string old = scratch.write("old", "maps");
  EXPECT_TRUE(run_cli({"segment", "--model", kModel, "--maps", old, picture}).fails_clearly(1));
  EXPECT_EQ(read_file(old), "maps");
}

TEST(StreamFaults, JsonIsWholeWhereMapsCannotBeWritten) {
  const Answer none = feed(kSegment + Words{"--json", "--maps", "/no/such/folder/maps"} + kFrame, 2);
  EXPECT_TRUE(none.fails_clearly(1)) << none.text();
  EXPECT_EQ(none.out, "") << "nothing was begun";
  const Answer full = feed(kSegment + Words{"--json", "--maps", "/dev/full"} + kFrame, 2);
  EXPECT_TRUE(full.fails_clearly(1)) << full.text();
  ASSERT_FALSE(full.json().is_discarded()) << full.text();
  EXPECT_FALSE(full.json().contains("interrupted"));
}

TEST(StreamFaults, ResultsReplaceNoStream) {
  const Scratch scratch;
  const std::string film = scratch.write("film.y4m", y4m(2)), bytes = read_file(film);
  for (const Words& verb : {kEmbed + Words{"--out", film}, kClassify + Words{"--logits", film}}) {
    const Answer a = run_cli(verb + Words{film});
    EXPECT_TRUE(a.fails_clearly(2)) << a.text();
    EXPECT_TRUE(has(a.err, "'" + film + "' would replace '" + film + "'")) << a.err;
    EXPECT_EQ(read_file(film), bytes);
    // The same file behind standard input.
    std::string line = "'" + std::string(VIREO_CLI) + "'";
    for (const std::string& word : verb) line += " '" + word + "'";
    EXPECT_NE(std::system((line + " - < '" + film + "' > '" + scratch.path("log") + "' 2>&1").c_str()), 0);
    EXPECT_TRUE(has(read_file(scratch.path("log")), "would replace '/dev/stdin'")) << read_file(scratch.path("log"));
    EXPECT_EQ(read_file(film), bytes);
  }
}

TEST(StreamFaults, NobodyTakesTheResults) {
  const std::string told = "standard output took no more results: ";
  for (const Words& words : {kClassify + Words{"--jsonl"}, kEmbed + Words{"--jsonl"}, kSegment + Words{"--jsonl"},
                             kClassify, kSegment + Words{"--json"}}) {
    const Answer a = feed(words + kFrame, 3, "/dev/full");
    EXPECT_EQ(a.code, 1) << a.text();
    EXPECT_TRUE(has(a.err, told + "No space left on device")) << words[0] << a.err;
  }
  // --maps ignores SIGPIPE: a reader who leaves after the first lines ends the work all the same.
  const Scratch scratch;
  Stall stall(scratch.path("out"));
  ASSERT_TRUE(stall.ready());
  bool all = true;
  const Answer a = run_cli(kSegment + Words{"--jsonl", "--maps", scratch.path("maps")} + kFrame, {}, stall.path(),
                           [&](int pipe, pid_t) {
                             const std::string bytes(kFrameBytes, '\5');
                             (void)write_all(pipe, bytes.data(), bytes.size());
                             stall.wait();
                             stall.leave();
                             for (int i = 0; i < 2000 && all; ++i) all = write_all(pipe, bytes.data(), bytes.size());
                           });
  EXPECT_FALSE(all) << "its sender is told";
  EXPECT_EQ(a.code, 1) << a.text();
  EXPECT_TRUE(has(a.err, told + "Broken pipe")) << a.err;
}

TEST(StreamFaults, WhatIsKeptIsWrittenThoughNobodyReads) {
  for (const bool classify : {true, false}) {
    const Scratch scratch;
    const std::string kept = scratch.path("kept.npy");
    const Words words = (classify ? kClassify : kEmbed) + Words{"--jsonl", classify ? "--logits" : "--out", kept};
    Stall stall(scratch.path("out"));
    ASSERT_TRUE(stall.ready());
    const Answer a = run_cli(words + kFrame, {}, stall.path(), [&](int pipe, pid_t) {
      const std::string bytes(kFrameBytes, '\5');
      (void)write_all(pipe, bytes.data(), bytes.size());
      stall.wait();
      stall.leave();
      for (int i = 0; i < 2000 && write_all(pipe, bytes.data(), bytes.size()); ++i) continue;
    });
    EXPECT_EQ(a.code, 1) << a.text();
    EXPECT_TRUE(has(a.err, "standard output took no more results: Broken pipe; the ")) << a.err;
    EXPECT_TRUE(has(a.err, "pictures are in " + kept)) << a.err;
    std::ifstream file(kept, std::ios::binary);
    const std::string npy((std::istreambuf_iterator<char>(file)), {});
    EXPECT_TRUE(has(npy, "'shape': (")) << "it is whole: written under another name first";
  }
}

// ------------------------------------------------------------------------------------------------------- their end

TEST(StreamFaults, LinesTellTheLatencyAtTheEnd) {
  for (const Words& verb : {kClassify, kEmbed, kSegment}) {
    const Answer a = feed(verb + Words{"--jsonl", "--deadline", "1e9"} + kFrame, 7);
    EXPECT_EQ(a.code, 0) << a.text();
    EXPECT_EQ(a.err.rfind("note: latency from frame to answer: ", 0), 0u) << a.err;
    EXPECT_TRUE(has(a.err, "ms p99; 0 of 7 late\n")) << a.err;
  }
}

TEST(StreamFaults, CtrlCOfAStreamIsToldAndNoFailure) {
  for (const Words& verb : {kClassify, kEmbed, kSegment})
    for (const bool cut : {true, false}) {
      const Scratch scratch;
      const std::string path = scratch.path("frames");  // no name of a film: what comes says what it is
      Pipe pipe(path);
      const Words out = verb[0] == "embed" ? Words{"--out", scratch.path("f.npy")} : Words{};
      Running tool(verb + out + Words{"--json", "--deadline", "0.000001", path});
      EXPECT_TRUE(pipe.send(y4m(2)));
      EXPECT_TRUE(tool.wait_for_stderr([](const std::string& err) { return has(err, "answer of frame-000001"); }));
      if (cut) tool.signal(SIGINT);
      else pipe.end();
      const Answer a = tool.finish();
      EXPECT_EQ(a.code, 0) << a.text();
      const json whole = a.json();
      ASSERT_FALSE(whole.is_discarded()) << a.text();
      EXPECT_GE(whole["results"].size(), 1u);
      EXPECT_EQ(whole.value("interrupted", false), cut) << a.text();
      EXPECT_EQ(has(a.err, "note: interrupted after " + std::to_string(whole["results"].size()) + " frames"), cut)
          << a.err;
    }
}

// --------------------------------------------------------------------------------------------------- frames give way

TEST(StreamFaults, DropNeverLetsTheSenderWait) {
  constexpr int kFrames = 100;  // less than a pipe holds
  for (const Words& verb : {kClassify, kEmbed, kSegment})
    for (const bool drop : {true, false}) {
      const Scratch scratch;
      Stall stall(scratch.path("out"));
      ASSERT_TRUE(stall.ready());
      const Words words = verb + Words{"--jsonl", "--frames", std::to_string(kFrames)} + kFrame;
      const Answer a =
          run_cli(words + (drop ? Words{"--drop"} : Words{}), {}, stall.path(), [&](int pipe, pid_t process) {
            const std::string bytes(kFrames * kFrameBytes, '\5');
            (void)write_all(pipe, bytes.data(), bytes.size());
            // The tool stands still at its output; what reads ahead goes on to the last frame all the same.
            int left = 1;
            for (int i = 0; drop && i < 3000 && left > 0 && kill(process, 0) == 0; ++i, usleep(10000))
              (void)ioctl(pipe, FIONREAD, &left);
            stall.drain();
          });
      ASSERT_EQ(a.code, 0) << a.text();
      const std::vector<json> lines = stall.lines();
      ASSERT_FALSE(lines.empty());
      EXPECT_EQ(int(lines.size()) + told_dropped(a), kFrames) << verb[0] << a.err;
      EXPECT_EQ(told_dropped(a) > 0, drop) << verb[0] << a.err;
      EXPECT_EQ(lines.back()["image"], "frame-000100") << "the newest is never dropped";
    }
}

// ------------------------------------------------------------------------------------------------------------ cameras

const std::string kShim = VIREO_CAMERA_SHIM;
#define NEED_SHIM \
  if (kShim.empty()) GTEST_SKIP() << "a library cannot be preloaded before a sanitizer's"

Environment camera(const std::string& kind) { return {{"LD_PRELOAD", kShim}, {"VIREO_FAKE_CAMERA", kind}}; }

/// What classify says of frames of the shim, which are grey and small, from a pipe.
json tops_of(const std::vector<int>& numbers) {
  std::string bytes;
  for (const int n : numbers)
    for (int y = 0; y < 12; ++y)
      for (int x = 0; x < 16; ++x) bytes += char(uint8_t(7 * x + 13 * y + 5 * n));
  const Answer a = run_cli(kClassify + Words{"--json", "--format", "grey"} + kFrame, {}, "",
                           [&](int pipe, pid_t) { (void)write_all(pipe, bytes.data(), bytes.size()); });
  EXPECT_EQ(a.code, 0) << a.text();
  json tops = json::array();
  const json whole = a.json();
  for (const json& r : whole["results"]) tops.push_back(r["top"]);
  return tops;
}

TEST(StreamFaults, ASlowProgramSeesTheNewestFrameOfACamera) {
  NEED_SHIM;
  const Answer a =
      run_cli(kClassify + Words{"--json", "--frames", "3", "/dev/video7"}, camera("formats=GREY,size=16x12,slow=10"));
  ASSERT_EQ(a.code, 0) << a.text();
  const json whole = a.json();
  json tops = json::array();
  for (const json& r : whole["results"]) {
    tops.push_back(r["top"]);
    EXPECT_LT(r["latency_ms"], 60e3) << "a minute for each frame that the camera was ahead";
  }
  // The camera starts when its first frame is asked for. Of the ten that come while that is at work four are kept, and
  // all are old.
  EXPECT_EQ(tops, tops_of({0, 11, 22}));
  EXPECT_EQ(whole["dropped"], 20);
}

TEST(StreamFaults, ACameraIsReadAheadWithoutKeepingOldFrames) {
  NEED_SHIM;
  const bool gpu = has(run_cli({"devices"}).out, "vulkan");
  for (const Words& verb : {kSegment, Words{"segment", "--device", "vulkan", "--model", kSegmenter},
                            Words{"classify", "--device", "vulkan", "--model", kModel}}) {
    if (!gpu && verb[2] == "vulkan") continue;
    const Scratch scratch;
    Stall stall(scratch.path("out"));
    ASSERT_TRUE(stall.ready());
    const std::string tell = scratch.path("unplugged");
    const Answer a =
        run_cli(verb + Words{"--jsonl", "/dev/video7"}, camera("formats=GREY,size=16x12,frames=100,tell=" + tell),
                stall.path(), [&](int, pid_t process) {
                  for (int i = 0; i < 1000 && !exists(tell) && kill(process, 0) == 0; ++i) usleep(10000);
                  stall.drain();
                });
    EXPECT_EQ(a.code, 1) << a.text();
    EXPECT_TRUE(has(a.err, "frame-000101 did not come: camera '/dev/video7' was unplugged")) << a.err;
    EXPECT_GT(told_dropped(a), 0) << a.err;
    EXPECT_EQ(int(stall.lines().size()) + told_dropped(a), 101);
  }
}

TEST(StreamFaults, LinksOfCamerasAreCameras) {
  NEED_SHIM;
  for (const char* name : {"/dev/v4l/by-id/fake", "/dev/front-camera"}) {
    const Answer a = run_cli(kClassify + Words{"--jsonl", "--frames", "2", name}, camera("formats=YUYV"));
    EXPECT_EQ(a.code, 0) << a.text();
    EXPECT_TRUE(has(a.out, "frame-000002")) << a.text();
  }
  const Answer none = run_cli(kClassify + Words{"/dev/v4l/by-path/none"});
  EXPECT_TRUE(none.fails_clearly(1) && has(none.err, "camera '/dev/v4l/by-path/none' is not there")) << none.text();
}

// ------------------------------------------------------------------------------------------------------------ options

TEST(StreamFaults, OptionsOfFramesAreRefusedForPictures) {
  const Scratch scratch;
  const std::string folder = scratch.make_folder("pictures");
  scratch.write("pictures/a.png", read_file(kPicture));
  const Words capture{"capture", "--device", "cpu", "--model", kModel, "--out", scratch.path("c.safetensors")},
      diff{"diff", "--model", kModel, "--a", "cpu", "--b", "cpu"};
  for (const Words& option :
       std::vector<Words>{{"--rotate", "90"}, {"--range", "full"}, {"--matrix", "bt709"}, {"--frames", "2"}}) {
    for (const Words& words :
         {kClassify + Words{kPicture}, kClassify + Words{folder}, kSegment + Words{kPicture},
          kEmbed + Words{"--jsonl", kPicture}, capture + Words{kPicture}, capture, diff + Words{kPicture}, diff}) {
      const Answer a = run_cli(words + option);
      EXPECT_TRUE(a.fails_clearly(2)) << words[0] << a.text();
      EXPECT_TRUE(has(a.err, words[0] + ": " + option[0] + " is for frames")) << a.err;
    }
  }
}

TEST(StreamFaults, ANamedPipeAloneIsWhatItBrings) {
  const Scratch scratch;
  const std::string path = scratch.path("pipe");
  const auto of_pipe = [&](const std::string& bytes) {
    Pipe pipe(path);
    Running tool(kClassify + Words{"--json", path});
    EXPECT_TRUE(pipe.send(bytes));
    pipe.wait();
    pipe.end();
    return tool.finish();
  };
  const Answer film = of_pipe(y4m(3)), picture = of_pipe(read_file(kPicture));
  EXPECT_EQ(film.code, 0) << film.text();
  EXPECT_EQ(film.json()["results"].size(), 3u);
  EXPECT_EQ(picture.code, 0) << picture.text();
  EXPECT_EQ(picture.json()["results"][0]["image"], path);
}

}  // namespace
}  // namespace cli_test
