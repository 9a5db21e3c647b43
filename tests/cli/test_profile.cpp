// vireo profile: its table and files. The page is looked at in test_pages.cpp.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "run_cli.h"

namespace cli_test {
namespace {

const std::string kModel = std::string(VIREO_TEST_DATA) + "/torchvision/even";

size_t lines(const std::string& text) { return size_t(std::count(text.begin(), text.end(), '\n')); }

/// The profile of the small model on a device, checked for what must hold on any.
void check_profile(const std::string& device) {
  const Scratch dir;
  const Answer a =
      run_cli({"profile", "--model", kModel, "--device", device, "--runs", "3", "--json", dir.path("p.json"), "--csv",
               dir.path("p.csv"), "--trace", dir.path("p.trace"), "--html", dir.path("p.html")});
  ASSERT_EQ(a.code, 0) << a.text();
  for (const char* text :
       {"sum of dispatches, each alone", "as scheduled", "wall, without timestamps", "roofs", "of roof"})
    EXPECT_NE(a.out.find(text), std::string::npos) << text << "\n" << a.text();
  const nlohmann::json p = nlohmann::json::parse(read_file(dir.path("p.json")), nullptr, false);
  ASSERT_TRUE(p.is_object());
  EXPECT_EQ(p["schema"], "vireo-profile/1");
  EXPECT_EQ(p["device"]["kind"], device == "cpu" ? "cpu" : "vulkan");
  ASSERT_GT(p["dispatches"].size(), 5u);
  EXPECT_GT(p["roofs"]["fma_gflops"], 0);
  EXPECT_GT(p["roofs"]["copy_gbs"], 0);
  EXPECT_GT(p["host_us"]["preprocess"], 0);
  double sum = 0, share = 0, before = 0;
  int clipped = 0;
  for (const nlohmann::json& d : p["dispatches"]) {
    EXPECT_GE(double(d["serialised_us"]), 0) << d.dump();
    EXPECT_GE(double(d["scheduled_us"]), 0) << d.dump();
    clipped += d["serialised_us"] == 0.0;
    if (d["above_roof"] == "") {
      EXPECT_LE(double(d["roof_share"]), 1.051) << "a share above 100 % has its reason: " << d.dump();
    }
    EXPECT_GE(double(d["begin_us"]), before) << "one queue begins them in order: " << d.dump();
    EXPECT_EQ(d["shader"] == "", device == "cpu");
    EXPECT_EQ(d["executed"].is_null(), device == "cpu");
    if (device != "cpu") {
      EXPECT_GT(double(d["executed"]["global_store"]), 0) << d.dump();
      EXPECT_GT(double(d["spirv"]["global_store"]), 0) << d.dump();
      if (d["op"] == "linear") {
        EXPECT_GE(16.0 * double(d["executed"]["fma"]), double(d["flops"]) * 0.9)
            << "two operations in each of eight lanes: " << d.dump();
      }
    }
    before = double(d["begin_us"]);
    sum += double(d["serialised_us"]);
    share += double(d["share"]);
  }
  EXPECT_NEAR(sum, double(p["serialised_us"]), 1e-3 * sum + 0.1);
  EXPECT_NEAR(share, 1, 0.02);
  EXPECT_LT(clipped, int(p["dispatches"].size()));
  EXPECT_GE(int(p["clipped"]), 0);
  EXPECT_LE(int(p["clipped"]), clipped) << "rounding to nanoseconds may make more of them 0";
  const nlohmann::json& host = p["host_us"];
  EXPECT_NEAR(double(p["accounted_us"]),
              double(p["serialised_us"]) + double(p["noise_us"]) + double(host["upload"]) + double(host["launch"]) +
                  double(host["download"]),
              0.01);
  const bool cpu = device == "cpu";
  EXPECT_EQ(double(p["empty_us"]) == 0, cpu);
  EXPECT_EQ(double(host["launch"]) == 0, cpu);
  EXPECT_EQ(a.out.find("timestamps and barrier around nothing take") == std::string::npos, cpu) << a.text();
  EXPECT_NE(a.out.find("accounted for"), std::string::npos) << a.text();
  // What the plan says is what was profiled.
  const nlohmann::json plan = run_cli({"plan", "--model", kModel, "--device", device, "--json"}).json();
  ASSERT_EQ(plan["steps"].size(), p["dispatches"].size()) << "no step of this model is split";
  for (size_t i = 0; i < plan["steps"].size(); ++i) {
    EXPECT_EQ(plan["steps"][i]["name"], p["dispatches"][i]["name"]);
    EXPECT_DOUBLE_EQ(double(plan["steps"][i]["flops"]), double(p["dispatches"][i]["flops"]));
  }
  const std::string csv = read_file(dir.path("p.csv"));
  EXPECT_EQ(lines(csv), p["dispatches"].size() + 1);
  EXPECT_EQ(csv.rfind("step,part,name,label,op,kernel,shader,spec,groups_x", 0), 0u);
  const nlohmann::json trace = nlohmann::json::parse(read_file(dir.path("p.trace")), nullptr, false);
  ASSERT_TRUE(trace.is_object());
  size_t spans = 0;
  for (const nlohmann::json& e : trace["traceEvents"]) spans += e["ph"] == "X";
  EXPECT_EQ(spans, p["dispatches"].size() + 4) << "and the host's four phases";
  EXPECT_NE(read_file(dir.path("p.html")).find("vireo-profile/1"), std::string::npos);
  EXPECT_EQ(dir.list().size(), 4u) << "nothing half-written stays";
}

TEST(Profile, OnTheCpu) { check_profile("cpu"); }

TEST(Profile, OnVulkan) {
  if (!has_vulkan()) GTEST_SKIP() << "no Vulkan device";
  check_profile("vulkan");
}

TEST(Profile, PhasesOnVulkan) {
  if (!has_vulkan()) GTEST_SKIP() << "no Vulkan device";
  if (run_cli({"devices", "--caps", "0"}).out.find("shader_clock: 1") == std::string::npos)
    GTEST_SKIP() << "no shader clock";
  const Scratch dir;
  const Answer a = run_cli({"profile", "--model", kModel, "--device", "vulkan:0", "--runs", "1", "--no-roofs",
                            "--phases", "--json", dir.path("p.json"), "--csv", dir.path("p.csv")});
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_NE(a.out.find("load/comp/store"), std::string::npos) << a.text();
  EXPECT_NE(a.out.find("phases   linear "), std::string::npos) << a.text();
  const nlohmann::json p = nlohmann::json::parse(read_file(dir.path("p.json")));
  EXPECT_EQ(p["no_phases"], "");
  int measured = 0;
  for (const nlohmann::json& d : p["dispatches"]) {
    if (d["phases"].is_null()) continue;
    ++measured;
    double sum = 0;
    for (const char* part : {"load", "compute", "store"}) sum += double(d["phases"][part]["share"]);
    EXPECT_NEAR(sum, 1, 0.002) << d.dump();
  }
  EXPECT_GT(measured, 4);
  // Whether the driver tells or not, the table and every file say it in the same way.
  const bool told = p["no_compiler"] == "";
  EXPECT_EQ(a.out.find("compiler not offered by this driver") == std::string::npos, told) << a.text();
  EXPECT_EQ(a.out.find(" regs ") != std::string::npos, told);
  EXPECT_EQ(p["dispatches"][0]["compiler"].is_null(), !told);
  EXPECT_EQ(read_file(dir.path("p.csv")).find(",not offered by this driver,") == std::string::npos, told);
}

TEST(Profile, PhasesOnTheCpuAreRefusedInWords) {
  const Answer a = run_cli({"profile", "--model", kModel, "--device", "cpu", "--runs", "1", "--no-roofs", "--phases"});
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_NE(a.out.find("phases   the CPU's steps have no phases; profile a Vulkan device"), std::string::npos)
      << a.text();
  EXPECT_EQ(a.out.find("compiler"), std::string::npos) << "the CPU's kernels are nobody's to compile: " << a.text();
}

TEST(Profile, JsonAloneOnStdout) {
  const Answer a = run_cli({"profile", "--model", kModel, "--device", "cpu", "--runs", "1", "--no-roofs", "--json"});
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_EQ(a.json()["schema"], "vireo-profile/1");
  EXPECT_EQ(a.json()["roofs"]["fma_gflops"], 0);
}

TEST(Profile, AFewDispatchesTimedAtOnce) {
  if (!has_vulkan()) GTEST_SKIP() << "no Vulkan device";
  const Scratch dir;
  const Answer a = run_cli({"profile", "--model", kModel, "--device", "vulkan", "--runs", "2", "--no-roofs",
                            "--no-compiler", "--timed-at-once", "4", "--json", dir.path("p.json")});
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_NE(a.out.find("dispatches were timed in a run (as asked)"), std::string::npos) << a.text();
  EXPECT_NE(a.out.find("more in a run of them, which medians leave out"), std::string::npos) << a.text();
  const nlohmann::json p = nlohmann::json::parse(read_file(dir.path("p.json")));
  EXPECT_EQ(p["timed_at_once"], 4);
  double end = 0;
  int fused = 0, fc1 = 0;
  for (const nlohmann::json& d : p["dispatches"]) {
    EXPECT_GE(double(d["begin_us"]), end - 0.01) << "blocks stand one behind the other: " << d.dump();
    end = double(d["begin_us"]) + double(d["scheduled_us"]);
    const std::string label = d["label"];
    EXPECT_NE(label.find(d["name"].get<std::string>()), std::string::npos);
    const std::string name = d["name"];
    fc1 += name.size() > 4 && name.compare(name.size() - 4, 4, ".fc1") == 0;
    fused += label == "LN + " + name + " + GELU";
  }
  EXPECT_GT(fused, 1);
  EXPECT_EQ(fused, fc1);
  EXPECT_NEAR(end, double(p["scheduled_us"]), 0.01 * end) << "and end where a run does";
  for (const nlohmann::json& d : p["dispatches"]) EXPECT_GE(double(d["scheduled_us"]), 0) << d.dump();
}

TEST(Profile, StepsOnTheCpuWithinAVulkanPlan) {
  if (!has_vulkan()) GTEST_SKIP() << "no Vulkan device";
  const Answer a = run_cli({"profile", "--model", kModel, "--device", "vulkan", "--cpu-ops", "attention", "--runs", "2",
                            "--no-roofs", "--json"});
  ASSERT_EQ(a.code, 0) << a.text();
  int cpu = 0;
  const nlohmann::json p = a.json();
  for (const nlohmann::json& d : p["dispatches"]) {
    cpu += d["device"] == "cpu";
    EXPECT_EQ(d["device"] == "cpu", d["op"] == "attention");
    EXPECT_GT(double(d["serialised_us"]), 0);
  }
  EXPECT_GT(cpu, 0);
}

TEST(Profile, WrongUsageAndFiles) {
  const Scratch dir;
  EXPECT_TRUE(run_cli({"profile"}).fails_clearly(2));
  EXPECT_TRUE(run_cli({"profile", "--model", kModel, "--device", "cpu", "--trace", dir.path("no/such/t.json")})
                  .fails_clearly(1));
  EXPECT_TRUE(run_cli({"profile", "--compare", dir.path("a"), dir.path("b")}).fails_clearly(1)) << "there are none";
  const std::string other = dir.write("other.json", "{\"schema\": \"else/3\"}"), html = dir.path("x.html");
  const Answer wrong = run_cli({"profile", "--compare", other, other, "--html", html});
  EXPECT_TRUE(wrong.fails_clearly(1)) << wrong.text();
  EXPECT_NE(wrong.err.find("else/3"), std::string::npos) << wrong.text();
  EXPECT_TRUE(run_cli({"profile", "--compare", dir.path("a"), other, "--html", html}).fails_clearly(1));
  EXPECT_EQ(dir.list(), std::vector<std::string>{"other.json"});
  // A row that the page could not show is noticed before there is a page.
  const nlohmann::json good =
      run_cli({"profile", "--model", kModel, "--device", "cpu", "--runs", "1", "--no-roofs", "--json"}).json();
  for (const char* key : {"name", "groups", "serialised_us"}) {
    nlohmann::json bad = good;
    bad["dispatches"][3][key] = nullptr;
    const Answer damaged = run_cli({"profile", "--compare", dir.write("good.json", good.dump()),
                                    dir.write("bad.json", bad.dump()), "--html", html});
    EXPECT_TRUE(damaged.fails_clearly(1)) << damaged.text();
    EXPECT_NE(damaged.err.find("is damaged: '" + std::string(key) + "'"), std::string::npos) << damaged.text();
  }
  EXPECT_EQ(dir.list().size(), 3u);
  const Answer over = run_cli(
      {"profile", "--model", kModel, "--device", "cpu", "--runs", "1", "--no-roofs", "--csv", html, "--html", html});
  EXPECT_TRUE(over.fails_clearly(2)) << over.text();
  EXPECT_NE(over.err.find("asked for twice"), std::string::npos) << over.text();
}

}  // namespace
}  // namespace cli_test
