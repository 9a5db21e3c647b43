// vireo predict: a device that is only a file, sweeps, fits, and what is wrong with either.
#include <gtest/gtest.h>

#include <algorithm>

#include "run_cli.h"

namespace cli_test {
namespace {

const std::string kData = VIREO_TEST_DATA;
const std::string kNano = std::string(VIREO_SOURCE_DIR) + "/engine/profile/caps/jetson-nano.txt";

std::string config(const std::string& name) {
  return std::string(VIREO_SOURCE_DIR) + "/models/configs/" + name + ".json";
}

TEST(PredictCli, NanoFromACapsFile) {
  const Scratch dir;
  const Answer a = run_cli({"predict", "--caps", kNano, "--config", config("vit-ti"), "--csv", dir.path("p.csv")});
  ASSERT_EQ(a.code, 0) << a.text();
  for (const char* text : {"jetson-nano", "computed, not measured", "roofline", "issue slots", "bandwidth",
                           "dispatches and submission", "blocks.0.mlp.fc1", "of 63 dispatches"})
    EXPECT_NE(a.out.find(text), std::string::npos) << text << "\n" << a.text();
  const std::string csv = read_file(dir.path("p.csv"));
  EXPECT_EQ(
      csv.rfind("step,part,name,op,kernel,shader,flops,bytes,us,low_us,high_us,roof_us,bound_us,lost_padding_us", 0),
      0u);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 64);

  const nlohmann::json j =
      run_cli({"predict", "--caps", kNano, "--config", config("vit-ti"), "--precision", "fp16", "--json"}).json();
  ASSERT_TRUE(j.is_object());
  EXPECT_EQ(j["schema"], "vireo-prediction/1");
  EXPECT_EQ(j["machine"], "jetson-nano");
  EXPECT_EQ(j["precision"], "fp16");
  double us = 0, lost = 0;
  for (const auto& d : j["dispatches"]) {
    us += double(d["us"]);
    EXPECT_GT(d["instructions"].size(), 3u);
  }
  for (const auto& l : j["lost_us"]) lost += double(l);
  EXPECT_NEAR(double(j["roof_us"]) + lost, double(j["us"]), 1e-3 * double(j["us"]));
  EXPECT_LT(us, double(j["us"])) << "a submission comes on top";
  EXPECT_LT(double(j["low_us"]), double(j["us"]));
  EXPECT_LT(double(j["us"]), double(j["high_us"]));
  // Slower clocks, longer times.
  const nlohmann::json slow = run_cli({"predict", "--caps", kNano, "--machine", "jetson-nano-5w", "--config",
                                       config("vit-ti"), "--precision", "fp16", "--json"})
                                  .json();
  EXPECT_GT(double(slow["us"]), 1.2 * double(j["us"]));
}

TEST(PredictCli, SweepAsTextJsonCsvAndPage) {
  const Scratch dir;
  const std::vector<std::string> what{
      "predict",      "--sweep",         "--caps",  kNano,    "--models", config("vit-ti") + "," + config("swin-t"),
      "--precisions", "fp32,int8",       "--sizes", "224,50", "--csv",    dir.path("s.csv"),
      "--html",       dir.path("s.html")};
  const Answer a = run_cli(what);
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_NE(a.out.find("vit-ti.json"), std::string::npos) << a.text();
  std::vector<std::string> as_json = what;
  as_json.push_back("--json");
  const nlohmann::json j = run_cli(as_json).json();
  ASSERT_TRUE(j.is_object());
  EXPECT_EQ(j["schema"], "vireo-sweep/1");
  ASSERT_EQ(j["rows"].size(), 8u);
  size_t failed = 0;
  for (const auto& r : j["rows"]) {
    if (r.contains("error")) ++failed;
    else EXPECT_GT(double(r["images_per_s"]), 1);
  }
  EXPECT_EQ(failed, 2u) << "50 pixels make a map smaller than Swin's window, which its row says: " << j.dump();
  const std::string csv = read_file(dir.path("s.csv")), page = read_file(dir.path("s.html"));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 9);
  EXPECT_EQ(page.rfind("<!doctype html>", 0), 0u);
  EXPECT_NE(page.find("swin-t.json"), std::string::npos);
  EXPECT_EQ(page.find("http"), std::string::npos) << "the page needs no network";
  EXPECT_NE(page.find("</html>"), std::string::npos);
}

TEST(PredictCli, FitOnTheCpuPredictsWhatItWasFittedOn) {
  const Scratch dir;
  const Answer fit = run_cli({"predict", "--fit", dir.path("here.txt"), "--device", "cpu", "--threads", "1", "--fit-on",
                              config("vit-ti") + "," + config("mobilevit-s"), "--fit-precisions", "fp32", "--rounds",
                              "1", "--probe", kData + "/cases/hf-vit/config.json"});
  ASSERT_EQ(fit.code, 0) << fit.text();
  const std::string text = read_file(dir.path("here.txt"));
  for (const char* line : {"name: here\n", "kind: fitted\n", "threads: 1\n", "cost ", "error_median: ", "probe_us: "})
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  EXPECT_NE(fit.out.find("use it:"), std::string::npos) << fit.text();
  const std::string caps = dir.write("cpu.txt", run_cli({"devices", "--caps", "cpu", "--threads", "1"}).out);
  const nlohmann::json j =
      run_cli({"predict", "--caps", caps, "--machine", dir.path("here.txt"), "--config", config("vit-ti"), "--json"})
          .json();
  ASSERT_TRUE(j.is_object());
  EXPECT_EQ(j["machine"], "here");
  EXPECT_GT(double(j["us"]), 100);
  EXPECT_LT(double(j["us"]), 1e8);
  const nlohmann::json batch = run_cli({"predict", "--caps", caps, "--machine", dir.path("here.txt"), "--config",
                                        config("vit-ti"), "--batch", "3", "--json"})
                                   .json();
  ASSERT_TRUE(batch.is_object()) << "the copies that only batches have were measured as well";
  EXPECT_GT(double(batch["us"]), double(j["us"]));
  const Answer other =
      run_cli({"predict", "--caps", dir.write("cpu3.txt", run_cli({"devices", "--caps", "cpu", "--threads", "3"}).out),
               "--machine", dir.path("here.txt"), "--config", config("vit-ti")});
  EXPECT_TRUE(other.fails_clearly(1)) << other.text();
  EXPECT_NE(other.err.find("fitted with 1 threads"), std::string::npos) << other.text();
  const Answer cut = run_cli({"predict", "--caps", caps, "--machine",
                              dir.write("cut.txt", text.substr(0, text.size() * 2 / 3)), "--config", config("vit-ti")});
  EXPECT_TRUE(cut.fails_clearly(1)) << cut.text();
}

TEST(PredictCli, WhatIsWrongIsSaidAndNothingIsWritten) {
  const Scratch dir;
  const std::string good = read_file(kNano);
  const auto fails = [&](const std::vector<std::string>& arguments, int code, const std::string& text) {
    const Answer a = run_cli(arguments);
    EXPECT_TRUE(a.fails_clearly(code)) << a.text();
    EXPECT_NE(a.err.find(text), std::string::npos) << text << "\n" << a.text();
  };
  const std::string vit = config("vit-ti");
  std::string absurd = good;
  absurd.replace(absurd.find("subgroup_size: 32"), 17, "subgroup_size: 77");
  fails({"predict", "--config", vit}, 2, "--caps FILE is required");
  fails({"predict", "--caps", kNano}, 2, "--model DIR, --config FILE, --sweep");
  fails({"predict", "--caps", dir.path("none.txt"), "--config", vit}, 1, "cannot read");
  fails({"predict", "--caps", dir.write("absurd.txt", absurd), "--config", vit, "--csv", dir.path("out.csv")}, 1,
        "subgroup_size is 77");
  fails({"predict", "--caps", dir.write("half.txt", "name: NVIDIA Tegra X1\nkind: vulkan\n"), "--config", vit}, 1,
        "'subgroup_size' is missing");
  fails({"predict", "--caps", dir.write("odd.txt", good + "warp: 3\n"), "--config", vit}, 1, "warp");
  fails({"predict", "--caps", kNano, "--config", vit, "--probe", vit}, 2, "--probe goes with --fit");
  fails({"predict", "--fit", dir.path("fit.txt"), "--device", "cpu", "--fit-on", vit, "--probe", dir.path("none.json")},
        1, "none.json");
  // Nothing that is read may be written over.
  const std::string read = dir.write("read.txt", good), own = dir.write("config.json", read_file(vit));
  fails({"predict", "--caps", read, "--config", vit, "--csv", read}, 2, "would replace");
  fails({"predict", "--caps", kNano, "--config", own, "--csv", own}, 2, "would replace");
  fails({"predict", "--caps", kNano, "--sweep", "--models", own, "--sizes", "224", "--html", own}, 2, "would replace");
  fails({"predict", "--caps", read, "--sweep", "--models", own, "--sizes", "224", "--html", read}, 2, "would replace");
  fails({"predict", "--fit", own, "--device", "cpu", "--fit-on", own}, 2, "would replace");
  fails({"predict", "--caps", kNano, "--sweep", "--models", own, "--csv", dir.path("same"), "--html", dir.path("same")},
        2, "asked for twice");
  EXPECT_EQ(read_file(read), good);
  EXPECT_EQ(read_file(own), read_file(vit));
  fails({"predict", "--caps", kNano, "--machine", "jetson-tk1", "--config", vit}, 1, "jetson-nano-5w");
  fails({"predict", "--caps", kNano, "--machine", dir.write("m.txt", "name: x\nkind: cores\ncores: 0\n"), "--config",
         vit},
        1, "line 3");
  fails({"predict", "--caps", kNano, "--config", vit, "--csv", dir.path("no/such/folder.csv")}, 1, "no/such");
  fails({"predict", "--caps", kNano, "--sweep", "--models", dir.path("nothing.json")}, 1, "nothing.json");
  fails({"predict", "--fit", dir.path("f.txt"), "--device", "cpu", "--machine", "jetson-nano"}, 1,
        "cannot be brought to measurements");
  fails({"predict", "--fit", dir.path("f.txt"), "--config", vit}, 2, "--fit-on");
  fails({"predict", "--sweep", "--caps", kNano, "--config", vit}, 2, "--models");
  fails({"predict", "--caps", kNano, "--config", vit, "--fit-on", vit}, 2, "--fit-on goes with --fit");
  fails({"predict", "--sweep", "--caps", kNano, "--precision", "fp16"}, 2, "--precisions");
  fails({"predict", "--caps", kNano, "--config", vit, "--threads", "2"}, 2, "--threads goes with --fit");
  fails({"predict", "--caps", dir.path(), "--config", vit}, 1, "it is a folder");
  fails({"predict", "--caps", kNano, "--machine", dir.path(), "--config", vit}, 1, "it is a folder");
  fails({"predict", "--caps", kNano, "--config", vit, "--csv", "-"}, 2, "name of a file");
  fails({"predict", "--sweep", "--caps", kNano, "--models", config("swin-t"), "--sizes", "50", "--precisions", "fp32"},
        1, "no row of the sweep");
  const std::vector<std::string> left = dir.list();
  EXPECT_EQ(std::count(left.begin(), left.end(), "out.csv") + std::count(left.begin(), left.end(), "f.txt"), 0);
  EXPECT_NE(run_cli({"predict", "--list"}).out.find("jetson-nano\njetson-nano-5w\n"), std::string::npos);
}

}  // namespace
}  // namespace cli_test
