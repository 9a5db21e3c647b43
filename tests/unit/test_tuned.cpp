// Tuning files: what is written is read again, and nothing that is stale, damaged or illegal is ever used.
#include <gtest/gtest.h>

#include "ops/tuned.h"
#include "runtime/session_impl.h"

#include <vireo/vireo.hpp>

namespace vireo {
namespace {

const TuningId kId{"some gpu, rev 2", 0x10de, 0x92ba, 0x801, 0xabcdef};
const TunedSteps kSteps{
    {"linear fp32 ln=1 f32[1, 1, 197, 192]", {"texel=1 shuffle=0 linear_texel=32,8,1,1,1,1", 1.5, 2.25}},
    {"attention fp32 heads=3", {"texel=0 attention_tile=64,8,4,4,16,16", 0.5, 0.75}}};

std::string why(const std::string& text, const TuningId& id = kId) {
  const Result<TunedSteps> r = parse_tuning(text, id);
  return r ? "accepted" : r.error().message;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(TuningFile, RoundTrip) {
  const std::string text = tuning_text(kId, kSteps);
  const Result<TunedSteps> again = parse_tuning(text, kId);
  ASSERT_TRUE(again.ok()) << again.error().message;
  ASSERT_EQ(again->size(), kSteps.size());
  for (const auto& [key, step] : kSteps) {
    EXPECT_EQ(again->at(key).use, step.use);
    EXPECT_EQ(again->at(key).ms, step.ms);
    EXPECT_EQ(again->at(key).default_ms, step.default_ms);
  }
  EXPECT_EQ(tuning_text(kId, *again), text);
}

TEST(TuningFile, StaleAndDamagedOnesAreNamed) {
  const std::string text = tuning_text(kId, kSteps);
  TuningId other = kId;
  other.driver_version = 0x802;
  EXPECT_NE(why(text, other).find("stale: of driver 801"), std::string::npos) << why(text, other);
  other = kId;
  other.shader_hash = 1;
  EXPECT_NE(why(text, other).find("stale"), std::string::npos);
  other = kId;
  other.device = "another";
  EXPECT_NE(why(text, other).find("stale: of device 'some gpu, rev 2'"), std::string::npos);
  EXPECT_NE(why("").find("does not say for which device"), std::string::npos);
  EXPECT_NE(why("GIF89a\n").find("first line"), std::string::npos);
  EXPECT_NE(why(replaced(text, "vireo-tuning 1", "vireo-tuning 2")).find("first line"), std::string::npos);
  EXPECT_NE(why(replaced(text, "  use texel=0", "  ues texel=0")).find("line 6: 'ues' is no word"), std::string::npos)
      << why(replaced(text, "  use texel=0", "  ues texel=0"));
  EXPECT_NE(why(text.substr(0, text.rfind("  use"))).find("truncated"), std::string::npos);
  EXPECT_NE(why(replaced(text, "default 0.75", "defalt 0.75")).find("expected 'ms A default B'"), std::string::npos);
  EXPECT_NE(why(text + "step attention fp32 heads=3\n").find("there twice"), std::string::npos);
}

TEST(TuningFile, ConstantsThatBreakAShadersRulesAreRefused) {
  for (const char* use : {"linear_tile=64,128,16,8,0",
                          "linear_tile=64,128,16,6,8",
                          "linear_tile=60,128,16,8,8",
                          "linear_tile=64,128,6,8,8",
                          "linear_tile=16,16,64,8,8",
                          "linear_texel=32,17,1,1,1,1",
                          "linear_texel=32,8,5,1,1,1",
                          "linear_texel=32,8,1,3,1,1",
                          "linear_texel=32,8,1,8,9,1",
                          "linear_texel=32,8,1,8,1,65",
                          "attention_texel=8,5,4",
                          "attention_texel=8,2,17",
                          "attention_tile=60,8,4,4,16,16",
                          "attention_tile=64,8,4,4,14,16",
                          "attention_tile=64,8,4,4,16,15",
                          "conv=8,4,17",
                          "linear_tile=1,2,3",
                          "linear_tile=64,128,16,8,-8",
                          "linear_tile=64,128,16,8,99999999999",
                          "speed=11",
                          "texel"}) {
    Tuning t;
    EXPECT_FALSE(apply_tuning(use, &t).ok()) << use;
  }
  Tuning t;
  ASSERT_TRUE(apply_tuning("texel=0 linear_tile=32,64,16,4,8", &t).ok());
  EXPECT_FALSE(t.texel);
  EXPECT_EQ(t.of("linear.tile"), (std::vector<Constants>{{32, 64, 16, 4, 8}}));
}

TEST(TuningFile, DefaultsOfEveryClassKeepTheRules) {
  for (int c = 0; c <= int(DeviceClass::kOther); ++c) {
    DeviceCaps caps;
    caps.device_class = DeviceClass(c);
    const Result<void> r = check_tuning(tuning_for(caps));
    EXPECT_TRUE(r.ok()) << to_string(caps.device_class) << ": " << r.error().message;
  }
}

TEST(TuningFile, CandidatesAreLegalAndFitTheDevice) {
  DeviceCaps caps;
  caps.max_workgroup_invocations = 128;
  for (OpKind op : {OpKind::kLinear, OpKind::kAttention, OpKind::kConv2d}) {
    const std::vector<std::string> all = tuning_candidates(op, caps);
    EXPECT_GT(all.size(), 10u) << op_def(op).name;
    for (const std::string& use : all) {
      Tuning t;
      EXPECT_TRUE(apply_tuning(use, &t).ok()) << use;
      EXPECT_EQ(use.find("shuffle=1"), std::string::npos) << "this device has no subgroup shuffle";
    }
  }
  EXPECT_TRUE(tuning_candidates(OpKind::kLayerNorm, caps).empty());
}

#if VIREO_VULKAN
TEST(Tuning, OnADeviceThatMultipliesHalves) {
  const Result<Device> device = Device::best_vulkan();
  if (!device) GTEST_SKIP() << device.error().message;
  if (!device->impl()->caps.shader_float16) GTEST_SKIP() << "the device has no shaderFloat16";
  // lavapipe taken for a Maxwell: the class that has linear.half, whose errors are larger than those of fp32 sums.
  auto impl = std::make_shared<Device::Impl>();
  impl->kind = DeviceKind::kVulkan;
  impl->caps = device->impl()->caps;
  impl->caps.device_class = DeviceClass::kMaxwell;
  impl->index = device->impl()->index;
  impl->instance = device->impl()->instance;
  const Result<Model> model = Model::open(std::string(VIREO_TEST_DATA) + "/cases/hf-vit");
  ASSERT_TRUE(model.ok());
  TuneOptions o;
  o.session.precision = Precision::kFp16;
  o.budget_s = 0.1;
  o.file = testing::TempDir() + "/vireo_tuning_halves.txt";
  const Result<TuneReport> report = tune(*model, Device(std::move(impl)), o);
  ASSERT_TRUE(report.ok()) << report.error().message;
  ASSERT_GE(report->steps.size(), 1u);
  EXPECT_EQ(report->file, o.file);
  std::remove(o.file.c_str());
}
#endif

}  // namespace
}  // namespace vireo
