#include "vk/status.h"

namespace vireo::vk {

std::string to_string(VkResult r) {
  switch (r) {
#define VIREO_VK_CASE(name) \
  case name: return #name;
    VIREO_VK_CASE(VK_SUCCESS)
    VIREO_VK_CASE(VK_NOT_READY)
    VIREO_VK_CASE(VK_TIMEOUT)
    VIREO_VK_CASE(VK_INCOMPLETE)
    VIREO_VK_CASE(VK_ERROR_OUT_OF_HOST_MEMORY)
    VIREO_VK_CASE(VK_ERROR_OUT_OF_DEVICE_MEMORY)
    VIREO_VK_CASE(VK_ERROR_INITIALIZATION_FAILED)
    VIREO_VK_CASE(VK_ERROR_DEVICE_LOST)
    VIREO_VK_CASE(VK_ERROR_MEMORY_MAP_FAILED)
    VIREO_VK_CASE(VK_ERROR_LAYER_NOT_PRESENT)
    VIREO_VK_CASE(VK_ERROR_EXTENSION_NOT_PRESENT)
    VIREO_VK_CASE(VK_ERROR_FEATURE_NOT_PRESENT)
    VIREO_VK_CASE(VK_ERROR_INCOMPATIBLE_DRIVER)
    VIREO_VK_CASE(VK_ERROR_TOO_MANY_OBJECTS)
    VIREO_VK_CASE(VK_ERROR_FORMAT_NOT_SUPPORTED)
    VIREO_VK_CASE(VK_ERROR_FRAGMENTED_POOL)
    VIREO_VK_CASE(VK_ERROR_UNKNOWN)
    VIREO_VK_CASE(VK_ERROR_OUT_OF_POOL_MEMORY)
    VIREO_VK_CASE(VK_ERROR_FRAGMENTATION)
    VIREO_VK_CASE(VK_ERROR_INVALID_SHADER_NV)
#undef VIREO_VK_CASE
    default: return fmt::format("VkResult {}", int(r));
  }
}

ErrorCode code_of(VkResult r) {
  switch (r) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_OUT_OF_POOL_MEMORY:
    case VK_ERROR_FRAGMENTED_POOL:
    case VK_ERROR_FRAGMENTATION:
    case VK_ERROR_TOO_MANY_OBJECTS:
    case VK_ERROR_MEMORY_MAP_FAILED: return ErrorCode::kOutOfMemory;
    case VK_ERROR_DEVICE_LOST:
    case VK_TIMEOUT: return ErrorCode::kDeviceLost;
    case VK_ERROR_INITIALIZATION_FAILED:
    case VK_ERROR_INCOMPATIBLE_DRIVER:
    case VK_ERROR_LAYER_NOT_PRESENT:
    case VK_ERROR_EXTENSION_NOT_PRESENT:
    case VK_ERROR_FEATURE_NOT_PRESENT:
    case VK_ERROR_FORMAT_NOT_SUPPORTED:
    case VK_ERROR_INVALID_SHADER_NV: return ErrorCode::kUnsupported;
    default: return ErrorCode::kUnsupported;  // whatever it was, the CPU can take over
  }
}

std::string human_bytes(uint64_t bytes) {
  if (bytes >= (1ull << 30)) return fmt::format("{:.2f} GiB", double(bytes) / double(1ull << 30));
  if (bytes >= (1ull << 20)) return fmt::format("{:.1f} MiB", double(bytes) / double(1ull << 20));
  return fmt::format("{} bytes", bytes);
}

}  // namespace vireo::vk
