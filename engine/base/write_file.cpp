#include "base/write_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace vireo {
namespace {

// Names of files on their way. They do not hold the wanted name, which may be as long as names can be.
constexpr char kBegin[] = ".vireo-", kEnd[] = ".tmp";
constexpr size_t kDigits = 16;
constexpr int kTries = 64;

}  // namespace

// Nobody can foresee the name and put something there. O_EXCL is what protects; this keeps others from making it fail.
std::string temporary_name() {
  uint64_t n = 0;
  if (getrandom(&n, sizeof n, GRND_NONBLOCK) !=
      ssize_t(sizeof n)) {  // a kernel before 3.17, or one that has just started
    timespec t{};
    clock_gettime(CLOCK_REALTIME, &t);
    n = (uint64_t(t.tv_sec) * 1000000007u + uint64_t(t.tv_nsec) + (uint64_t(getpid()) << 40)) * 0x9E3779B97F4A7C15u;
    n ^= uint64_t(reinterpret_cast<uintptr_t>(&n)) << 17;
  }
  char text[sizeof kBegin + kDigits + sizeof kEnd];
  std::snprintf(text, sizeof text, "%s%016llx%s", kBegin, static_cast<unsigned long long>(n), kEnd);
  return text;
}

bool is_temporary_name(const char* name) {
  const size_t begin = sizeof kBegin - 1;
  return std::strlen(name) == begin + kDigits + sizeof kEnd - 1 && std::strncmp(name, kBegin, begin) == 0 &&
         std::strspn(name + begin, "0123456789abcdef") == kDigits && std::strcmp(name + begin + kDigits, kEnd) == 0;
}

namespace {

/// The descriptor that "/dev/stdout", "/dev/fd/N" or "/proc/self/fd/N" stands for, or -1. They are links to what the
/// descriptor is open for: to make a file beside them and rename it would replace the link in /dev.
int descriptor_of(const std::string& path) {
  constexpr const char* kStandard[] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};
  for (int fd = 0; fd < 3; ++fd)
    if (path == kStandard[fd]) return fd;
  for (const char* folder : {"/dev/fd/", "/proc/self/fd/"}) {
    const size_t n = std::strlen(folder);
    if (path.compare(0, n, folder) != 0 || path.size() == n || path.size() > n + 6) continue;
    if (path.find_first_not_of("0123456789", n) == std::string::npos) return std::atoi(path.c_str() + n);
  }
  return -1;
}

/// The same through one symbolic link, which "/dev/./stdout" is as well.
int named_descriptor(const std::string& path) {
  char target[64];
  const ssize_t n = readlink(path.c_str(), target, sizeof target);
  const int fd = descriptor_of(path);
  return fd >= 0 || n <= 0 ? fd : descriptor_of(std::string(target, size_t(n)));
}

/// fsync; file systems that have no such thing are as good as they can be.
bool sync(int fd) {
  int done;
  do done = fsync(fd);
  while (done != 0 && errno == EINTR);
  return done == 0 || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP || errno == EROFS;
}

/// Of a name in a folder. `flags`: O_NOFOLLOW for a link itself.
bool stat_in(int folder, const char* name, int flags, struct stat* s) {
  const int fd = openat(folder, name, O_PATH | O_CLOEXEC | flags);
  if (fd < 0) return false;
  const bool known = fstat(fd, s) == 0;
  close(fd);
  return known;
}

bool write_all(int fd, const void* bytes, size_t count) {
  const char* at = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t n = ::write(fd, at, count);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = EIO;
    if (n <= 0) return false;
    at += n, count -= size_t(n);
  }
  return true;
}

bool copy_all(int from, int to) {
  char buffer[1 << 16];
  for (off_t at = 0;;) {
    const ssize_t n = pread(from, buffer, sizeof buffer, at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n == 0;
    if (!write_all(to, buffer, size_t(n))) return false;
    at += n;
  }
}

bool make_folders(const std::string& dir) {
  for (size_t at = 1; at <= dir.size(); ++at) {
    if (at != dir.size() && dir[at] != '/') continue;
    const std::string part = dir.substr(0, at);
    if (mkdir(part.c_str(), 0777) != 0 && errno != EEXIST) {
      const int why = errno;
      struct stat s;
      const bool exists = stat(part.c_str(), &s) == 0 && S_ISDIR(s.st_mode);  // a read-only parent that exists is fine
      errno = why;
      if (!exists) return false;
    }
  }
  return true;
}

std::string because(const char* what, int code) { return std::string(what) + ": " + std::strerror(code); }

}  // namespace

NewFile::~NewFile() { drop(); }

/// Leaves nothing behind, and errno as it was.
void NewFile::drop() {
  const int code = errno;
  if (fd_ >= 0) close(fd_);
  if (!temporary_.empty()) unlinkat(folder_, temporary_.c_str(), 0);
  if (folder_ >= 0) close(folder_);
  fd_ = folder_ = -1;
  temporary_.clear();
  errno = code;
}

std::string NewFile::failed(const char* what) {
  const int code = errno;
  drop();
  return because(what, code);
}

/// Not by way of a temporary file: renaming one would replace the pipe or device.
std::string NewFile::open_special(int descriptor, const std::string& path) {
  special_ = true;
  fd_ = descriptor >= 0 ? fcntl(descriptor, F_DUPFD_CLOEXEC, 3) : ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
  if (fd_ < 0) return failed("opening it failed");
  struct stat s;
  if (descriptor >= 0 || (fstat(fd_, &s) == 0 && !S_ISREG(s.st_mode))) return {};
  drop();
  return "it became another file just now";
}

std::string NewFile::open(const std::string& path, unsigned options) {
  drop();
  const int descriptor = named_descriptor(path);
  struct stat s;
  const bool exists = stat(path.c_str(), &s) == 0;
  if (descriptor >= 0 || (exists && !S_ISREG(s.st_mode))) {
    if (descriptor < 0 && S_ISDIR(s.st_mode)) return "there is a folder of this name";
    return options & kSpecial ? open_special(descriptor, path) : "it is no regular file";
  }
  special_ = false;
  replaces_ = exists;
  const size_t slash = path.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash == 0 ? 1 : slash);
  name_ = path.substr(slash == std::string::npos ? 0 : slash + 1);
  if (name_.empty()) return path.empty() ? "the name is empty" : "the name ends in '/'";
  folder_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // A folder that may be written but not read: it cannot be synced, which is no reason to write nothing.
  if (folder_ < 0 && errno == EACCES) folder_ = ::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder_ < 0) return failed("the folder cannot be opened");
  if (!(options & kKeepOrphans)) remove_orphans(folder);
  // What is to replace a file may be no more readable than that one; commit() gives it the same permissions.
  fd_ = openat(folder_, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, replaces_ ? 0600 : 0666);
  if (fd_ < 0 && !make_named()) return failed("no file can be made there");
  return {};
}

/// A file with a random name, where the file system makes none without.
bool NewFile::make_named() {
  for (int i = 0; i < kTries; ++i) {
    std::string name = temporary_name();
    fd_ = openat(folder_, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, replaces_ ? 0600 : 0666);
    if (fd_ >= 0) temporary_ = std::move(name);
    if (fd_ >= 0 || errno != EEXIST) break;
  }
  return fd_ >= 0;
}

std::string NewFile::write(const void* bytes, size_t count) {
  return write_all(fd_, bytes, count) ? std::string() : failed("writing failed");
}

/// The permissions of the file that is replaced. They are never widened: where its group cannot be kept, the new group
/// gets no more than everybody.
void NewFile::keep_access() {
  struct stat old, own;
  if (!stat_in(folder_, name_.c_str(), 0, &old) || !S_ISREG(old.st_mode) || fstat(fd_, &own) != 0) return;
  mode_t mode = old.st_mode & 0777;
  if ((old.st_uid != own.st_uid || old.st_gid != own.st_gid) && fchown(fd_, old.st_uid, old.st_gid) != 0 &&
      old.st_gid != own.st_gid && fchown(fd_, uid_t(-1), old.st_gid) != 0)
    mode = (mode & ~mode_t(070)) | (mode & (mode << 3) & 070);
  (void)fchmod(fd_, mode);  // where it fails, the file stays readable to its owner alone
}

bool NewFile::link_to(const std::string& name) {
  char self[40];
  std::snprintf(self, sizeof self, "/proc/self/fd/%d", fd_);
  if (linkat(AT_FDCWD, self, folder_, name.c_str(), AT_SYMLINK_FOLLOW) == 0) return true;
  return errno != EEXIST &&
         linkat(fd_, "", folder_, name.c_str(), AT_EMPTY_PATH) == 0;  // no /proc; older kernels ask for a privilege
}

/// Gives the nameless bytes a name: the wanted one where it is free, else a temporary one. Where no link can be made
/// (no /proc and no privilege, a sandbox), they are copied into a file that has a name.
bool NewFile::name_bytes() {
  if (!replaces_ && link_to(name_)) return true;
  keep_access();  // if a file of this name has come since
  for (int i = 0; i < kTries; ++i) {
    std::string name = temporary_name();
    if (link_to(name)) {
      temporary_ = std::move(name);
      return true;
    }
    if (errno != EEXIST) break;
  }
  const int nameless = fd_;
  const bool copied = make_named() && copy_all(nameless, fd_) && sync(fd_);
  const int code = errno;
  close(nameless);
  errno = code;
  if (copied) keep_access();
  return copied;
}

std::string NewFile::commit() {
  if (special_) {
    const bool closed = close(fd_) == 0;
    fd_ = -1;
    return closed ? std::string() : failed("writing failed");
  }
  keep_access();
  if (!sync(fd_)) return failed("writing failed");
  // Closing one descriptor of two tells what a network file system has to say, while the other one still holds the
  // nameless file.
  const int second = fcntl(fd_, F_DUPFD_CLOEXEC, 3);
  if (second < 0) return failed("writing failed");
  const bool closed = close(fd_) == 0;
  fd_ = second;
  if (!closed) return failed("writing failed");
  if (temporary_.empty() && !name_bytes()) return failed("naming it failed");
  struct stat s;
  const bool named = temporary_.empty(), fresh = named || !stat_in(folder_, name_.c_str(), O_NOFOLLOW, &s);
  if (!named && renameat(folder_, temporary_.c_str(), folder_, name_.c_str()) != 0) return failed("renaming failed");
  temporary_.clear();
  if (sync(folder_) || errno == EBADF) return drop(), std::string();  // EBADF: it was opened by O_PATH only
  const int code = errno;
  if (fresh) unlinkat(folder_, name_.c_str(), 0);
  drop();
  return because(fresh ? "syncing the folder failed"
                       : "it was replaced, but syncing the folder failed (a power cut may bring the old one back)",
                 code);
}

std::string write_whole_file(const std::string& dir, const std::string& name, const void* bytes, size_t count) {
  if (!make_folders(dir)) return because("the folder cannot be made", errno);
  NewFile file;
  std::string why = file.open(dir + "/" + name);
  if (why.empty()) why = file.write(bytes, count);
  return why.empty() ? file.commit() : why;
}

void remove_orphans(const std::string& folder) {
  DIR* list = opendir(folder.c_str());
  if (list == nullptr) return;
  const int fd = dirfd(list);
  const time_t now = time(nullptr);
  while (const dirent* entry = readdir(list)) {
    struct stat s;
    if (!is_temporary_name(entry->d_name) || !stat_in(fd, entry->d_name, O_NOFOLLOW, &s)) continue;
    if (S_ISREG(s.st_mode) && s.st_uid == geteuid() && now - s.st_mtime > kOrphanSeconds)
      unlinkat(fd, entry->d_name, 0);
  }
  closedir(list);
}

}  // namespace vireo
