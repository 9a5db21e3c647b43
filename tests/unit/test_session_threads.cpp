// One Session from several threads: refused at once and without harm, on every entry point, on the CPU and on Vulkan.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "runtime/session_impl.h"

#include <vireo/vireo.h>
#include <vireo/capture.hpp>
#include <vireo/profile.hpp>
#include <vireo/vireo.hpp>

namespace vireo {
namespace {

const std::string kCase = std::string(VIREO_TEST_DATA) + "/cases/hf-vit";

class SharedSession : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    Result<Device> device = Device::cpu(2);
    if (std::string(GetParam()) == "vulkan") device = Device::vulkan(0, 2);
    if (!device) GTEST_SKIP() << device.error().message;
    device_.push_back(*device);
    Result<Model> m = Model::open(kCase);
    ASSERT_TRUE(m.ok()) << m.error().message;
    model_.push_back(*m);
  }
  Result<Session> open(SessionOptions o = {}) { return Session::create(model_[0], device_[0], o); }
  std::vector<float> ramp(Session& s, float phase) const {
    std::vector<float> x(s.impl().input_floats());
    for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(0.01f * float(i) + phase);
    return x;
  }
  static std::vector<float> values(const Output& o) {
    return {o.data, o.data + size_t(o.batch) * size_t(o.rows) * size_t(o.cols)};
  }

  std::vector<Device> device_;
  std::vector<Model> model_;
};

void expect_refused(const Error& e, const char* call) {
  EXPECT_EQ(e.code, ErrorCode::kInvalidArgument) << e.message;
  EXPECT_NE(e.message.find(std::string("session: ") + call), std::string::npos) << e.message;
  EXPECT_NE(e.message.find("give each thread a Session of its own"), std::string::npos) << e.message;
}

/// A session that stands still inside a call: on_inference waits for leave to return.
struct Held {
  std::mutex mutex;
  std::condition_variable changed;
  bool inside = false, leave = false;
  void operator()() {
    std::unique_lock<std::mutex> lock(mutex);
    inside = true;
    changed.notify_all();
    changed.wait(lock, [this] { return leave; });
  }
};

TEST_P(SharedSession, EveryCallIsRefusedWhileAnotherRuns) {
  Held held;
  bool hold = true;
  SessionOptions o;
  o.on_inference = [&](const Inference&) {
    if (hold) held();
  };
  Result<Session> s = open(o);
  ASSERT_TRUE(s.ok()) << s.error().message;
  const std::vector<float> x = ramp(*s, 0), other = ramp(*s, 1);
  const std::vector<uint8_t> rgb(30 * 30 * 3, 100);
  std::vector<float> answer;
  std::thread first([&] {
    const Result<Output> out = s->run(x.data(), x.size());
    if (out) answer = values(*out);
  });
  {
    std::unique_lock<std::mutex> lock(held.mutex);
    held.changed.wait(lock, [&] { return held.inside; });
  }
  const Image image{rgb.data(), 30, 30, 0};
  expect_refused(s->run(other.data(), other.size()).error(), "run() was called while run() is still running");
  expect_refused(s->run(image).error(), "run()");
  expect_refused(s->submit(other.data(), other.size()).error(), "submit()");
  expect_refused(s->submit(&image, 1).error(), "submit()");
  expect_refused(s->wait(Ticket{1}).error(), "wait()");
  expect_refused(s->profile(other.data(), other.size()).error(), "profile()");
  int64_t shape[4];
  expect_refused(s->value("anything", shape).error(), "value()");
  const std::string file = ::testing::TempDir() + "/vireo-shared-session.capture";
  expect_refused(capture(*s, other.data(), other.size(), file, {}).error(), "capture()");
  expect_refused(capture(*s, &image, 1, file, {}).error(), "capture()");
  EXPECT_EQ(s->latency().count, 1u);  // the one that any thread may ask
  {
    const std::lock_guard<std::mutex> lock(held.mutex);
    held.leave = true;
  }
  held.changed.notify_all();
  first.join();
  hold = false;
  Result<Session> fresh = open();
  ASSERT_TRUE(fresh.ok());
  for (const auto* input : {&x, &other}) {
    const Result<Output> out = s->run(input->data(), input->size()),
                         expected = fresh->run(input->data(), input->size());
    ASSERT_TRUE(out.ok() && expected.ok());
    EXPECT_EQ(values(*out), values(*expected)) << "the refused calls changed nothing";
    if (input == &x) {
      EXPECT_EQ(answer, values(*expected));
    }
  }
}

TEST_P(SharedSession, NeverAWrongAnswer) {
  constexpr int kThreads = 4, kRuns = 40;
  static thread_local const std::vector<float>* expected_here = nullptr;
  std::atomic<int> right{0}, wrong{0}, done{0}, refused{0}, strange{0};
  Session* session = nullptr;
  SessionOptions o;
  // Looked at here, where the call is still this thread's: an Output is the session's, and another thread's next run
  // may write it.
  o.on_inference = [&](const Inference&) {
    if (!expected_here) return;
    const Session::Impl& impl = session->impl();
    ++(impl.slots[size_t(impl.last_slot)].result == *expected_here ? right : wrong);
  };
  Result<Session> s = open(o);
  ASSERT_TRUE(s.ok()) << s.error().message;
  session = &*s;
  std::vector<std::vector<float>> inputs, expected;
  for (int t = 0; t < kThreads; ++t) {
    inputs.push_back(ramp(*s, float(t)));
    const Result<Output> out = s->run(inputs.back().data(), inputs.back().size());
    ASSERT_TRUE(out.ok()) << out.error().message;
    expected.push_back(values(*out));
  }
  ASSERT_NE(expected[0], expected[1]);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      expected_here = &expected[t];
      for (int i = 0; i < kRuns; ++i) {
        const Result<Output> out = s->run(inputs[t].data(), inputs[t].size());
        ++(out ? done : out.error().code == ErrorCode::kInvalidArgument ? refused : strange);
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(strange, 0);
  EXPECT_EQ(right, done);
  EXPECT_EQ(done + refused, kThreads * kRuns);
  EXPECT_GT(done, 0);
}

/// What stays allowed: submit() here, wait() there, one after the other.
TEST_P(SharedSession, HandedFromThreadToThread) {
  Result<Session> s = open();
  ASSERT_TRUE(s.ok()) << s.error().message;
  const std::vector<float> a = ramp(*s, 0), b = ramp(*s, 1);
  std::vector<float> alone[2];
  for (int k = 0; k < 2; ++k) {
    const Result<Output> o = s->run((k ? b : a).data(), a.size());
    ASSERT_TRUE(o.ok());
    alone[k] = values(*o);
  }
  for (int i = 0; i < 10; ++i) {
    const Result<Ticket> ta = s->submit(a.data(), a.size()), tb = s->submit(b.data(), b.size());
    ASSERT_TRUE(ta.ok() && tb.ok());
    std::thread([&] {
      for (int k = 0; k < 2; ++k) {
        const Result<Output> o = s->wait(k ? *tb : *ta);
        ASSERT_TRUE(o.ok()) << o.error().message;
        EXPECT_EQ(values(*o), alone[k]);
      }
    }).join();
  }
}

/// on_inference may ask for latency() and nothing else: anything else is refused, not run inside itself.
TEST_P(SharedSession, FromInsideOnInference) {
  Session* session = nullptr;
  std::vector<Error> errors;
  std::vector<float> x;
  SessionOptions o;
  o.on_inference = [&](const Inference&) {
    const Result<Output> out = session->run(x.data(), x.size());
    if (!out) errors.push_back(out.error());
  };
  Result<Session> s = open(o);
  ASSERT_TRUE(s.ok());
  session = &*s;
  x = ramp(*s, 0);
  ASSERT_TRUE(s->run(x.data(), x.size()).ok());
  ASSERT_EQ(errors.size(), 1u);
  expect_refused(errors[0], "run()");
}

INSTANTIATE_TEST_SUITE_P(On, SharedSession, ::testing::Values("cpu", "vulkan"),
                         [](const auto& info) { return std::string(info.param); });

TEST(SharedSessionInC, ASecondRunIsRefused) {
  struct Context {
    Held held;
    bool hold = true;
  } context;
  vireo_options options;
  vireo_options_init(&options);
  options.device = "cpu";
  options.threads = 1;
  options.user = &context;
  options.on_inference = [](const vireo_inference*, void* user) {
    auto* c = static_cast<Context*>(user);
    if (c->hold) c->held();
  };
  vireo_session* s = nullptr;
  vireo_error error;
  ASSERT_EQ(vireo_open(kCase.c_str(), &options, &s, &error), VIREO_OK) << error.message;
  const std::vector<float> x(
      size_t(vireo_input_channels(s)) * size_t(vireo_input_height(s)) * size_t(vireo_input_width(s)), 0.5f);
  vireo_output out;
  vireo_status status = VIREO_INTERNAL;
  std::thread first([&] {
    vireo_output mine;
    status = vireo_run_pixels(s, x.data(), x.size(), &mine, nullptr);
  });
  {
    std::unique_lock<std::mutex> lock(context.held.mutex);
    context.held.changed.wait(lock, [&] { return context.held.inside; });
  }
  EXPECT_EQ(vireo_run_pixels(s, x.data(), x.size(), &out, &error), VIREO_INVALID_ARGUMENT);
  EXPECT_NE(std::string(error.message).find("still running"), std::string::npos) << error.message;
  const std::vector<uint8_t> rgb(30 * 30 * 3, 100);
  EXPECT_EQ(vireo_run_rgb(s, rgb.data(), 30, 30, 0, &out, &error), VIREO_INVALID_ARGUMENT);
  vireo_latency latency;
  EXPECT_EQ(vireo_get_latency(s, &latency, &error), VIREO_OK);
  {
    const std::lock_guard<std::mutex> lock(context.held.mutex);
    context.held.leave = true;
  }
  context.held.changed.notify_all();
  first.join();
  EXPECT_EQ(status, VIREO_OK);
  context.hold = false;
  EXPECT_EQ(vireo_run_pixels(s, x.data(), x.size(), &out, &error), VIREO_OK) << error.message;
  vireo_close(s);
}

}  // namespace
}  // namespace vireo
