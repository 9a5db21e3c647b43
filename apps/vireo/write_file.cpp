#include "write_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace cli {
namespace {

/// False with errno set.
bool write_all(int file, Bytes part) {
  const char* at = static_cast<const char*>(part.data);
  while (part.count > 0) {
    const ssize_t n = ::write(file, at, part.count);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n, part.count -= size_t(n);
  }
  return true;
}

}  // namespace

vireo::Result<void> write_whole(const std::string& path, std::initializer_list<Bytes> parts) {
  struct stat info {};
  const bool direct = ::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode);
  const std::string temporary = direct ? path : path + "." + std::to_string(::getpid()) + ".tmp";
  const auto broken = [&](const char* step, int code) {
    if (!direct) ::unlink(temporary.c_str());
    return vireo::Error{vireo::ErrorCode::kIo, "cannot write '" + path + "' (" + step + "): " + std::strerror(code) +
                                                   "; check the folder, its access rights and free space"};
  };
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) return broken("opening it", errno);
  bool ok = true;
  for (const Bytes& part : parts) ok = ok && write_all(file, part);
  int code = errno;
  if (::close(file) != 0 && ok) ok = false, code = errno;
  if (!ok) return broken("writing", code);
  if (!direct && std::rename(temporary.c_str(), path.c_str()) != 0) return broken("renaming", errno);
  return {};
}

}  // namespace cli
