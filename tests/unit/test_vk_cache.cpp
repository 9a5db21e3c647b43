// The pipeline cache on disk: what is accepted, what is ignored and why, and that it never stands in the way.
#if VIREO_VULKAN
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "test_vk.h"
#include "test_vk_plans.h"
#include "vk/executable.h"
#include "vk/pipeline_cache.h"

namespace vireo::vk {
namespace {

using Bytes = std::vector<uint8_t>;

CacheKey key() {
  CacheKey k;
  k.vendor = 0x10de;
  k.device = 0x92ba03d7;
  k.driver_version = 0x801c000;
  k.uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  k.shader_hash = 0x1234567890abcdefull;
  return k;
}

/// What a driver returns: its own header, then bytes.
Bytes payload_of(const CacheKey& k, size_t extra = 100) {
  Bytes p(32 + extra);
  const uint32_t words[4] = {32, 1, k.vendor, k.device};
  std::memcpy(p.data(), words, sizeof words);
  std::copy(k.uuid.begin(), k.uuid.end(), p.begin() + 16);
  for (size_t i = 32; i < p.size(); ++i) p[i] = uint8_t(i * 7);
  return p;
}

std::string refused(const CacheKey& k, const Bytes& file) {
  std::string note;
  EXPECT_TRUE(decode_cache(k, file, &note).empty());
  return note;
}

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/vireo-cache-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~Folder() {
    for (const std::string& f : files()) unlink((path_ + "/" + f).c_str());
    rmdir(path_.c_str());
  }
  const std::string& path() const { return path_; }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    if (DIR* d = opendir(path_.c_str())) {
      while (const dirent* e = readdir(d))
        if (e->d_name[0] != '.') names.push_back(e->d_name);
      closedir(d);
    }
    return names;
  }

 private:
  std::string path_;
};

Bytes read_file(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(f), {});
}
void write_file(const std::string& path, const Bytes& b) {
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(b.data()), std::streamsize(b.size()));
}

TEST(VkCache, RoundTrip) {
  const Bytes p = payload_of(key());
  std::string note;
  EXPECT_EQ(decode_cache(key(), encode_cache(key(), p), &note), p);
  EXPECT_EQ(note, "");
}

TEST(VkCache, EveryTruncationIsRefused) {
  const Bytes file = encode_cache(key(), payload_of(key()));
  for (size_t n = 0; n < file.size(); ++n)
    EXPECT_NE(refused(key(), Bytes(file.begin(), file.begin() + long(n))), "") << n << " bytes";
  Bytes longer = file;
  longer.push_back(0);
  EXPECT_NE(refused(key(), longer), "");
}

TEST(VkCache, EveryFlippedBitIsRefused) {
  const Bytes file = encode_cache(key(), payload_of(key(), 8));
  for (size_t i = 0; i < file.size() * 8; ++i) {
    Bytes bad = file;
    bad[i / 8] ^= uint8_t(1u << (i % 8));
    EXPECT_NE(refused(key(), bad), "") << "bit " << i;
  }
}

TEST(VkCache, ForeignAndStaleFilesSayWhy) {
  const Bytes file = encode_cache(key(), payload_of(key()));
  CacheKey k = key();
  k.driver_version++;
  EXPECT_NE(refused(k, file).find("driver"), std::string::npos);
  k = key();
  k.uuid[5]++;
  EXPECT_NE(refused(k, file).find("driver"), std::string::npos);
  k = key();
  k.device++;
  EXPECT_NE(refused(k, file).find("device"), std::string::npos);
  k = key();
  k.shader_hash++;
  EXPECT_NE(refused(k, file).find("stale"), std::string::npos);
  CacheKey other = key();
  other.vendor = 0x8086;  // our header fits, the driver's inside does not
  EXPECT_NE(refused(key(), encode_cache(key(), payload_of(other))).find("driver"), std::string::npos);
  EXPECT_NE(refused(key(), Bytes(500, 'x')).find("not a pipeline cache"), std::string::npos);
}

TEST(VkCache, FileIsReplacedWholeAndMissingIsSilent) {
  const Folder dir;
  std::string note;
  EXPECT_TRUE(load_cache(dir.path(), key(), &note).empty());
  EXPECT_EQ(note, "");
  for (size_t extra : {100u, 50u}) {
    EXPECT_EQ(save_cache(dir.path(), key(), payload_of(key(), extra)), "");
    EXPECT_EQ(load_cache(dir.path(), key(), &note), payload_of(key(), extra));
    EXPECT_EQ(note, "");
  }
  EXPECT_EQ(dir.files(), std::vector<std::string>{cache_file_name(key())});  // no temporary file is left
}

TEST(VkCache, FoldersAreMadeAndFailuresAreNotes) {
  const Folder dir;
  const std::string deep = dir.path() + "/a/b/c";
  EXPECT_EQ(save_cache(deep, key(), payload_of(key())), "");
  std::string note;
  EXPECT_FALSE(load_cache(deep, key(), &note).empty());
  unlink((deep + "/" + cache_file_name(key())).c_str());
  for (const char* d : {"/a/b/c", "/a/b", "/a"}) rmdir((dir.path() + d).c_str());

  write_file(dir.path() + "/plain", {1});
  note = save_cache(dir.path() + "/plain/sub", key(), payload_of(key()));  // below a file: fails even for root
  EXPECT_NE(note.find("plain/sub"), std::string::npos);
  mkdir((dir.path() + "/" + cache_file_name(key())).c_str(), 0755);  // a folder in the file's place
  EXPECT_TRUE(load_cache(dir.path(), key(), &note).empty());
  EXPECT_NE(note.find("not a file"), std::string::npos);
  EXPECT_NE(save_cache(dir.path(), key(), payload_of(key())), "");
  rmdir((dir.path() + "/" + cache_file_name(key())).c_str());
  EXPECT_EQ(dir.files(), std::vector<std::string>{"plain"});
}

class VkCacheFile : public VkTest {
 protected:
  std::vector<std::string> notes_of(uint32_t device, const std::string& dir) {
    const auto gpu = open(device);
    if (!gpu) return {"no device"};
    const TinyPlan t = tiny_plan(gpu->caps());
    ThreadPool pool(2);
    ExecutableOptions options;
    options.cache_dir = dir;
    const auto e = Executable::create(gpu, t.plan, t.graph, pool, options);
    if (!e) return {e.error().message};
    return (*e)->notes();
  }
};

TEST_F(VkCacheFile, BadFilesAreIgnoredAndRewritten) {
  for (const uint32_t device : usable_) {
    const Folder dir;
    EXPECT_EQ(notes_of(device, dir.path()), std::vector<std::string>{});
    ASSERT_EQ(dir.files().size(), 1u);
    const std::string path = dir.path() + "/" + dir.files()[0];
    const Bytes good = read_file(path);
    EXPECT_EQ(notes_of(device, dir.path()), std::vector<std::string>{});

    Bytes foreign = good, corrupt = good, stale = good;
    foreign[20] ^= 1;  // driver version
    corrupt.back() ^= 1;
    stale[24] ^= 1;  // shader hash
    const Bytes truncated(good.begin(), good.begin() + long(good.size() / 2));
    for (const Bytes& bad : {foreign, corrupt, stale, truncated, Bytes()}) {
      write_file(path, bad);
      const auto notes = notes_of(device, dir.path());
      ASSERT_EQ(notes.size(), 1u);
      EXPECT_NE(notes[0].find("is not used"), std::string::npos) << notes[0];
      EXPECT_EQ(notes_of(device, dir.path()), std::vector<std::string>{}) << "the file was not rewritten";
    }
  }
}

TEST_F(VkCacheFile, UnwritableFolderIsANote) {
  const Folder dir;
  write_file(dir.path() + "/plain", {1});
  const auto notes = notes_of(usable_[0], dir.path() + "/plain");
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("was not written"), std::string::npos) << notes[0];
}

}  // namespace
}  // namespace vireo::vk
#endif  // VIREO_VULKAN
