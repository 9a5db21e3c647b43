// DeviceCaps: a snapshot of what a device can do, as data. Text in, text out; no driver needed to plan for a device.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string>

#include "base/error.h"

namespace vireo {

enum class DeviceKind : uint8_t { kCpu, kVulkan };

/// Devices that share default kernels and constants (ops/tuning.h).
enum class DeviceClass : uint8_t { kMaxwell, kNvidia, kAmd, kIntel, kMali, kAdreno, kV3d, kSoftware, kOther };

/// Bytes of the caches of a CPU's cores, and how many cores share one; 0 bytes: not known, or there is none.
struct CpuCaches {
  uint64_t l1_bytes = 0;  // of data, each core's own
  uint64_t l2_bytes = 0, l3_bytes = 0;
  uint32_t l2_cores = 1, l3_cores = 1;
};

const char* to_string(DeviceKind k);
const char* to_string(DeviceClass c);

/// Limits and features of one device. Names follow VkPhysicalDeviceLimits and the feature structures. Defaults are the
/// least that Vulkan 1.1 guarantees.
struct DeviceCaps {
  std::string name = "unknown";
  DeviceKind kind = DeviceKind::kVulkan;
  DeviceClass device_class = DeviceClass::kOther;
  uint32_t vendor_id = 0;
  uint32_t device_id = 0;
  uint32_t driver_version = 0;
  uint32_t api_version = (1u << 22) | (1u << 12);  // VK_MAKE_VERSION(1, 1, 0)
  std::string driver;                              // driver's own name and version text, may be empty
  bool integrated = false;                         // host and device share memory

  uint32_t max_workgroup_invocations = 128;
  std::array<uint32_t, 3> max_workgroup_size{128, 128, 64};
  std::array<uint32_t, 3> max_workgroup_count{65535, 65535, 65535};
  uint32_t max_shared_bytes = 16384;
  uint32_t max_push_constant_bytes = 128;
  uint64_t max_storage_range = 1ull << 27;  // bytes
  uint64_t max_texel_elements = 65536;      // texels in one view
  uint32_t storage_alignment = 256;         // bytes
  uint32_t texel_alignment = 256;           // bytes
  uint32_t max_stage_storage_buffers = 4;
  uint32_t max_stage_sampled = 16;  // uniform texel buffers count as sampled images
  uint32_t subgroup_size = 1;
  bool subgroup_basic = false, subgroup_vote = false, subgroup_ballot = false, subgroup_shuffle = false,
       subgroup_arithmetic = false;  // in the compute stage
  bool shader_float16 = false, storage_16bit = false, shader_int8 = false, storage_8bit = false;
  bool shader_clock = false;      // VK_KHR_shader_clock, of a subgroup
  bool integer_dot = false;       // VK_KHR_shader_integer_dot_product: four pairs of bytes in words, signed
  bool integer_dot_fast = false;  // and the device reports it accelerated
  bool timestamps = false;
  float timestamp_period_ns = 0.f;

  std::string simd;      // CPU: the SIMD target's name
  uint32_t threads = 1;  // CPU: worker threads
  CpuCaches caches;      // CPU: sizes of its steps' groups follow (simd/blocking.h)
};

/// One "key: value" line per field, stable order, fit for engine/profile/caps/*.txt.
std::string to_text(const DeviceCaps& caps);
/// Parses to_text's format; '#' starts a comment, absent keys keep their defaults. `source` names the file in errors;
/// `keys` takes what was there.
Result<DeviceCaps> caps_from_text(const std::string& text, const std::string& source,
                                  std::set<std::string>* keys = nullptr);
/// The class from vendor, device and name.
DeviceClass classify_device(const DeviceCaps& caps);

}  // namespace vireo
