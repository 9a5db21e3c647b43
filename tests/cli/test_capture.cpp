// vireo capture and vireo replay: one file that runs again, is printed, and is refused when it is none. And `profile`'s
// kept roofs.
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "run_cli.h"

namespace cli_test {
namespace {

const std::string kModel = std::string(VIREO_TEST_DATA) + "/torchvision/even";
const std::string kSegmenter = std::string(VIREO_TEST_DATA) + "/cases/hf-upernet-mobilevit";

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Capture, RunsAgainOnEveryDevice) {
  const Scratch dir;
  const std::string picture = std::string(VIREO_TEST_DATA) + "/images/420.jpg";
  for (const char* device : {"cpu", "vulkan"}) {
    if (std::string(device) == "vulkan" && !has_vulkan()) continue;
    const std::string file = dir.path(device);
    const Answer wrote =
        run_cli({"capture", "--model", kModel, picture, "--device", device, "--out", file, "--note", "what I saw"});
    ASSERT_EQ(wrote.code, 0) << wrote.text();
    EXPECT_TRUE(has(wrote.out, "written to " + file)) << wrote.text();
    const Answer again = run_cli({"replay", file});
    EXPECT_EQ(again.code, 0) << again.text();
    for (const char* text :
         {"what I saw", "plan     the captured one", "output   identical, bit by bit", ", 0 differ beyond 0.001"})
      EXPECT_TRUE(has(again.out, text)) << text << "\n" << again.text();
    const Answer cpu = run_cli({"replay", file, "--device", "cpu", "--json", "--all"});
    ASSERT_EQ(cpu.code, 0) << cpu.text();
    const nlohmann::json j = cpu.json();
    EXPECT_EQ(j["device"]["kind"], "cpu");
    EXPECT_EQ(j["captured_plan"], std::string(device) == "cpu");
    EXPECT_EQ(j["same"], true);
    EXPECT_TRUE(j["first"].is_null());
    EXPECT_EQ(j["all"].size(), size_t(j["values"]));
    EXPECT_EQ(j["capture"]["device"]["kind"], device);
    // Shown without being run, and its capabilities are those that plan reads.
    const Answer shown = run_cli({"replay", file, "--print"});
    ASSERT_EQ(shown.code, 0) << shown.text();
    EXPECT_TRUE(has(shown.out, "\nkind: " + std::string(device)) && has(shown.out, "\nplan ")) << shown.text();
    const nlohmann::json info = run_cli({"replay", file, "--print", "--json"}).json();
    const std::string caps = dir.write("caps.txt", info["caps"]);
    const Answer planned = run_cli({"plan", "--model", kModel, "--caps", caps});
    EXPECT_EQ(planned.out, info["plan"]) << planned.text();
  }
  EXPECT_EQ(dir.list().size(), has_vulkan() ? 3u : 2u) << "nothing half-written stays";
}

TEST(Capture, AStrangersNoteCannotMoveTheCursor) {
  const Scratch dir;
  ASSERT_EQ(
      run_cli({"capture", "--model", kModel, "--device", "cpu", "--out", dir.path("c"), "--note", "red \x1b[31m"}).code,
      0);
  const Answer a = run_cli({"replay", dir.path("c")});
  EXPECT_TRUE(has(a.out, "red ?[31m")) << a.text();
  EXPECT_FALSE(has(a.out, "\x1b"));
}

TEST(Capture, ADifferenceEndsWithOne) {
  const Scratch dir;
  if (!has_vulkan()) GTEST_SKIP() << "no Vulkan device";
  ASSERT_EQ(run_cli({"capture", "--model", kModel, "--device", "cpu", "--out", dir.path("c")}).code, 0);
  const Answer a = run_cli({"replay", dir.path("c"), "--device", "vulkan", "--tolerance", "0"});
  EXPECT_TRUE(a.fails_clearly(1)) << a.text();
  EXPECT_TRUE(has(a.err, "is the first value that differs: ") && has(a.err, "largest difference")) << a.text();
  const Answer json = run_cli({"replay", dir.path("c"), "--device", "vulkan", "--tolerance", "0", "--json"});
  EXPECT_TRUE(json.fails_clearly(1)) << json.text();
  EXPECT_EQ(json.json()["same"], false);
  EXPECT_EQ(json.json()["first"]["differs"], true);
}

TEST(Capture, WithoutWeightsItIsSmallAndOfTheSameNetwork) {
  const Scratch dir;
  const Answer full =
      run_cli({"capture", "--model", kSegmenter, "--device", "cpu", "--out", dir.path("full"), "--json"});
  const Answer none = run_cli({"capture", "--model", kSegmenter, "--device", "cpu", "--out", dir.path("none"),
                               "--no-weights", "--no-values", "--batch", "2", "--json"});
  ASSERT_EQ(full.code, 0) << full.text();
  ASSERT_EQ(none.code, 0) << none.text();
  EXPECT_LT(double(none.json()["bytes"]), 0.5 * double(full.json()["bytes"]));
  EXPECT_GT(int(full.json()["values"]), 5);
  EXPECT_EQ(none.json()["values"], 0);
  const Answer again = run_cli({"replay", dir.path("none"), "--json"});
  ASSERT_EQ(again.code, 0) << again.text();
  EXPECT_EQ(again.json()["output"]["identical"], true);
  EXPECT_EQ(again.json()["capture"]["head"], "class_map");
  EXPECT_EQ(again.json()["capture"]["batch"], 2);
  EXPECT_EQ(again.json()["capture"]["seed"], 0);
  EXPECT_TRUE(again.json()["capture"]["weights"].is_null());
}

TEST(Capture, WrongUsageAndFiles) {
  const Scratch dir;
  EXPECT_TRUE(run_cli({"capture", "--model", kModel}).fails_clearly(2)) << "--out is missing";
  EXPECT_TRUE(run_cli({"capture", "--out", dir.path("c")}).fails_clearly(2)) << "--model is missing";
  EXPECT_TRUE(run_cli({"capture", "--model", kModel, "--out", dir.path("c"), "--head", "tail"}).fails_clearly(2));
  EXPECT_TRUE(
      run_cli({"capture", "--model", kModel, "--out", dir.path("c"), "--no-values", "--all-values"}).fails_clearly(2));
  EXPECT_TRUE(run_cli({"capture", "--model", kModel, "--out", dir.path("no/such/c")}).fails_clearly(1));
  EXPECT_TRUE(
      run_cli({"capture", "--model", kModel, "--out", dir.path("c"), dir.path("missing.png")}).fails_clearly(1));
  const std::string picture = dir.write("p.ppm", "P6 1 1 255\nabc");
  const Answer replace = run_cli({"capture", "--model", kModel, picture, "--out", picture});
  EXPECT_TRUE(replace.fails_clearly(2)) << replace.text();
  EXPECT_TRUE(has(replace.err, "would replace")) << replace.text();
  EXPECT_TRUE(run_cli({"capture", "--model", kModel, "--out", kModel + "/config.json"}).fails_clearly(2));
  EXPECT_TRUE(run_cli({"replay"}).fails_clearly(2));
  EXPECT_TRUE(run_cli({"replay", dir.path("missing")}).fails_clearly(1));
  const Answer text = run_cli({"replay", picture, "--print"});
  EXPECT_TRUE(text.fails_clearly(1)) << text.text();
  const Answer weights = run_cli({"replay", kModel + "/model.safetensors"});
  EXPECT_TRUE(weights.fails_clearly(1)) << weights.text();
  EXPECT_TRUE(has(weights.err, "no capture")) << weights.text();
  ASSERT_EQ(run_cli({"capture", "--model", kModel, "--device", "cpu", "--out", dir.path("c")}).code, 0);
  EXPECT_TRUE(run_cli({"replay", dir.path("c"), "--device", "toaster"}).fails_clearly(2));
  EXPECT_TRUE(run_cli({"replay", dir.path("c"), "--tolerance", "-1"}).fails_clearly(2));
  const Answer nan = run_cli({"replay", dir.path("c"), "--tolerance", "nan"});
  EXPECT_NE(nan.code, 0) << nan.text();
  const std::string bytes = read_file(dir.path("c"));
  const Answer cut = run_cli({"replay", dir.write("cut", bytes.substr(0, bytes.size() / 2))});
  EXPECT_TRUE(cut.fails_clearly(1)) << cut.text();
}

TEST(KeptRoofs, AreMeasuredOnceAndSaidToBeKept) {
  const Scratch dir;
  const Environment cache{{"VIREO_CACHE_DIR", dir.path("cache")}};
  const auto profile = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"profile", "--model", kModel,     "--device", "cpu",    "--threads",       "1",
                                       "--runs",  "1",       "--warmup", "0",        "--json", dir.path("p.json")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Answer a = run_cli(arguments, cache);
    EXPECT_EQ(a.code, 0) << a.text();
    return a.out;
  };
  const auto roofs = [&] { return nlohmann::json::parse(read_file(dir.path("p.json")), nullptr, false)["roofs"]; };
  // What was measured on a busy machine is not kept, which it says; then the next call measures anew.
  const auto measured = [&]() -> std::optional<std::string> {
    for (int i = 0; i < 10; ++i) {
      const std::string out = profile({});
      EXPECT_FALSE(has(out, "note: roofs as measured")) << out;
      if (!has(out, "measured on a busy machine")) return out;
      EXPECT_TRUE(has(out, "they are not kept; the next profile measures anew")) << out;
    }
    return std::nullopt;
  };
  const char* const busy = "other work had the cores in ten measurements in a row";
  const std::optional<std::string> of_first = measured();
  if (!of_first) GTEST_SKIP() << busy;
  EXPECT_FALSE(has(*of_first, "note: roofs")) << *of_first;
  const nlohmann::json first = roofs();
  ASSERT_EQ(Scratch::names_in(dir.path("cache")).size(), 1u);
  const std::string file = dir.path("cache/" + Scratch::names_in(dir.path("cache"))[0]);
  EXPECT_TRUE(has(file, "/roofs-cpu-")) << file;
  EXPECT_TRUE(has(profile({}), "note: roofs as measured 20"));
  EXPECT_NEAR(double(roofs()["fma_gflops"]), double(first["fma_gflops"]), 1e-4 * double(first["fma_gflops"]));
  EXPECT_TRUE(has(profile({"--measure-roofs"}), "best of those measured now and before"));
  EXPECT_GE(double(roofs()["fma_gflops"]), 0.9999 * double(first["fma_gflops"]));
  std::string text = read_file(file);
  text.resize(text.size() / 2);
  dir.write("cache/" + Scratch::names_in(dir.path("cache"))[0], text);
  const std::optional<std::string> over = measured();
  if (!over) GTEST_SKIP() << busy;
  EXPECT_TRUE(has(*over, "are not used: ")) << "a damaged file is said and measured over";
  EXPECT_TRUE(has(profile({}), "note: roofs as measured 20"));
  EXPECT_TRUE(run_cli({"profile", "--model", kModel, "--no-roofs", "--measure-roofs"}).fails_clearly(2));
}

}  // namespace
}  // namespace cli_test
