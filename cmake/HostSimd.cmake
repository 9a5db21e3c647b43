# VIREO_SIMD_HOST: of the instruction sets that kernels are compiled for (engine/simd/targets.h), only the best that this computer's
# processor has, and the portable ones. For a tool that stays here: a sixth of the whole build less.

option(VIREO_SIMD_HOST "Compile SIMD kernels for this computer's processor alone, and portable ones" OFF)

set(host "")
if(VIREO_SIMD_HOST AND NOT CMAKE_CROSSCOMPILING AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  # What the compiler says of the processor; it asks the same registers as simd/dispatch.cpp does when the program runs.
  execute_process(COMMAND "${CMAKE_CXX_COMPILER}" -march=native -dM -E -x c++ /dev/null
    OUTPUT_VARIABLE macros ERROR_VARIABLE said RESULT_VARIABLE failed)
  foreach(target IN ITEMS
      AVX3=AVX512F,AVX512VL,AVX512DQ,AVX512BW,FMA,F16C,BMI2
      AVX2=AVX2,FMA,F16C,BMI2
      SSE4=SSE4_2)
    string(REGEX MATCH "^(.*)=(.*)$" unused "${target}")
    set(name ${CMAKE_MATCH_1})
    string(REPLACE "," ";" features "${CMAKE_MATCH_2}")
    set(has TRUE)
    foreach(feature IN LISTS features)
      if(NOT macros MATCHES "#define __${feature}__ 1")
        set(has FALSE)
      endif()
    endforeach()
    if(has AND NOT host)
      set(host ${name})
    else()
      list(APPEND others HWY_${name})
    endif()
  endforeach()
  if(failed)
    message(STATUS "VIREO_SIMD_HOST: ${CMAKE_CXX_COMPILER} does not know this processor; kernels are compiled for all")
  else()
    list(JOIN others " | " others)
    message(STATUS "SIMD kernels: ${host} (this processor's) and portable ones")
    set_property(SOURCE ${simd} APPEND PROPERTY COMPILE_DEFINITIONS "VIREO_SIMD_WITHOUT=(${others})")
  endif()
endif()
