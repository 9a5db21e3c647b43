// `vireo compress` with a budget, --sweep and --resume, as users run it.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <set>

#include "cli/running.h"

namespace cli_test {
namespace {

const std::string kShipped = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
const std::string kSamples = kShipped + "/samples";

/// The shipped pictures twice: a search wants 16.
struct Work {
  Scratch scratch, pictures;
  std::string out = scratch.path("out");
  Work() {
    for (const std::string& name : Scratch::names_in(kSamples)) {
      if (name.find(".png") == std::string::npos) continue;
      pictures.write("a_" + name, read_file(kSamples + "/" + name));
      pictures.write("b_" + name, read_file(kSamples + "/" + name));
    }
  }
  Words command(const Words& more) const {
    return Words{"compress", "--model", kShipped, "--calibrate", pictures.path()} + more;
  }
  Answer run(const Words& more) const { return run_cli(command(more)); }
  void refuses(int code, const Words& more, const std::string& what) const {
    const Words before = scratch.list();
    const Answer a = run(more);
    EXPECT_TRUE(a.fails_clearly(code)) << a.text();
    EXPECT_NE(a.err.find(what), std::string::npos) << a.err;
    EXPECT_EQ(scratch.list(), before) << a.err;
  }
};

TEST(CompressBudget, ASweepShowsWhatCanBeHad) {
  const Work w;
  const std::string html = w.scratch.path("front.html");
  const Answer a = w.run({"--sweep", "--json", "--html", html});
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_EQ(w.scratch.list(), Words{"front.html"});
  const auto j = a.json();
  EXPECT_EQ(j["schema"], "vireo-front/1");
  EXPECT_EQ(j["pictures"], 20);
  EXPECT_GE(j["front"].size(), 2u);
  const auto of = [&](const std::string& name) {
    for (const auto& c : j["candidates"])
      if (c["name"] == name) return c;
    return nlohmann::json();
  };
  const auto w8 = of("w8"), w4 = of("w4g64"), half = of("w4g64/50%");
  ASSERT_TRUE(w8.is_object() && w4.is_object() && half.is_object()) << a.out;
  EXPECT_LT(w8["kl"].get<double>(), w4["kl"].get<double>());
  EXPECT_LT(w4["bytes"].get<double>(), half["bytes"].get<double>());
  EXPECT_LT(half["bytes"].get<double>(), w8["bytes"].get<double>());
  EXPECT_FALSE(half["policy"].get<std::string>().empty());
  // AWQ is tried by itself; the points that stand for the front are of it, and no two are the same.
  EXPECT_TRUE(of("w4g64(awq)").is_object() || of("w4g32(awq)").is_object()) << a.out;
  EXPECT_TRUE(of("input86").is_object()) << a.out;
  std::set<std::string> stand;
  for (const auto& p : j["points"]) {
    EXPECT_NE(std::find(j["front"].begin(), j["front"].end(), p["name"]), j["front"].end()) << p;
    stand.insert(p["name"].get<std::string>());
  }
  EXPECT_EQ(stand.size(), j["points"].size());
  EXPECT_LE(stand.size(), std::min<size_t>(3, j["front"].size()));
  const std::string page = read_file(html);
  EXPECT_NE(page.find("vireo-front/1"), std::string::npos);
  EXPECT_EQ(page.find("http://"), std::string::npos);
  EXPECT_EQ(page.find("https://"), std::string::npos);
}

TEST(CompressBudget, ABudgetIsMetAndTheReportSaysWhatBinds) {
  const Work w;
  const Answer w8 =
      run_cli({"compress", "--model", kShipped, "--out", w.scratch.path("w8"), "--recipe", "w8", "--json"});
  ASSERT_EQ(w8.code, 0) << w8.text();
  const double mb = 0.8 * w8.json()["bytes_after"].get<double>() / 1e6;
  const Answer a = w.run({"--out", w.out, "--max-size", std::to_string(mb), "--json"});
  ASSERT_EQ(a.code, 0) << a.text();
  const auto j = a.json();
  EXPECT_LE(j["bytes_after"].get<double>(), mb * 1e6);
  EXPECT_EQ(j["search"]["met"], true);
  EXPECT_EQ(j["search"]["binds"], nlohmann::json::array({"max-size"}));
  EXPECT_EQ(w.scratch.list(), (Words{"out", "w8"}));
  EXPECT_EQ(run_cli({"classify", "--model", w.out, "--device", "cpu", kSamples + "/03_dress.png"}).code, 0);
  // The same by what the report says that it is.
  std::string policy;
  for (const auto& c : j["search"]["candidates"])
    if (c["name"] == j["search"]["chosen"] && c.contains("policy")) policy = c["policy"].get<std::string>();
  Words again{"--out", w.scratch.path("again"), "--recipe", j["recipe"].get<std::string>()};
  if (j.contains("options"))
    for (const auto& o : j["options"]) {
      const std::string option = o.get<std::string>();  // "awq", "ranges percentile"
      again.push_back("--" + option.substr(0, option.find(' ')));
      if (option.find(' ') != std::string::npos) again.push_back(option.substr(option.find(' ') + 1));
    }
  if (!policy.empty()) again = again + Words{"--policy", w.scratch.write("policy.txt", policy)};
  const Answer same = w.run(again);
  ASSERT_EQ(same.code, 0) << same.text();
  EXPECT_EQ(read_file(w.scratch.path("again/model.safetensors")), read_file(w.out + "/model.safetensors"));
}

TEST(CompressBudget, WhatCannotBeMetIsOneSentenceAndNoFolder) {
  const Work w;
  const Answer a = w.run({"--out", w.out, "--max-size", "0.01"});
  EXPECT_EQ(a.code, 1) << a.text();
  EXPECT_EQ(std::count(a.err.begin(), a.err.end(), '\n'), 1) << a.err;
  EXPECT_NE(a.err.find("the budget cannot be met: nothing meets --max-size"), std::string::npos) << a.err;
  EXPECT_NE(a.err.find("The closest is w4g64"), std::string::npos) << a.err;
  EXPECT_EQ(w.scratch.list(), Words{});
  const Answer closest = w.run({"--out", w.out, "--max-size", "0.01", "--closest", "--json"});
  ASSERT_EQ(closest.code, 0) << closest.text();
  EXPECT_EQ(closest.json()["search"]["met"], false);
  EXPECT_EQ(w.scratch.list(), Words{"out"});
}

TEST(CompressBudget, WrongUseIsOneSentence) {
  const Work w;
  const std::string few = w.scratch.make_folder("few");
  for (int i = 0; i < 15; ++i)
    w.scratch.write("few/" + std::to_string(i) + ".png", read_file(kSamples + "/03_dress.png"));
  w.refuses(2, {"--out", w.out, "--recipe", "w8", "--max-size", "3"}, "leave out --recipe");
  w.refuses(2, {"--out", w.out}, "say what is wanted");
  w.refuses(2, {"--max-size", "3"}, "--out DIR");
  w.refuses(2, {"--out", w.out, "--recipe", "w8", "--closest"}, "--closest goes with a budget");
  w.refuses(2, {"--out", w.out, "--recipe", "w8", "--html", "x.html"}, "--html goes with --sweep");
  w.refuses(2, {"--out", w.out, "--recipe", "w8", "--machine", "this"}, "go with a budget");
  w.refuses(2, {"--sweep", "--resume"}, "--resume goes with --out");
  w.refuses(2, {"--out", w.out, "--max-size", "-1"}, "--max-size");
  w.refuses(1, {"--out", w.out, "--max-size", "3", "--machine", "toaster"}, "toaster");
  const Answer blind = run_cli({"compress", "--model", kShipped, "--out", w.out, "--max-size", "3"});
  EXPECT_TRUE(blind.fails_clearly(2)) << blind.text();
  const Answer short_of =
      run_cli({"compress", "--model", kShipped, "--out", w.out, "--max-size", "3", "--calibrate", few});
  EXPECT_TRUE(short_of.fails_clearly(1)) << short_of.text();
  EXPECT_NE(short_of.err.find("15 pictures and needs at least 16"), std::string::npos) << short_of.err;
}

TEST(CompressBudget, AKilledRunGoesOn) {
  const Work w;
  const Words four = w.command({"--recipe", "w4g32"});
  const std::string plain = w.scratch.path("plain");
  ASSERT_EQ(run_cli(four + Words{"--out", plain}).code, 0);
  {
    Running::Options terminal;
    terminal.terminal = true;
    Running tool(four + Words{"--out", w.out, "--resume"}, terminal);
    // Everything is coded then; a sum of what is kept is on the disk.
    ASSERT_TRUE(tool.wait_for_stderr([](const std::string& s) { return s.find("sensitivity") != std::string::npos; }));
    tool.signal(SIGKILL);
    (void)tool.finish();
    EXPECT_EQ(tool.killed_by(), SIGKILL);
  }
  EXPECT_GT(Scratch::names_in(w.out + ".resume").size(), 3u);
  const Answer a = run_cli(four + Words{"--out", w.out, "--resume", "--json"});
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_GT(a.json()["resumed_layers"].get<int>(), 3);
  EXPECT_EQ(read_file(w.out + "/model.safetensors"), read_file(plain + "/model.safetensors"));
  EXPECT_EQ(read_file(w.out + "/config.json"), read_file(plain + "/config.json"));
  const Words left = w.scratch.list();
  EXPECT_EQ(std::count(left.begin(), left.end(), "out.resume"), 0);
}

/// A file may not grow beyond this: what a full disk looks like to a writer.
TEST(CompressBudget, AFullDiskLeavesNothing) {
  const Work w;
  for (const Words& more : {Words{"--recipe", "w8"}, Words{"--max-size", "3"}}) {
    rlimit was{};
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &was), 0);
    const rlimit little{20000, was.rlim_max};
    const auto old = signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &little), 0);
    const Answer a = w.run(Words{"--out", w.out} + more);
    setrlimit(RLIMIT_FSIZE, &was);
    signal(SIGXFSZ, old);
    EXPECT_TRUE(a.fails_clearly(1)) << a.text();
    EXPECT_NE(a.err.find("free space"), std::string::npos) << a.err;
    EXPECT_EQ(w.scratch.list(), Words{}) << a.err;
  }
}

}  // namespace
}  // namespace cli_test
