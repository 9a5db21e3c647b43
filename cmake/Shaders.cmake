# vireo_shaders(TARGET): compiles every module of shaders/*.comp and embeds them all into TARGET as one generated source file.
#
# A module is a file, or a file with one value of each of the switches named in its line 2:
#     // variants: SHUFFLE=0|1 TEXEL=0|1
# The first value of a switch is its default and does not show in the name: linear.texel, linear.texel.SHUFFLE=1.
# Each module is compiled (glslangValidator), optimised (spirv-opt) and validated (spirv-val).
#
# VIREO_PRECOMPILED_SPIRV=<dir> takes <module>.spv from there instead and needs no shader tools; '=' in a module's name is '-' in
# file names. The .spv files of a build (its shaders/ directory) are such a directory.

set(VIREO_PRECOMPILED_SPIRV "" CACHE PATH "Directory of ready .spv files; empty: compile the shaders")
if(POLICY CMP0116)
  cmake_policy(SET CMP0116 NEW)  # absolute paths in depfiles are fine with Ninja
endif()
set(VIREO_CMAKE_DIR ${CMAKE_CURRENT_LIST_DIR})

# Appends "<module>|<source>|<-D;flags>" for every combination of switches of `source` to the list `out`.
function(vireo_shader_variants source out)
  get_filename_component(stem ${source} NAME)
  string(REGEX REPLACE "\\.comp$" "" stem ${stem})
  file(STRINGS ${source} lines LIMIT_COUNT 2)
  set(names "${stem}")
  set(flags "")
  set(sets "${stem}|")                     # pairs "name|flags", flags separated by commas
  if(lines MATCHES "// variants: ([^;]*)")
    string(REPLACE " " ";" switches "${CMAKE_MATCH_1}")
    foreach(switch IN LISTS switches)
      if(NOT switch MATCHES "^([A-Z0-9_]+)=([0-9|]+)$")
        message(FATAL_ERROR "${source}: line 2: cannot read the variant '${switch}'")
      endif()
      set(switch_name ${CMAKE_MATCH_1})
      string(REPLACE "|" ";" values "${CMAKE_MATCH_2}")
      list(GET values 0 default)
      set(grown "")
      foreach(entry IN LISTS sets)
        foreach(value IN LISTS values)
          string(REGEX MATCH "^([^|]*)\\|(.*)$" unused "${entry}")
          set(suffix "")
          if(NOT value STREQUAL default)
            set(suffix ".${switch_name}=${value}")
          endif()
          list(APPEND grown "${CMAKE_MATCH_1}${suffix}|${CMAKE_MATCH_2},-D${switch_name}=${value}")
        endforeach()
      endforeach()
      set(sets "${grown}")
    endforeach()
  endif()
  set(result ${${out}})
  foreach(entry IN LISTS sets)
    string(REGEX MATCH "^([^|]*)\\|(.*)$" unused "${entry}")
    list(APPEND result "${CMAKE_MATCH_1}|${source}|${CMAKE_MATCH_2}")
  endforeach()
  set(${out} "${result}" PARENT_SCOPE)
endfunction()

function(vireo_shaders target)
  set(source_dir ${PROJECT_SOURCE_DIR}/shaders)
  set(out_dir ${PROJECT_BINARY_DIR}/shaders)
  file(MAKE_DIRECTORY ${out_dir})
  file(GLOB sources CONFIGURE_DEPENDS ${source_dir}/*.comp)
  file(GLOB includes CONFIGURE_DEPENDS ${source_dir}/include/*.glsl)
  # Line 2 decides which modules there are: configure again when a shader changes.
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${sources})

  set(modules "")
  foreach(source IN LISTS sources)
    vireo_shader_variants(${source} modules)
  endforeach()
  list(LENGTH modules count)

  if(VIREO_PRECOMPILED_SPIRV)
    message(STATUS "Shaders: ${count} modules, ready-made from ${VIREO_PRECOMPILED_SPIRV}")
  else()
    find_program(GLSLANG_VALIDATOR glslangValidator)
    find_program(SPIRV_OPT spirv-opt)
    find_program(SPIRV_VAL spirv-val)
    if(NOT GLSLANG_VALIDATOR OR NOT SPIRV_OPT OR NOT SPIRV_VAL)
      message(FATAL_ERROR "glslangValidator, spirv-opt and spirv-val are needed to compile the shaders (Debian: glslang-tools, "
                          "spirv-tools); or set VIREO_PRECOMPILED_SPIRV to a directory of ready .spv files")
    endif()
    message(STATUS "Shaders: ${count} modules")
  endif()

  set(list_text "")
  set(spirv "")
  foreach(module IN LISTS modules)
    string(REGEX MATCH "^([^|]*)\\|([^|]*)\\|,?(.*)$" unused "${module}")
    set(name ${CMAKE_MATCH_1})
    set(source ${CMAKE_MATCH_2})
    string(REPLACE "," ";" flags "${CMAKE_MATCH_3}")
    string(REPLACE "=" "-" file ${name})
    if(VIREO_PRECOMPILED_SPIRV)
      set(spv ${VIREO_PRECOMPILED_SPIRV}/${file}.spv)
      if(NOT EXISTS ${spv})
        message(FATAL_ERROR "Shaders: VIREO_PRECOMPILED_SPIRV lacks ${file}.spv")
      endif()
    else()
      set(spv ${out_dir}/${file}.spv)
      set(raw ${out_dir}/${file}.raw.spv)
      set(dep ${out_dir}/${file}.d)
      # From 3.20 on CMake reads depfiles for every generator; before, any change of an include compiles all.
      if(NOT CMAKE_VERSION VERSION_LESS 3.20)
        set(tracking DEPENDS ${source} DEPFILE ${dep})
      else()
        set(tracking DEPENDS ${source} ${includes})
      endif()
      add_custom_command(
        OUTPUT ${raw} ${spv}  # Ninja wants the depfile's target, the raw module, first
        COMMAND ${GLSLANG_VALIDATOR} -V --target-env vulkan1.1 --quiet -I${source_dir}/include ${flags} --depfile ${dep} -o ${raw} ${source}
        COMMAND ${SPIRV_OPT} --target-env=vulkan1.1 -O ${raw} -o ${spv}
        COMMAND ${SPIRV_VAL} --target-env vulkan1.1 ${spv}
        ${tracking}
        COMMENT "Shader ${name}"
        VERBATIM)
    endif()
    list(APPEND spirv ${spv})
    set(list_text "${list_text}${name} ${spv}\n")
  endforeach()

  add_custom_target(vireo_shader_modules DEPENDS ${spirv})  # for VIREO_PRECOMPILED_SPIRV of another build

  set(list_file ${out_dir}/modules.txt)
  file(GENERATE OUTPUT ${list_file} CONTENT "${list_text}")
  set(generated ${out_dir}/modules.cpp)
  add_custom_command(
    OUTPUT ${generated}
    COMMAND ${CMAKE_COMMAND} -DLIST=${list_file} -DOUT=${generated} -P ${VIREO_CMAKE_DIR}/EmbedSpirv.cmake
    DEPENDS ${spirv} ${list_file} ${VIREO_CMAKE_DIR}/EmbedSpirv.cmake
    COMMENT "Embedding ${count} shader modules"
    VERBATIM)
  target_sources(${target} PRIVATE ${generated})
endfunction()
