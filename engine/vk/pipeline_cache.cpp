#include "vk/pipeline_cache.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/write_file.h"

namespace vireo::vk {
namespace {

constexpr char kMagic[8] = {'V', 'I', 'R', 'E', 'O', 'P', 'C', '\0'};
constexpr uint32_t kVersion = 1;
constexpr size_t kMaxFile = size_t(512) << 20;
constexpr size_t kDriverHeader = 32;  // VkPipelineCacheHeaderVersionOne

// Written as it lies in memory: the file never leaves the machine, and a foreign byte order fails the version.
struct Header {
  char magic[8];
  uint32_t version;
  uint32_t vendor, device, driver_version;
  uint64_t shader_hash;
  uint8_t uuid[16];
  uint64_t payload_bytes;
  uint64_t checksum;
};
static_assert(sizeof(Header) == 64, "the file format");

struct FileCloser {
  void operator()(std::FILE* f) const { std::fclose(f); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

// The driver is not trusted to check its own header: some crash on another driver's.
bool driver_header_fits(const CacheKey& key, const std::vector<uint8_t>& payload) {
  if (payload.size() < kDriverHeader) return false;
  uint32_t words[4];
  std::memcpy(words, payload.data(), sizeof words);
  return words[0] >= kDriverHeader && words[0] <= payload.size() && words[1] == 1 && words[2] == key.vendor &&
         words[3] == key.device && std::memcmp(payload.data() + 16, key.uuid.data(), key.uuid.size()) == 0;
}

}  // namespace

uint64_t fnv1a(const void* data, size_t bytes, uint64_t seed) {
  const auto* p = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i < bytes; ++i) seed = (seed ^ p[i]) * 0x100000001b3ull;
  return seed;
}

std::string cache_file_name(const CacheKey& key) {
  std::string uuid;
  for (const uint8_t b : key.uuid) uuid += fmt::format("{:02x}", b);
  return fmt::format("pipelines-{:x}-{:x}-{:x}-{}.bin", key.vendor, key.device, key.driver_version, uuid);
}

std::vector<uint8_t> encode_cache(const CacheKey& key, const std::vector<uint8_t>& payload) {
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.version = kVersion;
  h.vendor = key.vendor;
  h.device = key.device;
  h.driver_version = key.driver_version;
  h.shader_hash = key.shader_hash;
  std::memcpy(h.uuid, key.uuid.data(), sizeof h.uuid);
  h.payload_bytes = payload.size();
  h.checksum = fnv1a(payload.data(), payload.size());
  std::vector<uint8_t> file(sizeof h + payload.size());
  std::memcpy(file.data(), &h, sizeof h);
  if (!payload.empty()) std::memcpy(file.data() + sizeof h, payload.data(), payload.size());
  return file;
}

std::vector<uint8_t> decode_cache(const CacheKey& key, const std::vector<uint8_t>& file, std::string* note) {
  Header h{};
  if (file.size() < sizeof h) {
    *note = fmt::format("truncated: {} bytes, expected a header of {}", file.size(), sizeof h);
    return {};
  }
  std::memcpy(&h, file.data(), sizeof h);
  if (std::memcmp(h.magic, kMagic, sizeof kMagic) != 0)
    return *note = "not a pipeline cache of Vireo", std::vector<uint8_t>();
  if (h.version != kVersion)
    return *note = fmt::format("of format {}, expected {}", h.version, kVersion), std::vector<uint8_t>();
  if (h.vendor != key.vendor || h.device != key.device || h.driver_version != key.driver_version ||
      std::memcmp(h.uuid, key.uuid.data(), sizeof h.uuid) != 0)
    return *note = "of another device or driver", std::vector<uint8_t>();
  if (h.shader_hash != key.shader_hash)
    return *note = "stale: of other shaders than this build's", std::vector<uint8_t>();
  if (h.payload_bytes != file.size() - sizeof h) {
    *note = fmt::format("truncated: {} bytes of content, expected {}", file.size() - sizeof h, h.payload_bytes);
    return {};
  }
  std::vector<uint8_t> payload(file.begin() + sizeof h, file.end());
  if (fnv1a(payload.data(), payload.size()) != h.checksum)
    return *note = "damaged: its checksum differs", std::vector<uint8_t>();
  if (!driver_header_fits(key, payload)) return *note = "of another device or driver", std::vector<uint8_t>();
  return payload;
}

std::vector<uint8_t> load_cache(const std::string& dir, const CacheKey& key, std::string* note) {
  const std::string path = dir + "/" + cache_file_name(key);
  struct stat s;
  if (stat(path.c_str(), &s) != 0) return {};
  std::string why;
  std::vector<uint8_t> payload;
  if (!S_ISREG(s.st_mode) || uint64_t(s.st_size) > kMaxFile) {
    why = S_ISREG(s.st_mode) ? "too large" : "not a file";
  } else if (File f{std::fopen(path.c_str(), "rbe")}) {
    std::vector<uint8_t> bytes(size_t(s.st_size));
    bytes.resize(std::fread(bytes.data(), 1, bytes.size(), f.get()));
    payload = decode_cache(key, bytes, &why);
  } else {
    why = std::strerror(errno);
  }
  if (!why.empty()) *note = fmt::format("pipeline cache '{}' is not used: {}", path, why);
  return payload;
}

std::string save_cache(const std::string& dir, const CacheKey& key, const std::vector<uint8_t>& payload) {
  const std::vector<uint8_t> bytes = encode_cache(key, payload);
  const std::string why = write_whole_file(dir, cache_file_name(key), bytes.data(), bytes.size());
  return why.empty() ? why : fmt::format("pipeline cache in '{}' was not written: {}", dir, why);
}

}  // namespace vireo::vk
