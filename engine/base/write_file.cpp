#include "base/write_file.h"

#include <fmt/format.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace vireo {
namespace {

bool make_folders(const std::string& dir) {
  for (size_t at = 1; at <= dir.size(); ++at) {
    if (at != dir.size() && dir[at] != '/') continue;
    const std::string part = dir.substr(0, at);
    if (mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) {
      const int why = errno;
      struct stat s;
      const bool exists = stat(part.c_str(), &s) == 0 && S_ISDIR(s.st_mode);  // a read-only parent that exists is fine
      errno = why;
      if (!exists) return false;
    }
  }
  return true;
}

}  // namespace

std::string write_whole_file(const std::string& dir, const std::string& name, const void* bytes, size_t count) {
  const auto failed = [](const char* what) { return fmt::format("{}: {}", what, std::strerror(errno)); };
  if (!make_folders(dir)) return failed("the folder cannot be made");
  const std::string path = dir + "/" + name;
  std::string temporary = path + ".XXXXXX";
  const int fd = mkostemp(&temporary[0], O_CLOEXEC);
  if (fd < 0) return failed("no file can be made there");
  fchmod(fd, 0644);
  std::FILE* const f = fdopen(fd, "wb");
  if (!f) {
    const std::string why = failed("fdopen");
    close(fd);
    unlink(temporary.c_str());
    return why;
  }
  const bool written = std::fwrite(bytes, 1, count, f) == count && std::fflush(f) == 0;
  const bool closed = std::fclose(f) == 0;
  if (!written || !closed || std::rename(temporary.c_str(), path.c_str()) != 0) {
    const std::string why = failed(written && closed ? "renaming failed" : "writing failed");
    unlink(temporary.c_str());
    return why;
  }
  return {};
}

}  // namespace vireo
