// Profiles: errors, and their texts with names that need quoting.
#include <gtest/gtest.h>

#include <cmath>

#include <nlohmann/json.hpp>

#include "runtime/session_impl.h"

#include <vireo/profile.hpp>

namespace vireo {
namespace {

const std::string kCase = std::string(VIREO_TEST_DATA) + "/cases/hf-vit";

TEST(ProfileText, NamesAreQuotedAndNumbersFinite) {
  Profile p;
  p.model = "a \"model\"\n</script>";
  p.device_name = "GPU, with \xff comma";
  DispatchProfile d;
  d.name = "fc1, \"quoted\"";
  d.kernel = "linear";
  d.flops = 1e9, d.bytes = 0;
  p.dispatches = {d};  // all times 0: nothing may be divided by them
  const nlohmann::json j = nlohmann::json::parse(profile_json(p), nullptr, false);
  ASSERT_TRUE(j.is_object());
  EXPECT_EQ(j["model"], p.model);
  EXPECT_EQ(j["dispatches"][0]["gflops"], 0);
  EXPECT_EQ(j["dispatches"][0]["share"], 0);
  EXPECT_NE(profile_csv(p).find("0,0,\"fc1, \"\"quoted\"\"\","), std::string::npos) << profile_csv(p);
  EXPECT_TRUE(nlohmann::json::accept(profile_trace(p)));
}

TEST(ProfileErrors, SayWhatIsWrong) {
  const Result<Model> m = Model::open(kCase);
  ASSERT_TRUE(m.ok());
  Result<Session> s = Session::create(*m, Device::cpu(1));
  ASSERT_TRUE(s.ok());
  const size_t count = s->impl().input_floats();
  const std::vector<float> x(count, 0.5f);
  ProfileOptions o;
  o.roofs = false;
  EXPECT_EQ(s->profile(x.data(), count - 1, o).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(s->profile(nullptr, 0, o).error().code, ErrorCode::kInvalidArgument);
  o.runs = 0;
  EXPECT_EQ(s->profile(x.data(), count, o).error().code, ErrorCode::kInvalidArgument);
  o.runs = 1;
  for (double seconds : {-1.0, 1e9, double(NAN)}) {
    o.least_seconds = seconds;
    const Result<Profile> p = s->profile(x.data(), count, o);
    ASSERT_FALSE(p.ok());
    EXPECT_NE(p.error().message.find("seconds at least, expected 0 to 3600"), std::string::npos) << p.error().message;
  }
  o.least_seconds = 0;
  const Result<Ticket> t = s->submit(x.data(), count);
  ASSERT_TRUE(t.ok());
  const Result<Profile> busy = s->profile(x.data(), count, o);
  ASSERT_FALSE(busy.ok());
  EXPECT_NE(busy.error().message.find("in flight"), std::string::npos) << busy.error().message;
  ASSERT_TRUE(s->wait(*t).ok());
  EXPECT_TRUE(s->profile(x.data(), count, o).ok());
}

#if VIREO_VULKAN
TEST(ProfileErrors, AQueueWithoutTimestamps) {
  const Result<Device> device = Device::vulkan(0);
  if (!device) GTEST_SKIP() << device.error().message;
  auto impl = std::make_shared<Device::Impl>();
  impl->kind = DeviceKind::kVulkan;
  impl->caps = device->impl()->caps;
  impl->index = device->impl()->index;
  impl->instance = device->impl()->instance;
  impl->gpu_options.fault = [](const char* call) {
    return std::strcmp(call, "timestamps") ? VK_SUCCESS : VK_ERROR_FEATURE_NOT_PRESENT;
  };
  const Result<Model> m = Model::open(kCase);
  ASSERT_TRUE(m.ok());
  Result<Session> s = Session::create(*m, Device(std::move(impl)));
  ASSERT_TRUE(s.ok()) << s.error().message;
  const std::vector<float> x(s->impl().input_floats(), 0.5f);
  const Result<Profile> p = s->profile(x.data(), x.size());
  ASSERT_FALSE(p.ok());
  EXPECT_EQ(p.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(p.error().message.find("takes no timestamps"), std::string::npos) << p.error().message;
}

TEST(ProfileRun, LeavesTheSessionAsItWas) {
  const Result<Device> device = Device::vulkan(0);
  if (!device) GTEST_SKIP() << device.error().message;
  const Result<Model> m = Model::open(kCase);
  ASSERT_TRUE(m.ok());
  SessionOptions options;
  options.fallback = false;
  Result<Session> s = Session::create(*m, *device, options);
  ASSERT_TRUE(s.ok()) << s.error().message;
  std::vector<float> x(s->impl().input_floats());
  for (size_t i = 0; i < x.size(); ++i) x[i] = float(i % 17) * 0.1f;
  const auto run = [&] {
    const Result<Output> o = s->run(x.data(), x.size());
    EXPECT_TRUE(o.ok());
    return o ? std::vector<float>(o->data, o->data + o->rows * o->cols) : std::vector<float>();
  };
  const std::vector<float> before = run();
  ProfileOptions o;
  o.runs = 2;
  o.roofs = false;
  const Result<Profile> p = s->profile(x.data(), x.size(), o);
  ASSERT_TRUE(p.ok()) << p.error().message;
  EXPECT_EQ(p->dispatches.size(), size_t(s->footprint().dispatches));
  EXPECT_EQ(run(), before);
}
#endif

}  // namespace
}  // namespace vireo
