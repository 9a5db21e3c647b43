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

NewFile::~NewFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_.c_str());
}

/// Says why, and leaves nothing behind.
std::string NewFile::failed(const char* what) {
  std::string why = fmt::format("{}: {}", what, std::strerror(errno));
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  unlink(temporary_.c_str());
  return why;
}

std::string NewFile::open(const std::string& path) {
  struct stat s;
  if (stat(path.c_str(), &s) == 0 && !S_ISREG(s.st_mode)) return S_ISDIR(s.st_mode) ? "there is a folder of this name" : "it is no regular file";
  path_ = path;
  temporary_ = path + ".XXXXXX";
  fd_ = mkostemp(&temporary_[0], O_CLOEXEC);
  if (fd_ < 0) return fmt::format("no file can be made there: {}", std::strerror(errno));
  fchmod(fd_, 0644);
  return {};
}

std::string NewFile::write(const void* bytes, size_t count) {
  const char* at = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t n = ::write(fd_, at, count);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed("writing failed");
    at += n, count -= size_t(n);
  }
  return {};
}

std::string NewFile::commit() {
  const bool closed = close(fd_) == 0;
  fd_ = -1;
  if (!closed) return failed("writing failed");
  return std::rename(temporary_.c_str(), path_.c_str()) == 0 ? std::string() : failed("renaming failed");
}

std::string write_whole_file(const std::string& dir, const std::string& name, const void* bytes, size_t count) {
  if (!make_folders(dir)) return fmt::format("the folder cannot be made: {}", std::strerror(errno));
  NewFile file;
  std::string why = file.open(dir + "/" + name);
  if (why.empty()) why = file.write(bytes, count);
  return why.empty() ? file.commit() : why;
}

}  // namespace vireo
