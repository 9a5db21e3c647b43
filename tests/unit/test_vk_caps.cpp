// Loader, instance and device listing: real drivers, a machine without any, and made-up ones behind a false loader.
#if VIREO_VULKAN
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "test_vk.h"
#include "vk/memory.h"

namespace vireo::vk {
namespace {

// ---- real drivers

class VkCaps : public VkTest {};

TEST_F(VkCaps, EveryDeviceIsDescribedAndSurvivesText) {
  for (const Physical& p : instance_->devices()) {
    SCOPED_TRACE(p.caps.name);
    EXPECT_EQ(p.caps.kind, DeviceKind::kVulkan);
    EXPECT_GE(p.caps.max_workgroup_invocations, 128u);
    EXPECT_GE(p.caps.max_storage_range, uint64_t(1) << 27);
    EXPECT_GE(p.caps.max_texel_elements, 65536u);
    EXPECT_GE(p.caps.subgroup_size, 1u);
    EXPECT_GE(p.max_allocation, uint64_t(1) << 30);
    const std::string text = to_text(p.caps);
    auto back = caps_from_text(text, "test");
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(to_text(*back), text);
  }
}

TEST_F(VkCaps, BestIsUsableAndOpens) {
  const int best = instance_->best();
  ASSERT_GE(best, 0);
  const auto gpu = open(uint32_t(best));
  ASSERT_TRUE(gpu);
  EXPECT_FALSE(gpu->lost());
}

TEST_F(VkCaps, UnknownDeviceNumberNamesTheDevices) {
  const auto gpu = Gpu::open(instance_, 99);
  ASSERT_FALSE(gpu);
  EXPECT_EQ(gpu.error().code, ErrorCode::kNotFound);
  EXPECT_NE(gpu.error().message.find("99"), std::string::npos);
  EXPECT_NE(gpu.error().message.find(instance_->devices()[0].caps.name), std::string::npos);
}

TEST_F(VkCaps, AdoptedDeviceKeepsOnlyEnabledFeaturesAndIsNotDestroyed) {
  for (const uint32_t index : usable_) {
    const auto owner = open(index);
    ASSERT_TRUE(owner);
    VkQueue queue = VK_NULL_HANDLE;
    owner->fn().vkGetDeviceQueue(owner->handle(), owner->queue_family(), 0, &queue);
    {
      const auto plain = Gpu::adopt(instance_->handle(), owner->physical().handle, owner->handle(), queue,
                                    owner->queue_family(), nullptr, VulkanFeatures{});
      ASSERT_TRUE(plain) << plain.error().message;
      EXPECT_FALSE((*plain)->caps().storage_16bit);
      EXPECT_FALSE((*plain)->caps().shader_float16);
      EXPECT_EQ((*plain)->caps().name, owner->caps().name);
    }
    VulkanFeatures all{true, true, true, true};
    const auto rich = Gpu::adopt(instance_->handle(), owner->physical().handle, owner->handle(), queue,
                                 owner->queue_family(), nullptr, all);
    ASSERT_TRUE(rich) << rich.error().message;
    EXPECT_EQ((*rich)->caps().storage_16bit, owner->caps().storage_16bit);
    const auto bad =
        Gpu::adopt(instance_->handle(), owner->physical().handle, owner->handle(), queue, 77, nullptr, all);
    ASSERT_FALSE(bad);
    EXPECT_EQ(bad.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(owner->fn().vkDeviceWaitIdle(owner->handle()), VK_SUCCESS);  // still alive
  }
}

TEST(VkAdopt, NullHandlesAreRefused) {
  const auto gpu = Gpu::adopt(nullptr, nullptr, nullptr, nullptr, 0, nullptr, VulkanFeatures{});
  ASSERT_FALSE(gpu);
  EXPECT_EQ(gpu.error().code, ErrorCode::kInvalidArgument);
}

// ---- machines without Vulkan: the loader reads its environment once, so these run in a process of their own

int run_again(const char* filter, const std::vector<std::string>& environment) {
  std::vector<std::string> env = environment;
  for (char** e = environ; *e; ++e)
    if (std::strncmp(*e, "GTEST_", 6) != 0 && std::strncmp(*e, "VK_", 3) != 0 &&
        std::strncmp(*e, "LD_LIBRARY_PATH=", 16) != 0)
      env.emplace_back(*e);
  env.emplace_back("VIREO_TEST_CHILD=1");
  std::vector<char*> envp;
  for (std::string& e : env) envp.push_back(&e[0]);
  envp.push_back(nullptr);
  std::string self = "/proc/self/exe", arg = std::string("--gtest_filter=") + filter;
  char* argv[] = {&self[0], &arg[0], nullptr};
  pid_t pid = 0;
  if (posix_spawn(&pid, self.c_str(), nullptr, nullptr, argv, envp.data()) != 0) return -1;
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(VkAbsent, NoDriver) {
  if (!std::getenv("VIREO_TEST_CHILD")) {
    EXPECT_EQ(run_again("VkAbsent.NoDriver", {"VK_ICD_FILENAMES=/nonexistent", "VK_DRIVER_FILES=/nonexistent"}), 0);
    return;
  }
  const auto instance = Instance::open();
  ASSERT_FALSE(instance);
  EXPECT_EQ(instance.error().code, ErrorCode::kNotFound);
  EXPECT_NE(instance.error().message.find("install"), std::string::npos) << instance.error().message;
}

TEST(VkAbsent, NoLoader) {
  if (!std::getenv("VIREO_TEST_CHILD")) {
    char dir[] = "/tmp/vireo-noloader-XXXXXX";  // files that are found first and are no libraries
    ASSERT_NE(mkdtemp(dir), nullptr);
    const std::string a = std::string(dir) + "/libvulkan.so.1", b = std::string(dir) + "/libvulkan.so";
    std::ofstream(a) << "no library";
    std::ofstream(b) << "no library";
    EXPECT_EQ(run_again("VkAbsent.NoLoader", {std::string("LD_LIBRARY_PATH=") + dir}), 0);
    unlink(a.c_str());
    unlink(b.c_str());
    rmdir(dir);
    return;
  }
  const auto instance = Instance::open();
  ASSERT_FALSE(instance);
  EXPECT_EQ(instance.error().code, ErrorCode::kNotFound);
  EXPECT_NE(instance.error().message.find("no loader"), std::string::npos) << instance.error().message;
}

// ---- made-up drivers

struct FakeDevice {
  const char* name = "fake";
  VkPhysicalDeviceType type = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
  uint32_t api = VK_API_VERSION_1_1;
  VkQueueFlags queue = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT;
  VkShaderStageFlags subgroup_stages = VK_SHADER_STAGE_COMPUTE_BIT;
  uint32_t timestamp_bits = 64;
};
struct FakeDriver {
  uint32_t version = VK_API_VERSION_1_2;
  VkResult create = VK_SUCCESS, enumerate = VK_SUCCESS;
  std::vector<FakeDevice> devices;
  int instances = 0;
} fake;

const FakeDevice& of(VkPhysicalDevice d) { return fake.devices[reinterpret_cast<uintptr_t>(d) - 1]; }

VkResult VKAPI_CALL fake_version(uint32_t* v) { return *v = fake.version, VK_SUCCESS; }
VkResult VKAPI_CALL fake_create(const VkInstanceCreateInfo*, const VkAllocationCallbacks*, VkInstance* out) {
  if (fake.create == VK_SUCCESS) *out = reinterpret_cast<VkInstance>(uintptr_t(1)), ++fake.instances;
  return fake.create;
}
void VKAPI_CALL fake_destroy(VkInstance, const VkAllocationCallbacks*) { --fake.instances; }
VkResult VKAPI_CALL fake_layers(uint32_t* n, VkLayerProperties*) { return *n = 0, VK_SUCCESS; }
VkResult VKAPI_CALL fake_extensions(const char*, uint32_t* n, VkExtensionProperties*) { return *n = 0, VK_SUCCESS; }
VkResult VKAPI_CALL fake_enumerate(VkInstance, uint32_t* n, VkPhysicalDevice* out) {
  if (fake.enumerate != VK_SUCCESS) return fake.enumerate;
  if (out)
    for (uint32_t i = 0; i < *n; ++i) out[i] = reinterpret_cast<VkPhysicalDevice>(uintptr_t(i) + 1);
  else *n = uint32_t(fake.devices.size());
  return VK_SUCCESS;
}
void VKAPI_CALL fake_properties(VkPhysicalDevice d, VkPhysicalDeviceProperties* p) {
  *p = {};
  p->apiVersion = of(d).api;
  p->deviceType = of(d).type;
  p->limits.timestampPeriod = 52.08f;
  std::snprintf(p->deviceName, sizeof p->deviceName, "%s", of(d).name);
}
void VKAPI_CALL fake_properties2(VkPhysicalDevice d, VkPhysicalDeviceProperties2* p) {
  for (auto* s = static_cast<VkBaseOutStructure*>(p->pNext); s; s = s->pNext)
    if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES) {
      auto* g = reinterpret_cast<VkPhysicalDeviceSubgroupProperties*>(s);
      g->subgroupSize = 32;
      g->supportedStages = of(d).subgroup_stages;
      g->supportedOperations = VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    }
}
void VKAPI_CALL fake_features2(VkPhysicalDevice, VkPhysicalDeviceFeatures2* f) {
  for (auto* s = static_cast<VkBaseOutStructure*>(f->pNext); s; s = s->pNext)
    if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES)
      reinterpret_cast<VkPhysicalDevice16BitStorageFeatures*>(s)->storageBuffer16BitAccess = VK_TRUE;
}
void VKAPI_CALL fake_families(VkPhysicalDevice d, uint32_t* n, VkQueueFamilyProperties* out) {
  if (out) {
    out[0] = {};
    out[0].queueFlags = of(d).queue;
    out[0].queueCount = 1;
    out[0].timestampValidBits = of(d).timestamp_bits;
  }
  *n = 1;
}
VkResult VKAPI_CALL fake_device_extensions(VkPhysicalDevice, const char*, uint32_t* n, VkExtensionProperties*) {
  return *n = 0, VK_SUCCESS;
}
void VKAPI_CALL fake_unused() {}

PFN_vkVoidFunction VKAPI_CALL fake_loader(VkInstance, const char* name) {
  const std::pair<const char*, void*> table[] = {
      {"vkEnumerateInstanceVersion", reinterpret_cast<void*>(fake_version)},
      {"vkCreateInstance", reinterpret_cast<void*>(fake_create)},
      {"vkDestroyInstance", reinterpret_cast<void*>(fake_destroy)},
      {"vkEnumerateInstanceLayerProperties", reinterpret_cast<void*>(fake_layers)},
      {"vkEnumerateInstanceExtensionProperties", reinterpret_cast<void*>(fake_extensions)},
      {"vkEnumeratePhysicalDevices", reinterpret_cast<void*>(fake_enumerate)},
      {"vkGetPhysicalDeviceProperties", reinterpret_cast<void*>(fake_properties)},
      {"vkGetPhysicalDeviceProperties2", reinterpret_cast<void*>(fake_properties2)},
      {"vkGetPhysicalDeviceFeatures2", reinterpret_cast<void*>(fake_features2)},
      {"vkGetPhysicalDeviceQueueFamilyProperties", reinterpret_cast<void*>(fake_families)},
      {"vkEnumerateDeviceExtensionProperties", reinterpret_cast<void*>(fake_device_extensions)},
      {"vkGetPhysicalDeviceMemoryProperties", reinterpret_cast<void*>(fake_unused)},
      {"vkGetDeviceProcAddr", reinterpret_cast<void*>(fake_unused)},
      {"vkCreateDevice", reinterpret_cast<void*>(fake_unused)},
  };
  for (const auto& [known, f] : table)
    if (!std::strcmp(known, name)) return reinterpret_cast<PFN_vkVoidFunction>(f);
  return nullptr;
}
PFN_vkVoidFunction VKAPI_CALL empty_loader(VkInstance, const char*) { return nullptr; }

class VkFake : public ::testing::Test {
 protected:
  void SetUp() override { fake = FakeDriver(); }
  void TearDown() override { EXPECT_EQ(fake.instances, 0) << "the instance was not destroyed"; }
  static Result<std::shared_ptr<Instance>> open(PFN_vkGetInstanceProcAddr loader = fake_loader,
                                                bool validation = false) {
    InstanceOptions options;
    options.loader = loader;
    options.validation = validation;
    return Instance::open(options);
  }
  static void expect_error(ErrorCode code, const char* part) {
    const auto instance = open();
    ASSERT_FALSE(instance);
    EXPECT_EQ(instance.error().code, code) << instance.error().message;
    EXPECT_NE(instance.error().message.find(part), std::string::npos) << instance.error().message;
  }
};

TEST_F(VkFake, LoaderWithoutFunctions) {
  const auto instance = open(empty_loader);
  ASSERT_FALSE(instance);
  EXPECT_EQ(instance.error().code, ErrorCode::kUnsupported);
}

TEST_F(VkFake, LoaderTooOld) {
  fake.version = VK_API_VERSION_1_0;
  expect_error(ErrorCode::kUnsupported, "1.1");
}

TEST_F(VkFake, NoDriver) {
  fake.create = VK_ERROR_INCOMPATIBLE_DRIVER;
  expect_error(ErrorCode::kNotFound, "no driver");
}

TEST_F(VkFake, InstanceFails) {
  fake.create = VK_ERROR_OUT_OF_HOST_MEMORY;
  expect_error(ErrorCode::kOutOfMemory, "VK_ERROR_OUT_OF_HOST_MEMORY");
}

TEST_F(VkFake, NoDevice) { expect_error(ErrorCode::kNotFound, "no device"); }

TEST_F(VkFake, ListingFails) {
  fake.enumerate = VK_ERROR_INITIALIZATION_FAILED;
  expect_error(ErrorCode::kNotFound, "VK_ERROR_INITIALIZATION_FAILED");
}

TEST_F(VkFake, ValidationLayerAbsent) {
  const auto instance = open(fake_loader, true);
  ASSERT_FALSE(instance);
  EXPECT_EQ(instance.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(instance.error().message.find("vulkan-validationlayers"), std::string::npos);
}

TEST_F(VkFake, UnusableDevicesAreListedWithTheReason) {
  FakeDevice old, no_compute, good;
  old.api = VK_API_VERSION_1_0;
  no_compute.queue = VK_QUEUE_TRANSFER_BIT;
  good.name = " odd # name\n";
  good.subgroup_stages = VK_SHADER_STAGE_FRAGMENT_BIT;
  good.timestamp_bits = 0;
  fake.devices = {old, no_compute, good};
  const auto instance = open();
  ASSERT_TRUE(instance) << instance.error().message;
  const auto& d = (*instance)->devices();
  ASSERT_EQ(d.size(), 3u);
  EXPECT_NE(d[0].unusable.find("1.0"), std::string::npos);
  EXPECT_NE(d[1].unusable.find("compute"), std::string::npos);
  EXPECT_EQ(d[2].unusable, "");
  EXPECT_EQ((*instance)->best(), 2);
  EXPECT_EQ(d[2].caps.name, "odd   name");
  EXPECT_FALSE(d[2].caps.subgroup_shuffle) << "subgroup operations count only in the compute stage";
  EXPECT_FALSE(d[2].caps.timestamps);
  EXPECT_TRUE(d[2].caps.storage_16bit);
  EXPECT_TRUE(d[2].caps.integrated);
  const auto gpu = Gpu::open(*instance, 0);
  ASSERT_FALSE(gpu);
  EXPECT_EQ(gpu.error().code, ErrorCode::kUnsupported);
}

TEST_F(VkFake, BestPrefersDiscreteThenIntegratedThenVirtual) {
  FakeDevice cpu, virt, integrated, discrete;
  cpu.type = VK_PHYSICAL_DEVICE_TYPE_CPU;
  virt.type = VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU;
  discrete.type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
  const auto best_of = [](std::vector<FakeDevice> devices) {
    fake.devices = std::move(devices);
    const auto instance = open();
    return instance ? (*instance)->best() : -2;
  };
  EXPECT_EQ(best_of({cpu, virt, integrated, discrete, discrete}), 3);
  EXPECT_EQ(best_of({cpu, virt, integrated}), 2);
  EXPECT_EQ(best_of({cpu, virt}), 1);
  EXPECT_EQ(best_of({cpu}), 0);
}

// ---- memory types of machines not at hand

VkPhysicalDeviceMemoryProperties types(const std::vector<VkMemoryPropertyFlags>& flags) {
  VkPhysicalDeviceMemoryProperties m{};
  m.memoryTypeCount = uint32_t(flags.size());
  for (size_t i = 0; i < flags.size(); ++i) m.memoryTypes[i].propertyFlags = flags[i];
  m.memoryHeapCount = 1;
  return m;
}
constexpr VkMemoryPropertyFlags L = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
constexpr VkMemoryPropertyFlags V = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
constexpr VkMemoryPropertyFlags C = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
using Types = std::vector<uint32_t>;

TEST(VkMemory, OneTypeIsAllThereIs) {
  const auto m = types({L | V | C});  // lavapipe, SwiftShader
  EXPECT_EQ(rank_memory_types(m, 1, MemoryUse::kDevice, true), Types{0});
  EXPECT_EQ(rank_memory_types(m, 1, MemoryUse::kHostAccess, true), Types{0});
  const auto tegra = types({L, L | V});
  EXPECT_EQ(rank_memory_types(tegra, 3, MemoryUse::kDevice, true), (Types{1, 0}));
  EXPECT_EQ(rank_memory_types(tegra, 3, MemoryUse::kHostAccess, true), Types{1});
  EXPECT_EQ(rank_memory_types(tegra, 1, MemoryUse::kHostAccess, true), Types{});
}

TEST(VkMemory, DiscreteKeepsWeightsOutOfTheVisibleWindow) {
  const auto m = types({0, L, V, V | C, L | V, L | VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT, L | V | (1u << 6)});
  EXPECT_EQ(rank_memory_types(m, ~0u, MemoryUse::kDevice, false), (Types{1, 4}));
  EXPECT_EQ(rank_memory_types(m, ~0u, MemoryUse::kHostAccess, false), (Types{3, 2, 4}));
}

TEST(VkMemory, IntegratedPrefersVisibleWeightsAndCachedStaging) {
  const auto m = types({L, L | V, L | V | C});
  EXPECT_EQ(rank_memory_types(m, ~0u, MemoryUse::kDevice, true), (Types{1, 2, 0}));
  EXPECT_EQ(rank_memory_types(m, ~0u, MemoryUse::kHostAccess, true), (Types{2, 1}));
}

}  // namespace
}  // namespace vireo::vk
#endif  // VIREO_VULKAN
