# Settings common to every target of this project: language levels, warnings, sanitizers, ccache, output folders.

set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(VIREO_TOP_LEVEL)
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
  set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
  set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
endif()

find_program(VIREO_CCACHE ccache)
if(VIREO_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER "${VIREO_CCACHE}")
  # What ccache needs to be told of precompiled headers, which the tool uses.
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros "${VIREO_CCACHE}")
endif()

# vireo_keep_precompiled(TARGET): for ccache, which may bring a precompiled header back with another time.
function(vireo_keep_precompiled target)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(${target} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
  endif()
endfunction()

# vireo_cold(FILE...): files that need not be fast are optimised little, so that they compile sooner.
function(vireo_cold)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS $<$<CONFIG:Release>:-O1>)
endfunction()

# Every target of ours links this; it is never exported.
add_library(vireo_options INTERFACE)
target_compile_options(vireo_options INTERFACE -Wall -Wextra)
if(VIREO_WERROR)
  target_compile_options(vireo_options INTERFACE -Werror)
endif()

if(VIREO_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "VIREO_FUZZ needs clang (CC=clang CXX=clang++): GCC has no libFuzzer")
  endif()
  if(NOT VIREO_SANITIZE)
    set(VIREO_SANITIZE "address,undefined")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# Sanitizers apply to everything, also to the tests, so they are set for the directory.
if(VIREO_SANITIZE)
  add_compile_options("-fsanitize=${VIREO_SANITIZE}" -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options("-fsanitize=${VIREO_SANITIZE}")
endif()
