# Files that are compiled together: reading the headers takes longer than most of the project's own lines.

option(VIREO_UNITY "Compile the files of a module together: a third sooner as a whole, slower after an edit" OFF)
set(VIREO_UNITY_BYTES 60000 CACHE STRING "VIREO_UNITY: how many bytes of sources are compiled together; more than a module has finds all names that clash")
mark_as_advanced(VIREO_UNITY_BYTES)

# vireo_unity(LIST GROUP FILE...): with VIREO_UNITY, replaces these files in the list LIST by generated ones that include up to
# VIREO_UNITY_BYTES of them each; GROUP becomes the list of what is compiled for them. Names at file scope must differ within a module, as which
# files meet depends on their sizes: the stage novulkan of CI compiles whole modules. What a file includes it must include itself all the
# same: the stage clang compiles every file alone.
function(vireo_unity list group)
  if(NOT VIREO_UNITY)
    set(${group} ${ARGN} PARENT_SCOPE)
    return()
  endif()
  set(sources ${${list}})
  set(made)
  set(text)
  set(size 0)
  foreach(source IN LISTS ARGN)
    list(REMOVE_ITEM sources "${source}")
    string(APPEND text "#include \"${source}\"\n")
    file(SIZE "${source}" bytes)
    math(EXPR size "${size} + ${bytes}")
    list(GET ARGN -1 last)
    if(size GREATER VIREO_UNITY_BYTES OR source STREQUAL last)
      list(LENGTH made index)
      set(file "${CMAKE_CURRENT_BINARY_DIR}/unity/${group}_${index}.cpp")
      file(CONFIGURE OUTPUT "${file}" CONTENT "${text}" @ONLY)
      list(APPEND made "${file}")
      set(text)
      set(size 0)
    endif()
  endforeach()
  set(${list} ${sources} ${made} PARENT_SCOPE)
  set(${group} ${made} PARENT_SCOPE)
endfunction()
