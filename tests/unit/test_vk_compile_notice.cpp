// Who waits for a driver's compiler is told so, before it begins, and not again once the pipelines were compiled.
#if VIREO_VULKAN
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <stdexcept>
#include <vector>

#include <vireo/vireo.hpp>

#include "test_model_files.h"
#include "vk/pipeline_cache.h"

namespace vireo {
namespace {

class CompileNotice : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!Device::vulkan(0)) GTEST_SKIP() << "no Vulkan device: " << Device::vulkan(0).error().message;
  }

  /// What is said while a session opens on a device of its own, as in a process of its own.
  std::vector<Compilation> said(const std::string& cache_dir, int pixels = 0) {
    std::vector<Compilation> all;
    SessionOptions o;
    o.fallback = false;
    o.cache_dir = cache_dir;
    o.height = o.width = pixels;
    o.on_compile = [&](const Compilation& c) { all.push_back(c); };
    const Result<Device> device = Device::vulkan(0);
    const Result<Model> model = Model::open(std::string(VIREO_TEST_DATA) + "/cases/hf-vit");
    EXPECT_TRUE(device.ok() && model.ok());
    const Result<Session> s = Session::create(*model, *device, o);
    EXPECT_TRUE(s.ok()) << s.error().message;
    for (const Compilation& c : all) EXPECT_EQ(c.device, device->name());
    return all;
  }

  const test::TempDir dir_;
  const std::string folder_ = dir_.path();
};

TEST_F(CompileNotice, OnceForEveryPipeline) {
  const std::vector<Compilation> first = said(folder_);
  ASSERT_EQ(first.size(), 1u);
  EXPECT_GT(first[0].pipelines, 1);
  EXPECT_EQ(first[0].kept_in.compare(0, folder_.size() + 1, folder_ + "/"), 0) << first[0].kept_in;
  struct stat s {};
  EXPECT_EQ(stat(first[0].kept_in.c_str(), &s), 0) << first[0].kept_in;
  EXPECT_TRUE(said(folder_).empty()) << "they were compiled before";

  // Another size shares some of its pipelines with the first.
  const std::vector<Compilation> larger = said(folder_, 64);
  if (!larger.empty()) {
    EXPECT_LT(larger[0].pipelines, first[0].pipelines);
  }
  EXPECT_TRUE(said(folder_, 64).empty());
  EXPECT_TRUE(said(folder_).empty()) << "the first ones are still known";

  ASSERT_EQ(truncate(first[0].kept_in.c_str(), 100), 0);
  const std::vector<Compilation> again = said(folder_);
  ASSERT_EQ(again.size(), 1u) << "a damaged file remembers nothing";
  EXPECT_EQ(again[0].pipelines, first[0].pipelines);
}

TEST_F(CompileNotice, WithoutACacheEveryTime) {
  for (int i = 0; i < 2; ++i) {
    const std::vector<Compilation> all = said("-");
    ASSERT_EQ(all.size(), 1u);
    EXPECT_GT(all[0].pipelines, 1);
    EXPECT_EQ(all[0].kept_in, "");
  }
}

TEST_F(CompileNotice, WhatItThrowsIsDropped) {
  SessionOptions o;
  o.fallback = false;
  o.cache_dir = "-";
  int called = 0;
  o.on_compile = [&](const Compilation&) {
    ++called;
    throw std::runtime_error("mine");
  };
  const Result<Model> model = Model::open(std::string(VIREO_TEST_DATA) + "/cases/hf-vit");
  ASSERT_TRUE(model.ok()) << model.error().message;
  const Result<Session> s = Session::create(*model, *Device::vulkan(0), o);
  EXPECT_TRUE(s.ok()) << s.error().message;
  EXPECT_EQ(called, 1);
}

TEST(VkCompiledSet, IsKeptWithTheDriversBytes) {
  vk::CacheKey key;
  key.vendor = 7, key.device = 9;
  std::vector<uint8_t> payload(40, 0);
  const uint32_t words[4] = {32, 1, key.vendor, key.device};
  std::copy_n(reinterpret_cast<const uint8_t*>(words), sizeof words, payload.begin());
  std::string note;
  for (const vk::CompiledSet& set : {vk::CompiledSet{}, vk::CompiledSet{3}, vk::CompiledSet{1, ~uint64_t(0), 1000}}) {
    const std::vector<uint8_t> file = vk::encode_cache(key, payload, set);
    vk::CompiledSet back;
    EXPECT_EQ(vk::decode_cache(key, file, &note, &back), payload) << note;
    EXPECT_EQ(back, set);
    for (size_t n = 0; n < file.size(); ++n) {
      vk::CompiledSet none;
      const std::vector<uint8_t> cut(file.begin(), file.begin() + long(n));
      EXPECT_TRUE(vk::decode_cache(key, cut, &note, &none).empty());
      EXPECT_TRUE(none.empty()) << n << " bytes";
    }
    for (size_t bit = 0; bit < file.size() * 8; ++bit) {
      std::vector<uint8_t> bad = file;
      bad[bit / 8] ^= uint8_t(1u << (bit % 8));
      vk::CompiledSet none;
      EXPECT_TRUE(vk::decode_cache(key, bad, &note, &none).empty()) << "bit " << bit;
      EXPECT_TRUE(none.empty()) << "bit " << bit;
    }
  }
}

}  // namespace
}  // namespace vireo
#endif  // VIREO_VULKAN
