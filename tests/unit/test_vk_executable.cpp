// Plans on real drivers under the validation layer: results, two slots, CPU steps, application buffers, and every
// failure that a driver can answer with, injected.
#if VIREO_VULKAN
#include <algorithm>
#include <atomic>
#include <thread>

#include "base/half.h"
#include "test_vk.h"
#include "test_vk_plans.h"
#include "vk/executable.h"

namespace vireo::vk {
namespace {

std::vector<float> floats(const void* p, size_t n) {
  std::vector<float> v(n);
  std::memcpy(v.data(), p, n * sizeof(float));
  return v;
}

class VkExecutable : public VkTest {
 protected:
  using Ptr = std::unique_ptr<Executable>;

  static Result<Ptr> create(const std::shared_ptr<Gpu>& gpu, const TinyPlan& t, ExecutableOptions options = {}) {
    ThreadPool pool(2);
    return Executable::create(gpu, t.plan, t.graph, pool, std::move(options));
  }

  static void start(Executable& e, int slot, const std::vector<float>& x) {
    std::copy(x.begin(), x.end(), e.input(slot));
    const auto r = e.submit(slot);
    EXPECT_TRUE(r) << r.error().message;
  }
  static std::vector<float> finish(Executable& e, int slot, size_t n) {
    const auto r = e.wait(slot);
    EXPECT_TRUE(r) << r.error().message;
    return floats(e.output(slot), n);
  }

  static HostStep doubling(const Plan& plan) {
    return [&plan](size_t step, int, const HostMemory& m) -> Result<void> {
      const Step& s = plan.steps[step];
      const auto* in = reinterpret_cast<const float*>(m.at(plan.values[size_t(s.inputs[0])].where));
      auto* out = reinterpret_cast<float*>(m.at(plan.values[size_t(s.output)].where));
      const float* bias = reinterpret_cast<const float*>(m.at({Region::kWeights, plan.consts[0].offset, 32}));
      EXPECT_EQ(bias[0], -0.5f) << "constants of CPU steps are readable";
      for (int64_t i = 0; i < kRows * kStride; ++i) out[i] = 2 * in[i];
      return {};
    };
  }
};

TEST_F(VkExecutable, BothSlotsAgainAndAgain) {
  for (const uint32_t device : usable_) {
    const auto gpu = open(device);
    ASSERT_TRUE(gpu);
    const TinyPlan t = tiny_plan(gpu->caps());
    const auto e = create(gpu, t);
    ASSERT_TRUE(e) << e.error().message;
    for (int i = 0; i < 20; ++i) {
      const auto x0 = tiny_input(float(i)), x1 = tiny_input(float(-i));
      start(**e, 0, x0);
      start(**e, 1, x1);
      EXPECT_EQ(finish(**e, 0, x0.size()), tiny_expected(t, x0));
      EXPECT_EQ(finish(**e, 1, x1.size()), tiny_expected(t, x1));
    }
    EXPECT_TRUE((*e)->wait(0)) << "nothing in flight is no error";
  }
}

TEST_F(VkExecutable, TheLayerWouldSeeAMissingBarrier) {
  if (!validated_) GTEST_SKIP() << "no validation layer";
  const auto gpu = open(usable_[0]);
  TinyPlan t = tiny_plan(gpu->caps());
  t.plan.barriers.clear();
  ASSERT_TRUE(create(gpu, t));
  ASSERT_FALSE(messages_.empty())
      << "synchronisation validation is off, so the silence of the other tests means nothing";
  EXPECT_NE(messages_[0].find("READ-AFTER-WRITE"), std::string::npos) << messages_[0];
  EXPECT_EQ(instance_->message_count(), messages_.size());
  messages_.clear();
}

TEST_F(VkExecutable, SubmittingASlotTwiceIsRefused) {
  const auto gpu = open(usable_[0]);
  const TinyPlan t = tiny_plan(gpu->caps());
  const auto e = create(gpu, t);
  ASSERT_TRUE(e) << e.error().message;
  start(**e, 0, tiny_input(0));
  EXPECT_TRUE((*e)->in_flight(0));
  const auto again = (*e)->submit(0);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kInvalidArgument);
  // The destructor waits for what is still in flight.
}

TEST_F(VkExecutable, WeightsThroughStagingWhenTheHostCannotSeeThem) {
  for (const uint32_t device : usable_) {
    std::atomic<int> allocations{0};
    GpuOptions options;
    options.fault = [&](const char* call) {
      if (!std::strcmp(call, "allocate")) ++allocations;
      return std::strcmp(call, "map") ? VK_SUCCESS : VK_ERROR_MEMORY_MAP_FAILED;
    };
    const auto gpu = open(device, options);
    const TinyPlan t = tiny_plan(gpu->caps());
    const auto e = create(gpu, t);
    ASSERT_TRUE(e) << e.error().message;
    EXPECT_EQ(allocations, 4) << "weights, arena, staging, and one on the way";
    const auto x = tiny_input(1);
    start(**e, 1, x);
    EXPECT_EQ(finish(**e, 1, x.size()), tiny_expected(t, x));
    EXPECT_EQ((*e)->read(t.plan.values[1].where, 0), nullptr);
  }
}

TEST_F(VkExecutable, TexelBuffersInEveryFormat) {
  std::vector<float> weight;
  for (int i = 0; i < 30; ++i) weight.push_back(float((i * 5) % 13 - 6) / 4);
  std::vector<float> a(3 * kStride, 0.f);
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 6; ++c) a[size_t(r * kStride + c)] = float(r - c) * 0.5f;
  for (const uint32_t device : usable_)
    for (const DType type : {DType::kF32, DType::kF16, DType::kI8}) {
      const auto gpu = open(device);
      const TinyPlan t = texel_plan(gpu->caps(), type, weight);
      const auto e = create(gpu, t);
      ASSERT_TRUE(e) << e.error().message;
      start(**e, 0, a);
      const auto y = finish(**e, 0, a.size());
      for (int r = 0; r < 3; ++r)
        for (int n = 0; n < kStride; ++n) {
          double expected = 0;
          for (int k = 0; k < 6 && n < 5; ++k)
            expected += double(a[size_t(r * kStride + k)]) * weight[size_t(n * 6 + k)];
          // int8: half a step of at most max|w| / 127 per weight.
          const double tolerance = type == DType::kI8 ? 6 * 2.5 * (1.5 / 127) / 2 : 1e-5;
          EXPECT_NEAR(y[size_t(r * kStride + n)], expected, tolerance) << dtype_name(type) << " " << r << "," << n;
        }
    }
}

TEST_F(VkExecutable, CpuStepsRunBetweenSegments) {
  for (const uint32_t device : usable_) {
    const auto gpu = open(device);
    const TinyPlan t = tiny_plan(gpu->caps(), true);
    ExecutableOptions options;
    options.host_step = doubling(t.plan);
    const auto e = create(gpu, t, options);
    ASSERT_TRUE(e) << e.error().message;
    for (int i = 0; i < 3; ++i) {
      const auto x = tiny_input(float(i));
      start(**e, i % 2, x);
      EXPECT_EQ(finish(**e, i % 2, x.size()), tiny_expected(t, x, 2.f));
    }
  }
}

TEST_F(VkExecutable, CpuStepsFailures) {
  const auto gpu = open(usable_[0]);
  const TinyPlan t = tiny_plan(gpu->caps(), true);
  const auto none = create(gpu, t);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kInternal);
  ExecutableOptions options;
  options.host_step = [](size_t, int, const HostMemory&) -> Result<void> {
    return fail(ErrorCode::kOutOfMemory, "no scratch");
  };
  const auto e = create(gpu, t, options);
  ASSERT_TRUE(e) << e.error().message;
  const auto r = (*e)->submit(0);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().message, "no scratch");
  EXPECT_FALSE((*e)->in_flight(0));
}

TEST_F(VkExecutable, ValuesAreReadableOnRequest) {
  for (const uint32_t device : usable_) {
    const auto gpu = open(device);
    const TinyPlan t = tiny_plan(gpu->caps());
    ExecutableOptions options;
    options.readable_arena = true;
    const auto e = create(gpu, t, options);
    ASSERT_TRUE(e) << e.error().message;
    const auto x = tiny_input(0);
    start(**e, 0, x);
    finish(**e, 0, x.size());
    const uint8_t* p = (*e)->read(t.plan.values[1].where, 0);
    ASSERT_NE(p, nullptr);
    const auto a = floats(p, x.size());
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t c = 0; c < kCols; ++c) {
        const size_t i = size_t(r * kStride + c);
        EXPECT_EQ(a[i], std::max(x[i] + t.bias[size_t(c)], 0.f));
      }
    EXPECT_EQ(floats((*e)->read(t.plan.values[0].where, 0), x.size()), x);
  }
}

TEST_F(VkExecutable, ApplicationBuffersAreUsedInPlace) {
  for (const uint32_t device : usable_) {
    const auto owner = open(device);
    VkQueue queue = VK_NULL_HANDLE;
    owner->fn().vkGetDeviceQueue(owner->handle(), owner->queue_family(), 0, &queue);
    const auto adopted = Gpu::adopt(instance_->handle(), owner->physical().handle, owner->handle(), queue,
                                    owner->queue_family(), nullptr, VulkanFeatures{});
    ASSERT_TRUE(adopted) << adopted.error().message;
    constexpr VkBufferUsageFlags usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT;
    auto in = Buffer::create(*owner, {"picture", 4096, usage, MemoryUse::kHostAccess});
    auto out = Buffer::create(*owner, {"scores", 4096, usage, MemoryUse::kHostAccess});
    ASSERT_TRUE(in && out);
    const TinyPlan t = tiny_plan((*adopted)->caps());
    ExecutableOptions options;
    options.buffers.input = in->handle();
    options.buffers.input_offset = 1024;
    options.buffers.output = out->handle();
    options.buffers.output_offset = 512;
    {
      const auto e = create(*adopted, t, options);
      ASSERT_TRUE(e) << e.error().message;
      EXPECT_EQ((*e)->input(0), nullptr);
      EXPECT_EQ((*e)->output(0), nullptr);
      for (int i = 0; i < 4; ++i) {
        const auto x = tiny_input(float(i));
        std::memcpy(in->mapped() + 1024, x.data(), x.size() * 4);
        ASSERT_TRUE((*e)->submit(i % 2));
        ASSERT_TRUE((*e)->wait(i % 2));
        EXPECT_EQ(floats(out->mapped() + 512, x.size()), tiny_expected(t, x));
      }
    }
    options.buffers.output_offset = 4;
    const auto misplaced = create(*adopted, t, options);
    ASSERT_FALSE(misplaced);
    EXPECT_EQ(misplaced.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(misplaced.error().message.find("output"), std::string::npos);
  }
}

TEST_F(VkExecutable, TwoThreadsOnOneDevice) {
  const auto gpu = open(usable_[0]);
  const TinyPlan t = tiny_plan(gpu->caps());
  const auto work = [&](float seed, bool* good) {
    ThreadPool pool(1);
    const auto e = Executable::create(gpu, t.plan, t.graph, pool, {});
    if (!e) return;
    for (int i = 0; i < 50; ++i) {
      const auto x = tiny_input(seed + float(i));
      std::copy(x.begin(), x.end(), (*e)->input(0));
      if (!(*e)->submit(0) || !(*e)->wait(0)) return;
      if (floats((*e)->output(0), x.size()) != tiny_expected(t, x)) return;
    }
    *good = true;
  };
  bool a = false, b = false;
  std::thread other(work, 100.f, &b);
  work(0.f, &a);
  other.join();
  EXPECT_TRUE(a);
  EXPECT_TRUE(b);
}

TEST_F(VkExecutable, EqualPipelinesAreShared) {
  std::atomic<int> compiled{0};
  GpuOptions options;
  options.fault = [&](const char* call) {
    return std::strcmp(call, "pipeline") ? VK_SUCCESS : (++compiled, VK_SUCCESS);
  };
  const auto gpu = open(usable_[0], options);
  const TinyPlan t = tiny_plan(gpu->caps());
  {
    const auto first = create(gpu, t);
    ASSERT_TRUE(first);
    EXPECT_EQ(compiled, 2);
    const auto second = create(gpu, t);
    ASSERT_TRUE(second);
    EXPECT_EQ(compiled, 2);
  }
  ASSERT_TRUE(create(gpu, t));
  EXPECT_EQ(compiled, 4) << "pipelines go with their last user";
}

// ---- failures

/// A fault hook: call number `at` of the kind and all later ones answer `answer`.
std::function<VkResult(const char*)> failing(std::string kind, VkResult answer, int at = 0) {
  auto count = std::make_shared<std::atomic<int>>(0);
  return [=](const char* call) { return kind == call && (*count)++ >= at ? answer : VK_SUCCESS; };
}

TEST_F(VkExecutable, OutOfMemoryAtEveryAllocation) {
  for (const uint32_t device : usable_)
    for (int at = 0; at < 3; ++at) {
      GpuOptions options;
      options.fault = failing("allocate", VK_ERROR_OUT_OF_DEVICE_MEMORY, at);
      const auto gpu = open(device, options);
      const auto e = create(gpu, tiny_plan(gpu->caps()));
      ASSERT_FALSE(e);
      EXPECT_EQ(e.error().code, ErrorCode::kOutOfMemory);
      EXPECT_NE(e.error().message.find(at == 0   ? "weights"
                                       : at == 1 ? "activations"
                                                 : "inputs and outputs"),
                std::string::npos)
          << e.error().message;
      EXPECT_NE(e.error().message.find("heap"), std::string::npos);
      EXPECT_NE(e.error().message.find(" bytes"), std::string::npos);
    }
}

TEST_F(VkExecutable, MoreThanTheDeviceAllocatesIsRefusedBeforeAsking) {
  const auto gpu = open(usable_[0]);
  TinyPlan t = tiny_plan(gpu->caps());
  t.plan.arena_bytes = uint64_t(1) << 50;
  const auto e = create(gpu, t);
  ASSERT_FALSE(e);
  EXPECT_EQ(e.error().code, ErrorCode::kOutOfMemory);
}

TEST_F(VkExecutable, PipelineFailureNamesShaderAndStep) {
  for (int at = 0; at < 2; ++at) {
    GpuOptions options;
    options.fault = failing("pipeline", VK_ERROR_INVALID_SHADER_NV, at);
    const auto gpu = open(usable_[0], options);
    ThreadPool pool(1);
    const TinyPlan t = tiny_plan(gpu->caps());
    const auto e = Executable::create(gpu, t.plan, t.graph, pool, {});
    ASSERT_FALSE(e);
    EXPECT_EQ(e.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(e.error().message.find("elementwise"), std::string::npos) << e.error().message;
    EXPECT_NE(e.error().message.find("'block."), std::string::npos) << e.error().message;
  }
}

TEST_F(VkExecutable, UploadFailure) {
  for (const char* call : {"submit", "wait"}) {
    GpuOptions options;
    const auto fault = failing(call, VK_ERROR_DEVICE_LOST);
    options.fault = [fault](const char* c) { return std::strcmp(c, "map") ? fault(c) : VK_ERROR_MEMORY_MAP_FAILED; };
    const auto gpu = open(usable_[0], options);
    const auto e = create(gpu, tiny_plan(gpu->caps()));
    ASSERT_FALSE(e);
    EXPECT_EQ(e.error().code, ErrorCode::kDeviceLost);
  }
}

TEST_F(VkExecutable, DeviceLostWhenSubmitting) {
  GpuOptions options;
  options.fault = failing("submit", VK_ERROR_DEVICE_LOST, 1);
  const auto gpu = open(usable_[0], options);
  const TinyPlan t = tiny_plan(gpu->caps());
  const auto e = create(gpu, t);
  ASSERT_TRUE(e) << e.error().message;
  const auto x = tiny_input(0);
  start(**e, 0, x);
  EXPECT_EQ(finish(**e, 0, x.size()), tiny_expected(t, x));
  for (int i = 0; i < 2; ++i) {
    const auto r = (*e)->submit(0);
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().code, ErrorCode::kDeviceLost);
    EXPECT_NE(r.error().message.find("tiny"), std::string::npos) << r.error().message;
    EXPECT_NE(r.error().message.find("block.out"), std::string::npos) << r.error().message;
    EXPECT_TRUE((*e)->wait(0));
  }
  EXPECT_TRUE(gpu->lost());
}

TEST_F(VkExecutable, DeviceLostWhileRunning) {
  for (const VkResult answer : {VK_ERROR_DEVICE_LOST, VK_TIMEOUT}) {
    GpuOptions options;
    options.fault = failing("wait", answer);
    const auto gpu = open(usable_[0], options);
    const TinyPlan t = tiny_plan(gpu->caps());
    const auto e = create(gpu, t);
    ASSERT_TRUE(e) << e.error().message;
    start(**e, 0, tiny_input(0));
    const auto r = (*e)->wait(0);
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().code, ErrorCode::kDeviceLost);
    EXPECT_NE(r.error().message.find("'tiny', steps 0 'block.a' to 1 'block.out'"), std::string::npos)
        << r.error().message;
    EXPECT_TRUE(gpu->lost()) << "a device that hangs is as good as lost";
    EXPECT_FALSE((*e)->in_flight(0));
  }
}

TEST_F(VkExecutable, PlansThatContradictTheirShadersAreRefused) {
  const auto gpu = open(usable_[0]);
  const auto expect = [&](const char* part, ErrorCode code, const std::function<void(Plan&)>& spoil) {
    TinyPlan t = tiny_plan(gpu->caps());
    spoil(t.plan);
    const auto e = create(gpu, t);
    ASSERT_FALSE(e) << part;
    EXPECT_EQ(e.error().code, code) << e.error().message;
    EXPECT_NE(e.error().message.find(part), std::string::npos) << e.error().message;
  };
  const auto first = [](Plan& p) -> PlanDispatch& { return p.steps[0].dispatches[0]; };
  expect("no shader 'nonsense'", ErrorCode::kInternal, [&](Plan& p) { first(p).shader = "nonsense"; });
  expect("push constants", ErrorCode::kInternal, [&](Plan& p) { first(p).push.pop_back(); });
  expect("lie outside", ErrorCode::kInternal, [&](Plan& p) { first(p).bindings[0].where.bytes = 1 << 20; });
  expect("multiple of", ErrorCode::kInternal, [&](Plan& p) { first(p).bindings[0].where = {Region::kInput, 4, 16}; });
  expect("the plan gives 2 bindings", ErrorCode::kInternal, [&](Plan& p) { first(p).bindings.resize(2); });
  expect("texel", ErrorCode::kInternal, [&](Plan& p) { first(p).bindings[0].kind = BindKind::kTexelF32; });
  expect("workgroups of 65536", ErrorCode::kUnsupported, [&](Plan& p) { first(p).spec[0] = 65536; });
  expect("made for 'cpu'", ErrorCode::kInternal, [&](Plan& p) { p.device = DeviceKind::kCpu; });
}

TEST_F(VkExecutable, DamagedWeightsAreNamed) {
  const auto gpu = open(usable_[0]);
  TinyPlan t = tiny_plan(gpu->caps());
  t.graph.values[0].constant = fill_constant(1, kCols, std::numeric_limits<float>::quiet_NaN());
  const auto e = create(gpu, t);
  ASSERT_FALSE(e);
  EXPECT_NE(e.error().message.find("'bias'"), std::string::npos) << e.error().message;
}

}  // namespace
}  // namespace vireo::vk
#endif  // VIREO_VULKAN
