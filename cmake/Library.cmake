# The library. `vireo_engine` and `vireo_engine_json` hold the objects once; `vireo` is what others link; `vireo_internal` is the static form that
# the tests link, because they look inside (the shared library hides everything but the public API).

find_package(Threads REQUIRED)
include("${CMAKE_CURRENT_LIST_DIR}/Unity.cmake")

file(GLOB VIREO_SOURCES CONFIGURE_DEPENDS engine/*/*.cpp engine/*/*.c)
file(GLOB VIREO_HEADERS CONFIGURE_DEPENDS engine/*/*.h engine/*/*.def include/vireo/*)
if(NOT VIREO_VULKAN)
  list(FILTER VIREO_SOURCES EXCLUDE REGEX "/engine/(vk/|runtime/adopt\\.cpp$)")
endif()

# Header-only dependencies of the engine; none of them shows in the public headers.
find_path(VIREO_FMT_INCLUDE fmt/format.h REQUIRED)
find_path(VIREO_JSON_INCLUDE nlohmann/json.hpp REQUIRED)
find_path(VIREO_HIGHWAY_INCLUDE hwy/highway.h REQUIRED)
set(VIREO_PRIVATE_INCLUDES "${VIREO_FMT_INCLUDE}" "${VIREO_JSON_INCLUDE}" "${VIREO_HIGHWAY_INCLUDE}")
if(VIREO_VULKAN)
  find_path(VIREO_VULKAN_INCLUDE vulkan/vulkan.h REQUIRED)
  find_path(VIREO_VOLK_INCLUDE volk.h REQUIRED)
  list(APPEND VIREO_PRIVATE_INCLUDES "${VIREO_VULKAN_INCLUDE}" "${VIREO_VOLK_INCLUDE}")
endif()
list(REMOVE_DUPLICATES VIREO_PRIVATE_INCLUDES)

# What the engine and the tests, which see its headers, are compiled with.
add_library(vireo_private INTERFACE)
target_include_directories(vireo_private INTERFACE "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/engine")
target_include_directories(vireo_private SYSTEM INTERFACE ${VIREO_PRIVATE_INCLUDES})
target_compile_definitions(vireo_private INTERFACE VIREO_VULKAN=$<BOOL:${VIREO_VULKAN}>
  VIREO_VERSION="${PROJECT_VERSION}")
if(VIREO_VULKAN)
  target_compile_definitions(vireo_private INTERFACE VK_NO_PROTOTYPES)
endif()

# fmt.cpp holds what fmt needs besides its headers.
set(VIREO_FMT_SOURCE "${CMAKE_CURRENT_LIST_DIR}/fmt.cpp")
set_source_files_properties("${VIREO_FMT_SOURCE}" PROPERTIES COMPILE_OPTIONS -O0 SKIP_PRECOMPILE_HEADERS ON)
# Every CPU must round a row's codes alike, whether or not it can fuse a multiplication with an addition.
set_source_files_properties(engine/simd/attention_i8.cpp engine/simd/i8.cpp engine/simd/i8_amx.cpp PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
# Its loops are written out in vectors: what -O3 adds takes as long again to compile and saves no time that was measured.
set_source_files_properties(engine/simd/picture.cpp PROPERTIES COMPILE_OPTIONS $<$<CONFIG:Release>:-O2>)
# What reads or writes JSON is a target of its own, so that nlohmann's header is read once for it, and not at all for the others.
foreach(source IN LISTS VIREO_SOURCES)
  file(STRINGS "${source}" reads LIMIT_COUNT 1 REGEX "^#include \"(base/json|model/json|compress/extend)\\.h\"")
  if(reads AND NOT source MATCHES "/engine/base/")
    list(APPEND with_json "${source}")
  endif()
endforeach()
set(without_json ${VIREO_SOURCES})
list(REMOVE_ITEM without_json ${with_json})

# Most of the engine's code runs once for a model, not once for a number: configurations, plans, reports. At -O3 that took half as
# long again to compile as at -O1, for answers no sooner. Of the modules named here all but these files are cold, which go over
# weights, pixels or every step of an inference, or time something.
set(hot "/engine/(\
compress/(awq|bias_correction|encode|gptq|linalg|mix_rows|mlp_columns|moments|obs|qk_rank|range_pearson|ranges|\
rtn|shrink|simulate|simulate_fit|synthetic|tokens|value_columns)|\
model/(compressed|preprocess|resize|resize_float|safetensors)|plan/(pack|quantise)|\
profile/(probes|rounds)|runtime/(latency|recompute|scores|self_test|session)|shader/(count|interpreter|interpreter_math)|\
vk/(executable|flight|map|record|timing|weights))\\.cpp$")
foreach(module compress device model plan profile runtime vk)
  foreach(part with_json without_json)
    set(cold ${${part}})
    list(FILTER cold INCLUDE REGEX "/engine/${module}/.*\\.cpp$")
    list(FILTER cold EXCLUDE REGEX "${hot}")
    vireo_unity(${part} ${module}_${part} ${cold})
    vireo_cold(${${module}_${part}})
  endforeach()
endforeach()
# What compress computes with, optimised as everything else is.
set(computes ${without_json})
list(FILTER computes INCLUDE REGEX "/engine/compress/[^/]*\\.cpp$")
list(FILTER computes INCLUDE REGEX "${hot}")
vireo_unity(without_json compress_computes ${computes})
# A module of two languages, SPIR-V's and its own, whose names are the same.
set(cold ${without_json})
list(FILTER cold INCLUDE REGEX "/engine/shader/.*\\.cpp$")
list(FILTER cold EXCLUDE REGEX "${hot}")
vireo_cold(${cold})
# Operators plan; the kernels they name are elsewhere. Not cold: arithmetic that answers or quantisers are made with.
set(cold ${without_json})
list(FILTER cold INCLUDE REGEX "/engine/ops/.*\\.cpp$")
list(FILTER cold EXCLUDE REGEX "/(attention_rounded|rounded|round|integer|row_grid)[^/]*\\.cpp$")
vireo_cold(${cold})
vireo_cold("${PROJECT_SOURCE_DIR}/engine/base/json.cpp")
add_library(vireo_engine OBJECT ${without_json} "${VIREO_FMT_SOURCE}")
add_library(vireo_engine_json OBJECT ${with_json})
foreach(part vireo_engine vireo_engine_json)
  target_link_libraries(${part} PRIVATE vireo_options vireo_private Threads::Threads)
  target_compile_options(${part} PRIVATE -fno-math-errno)  # sqrt without a call; nothing here reads errno after math
  # What most files read, once for all; a file that leaves out an include of its own is found by clang, which has it for JSON alone.
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_precompile_headers(${part} PRIVATE <fmt/format.h> <algorithm> <cmath> <cstring> <functional> <map> <memory>
      <mutex> <string> <thread> <vector>)
  endif()
  vireo_keep_precompiled(${part})
endforeach()
target_precompile_headers(vireo_engine_json PRIVATE <base/json.h>)
# With one, GCC 12 takes options of the header's (-ffp-contract) for functions under Highway's target pragmas.
file(GLOB simd CONFIGURE_DEPENDS engine/simd/*.cpp)
set_source_files_properties(${simd} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
include("${CMAKE_CURRENT_LIST_DIR}/HostSimd.cmake")

# What the built-in machines can do, as `vireo devices --caps` prints it.
include("${CMAKE_CURRENT_LIST_DIR}/EmbedText.cmake")
file(GLOB VIREO_CAPS CONFIGURE_DEPENDS engine/profile/caps/*.txt)
vireo_embed_text(vireo_engine vireo::embedded_caps ${VIREO_CAPS})

if(EXISTS "${CMAKE_CURRENT_LIST_DIR}/Shaders.cmake")
  include("${CMAKE_CURRENT_LIST_DIR}/Shaders.cmake")
  vireo_shaders(vireo_engine)
endif()

# A module may include only what stands above it (cmake/Layers.cmake): checked now, and again when a file changes.
set(VIREO_LAYERS_COMMAND "${CMAKE_COMMAND}" -D "ROOT=${PROJECT_SOURCE_DIR}" -P "${CMAKE_CURRENT_LIST_DIR}/Layers.cmake")
add_custom_command(OUTPUT "${PROJECT_BINARY_DIR}/layers.stamp"
  COMMAND ${VIREO_LAYERS_COMMAND}
  COMMAND "${CMAKE_COMMAND}" -E touch "${PROJECT_BINARY_DIR}/layers.stamp"
  DEPENDS ${VIREO_SOURCES} ${VIREO_HEADERS} "${CMAKE_CURRENT_LIST_DIR}/Layers.cmake"
  COMMENT "Checking the order of the engine's modules" VERBATIM)
add_custom_target(vireo_layers DEPENDS "${PROJECT_BINARY_DIR}/layers.stamp")
add_dependencies(vireo_engine vireo_layers)
add_dependencies(vireo_engine_json vireo_layers)

# vireo_library(NAME [KIND]): what others link.
function(vireo_library name)
  add_library(${name} ${ARGN} $<TARGET_OBJECTS:vireo_engine> $<TARGET_OBJECTS:vireo_engine_json>)
  add_library(vireo::${name} ALIAS ${name})
  set_target_properties(${name} PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
    OUTPUT_NAME vireo LINKER_LANGUAGE CXX)
  target_compile_features(${name} PUBLIC cxx_std_17)
  target_include_directories(${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${name} PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
endfunction()
vireo_library(vireo)
if(VIREO_SHARED_TOO AND NOT BUILD_SHARED_LIBS)
  vireo_library(vireo_shared SHARED)
endif()

if(BUILD_SHARED_LIBS)
  add_library(vireo_internal STATIC EXCLUDE_FROM_ALL $<TARGET_OBJECTS:vireo_engine> $<TARGET_OBJECTS:vireo_engine_json>)
  set_target_properties(vireo_internal PROPERTIES LINKER_LANGUAGE CXX)
else()
  add_library(vireo_internal INTERFACE)
  target_link_libraries(vireo_internal INTERFACE vireo)
endif()
target_link_libraries(vireo_internal INTERFACE vireo_private Threads::Threads ${CMAKE_DL_LIBS})
