/* Linked into what a package holds. These functions of the C library have a new version since 2.28 (the new ones do not
 * set errno) or exist only since then; `ld --wrap` (cmake/package.cmake reads the names below) sends every call here,
 * also those of archives that were compiled elsewhere, and from here they go to the version that every system has. */
#if defined(__x86_64__)
#define OLDEST "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define OLDEST "GLIBC_2.17"
#else
#error "the oldest version of the C library's symbols on this architecture is not known here"
#endif

#define HIDDEN __attribute__((visibility("hidden")))
#define OLD(name) __asm__(".symver old_" #name "," #name "@" OLDEST);

#define WRAP(name)                       \
  extern double old_##name(double);      \
  OLD(name)                              \
  HIDDEN double __wrap_##name(double x); \
  double __wrap_##name(double x) { return old_##name(x); }
#define WRAP_2(name)                               \
  extern double old_##name(double, double);        \
  OLD(name)                                        \
  HIDDEN double __wrap_##name(double x, double y); \
  double __wrap_##name(double x, double y) { return old_##name(x, y); }

WRAP(exp)
WRAP(log)
WRAP(exp2)
WRAP(log2)
WRAP_2(pow)
/* The float functions are new since 2.27, which is just old enough. */

/* fcntl64 is what calls of fcntl become where files may be large; on 64 bits it is fcntl. */
#include <stdarg.h>
extern int old_fcntl(int, int, ...);
OLD(fcntl)
HIDDEN int __wrap_fcntl64(int file, int command, ...);
#define WRAP_3(name)                              \
  int __wrap_##name(int file, int command, ...) { \
    va_list rest;                                 \
    va_start(rest, command);                      \
    void* argument = va_arg(rest, void*);         \
    va_end(rest);                                 \
    return old_fcntl(file, command, argument);    \
  }
WRAP_3(fcntl64)
