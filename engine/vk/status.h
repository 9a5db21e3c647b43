// VkResult to words and to ErrorCode.
#pragma once

#include <string>

#include "base/error.h"
#include "vk/loader.h"

namespace vireo::vk {

/// "VK_ERROR_DEVICE_LOST"; the number for a code this build does not know.
std::string to_string(VkResult r);
/// The kind of failure a driver's answer is.
ErrorCode code_of(VkResult r);
/// "1.5 GiB", "12.0 MiB" or "512 bytes".
std::string human_bytes(uint64_t bytes);

/// An Error that begins with a formatted sentence and ends with the driver's answer.
template <typename... Args>
[[nodiscard]] Error fail_vk(VkResult r, fmt::format_string<Args...> text, Args&&... args) {
  return Error{code_of(r),
               fmt::format("{}: the driver answered {}", fmt::format(text, std::forward<Args>(args)...), to_string(r))};
}

}  // namespace vireo::vk
