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
constexpr uint32_t kVersion = 2;
constexpr size_t kMaxFile = size_t(512) << 20;
constexpr size_t kDriverHeader = 32;  // VkPipelineCacheHeaderVersionOne

// Written as it lies in memory: the file never leaves the machine, and a foreign byte order fails the version.
struct Header {
  char magic[8];
  uint32_t version;
  uint32_t vendor, device, driver_version;
  uint64_t shader_hash;
  uint8_t uuid[16];
  uint64_t compiled;  // how many hashes follow the header, before the payload
  uint64_t payload_bytes;
  uint64_t checksum;  // of both
};
static_assert(sizeof(Header) == 72, "the file format");

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

std::vector<uint8_t> encode_cache(const CacheKey& key, const std::vector<uint8_t>& payload,
                                  const CompiledSet& compiled) {
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.version = kVersion;
  h.vendor = key.vendor;
  h.device = key.device;
  h.driver_version = key.driver_version;
  h.shader_hash = key.shader_hash;
  std::memcpy(h.uuid, key.uuid.data(), sizeof h.uuid);
  h.compiled = compiled.size();
  h.payload_bytes = payload.size();
  std::vector<uint8_t> file(sizeof h);
  file.reserve(sizeof h + compiled.size() * sizeof(uint64_t) + payload.size());
  for (const uint64_t hash : compiled) {
    uint8_t bytes[sizeof hash];
    std::memcpy(bytes, &hash, sizeof hash);
    file.insert(file.end(), bytes, bytes + sizeof hash);
  }
  file.insert(file.end(), payload.begin(), payload.end());
  h.checksum = fnv1a(file.data() + sizeof h, file.size() - sizeof h);
  std::memcpy(file.data(), &h, sizeof h);
  return file;
}

std::vector<uint8_t> decode_cache(const CacheKey& key, const std::vector<uint8_t>& file, std::string* note,
                                  CompiledSet* compiled) {
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
  const size_t content = file.size() - sizeof h;
  if (h.compiled > content / sizeof(uint64_t) || h.payload_bytes != content - h.compiled * sizeof(uint64_t)) {
    *note =
        fmt::format("truncated: {} bytes of content, expected {} and {} hashes", content, h.payload_bytes, h.compiled);
    return {};
  }
  const uint8_t* const hashes = file.data() + sizeof h;
  if (fnv1a(hashes, content) != h.checksum) return *note = "damaged: its checksum differs", std::vector<uint8_t>();
  std::vector<uint8_t> payload(hashes + h.compiled * sizeof(uint64_t), hashes + content);
  if (!driver_header_fits(key, payload)) return *note = "of another device or driver", std::vector<uint8_t>();
  for (uint64_t i = 0; compiled != nullptr && i < h.compiled; ++i) {
    uint64_t hash;
    std::memcpy(&hash, hashes + i * sizeof hash, sizeof hash);
    compiled->insert(hash);
  }
  return payload;
}

std::vector<uint8_t> load_cache(const std::string& dir, const CacheKey& key, std::string* note, CompiledSet* compiled) {
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
    payload = decode_cache(key, bytes, &why, compiled);
  } else {
    why = std::strerror(errno);
  }
  if (!why.empty()) *note = fmt::format("pipeline cache '{}' is not used: {}", path, why);
  return payload;
}

std::string save_cache(const std::string& dir, const CacheKey& key, const std::vector<uint8_t>& payload,
                       const CompiledSet& compiled) {
  const std::vector<uint8_t> bytes = encode_cache(key, payload, compiled);
  const std::string why = write_whole_file(dir, cache_file_name(key), bytes.data(), bytes.size());
  return why.empty() ? why : fmt::format("pipeline cache in '{}' was not written: {}", dir, why);
}

}  // namespace vireo::vk
