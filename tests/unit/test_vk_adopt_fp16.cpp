// fp16 beyond its range on an application's buffers: recomputed from the application's input; an output of the
// application's is not looked at.
#include <cmath>
#include <cstring>

#include "base/finite.h"
#include "support/patch.h"
#include "test_model_files.h"
#include "test_vk.h"
#include "vk/memory.h"

#include <vireo/vulkan.hpp>

namespace vireo::vk {
namespace {

class VkAdoptionFp16 : public VkTest {};

TEST_F(VkAdoptionFp16, TheInputIsReadAgainAndTheOutputIsNot) {
  test::TempDir dir;
  test::patch_model(std::string(VIREO_TEST_DATA) + "/cases/hf-vit", dir.path(),
                    {{"vit.encoder.layer.1.output.dense.bias", 7, 70000.f}});
  const Result<Model> model = Model::open(dir.path());
  ASSERT_TRUE(model.ok()) << model.error().message;
  Result<Session> plain = Session::create(*model, Device::cpu());
  ASSERT_TRUE(plain.ok());
  for (const uint32_t index : usable_) {
    const auto owner = open(index);
    VkQueue queue = VK_NULL_HANDLE;
    owner->fn().vkGetDeviceQueue(owner->handle(), owner->queue_family(), 0, &queue);
    const Result<Device> device = adopt_vulkan(instance_->handle(), owner->physical().handle, owner->handle(), queue,
                                               owner->queue_family(), nullptr);
    ASSERT_TRUE(device.ok()) << device.error().message;
    SessionOptions options;
    options.cache_dir = "-";
    options.precision = Precision::kFp16;
    const Result<SessionBufferLayout> layout = session_buffer_layout(*model, options);
    ASSERT_TRUE(layout.ok());
    constexpr VkBufferUsageFlags usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT;
    auto in = Buffer::create(*owner, {"picture", layout->input_bytes + 256, usage, MemoryUse::kHostAccess});
    auto out = Buffer::create(*owner, {"scores", layout->output_bytes, usage, MemoryUse::kHostAccess});
    ASSERT_TRUE(in && out);
    SessionBuffers buffers;
    buffers.input = in->handle();
    buffers.input_offset = 256;
    Result<Session> session = create_session(*model, *device, options, buffers);
    ASSERT_TRUE(session.ok()) << session.error().message;
    std::vector<float> x(size_t(layout->input_bytes / 4));
    for (int i = 0; i < 5; ++i) {  // the last two are of fp32 from the beginning
      for (size_t j = 0; j < x.size(); ++j) x[j] = std::sin(0.01f * float(j) + float(i));
      std::memcpy(in->mapped() + 256, x.data(), x.size() * 4);
      Result<Output> got = session->run(nullptr, 0);
      ASSERT_TRUE(got.ok()) << got.error().message;
      EXPECT_EQ(got->precision, Precision::kFp32);
      Result<Output> expected = plain->run(x.data(), x.size());
      ASSERT_TRUE(expected.ok());
      for (int c = 0; c < 10; ++c) EXPECT_NEAR(got->data[c], expected->data[c], 1e-3) << i << " " << c;
    }
    for (size_t j = 0; j < x.size(); ++j) x[j] = NAN;
    std::memcpy(in->mapped() + 256, x.data(), x.size() * 4);
    Result<Output> none = session->run(nullptr, 0);
    ASSERT_FALSE(none.ok());
    EXPECT_NE(none.error().message.find("the input lies in the application's buffer, which was not looked at"),
              std::string::npos)
        << none.error().message;

    buffers.output = out->handle();
    Result<Session> blind = create_session(*model, *device, options, buffers);
    ASSERT_TRUE(blind.ok()) << blind.error().message;
    Result<Output> got = blind->run(nullptr, 0);
    ASSERT_TRUE(got.ok()) << got.error().message;
    EXPECT_EQ(got->data, nullptr);
    EXPECT_EQ(got->precision, Precision::kFp16);
  }
}

}  // namespace
}  // namespace vireo::vk
