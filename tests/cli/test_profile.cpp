// vireo profile: its table, files and page; the page in headless Chromium where that is installed.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "run_cli.h"

namespace cli_test {
namespace {

const std::string kModel = std::string(VIREO_TEST_DATA) + "/torchvision/even";

size_t lines(const std::string& text) { return size_t(std::count(text.begin(), text.end(), '\n')); }

bool has_vulkan() { return run_cli({"devices", "--json"}).json()["devices"].size() > 1; }

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
  EXPECT_TRUE(run_cli({"profile", "--compare", dir.path("a"), dir.path("b")}).fails_clearly(2)) << "--html is missing";
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

/// stdout of Chromium's --dump-dom for a page, and what its console said.
std::string dom(const std::string& page, const std::string& profile, int width, bool dark, std::string* console) {
  const std::string log = page + ".log";
  std::string command =
      "timeout 120 chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir='" +
      profile + "' --enable-logging=stderr --virtual-time-budget=3000 --window-size=" + std::to_string(width) +
      ",1600 " + (dark ? "--blink-settings=preferredColorScheme=0 " : "--blink-settings=preferredColorScheme=1 ") +
      "--dump-dom 'file://" + page + "' 2>'" + log + "'";
  std::FILE* pipe = popen(command.c_str(), "r");
  std::string out;
  std::array<char, 65536> buffer;
  for (size_t n; pipe && (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) out.append(buffer.data(), n);
  if (pipe) pclose(pipe);
  *console = "";
  const std::string all = read_file(log);
  for (size_t at = 0; (at = all.find("CONSOLE", at)) != std::string::npos; ++at)
    *console += all.substr(at, all.find('\n', at) - at) + "\n";
  return out;
}

TEST(Profile, PageInChromium) {
  if (std::system("command -v chromium >/dev/null 2>&1") != 0) GTEST_SKIP() << "never: chromium is not installed";
  const Scratch dir;
  ASSERT_EQ(run_cli({"profile", "--model", kModel, "--device", "cpu", "--runs", "2", "--json", dir.path("p.json"),
                     "--html", dir.path("one.html")})
                .code,
            0);
  ASSERT_EQ(
      run_cli({"profile", "--compare", dir.path("p.json"), dir.path("p.json"), "--html", dir.path("two.html")}).code,
      0);
  // The same as a GPU's profile with everything there is, beside one of before there was any of it.
  nlohmann::json full = nlohmann::json::parse(read_file(dir.path("p.json"))), old = full;
  const size_t rows = full["dispatches"].size();
  for (nlohmann::json& d : full["dispatches"]) {
    d["gflops"] = 1e5;  // above the roof: it must stay inside the plot
    if (d["op"] == "linear") d["phases"] = {{"workgroups", 4}};
    if (d["op"] == "linear")
      for (const char* part : {"load", "compute", "store"})
        d["phases"][part] = {{"share", 0.25}, {"mean_ticks", 1}, {"max_ticks", 2}};
    d["compiler"] = {{"subgroup_size", 32},
                     {"registers", 96},
                     {"spills", nullptr},
                     {"instructions", 884},
                     {"statistics", {{"Number of GPRs", 96}}}};
  }
  for (nlohmann::json& d : old["dispatches"]) d.erase("phases"), d.erase("compiler");
  old.erase("no_phases"), old.erase("no_compiler");
  ASSERT_EQ(run_cli({"profile", "--compare", dir.write("full.json", full.dump()), dir.write("old.json", old.dump()),
                     "--html", dir.path("full.html")})
                .code,
            0);
  for (const char* name : {"one", "two", "full"}) {
    // A reader's click, and what the page then shows, as JSON in the title.
    std::string page = read_file(dir.path(std::string(name) + ".html"));
    const std::string probe = R"(<script>
      const heads = [...document.querySelector("table").querySelectorAll("th button")];
      heads.find(b => b.textContent === "alone ms").click();
      const cells = [...document.querySelector("tbody").rows].map(r => parseFloat(r.cells[2].textContent));
      document.title = JSON.stringify({rows: cells.length, sorted: cells.every((c, i) => i === 0 || c <= cells[i - 1]), charts: document.querySelectorAll("svg").length,
        shapes: document.querySelectorAll("svg rect, svg circle").length, overflow: document.documentElement.scrollWidth > innerWidth, fetched: performance.getEntriesByType("resource").length,
        heads: [...document.querySelectorAll("table")].map(t => t.querySelectorAll("th").length), small: [...document.querySelectorAll("svg")].some(v => v.getBoundingClientRect().width / v.viewBox.baseVal.width < 0.95),
        outside: [...document.querySelectorAll("svg circle")].some(c => c.cy.baseVal.value < 0) || [...document.querySelectorAll("svg rect")].some(r => r.x.baseVal.value + r.width.baseVal.value > r.ownerSVGElement.viewBox.baseVal.width + 1), bg: getComputedStyle(document.body).backgroundColor});
    </script>)";
    page.insert(page.rfind("</body>"), probe);
    const std::string path = dir.write(std::string(name) + "_probe.html", page);
    for (int width : {1280, 390})
      for (bool dark : {false, true}) {
        std::string console;
        const std::string shown = dom(path, dir.path("browser"), width, dark, &console);
        EXPECT_EQ(console, "") << name << " " << width;
        const size_t from = shown.find("<title>"), to = shown.find("</title>");
        ASSERT_TRUE(from != std::string::npos && to != std::string::npos) << read_file(path + ".log");
        const nlohmann::json seen = nlohmann::json::parse(shown.substr(from + 7, to - from - 7), nullptr, false);
        ASSERT_TRUE(seen.is_object()) << shown.substr(from, to - from);
        EXPECT_EQ(seen["rows"], rows);
        EXPECT_EQ(seen["sorted"], true);
        EXPECT_EQ(seen["charts"], std::string(name) == "one"   ? 3
                                  : std::string(name) == "two" ? 6
                                                               : 7)
            << "one with phases";
        EXPECT_EQ(seen["heads"], std::string(name) == "one"   ? nlohmann::json({10})
                                 : std::string(name) == "two" ? nlohmann::json({10, 10})
                                                              : nlohmann::json({17, 10}));
        EXPECT_EQ(seen["small"], false) << "a chart's text is shrunk at " << width;
        EXPECT_EQ(seen["outside"], false) << "a point above the plot, or a bar beyond it";
        EXPECT_GT(seen["shapes"], rows);
        EXPECT_EQ(seen["overflow"], false) << "the page itself must not scroll sideways at " << width;
        EXPECT_EQ(seen["fetched"], 0) << "no network";
        EXPECT_EQ(seen["bg"], dark ? "rgb(20, 23, 27)" : "rgb(255, 255, 255)");
      }
  }
}

}  // namespace
}  // namespace cli_test
