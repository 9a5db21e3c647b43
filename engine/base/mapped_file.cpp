#include "base/mapped_file.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace vireo {
namespace {

/// Closes a descriptor at the end of a scope; a mapping outlives it.
struct Descriptor {
  int fd = -1;
  ~Descriptor() { if (fd >= 0) ::close(fd); }
};

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

MappedFile::MappedFile(MappedFile&& other) noexcept : data_(other.data_), size_(other.size_) {
  other.data_ = nullptr;
  other.size_ = 0;
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<uint8_t*>(data_), size_);
}

Result<MappedFile> MappedFile::open(const std::string& path) {
  // O_NONBLOCK: opening a pipe that nobody writes to must fail below, not hang here.
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) return open_error(path, errno);
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) return fail(ErrorCode::kIo, "cannot examine '{}': {}", path, std::strerror(errno));
  if (S_ISDIR(info.st_mode)) return fail(ErrorCode::kIo, "'{}' is a folder, expected a file", path);
  if (!S_ISREG(info.st_mode)) return fail(ErrorCode::kIo, "'{}' is not a regular file", path);
  if (info.st_size == 0) return fail(ErrorCode::kCorrupt, "'{}' is empty (0 bytes); copy or download it again", path);
  if (uint64_t(info.st_size) > uint64_t(SIZE_MAX)) {
    return fail(ErrorCode::kOutOfMemory, "'{}' has {} bytes, more than this machine can address", path,
                uint64_t(info.st_size));
  }
  void* mapped = ::mmap(nullptr, size_t(info.st_size), PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (mapped == MAP_FAILED) return fail(ErrorCode::kIo, "cannot map '{}' into memory: {}", path, std::strerror(errno));
  MappedFile result;
  result.data_ = static_cast<const uint8_t*>(mapped);
  result.size_ = size_t(info.st_size);
  return result;
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
  VIREO_ASSIGN(const MappedFile file, MappedFile::open(path));
  if (file.size() > max_bytes) {
    return fail(ErrorCode::kCorrupt, "'{}' has {} bytes, expected at most {}; is it the right file?", path, file.size(),
                max_bytes);
  }
  return std::string(reinterpret_cast<const char*>(file.data()), file.size());
}

}  // namespace vireo
