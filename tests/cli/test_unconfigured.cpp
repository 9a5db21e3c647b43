// Models without a configuration of their own, named on the command line, and processors that keep proportions.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/run_cli.h"

namespace {

using cli_test::Answer;
using cli_test::read_array;
using cli_test::read_file;
using cli_test::run_cli;
using cli_test::Scratch;

const std::string kCases = std::string(VIREO_TEST_DATA) + "/cases/";

/// Files of a case, copied.
void copy(const Scratch& to, const std::string& name, const std::vector<std::string>& files) {
  for (const std::string& file : files) to.write(file, read_file(kCases + name + "/" + file));
}

TEST(Unconfigured, AsksForAConfigurationAndTakesOne) {
  const Scratch dir;
  copy(dir, "timm-vit", {"model.safetensors"});
  const std::string weights = dir.path("model.safetensors"), picture = kCases + "timm-vit/0.png";
  const std::vector<std::string> classify{"classify", "--device", "cpu", "--model", weights, picture};
  const Answer bare = run_cli(classify);
  EXPECT_TRUE(bare.fails_clearly(1)) << bare.text();
  for (const char* part : {"no config.json", "attention heads", "--config FILE", "--architecture NAME"}) {
    EXPECT_NE(bare.err.find(part), std::string::npos) << bare.err;
  }
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), classify.begin(), classify.end());
    return run_cli(more);
  };
  const Answer named = with({"--config", kCases + "timm-vit/config.json", "--logits", dir.path("a.npy")});
  ASSERT_EQ(named.code, 0) << named.text();
  const Answer folder =
      run_cli({"classify", "--device", "cpu", "--model", kCases + "timm-vit", picture, "--logits", dir.path("b.npy")});
  ASSERT_EQ(folder.code, 0) << folder.text();
  EXPECT_EQ(read_array(dir.path("a.npy")).data, read_array(dir.path("b.npy")).data);
  EXPECT_TRUE(with({"--architecture", "vit_tiny_patch16_224"}).fails_clearly(1));  // of another width
  EXPECT_TRUE(with({"--architecture", "resnet50"}).fails_clearly(1));
  EXPECT_TRUE(
      with({"--architecture", "vit_tiny_patch16_224", "--config", kCases + "timm-vit/config.json"}).fails_clearly(2));
  EXPECT_TRUE(with({"--config", dir.path("gone.json")}).fails_clearly(1));
}

TEST(Unconfigured, ASwinThatNobodyPublishedAsks) {
  const Scratch dir;
  copy(dir, "timm-swin", {"model.safetensors"});
  std::vector<std::string> classify{
      "classify", "--device", "cpu", "--model", dir.path("model.safetensors"), kCases + "timm-swin/0.png"};
  // Swin's tables tell heads and window, but not the size of the pictures.
  const Answer run = run_cli(classify);
  EXPECT_TRUE(run.fails_clearly(1)) << run.text();
  EXPECT_NE(run.err.find("--config FILE"), std::string::npos) << run.err;
  classify.insert(classify.end(), {"--config", kCases + "timm-swin/config.json"});
  EXPECT_EQ(run_cli(classify).code, 0);
}

TEST(Proportions, EachSizeOfPictureIsPlannedFor) {
  for (const std::string name : {"hf-dinov2-interpolated", "hf-swin"}) {
    const Scratch dir;
    const std::string shape =
        name == "hf-swin" ? "\"resample\":3" : "\"resample\":3,\"do_center_crop\":false,\"crop_size\":null";
    const std::string kind = name == "hf-swin" ? "ViTImageProcessor" : "BitImageProcessor";
    const std::string rest =
        "\"image_mean\":[0.485,0.456,0.406],\"image_std\":[0.229,0.224,0.225],\"image_processor_type\":\"" + kind +
        "\"," + shape;
    copy(dir, name, {"model.safetensors", "config.json", "0.png", "1.png", "2.png"});
    const std::vector<std::string> pictures{dir.path("0.png"), dir.path("1.png"), dir.path("2.png")};
    // The pictures' shorter sides differ: each is its own size after resizing to 64.
    dir.write("preprocessor_config.json", "{\"size\":{\"shortest_edge\":64}," + rest + "}");
    std::vector<std::string> arguments{"classify", "--device",         "cpu", "--model", dir.path(),
                                       "--logits", dir.path("all.npy")};
    arguments.insert(arguments.end(), pictures.begin(), pictures.end());
    const Answer all = run_cli(arguments);
    ASSERT_EQ(all.code, 0) << all.text();
    EXPECT_NE(all.err.find("keeps proportions"), std::string::npos) << all.err;
    const auto logits = read_array(dir.path("all.npy"));
    ASSERT_EQ(logits.shape.size(), 2u);
    const int sizes[2][3][2] = {{{64, 85}, {128, 64}, {64, 64}}, {{64, 85}, {64, 64}, {96, 64}}};  // height x width
    for (int i = 0; i < 3; ++i) {
      const int h = sizes[name == "hf-swin"][i][0], w = sizes[name == "hf-swin"][i][1];
      // The same size squashed, which for this picture is the same thing.
      const Scratch exact;
      copy(exact, name, {"model.safetensors", "config.json"});
      exact.write("preprocessor_config.json",
                  "{\"size\":{\"height\":" + std::to_string(h) + ",\"width\":" + std::to_string(w) + "}," + rest + "}");
      const Answer one = run_cli({"classify", "--device", "cpu", "--model", exact.path(), "--logits",
                                  exact.path("one.npy"), pictures[size_t(i)]});
      ASSERT_EQ(one.code, 0) << one.text();
      const auto want = read_array(exact.path("one.npy"));
      for (size_t k = 0; k < want.data.size(); ++k)
        EXPECT_EQ(logits.data[size_t(i) * want.data.size() + k], want.data[k]) << name << i;
    }
    // A picture so narrow that the network cannot take it fails alone, with the reason.
    const Answer size = run_cli({"classify", "--device", "cpu", "--model", dir.path(), "--size", "64x64", pictures[0]});
    EXPECT_TRUE(size.fails_clearly(1)) << size.text();
    EXPECT_NE(size.err.find("keeps proportions"), std::string::npos) << size.err;
  }
}

// segment and eval plan as classify does.
TEST(Proportions, MapsAndEvalToo) {
  const auto with_size = [](const Scratch& dir, const std::string& name, const std::string& size) {
    std::string text = read_file(kCases + name + "/preprocessor_config.json");
    const size_t at = text.find("\"size\": {");
    ASSERT_NE(at, std::string::npos);
    text.replace(at, text.find('}', at) + 1 - at, "\"size\": " + size);
    dir.write("preprocessor_config.json", text);
  };
  const Scratch kept, exact;
  copy(kept, "hf-upernet-mobilevit", {"model.safetensors", "config.json", "0.png", "1.png", "2.png"});
  copy(exact, "hf-upernet-mobilevit", {"model.safetensors", "config.json"});
  with_size(kept, "hf-upernet-mobilevit", "{\"shortest_edge\": 64}");
  const Answer maps = run_cli({"segment", "--device", "cpu", "--model", kept.path(), "--out-dir", kept.path("maps"),
                               kept.path("0.png"), kept.path("1.png"), kept.path("2.png")});
  ASSERT_EQ(maps.code, 0) << maps.text();
  const char* sizes[] = {"{\"height\": 64, \"width\": 85}", "{\"height\": 64, \"width\": 64}",
                         "{\"height\": 64, \"width\": 91}"};
  for (int i = 0; i < 3; ++i) {
    const std::string name = std::to_string(i);
    with_size(exact, "hf-upernet-mobilevit", sizes[i]);
    const Answer one = run_cli({"segment", "--device", "cpu", "--model", exact.path(), "--out-dir", exact.path("maps"),
                                kept.path(name + ".png")});
    ASSERT_EQ(one.code, 0) << one.text();
    EXPECT_EQ(read_file(kept.path("maps/" + name + ".classes.png")),
              read_file(exact.path("maps/" + name + ".classes.png")))
        << i;
  }

  const Scratch swin;
  copy(swin, "hf-swin", {"model.safetensors", "config.json", "0.png", "1.png", "2.png"});
  with_size(swin, "hf-swin", "{\"shortest_edge\": 64}");
  swin.write("labels.csv", "file,label\n0.png,0\n1.png,1\n2.png,2\n");
  const Answer scored = run_cli(
      {"eval", "--device", "cpu", "--model", swin.path(), "--data", swin.path(), "--logits", swin.path("eval.npy")});
  ASSERT_EQ(scored.code, 0) << scored.text();
  const Answer named = run_cli({"classify", "--device", "cpu", "--model", swin.path(), "--logits",
                                swin.path("classify.npy"), swin.path("0.png"), swin.path("1.png"), swin.path("2.png")});
  ASSERT_EQ(named.code, 0) << named.text();
  EXPECT_EQ(read_array(swin.path("eval.npy")).data, read_array(swin.path("classify.npy")).data);
}

}  // namespace
