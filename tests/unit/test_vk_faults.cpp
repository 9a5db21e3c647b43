// Every call of Vulkan that Vireo makes, failing in every way that the specification allows, once and from then on,
// while a session is opened, runs, is profiled and is closed. Each case must end in the right answer (with the reason,
// where the CPU has taken over) or in one error; nothing may be destroyed under work that may go on, and nothing left
// behind but what no answer proves to be over.
//
// The cases run in processes of their own, so that a crash or a hang is the failure of one case. In full, on the
// shipped model:
//   VIREO_FAULT_STRIDE=1 VIREO_FAULT_JOBS=8 build/bin/unit_tests --gtest_filter='VkFaults.*'
// (VIREO_FAULT_MODEL: another one). A failure says how its case is run alone, in this process.
#if VIREO_VULKAN
#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "runtime/session_impl.h"
#include "support/compare.h"
#include "test_vk_fault.h"
#include "test_vk_fault_bench.h"
#include "test_vk_hook.h"
#include "vk/status.h"

#include <vireo/profile.hpp>

namespace vireo {
namespace {

using namespace fault_cases;

// ---- a process of cases
// --------------------------------------------------------------------------------------------------

/// Runs the cases of the file VIREO_FAULT_CHILD, or VIREO_FAULT_CASE alone. A case without an injection lists the calls
/// it made.
TEST(VkFaults, DISABLED_Child) {
  std::vector<std::string> cases;
  if (const std::string one = env_or("VIREO_FAULT_CASE", ""); !one.empty()) cases.push_back(one);
  std::ifstream file(env_or("VIREO_FAULT_CHILD", "/dev/null"));
  for (std::string line; std::getline(file, line);) cases.push_back(line);
  Subject::get("shipped");
  ASSERT_FALSE(HasFailure());
  Bench bench;
  for (const std::string& text : cases) {
    std::printf("@case %s\n", text.c_str());
    std::fflush(stdout);
    const Case c = from_text(text);
    const auto start = std::chrono::steady_clock::now();
    const std::string wrong = bench.run(c);
    std::printf("@took %.3f\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    std::printf("@abandoned %d\n@fell back %d\n@opened %d\n", int(bench.abandoned()), int(bench.fell_back()),
                int(bench.opened()));
    if (c.injection.call.empty())
      for (const std::string& call : fault::calls()) std::printf("@call %s\n", call.c_str());
    std::printf(wrong.empty() ? "@right\n" : "@wrong %s\n", wrong.c_str());
    std::fflush(stdout);
    EXPECT_EQ(wrong, "") << text;
  }
  fault::reset({});
}

// ---- all of them
// -------------------------------------------------------------------------------------------------------

struct Outcome {
  std::string text;  // "right", or what is wrong
  std::vector<std::string> calls;
  double seconds = 0;
  int abandoned = 0, fell_back = 0, opened = 0;
};

constexpr int kHang_s = 300;  // without a word: far beyond what Flight waits for

/// What is abandoned stays to the end of its process, threads of the driver's included: in one child, hundreds of cases
/// are gigabytes.
constexpr size_t kInAChild = 128;

/// Runs the cases in children, one after the other, and the rest in another one when one ends early.
std::map<std::string, Outcome> run_cases(std::vector<std::string> cases, const std::string& folder, int number) {
  std::map<std::string, Outcome> outcomes;
  while (!cases.empty()) {
    const size_t before = cases.size(), meant = std::min(before, kInAChild);
    const std::string list = fmt::format("{}/{}.cases", folder, number);
    std::ofstream(list) << fmt::format("{}\n", fmt::join(cases.begin(), cases.begin() + std::ptrdiff_t(meant), "\n"));
    int out[2];
    if (pipe(out) != 0) return outcomes;
    const std::string self = "/proc/self/exe", cache = fmt::format("{}/{}.cache", folder, number);
    const pid_t child = fork();
    if (child == 0) {  // only what may be called between fork and exec of a program with threads
      dup2(out[1], 1);
      close(out[0]), close(out[1]);
      char* const args[] = {const_cast<char*>("unit_tests"),
                            const_cast<char*>("--gtest_filter=VkFaults.DISABLED_Child"),
                            const_cast<char*>("--gtest_also_run_disabled_tests"), nullptr};
      std::string a = "VIREO_FAULT_CHILD=" + list, b = "VIREO_FAULT_CACHE=" + cache;
      std::vector<char*> environment{a.data(), b.data()};
      for (char** e = environ; *e; ++e)
        if (std::strncmp(*e, "GTEST_", 6) && std::strncmp(*e, "VIREO_FAULT_CASE", 16)) environment.push_back(*e);
      environment.push_back(nullptr);
      execve(self.c_str(), args, environment.data());
      _exit(127);
    }
    close(out[1]);
    std::string text;
    bool hung = false;
    for (char buffer[65536];;) {
      pollfd p{out[0], POLLIN, 0};
      if (poll(&p, 1, kHang_s * 1000) == 0) {
        hung = true;
        kill(child, SIGKILL);
        break;
      }
      const ssize_t n = read(out[0], buffer, sizeof buffer);
      if (n <= 0) break;
      text.append(buffer, size_t(n));
    }
    close(out[0]);
    int status = 0;
    waitpid(child, &status, 0);

    std::string current;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind("@case ", 0) == 0) outcomes[current = line.substr(6)] = {};
      if (line.rfind("@call ", 0) == 0) outcomes[current].calls.push_back(line.substr(6));
      if (line.rfind("@took ", 0) == 0) outcomes[current].seconds = std::atof(line.c_str() + 6);
      if (line.rfind("@abandoned ", 0) == 0) outcomes[current].abandoned = std::atoi(line.c_str() + 11);
      if (line.rfind("@fell back ", 0) == 0) outcomes[current].fell_back = std::atoi(line.c_str() + 11);
      if (line.rfind("@opened ", 0) == 0) outcomes[current].opened = std::atoi(line.c_str() + 8);
      if (line == "@right") outcomes[current].text = "right";
      if (line.rfind("@wrong ", 0) == 0) outcomes[current].text = line.substr(7);
    }
    cases.erase(
        std::remove_if(cases.begin(), cases.end(), [&](const std::string& c) { return outcomes.count(c) != 0; }),
        cases.end());
    const std::string end = hung                  ? "it hangs"
                            : WIFSIGNALED(status) ? fmt::format("it crashes: {}", strsignal(WTERMSIG(status)))
                                                  : fmt::format("the process ended with {}", WEXITSTATUS(status));
    if (std::string& last = outcomes[current].text; current.empty()) outcomes.erase(current);
    else if (last.empty()) last = end;
    else if (const size_t ran = before - cases.size(); ran < meant || WIFSIGNALED(status))
      last = fmt::format("after it, {} cases early: {} ({})", meant - ran, end, last);
    if (cases.size() == before) {
      for (const std::string& c : cases) outcomes[c].text = fmt::format("its process did not start: {}", text);
      return outcomes;
    }
  }
  return outcomes;
}

std::map<std::string, Outcome> run_cases(const std::vector<std::string>& cases) {
  char folder[] = "/tmp/vireo-faults-XXXXXX";
  if (!mkdtemp(folder)) return {};
  const size_t jobs = size_t(std::max(1, std::atoi(env_or("VIREO_FAULT_JOBS", "2").c_str())));
  std::vector<std::map<std::string, Outcome>> parts(jobs);
  std::vector<std::thread> threads;
  for (size_t j = 0; j < jobs; ++j)
    threads.emplace_back([&, j] {
      std::vector<std::string> mine;
      for (size_t i = j; i < cases.size(); i += jobs) mine.push_back(cases[i]);
      parts[j] = run_cases(mine, folder, int(j));
    });
  for (std::thread& t : threads) t.join();
  for (size_t j = 1; j < jobs; ++j) parts[0].insert(parts[j].begin(), parts[j].end());
  EXPECT_EQ(std::system(fmt::format("rm -r '{}'", folder).c_str()), 0);
  return parts[0];
}

std::string alone(const std::string& text) {
  return fmt::format(
      "VIREO_FAULT_MODEL='{}' VIREO_FAULT_CASE='{}' unit_tests --gtest_filter='VkFaults.DISABLED_Child' "
      "--gtest_also_run_disabled_tests",
      model_path(), text);
}

/// Of all positions x results x modes every stride-th, and of each entry point, result and mode the first in some
/// scenario; of what is called while work is under way the first in every scenario. Of scenarios that make more once
/// the session is open, what is called from then on: the first of each entry point and every position that maps come
/// to, results and modes in turns, and every result while work is under way.
std::vector<std::string> choose(const std::map<std::string, Outcome>& clean, size_t stride, size_t* all) {
  static const std::set<std::string> kUnderWay = {"vkQueueSubmit",   "vkWaitForFences",  "vkGetFenceStatus",
                                                  "vkQueueWaitIdle", "vkDeviceWaitIdle", "vkResetFences"};
  static const std::set<std::string> kMakesMore = {"maps", "maps-strict", "overflow", "overflow-strict"};
  std::vector<std::string> chosen;
  std::set<std::string> seen;
  size_t number = 0;
  size_t turn = 0;
  for (const auto& [scenario, outcome] : clean) {
    std::map<std::string, int> count;
    const bool blind =
        scenario == "sick-fences" || scenario == "sick-queue";  // where "not yet" for ever is waited for in full
    const bool more = kMakesMore.count(scenario) != 0;
    for (size_t i = 0; i < outcome.calls.size(); ++i) {
      const std::string& call = outcome.calls[i];
      const int at = ++count[call];
      const bool under_way = kUnderWay.count(call) != 0, opening = int(i) < outcome.opened;
      const std::vector<VkResult>& results = fault::allowed().at(call);
      size_t wanted = SIZE_MAX, option = 0;  // of results x modes
      if (more && !opening && !under_way &&
          seen.insert(fmt::format("{} {} {}", scenario, call, scenario == "maps" ? at : 0)).second)
        wanted = turn++ % (3 * results.size());
      for (const VkResult r : results) {
        const int one =
            more && under_way && !opening && seen.insert(fmt::format("{} {} {}", scenario, call, int(r))).second
                ? int(turn++ % 3)
                : -1;
        for (int mode = 0; mode < (r == VK_TIMEOUT && blind && stride > 1 ? 1 : 3); ++mode, ++option) {
          const std::string kind =
              fmt::format("{} {} {}{}", call, int(r), mode, under_way && !more ? " " + scenario : "");
          if (number++ % stride == 0 || (!more && !seen.count(kind)) || option == wanted || mode == one)
            chosen.push_back(to_text({scenario, {call, at, r, fault::Mode(mode)}}));
          if (!more) seen.insert(kind);
        }
      }
    }
  }
  *all = number;
  return chosen;
}

TEST(VkFaults, EveryCallEveryAnswer) {
  {
    const auto instance = vk::Instance::open();
    if (!instance || (*instance)->devices().empty() || !(*instance)->devices()[0].unusable.empty())
      GTEST_SKIP() << "no Vulkan device to test on";
  }
  vk::InstanceOptions validated;
  validated.validation = true;
  const bool layer = vk::Instance::open(validated).ok();
  std::vector<std::string> names;
  for (const std::string& n : scenario_names())
    if (layer || n != "validated") names.push_back(n);
  const std::map<std::string, Outcome> clean = run_cases(names);
  for (const std::string& n : names) {
    ASSERT_TRUE(clean.count(n)) << n;
    ASSERT_EQ(clean.at(n).text, "right") << n << ": " << alone(n);
    ASSERT_FALSE(clean.at(n).calls.empty()) << n;
  }
  std::set<std::string> met;
  for (const auto& [n, outcome] : clean) met.insert(outcome.calls.begin(), outcome.calls.end());
  if (!layer) met.insert({"vkCreateDebugUtilsMessengerEXT", "vkEnumerateInstanceLayerProperties"});
  for (const auto& [call, results] : fault::allowed())
    EXPECT_TRUE(met.count(call)) << call << " is in the table, and no scenario makes it";

  size_t all = 0;
  const size_t stride = size_t(std::max(1, std::atoi(env_or("VIREO_FAULT_STRIDE", "401").c_str())));
  const std::vector<std::string> cases = choose(clean, stride, &all);
  const auto start = std::chrono::steady_clock::now();
  const std::map<std::string, Outcome> outcomes = run_cases(cases);
  int wrong = 0;
  std::vector<std::pair<double, std::string>> slowest;
  for (const std::string& c : cases) {
    const auto at = outcomes.find(c);
    if (at != outcomes.end()) slowest.push_back({-at->second.seconds, c});
    const std::string text = at == outcomes.end() ? "was not run" : at->second.text;
    if (text != "right" && ++wrong <= 40) ADD_FAILURE() << c << ": " << text << "\n  alone: " << alone(c);
  }
  std::printf("%zu of %zu cases in %.0f s, %d wrong\n", cases.size(), all,
              std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), wrong);
  std::sort(slowest.begin(), slowest.end());
  for (size_t i = 0; i < std::min<size_t>(5, slowest.size()); ++i)
    std::printf("  %.1f s: %s\n", -slowest[i].first, slowest[i].second.c_str());
  EXPECT_EQ(wrong, 0);
}

struct Expected {
  const char* text;
  int abandoned, fell_back;
};

/// Two inferences in flight and a wait that fails: proof is looked for wherever there may be one, and only where every
/// answer fails is the memory left.
TEST(VkFaults, OnlyWhatNoCallCanProveIsAbandoned) {
  {
    const auto instance = vk::Instance::open();
    if (!instance || (*instance)->devices().empty() || !(*instance)->devices()[0].unusable.empty())
      GTEST_SKIP() << "no Vulkan device to test on";
  }
  const std::vector<Expected> all = {
      {"two:vkWaitForFences#1:OUT_OF_HOST_MEMORY:once", 0, 1},
      {"two:vkWaitForFences#1:OUT_OF_DEVICE_MEMORY:from-then-on", 0, 1},  // vkGetFenceStatus says when
      {"two:vkWaitForFences#1:DEVICE_LOST:from-then-on", 0, 1},
      {"two:vkWaitForFences#1:TIMEOUT:from-then-on", 0, 1},
      {"sick-fences:vkResetFences#1:OUT_OF_DEVICE_MEMORY:once", 0, 1},           // nothing was submitted
      {"sick-fences:vkGetFenceStatus#1:OUT_OF_HOST_MEMORY:from-then-on", 0, 1},  // vkQueueWaitIdle
      {"sick-queue:vkQueueWaitIdle#1:OUT_OF_HOST_MEMORY:from-then-on", 0, 0},    // vkDeviceWaitIdle
      {"two:vkQueueSubmit#1:DEVICE_LOST:once", 0, 1},  // the queue says that what may have begun is over
      {"two:vkWaitForFences#1:OUT_OF_HOST_MEMORY:all-from-then-on", 2, 1},
      {"strict:vkWaitForFences#1:OUT_OF_DEVICE_MEMORY:all-from-then-on", 2, 0},
      {"sick-queue:vkDeviceWaitIdle#1:OUT_OF_HOST_MEMORY:from-then-on", 2, 0},
      {"uploads:vkWaitForFences#1:OUT_OF_HOST_MEMORY:all-from-then-on", 1, 1},  // the copies, while opening
      {"profile:vkWaitForFences#3:OUT_OF_HOST_MEMORY:all-from-then-on", 1, 1},  // timestamps
      {"maps:vkWaitForFences#2:OUT_OF_HOST_MEMORY:all-from-then-on", 2, 1},     // one of them of a map that has grown
      {"overflow:vkWaitForFences#2:OUT_OF_HOST_MEMORY:all-from-then-on", 1,
       1},  // of fp32's session; the other one's work is over
      {"overflow-strict:vkWaitForFences#2:OUT_OF_HOST_MEMORY:all-from-then-on", 1, 0},
  };
  std::vector<std::string> cases;
  for (const Expected& e : all) cases.push_back(e.text);
  const std::map<std::string, Outcome> outcomes = run_cases(cases);
  for (const Expected& e : all) {
    ASSERT_TRUE(outcomes.count(e.text)) << e.text;
    const Outcome& o = outcomes.at(e.text);
    EXPECT_EQ(o.text, "right") << alone(e.text);
    EXPECT_EQ(o.abandoned, e.abandoned) << alone(e.text);
    EXPECT_EQ(o.fell_back, e.fell_back) << alone(e.text);
  }
}

/// The table above cannot fall behind the engine.
TEST(VkFaults, EveryCallOfTheEngineIsKnown) {
  static const std::set<std::string> kNoResult = {"vkGetPhysicalDeviceQueueFamilyProperties",
                                                  "vkGetPhysicalDeviceProperties",
                                                  "vkGetPhysicalDeviceProperties2",
                                                  "vkGetPhysicalDeviceMemoryProperties",
                                                  "vkGetPhysicalDeviceFeatures2",
                                                  "vkGetBufferMemoryRequirements",
                                                  "vkGetDeviceQueue",
                                                  "vkUpdateDescriptorSets",
                                                  "vkGetInstanceProcAddr",
                                                  "vkGetDeviceProcAddr"};
  std::set<std::string> called;
  for (const char* name : {"describe", "executable", "flight", "gpu", "instance", "loader", "map", "memory", "phases",
                           "pipeline_cache", "pipelines", "record", "statistics", "timing", "weights"}) {
    std::ifstream file(fmt::format("{}/engine/vk/{}.cpp", VIREO_SOURCE_DIR, name));
    ASSERT_TRUE(file.good()) << name;
    std::stringstream text;
    text << file.rdbuf();
    const std::string all = text.str();
    static const std::regex call("\\b(vk[A-Z]\\w*)\\(");
    for (std::sregex_iterator it(all.begin(), all.end(), call), end; it != end; ++it) called.insert((*it)[1]);
  }
  EXPECT_GT(called.size(), 40u);
  for (const std::string& c : called) {
    const bool nothing =
        !c.rfind("vkCmd", 0) || !c.rfind("vkDestroy", 0) || !c.rfind("vkFree", 0) || kNoResult.count(c);
    EXPECT_TRUE(nothing || fault::allowed().count(c)) << c;
  }
}

}  // namespace
}  // namespace vireo
#endif  // VIREO_VULKAN
