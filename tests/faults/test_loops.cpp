// Every n-th malloc, mmap, thread, open, read, write, rename, fsync ... of `classify`, of `capture` and of a session
// fails, once and from then on. What may come of it: the same answer as without (exit code 0), or one line that says
// why (exit code 1) and nothing under the final name but what stood there before. Never a signal, a hang, half a file,
// another answer.
//
// All n are tried with VIREO_FAULT_STRIDE=1 (apps/README.md, Faults); by default about kRuns of each kind of
// call.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <sstream>
#include <thread>

#include <nlohmann/json.hpp>

#include "cli/run_cli.h"
#include "faults/run.h"
#include "runtime/capture_file.h"

namespace fault_test {
namespace {

using cli_test::Scratch;

constexpr uint64_t kRuns = 150;
constexpr size_t kShown = 8;
const std::string kModel = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
const std::string kPicture = kModel + "/samples/03_dress.png";
const std::string kOld = "what stood there before";
constexpr const char* kGroups[] = {"malloc", "mmap",  "thread",   "open", "read", "write", "rename",
                                   "fsync",  "close", "truncate", "stat", "mode", "dup"};

/// A program whose calls fail, in a folder of its own for each of the threads that try faults.
struct Subject {
  std::function<std::vector<std::string>(const std::string& folder)> command;
  Environment environment;
  std::string output;  // name of the file that it writes into the folder `out`, or empty
  /// Of a run that says that all went well: what is wrong with its answer, or "".
  std::function<std::string(const Ending&, const std::string& bytes)> wrong;
};

std::vector<float> numbers(const std::string& text) {
  std::vector<float> found;
  std::istringstream words(text);
  for (float x; words >> x;) found.push_back(x);
  return found;
}

/// The CPU may stand in for a GPU that failed: the same answer, rounded in other places.
std::string differ(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || a.empty())
    return "it has " + std::to_string(a.size()) + " numbers, expected " + std::to_string(b.size());
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::fabs(a[i] - b[i]) <= 1e-4f * (1 + std::fabs(b[i]))))
      return "number " + std::to_string(i) + " is " + std::to_string(a[i]) + ", expected " + std::to_string(b[i]);
  return {};
}

class Loop {
 public:
  explicit Loop(Subject subject) : subject_(std::move(subject)) {}

  void run(uint64_t runs) {
    Scratch scratch;
    const std::string folder = folder_in(scratch, 0);
    ASSERT_EQ(go(folder, "").code, 0);  // fills caches
    const auto counts = count_calls(subject_.command(folder), folder, environment_in(folder));
    ASSERT_GT(counts.count("malloc"), 0u);
    const char* stride_text = std::getenv("VIREO_FAULT_STRIDE");
    for (const char* group : kGroups) {
      const auto found = counts.find(group);
      if (found == counts.end()) continue;
      const uint64_t count = found->second;
      uint64_t stride = stride_text != nullptr ? std::strtoull(stride_text, nullptr, 10) : count / runs + 1;
      if (stride == 0) stride = 1;
      if (stride > 1 && stride % 2 == 0) ++stride;  // calls come in pairs
      for (uint64_t n = 1; n <= count + 1; n += stride) {
        faults_.push_back(std::string(group) + ":" + std::to_string(n));
        faults_.push_back(faults_.back() + "+");
      }
    }
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) threads.emplace_back([this, &scratch, t] { work(folder_in(scratch, t)); });
    for (std::thread& t : threads) t.join();
    std::printf("%zu faults: %zu answered as without, %zu refused\n", faults_.size(), size_t(right_), size_t(refused_));
    for (size_t i = 0; i < problems_.size(); ++i)
      ADD_FAILURE() << (i < kShown ? problems_[i] : problems_[i].substr(0, problems_[i].find('\n')));
    EXPECT_EQ(problems_.size(), 0u);
    EXPECT_GT(refused_, 0u) << "no fault came through: is the shim loaded?";
  }

 private:
  static std::string folder_in(const Scratch& scratch, int thread) {
    const std::string folder = scratch.make_folder(std::to_string(thread));
    scratch.make_folder(std::to_string(thread) + "/out");
    return folder;
  }
  Environment environment_in(const std::string& folder) const {
    Environment e = subject_.environment;
    e.emplace_back("VIREO_CACHE_DIR", folder + "/cache");
    return e;
  }
  Ending go(const std::string& folder, const std::string& fault) {
    return run_faulty(subject_.command(folder), fault, folder, environment_in(folder));
  }

  void work(const std::string& folder) {
    const std::string out = folder + "/out/" + subject_.output;
    go(folder, "");  // a cache of its own
    for (size_t i; (i = next_.fetch_add(1)) < faults_.size();) {
      const bool replaces = i % 4 < 2 && !subject_.output.empty();
      if (!subject_.output.empty()) replaces ? spill(out, kOld) : void(unlink(out.c_str()));
      if (i % 8 == 7) remove_cache(folder);  // reading the pipeline cache has its faults, and so has writing it
      const Ending e = go(folder, faults_[i]);
      const std::string problem = judge(e, folder, replaces);
      if (!problem.empty()) {
        const std::lock_guard<std::mutex> lock(mutex_);
        problems_.push_back(faults_[i] + ": " + problem + "\n" + e.text());
        for (const std::string& name : names(folder + "/out")) unlink((folder + "/out/" + name).c_str());
      }
      ++(e.code == 0 ? right_ : refused_);
    }
  }
  static void remove_cache(const std::string& folder) {
    for (const std::string& name : names(folder + "/cache")) unlink((folder + "/cache/" + name).c_str());
  }

  std::string judge(const Ending& e, const std::string& folder, bool replaces) const {
    if (e.signal != 0) return "it was killed";
    const std::vector<std::string> found = names(folder + "/out");
    const std::string bytes = subject_.output.empty() ? "" : slurp(folder + "/out/" + subject_.output);
    for (const std::string& name : found)
      if (name != subject_.output) return "'" + name + "' was left behind";
    for (const std::string& name : names(folder + "/cache"))
      if (name.rfind(".vireo-", 0) == 0) return "'" + name + "' was left in the cache";
    if (e.code == 0) {
      std::istringstream lines(e.err);
      for (std::string line; std::getline(lines, line);)
        if (line.rfind("note: ", 0) != 0) return "all went well, but stderr says something else";
      return subject_.wrong(e, bytes);
    }
    if (!e.fails_clearly()) return "it does not fail with exit code 1 and one line";
    if (subject_.output.empty() || (replaces ? bytes == kOld : found.empty())) return {};
    // What failed after the file was whole (the folder's fsync, the end of stdout) leaves it whole.
    const std::string wrong = subject_.wrong({}, bytes);
    return wrong.empty() ? wrong : "what stands under the final name is neither the old file nor a whole one: " + wrong;
  }

  Subject subject_;
  std::vector<std::string> faults_, problems_;
  std::atomic<size_t> next_{0}, right_{0}, refused_{0};
  std::mutex mutex_;
};

class Faults : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::string(VIREO_FAULTS).empty()) GTEST_SKIP() << "never: a sanitizer keeps the calls for itself";
  }
};

std::string top_of(const std::string& json_text) {
  const auto json = nlohmann::json::parse(json_text, nullptr, false);
  if (json.is_discarded() || !json.contains("results") || json["results"].size() != 1) return {};
  std::string labels;
  for (const auto& t : json["results"][0].value("top", nlohmann::json::array())) labels += t.value("label", "") + ";";
  return labels;
}

TEST_F(Faults, Classify) {
  Scratch scratch;
  const auto command = [](const std::string& folder) {
    return std::vector<std::string>{VIREO_CLI,
                                    "classify",
                                    "--model",
                                    kModel,
                                    "--device",
                                    "cpu",
                                    "--threads",
                                    "2",
                                    "--json",
                                    "--logits",
                                    folder + "/out/logits.npy",
                                    kPicture};
  };
  scratch.make_folder("out");
  const Ending right = run_faulty(command(scratch.path()), "", scratch.path());
  const std::vector<float> logits = cli_test::read_array(scratch.path("out/logits.npy")).data;
  ASSERT_EQ(logits.size(), 10u) << right.text();
  ASSERT_EQ(top_of(right.out).rfind("Dress;", 0), 0u) << right.text();
  Loop({command,
        {},
        "logits.npy",
        [&](const Ending& e, const std::string& bytes) -> std::string {
          if (e.code == 0 && top_of(e.out) != top_of(right.out)) return "another answer on stdout";
          if (bytes.size() < 40) return "the scores were not written";
          std::vector<float> found((bytes.size() - 128) / 4);
          if (bytes.size() < 128 || (bytes.size() - 128) % 4 != 0) return "the file of scores is no whole one";
          std::memcpy(found.data(), bytes.data() + 128, found.size() * 4);
          // By contract the row of a picture that failed, which the exit code tells.
          if (e.code != 0 && found.size() == logits.size() && std::isnan(found[0])) return {};
          return differ(found, logits);
        }})
      .run(kRuns);
}

TEST_F(Faults, Capture) {
  Scratch scratch;
  const auto command = [](const std::string& folder) {
    return std::vector<std::string>{VIREO_CLI, "capture",   "--model", kModel,  "--device",
                                    "cpu",     "--threads", "2",       "--out", folder + "/out/a.vireo",
                                    kPicture};
  };
  const auto output = [](const std::string& bytes, std::vector<float>* found) -> std::string {
    const auto capture =
        vireo::parse_capture(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), nullptr, "a.vireo");
    if (!capture) return capture.error().message;
    *found = capture->output;
    return {};
  };
  scratch.make_folder("out");
  const Ending first = run_faulty(command(scratch.path()), "", scratch.path());
  std::vector<float> right;
  ASSERT_EQ(output(slurp(scratch.path("out/a.vireo")), &right), "") << first.text();
  Loop({command,
        {},
        "a.vireo",
        [&](const Ending&, const std::string& bytes) {
          std::vector<float> found;
          const std::string why = output(bytes, &found);
          return why.empty() ? differ(found, right) : why;
        }})
      .run(kRuns);
}

TEST_F(Faults, Segment) {
  Scratch scratch;
  const std::string model = std::string(VIREO_TEST_DATA) + "/cases/hf-upernet-swin";
  const auto command = [&](const std::string& folder) {
    return std::vector<std::string>{VIREO_CLI,   "segment", "--model",   model,           "--device", "cpu",
                                    "--threads", "2",       "--out-dir", folder + "/out", kPicture};
  };
  const std::string name = "03_dress.classes.png";
  scratch.make_folder("out");
  const Ending first = run_faulty(command(scratch.path()), "", scratch.path());
  const std::string right = slurp(scratch.path("out/" + name));
  ASSERT_GT(right.size(), 50u) << first.text();
  Loop({command,
        {},
        name,
        [&](const Ending&, const std::string& bytes) -> std::string { return bytes == right ? "" : "another map"; }})
      .run(40);
}

void loop_over_session(const std::string& device, const Environment& environment, uint64_t runs) {
  Scratch scratch;
  const std::vector<std::string> words{VIREO_FAULT_PROGRAM, "session", kModel, device};
  const Ending right = run_faulty(words, "", scratch.path(), {{"VIREO_CACHE_DIR", "-"}});
  ASSERT_EQ(right.code, 0) << right.text();
  ASSERT_EQ(numbers(right.out).size(), 30u) << right.text();
  Loop({[&](const std::string&) { return words; }, environment, "",
        [&](const Ending& e, const std::string&) { return differ(numbers(e.out), numbers(right.out)); }})
      .run(runs);
}

TEST_F(Faults, SessionOnTheCpu) { loop_over_session("cpu", {}, kRuns); }

TEST_F(Faults, AThreadLessIsSaid) {
  Scratch scratch;
  const Ending e = run_faulty({VIREO_FAULT_PROGRAM, "session", kModel, "cpu"}, "thread:1+", scratch.path());
  EXPECT_EQ(e.code, 0) << e.text();
  EXPECT_NE(e.err.find("only 1 of 2 CPU threads could be started"), std::string::npos) << e.text();
}

TEST_F(Faults, SessionOnVulkan) {
  Scratch scratch;
  if (run_faulty({VIREO_FAULT_PROGRAM, "session", kModel, "vulkan"}, "", scratch.path(), {{"VIREO_CACHE_DIR", "-"}})
          .code != 0)
    GTEST_SKIP() << "on machines without a Vulkan device";
  loop_over_session("vulkan", {{"VIREO_FAULT_FROM", "program"}}, 16);
}

}  // namespace
}  // namespace fault_test
