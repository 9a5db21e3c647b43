// include/vireo/vulkan.hpp from the outside: a whole model on an application's VkDevice, reading the application's
// VkBuffer and leaving the scores in another.
#include <cmath>
#include <cstring>

#include "test_vk.h"
#include "vk/memory.h"

#include <vireo/capture.hpp>
#include <vireo/vulkan.hpp>

namespace vireo::vk {
namespace {

class VkAdoption : public VkTest {
 protected:
  VkQueue queue_of(const Gpu& owner) {
    VkQueue queue = VK_NULL_HANDLE;
    owner.fn().vkGetDeviceQueue(owner.handle(), owner.queue_family(), 0, &queue);
    return queue;
  }
};

TEST_F(VkAdoption, ModelOnApplicationBuffers) {
  const Result<Model> model = Model::open(std::string(VIREO_TEST_DATA) + "/cases/hf-vit");
  ASSERT_TRUE(model.ok()) << model.error().message;
  Result<Session> plain = Session::create(*model, Device::cpu());
  ASSERT_TRUE(plain.ok());
  for (const uint32_t index : usable_) {
    const auto owner = open(index);
    const Result<Device> device = adopt_vulkan(instance_->handle(), owner->physical().handle, owner->handle(),
                                               queue_of(*owner), owner->queue_family(), nullptr);
    ASSERT_TRUE(device.ok()) << device.error().message;
    SessionOptions options;
    options.cache_dir = "-";
    const Result<SessionBufferLayout> layout = session_buffer_layout(*model, options);
    ASSERT_TRUE(layout.ok());
    EXPECT_EQ(layout->output_cols, 10);
    EXPECT_EQ(layout->output_stride, 12);
    constexpr VkBufferUsageFlags usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT;
    auto in = Buffer::create(*owner, {"picture", layout->input_bytes + 256, usage, MemoryUse::kHostAccess});
    auto out = Buffer::create(*owner, {"scores", layout->output_bytes, usage, MemoryUse::kHostAccess});
    ASSERT_TRUE(in && out);
    SessionBuffers buffers;
    buffers.input = in->handle();
    buffers.input_offset = 256;
    buffers.output = out->handle();
    Result<Session> session = create_session(*model, *device, options, buffers);
    ASSERT_TRUE(session.ok()) << session.error().message;
    const float pixel = 0;
    const Result<CaptureReport> captured = capture(*session, &pixel, 1, ::testing::TempDir() + "/none");
    ASSERT_FALSE(captured.ok());
    EXPECT_NE(captured.error().message.find("on the application's own buffers"), std::string::npos)
        << captured.error().message;
    for (float phase : {0.f, 1.f}) {
      std::vector<float> x(size_t(layout->input_bytes / 4));
      for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(0.01f * float(i) + phase);
      std::memcpy(in->mapped() + 256, x.data(), x.size() * 4);
      Result<Ticket> ticket = session->submit(nullptr, 0);
      ASSERT_TRUE(ticket.ok()) << ticket.error().message;
      Result<Output> done = session->wait(*ticket);
      ASSERT_TRUE(done.ok()) << done.error().message;
      EXPECT_EQ(done->data, nullptr) << "the scores are in the application's buffer";
      Result<Output> expected = plain->run(x.data(), x.size());
      ASSERT_TRUE(expected.ok());
      const float* scores = reinterpret_cast<const float*>(out->mapped());
      for (int c = 0; c < 10; ++c) EXPECT_NEAR(scores[c], expected->data[c], 1e-4) << c;
      EXPECT_EQ(scores[10], 0.f);
      EXPECT_EQ(scores[11], 0.f);
    }
  }
}

TEST_F(VkAdoption, BadCallsAreNamed) {
  const Result<Model> model = Model::open(std::string(VIREO_TEST_DATA) + "/cases/hf-vit");
  ASSERT_TRUE(model.ok());
  const Result<Session> on_cpu = create_session(*model, Device::cpu(), {}, {});
  ASSERT_FALSE(on_cpu.ok());
  EXPECT_NE(on_cpu.error().message.find("the device is the CPU"), std::string::npos);
  EXPECT_FALSE(adopt_vulkan(nullptr, nullptr, nullptr, nullptr, 0, nullptr).ok());
}

}  // namespace
}  // namespace vireo::vk
