// Runs the cases of test_c_api.c, which is compiled as C99, and checks that the C++ and C answers agree.
#include "test_c_api.h"

#include <gtest/gtest.h>
#include <vireo/vireo.h>

#include <cstdio>
#include <vector>
#include <vireo/vireo.hpp>

namespace {

// Small and always in the tree.
const std::string kModelPath = std::string(VIREO_TEST_DATA) + "/torchvision/even";
const char* const kModel = kModelPath.c_str();

void expect_ok(const char* problem) { EXPECT_EQ(problem, nullptr) << (problem ? problem : ""); }

TEST(CApi, Version) { expect_ok(c_api_version()); }
TEST(CApi, Defaults) { expect_ok(c_api_defaults()); }
TEST(CApi, NullArguments) { expect_ok(c_api_null_arguments()); }
TEST(CApi, BadOptions) { expect_ok(c_api_bad_options(kModel)); }
TEST(CApi, MissingModel) { expect_ok(c_api_missing_model()); }
TEST(CApi, Latency) { expect_ok(c_api_latency(kModel)); }
TEST(CApi, TwoInFlight) { expect_ok(c_api_in_flight(kModel)); }
TEST(CApi, Governor) { expect_ok(c_api_governor()); }
TEST(CApi, SharedWeights) {
  expect_ok(c_api_shared_weights(kModel, "cpu"));
  // A GPU that shares the host's memory, as lavapipe does.
  if (vireo::Device::best_vulkan()) expect_ok(c_api_shared_weights(kModel, "vulkan"));
}
TEST(CApi, Devices) { expect_ok(c_api_devices()); }
TEST(CApi, ProfileJson) { expect_ok(c_api_profile(kModel)); }
TEST(CApi, Classify) { expect_ok(c_api_classify(kModel)); }

TEST(CApi, WhatACallbackThrowsDoesNotPass) {
  vireo_options options;
  vireo_options_init(&options);
  options.device = "cpu";
  options.on_inference = [](const vireo_inference*, void*) { throw 5; };  // a C++ program behind the C ABI
  vireo_error error;
  vireo_session* session = nullptr;
  ASSERT_EQ(vireo_open(kModel, &options, &session, &error), VIREO_OK) << error.message;
  const std::vector<uint8_t> rgb(28 * 28 * 3, 50);
  vireo_output out;
  EXPECT_EQ(vireo_run_rgb(session, rgb.data(), 28, 28, 0, &out, &error), VIREO_OK) << error.message;
  vireo_close(session);
}

TEST(CApi, LongMessagesAreCutAtACharacter) {
  // A name of two-byte characters, longer than a message can be.
  std::string name;
  for (int i = 0; i < 2000; ++i) name += "\xC3\xA4";
  vireo_error error;
  vireo_session* session = nullptr;
  ASSERT_NE(vireo_open(name.c_str(), nullptr, &session, &error), VIREO_OK);
  const std::string text = error.message;
  ASSERT_LT(text.size(), sizeof error.message);
  size_t leads = 0, tails = 0;
  for (const char c : text) {
    const unsigned char u = static_cast<unsigned char>(c);
    if (u == 0xC3) ++leads;
    if (u == 0xA4) ++tails;
  }
  EXPECT_EQ(leads, tails);
}

TEST(CApi, AgreesWithCpp) {
  auto model = vireo::Model::open(kModel);
  ASSERT_TRUE(model) << model.error().message;
  auto session = vireo::Session::create(*model, vireo::Device::cpu());
  ASSERT_TRUE(session) << session.error().message;
  const size_t count = size_t(model->channels()) * size_t(model->input_height()) * size_t(model->input_width());
  std::vector<float> pixels(count);
  for (size_t i = 0; i < count; ++i) pixels[i] = float(int(i * 37 % 101) - 50) / 50.f;
  auto expected = session->run(pixels.data(), count);
  ASSERT_TRUE(expected) << expected.error().message;

  vireo_options options;
  vireo_options_init(&options);
  options.device = "cpu";
  vireo_error error;
  vireo_session* handle = nullptr;
  ASSERT_EQ(vireo_open(kModel, &options, &handle, &error), VIREO_OK) << error.message;
  vireo_output out;
  ASSERT_EQ(vireo_run_pixels(handle, pixels.data(), count, &out, &error), VIREO_OK) << error.message;
  ASSERT_EQ(out.cols, expected->cols);
  for (int i = 0; i < out.cols; ++i) EXPECT_EQ(out.data[i], expected->data[i]) << i;
  vireo_score top[2];
  ASSERT_EQ(vireo_top_k(&out, 0, 2, top), 2);
  EXPECT_EQ(top[0].index, vireo::top_k(*expected, 2)[0].index);
  vireo_close(handle);
}

// Rows of codes, which fp32 does not have: both interfaces take by default what the checkpoint says.
TEST(CApi, CodesAreTakenAsStored) {
  const std::string path = std::string(VIREO_TEST_DATA) + "/cases/ct-swin-w4g16-a8";
  const auto model = vireo::Model::open(path);
  ASSERT_TRUE(model) << model.error().message;
  const size_t count = size_t(model->channels()) * size_t(model->input_height()) * size_t(model->input_width());
  std::vector<float> pixels(count);
  for (size_t i = 0; i < count; ++i) pixels[i] = float(int(i * 37 % 101) - 50) / 50.f;
  const auto answer = [&](const vireo::SessionOptions& options) {
    auto session = vireo::Session::create(*model, vireo::Device::cpu(), options);
    EXPECT_TRUE(session) << session.error().message;
    auto out = session->run(pixels.data(), count);
    EXPECT_TRUE(out) << out.error().message;
    return std::vector<float>(out->data, out->data + out->cols);
  };
  vireo::SessionOptions floats;
  floats.precision = vireo::Precision::kFp32;
  const std::vector<float> stored = answer({});
  ASSERT_NE(stored, answer(floats));

  vireo_options options;
  vireo_options_init(&options);
  options.device = "cpu";
  vireo_error error;
  vireo_session* handle = nullptr;
  ASSERT_EQ(vireo_open(path.c_str(), &options, &handle, &error), VIREO_OK) << error.message;
  vireo_output out;
  ASSERT_EQ(vireo_run_pixels(handle, pixels.data(), count, &out, &error), VIREO_OK) << error.message;
  EXPECT_EQ(std::vector<float>(out.data, out.data + out.cols), stored);
  vireo_close(handle);
}

}  // namespace
