# Toolchain: 64-bit ARM by Debian's cross compiler; libraries of that architecture come from Debian's packages for arm64
# (section aarch64 of packages.txt).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
# The cross compiler's own C++ library, not one that the emulated programs would look for and no package here installs.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static-libstdc++ -static-libgcc")
