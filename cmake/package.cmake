# Toolchain of `run.sh package aarch64|amd64`: Debian 12's GCC with the C library (2.31), the C++ library (GCC 10) and the picture
# libraries of Debian 11, which cmake/package.sh unpacks to build/package/sysroot-ARCH. GCC 12, because what is measured and tested
# elsewhere is its code, and because GCC 10 knows no AMX; an old C library, because a program starts on no system whose C library is
# older than the newest symbol that it binds. What still is newer than JetPack 4.6's 2.27 goes through cmake/glibc_2_27/.

set(VIREO_PACKAGE_ARCH "" CACHE STRING "aarch64 or amd64")
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES VIREO_PACKAGE_ARCH)
set(CMAKE_SYSTEM_NAME Linux)
if(VIREO_PACKAGE_ARCH STREQUAL "aarch64")
  set(CMAKE_SYSTEM_PROCESSOR aarch64)
elseif(VIREO_PACKAGE_ARCH STREQUAL "amd64")
  set(CMAKE_SYSTEM_PROCESSOR x86_64)
else()
  message(FATAL_ERROR "VIREO_PACKAGE_ARCH is '${VIREO_PACKAGE_ARCH}'; expected aarch64 or amd64")
endif()
set(VIREO_TRIPLET ${CMAKE_SYSTEM_PROCESSOR}-linux-gnu)
set(CMAKE_C_COMPILER ${VIREO_TRIPLET}-gcc-12)
set(CMAKE_CXX_COMPILER ${VIREO_TRIPLET}-g++-12)
set(CMAKE_STRIP ${VIREO_TRIPLET}-strip)

get_filename_component(VIREO_ROOT "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
set(CMAKE_SYSROOT "${VIREO_ROOT}/build/package/sysroot-${VIREO_PACKAGE_ARCH}")
set(CMAKE_LIBRARY_ARCHITECTURE ${VIREO_TRIPLET})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
foreach(kind INCLUDE LIBRARY PACKAGE)
  set(CMAKE_FIND_ROOT_PATH_MODE_${kind} ONLY)
endforeach()

# Every folder of headers is named: a cross compiler looks into its own package of the C library before any sysroot.
execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=include OUTPUT_VARIABLE own OUTPUT_STRIP_TRAILING_WHITESPACE)
set(usr "${CMAKE_SYSROOT}/usr")
set(c "-isystem ${own} -isystem ${usr}/include/${VIREO_TRIPLET} -isystem ${usr}/include")
set(cxx "-isystem ${CMAKE_CURRENT_LIST_DIR}/glibc_2_27 -isystem ${usr}/include/c++/10 -isystem ${usr}/include/${VIREO_TRIPLET}/c++/10")
# The start files, libgcc and libstdc++ likewise.
set(link "-B${usr}/lib/gcc/${VIREO_TRIPLET}/10 -B${usr}/lib/${VIREO_TRIPLET}")
# Sections, so that the linker leaves out what nobody calls.
set(code "-ffunction-sections -fdata-sections")
if(VIREO_PACKAGE_ARCH STREQUAL "aarch64")
  # Calls of libgcc's helpers for atomics would need GCC 9.4 where the static library is linked, and gain nothing on ARMv8.0.
  string(APPEND code " -mno-outline-atomics")
endif()
set(CMAKE_C_FLAGS_INIT "${link} -nostdinc ${c} ${code}")
# GCC 12 takes the members that GCC 10's std::function leaves unset where it is empty for a mistake. So warnings are no errors here
# (CMakePresets.json); they are in every other build, with the headers of GCC 12.
set(CMAKE_CXX_FLAGS_INIT "${link} -nostdinc -nostdinc++ ${cxx} ${c} ${code} -Wno-uninitialized -Wno-maybe-uninitialized")

set(objects "${VIREO_ROOT}/build/package/objects-${VIREO_PACKAGE_ARCH}")
set(wrap "-static-libstdc++ -static-libgcc -Wl,--gc-sections -Wl,--exclude-libs,ALL")
file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/glibc_2_27/wrap.c" functions REGEX "^WRAP")
foreach(line IN LISTS functions)
  string(REGEX REPLACE "^WRAP[A-Z_0-9]*\\(([a-z0-9_]+).*" "\\1" name "${line}")
  string(APPEND wrap " -Wl,--wrap=${name}")
endforeach()
foreach(language C CXX)
  set(CMAKE_${language}_STANDARD_LIBRARIES_INIT "${objects}/libwrap.a")
endforeach()
set(CMAKE_EXE_LINKER_FLAGS_INIT "${wrap}")
# C++ code that every program has in its own copy (of std::vector and so on) is not exported.
set(CMAKE_SHARED_LINKER_FLAGS_INIT "${wrap} -Wl,--version-script=${CMAKE_CURRENT_LIST_DIR}/glibc_2_27/exports.map")
set(CMAKE_MODULE_LINKER_FLAGS_INIT "${wrap} -Wl,--version-script=${CMAKE_CURRENT_LIST_DIR}/glibc_2_27/plugin.map")

# pkg-config, which names GStreamer's headers, reads the sysroot's files alone.
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${CMAKE_SYSROOT}")
set(ENV{PKG_CONFIG_LIBDIR} "${usr}/lib/${VIREO_TRIPLET}/pkgconfig:${usr}/share/pkgconfig")
set(ENV{PKG_CONFIG_PATH} "")

# What is read as headers only has no architecture and comes from the machine that builds; nothing else of its /usr/include may.
set(headers "${VIREO_ROOT}/build/package/headers")
foreach(name FMT JSON HIGHWAY VULKAN VOLK CLI11)
  set(VIREO_${name}_INCLUDE "${headers}" CACHE PATH "" FORCE)
endforeach()
set(VIREO_STB_INCLUDE "${headers}/stb" CACHE PATH "" FORCE)

# A static libtiff wants what it calls behind it, and the codecs that are left out before it.
set(VIREO_TIFF_BEFORE "${objects}/tiff_codecs.o")
foreach(name deflate jpeg z)
  list(APPEND VIREO_TIFF_AFTER "${usr}/lib/${VIREO_TRIPLET}/lib${name}.a")
endforeach()
