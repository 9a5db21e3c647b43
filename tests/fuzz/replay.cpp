// Runs a fuzz target over files and folders of inputs, for compilers without libFuzzer: kept findings stay fixed.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include <dirent.h>
#include <sys/stat.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

int replay(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    std::fprintf(stderr, "%s: not found\n", path.c_str());
    return -1;
  }
  if (S_ISDIR(info.st_mode)) {
    int count = 0;
    if (DIR* dir = ::opendir(path.c_str())) {
      while (const dirent* e = ::readdir(dir)) {
        if (e->d_name[0] == '.') continue;
        const int inner = replay(path + "/" + e->d_name);
        count = inner < 0 || count < 0 ? -1 : count + inner;
      }
      ::closedir(dir);
    }
    return count;
  }
  std::vector<uint8_t> bytes;
  if (std::FILE* file = std::fopen(path.c_str(), "rb")) {
    bytes.resize(size_t(info.st_size));
    bytes.resize(bytes.empty() ? 0 : std::fread(bytes.data(), 1, bytes.size(), file));
    std::fclose(file);
  }
  // The exact size on the heap: a sanitizer sees a read behind the end.
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  // Cut short as well: parsers meet the end of their input everywhere.
  for (size_t n = 0; n < bytes.size() && bytes.size() < 4096; ++n) {
    const std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + std::ptrdiff_t(n));
    LLVMFuzzerTestOneInput(cut.data(), cut.size());
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  int total = 0;
  for (int i = 1; i < argc; ++i) {
    const int count = replay(argv[i]);
    if (count <= 0) return 1;
    total += count;
  }
  std::printf("%d inputs replayed\n", total);
  return total > 0 ? 0 : 1;
}
