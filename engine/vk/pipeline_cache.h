// The pipeline cache on disk: one file per device and driver, with a header of ours that says whether it may be used.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace vireo::vk {

/// Everything that must be equal for a driver's cache to be handed back to it.
struct CacheKey {
  uint32_t vendor = 0, device = 0, driver_version = 0;
  std::array<uint8_t, 16> uuid{};  // VkPhysicalDeviceProperties::pipelineCacheUUID
  uint64_t shader_hash =
      0;  // of all SPIR-V in this build; not part of the file's name, so an upgrade replaces the file
};

/// "pipelines-10de-92ba03d7-801c000-<uuid>.bin"
std::string cache_file_name(const CacheKey& key);

/// Hashes of the pipelines that were compiled with a cache: which ones a driver's bytes hold only the driver can tell,
/// and some drivers keep theirs elsewhere.
using CompiledSet = std::set<uint64_t>;

/// The file's bytes for a driver's cache.
std::vector<uint8_t> encode_cache(const CacheKey& key, const std::vector<uint8_t>& payload,
                                  const CompiledSet& compiled = {});
/// The driver's cache out of the file's bytes; empty with the reason in `*note` when it must not be used.
std::vector<uint8_t> decode_cache(const CacheKey& key, const std::vector<uint8_t>& file, std::string* note,
                                  CompiledSet* compiled = nullptr);

/// Reads `dir`/cache_file_name(). A missing file is empty without a note, an unusable one empty with it.
std::vector<uint8_t> load_cache(const std::string& dir, const CacheKey& key, std::string* note,
                                CompiledSet* compiled = nullptr);
/// Writes a temporary file and renames it over the old one; makes `dir` and its parents. Returns why it failed, or "".
std::string save_cache(const std::string& dir, const CacheKey& key, const std::vector<uint8_t>& payload,
                       const CompiledSet& compiled = {});

/// FNV-1a, 64 bits; `seed` continues an earlier hash.
uint64_t fnv1a(const void* data, size_t bytes, uint64_t seed = 0xcbf29ce484222325ull);

}  // namespace vireo::vk
