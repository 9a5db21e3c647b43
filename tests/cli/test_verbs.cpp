// What each verb answers: JSON keys, files written, bad pictures, differences found.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>

#include "cli/run_cli.h"

namespace {

using cli_test::Answer;
using cli_test::Array;
using cli_test::has_vulkan;
using cli_test::operator+;
using cli_test::read_array;
using cli_test::read_file;
using cli_test::run_cli;
using cli_test::Scratch;
using cli_test::Words;

const std::string kModel = std::string(VIREO_TEST_DATA) + "/torchvision/even";
const std::string kImages = std::string(VIREO_TEST_DATA) + "/images/";
const std::string kPicture = kImages + "rgb8.png";
const std::string kPhoto = kImages + "420.jpg";
const int kClasses = 7;  // of kModel

const Words kClassify{"classify", "--model", kModel, "--device", "cpu"};

/// A PNG that promises a size and holds nothing.
std::string png_header(uint32_t width, uint32_t height) {
  std::string png("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16);
  for (const uint32_t v : {width, height})
    for (int shift = 24; shift >= 0; shift -= 8) png += char(v >> shift & 255);
  return png + std::string("\x08\x02\0\0\0\0\0\0\0", 9);
}

TEST(Classify, JsonKeys) {
  const Answer run = run_cli(kClassify + Words{kPicture, kPhoto, "--topk", "3", "--json"});
  ASSERT_EQ(run.code, 0) << run.text();
  EXPECT_EQ(run.err, "");
  const auto json = run.json();
  ASSERT_FALSE(json.is_discarded()) << run.text();
  EXPECT_EQ(json["device"]["kind"], "cpu");
  EXPECT_TRUE(json["device"]["name"].is_string());
  EXPECT_EQ(json["device"]["reason"], "");
  EXPECT_EQ(json["precision"], "fp32");
  ASSERT_EQ(json["results"].size(), 2u);
  for (const auto& result : json["results"]) {
    EXPECT_TRUE(result["image"].is_string());
    EXPECT_TRUE(result["ms"].is_number());
    ASSERT_EQ(result["top"].size(), 3u);
    double before = 1;
    for (const auto& entry : result["top"]) {
      EXPECT_TRUE(entry["index"].is_number_integer());
      EXPECT_TRUE(entry["label"].is_string());
      EXPECT_LE(entry["score"].get<double>(), before);
      before = entry["score"];
    }
  }
  EXPECT_EQ(json["results"][0]["image"], kPicture);
  EXPECT_EQ(run_cli(kClassify + Words{kPicture, "--topk", "100", "--json"}).json()["results"][0]["top"].size(),
            size_t(kClasses));
}

TEST(Classify, TextNamesDeviceLabelsAndTime) {
  const Answer run = run_cli(kClassify + Words{kPicture});
  ASSERT_EQ(run.code, 0) << run.text();
  for (const std::string part : {"cpu: ", "class ", " ms", " %", "rgb8.png"})
    EXPECT_NE(run.out.find(part), std::string::npos) << part << "\n" << run.text();
}

TEST(Classify, EveryPrecision) {
  for (const std::string precision : {"fp32", "fp16", "int8"}) {
    const Answer run = run_cli(kClassify + Words{kPicture, "--precision", precision, "--json", "--threads", "1"});
    ASSERT_EQ(run.code, 0) << run.text();
    EXPECT_EQ(run.json()["precision"], precision);
  }
}

TEST(Classify, LogitsFile) {
  Scratch scratch;
  const std::string file = scratch.path("logits.npy");
  const Answer run = run_cli(kClassify + Words{kPicture, kPhoto, kPicture, "--logits", file, "--json"});
  ASSERT_EQ(run.code, 0) << run.text();
  const Array logits = read_array(file);
  ASSERT_EQ(logits.shape, (std::vector<int64_t>{3, kClasses}));
  size_t best = 0;
  for (size_t i = 0; i < size_t(kClasses); ++i) {
    EXPECT_TRUE(std::isfinite(logits.data[i]));
    EXPECT_EQ(logits.data[i], logits.data[2 * size_t(kClasses) + i]) << "the same picture twice";
    if (logits.data[i] > logits.data[best]) best = i;
  }
  EXPECT_EQ(run.json()["results"][0]["top"][0]["index"], best);
  EXPECT_EQ(scratch.list(), Words{"logits.npy"}) << "no temporary file stays";
}

TEST(Classify, BadPicturesAreReportedAndTheRestGoesOn) {
  Scratch scratch;
  const std::string png = read_file(kPicture), jpg = read_file(kPhoto);
  const Words bad{scratch.write("empty.png", ""),
                  scratch.write("empty.jpg", ""),
                  scratch.write("truncated.png", png.substr(0, png.size() / 2)),
                  scratch.write("truncated.jpg", jpg.substr(0, jpg.size() / 2)),
                  scratch.write("header.jpg", jpg.substr(0, 3)),
                  scratch.write("huge.png", png_header(20000, 20000)),
                  scratch.write("text.png", "this is no picture\n"),
                  scratch.make_folder("folder.png"),
                  scratch.path("missing.png")};
  const Answer run = run_cli(kClassify + bad + Words{kPicture, "--json", "--logits", scratch.path("l.npy")});
  EXPECT_TRUE(run.fails_clearly(1)) << run.text();
  const auto json = run.json();
  ASSERT_FALSE(json.is_discarded()) << run.text();
  ASSERT_EQ(json["results"].size(), bad.size() + 1);
  for (size_t i = 0; i < bad.size(); ++i) {
    ASSERT_TRUE(json["results"][i].contains("error")) << bad[i];
    const std::string message = json["results"][i]["error"];
    EXPECT_NE(message.find(bad[i]), std::string::npos) << message;
    EXPECT_TRUE(json["results"][i]["top"].empty());
  }
  EXPECT_FALSE(json["results"].back().contains("error")) << run.text();
  EXPECT_EQ(json["results"].back()["top"].size(), 5u);
  // Rows belong to pictures: those of bad ones are NaN.
  const Array logits = read_array(scratch.path("l.npy"));
  ASSERT_EQ(logits.shape, (std::vector<int64_t>{int64_t(bad.size()) + 1, kClasses}));
  EXPECT_TRUE(std::isnan(logits.data.front()));
  EXPECT_TRUE(std::isfinite(logits.data.back()));

  for (const std::string& path : bad) {
    const Answer alone = run_cli(kClassify + Words{path});
    EXPECT_TRUE(alone.fails_clearly(1)) << alone.text();
    EXPECT_NE(alone.err.find(path), std::string::npos) << alone.text();
  }
}

TEST(Classify, UnreadablePicture) {
  if (geteuid() == 0) GTEST_SKIP() << "never: root may read every file";
  Scratch scratch;
  const std::string path = scratch.write("secret.png", read_file(kPicture));
  chmod(path.c_str(), 0);
  EXPECT_TRUE(run_cli(kClassify + Words{path}).fails_clearly(1));
}

TEST(Classify, OnePixelPicture) {
  for (const std::string name : {"one-pixel.png", "420-1x1.jpg"}) {
    const Answer run = run_cli(kClassify + Words{kImages + name});
    EXPECT_EQ(run.code, 0) << run.text();
  }
}

TEST(Classify, UnwritableOutputFailsBeforeTheWork) {
  Scratch scratch;
  for (const std::string& file :
       {scratch.path("no/such/folder/l.npy"), scratch.make_folder("folder.npy"), std::string()}) {
    const Answer run = run_cli(kClassify + Words{kPicture, "--logits", file});
    EXPECT_TRUE(run.fails_clearly(1)) << run.text();
    EXPECT_EQ(run.out, "") << "nothing was classified first";
  }
  EXPECT_EQ(scratch.list(), Words{"folder.npy"});
}

TEST(Classify, FullDiskBehindTheOutput) {
  if (access("/dev/full", W_OK) != 0) GTEST_SKIP() << "never: this machine has no /dev/full";
  EXPECT_TRUE(run_cli(kClassify + Words{kPicture, "--logits", "/dev/full"}).fails_clearly(1));
}

TEST(Classify, OtherInputSize) {
  const Answer run = run_cli(kClassify + Words{kPicture, "--size", "64x48", "--json"});
  EXPECT_EQ(run.code, 0) << run.text();
}

TEST(Embed, FeaturesAndTokens) {
  Scratch scratch;
  const std::string file = scratch.path("e.npy");
  const Words embed{"embed", "--model", kModel, "--device", "cpu", kPicture, kPhoto, "--out", file};
  Answer run = run_cli(embed);
  ASSERT_EQ(run.code, 0) << run.text();
  const Array features = read_array(file);
  ASSERT_EQ(features.shape.size(), 2u);
  EXPECT_EQ(features.shape[0], 2);
  run = run_cli(embed + Words{"--tokens", "--json"});
  ASSERT_EQ(run.code, 0) << run.text();
  const Array tokens = read_array(file);
  ASSERT_EQ(tokens.shape.size(), 3u);
  EXPECT_EQ(tokens.shape[2], features.shape[1]);
  EXPECT_EQ(run.json()["shape"], (std::vector<int64_t>{2, tokens.shape[1], tokens.shape[2]}));
  // The pooled vector of this model is the CLS token after the final norm.
  for (size_t i = 0; i < size_t(features.shape[1]); ++i) EXPECT_NEAR(features.data[i], tokens.data[i], 1e-5) << i;
}

TEST(Embed, BadPicture) {
  Scratch scratch;
  const std::string file = scratch.path("e.npy");
  const Words embed{"embed", "--model", kModel, "--device", "cpu", "--out", file};
  EXPECT_TRUE(run_cli(embed + Words{"/no/such.png"}).fails_clearly(1));
  EXPECT_TRUE(scratch.list().empty()) << "nothing to write";
  EXPECT_TRUE(run_cli(embed + Words{"/no/such.png", kPicture}).fails_clearly(1));
  const Array features = read_array(file);
  ASSERT_EQ(features.shape.size(), 2u);
  EXPECT_TRUE(std::isnan(features.data.front()));
  EXPECT_TRUE(std::isfinite(features.data.back()));
}

TEST(Plan, JsonKeys) {
  const Answer run = run_cli({"plan", "--model", kModel, "--device", "cpu", "--batch", "2", "--json"});
  ASSERT_EQ(run.code, 0) << run.text();
  const auto json = run.json();
  ASSERT_FALSE(json.is_discarded()) << run.text();
  for (const char* key : {"dispatches", "barriers", "arena_bytes", "weights_bytes"})
    EXPECT_TRUE(json[key].is_number()) << key << run.text();
  ASSERT_FALSE(json["steps"].empty());
  for (const auto& step : json["steps"])
    for (const char* key : {"name", "op", "device", "reason"}) EXPECT_TRUE(step[key].is_string()) << key << step;
}

TEST(Plan, ForDevicesThatAreNotHere) {
  // No loader, no driver: planning reads only the text of the capabilities.
  const cli_test::Environment nothing{{"VK_ICD_FILENAMES", "/no/such/driver.json"},
                                      {"VK_DRIVER_FILES", "/no/such/driver.json"}};
  for (const std::string name : {"jetson-nano", "lavapipe"}) {
    const std::string caps = std::string(VIREO_SOURCE_DIR) + "/engine/profile/caps/" + name + ".txt";
    const Answer run = run_cli({"plan", "--model", kModel, "--caps", caps}, nothing);
    EXPECT_EQ(run.code, 0) << run.text();
    EXPECT_EQ(run_cli({"plan", "--model", kModel, "--caps", caps}).out, run.out) << "the same text everywhere";
  }
}

TEST(Plan, BadCaps) {
  Scratch scratch;
  EXPECT_TRUE(run_cli({"plan", "--model", kModel, "--caps", "/no/such/caps.txt"}).fails_clearly(1));
  EXPECT_TRUE(run_cli({"plan", "--model", kModel, "--caps", scratch.path()}).fails_clearly(1));
  EXPECT_TRUE(run_cli({"plan", "--model", kModel, "--caps", scratch.write("c.txt", "this is no list of capabilities")})
                  .fails_clearly(1));
}

TEST(Plan, DumpShaders) {
  Scratch scratch;
  const std::string caps = std::string(VIREO_SOURCE_DIR) + "/engine/profile/caps/jetson-nano.txt";
  const cli_test::Environment nothing{{"VK_ICD_FILENAMES", "/no/such/driver.json"},
                                      {"VK_DRIVER_FILES", "/no/such/driver.json"}};
  const Words plan{"plan", "--model", kModel, "--caps", caps, "--dump-shaders"};
  const std::string folder = scratch.path("shaders");
  const Answer run = run_cli(plan + Words{folder}, nothing);
  ASSERT_EQ(run.code, 0) << run.text();
  EXPECT_EQ(run.out, run_cli({"plan", "--model", kModel, "--caps", caps}, nothing).out) << "the plan's text as always";

  int files = 0, linear = 0;
  double flops = 0;
  for (const std::string& name : Scratch::names_in(folder)) {
    ++files;
    ASSERT_EQ(name.find(".tmp"), std::string::npos) << name;
    if (name.size() < 5 || name.substr(name.size() - 5) != ".json") continue;
    const std::string path = folder + "/" + name;
    const auto json = nlohmann::json::parse(read_file(path), nullptr, false);
    ASSERT_FALSE(json.is_discarded()) << name;
    const std::string spirv = read_file(path.substr(0, path.size() - 5) + ".spv");
    ASSERT_GT(spirv.size(), 20u) << name;
    EXPECT_EQ(spirv.substr(0, 4), std::string("\x03\x02\x23\x07", 4)) << name;
    EXPECT_EQ(name.find(json["shader"].get<std::string>()), 3u) << name;
    EXPECT_EQ(json["spec"]["0"], json["workgroup_size"][0]) << name;
    EXPECT_GT(json["times"], 0) << name;
    EXPECT_GE(json["issued_flops"], json["flops"]) << name;
    int times = 0;
    for (const auto& use : json["uses"]) {
      times += use["times"].get<int>();
      EXPECT_EQ(use["workgroups"].size(), 3u) << name;
    }
    EXPECT_EQ(times, json["times"]) << name;
    flops += json["flops"].get<double>();
    linear += json["shader"].get<std::string>().find("linear") == 0;
  }
  EXPECT_GT(linear, 0);
  EXPECT_GT(files, 4);
  EXPECT_GT(flops, 0);
}

TEST(Plan, DumpShadersFailsClearly) {
  Scratch scratch;
  const std::string caps = std::string(VIREO_SOURCE_DIR) + "/engine/profile/caps/jetson-nano.txt";
  const Words plan{"plan", "--model", kModel, "--caps", caps, "--dump-shaders"};
  EXPECT_TRUE(run_cli(plan + Words{"/no/such/folder/shaders"}).fails_clearly(1));
  EXPECT_TRUE(run_cli(plan + Words{scratch.write("file", "text")}).fails_clearly(1)) << "not a folder";
  const std::string full = scratch.make_folder("full");
  scratch.write("full/00_linear.tile.json", "of another plan");
  EXPECT_TRUE(run_cli(plan + Words{full}).fails_clearly(1)) << "not empty";
  EXPECT_EQ(read_file(full + "/00_linear.tile.json"), "of another plan");
  const Words cpu{"plan", "--model", kModel, "--device", "cpu", "--dump-shaders", scratch.path("none")};
  EXPECT_TRUE(run_cli(cpu).fails_clearly(1)) << "no shaders on a CPU";
}

TEST(Bench, JsonKeys) {
  const Words sources[] = {{"--model", kModel},
                           {"--config", kModel + "/config.json", "--random-weights", "3"},
                           {"--model", kModel, "--random-weights", "3"}};
  for (const Words& source : sources) {
    const Answer run =
        run_cli(Words{"bench", "--device", "cpu", "--iters", "3", "--warmup", "1", "--batch", "2", "--json"} + source);
    ASSERT_EQ(run.code, 0) << run.text();
    const auto json = run.json();
    ASSERT_FALSE(json.is_discarded()) << run.text();
    for (const char* key : {"median_ms", "min_ms", "p95_ms", "images_per_s", "load_ms", "first_ms", "peak_rss_mib",
                            "arena_mib", "weights_mib", "dispatches"}) {
      ASSERT_TRUE(json[key].is_number()) << key << run.text();
      EXPECT_GT(json[key].get<double>(), 0) << key;
    }
  }
}

TEST(Bench, BesideAnotherModel) {
  const Answer run = run_cli(
      {"bench", "--model", kModel, "--device", "cpu", "--iters", "3", "--beside", kModel + "/config.json", "--json"});
  ASSERT_EQ(run.code, 0) << run.text();
  const auto json = run.json();
  ASSERT_TRUE(json["beside"].is_object()) << run.text();
  EXPECT_FALSE(json["beside"]["model"].get<std::string>().empty());
  EXPECT_GT(json["beside"]["median_ms"].get<double>(), 0);
  EXPECT_GT(json["beside"]["ratio"].get<double>(), 0);
  const Answer text =
      run_cli({"bench", "--model", kModel, "--device", "cpu", "--iters", "2", "--beside", kModel + "/config.json"});
  EXPECT_NE(text.out.find("ratio "), std::string::npos) << text.text();
  EXPECT_EQ(run_cli({"bench", "--model", kModel, "--device", "cpu", "--iters", "2"}).out.find("ratio"),
            std::string::npos);
  const Answer missing = run_cli({"bench", "--model", kModel, "--device", "cpu", "--beside", "none.json"});
  EXPECT_TRUE(missing.fails_clearly(1)) << missing.text();
  EXPECT_NE(missing.err.find("none.json"), std::string::npos) << missing.text();
}

TEST(Diff, CpuAgainstItself) {
  for (const std::string precision : {"fp32", "int8"}) {
    const Answer run =
        run_cli({"diff", "--model", kModel, "--a", "cpu", "--b", "cpu", "--precision", precision, "--json", "--all"});
    ASSERT_EQ(run.code, 0) << run.text();
    const auto json = run.json();
    ASSERT_FALSE(json.is_discarded()) << run.text();
    EXPECT_EQ(json["equal"], true);
    EXPECT_EQ(json["differing"], 0);
    EXPECT_TRUE(json["first"].is_null());
    EXPECT_GT(json["values"].size(), 5u);
  }
  const Answer picture = run_cli({"diff", "--model", kModel, "--a", "cpu", "--b", "cpu", kPicture});
  EXPECT_EQ(picture.code, 0) << picture.text();
}

TEST(Diff, VulkanAgainstTheCpu) {
  const auto devices = run_cli({"devices", "--json"}).json();
  if (devices["devices"].size() < 2) GTEST_SKIP() << "never: no Vulkan device here";
  const Answer equal = run_cli({"diff", "--model", kModel, "--json"});
  EXPECT_EQ(equal.code, 0) << equal.text();
  EXPECT_EQ(equal.json()["a"]["kind"], "cpu");
  EXPECT_EQ(equal.json()["b"]["kind"], "vulkan");
  // No two devices agree to the last bit, so tolerance 0 finds something and names it.
  const Answer differs = run_cli({"diff", "--model", kModel, "--tolerance", "0", "--json"});
  EXPECT_TRUE(differs.fails_clearly(1)) << differs.text();
  const auto json = differs.json();
  ASSERT_TRUE(json["first"].is_object()) << differs.text();
  EXPECT_NE(differs.err.find(json["first"]["name"].get<std::string>()), std::string::npos) << differs.text();
}

TEST(Eval, LabelsCsv) {
  Scratch scratch;
  // Ask the model first, so that the right answers are known.
  const auto results = run_cli(kClassify + Words{kPicture, kPhoto, "--json"}).json()["results"];
  const int first = results[0]["top"][0]["index"], second = results[1]["top"][1]["index"];
  scratch.make_folder("images");
  scratch.write("images/a.png", read_file(kPicture));
  scratch.write("b.jpg", read_file(kPhoto));
  scratch.write("labels.csv", "file,label,name\n\"a.png\"," + std::to_string(first) + ",\"x, y\"\nb.jpg,class " +
                                  std::to_string(second) + ",z\n");
  const Words eval{"eval", "--model", kModel, "--device", "cpu", "--data", scratch.path(), "--json"};
  const Answer run = run_cli(eval + Words{"--logits", scratch.path("l.npy")});
  ASSERT_EQ(run.code, 0) << run.text();
  EXPECT_EQ(run.err, "") << "no progress bar without a terminal";
  const auto json = run.json();
  EXPECT_EQ(json["images"], 2);
  EXPECT_EQ(json["top1"], 0.5) << run.text();
  EXPECT_EQ(json["top5"], 1.0);
  EXPECT_GT(json["images_per_s"].get<double>(), 0);
  EXPECT_EQ(read_array(scratch.path("l.npy")).shape, (std::vector<int64_t>{2, kClasses}));
  const Answer again = run_cli(eval + Words{"--compare-logits", scratch.path("l.npy"), "--limit", "1"});
  ASSERT_EQ(again.code, 0) << again.text();
  EXPECT_EQ(again.json()["images"], 1);
  EXPECT_EQ(again.json()["compared"]["max_abs"], 0.0);
}

TEST(Eval, FolderPerClass) {
  Scratch scratch;
  const int best = run_cli(kClassify + Words{kPicture, "--json"}).json()["results"][0]["top"][0]["index"];
  scratch.make_folder("Class_" + std::to_string(best));
  scratch.write("Class_" + std::to_string(best) + "/a.png", read_file(kPicture));
  scratch.make_folder("class 0");
  const Words eval{"eval", "--model", kModel, "--device", "cpu", "--data", scratch.path(), "--json"};
  const Answer run = run_cli(eval);
  ASSERT_EQ(run.code, 0) << run.text();
  EXPECT_EQ(run.json()["images"], 1);
  EXPECT_EQ(run.json()["top1"], 1.0);
  scratch.make_folder("elephant");
  const Answer unknown = run_cli(eval);
  EXPECT_TRUE(unknown.fails_clearly(1)) << unknown.text();
  EXPECT_NE(unknown.err.find("elephant"), std::string::npos) << unknown.text();
}

TEST(Eval, BadData) {
  Scratch scratch;
  const auto eval = [&] { return run_cli({"eval", "--model", kModel, "--device", "cpu", "--data", scratch.path()}); };
  EXPECT_TRUE(eval().fails_clearly(1)) << "an empty folder";
  scratch.write("labels.csv", "");
  EXPECT_TRUE(eval().fails_clearly(1));
  scratch.write("labels.csv", "picture,class\na.png,1\n");
  EXPECT_TRUE(eval().fails_clearly(1));
  scratch.write("labels.csv", "file,label\n");
  EXPECT_TRUE(eval().fails_clearly(1));
  scratch.write("labels.csv", "file,label\na.png,99\n");
  EXPECT_TRUE(eval().fails_clearly(1));
  scratch.write("labels.csv", "file,label\na.png\n");
  EXPECT_TRUE(eval().fails_clearly(1));
  scratch.write("labels.csv", "file,label\nmissing.png,1\n");
  const Answer missing = eval();
  EXPECT_TRUE(missing.fails_clearly(1)) << missing.text();
  EXPECT_NE(missing.err.find("missing.png"), std::string::npos);
  EXPECT_TRUE(run_cli({"eval", "--model", kModel, "--data", "/no/such/folder"}).fails_clearly(1));
  EXPECT_TRUE(run_cli({"eval", "--model", kModel, "--fashion-mnist", scratch.path()}).fails_clearly(1));
  scratch.write("t10k-images-idx3-ubyte.gz", std::string("\x1f\x8b\x08\0\0\0\0\0\0\3 damaged, as anyone can see", 40));
  scratch.write("t10k-labels-idx1-ubyte.gz", "");
  EXPECT_TRUE(run_cli({"eval", "--model", kModel, "--fashion-mnist", scratch.path()}).fails_clearly(1));
}

TEST(Eval, FashionMnist) {
  const std::string model = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
  if (access((model + "/model.safetensors").c_str(), R_OK) != 0)
    GTEST_SKIP() << "todo: models/fashion-vit has no weights";
  if (access("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz", R_OK) != 0)
    GTEST_SKIP() << "never: dataset-fashion-mnist is not installed";
  const Answer run =
      run_cli({"eval", "--model", model, "--fashion-mnist", "--limit", "300", "--device", "cpu", "--json"});
  ASSERT_EQ(run.code, 0) << run.text();
  EXPECT_EQ(run.json()["images"], 300);
  EXPECT_GT(run.json()["top1"].get<double>(), 0.85) << run.text();
}

TEST(Tune, FindsWritesAndUses) {
  if (!has_vulkan()) GTEST_SKIP() << "no Vulkan device";
  const Scratch scratch;
  const cli_test::Environment environment{{"VIREO_CACHE_DIR", scratch.path("cache")}};
  const Words tune{"tune", "--model", kModel, "--device", "vulkan", "--budget", "4"};
  const Answer first = run_cli(tune + Words{"--json"}, environment);
  ASSERT_EQ(first.code, 0) << first.text();
  const auto json = first.json();
  ASSERT_FALSE(json.is_discarded()) << first.text();
  const std::string file = json["file"];
  EXPECT_EQ(file.find(scratch.path("cache") + "/tuning-"), 0u) << file;
  ASSERT_GE(json["steps"].size(), 1u) << first.text();  // how many fit into the budget is the machine's affair
  for (const auto& s : json["steps"]) {
    // Not a measurement: a choice that was not faster is not made.
    EXPECT_GT(s["default_ms"].get<double>(), 0);
    EXPECT_LE(s["ms"].get<double>(), s["default_ms"].get<double>());
    EXPECT_GE(s["times"].get<int>(), 1);
  }
  const std::string text = read_file(file);
  EXPECT_EQ(text.find("vireo-tuning 1\n"), 0u) << text;

  // A choice made by hand is used, visibly; the answer stays the same.
  const Words classify{"classify", "--model", kModel, "--device", "vulkan", "--json", kPicture};
  const std::string name = json["steps"][0]["name"], key = json["steps"][0]["key"];
  std::string chosen = text.substr(0, text.find("step "));
  chosen += "step " + key + "\n  use texel=0 linear_tile=16,32,16,4,4\n  ms 1 default 2\n";
  scratch.write("mine.txt", chosen);
  const Answer plain = run_cli(classify, {{"VIREO_TUNING", "-"}}),
               tuned = run_cli(classify, {{"VIREO_TUNING", scratch.path("mine.txt")}});
  ASSERT_EQ(tuned.code, 0) << tuned.text();
  EXPECT_EQ(tuned.err, "");
  const auto a = plain.json()["results"][0]["top"], b = tuned.json()["results"][0]["top"];
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i]["score"].get<double>(), b[i]["score"].get<double>(), 1e-4);
  const Answer plan =
      run_cli({"plan", "--model", kModel, "--device", "vulkan"}, {{"VIREO_TUNING", scratch.path("mine.txt")}});
  ASSERT_EQ(plan.code, 0) << plan.text();
  EXPECT_NE(plan.out.find("linear.tile 16x32x16, weights in panels of 32, tuned]"), std::string::npos) << plan.text();

  // A stale or damaged file is named and ignored; tuning again replaces it.
  for (const std::string& bad :
       {std::string("not a tuning file"), text.substr(0, text.find("driver ")) + "driver 1 shaders 2\n"}) {
    const std::string path = scratch.write("bad.txt", bad);
    const Answer answer = run_cli(classify, {{"VIREO_TUNING", path}});
    EXPECT_EQ(answer.code, 0) << answer.text();
    EXPECT_EQ(answer.err.find("note: tuning file '" + path + "' is not used: "), 0u) << answer.text();
  }
}

TEST(Tune, RefusesTheCpuAndUnwritableFiles) {
  EXPECT_TRUE(run_cli({"tune", "--model", kModel, "--device", "cpu"}).fails_clearly(1));
  EXPECT_TRUE(run_cli({"tune", "--model", kModel, "--out", "/nowhere/at/all.txt"}).fails_clearly(1));
  EXPECT_TRUE(run_cli({"tune", "--model", kModel, "--budget", "0"}).fails_clearly(2));
}

}  // namespace
