// Before libstdc++'s own header of this name on the include path of a package's build (cmake/package.cmake): its inline
// functions shall call nothing that glibc has only since 2.30, in the static library too.
#include_next <bits/c++config.h>
#undef _GLIBCXX_USE_PTHREAD_COND_CLOCKWAIT
#undef _GLIBCXX_USE_PTHREAD_MUTEX_CLOCKLOCK
#undef _GLIBCXX_USE_PTHREAD_RWLOCK_CLOCKLOCK
