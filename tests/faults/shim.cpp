// Preloaded into a program, fails one of its calls into the system: VIREO_FAULT="CALL:N[+][:ERRNO]". CALL is a group
// (malloc, mmap, thread, open, read, write, rename, fsync, close, truncate, stat, mode, dup) or one function (linkat),
// N counts from 1, "+" fails all later ones as well. VIREO_FAULT_COUNTS=FILE appends "CALL COUNT" for every group and
// function when main() returns.
//
// VIREO_FAULT_TMPFILE=1: the file system knows no O_TMPFILE, beside that fault.
//
// What counts: calls between the beginning and the end of main() from the program itself and from the libraries that it
// was linked with (VIREO_FAULT_FROM=program: from the program alone). Vulkan drivers are opened later, so theirs never
// count: a driver that gets no memory may abort by itself.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

namespace {

struct Range {
  uintptr_t begin, end;
};
Range ranges[256];
int range_count = 0;
std::atomic<bool> counting{false};
const char* wanted = nullptr;  // the call of VIREO_FAULT, up to its colon
size_t wanted_length = 0;
uint64_t wanted_number = 0;
bool for_ever = false, no_nameless = false;
int wanted_errno = 0;
std::atomic<uint64_t> wanted_seen{0};

struct Counter {
  const char* name;
  std::atomic<uint64_t> seen{0};
};
Counter counters[96];
std::atomic<int> counter_count{0};
thread_local bool inside = false;

void count(const char* name) {
  const int known = counter_count.load();
  for (int i = 0; i < known; ++i)
    if (counters[i].name == name || std::strcmp(counters[i].name, name) == 0)
      return void(counters[i].seen.fetch_add(1));
  const int mine =
      counter_count.fetch_add(1);  // two threads may make two lines of one name: whoever reads adds them up
  if (mine >= 96) return;
  counters[mine].name = name;
  counters[mine].seen.fetch_add(1);
}

bool is_wanted(const char* name) {
  return std::strlen(name) == wanted_length && std::memcmp(name, wanted, wanted_length) == 0;
}

/// True when this call is to fail; errno is set then.
bool fails(const char* group, const char* function, const void* caller, int code) {
  if (!counting.load(std::memory_order_relaxed) || inside) return false;
  const uintptr_t at = reinterpret_cast<uintptr_t>(caller);
  bool ours = false;
  for (int i = 0; i < range_count && !ours; ++i) ours = at >= ranges[i].begin && at < ranges[i].end;
  if (!ours) return false;
  if (wanted == nullptr) {
    count(group);
    count(function);
    return false;
  }
  if (!is_wanted(group) && !is_wanted(function)) return false;
  const uint64_t n = wanted_seen.fetch_add(1) + 1;
  if (n != wanted_number && !(for_ever && n > wanted_number)) return false;
  errno = wanted_errno != 0 ? wanted_errno : code;
  return true;
}

int add_ranges(dl_phdr_info* info, size_t, void* program_only) {
  const char* name = info->dlpi_name;
  const bool program = name == nullptr || *name == '\0' || std::strstr(name, "libvireo.so") != nullptr;
  if (!program && (program_only != nullptr || std::strstr(name, "libvireo_faults") || std::strstr(name, "ld-linux") ||
                   std::strstr(name, "vdso")))
    return 0;
  for (int i = 0; i < info->dlpi_phnum && range_count < 256; ++i) {
    const ElfW(Phdr)& p = info->dlpi_phdr[i];
    if (p.p_type != PT_LOAD || !(p.p_flags & PF_X)) continue;
    ranges[range_count++] = {uintptr_t(info->dlpi_addr + p.p_vaddr),
                             uintptr_t(info->dlpi_addr + p.p_vaddr + p.p_memsz)};
  }
  return 0;
}

constexpr struct {
  const char* name;
  int code;
} kErrors[] = {{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EINVAL", EINVAL}, {"EOPNOTSUPP", EOPNOTSUPP},
               {"EISDIR", EISDIR}, {"EACCES", EACCES}, {"EROFS", EROFS},   {"ENOENT", ENOENT},
               {"EMFILE", EMFILE}, {"EXDEV", EXDEV},   {"EINTR", EINTR},   {"EEXIST", EEXIST},
               {"ENOMEM", ENOMEM}, {"EPERM", EPERM},   {"EAGAIN", EAGAIN}, {"EDQUOT", EDQUOT},
               {"ENOSYS", ENOSYS}};

void begin() {
  const char* from = getenv("VIREO_FAULT_FROM");
  dl_iterate_phdr(add_ranges, from != nullptr ? ranges : nullptr);
  no_nameless = getenv("VIREO_FAULT_TMPFILE") != nullptr;
  if (const char* fault = getenv("VIREO_FAULT")) {
    const char* colon = std::strchr(fault, ':');
    if (colon == nullptr) _exit(125);
    char* end = nullptr;
    wanted_length = size_t(colon - fault);
    wanted_number = strtoull(colon + 1, &end, 10);
    if (*end == '+') for_ever = true, ++end;
    if (*end == ':') {
      for (const auto& e : kErrors)
        if (std::strcmp(e.name, end + 1) == 0) wanted_errno = e.code;
      if (wanted_errno == 0) _exit(125);
    }
    wanted = fault;
  }
  counting = true;
}

void end() {
  counting = false;
  const char* path = getenv("VIREO_FAULT_COUNTS");
  if (path == nullptr) return;
  const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  for (int i = 0; i < counter_count.load() && i < 96; ++i)
    dprintf(fd, "%s %llu\n", counters[i].name, static_cast<unsigned long long>(counters[i].seen.load()));
  if (fd >= 0) close(fd);
}

using Main = int (*)(int, char**, char**);
Main real_main = nullptr;

int counted_main(int argc, char** argv, char** environment) {
  begin();
  const int code = real_main(argc, argv, environment);
  end();
  return code;
}

/// The next definition of a function. dlsym may allocate.
template <typename F>
F next(F* kept, const char* name) {
  if (*kept == nullptr) {
    inside = true;
    *kept = reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
    inside = false;
  }
  return *kept;
}

}  // namespace

#define CALLER __builtin_return_address(0)
#define EXPORT __attribute__((visibility("default")))
#define NEXT(name)                                \
  static decltype(&::name) real_##name = nullptr; \
  next(&real_##name, #name)
// FUNCTION(group, returns, name, (parameters), (arguments), what it returns when it fails, errno)
#define FUNCTION(group, type, name, parameters, arguments, failure, code) \
  EXPORT type name parameters {                                           \
    NEXT(name);                                                           \
    if (fails(group, #name, CALLER, code)) return failure;                \
    return real_##name arguments;                                         \
  }

extern "C" {

EXPORT int __libc_start_main(Main main, int argc, char** argv, void (*init)(), void (*fini)(), void (*rtld_fini)(),
                             void* stack_end) {
  real_main = main;
  using Start = int (*)(Main, int, char**, void (*)(), void (*)(), void (*)(), void*);
  return reinterpret_cast<Start>(dlsym(RTLD_NEXT, "__libc_start_main"))(counted_main, argc, argv, init, fini, rtld_fini,
                                                                        stack_end);
}

EXPORT void* malloc(size_t n) noexcept {
  return fails("malloc", "malloc", CALLER, ENOMEM) ? nullptr : __libc_malloc(n);
}
EXPORT void* calloc(size_t n, size_t size) noexcept {
  return fails("malloc", "calloc", CALLER, ENOMEM) ? nullptr : __libc_calloc(n, size);
}
EXPORT void* realloc(void* p, size_t n) noexcept {
  return fails("malloc", "realloc", CALLER, ENOMEM) ? nullptr : __libc_realloc(p, n);
}
EXPORT void* memalign(size_t a, size_t n) noexcept {
  return fails("malloc", "memalign", CALLER, ENOMEM) ? nullptr : __libc_memalign(a, n);
}
EXPORT void* aligned_alloc(size_t a, size_t n) noexcept {
  return fails("malloc", "aligned_alloc", CALLER, ENOMEM) ? nullptr : __libc_memalign(a, n);
}
EXPORT int posix_memalign(void** p, size_t a, size_t n) noexcept {
  const int before = errno;
  if (fails("malloc", "posix_memalign", CALLER, ENOMEM)) return errno = before, ENOMEM;
  void* got = __libc_memalign(a, n);
  if (got == nullptr) return ENOMEM;
  *p = got;
  return 0;
}

FUNCTION("mmap", void*, mmap, (void* a, size_t n, int p, int f, int fd, off_t o) noexcept, (a, n, p, f, fd, o),
         MAP_FAILED, ENOMEM)
FUNCTION("mmap", void*, mmap64, (void* a, size_t n, int p, int f, int fd, off64_t o) noexcept, (a, n, p, f, fd, o),
         MAP_FAILED, ENOMEM)
FUNCTION("read", ssize_t, read, (int fd, void* p, size_t n), (fd, p, n), -1, EIO)
FUNCTION("read", ssize_t, pread, (int fd, void* p, size_t n, off_t o), (fd, p, n, o), -1, EIO)
FUNCTION("read", ssize_t, pread64, (int fd, void* p, size_t n, off64_t o), (fd, p, n, o), -1, EIO)
FUNCTION("write", ssize_t, pwrite, (int fd, const void* p, size_t n, off_t o), (fd, p, n, o), -1, ENOSPC)
FUNCTION("rename", int, rename, (const char* a, const char* b) noexcept, (a, b), -1, EIO)
FUNCTION("rename", int, renameat, (int d, const char* a, int e, const char* b) noexcept, (d, a, e, b), -1, EIO)
FUNCTION("rename", int, link, (const char* a, const char* b) noexcept, (a, b), -1, EIO)
FUNCTION("rename", int, linkat, (int d, const char* a, int e, const char* b, int f) noexcept, (d, a, e, b, f), -1, EIO)
FUNCTION("fsync", int, fsync, (int fd), (fd), -1, EIO)
FUNCTION("fsync", int, fdatasync, (int fd), (fd), -1, EIO)
FUNCTION("truncate", int, ftruncate, (int fd, off_t n) noexcept, (fd, n), -1, EIO)
FUNCTION("truncate", int, ftruncate64, (int fd, off64_t n) noexcept, (fd, n), -1, EIO)
FUNCTION("mode", int, fchmod, (int fd, mode_t m) noexcept, (fd, m), -1, EPERM)
FUNCTION("mode", int, fchown, (int fd, uid_t u, gid_t g) noexcept, (fd, u, g), -1, EPERM)
FUNCTION("stat", int, stat, (const char* n, struct stat* s) noexcept, (n, s), -1, EIO)
FUNCTION("stat", int, lstat, (const char* n, struct stat* s) noexcept, (n, s), -1, EIO)
FUNCTION("stat", int, fstat, (int fd, struct stat* s) noexcept, (fd, s), -1, EIO)
FUNCTION("stat", int, fstatat, (int d, const char* n, struct stat* s, int f) noexcept, (d, n, s, f), -1, EIO)
FUNCTION("open", FILE*, fopen, (const char* n, const char* m), (n, m), nullptr, EMFILE)
FUNCTION("open", FILE*, fopen64, (const char* n, const char* m), (n, m), nullptr, EMFILE)
FUNCTION("open", DIR*, opendir, (const char* n), (n), nullptr, EMFILE)

/// Standard error is left alone: it is where the program says why.
EXPORT ssize_t write(int fd, const void* p, size_t n) {
  NEXT(write);
  return fd != 2 && fails("write", "write", CALLER, ENOSPC) ? -1 : real_write(fd, p, n);
}

/// As the kernel leaves it behind: the descriptor is gone, and an error came with that.
EXPORT int close(int fd) {
  NEXT(close);
  const bool failing = fails("close", "close", CALLER, EIO);
  const int code = errno, done = real_close(fd);
  if (failing) errno = code;
  return failing ? -1 : done;
}

EXPORT size_t fread(void* p, size_t size, size_t n, FILE* file) {
  NEXT(fread);
  if (!fails("read", "fread", CALLER, EIO)) return real_fread(p, size, n, file);
  file->_flags |= 0x20;  // glibc's error flag, which a failed read sets
  return 0;
}

EXPORT int fflush(FILE* file) {
  NEXT(fflush);
  if (file == stderr || !fails("write", "fflush", CALLER, ENOSPC)) return real_fflush(file);
  file->_flags |= 0x20;
  return EOF;
}

#define OPEN(name, parameters, arguments)                                       \
  EXPORT int name parameters {                                                  \
    NEXT(name);                                                                 \
    mode_t mode = 0;                                                            \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                      \
      va_list list;                                                             \
      va_start(list, flags);                                                    \
      mode = va_arg(list, mode_t);                                              \
      va_end(list);                                                             \
    }                                                                           \
    const bool nameless = (flags & O_TMPFILE) == O_TMPFILE;                     \
    if (nameless && no_nameless) return errno = EOPNOTSUPP, -1;                 \
    if (fails("open", nameless ? "tmpfile" : #name, CALLER, EMFILE)) return -1; \
    return real_##name arguments;                                               \
  }
OPEN(open, (const char* path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char* path, int flags, ...), (path, flags, mode))
OPEN(openat, (int folder, const char* path, int flags, ...), (folder, path, flags, mode))
OPEN(openat64, (int folder, const char* path, int flags, ...), (folder, path, flags, mode))

EXPORT int fcntl(int fd, int command, ...) {
  NEXT(fcntl);
  va_list list;
  va_start(list, command);
  void* argument = va_arg(list, void*);
  va_end(list);
  if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && fails("dup", "fcntl", CALLER, EMFILE)) return -1;
  return real_fcntl(fd, command, argument);
}

/// Also where the C++ library, which stands between, starts a std::thread.
EXPORT int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                          void* argument) noexcept {
  NEXT(pthread_create);
  const int before = errno;
  if (fails("thread", "pthread_create", CALLER, EAGAIN)) return errno = before, EAGAIN;
  return real_pthread_create(thread, attributes, start, argument);
}

}  // extern "C"

namespace {

void* allocate(size_t n, size_t alignment, const void* caller) {
  if (fails("malloc", "new", caller, ENOMEM)) return nullptr;
  return alignment > 0 ? __libc_memalign(alignment, n > 0 ? n : 1) : __libc_malloc(n > 0 ? n : 1);
}

void* need(void* p) {
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

EXPORT void* operator new(size_t n) { return need(allocate(n, 0, CALLER)); }
EXPORT void* operator new[](size_t n) { return need(allocate(n, 0, CALLER)); }
EXPORT void* operator new(size_t n, std::align_val_t a) { return need(allocate(n, size_t(a), CALLER)); }
EXPORT void* operator new[](size_t n, std::align_val_t a) { return need(allocate(n, size_t(a), CALLER)); }
EXPORT void* operator new(size_t n, const std::nothrow_t&) noexcept { return allocate(n, 0, CALLER); }
EXPORT void* operator new[](size_t n, const std::nothrow_t&) noexcept { return allocate(n, 0, CALLER); }
EXPORT void* operator new(size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return allocate(n, size_t(a), CALLER);
}
EXPORT void* operator new[](size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return allocate(n, size_t(a), CALLER);
}
