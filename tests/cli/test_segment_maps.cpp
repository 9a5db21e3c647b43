// `vireo segment` and `vireo eval --segmentation` give Transformers' maps: the scores at the picture's size, then the
// largest.
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "classmap.h"
#include "cli/run_cli.h"
#include "image.h"

namespace {

using cli::ClassMap;
using cli_test::Answer;
using cli_test::operator+;
using cli_test::read_file;
using cli_test::run_cli;
using cli_test::Scratch;
using cli_test::Words;
using cli_test::write_all;

const std::string kData = VIREO_TEST_DATA;
const std::string kCase = kData + "/cases/hf-upernet-swin";

ClassMap labels(const std::string& path) {
  auto map = cli::load_labels(path);
  EXPECT_TRUE(map.ok()) << map.error().message;
  return map ? *map : ClassMap{};
}

size_t other_pixels(const ClassMap& a, const ClassMap& b) {
  EXPECT_EQ(a.width, b.width);
  EXPECT_EQ(a.height, b.height);
  size_t other = a.index.size() != b.index.size();
  for (size_t i = 0; i < std::min(a.index.size(), b.index.size()); ++i)
    other += a.index[i] != b.index[i] && b.index[i] != 255;
  return other;
}

std::vector<std::string> devices() {
  std::vector<std::string> names{"cpu"};
  const Answer list = run_cli({"devices", "--json"});
  if (list.out.find("\"vulkan\"") != std::string::npos) names.push_back("vulkan");
  return names;
}

// ../shared/reports/seg-postprocess: 3.3 % of the pixels differed while classes were brought to the picture by the
// nearest pixel.
TEST(SegmentMaps, TheReportedPicture) {
  const ClassMap expected = labels(kData + "/maps/seg-postprocess/1.once.png");  // with the ties marked
  EXPECT_EQ(other_pixels(labels(kData + "/maps/seg-postprocess/1.expected.classes.png"), expected), 0u);
  for (const std::string& device : devices()) {
    Scratch scratch;
    const Words words{"segment", "--model",   kCase,          "--device",
                      device,    "--out-dir", scratch.path(), kData + "/maps/seg-postprocess/1.png"};
    Answer run = run_cli(words);
    ASSERT_EQ(run.code, 0) << run.text();
    EXPECT_EQ(other_pixels(labels(scratch.path("1.classes.png")), expected), 0u) << device;
    run = run_cli(words + Words{"--map-resize", "bilinear"});
    ASSERT_EQ(run.code, 0) << run.text();
    EXPECT_EQ(other_pixels(labels(scratch.path("1.classes.png")), expected), 0u) << device;
    run = run_cli(words + Words{"--map-resize", "nearest"});
    ASSERT_EQ(run.code, 0) << run.text();
    const size_t nearest = other_pixels(labels(scratch.path("1.classes.png")), expected);
    EXPECT_GT(nearest, 100u) << "the old way is another";
    EXPECT_LT(nearest, 400u) << device;
    // The old way is the classes of the input's size, enlarged.
    ClassMap by_hand;
    const ClassMap at_input = [&] {
      ClassMap all = labels(kData + "/maps/hf-upernet-swin/48x64.png"), second{64, 48, {}};
      second.index.assign(all.index.begin() + 48 * 64, all.index.begin() + 2 * 48 * 64);
      return second;
    }();
    cli::resize_nearest(at_input, 80, 80, &by_hand);
    EXPECT_EQ(other_pixels(labels(scratch.path("1.classes.png")), by_hand), 0u) << device;
  }
  EXPECT_EQ(run_cli({"segment", "--model", kCase, "--map-resize", "cubic", "x.png"}).code, 2);
}

/// A picture of another size, and what it looks like.
void write_picture(const std::string& path, int width, int height) {
  std::vector<uint8_t> rgb(size_t(width) * size_t(height) * 3);
  for (size_t i = 0; i < rgb.size(); ++i)
    rgb[i] = uint8_t(128 + 100 * std::sin(double(i / 3 % size_t(width)) * 0.21 + double(i % 3)) *
                               std::cos(double(i / 3 / size_t(width)) * 0.13));
  const std::vector<uint8_t> png = cli::encode_rgb_png(rgb.data(), width, height);
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(png.data()), std::streamsize(png.size()));
}

// One session, pictures of many sizes in a row, larger and smaller ones, two in flight on Vulkan: each as if it came
// alone.
TEST(SegmentMaps, AFolderOfManySizes) {
  Scratch scratch;
  ASSERT_EQ(mkdir(scratch.path("in").c_str(), 0777), 0);
  const std::vector<std::pair<int, int>> sizes{{64, 48}, {300, 200}, {7, 90},    {301, 203},
                                               {1, 1},   {640, 10},  {640, 480}, {64, 48}};
  for (size_t i = 0; i < sizes.size(); ++i)
    write_picture(scratch.path("in/" + std::to_string(i) + ".png"), sizes[i].first, sizes[i].second);
  for (const std::string& device : devices()) {
    const Words segment{"segment", "--model", kCase, "--device", device};
    const Answer run =
        run_cli(segment + Words{scratch.path("in"), "--out-dir", scratch.path(device)}, {{"VIREO_VALIDATION", "1"}});
    ASSERT_EQ(run.code, 0) << run.text();
    for (size_t i = 0; i < sizes.size(); ++i) {
      const std::string name = std::to_string(i);
      const Answer alone =
          run_cli(segment + Words{scratch.path("in/" + name + ".png"), "--out-dir", scratch.path("alone")});
      ASSERT_EQ(alone.code, 0) << alone.text();
      const ClassMap map = labels(scratch.path(device + "/" + name + ".classes.png"));
      EXPECT_EQ(map.width, sizes[i].first);
      EXPECT_EQ(map.height, sizes[i].second);
      EXPECT_EQ(other_pixels(map, labels(scratch.path("alone/" + name + ".classes.png"))), 0u) << device << " " << name;
    }
  }
}

// Raw frames and eval go the same way: labels that are the expected map give a mIoU of 1, at a size that is not the
// picture's too.
TEST(SegmentMaps, RawFramesAndEval) {
  for (const std::string& device : devices()) {
    Scratch scratch;
    const auto picture = cli::load_image(kCase + "/1.png");
    ASSERT_TRUE(picture.ok());
    const std::string frame(reinterpret_cast<const char*>(picture->rgb.data()), picture->rgb.size());
    const std::string size = std::to_string(picture->width) + "x" + std::to_string(picture->height);
    const Answer raw = run_cli({"segment", "--model", kCase, "--device", device, "-", "--frame", size, "--out-dir",
                                scratch.path("raw"), "--json"},
                               {}, "", [&](int pipe, pid_t) { (void)write_all(pipe, frame.data(), frame.size()); });
    ASSERT_EQ(raw.code, 0) << raw.text();
    const ClassMap map = labels(raw.json()["results"][0]["map"]);
    EXPECT_EQ(other_pixels(map, labels(kData + "/maps/seg-postprocess/1.once.png")), 0u) << device;

    for (const char* folder : {"data", "data/images", "data/labels"})
      ASSERT_EQ(mkdir(scratch.path(folder).c_str(), 0777), 0);
    std::ofstream(scratch.path("data/images/1.png"), std::ios::binary) << read_file(kCase + "/1.png");
    const auto put_label = [&](const ClassMap& label) {
      const std::vector<uint8_t> png = cli::encode_class_png(label);
      std::ofstream(scratch.path("data/labels/1.png"), std::ios::binary)
          .write(reinterpret_cast<const char*>(png.data()), std::streamsize(png.size()));
    };
    const Words eval{"eval", "--model", kCase, "--device", device, "--segmentation", scratch.path("data"), "--json"};
    put_label(labels(kData + "/maps/seg-postprocess/1.once.png"));
    Answer run = run_cli(eval);
    ASSERT_EQ(run.code, 0) << run.text();
    EXPECT_EQ(run.json()["pixel_accuracy"], 1.0) << device;
    run = run_cli(eval + Words{"--map-resize", "nearest"});
    ASSERT_EQ(run.code, 0) << run.text();
    EXPECT_LT(run.json()["pixel_accuracy"].get<double>(), 0.98) << device;
    // Labels of twice the size: the map is made at the label's.
    ClassMap large = labels(kData + "/maps/seg-postprocess/1.twice.png");
    put_label(large);
    run = run_cli(eval);
    ASSERT_EQ(run.code, 0) << run.text();
    EXPECT_EQ(run.json()["pixel_accuracy"], 1.0) << device << run.text();
    EXPECT_EQ(run.json()["pixels"],
              size_t(std::count_if(large.index.begin(), large.index.end(), [](uint8_t c) { return c != 255; })));
  }
  const Answer usage = run_cli({"eval", "--model", kCase, "--data", ".", "--map-resize", "nearest"});
  EXPECT_EQ(usage.code, 2);
  EXPECT_NE(usage.err.find("--map-resize go with --segmentation"), std::string::npos) << usage.text();
}

}  // namespace
