// Latencies of the last inferences, and the call after each: figures, a reader in another thread, order, exceptions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>
#include <thread>

#include "runtime/latency.h"
#include "runtime/session_impl.h"

namespace vireo {
namespace {

TEST(LatencyRecorder, FiguresAreThoseOfTheSortedWindow) {
  std::mt19937 random(7);
  for (int window : {1, 2, 7, 100, 1024}) {
    LatencyRecorder recorder(window);
    EXPECT_EQ(recorder.read().window, 0);
    EXPECT_EQ(recorder.read().max_ms, 0);
    std::vector<double> all;
    for (int n = 1; n <= 3 * window + 5; ++n) {  // beyond the window more than once
      all.push_back(double(random() % 100000) / 64);
      recorder.add(all.back());
      if (n % 97 != 0 && n != window && n != window + 1 && n != 3 * window + 5 && n > 3) continue;
      std::vector<double> last(all.end() - std::min(n, window), all.end());
      std::sort(last.begin(), last.end());
      const Latency l = recorder.read();
      EXPECT_EQ(l.count, uint64_t(n));
      ASSERT_EQ(l.window, int(last.size()));
      EXPECT_EQ(l.last_ms, all.back());
      EXPECT_EQ(l.min_ms, last.front());
      EXPECT_EQ(l.max_ms, last.back());
      const auto rank = [&](int percent) {
        return last[(last.size() * size_t(percent) + 99) / 100 - 1];
      };  // in whole numbers
      EXPECT_EQ(l.p50_ms, rank(50)) << n;
      EXPECT_EQ(l.p95_ms, rank(95)) << n;
      EXPECT_EQ(l.p99_ms, rank(99)) << n;
      double sum = 0;
      for (double ms : last) sum += ms;
      EXPECT_NEAR(l.mean_ms, sum / double(last.size()), 1e-9 * (1 + sum));
    }
  }
}

TEST(LatencyRecorder, AReaderBesideTheWriterSeesOnlyWhatWasAdded) {
  LatencyRecorder recorder(64);
  std::atomic<bool> stop{false};
  uint64_t reads = 0, before = 0;
  bool sound = true;
  std::thread reader([&] {
    while (!stop) {
      const Latency l = recorder.read();
      sound = sound && l.count >= before &&
              (l.window == 0 || (l.min_ms >= 1 && l.max_ms <= 3 && l.p50_ms == std::floor(l.p50_ms) &&
                                 l.min_ms <= l.p50_ms && l.p50_ms <= l.p99_ms));
      before = l.count;
      ++reads;
    }
  });
  for (int i = 0; i < 200000; ++i) recorder.add(1 + i % 3);
  stop = true;
  reader.join();
  EXPECT_TRUE(sound);
  EXPECT_EQ(recorder.read().count, 200000u);
}

Model open_case() { return *Model::open(std::string(VIREO_TEST_DATA) + "/cases/hf-vit"); }

std::vector<float> pixels_of(Session& s) { return std::vector<float>(s.impl().input_floats(), 0.25f); }

TEST(OnInference, IsCalledOncePerInferenceInTheOrderOfWaiting) {
  const Model m = open_case();
  std::vector<Inference> seen;
  std::vector<double> output_ms;
  SessionOptions o;
  o.latency_window = 3;
  o.on_inference = [&](const Inference& i) { seen.push_back(i); };
  Result<Session> s = Session::create(m, Device::cpu(1), o);
  ASSERT_TRUE(s.ok()) << s.error().message;
  EXPECT_EQ(s->latency().count, 0u);
  const std::vector<float> x = pixels_of(*s);
  std::vector<uint8_t> picture(300 * 200 * 3, 77);
  ASSERT_TRUE(s->run(Image{picture.data(), 300, 200, 0}).ok());
  const Result<Ticket> a = s->submit(x.data(), x.size()), b = s->submit(x.data(), x.size());
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(seen.size(), 1u) << "done is what was waited for";
  for (const Ticket& t : {*b, *a}) {
    const Result<Output> out = s->wait(t);
    ASSERT_TRUE(out.ok());
    output_ms.push_back(out->ms);
  }
  EXPECT_FALSE(s->run(x.data(), x.size() - 1).ok());
  EXPECT_FALSE(s->wait(*a).ok());
  ASSERT_EQ(seen.size(), 3u) << "and nothing that failed";
  EXPECT_EQ(seen[1].ticket, b->id);
  EXPECT_EQ(seen[2].ticket, a->id);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(seen[i].number, i + 1);
    EXPECT_STREQ(seen[i].device.kind, "cpu");
    EXPECT_FALSE(seen[i].fell_back);
    EXPECT_EQ(seen[i].preprocess_ms > 0, i == 0);
  }
  EXPECT_EQ(seen[1].ms, output_ms[0]);
  EXPECT_EQ(seen[2].ms, output_ms[1]);
  const Latency l = s->latency();
  EXPECT_EQ(l.count, 3u);
  EXPECT_EQ(l.window, 3);
  EXPECT_EQ(l.last_ms, output_ms[1]);
  EXPECT_EQ(l.max_ms, std::max({seen[0].ms, seen[1].ms, seen[2].ms}));
}

TEST(OnInference, WhatItThrowsDoesNotCrossTheApi) {
  const Model m = open_case();
  int calls = 0;
  SessionOptions o;
  o.on_inference = [&](const Inference&) {
    if (++calls == 1) throw std::runtime_error("mine");
    throw 17;
  };
  Result<Session> s = Session::create(m, Device::cpu(1), o);
  ASSERT_TRUE(s.ok());
  const std::vector<float> x = pixels_of(*s);
  const size_t before = s->warnings().size();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(s->run(x.data(), x.size()).ok());
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(s->latency().count, 3u);
  ASSERT_EQ(s->warnings().size(), before + 1) << "said once";
  EXPECT_NE(s->warnings().back().find("on_inference threw"), std::string::npos);
}

TEST(OnInference, LatencyIsReadWhileTheSessionRuns) {
  const Model m = open_case();
  Result<Session> s = Session::create(m, Device::cpu(1));
  ASSERT_TRUE(s.ok());
  const std::vector<float> x = pixels_of(*s);
  std::atomic<bool> stop{false};
  bool sound = true;
  std::thread reader([&] {
    for (uint64_t last = 0; !stop;) {
      const Latency l = s->latency();
      sound = sound && l.count >= last && l.min_ms <= l.max_ms;
      last = l.count;
    }
  });
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(s->run(x.data(), x.size()).ok());
  stop = true;
  reader.join();
  EXPECT_TRUE(sound);
  EXPECT_EQ(s->latency().count, 50u);
}

TEST(OnInference, AWindowOutOfRangeIsNamed) {
  const Model m = open_case();
  for (int window : {0, -1, INT32_MAX}) {
    SessionOptions o;
    o.latency_window = window;
    const Result<Session> s = Session::create(m, Device::cpu(1), o);
    ASSERT_FALSE(s.ok());
    EXPECT_NE(s.error().message.find(fmt::format("latency_window is {}", window)), std::string::npos)
        << s.error().message;
  }
}

#if VIREO_VULKAN
TEST(OnInference, SaysThatTheCpuHasTakenOver) {
  const Result<Device> device = Device::vulkan(0);
  if (!device) GTEST_SKIP() << device.error().message;
  const auto lost = std::make_shared<std::atomic<bool>>(false);
  auto impl = std::make_shared<Device::Impl>();
  impl->kind = DeviceKind::kVulkan;
  impl->caps = device->impl()->caps;
  impl->index = device->impl()->index;
  impl->threads = device->impl()->threads;
  impl->instance = device->impl()->instance;
  impl->gpu_options.fault = [lost](const char* name) {
    return *lost && std::string(name) == "wait" ? VK_ERROR_DEVICE_LOST : VK_SUCCESS;
  };
  std::vector<uint32_t> tickets;
  std::vector<std::string> kinds;
  std::vector<bool> fell;
  SessionOptions o;
  o.on_inference = [&](const Inference& i) {
    tickets.push_back(i.ticket), kinds.push_back(i.device.kind), fell.push_back(i.fell_back);
  };
  Result<Session> s = Session::create(open_case(), Device(std::move(impl)), o);
  ASSERT_TRUE(s.ok()) << s.error().message;
  const std::vector<float> x = pixels_of(*s);
  ASSERT_TRUE(s->run(x.data(), x.size()).ok());
  const Result<Ticket> a = s->submit(x.data(), x.size()), b = s->submit(x.data(), x.size());
  ASSERT_TRUE(a.ok() && b.ok());
  *lost = true;
  ASSERT_TRUE(s->wait(*a).ok());
  ASSERT_TRUE(s->wait(*b).ok());
  ASSERT_EQ(tickets.size(), 3u) << "both were done again, and told once";
  EXPECT_EQ(tickets[1], a->id);
  EXPECT_EQ(tickets[2], b->id);
  EXPECT_EQ(kinds, (std::vector<std::string>{"vulkan", "cpu", "cpu"}));
  EXPECT_EQ(fell, (std::vector<bool>{false, true, true}));
  EXPECT_EQ(s->latency().count, 3u);
}
#endif

}  // namespace
}  // namespace vireo
