// The devices and models that Vireo brings along, and what every report says of how it was made.
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "run_cli.h"

namespace cli_test {
namespace {

const std::string kRoot = VIREO_SOURCE_DIR;
const std::string kModel = std::string(VIREO_TEST_DATA) + "/torchvision/even";
const std::string kViT = kRoot + "/models/configs/vit-ti.json";

/// The same answer but for what differs with every run.
nlohmann::json without_made(nlohmann::json j) {
  j.erase("made");
  return j;
}

TEST(Machines, PredictionsNeedNoCapsFile) {
  size_t machines = 0;
  std::istringstream names(run_cli({"predict", "--list"}).out);
  for (std::string name; std::getline(names, name); ++machines) {
    const Answer a = run_cli({"predict", "--machine", name, "--config", kViT, "--json"});
    ASSERT_EQ(a.code, 0) << a.text();
    EXPECT_EQ(a.json()["machine"], name);
    // The built-in capabilities are those of the file that is installed, whichever way they are named.
    const std::string device = name == "jetson-nano-5w" ? "jetson-nano" : name;
    for (const std::string& caps : {kRoot + "/engine/profile/caps/" + device + ".txt", name})
      EXPECT_EQ(
          without_made(a.json()),
          without_made(run_cli({"predict", "--caps", caps, "--machine", name, "--config", kViT, "--json"}).json()))
          << caps;
  }
  EXPECT_GE(machines, 4u);
}

TEST(Machines, PlansNameTheDeviceToo) {
  const Answer named = run_cli({"plan", "--caps", "jetson-nano", "--config", kViT}),
               file = run_cli({"plan", "--caps", kRoot + "/engine/profile/caps/jetson-nano.txt", "--config", kViT});
  ASSERT_EQ(named.code, 0) << named.text();
  EXPECT_EQ(named.out, file.out);
  EXPECT_NE(named.out.find("NVIDIA Tegra X1"), std::string::npos) << named.out;
  const Answer none = run_cli({"plan", "--caps", "jetson-tk1", "--config", kViT});
  EXPECT_TRUE(none.fails_clearly(1)) << none.text();
  EXPECT_NE(none.err.find("jetson-nano-5w"), std::string::npos) << none.text();
}

TEST(Machines, SweepsNeedNoCapsFileAndBringTheirModels) {
  const nlohmann::json j =
      run_cli({"predict", "--sweep", "--machine", "jetson-nano", "--precisions", "fp16", "--sizes", "256", "--json"})
          .json();
  ASSERT_TRUE(j.is_object());
  ASSERT_EQ(j["rows"].size(), 6u) << j.dump();
  // A row is the prediction of the configuration that is installed.
  const std::map<std::string, std::string> files{{"ViT-Ti/16", "vit-ti"},
                                                 {"UPerNet+MobileViT-S", "upernet-mobilevit-s"}};
  size_t found = 0;
  for (const nlohmann::json& row : j["rows"]) {
    const auto file = files.find(row["model"]);
    if (file == files.end()) continue;
    ++found;
    const nlohmann::json one =
        run_cli({"predict", "--machine", "jetson-nano", "--config", kRoot + "/models/configs/" + file->second + ".json",
                 "--precision", "fp16", "--size", "256x256", "--json"})
            .json();
    EXPECT_NEAR(double(row["ms"]), double(one["us"]) / 1000, 1e-5 * double(row["ms"])) << row.dump();
  }
  EXPECT_EQ(found, files.size());
}

TEST(Machines, EverySampleConfigurationIsPredicted) {
  for (const std::string& file : Scratch::names_in(kRoot + "/models/configs")) {
    const Answer a = run_cli({"predict", "--machine", "jetson-nano", "--config", kRoot + "/models/configs/" + file});
    EXPECT_EQ(a.code, 0) << file << a.text();
    EXPECT_NE(a.out.find("computed, not measured"), std::string::npos) << file << a.text();
  }
}

TEST(Machines, ADescriptionThatIsAFileWantsItsDevice) {
  const Scratch dir;
  const Answer a =
      run_cli({"predict", "--machine", dir.write("mine.txt", "name: mine\nkind: cores\ncores: 4\n"), "--config", kViT});
  EXPECT_TRUE(a.fails_clearly(2)) << a.text();
  EXPECT_NE(a.err.find("--caps FILE is required beside"), std::string::npos) << a.text();
}

/// What `made` says in any report.
void check_made(const nlohmann::json& report, const std::string& verb, bool measured) {
  ASSERT_TRUE(report.is_object()) << verb;
  const nlohmann::json& m = report["made"];
  ASSERT_TRUE(m.is_object()) << verb;
  EXPECT_EQ("vireo " + m["vireo"].get<std::string>() + "\n", run_cli({"--version"}).out);
  const std::string date = m["date"], command = m["command"];
  EXPECT_EQ(date.size(), std::string("2026-01-01T00:00:00Z").size()) << date;
  EXPECT_EQ(date.back(), 'Z');
  EXPECT_GE(date, "2024");
  EXPECT_NE(command.find(" " + verb + " "), std::string::npos) << command;
  EXPECT_NE(command.find("--json"), std::string::npos) << command;
  EXPECT_EQ(m.contains("host"), measured) << verb;
  EXPECT_EQ(m.contains("threads"), measured) << verb;
}

TEST(Made, EveryReportSaysHow) {
  const Answer bench = run_cli({"bench", "--model", kModel, "--device", "cpu", "--threads", "2", "--iters", "1",
                                "--warmup", "1", "--json"}),
               profile = run_cli({"profile", "--model", kModel, "--device", "cpu", "--threads", "2", "--runs", "1",
                                  "--no-roofs", "--json"}),
               predict = run_cli({"predict", "--machine", "lavapipe", "--config", kViT, "--json"}),
               sweep = run_cli({"predict", "--sweep", "--machine", "jetson-nano", "--models", kViT, "--precisions",
                                "fp32", "--sizes", "224", "--json"});
  check_made(bench.json(), "bench", true);
  check_made(profile.json(), "profile", true);
  check_made(predict.json(), "predict", false);
  check_made(sweep.json(), "predict", false);
  for (const Answer* a : {&bench, &profile}) {
    EXPECT_EQ(a->json()["made"]["threads"], 2);
    EXPECT_FALSE(a->json()["made"].contains("driver")) << "the CPU has none";
  }
  EXPECT_NE(predict.json()["made"]["driver"].get<std::string>().find("llvmpipe"), std::string::npos);
  EXPECT_EQ(sweep.json()["made"]["driver"], "version 0x801c100");
}

TEST(Made, TheDriverOfAVulkanDevice) {
  if (run_cli({"devices", "--json"}).json()["devices"].size() < 2) GTEST_SKIP() << "no Vulkan device";
  const nlohmann::json j =
      run_cli({"bench", "--model", kModel, "--device", "vulkan:0", "--iters", "1", "--warmup", "1", "--json"}).json();
  check_made(j, "bench", true);
  const std::string caps = run_cli({"devices", "--caps", "0"}).out, driver = j["made"]["driver"];
  EXPECT_NE(caps.find(": " + driver.substr(driver.rfind("version ", 0) == 0 ? 8 : 0) + "\n"), std::string::npos)
      << driver << "\n"
      << caps;
}

TEST(Made, TheCommandCanBeTypedAgain) {
  const Scratch dir;
  const std::string folder = dir.make_folder("it's a $HOME;");
  const std::string config = dir.write("it's a $HOME;/vit.json", read_file(kViT));
  const nlohmann::json first = run_cli({"predict", "--machine", "jetson-nano", "--config", config, "--json"}).json();
  ASSERT_TRUE(first.is_object());
  // A shell reads it as it was meant: once more, the same answer.
  const std::string command = first["made"]["command"], again = dir.path("again.json");
  ASSERT_EQ(std::system((command + " >'" + again + "'").c_str()), 0) << command;
  EXPECT_EQ(without_made(first), without_made(nlohmann::json::parse(read_file(again), nullptr, false)));
  EXPECT_NE(command.find("'\\''"), std::string::npos) << command;
}

/// The table per operator at the end of a text, by operator: ms, share, GFLOP, GFLOP/s, count.
std::map<std::string, std::vector<double>> operator_table(const std::string& text) {
  std::map<std::string, std::vector<double>> rows;
  const size_t at = text.find("count  operator\n");
  std::istringstream lines(at == std::string::npos ? "" : text.substr(text.find('\n', at) + 1));
  for (std::string line; std::getline(lines, line) && !line.empty();) {
    std::istringstream words(line);
    std::vector<double> numbers(5, -1);
    std::string op;
    char percent = 0;
    words >> numbers[0] >> numbers[1] >> percent >> numbers[2] >> numbers[3] >> numbers[4] >> op;
    if (!op.empty()) rows[op] = numbers;
  }
  return rows;
}

void check_operators(const std::string& text, const nlohmann::json& report, const char* time, double all_us) {
  const auto table = operator_table(text);
  std::map<std::string, std::vector<double>> expected;
  for (const nlohmann::json& d : report["dispatches"])
    for (const std::string& op : {d["op"].get<std::string>(), std::string("all")}) {
      std::vector<double>& e = expected[op];
      if (e.empty()) e.assign(3, 0);
      e[0] += double(d[time]), e[1] += double(d["flops"]), e[2] += 1;
    }
  ASSERT_EQ(table.size(), expected.size()) << text;
  for (const auto& [op, e] : expected) {
    ASSERT_TRUE(table.count(op)) << op << text;
    const std::vector<double>& row = table.at(op);
    EXPECT_NEAR(row[0], e[0] / 1000, 0.002) << op;
    EXPECT_NEAR(row[1], 100 * e[0] / all_us, 0.06) << op;
    EXPECT_NEAR(row[2], e[1] * 1e-9, 1e-4) << op;
    EXPECT_EQ(row[4], e[2]) << op;
  }
}

TEST(Operators, SumsCloseTheTables) {
  const Scratch dir;
  const Answer profile = run_cli(
      {"profile", "--model", kModel, "--device", "cpu", "--runs", "1", "--no-roofs", "--json", dir.path("p.json")});
  const nlohmann::json p = nlohmann::json::parse(read_file(dir.path("p.json")), nullptr, false);
  ASSERT_TRUE(p.is_object()) << profile.text();
  check_operators(profile.out, p, "serialised_us", p["serialised_us"]);
  const std::vector<std::string> predict{"predict", "--machine", "jetson-nano", "--config", kViT};
  std::vector<std::string> as_json = predict;
  as_json.push_back("--json");
  const nlohmann::json j = run_cli(as_json).json();
  ASSERT_TRUE(j.is_object());
  check_operators(run_cli(predict).out, j, "us", j["us"]);
}

}  // namespace
}  // namespace cli_test
