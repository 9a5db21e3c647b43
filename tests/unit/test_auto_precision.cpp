// Precision::kAuto: the fastest precision by what is predicted or measured, and right by what the device answers.
#include <gtest/gtest.h>

#include <algorithm>

#include <vireo/vireo.h>
#include <vireo/predict.hpp>
#include <vireo/profile.hpp>
#include <vireo/vireo.hpp>

#include "support/patch.h"
#include "test_model_files.h"

namespace vireo {
namespace {

const std::string kVit = std::string(VIREO_TEST_DATA) + "/cases/hf-vit";

Model open_at(const std::string& path) {
  Result<Model> m = Model::open(path);
  EXPECT_TRUE(m.ok()) << m.error().message;
  return *m;
}

std::vector<float> ramp(const Session& s, const Model& m) {
  std::vector<float> x(size_t(s.batch()) * size_t(m.channels()) * size_t(s.input_height()) * size_t(s.input_width()));
  for (size_t i = 0; i < x.size(); ++i) x[i] = float(int(i % 41) - 20) / 20;
  return x;
}

std::vector<Device> devices() {
  std::vector<Device> all{Device::cpu()};
  if (Result<Device> gpu = Device::vulkan(0)) all.push_back(*gpu);
  return all;
}

TEST(AutoPrecision, OfADescribedDeviceIsThePredictedFastest) {
  for (const char* name : {"vit-ti"})
    for (const char* machine : {"jetson-nano", "lavapipe"}) {
      const Result<Model> model = Model::random(std::string(VIREO_SOURCE_DIR) + "/models/configs/" + name + ".json", 1);
      ASSERT_TRUE(model.ok());
      PredictOptions o;
      o.machine = machine;
      const std::string caps = *machine_caps(machine);
      std::string fastest;
      double least = 0;
      for (const Precision p : {Precision::kFp32, Precision::kFp16, Precision::kInt8}) {
        o.session.precision = p;
        const Result<Prediction> made = predict(*model, caps, o);
        ASSERT_TRUE(made.ok()) << made.error().message;
        if (fastest.empty() || made->us < least) fastest = to_string(p), least = made->us;
      }
      o.session.precision = Precision::kAuto;
      const Result<Prediction> chosen = predict(*model, caps, o);
      ASSERT_TRUE(chosen.ok()) << chosen.error().message;
      EXPECT_EQ(chosen->precision, fastest) << name << " on " << machine;
      EXPECT_EQ(chosen->us, least) << name << " on " << machine;
      const Result<std::string> plan = plan_text(*model, caps, o.session, false);
      ASSERT_TRUE(plan.ok()) << plan.error().message;
      EXPECT_NE(plan->find("\nnote: precision auto is " + fastest + ", predicted: " + fastest), std::string::npos)
          << plan->substr(plan->size() - 300);
    }
}

TEST(AutoPrecision, WithoutADescriptionAPlanSaysWhatItNeeds) {
  const Model model = open_at(kVit);
  SessionOptions o;
  o.precision = Precision::kAuto;
  const Result<std::string> plan = plan_text(model, Device::cpu(1).caps_text(), o, false);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().message.find("precision auto needs the times of fp32, fp16 and int8 on the device"),
            std::string::npos)
      << plan.error().message;
}

TEST(AutoPrecision, ASessionSaysWhichAndWhyAndAnswersAsThatPrecisionDoes) {
  const Model model = open_at(kVit);
  for (const Device& device : devices()) {
    SessionOptions o;
    o.precision = Precision::kAuto;
    int told = 0;
    o.on_inference = [&told](const Inference&) { ++told; };
    Result<Session> s = Session::create(model, device, o);
    ASSERT_TRUE(s.ok()) << s.error().message;
    EXPECT_EQ(told, 0) << "the test picture is nobody's inference";
    EXPECT_EQ(s->latency().count, 0u);
    const Precision p = s->precision();
    EXPECT_TRUE(p == Precision::kFp32 || p == Precision::kFp16 || p == Precision::kInt8) << to_string(p);
    const std::string& why = s->precision_reason();
    EXPECT_EQ(why.find("auto: "), 0u) << why;
    for (const char* each : {"fp32 ", "fp16 ", "int8 "}) EXPECT_NE(why.find(each), std::string::npos) << why;
    const std::vector<float> x = ramp(*s, model);
    const Result<Output> out = s->run(x.data(), x.size());
    ASSERT_TRUE(out.ok()) << out.error().message;
    EXPECT_EQ(out->precision, p);
    EXPECT_EQ(told, 1);
    EXPECT_EQ(s->latency().count, 1u);
    o.precision = p;
    Result<Session> named = Session::create(model, device, o);
    ASSERT_TRUE(named.ok());
    EXPECT_TRUE(named->precision_reason().empty());
    EXPECT_EQ(named->precision(), p);
    const Result<Output> same = named->run(x.data(), x.size());
    ASSERT_TRUE(same.ok());
    EXPECT_TRUE(std::equal(out->data, out->data + 10, same->data)) << device.name() << " " << to_string(p);
  }
}

/// What overflows in fp16 is not taken, however fast: the other precisions' answers are looked at too.
TEST(AutoPrecision, WhatIsWrongIsLeftOut) {
  const Result<Device> gpu = Device::vulkan(0);
  if (!gpu) GTEST_SKIP() << gpu.error().message;
  test::TempDir dir;
  test::patch_model(kVit, dir.path(), {{"vit.encoder.layer.1.output.dense.bias", 7, 70000.f}});
  const Model model = open_at(dir.path());
  SessionOptions o;
  o.precision = Precision::kAuto;
  Result<Session> s = Session::create(model, *gpu, o);
  ASSERT_TRUE(s.ok()) << s.error().message;
  EXPECT_NE(s->precision(), Precision::kFp16) << s->precision_reason();
  const std::vector<float> x = ramp(*s, model);
  const Result<Output> out = s->run(x.data(), x.size());
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(std::string(out->device.reason).find("recomputed"), std::string::npos) << out->device.reason;
}

TEST(AutoPrecision, TuningTakesANamedOne) {
  const Result<Device> gpu = Device::vulkan(0);
  if (!gpu) GTEST_SKIP() << gpu.error().message;
  TuneOptions o;
  o.session.precision = Precision::kAuto;
  const Result<TuneReport> report = tune(open_at(kVit), *gpu, o);
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.error().message.find("tune fp32, fp16 and int8"), std::string::npos) << report.error().message;
}

TEST(AutoPrecision, OfTheCAbi) {
  vireo_options options;
  vireo_options_init(&options);
  options.precision = VIREO_AUTO;
  options.device = "cpu";
  vireo_session* session = nullptr;
  vireo_error error;
  ASSERT_EQ(vireo_open(kVit.c_str(), &options, &session, &error), VIREO_OK) << error.message;
  vireo_close(session);
  options.precision = vireo_precision(VIREO_AUTO + 1);
  EXPECT_NE(vireo_open(kVit.c_str(), &options, &session, &error), VIREO_OK);
}

}  // namespace
}  // namespace vireo
