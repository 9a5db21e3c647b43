#include "base/input_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace vireo {
namespace {

constexpr size_t kMostAtOnce = size_t(1) << 30;  // Linux reads no more than 2 GiB in one call

Error open_error(const std::string& path, int code) {
  if (code == ENOENT || code == ENOTDIR) {
    return fail(ErrorCode::kNotFound, "'{}' does not exist; check the path", path);
  }
  if (code == EACCES || code == EPERM) {
    return fail(ErrorCode::kIo, "no permission to read '{}'; change its access rights or run as its owner", path);
  }
  return fail(ErrorCode::kIo, "cannot open '{}': {}", path, std::strerror(code));
}

}  // namespace

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  std::swap(seconds_, other.seconds_);
  std::swap(nanoseconds_, other.nanoseconds_);
  return *this;
}

InputFile::~InputFile() {
  if (fd_ >= 0) ::close(fd_);
}

Result<InputFile> InputFile::open(const std::string& path) {
  InputFile file;
  file.path_ = path;
  // O_NONBLOCK: opening a pipe that nobody writes to must fail below, not hang here.
  file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.fd_ < 0) return open_error(path, errno);
  struct stat info {};
  if (::fstat(file.fd_, &info) != 0) return fail(ErrorCode::kIo, "cannot examine '{}': {}", path, std::strerror(errno));
  if (S_ISDIR(info.st_mode)) return fail(ErrorCode::kIo, "'{}' is a folder, expected a file", path);
  if (!S_ISREG(info.st_mode)) return fail(ErrorCode::kIo, "'{}' is not a regular file", path);
  if (info.st_size == 0) return fail(ErrorCode::kCorrupt, "'{}' is empty (0 bytes); copy or download it again", path);
  file.size_ = uint64_t(info.st_size);
  file.seconds_ = int64_t(info.st_mtim.tv_sec), file.nanoseconds_ = int64_t(info.st_mtim.tv_nsec);
  return file;
}

Error InputFile::changed() const {
  return fail(
      ErrorCode::kIo,
      "'{}' was changed after it was opened; open the model again once the new file is complete (a copy that is "
      "renamed into place disturbs nobody)",
      path_);
}

Result<void> InputFile::read(uint64_t offset, size_t count, void* out) const {
  if (offset > size_ || count > size_ - offset)
    return fail(ErrorCode::kInternal, "'{}': bytes {} to {} do not exist, it has {}", path_, offset, offset + count,
                size_);
  uint8_t* to = static_cast<uint8_t*>(out);
  for (size_t done = 0; done < count;) {
    const ssize_t n = ::pread(fd_, to + done, std::min(count - done, kMostAtOnce), off_t(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return fail(ErrorCode::kIo, "cannot read '{}' at byte {}: {}", path_, offset + done, std::strerror(errno));
    if (n == 0) return changed();
    done += size_t(n);
  }
  struct stat info {};  // after the bytes: what was written until they were read shows
  if (::fstat(fd_, &info) != 0) return fail(ErrorCode::kIo, "cannot examine '{}': {}", path_, std::strerror(errno));
  if (uint64_t(info.st_size) != size_ || int64_t(info.st_mtim.tv_sec) != seconds_ ||
      int64_t(info.st_mtim.tv_nsec) != nanoseconds_)
    return changed();
  return {};
}

PathKind path_kind(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    if (errno == EACCES || errno == EPERM) return PathKind::kNoPermission;
    return errno == ENOENT || errno == ENOTDIR ? PathKind::kMissing : PathKind::kOther;
  }
  if (S_ISDIR(info.st_mode)) return PathKind::kFolder;
  return S_ISREG(info.st_mode) ? PathKind::kFile : PathKind::kOther;
}

Result<std::string> read_text_file(const std::string& path, size_t max_bytes) {
  VIREO_ASSIGN(const InputFile file, InputFile::open(path));
  if (file.size() > max_bytes) {
    return fail(ErrorCode::kCorrupt, "'{}' has {} bytes, expected at most {}; is it the right file?", path, file.size(),
                max_bytes);
  }
  std::string text(size_t(file.size()), '\0');
  VIREO_TRY(file.read(0, text.size(), text.data()));
  return text;
}

}  // namespace vireo
