// Sessions with weights in common answer as sessions by themselves do, whoever of them lives longer.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <thread>

#include "plan/weight_store.h"

#include <vireo/vireo.hpp>

namespace vireo {
namespace {

const std::string kCase = std::string(VIREO_TEST_DATA) + "/cases/hf-vit";

std::vector<float> answer(Session& s, const Model& m) {
  std::vector<float> x(size_t(m.channels()) * size_t(s.input_height()) * size_t(s.input_width()));
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(0.01f * float(i));
  const Result<Output> o = s.run(x.data(), x.size());
  EXPECT_TRUE(o.ok()) << o.error().message;
  if (!o) return {};
  return {o->data, o->data + size_t(o->rows) * size_t(o->cols)};
}

struct Opening {
  int size = 0;
  Precision precision = Precision::kFp32;
  std::shared_ptr<const SharedWeights> shared = {};
  std::vector<std::string> cpu_ops = {};
};

std::optional<Session> open(const Model& m, const Device& d, const Opening& how) {
  SessionOptions o;
  o.height = o.width = how.size;
  o.precision = how.precision;
  o.shared_weights = how.shared;
  o.cpu_ops = how.cpu_ops;
  o.fallback = false;
  Result<Session> s = Session::create(m, d, o);
  EXPECT_TRUE(s.ok()) << s.error().message;
  if (!s) return std::nullopt;
  return std::optional<Session>(std::move(*s));
}

class SharedWeightsOn : public ::testing::TestWithParam<DeviceKind> {
 protected:
  void SetUp() override {
    device_ = Device::cpu();
    if (GetParam() == DeviceKind::kCpu) return;
    const Result<Device> gpu = Device::vulkan(0);
    if (!gpu) GTEST_SKIP() << gpu.error().message;
    device_ = *gpu;
  }
  Device device_ = Device::cpu();
  const Model model_ = *Model::open(kCase);
  const int own_ = open(model_, Device::cpu(), {})->input_height();
  const int larger_ = 2 * own_;
};

TEST_P(SharedWeightsOn, ASizeMoreCostsItsOwnTablesAlone) {
  const auto alone = open(model_, device_, {larger_});
  const auto shared = std::make_shared<SharedWeights>();
  const auto first = open(model_, device_, {0, Precision::kFp32, shared});
  const auto second = open(model_, device_, {larger_, Precision::kFp32, shared});
  ASSERT_TRUE(alone && first && second);
  EXPECT_EQ(alone->footprint().shared_weights_bytes, 0u);
  EXPECT_EQ(first->footprint().shared_weights_bytes, 0u);
  // All but the positions, which are interpolated.
  EXPECT_GT(second->footprint().shared_weights_bytes, second->footprint().weights_bytes / 2);
  EXPECT_LT(second->footprint().shared_weights_bytes, second->footprint().weights_bytes);
}

TEST_P(SharedWeightsOn, AnswersAreTheSameAndOutliveTheOwner) {
  auto alone = open(model_, device_, {larger_});
  auto alone_small = open(model_, device_, {});
  ASSERT_TRUE(alone && alone_small);
  const std::vector<float> expected = answer(*alone, model_), expected_small = answer(*alone_small, model_);
  const auto shared = std::make_shared<SharedWeights>();
  auto first = open(model_, device_, {0, Precision::kFp32, shared});
  auto second = open(model_, device_, {larger_, Precision::kFp32, shared});
  auto third = open(model_, device_, {larger_, Precision::kFp32, shared});  // in memory of both
  ASSERT_TRUE(first && second && third);
  EXPECT_EQ(third->footprint().shared_weights_bytes, third->footprint().weights_bytes);
  EXPECT_EQ(answer(*first, model_), expected_small);
  EXPECT_EQ(answer(*second, model_), expected);
  first.reset();
  EXPECT_EQ(answer(*second, model_), expected);
  second.reset();
  EXPECT_EQ(answer(*third, model_), expected);
  third.reset();
  // Nobody holds them any more: the next one has its own again.
  auto fourth = open(model_, device_, {0, Precision::kFp32, shared});
  ASSERT_TRUE(fourth);
  EXPECT_EQ(fourth->footprint().shared_weights_bytes, 0u);
  EXPECT_EQ(answer(*fourth, model_), expected_small);
}

TEST_P(SharedWeightsOn, AnotherPrecisionSharesWhatIsTheSameOnly) {
  auto alone = open(model_, device_, {0, Precision::kInt8});
  const auto shared = std::make_shared<SharedWeights>();
  auto first = open(model_, device_, {0, Precision::kFp32, shared});
  auto second = open(model_, device_, {0, Precision::kInt8, shared});
  ASSERT_TRUE(alone && first && second);
  EXPECT_LT(second->footprint().shared_weights_bytes, second->footprint().weights_bytes / 2);
  EXPECT_EQ(answer(*second, model_), answer(*alone, model_));
}

TEST_P(SharedWeightsOn, ASecondOpeningOfTheCheckpointSharesAll) {
  const Model again = *Model::open(kCase);
  const auto shared = std::make_shared<SharedWeights>();
  auto first = open(model_, device_, {0, Precision::kFp32, shared});
  auto second = open(again, device_, {0, Precision::kFp32, shared});
  ASSERT_TRUE(first && second);
  EXPECT_EQ(second->footprint().shared_weights_bytes, second->footprint().weights_bytes);
  EXPECT_EQ(answer(*second, again), answer(*first, model_));
}

TEST_P(SharedWeightsOn, OtherWeightsOfTheSameNamesAreNotTaken) {
  const Result<Model> one = Model::random(kCase + "/config.json", 1), two = Model::random(kCase + "/config.json", 2);
  ASSERT_TRUE(one && two);
  const auto shared = std::make_shared<SharedWeights>();
  auto alone = open(*two, device_, {});
  auto first = open(*one, device_, {0, Precision::kFp32, shared});
  auto second = open(*two, device_, {0, Precision::kFp32, shared});
  ASSERT_TRUE(alone && first && second);
  const std::vector<float> expected = answer(*alone, *two);
  EXPECT_NE(answer(*first, *one), expected);
  EXPECT_EQ(answer(*second, *two), expected);
}

TEST_P(SharedWeightsOn, SessionsAreMadeInSeveralThreads) {
  auto alone = open(model_, device_, {larger_});
  ASSERT_TRUE(alone);
  const std::vector<float> expected = answer(*alone, model_);
  const auto shared = std::make_shared<SharedWeights>();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 3; ++i) {
        auto s = open(model_, device_, {larger_, Precision::kFp32, shared});
        ASSERT_TRUE(s);
        EXPECT_EQ(answer(*s, model_), expected);
      }
    });
  for (std::thread& t : threads) t.join();
}

INSTANTIATE_TEST_SUITE_P(Devices, SharedWeightsOn, ::testing::Values(DeviceKind::kCpu, DeviceKind::kVulkan),
                         [](const auto& i) { return std::string(to_string(i.param)); });

TEST(SharedWeights, StepsOnTheCpuReadThemInAVulkanPlan) {
  const Result<Device> gpu = Device::vulkan(0);
  if (!gpu) GTEST_SKIP() << gpu.error().message;
  const Model model = *Model::open(kCase);
  const std::vector<std::string> ops{"attention", "linear"};
  auto alone = open(model, *gpu, {0, Precision::kFp32, nullptr, ops});
  const auto shared = std::make_shared<SharedWeights>();
  auto first = open(model, *gpu, {0, Precision::kFp32, shared});
  auto second = open(model, *gpu, {0, Precision::kFp32, shared, ops});
  ASSERT_TRUE(alone && first && second);
  EXPECT_EQ(answer(*second, model), answer(*alone, model));
  EXPECT_EQ(first->worth_in_flight(), 2);
  EXPECT_EQ(second->worth_in_flight(), 1) << "its steps on the CPU are done when submit() returns";
}

TEST(SharedWeights, DevicesDoNotMix) {
  const Result<Device> gpu = Device::vulkan(0);
  if (!gpu) GTEST_SKIP() << gpu.error().message;
  const Model model = *Model::open(kCase);
  const auto shared = std::make_shared<SharedWeights>();
  auto first = open(model, Device::cpu(), {0, Precision::kFp32, shared});
  auto second = open(model, *gpu, {0, Precision::kFp32, shared});
  ASSERT_TRUE(first && second);
  EXPECT_EQ(second->footprint().shared_weights_bytes, 0u);
}

struct Bytes final : WeightMemory {
  const uint8_t* bytes() const override { return data; }
  uint8_t data[64] = {};
};

TEST(WeightStore, KeepsNothingAlive) {
  WeightStore store;
  const int here = 0, there = 0;
  auto memory = std::make_shared<Bytes>();
  store.add(&here, "w", 32, memory, 16);
  ASSERT_EQ(store.find(&here, "w", 32).size(), 1u);
  EXPECT_EQ(store.find(&here, "w", 32)[0].offset, 16u);
  EXPECT_TRUE(store.find(&there, "w", 32).empty());
  EXPECT_TRUE(store.find(&here, "w", 31).empty());
  EXPECT_TRUE(store.find(&here, "v", 32).empty());
  memory.reset();
  EXPECT_TRUE(store.find(&here, "w", 32).empty());
}

}  // namespace
}  // namespace vireo
