// `vireo segment` and `vireo eval --segmentation` as users run them, on a small UPerNet with reference answers.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "classmap.h"
#include "cli/run_cli.h"
#include "image.h"

namespace {

using cli::ClassMap;
using cli_test::Answer;
using cli_test::Array;
using cli_test::operator+;
using cli_test::read_file;
using cli_test::run_cli;
using cli_test::Scratch;
using cli_test::Words;
using cli_test::write_all;

const std::string kCase = std::string(VIREO_TEST_DATA) + "/cases/hf-upernet-vit";
const std::string kClassifier = std::string(VIREO_TEST_DATA) + "/torchvision/even";
const int kClasses = 3, kHeight = 48, kWidth = 64;  // of kCase

std::string picture(int i) { return kCase + "/" + std::to_string(i) + ".png"; }

const Words kSegment{"segment", "--model", kCase, "--device", "cpu"};
const Words kEval{"eval", "--model", kCase, "--device", "cpu", "--segmentation"};

ClassMap labels(const std::string& path) {
  auto map = cli::load_labels(path);
  EXPECT_TRUE(map.ok()) << map.error().message;
  return map ? *map : ClassMap{};
}

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

/// `count` raw frames of the model's size, each another.
std::string raw_frames(int count) {
  std::string bytes(size_t(count) * kWidth * kHeight * 3, '\0');
  uint32_t state = 1;
  for (char& b : bytes) {
    state = state * 1664525 + 1013904223;
    b = char(state >> 25);
  }
  return bytes;
}

const std::string kFrameSize = std::to_string(kWidth) + "x" + std::to_string(kHeight);

Answer segment_raw(const std::string& bytes, const Words& more) {
  return run_cli(kSegment + Words{"-", "--frame", kFrameSize} + more, {}, "",
                 [&](int pipe, pid_t) { (void)write_all(pipe, bytes.data(), bytes.size()); });
}

TEST(Segment, FramesOfSwappedSizeAreNoted) {
  std::string bytes;
  for (int y = 0; y < 40; ++y)
    for (int x = 0; x < 64; ++x) bytes += std::string(3, char(2 * y + x));
  for (const char* size : {"64x40", "40x64"}) {
    const Answer a = run_cli(kSegment + Words{"-", "--frame", size}, {}, "",
                             [&](int pipe, pid_t) { (void)write_all(pipe, bytes.data(), bytes.size()); });
    EXPECT_EQ(a.code, 0) << a.text();
    const bool noted = a.err.find("note: the frames look 64x40 rather than 40x64") != std::string::npos;
    EXPECT_EQ(noted, std::string(size) == "40x64") << a.text();
  }
}

TEST(Segment, MapsAgreeWithTheReference) {
  Scratch scratch;
  const Answer run = run_cli(
      kSegment + Words{picture(0), picture(1), picture(2), "--out-dir", scratch.path("new"), "--overlay", "--json"});
  ASSERT_EQ(run.code, 0) << run.text();
  EXPECT_EQ(run.err, "");
  const auto json = run.json();
  ASSERT_FALSE(json.is_discarded()) << run.text();
  for (const char* key :
       {"frames", "failed", "dropped", "fps", "median_ms", "p95_ms", "peak_rss_mib", "height", "width"})
    EXPECT_TRUE(json[key].is_number()) << key << run.text();
  EXPECT_EQ(json["frames"], 3);
  EXPECT_EQ(json["device"]["kind"], "cpu");
  const Array expected = cli_test::read_array(kCase + "/expected.npy");
  ASSERT_EQ(expected.shape, (std::vector<int64_t>{3, kClasses, kHeight, kWidth}));
  ASSERT_EQ(json["results"].size(), 3u);
  for (int i = 0; i < 3; ++i) {
    const auto& result = json["results"][size_t(i)];
    EXPECT_EQ(result["image"], picture(i));
    const auto image = cli::load_image(picture(i));
    ASSERT_TRUE(image.ok());
    const ClassMap map = labels(result["map"]);
    ASSERT_EQ(map.width, image->width);
    ASSERT_EQ(map.height, image->height);
    EXPECT_EQ(result["width"], map.width);
    EXPECT_EQ(result["height"], map.height);
    // The reference's scores at the picture's size, bilinear, give its classes.
    ClassMap full{map.width, map.height, std::vector<uint8_t>(map.index.size())};
    const size_t plane = size_t(kWidth) * kHeight;
    for (int y = 0; y < map.height; ++y)
      for (int x = 0; x < map.width; ++x) {
        const double fy = std::max((y + 0.5) * kHeight / map.height - 0.5, 0.0),
                     fx = std::max((x + 0.5) * kWidth / map.width - 0.5, 0.0);
        const int y0 = int(fy), x0 = int(fx), y1 = std::min(y0 + 1, kHeight - 1), x1 = std::min(x0 + 1, kWidth - 1);
        double best = -HUGE_VAL;
        for (int c = 0; c < kClasses; ++c) {
          const float* score = &expected.data[(size_t(i) * kClasses + size_t(c)) * plane];
          const auto across = [&](int row) {
            return (1 - (fx - x0)) * double(score[row * kWidth + x0]) + (fx - x0) * double(score[row * kWidth + x1]);
          };
          const double here = (1 - (fy - y0)) * across(y0) + (fy - y0) * across(y1);
          if (here > best) best = here, full.index[size_t(y) * size_t(map.width) + size_t(x)] = uint8_t(c);
        }
      }
    size_t same = 0;
    std::vector<size_t> counts(size_t(kClasses), 0);
    for (size_t p = 0; p < map.index.size(); ++p) {
      same += map.index[p] == full.index[p];
      ++counts[map.index[p]];
    }
    EXPECT_GE(double(same), 0.998 * double(map.index.size())) << picture(i);
    double shares = 0;
    for (const auto& c : result["classes"]) {
      EXPECT_EQ(c["pixels"], counts[c["index"].get<size_t>()]);
      EXPECT_EQ(c["label"], "class " + std::to_string(c["index"].get<int>()));
      shares += c["share"].get<double>();
    }
    EXPECT_NEAR(shares, 1, 1e-12);
    const auto overlay = cli::load_image(result["overlay"]);
    ASSERT_TRUE(overlay.ok());
    EXPECT_GT(overlay->width, map.width);
    EXPECT_GE(overlay->height, map.height);
  }
  const Words written{"0.classes.png", "0.overlay.png", "1.classes.png",
                      "1.overlay.png", "2.classes.png", "2.overlay.png"};
  EXPECT_EQ(Scratch::names_in(scratch.path("new")), written) << "and no temporary file";
}

TEST(Segment, TextNamesDeviceFilesAndShares) {
  Scratch scratch;
  const Answer run = run_cli(kSegment + Words{picture(0), "--out-dir", scratch.path()});
  ASSERT_EQ(run.code, 0) << run.text();
  for (const std::string& part : {std::string("cpu: "), picture(0), std::string(" ms) -> "),
                                  scratch.path("0.classes.png"), std::string(" %  class ")})
    EXPECT_NE(run.out.find(part), std::string::npos) << part << "\n" << run.text();
}

TEST(Segment, EveryPrecisionAndInputSize) {
  Scratch scratch;
  for (const std::string precision : {"fp32", "fp16", "int8"}) {
    const Answer run = run_cli(kSegment + Words{picture(1), "--out-dir", scratch.path(), "--precision", precision,
                                                "--size", "32x40", "--json"});
    ASSERT_EQ(run.code, 0) << run.text();
    EXPECT_EQ(run.json()["precision"], precision);
    EXPECT_EQ(run.json()["height"], 32);
    EXPECT_EQ(run.json()["width"], 40);
  }
}

TEST(Segment, VulkanFindsTheSameClasses) {
  if (run_cli({"devices", "--json"}).json()["devices"].size() < 2) GTEST_SKIP() << "never: no Vulkan device here";
  Scratch scratch;
  const std::string bytes = raw_frames(5);
  const Words vulkan{"segment", "--model", kCase, "--device", "vulkan", "-", "--frame", kFrameSize, "--json"};
  const Answer run =
      run_cli(vulkan, {}, "", [&](int pipe, pid_t) { (void)write_all(pipe, bytes.data(), bytes.size()); });
  const Answer cpu = segment_raw(bytes, {"--json"});
  ASSERT_EQ(run.code, 0) << run.text();
  ASSERT_EQ(cpu.code, 0) << cpu.text();
  const auto a = run.json()["results"], b = cpu.json()["results"];
  ASSERT_EQ(a.size(), 5u);
  ASSERT_EQ(b.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(a[i]["image"], b[i]["image"]) << "answers keep the order of the frames";
    ASSERT_EQ(a[i]["classes"].size(), b[i]["classes"].size());
    for (size_t c = 0; c < a[i]["classes"].size(); ++c)
      EXPECT_NEAR(a[i]["classes"][c]["pixels"].get<int>(), b[i]["classes"][c]["pixels"].get<int>(), 6);
  }
}

TEST(Segment, BadPicturesAreReportedAndTheRestGoesOn) {
  Scratch scratch;
  const std::string png = read_file(picture(0));
  const std::string broken = scratch.write("broken.png", png.substr(0, png.size() / 2)),
                    none = scratch.path("none.png");
  const Answer run =
      run_cli(kSegment + Words{picture(1), broken, none, picture(0), "--out-dir", scratch.path("out"), "--json"});
  EXPECT_TRUE(run.fails_clearly(1)) << run.text();
  EXPECT_NE(run.err.find("2 of 4 images failed"), std::string::npos) << run.err;
  const auto json = run.json();
  ASSERT_FALSE(json.is_discarded()) << run.text();
  EXPECT_EQ(json["failed"], 2);
  for (const size_t i : {1u, 2u}) {
    EXPECT_NE(json["results"][i]["error"].get<std::string>().find(i == 1 ? broken : none), std::string::npos);
    EXPECT_TRUE(json["results"][i]["classes"].empty());
  }
  EXPECT_EQ(Scratch::names_in(scratch.path("out")), (Words{"0.classes.png", "1.classes.png"}));
}

TEST(Segment, FolderOfFrames) {
  Scratch scratch;
  scratch.make_folder("in");
  for (const int i : {2, 0, 1}) scratch.write("in/f" + std::to_string(i) + ".PNG", read_file(picture(i)));
  scratch.write("in/notes.txt", "no picture");
  scratch.write("in/bad.jpg", "no picture either");
  const Words words = kSegment + Words{scratch.path("in"), "--out-dir", scratch.path("in")};
  const Answer first = run_cli(words);
  EXPECT_TRUE(first.fails_clearly(1)) << first.text();
  EXPECT_NE(first.err.find("bad.jpg"), std::string::npos);
  EXPECT_NE(first.out.find("4 frames, 1 failed, 0 dropped"), std::string::npos) << first.text();
  EXPECT_NE(first.out.find("frames/s"), std::string::npos) << first.text();
  // Again: the class maps in there are results, not frames.
  const auto json = run_cli(words + Words{"--json"}).json();
  ASSERT_FALSE(json.is_discarded());
  ASSERT_EQ(json["results"].size(), 4u);
  for (const size_t i : {1u, 2u, 3u})
    EXPECT_EQ(json["results"][i]["image"], scratch.path("in/f" + std::to_string(i - 1) + ".PNG"));
  EXPECT_NE(json["warnings"].dump().find("3 files"), std::string::npos) << json["warnings"];
  EXPECT_TRUE(run_cli(kSegment + Words{scratch.make_folder("empty")}).fails_clearly(1));
}

TEST(Segment, NothingIsReplacedByMistake) {
  Scratch scratch;
  scratch.make_folder("a");
  scratch.make_folder("b");
  const std::string bytes = read_file(picture(0));
  const std::string one = scratch.write("a/x.png", bytes), two = scratch.write("b/x.png", bytes);
  const Answer same = run_cli(kSegment + Words{one, two, "--out-dir", scratch.path("out")});
  EXPECT_TRUE(same.fails_clearly(1)) << same.text();
  EXPECT_NE(same.err.find(one), std::string::npos) << same.err;
  EXPECT_NE(same.err.find(two), std::string::npos) << same.err;
  EXPECT_FALSE(exists(scratch.path("out")));
  const std::string input = scratch.write("a/x.classes.png", bytes);
  const Answer over = run_cli(kSegment + Words{one, input, "--out-dir", scratch.path("a")});
  EXPECT_TRUE(over.fails_clearly(1)) << over.text();
  EXPECT_NE(over.err.find("x.classes.png"), std::string::npos) << over.err;
  EXPECT_EQ(read_file(input), bytes);
}

TEST(Segment, OutputsThatCannotBeWritten) {
  Scratch scratch;
  const std::string file = scratch.write("file", "text");
  for (const std::string& folder : {file, file + "/below", std::string("/no/such/folder")}) {
    const Answer run = run_cli(kSegment + Words{picture(0), "--out-dir", folder});
    EXPECT_TRUE(run.fails_clearly(1)) << run.text();
    EXPECT_NE(run.err.find(folder), std::string::npos) << run.err;
  }
  // A file in the way of one result: that picture fails, the other does not.
  scratch.make_folder("out");
  scratch.make_folder("out/0.classes.png");
  const Answer run = run_cli(kSegment + Words{picture(0), picture(1), "--out-dir", scratch.path("out")});
  EXPECT_TRUE(run.fails_clearly(1)) << run.text();
  EXPECT_TRUE(exists(scratch.path("out/1.classes.png")));
}

TEST(Segment, RawFramesFromAPipe) {
  Scratch scratch;
  const std::string bytes = raw_frames(4);
  const Answer run = segment_raw(bytes, {"--json", "--overlay", "--out-dir", scratch.path()});
  ASSERT_EQ(run.code, 0) << run.text();
  const auto json = run.json();
  ASSERT_FALSE(json.is_discarded()) << run.text();
  EXPECT_EQ(json["frames"], 4);
  EXPECT_EQ(json["dropped"], 0);
  // The same frame as a file gives the same classes.
  const std::string ppm =
      scratch.write("frame.ppm", "P6 " + std::to_string(kWidth) + " " + std::to_string(kHeight) + " 255\n" +
                                     bytes.substr(2 * bytes.size() / 4, bytes.size() / 4));
  const Answer file = run_cli(kSegment + Words{ppm, "--out-dir", scratch.path(), "--json"});
  ASSERT_EQ(file.code, 0) << file.text();
  EXPECT_EQ(labels(scratch.path("frame.classes.png")).index, labels(scratch.path("frame-000003.classes.png")).index);
  EXPECT_EQ(file.json()["results"][0]["classes"], json["results"][2]["classes"]);
  EXPECT_TRUE(exists(scratch.path("frame-000004.overlay.png")));

  const Answer text = segment_raw(bytes, {});
  ASSERT_EQ(text.code, 0) << text.text();
  EXPECT_NE(text.out.find("4 frames, 0 failed, 0 dropped; "), std::string::npos) << text.text();
  EXPECT_NE(text.out.find("shares of all pixels"), std::string::npos) << text.text();
}

TEST(Segment, RawFramesThatEndTooEarly) {
  const std::string bytes = raw_frames(3);
  const Answer cut = segment_raw(bytes.substr(0, bytes.size() - 10), {"--json"});
  EXPECT_TRUE(cut.fails_clearly(1)) << cut.text();
  EXPECT_NE(cut.err.find("frame-000003 is cut short"), std::string::npos) << cut.err;
  EXPECT_EQ(cut.json()["frames"], 3);
  EXPECT_EQ(cut.json()["failed"], 1);
  EXPECT_FALSE(cut.json()["results"][1].contains("error"));
  const Answer nothing = segment_raw("", {"--json"});
  EXPECT_TRUE(nothing.fails_clearly(1)) << nothing.text();
  EXPECT_NE(nothing.err.find("no frame came"), std::string::npos) << nothing.err;
  EXPECT_FALSE(nothing.json().is_discarded()) << nothing.text();
}

/// A process of ours that nobody has waited for yet.
bool ended(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');
  return name_end == std::string::npos || text.compare(name_end, 3, ") Z") == 0;
}

TEST(Segment, InterruptEndsTheInputAndSumsUp) {
  const std::string bytes = raw_frames(20);  // more than a pipe holds: when all are written, some were read
  const Answer run =
      run_cli(kSegment + Words{"-", "--frame", kFrameSize, "--json"}, {}, "", [&](int pipe, pid_t process) {
        (void)write_all(pipe, bytes.data(), bytes.size());
        (void)write_all(pipe, bytes.data(), 100);  // then the sender hangs in the middle of a frame
        usleep(500000);
        kill(process, SIGINT);
        for (int tries = 0; tries < 6000 && !ended(process); ++tries) usleep(10000);
      });
  EXPECT_EQ(run.code, 0) << run.text();
  ASSERT_FALSE(run.json().is_discarded()) << run.text();
  EXPECT_GE(run.json()["frames"], 1);
  EXPECT_LE(run.json()["frames"], 20);
  EXPECT_EQ(run.json()["interrupted"], true);
  EXPECT_EQ(run.json()["failed"], 0);
}

double rss_mib(pid_t process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmRSS:", 0) == 0) return std::atof(line.c_str() + 6) / 1024;
  return 0;
}

TEST(Segment, MemoryStaysFlat) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "never: sanitizers keep freed memory";
#endif
  // 1,000 frames here; VIREO_TEST_FRAMES=10000 for more.
  const char* wanted = std::getenv("VIREO_TEST_FRAMES");
  const int frames = wanted != nullptr ? std::atoi(wanted) : 1000, warm = 200;
  const std::string bytes = raw_frames(8);
  const size_t size = bytes.size() / 8;
  double before = 0, after = 0;
  const Answer run =
      run_cli(kSegment + Words{"-", "--frame", kFrameSize, "--json"}, {}, "", [&](int pipe, pid_t process) {
        for (int i = 0; i < frames; ++i) {
          if (!write_all(pipe, &bytes[size_t(i % 8) * size], size)) return;
          if (i == warm) before = rss_mib(process);
        }
        after = rss_mib(process);
      });
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(run.json()["frames"], frames);
  ASSERT_GT(before, 0);
  EXPECT_LT(after - before, 2) << before << " MiB after " << warm << " frames, " << after << " MiB after " << frames;
}

TEST(Segment, ModelsThatDoNotSegment) {
  Scratch scratch;
  const Answer run = run_cli({"segment", "--model", kClassifier, picture(0), "--out-dir", scratch.path("out")});
  EXPECT_TRUE(run.fails_clearly(1)) << run.text();
  EXPECT_NE(run.err.find("does not segment"), std::string::npos) << run.err;
  EXPECT_FALSE(exists(scratch.path("out")));
  scratch.make_folder("images");
  scratch.make_folder("labels");
  scratch.write("images/a.png", read_file(picture(0)));
  scratch.write("labels/a.png", read_file(picture(0)));
  const Answer eval = run_cli({"eval", "--model", kClassifier, "--segmentation", scratch.path()});
  EXPECT_TRUE(eval.fails_clearly(1)) << eval.text();
  EXPECT_NE(eval.err.find("does not segment"), std::string::npos) << eval.err;
}

TEST(Segment, InputsThatTheBackboneCannotTake) {
  Scratch scratch;
  for (const char* name : {"hf-upernet-vit", "hf-upernet-dinov2"})
    for (const char* size : {"4x4", "1x1"}) {
      const Answer run = run_cli({"segment", "--model", std::string(VIREO_TEST_DATA) + "/cases/" + name, "--device",
                                  "cpu", "--size", size, picture(0), "--out-dir", scratch.path("out")});
      EXPECT_TRUE(run.fails_clearly(1)) << name << " " << size << run.text();
    }
  // What a crop leaves out has no class.
  scratch.make_folder("m");
  for (const char* file : {"config.json", "model.safetensors"})
    scratch.write(std::string("m/") + file, read_file(kCase + "/" + file));
  nlohmann::json processor = nlohmann::json::parse(read_file(kCase + "/preprocessor_config.json"));
  processor["do_center_crop"] = true;
  processor["crop_size"] = {{"height", 32}, {"width", 32}};
  scratch.write("m/preprocessor_config.json", processor.dump());
  const Answer crop = run_cli(
      {"segment", "--model", scratch.path("m"), "--device", "cpu", picture(0), "--out-dir", scratch.path("out")});
  EXPECT_TRUE(crop.fails_clearly(1)) << crop.text();
  EXPECT_NE(crop.err.find("do_center_crop is true"), std::string::npos) << crop.err;
}

TEST(Segment, OtherVerbsOnASegmentationModel) {
  Scratch scratch;
  for (const Words& words : {Words{"classify", picture(0)}, Words{"embed", picture(0), "--out", scratch.path("e.npy")},
                             Words{"eval", "--data", scratch.path()}}) {
    const Answer run = run_cli(words + Words{"--model", kCase, "--device", "cpu"});
    EXPECT_TRUE(run.fails_clearly(1)) << run.text();
    EXPECT_NE(run.err.find("segment"), std::string::npos) << run.err;
  }
  const Answer bench = run_cli({"bench", "--model", kCase, "--device", "cpu", "--iters", "2", "--json"});
  ASSERT_EQ(bench.code, 0) << bench.text();
  EXPECT_GT(bench.json()["median_ms"].get<double>(), 0);
  const Answer plan = run_cli({"plan", "--model", kCase, "--device", "cpu"});
  ASSERT_EQ(plan.code, 0) << plan.text();
  EXPECT_NE(plan.out.find("argmax"), std::string::npos) << plan.out;
  EXPECT_EQ(run_cli({"diff", "--model", kCase, "--a", "cpu", "--b", "cpu"}).code, 0);
}

// ------------------------------------------------------------------------------------------------------------- eval

/// A folder with three pictures whose labels are the model's own answers.
class EvalSegmentation : public testing::Test {
 protected:
  void SetUp() override {
    const Answer run =
        run_cli(kSegment + Words{picture(0), picture(1), picture(2), "--out-dir", scratch_.make_folder("maps")});
    ASSERT_EQ(run.code, 0) << run.text();
    fill("images", "labels");
  }
  void fill(const std::string& images, const std::string& labels) {
    scratch_.make_folder(images);
    scratch_.make_folder(labels);
    for (int i = 0; i < 3; ++i) {
      const std::string n = std::to_string(i);
      scratch_.write(images + "/" + n + ".png", read_file(picture(i)));
      scratch_.write(labels + "/" + n + ".png", read_file(scratch_.path("maps/" + n + ".classes.png")));
    }
  }
  ClassMap label(int i) const { return labels(scratch_.path("labels/" + std::to_string(i) + ".png")); }
  void set_label(int i, const ClassMap& map) const {
    const std::vector<uint8_t> png = cli::encode_class_png(map);
    scratch_.write("labels/" + std::to_string(i) + ".png", std::string(png.begin(), png.end()));
  }
  Answer eval(const Words& more = {"--json"}) const { return run_cli(kEval + Words{scratch_.path()} + more); }

  Scratch scratch_;
};

TEST_F(EvalSegmentation, ItsOwnAnswersAreRight) {
  const Answer run = eval();
  ASSERT_EQ(run.code, 0) << run.text();
  EXPECT_EQ(run.err, "") << "no progress bar without a terminal";
  const auto json = run.json();
  ASSERT_FALSE(json.is_discarded()) << run.text();
  EXPECT_EQ(json["images"], 3);
  EXPECT_EQ(json["miou"], 1.0);
  EXPECT_EQ(json["pixel_accuracy"], 1.0);
  ASSERT_EQ(json["classes"].size(), size_t(kClasses));
  for (const char* key : {"median_ms", "p95_ms", "images_per_s", "peak_rss_mib"})
    EXPECT_GT(json[key].get<double>(), 0) << key;
  const Answer text = eval({"--limit", "2"});
  ASSERT_EQ(text.code, 0) << text.text();
  for (const char* part : {"mIoU", "100.00 %", "pixel accuracy", "class 2", "2 pictures", "MiB"})
    EXPECT_NE(text.out.find(part), std::string::npos) << part << text.text();
}

TEST_F(EvalSegmentation, CountsWrongAndIgnoredPixels) {
  // All labels of the second picture say class 1, except that a third of the pixels does not count.
  ClassMap map = label(1);
  const ClassMap own = map;
  uint64_t right = 0, counted = 0, all = 0;
  for (size_t i = 0; i < map.index.size(); ++i) {
    map.index[i] = i % 3 == 0 ? 200 : 1;
    counted += i % 3 != 0;
    right += i % 3 != 0 && own.index[i] == 1;
  }
  set_label(1, map);
  for (const int i : {0, 2}) all += label(i).index.size();
  const Answer run = eval({"--ignore", "200", "--json"});
  ASSERT_EQ(run.code, 0) << run.text();
  const auto json = run.json();
  EXPECT_EQ(json["ignore"], 200);
  EXPECT_EQ(json["pixels"], all + counted);
  EXPECT_DOUBLE_EQ(json["pixel_accuracy"], double(all + right) / double(all + counted));
  double sum = 0;
  int present = 0;
  for (const auto& c : json["classes"])
    if (c["labelled"] > 0) sum += c["iou"].get<double>(), ++present;
  EXPECT_DOUBLE_EQ(json["miou"], sum / present);
}

TEST_F(EvalSegmentation, LabelsOutsideTheRangeAreNamed) {
  ClassMap map = label(1);
  map.index[size_t(map.width) + 2] = 77;
  set_label(1, map);
  const Answer run = eval();
  EXPECT_TRUE(run.fails_clearly(1)) << run.text();
  EXPECT_NE(run.err.find("labels/1.png"), std::string::npos) << run.err;
  EXPECT_NE(run.err.find("value 77 at pixel (2, 1)"), std::string::npos) << run.err;
  EXPECT_EQ(run.json()["images"], 2) << "the others are scored";
  EXPECT_EQ(run.json()["errors"].size(), 1u);
  EXPECT_EQ(eval({"--ignore", "77", "--json"}).code, 0);
}

TEST_F(EvalSegmentation, BadFilesAndLabelsOfAnotherSize) {
  const ClassMap own = label(0);
  ClassMap twice, other;
  cli::resize_nearest(own, 2 * own.width, 2 * own.height, &twice);
  set_label(0, twice);
  EXPECT_EQ(eval().code, 0);
  cli::resize_nearest(own, own.width, own.height / 2, &other);
  set_label(0, other);
  const Answer squashed = eval();
  EXPECT_TRUE(squashed.fails_clearly(1)) << squashed.text();
  EXPECT_NE(squashed.err.find("is not the shape of the picture"), std::string::npos) << squashed.err;
  EXPECT_EQ(squashed.json()["images"], 2);
  set_label(0, own);
  scratch_.write("labels/2.png", "no picture");
  scratch_.write("images/1.png", "no picture");
  const Answer run = eval();
  EXPECT_TRUE(run.fails_clearly(1)) << run.text();
  EXPECT_EQ(run.json()["images"], 1);
  EXPECT_EQ(run.json()["errors"].size(), 2u);
  unlink(scratch_.path("labels/2.png").c_str());
  const Answer lacking = eval();
  EXPECT_TRUE(lacking.fails_clearly(1)) << lacking.text();
  EXPECT_NE(lacking.err.find("2.png"), std::string::npos) << lacking.err;
}

TEST_F(EvalSegmentation, FoldersAsPublished) {
  fill("test", "testannot");
  fill("val", "valannot");
  EXPECT_EQ(eval({"--split", "val", "--json"}).json()["miou"], 1.0);
  EXPECT_EQ(eval({"--split", "test", "--json"}).json()["images"], 3);
  EXPECT_EQ(run_cli(kEval + Words{scratch_.path("test/"), "--json"}).json()["miou"], 1.0);
  const Answer none = eval({"--split", "train"});
  EXPECT_TRUE(none.fails_clearly(1)) << none.text();
  EXPECT_NE(none.err.find("trainannot"), std::string::npos) << none.err;
  EXPECT_TRUE(run_cli(kEval + Words{scratch_.path("maps")}).fails_clearly(1));
  EXPECT_TRUE(run_cli(kEval + Words{"/no/such/folder"}).fails_clearly(1));
  // Labels alone are noted.
  scratch_.write("labels/9.png", read_file(scratch_.path("labels/0.png")));
  EXPECT_NE(eval().json()["warnings"].dump().find("1 labels"), std::string::npos);
}

}  // namespace
