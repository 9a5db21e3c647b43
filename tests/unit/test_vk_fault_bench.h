// One case of test_vk_faults.cpp: a scenario in which one call of Vulkan fails, and what must then be true.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>
#include <sstream>
#include <thread>

#include "runtime/session_impl.h"
#include "support/compare.h"
#include "test_vk_fault.h"
#include "test_vk_hook.h"
#include "vk/status.h"

#include <vireo/profile.hpp>

namespace vireo::fault_cases {

namespace fault = vk::fault;
namespace hook = vk::hook;

inline std::string env_or(const char* name, const std::string& otherwise) {
  const char* set = std::getenv(name);
  return set && *set ? set : otherwise;
}

inline std::string model_path() {
  return env_or("VIREO_FAULT_MODEL", std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit");
}

struct Case {
  std::string scenario;
  fault::Injection injection;
};

const std::vector<std::pair<VkResult, const char*>> kResults = {
    {VK_ERROR_OUT_OF_HOST_MEMORY, "OUT_OF_HOST_MEMORY"},
    {VK_ERROR_OUT_OF_DEVICE_MEMORY, "OUT_OF_DEVICE_MEMORY"},
    {VK_ERROR_DEVICE_LOST, "DEVICE_LOST"},
    {VK_TIMEOUT, "TIMEOUT"},
    {VK_ERROR_INITIALIZATION_FAILED, "INITIALIZATION_FAILED"}};
const char* const kModes[] = {"once", "from-then-on", "all-from-then-on"};

inline std::string to_text(const Case& c) {
  if (c.injection.call.empty()) return c.scenario;
  std::string result;
  for (const auto& [r, name] : kResults)
    if (r == c.injection.result) result = name;
  return fmt::format("{}:{}#{}:{}:{}", c.scenario, c.injection.call, c.injection.at, result,
                     kModes[int(c.injection.mode)]);
}

inline Case from_text(const std::string& text) {
  static const std::regex form("([a-z-]+):(vk\\w+)#(\\d+):(\\w+):([a-z-]+)");
  std::smatch m;
  if (!std::regex_match(text, m, form)) return {text, {}};
  Case c{m[1], {m[2], std::atoi(m[3].str().c_str()), VK_SUCCESS, fault::Mode::kOnce}};
  for (const auto& [r, name] : kResults)
    if (m[4] == name) c.injection.result = r;
  for (int i = 0; i < 3; ++i)
    if (m[5] == kModes[i]) c.injection.mode = fault::Mode(i);
  return c;
}

/// A model, pictures for it, and the CPU's answers.
struct Subject {
  static const Subject& get(const std::string& name) {
    static std::map<std::string, Subject> all;
    if (all.empty()) {
      const std::string cases = std::string(VIREO_TEST_DATA) + "/cases/";
      all["shipped"].open(model_path());
      all["maps"].options.head = Head::kClassMap;
      all["maps"].sizes = {{20, 30}, {61, 83}};
      all["maps"].open(cases + "hf-upernet-vit");
      all["fp16"].options.precision = Precision::kFp16;
      all["fp16"].scale = 4e5f;  // beyond what fp16 holds
      all["fp16"].open(cases + "hf-vit");
    }
    return all.at(name);
  }
  void open(const std::string& path) {
    Result<Model> m = Model::open(path);
    ASSERT_TRUE(m.ok()) << m.error().message;
    model = std::make_unique<Model>(*m);
    SessionOptions o = options;
    o.precision = Precision::kFp32;
    Result<Session> s = Session::create(*model, Device::cpu(2), o);
    ASSERT_TRUE(s.ok()) << s.error().message;
    sizes.push_back({});
    for (int k = 0; k < 2; ++k) {
      std::vector<float>& x = inputs[k];
      x.resize(s->impl().input_floats());
      for (size_t i = 0; i < x.size(); ++i) x[i] = scale * std::sin(0.01f * float(i) + float(k));
      for (const MapSize size : sizes) {
        const Result<Output> o = s->run(x.data(), x.size(), size);
        ASSERT_TRUE(o.ok()) << o.error().message;
        expected[{k, size.height}].assign(o->data, o->data + size_t(o->rows) * size_t(o->cols));
      }
    }
  }
  /// Empty where `o` is the answer to picture k.
  std::string wrong(const Output& o, int k, MapSize size) const {
    const std::vector<float>& right = expected.at({k, size.height});
    const std::vector<float> got(o.data, o.data + size_t(o.rows) * size_t(o.cols));
    if (options.head == Head::kClassMap) {
      if (size.height && (o.height != size.height || o.width != size.width))
        return fmt::format("a map of {}x{}", o.height, o.width);
      size_t other = got.size() == right.size() ? 0 : got.size();
      for (size_t i = 0; i < got.size() && i < right.size(); ++i) other += got[i] != right[i];
      return other <= right.size() / 500 ? "" : fmt::format("a wrong map, {} of {} pixels", other, right.size());
    }
    double largest = 1;
    for (const float v : right) largest = std::max(largest, std::fabs(double(v)));
    const double allowed = largest * (o.precision == Precision::kFp32 ? 1e-3 : 2e-2);
    const double d = test::largest_difference(got, right);
    return d <= allowed ? "" : fmt::format("a wrong answer, off by {}", d);
  }

  std::unique_ptr<Model> model;
  SessionOptions options;
  float scale = 1;
  std::vector<MapSize> sizes;  // to be asked for; the input's besides
  std::vector<float> inputs[2];
  std::map<std::pair<int, int>, std::vector<float>> expected;  // by picture and height of the map
};

/// What a scenario works on; every answer is checked as it comes.
class Bench {
 public:
  /// What is wrong with the case; empty: nothing.
  std::string run(const Case& c);
  /// Of the last case.
  uint64_t abandoned() const { return abandoned_; }
  bool fell_back() const { return fell_back_; }
  size_t opened() const { return opened_; }

 private:
  using Body = std::function<void()>;
  struct Scenario {
    bool fallback = true, uploads = false, labels = false, validation = false;
    std::function<void(Bench&)> body;
    std::vector<const char*> ailing;  // from the opening on
    const char* subject = "shipped";
  };
  static const std::map<std::string, Scenario>& scenarios();
  friend std::vector<std::string> scenario_names();

  void wrong(std::string what) { wrong_ += (wrong_.empty() ? "" : "; ") + std::move(what); }
  /// Errors are allowed where nothing can take over, and must say something.
  void failed(const char* call, const Error& e, bool allowed) {
    ++errors_;
    if (!allowed) wrong(fmt::format("{} failed: {}", call, e.message));
    if (e.message.empty() || e.code == ErrorCode::kInternal || e.code == ErrorCode::kInvalidArgument)
      wrong(fmt::format("{}: a strange error: {}", call, e.message));
  }
  void check(const Output& o, int k, MapSize size) {
    ++answers_;
    const bool cpu = std::string(o.device.kind) == "cpu";
    if (cpu && !*o.device.reason) wrong("the CPU has taken over without a reason");
    if (cpu && !strict()) fell_back_ = true;
    if (!o.data) return wrong("an answer without data");
    if (const std::string what = subject_->wrong(o, k, size); !what.empty()) wrong(what);
  }
  bool strict() const { return !scenario_->fallback; }
  void once(int k, MapSize size = {}) {
    const std::vector<float>& x = subject_->inputs[k];
    const Result<Output> o = session_->run(x.data(), x.size(), size);
    o ? check(*o, k, size) : failed("run", o.error(), strict());
  }
  Ticket submit(int k, MapSize size = {}) {
    const std::vector<float>& x = subject_->inputs[k];
    const Result<Ticket> t = session_->submit(x.data(), x.size(), size);
    if (!t) failed("submit", t.error(), strict());
    return t ? *t : Ticket{};
  }
  void wait(Ticket t, int k, MapSize size = {}) {
    if (!t.id) return;
    const Result<Output> o = session_->wait(t);
    o ? check(*o, k, size) : failed("wait", o.error(), strict());
  }
  void two() {
    for (int i = 0; i < 2; ++i) {
      const Ticket a = submit(0), b = submit(1);
      wait(a, 0);
      const Ticket c = a.id ? submit(1) : Ticket{};
      wait(b, 1);
      wait(c, 1);
    }
  }
  /// A slot's map grows while the other one is out, is used again, and is left alone for the input's size.
  void maps() {
    const MapSize small = subject_->sizes[0], large = subject_->sizes[1];
    const Ticket a = submit(0, small), b = submit(1, small);
    wait(a, 0, small);
    const Ticket c = submit(0, large);
    wait(b, 1, small);
    const Ticket d = submit(1, small);
    wait(c, 0, large);
    const Ticket e = submit(1);
    wait(d, 1, small);
    wait(e, 1);
    once(1, large);
  }
  void profile() {
    ProfileOptions o;
    o.runs = 1, o.warmup = 1;
    o.least_seconds = 0;
    o.roofs = false, o.compiler = true, o.phases = true;
    const Result<Profile> p = session_->profile(subject_->inputs[0].data(), subject_->inputs[0].size(), o);
    if (!p) failed("profile", p.error(), true);
    if (p && p->dispatches.empty()) wrong("a profile of nothing");
    once(1);
  }

  const Subject* subject_ = nullptr;
  const Scenario* scenario_ = nullptr;
  Session* session_ = nullptr;
  std::string wrong_;
  int errors_ = 0, answers_ = 0;
  bool fell_back_ = false;
  uint64_t abandoned_ = 0;
  size_t opened_ = 0;  // calls until the session was open
};

inline const std::map<std::string, Bench::Scenario>& Bench::scenarios() {
  static const std::map<std::string, Scenario> all = [] {
    std::map<std::string, Scenario> m;
    m["one"].body = [](Bench& b) { b.once(0), b.once(1); };
    m["two"].body = [](Bench& b) { b.two(); };
    m["closing"].body = [](Bench& b) { b.submit(0), b.submit(1); };
    m["strict"] = m["two"];
    m["strict"].fallback = false;
    m["uploads"] = m["two"];
    m["uploads"].uploads = true;
    m["profile"].body = [](Bench& b) { b.profile(); };
    m["maps"].body = [](Bench& b) { b.maps(); };
    m["maps"].subject = "maps";
    m["maps-strict"] = m["maps"];
    m["maps-strict"].fallback = false;
    m["overflow"].body = [](Bench& b) {
      for (int i = 0; i < 4; ++i) b.once(i % 2);  // the fourth is fp32's alone
    };
    m["overflow"].subject = "fp16";
    m["overflow-strict"] = m["overflow"];
    m["overflow-strict"].fallback = false;
    m["labels"] = m["one"];
    m["labels"].labels = true;
    m["validated"] = m["one"];
    m["validated"].validation = m["validated"].labels = true;
    // Drivers that are sick already: what is asked when a wait fails can fail as well.
    m["sick-wait"] = m["two"];
    m["sick-wait"].ailing = {"vkWaitForFences"};
    m["sick-fences"] = m["two"];
    m["sick-fences"].ailing = {"vkWaitForFences", "vkGetFenceStatus"};
    m["sick-queue"] = m["closing"];
    m["sick-queue"].ailing = {"vkWaitForFences", "vkGetFenceStatus", "vkQueueWaitIdle"};
    return m;
  }();
  return all;
}

inline std::vector<std::string> scenario_names() {
  std::vector<std::string> names;
  for (const auto& [name, s] : Bench::scenarios()) names.push_back(name);
  return names;
}

inline std::string Bench::run(const Case& c) {
  scenario_ = &scenarios().at(c.scenario);
  const Scenario& s = *scenario_;
  subject_ = &Subject::get(s.subject);
  opened_ = 0;
  wrong_.clear();
  errors_ = answers_ = 0;
  fell_back_ = false;
  abandoned_ = 0;
  hook::reset();
  hook::pretence().statistics = true;
  hook::pretence().watched = true;
  fault::reset(c.injection);
  setenv("VIREO_VALIDATION", s.validation ? "1" : "0", 1);
  setenv("VIREO_LABELS", s.labels ? "auto" : "0", 1);
  VulkanHooks hooks;
  hooks.loader = fault::loader;
  if (s.uploads)
    hooks.gpu_options.fault = [](const char* call) {
      return std::string(call) == "map" ? VK_ERROR_MEMORY_MAP_FAILED : VK_SUCCESS;
    };
  Abandoned abandoned;
  std::atomic<uint64_t> lines{0};
  Result<Device> device = vulkan_device(0, 2, hooks);
  if (!device) {
    failed("opening the device", device.error(), true);
  } else {
    const Device kept = *device;
    device = Device::cpu(1);
    kept.on_log([&](const std::string&) { ++lines; });
    SessionOptions o = subject_->options;
    o.fallback = s.fallback;
    o.cache_dir = env_or("VIREO_FAULT_CACHE", "-");
    {
      Result<Session> session = Session::create(*subject_->model, kept, o);
      if (!session) failed("opening a session", session.error(), strict());
      if (session) {
        for (const char* call : s.ailing) fault::ail(call, VK_ERROR_OUT_OF_HOST_MEMORY);
        session_ = &*session;
        opened_ = fault::calls().size();
        s.body(*this);
      }
    }
    abandoned = kept.abandoned();
    abandoned_ = abandoned.times;
    kept.on_log(nullptr);
  }
  for (const std::string& p : fault::problems()) wrong(p);
  if (abandoned.times != lines)
    wrong(fmt::format("{} submissions abandoned, {} lines about it", abandoned.times, lines.load()));
  if (abandoned.times && !fault::unproven()) wrong("abandoned, though everything was proven to be over");
  if (abandoned.times && !abandoned.bytes) wrong("abandoned without counting the memory");
  if (!abandoned.times)
    for (const std::string& type : fault::live()) wrong("leaked: " + type);
  if (c.injection.call.empty() && s.ailing.empty() && (errors_ || fell_back_)) wrong("a failure that nobody injected");
  // How often a profile times its dispatches depends on how long they take, and how often a fence is asked again where
  // its wait fails on when the work is done.
  const std::string& call = c.injection.call;
  const bool asked_again =
      !s.ailing.empty() && c.injection.at > 1 && (call == "vkWaitForFences" || call == "vkGetFenceStatus");
  if (!call.empty() && !fault::injected() && c.scenario != "profile" && !asked_again) wrong("the call was not reached");
  return wrong_;
}

}  // namespace vireo::fault_cases
