// Vireo inside a Vulkan application: the application's device, queue and buffers; the network reads what a command
// before it on the same queue wrote, and nothing is copied by the host. Usage: example_zero_copy MODEL
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include <vireo/vulkan.hpp>

namespace {

void check(VkResult result, const char* what) {
  if (result != VK_SUCCESS) throw std::runtime_error(std::string(what) + ": VkResult " + std::to_string(result));
}
template <typename T>
T need(vireo::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

/// The application's own: an instance, the first device with a queue that computes, and that queue. A program of some
/// size has them already, and destroys them when it ends.
struct Application {
  VkInstance instance = VK_NULL_HANDLE;
  VkPhysicalDevice physical = VK_NULL_HANDLE;
  VkDevice device = VK_NULL_HANDLE;
  VkQueue queue = VK_NULL_HANDLE;
  uint32_t family = 0;

  Application() {
    VkApplicationInfo app{};
    app.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, app.apiVersion = VK_API_VERSION_1_1;
    VkInstanceCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, info.pApplicationInfo = &app;
    check(vkCreateInstance(&info, nullptr, &instance), "vkCreateInstance");
    uint32_t count = 1;
    const VkResult found = vkEnumeratePhysicalDevices(instance, &count, &physical);
    if ((found != VK_SUCCESS && found != VK_INCOMPLETE) || count == 0) throw std::runtime_error("no Vulkan device");
    uint32_t families = 0;
    vkGetPhysicalDeviceQueueFamilyProperties(physical, &families, nullptr);
    std::vector<VkQueueFamilyProperties> properties(families);
    vkGetPhysicalDeviceQueueFamilyProperties(physical, &families, properties.data());
    while (family < families && (properties[family].queueFlags & VK_QUEUE_COMPUTE_BIT) == 0) ++family;
    if (family == families) throw std::runtime_error("the device does not compute");
    const float priority = 1;
    VkDeviceQueueCreateInfo one{};
    one.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, one.queueFamilyIndex = family;
    one.queueCount = 1, one.pQueuePriorities = &priority;
    VkDeviceCreateInfo create{};
    create.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, create.queueCreateInfoCount = 1;
    create.pQueueCreateInfos = &one;
    check(vkCreateDevice(physical, &create, nullptr, &device), "vkCreateDevice");
    vkGetDeviceQueue(device, family, 0, &queue);
  }

  /// Memory that the host sees too, to look at the answer; a renderer's or a camera's would be the GPU's own.
  VkBuffer buffer(VkDeviceSize bytes, void** mapped) const {
    VkBufferCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, info.size = bytes;
    info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT;
    VkBuffer buffer = VK_NULL_HANDLE;
    check(vkCreateBuffer(device, &info, nullptr, &buffer), "vkCreateBuffer");
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(device, buffer, &needs);
    VkPhysicalDeviceMemoryProperties memory;
    vkGetPhysicalDeviceMemoryProperties(physical, &memory);
    const VkMemoryPropertyFlags wanted = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    uint32_t type = 0;
    while (type < memory.memoryTypeCount &&
           ((needs.memoryTypeBits >> type & 1) == 0 || (memory.memoryTypes[type].propertyFlags & wanted) != wanted))
      ++type;
    if (type == memory.memoryTypeCount) throw std::runtime_error("no memory that the host and a buffer share");
    VkMemoryAllocateInfo allocate{};
    allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, allocate.allocationSize = needs.size;
    allocate.memoryTypeIndex = type;
    VkDeviceMemory bytes_of = VK_NULL_HANDLE;
    check(vkAllocateMemory(device, &allocate, nullptr, &bytes_of), "vkAllocateMemory");
    check(vkBindBufferMemory(device, buffer, bytes_of, 0), "vkBindBufferMemory");
    check(vkMapMemory(device, bytes_of, 0, VK_WHOLE_SIZE, 0, mapped), "vkMapMemory");
    return buffer;
  }

  /// The application's work before the network: here a grey picture, 0.5 everywhere. Not waited for.
  void draw(VkBuffer picture, VkDeviceSize bytes) const {
    VkCommandPoolCreateInfo pool_info{};
    pool_info.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, pool_info.queueFamilyIndex = family;
    VkCommandPool pool = VK_NULL_HANDLE;
    check(vkCreateCommandPool(device, &pool_info, nullptr, &pool), "vkCreateCommandPool");
    VkCommandBufferAllocateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, info.commandPool = pool;
    info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY, info.commandBufferCount = 1;
    VkCommandBuffer commands = VK_NULL_HANDLE;
    check(vkAllocateCommandBuffers(device, &info, &commands), "vkAllocateCommandBuffers");
    VkCommandBufferBeginInfo begin{};
    begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
    check(vkBeginCommandBuffer(commands, &begin), "vkBeginCommandBuffer");
    const float grey = 0.5f;
    uint32_t word = 0;
    std::memcpy(&word, &grey, sizeof word);
    vkCmdFillBuffer(commands, picture, 0, bytes, word);
    check(vkEndCommandBuffer(commands), "vkEndCommandBuffer");
    VkSubmitInfo submit{};
    submit.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, submit.commandBufferCount = 1, submit.pCommandBuffers = &commands;
    check(vkQueueSubmit(queue, 1, &submit, VK_NULL_HANDLE), "vkQueueSubmit");
  }
};

void run(const char* path) {
  const Application app;
  const vireo::Model model = need(vireo::Model::open(path));
  const vireo::Device device =
      need(vireo::adopt_vulkan(app.instance, app.physical, app.device, app.queue, app.family, vkGetInstanceProcAddr));
  const vireo::SessionOptions options;
  const vireo::SessionBufferLayout layout = need(vireo::session_buffer_layout(model, options));
  void *picture = nullptr, *scores = nullptr;
  vireo::SessionBuffers buffers;
  buffers.input = app.buffer(layout.input_bytes, &picture);
  buffers.output = app.buffer(layout.output_bytes, &scores);
  vireo::Session session = need(vireo::create_session(model, device, options, buffers));

  app.draw(buffers.input, layout.input_bytes);
  const vireo::Ticket ticket = need(session.submit(static_cast<const float*>(nullptr), 0));
  const vireo::Output out = need(session.wait(ticket));
  const float* const row = static_cast<const float*>(scores);
  int best = 0;
  for (int c = 1; c < layout.output_cols; ++c)
    if (row[c] > row[best]) best = c;
  std::printf("%s, no copy: grey looks like '%s' (%.4f), %.1f ms\n", out.device.name, model.label(best).c_str(),
              double(row[best]), out.ms);

  // The same from the host's memory, by a session with buffers of its own.
  const std::vector<float> grey(size_t(layout.input_bytes) / sizeof(float), 0.5f);
  vireo::Session other = need(vireo::Session::create(model, device, options));
  const vireo::Output copied = need(other.run(grey.data(), grey.size()));
  for (int c = 0; c < layout.output_cols; ++c)
    if (copied.data[c] != row[c]) throw std::runtime_error("the two ways do not give the same scores");
  std::printf("the same scores as from the host's memory\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: example_zero_copy MODEL\n");
    return 2;
  }
  try {
    run(argv[1]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "example_zero_copy: %s\n", e.what());
    return 1;
  }
  return 0;
}
