# cmake --install: library, headers, CMake package, pkg-config file, the command line tool, the shipped models and what one can try.

include(CMakePackageConfigHelpers)

set(libraries vireo)
if(TARGET vireo_shared)
  list(APPEND libraries vireo_shared)
endif()
install(TARGETS ${libraries} EXPORT vireoTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/vireo DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(EXPORT vireoTargets NAMESPACE vireo:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/vireo)

configure_package_config_file(cmake/vireoConfig.cmake.in "${PROJECT_BINARY_DIR}/vireoConfig.cmake"
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/vireo)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/vireoConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/vireoConfig.cmake" "${PROJECT_BINARY_DIR}/vireoConfigVersion.cmake"
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/vireo)

# The prefix in vireo.pc is relative to the file, so that the installed tree can be moved or carried to a board.
file(RELATIVE_PATH VIREO_PC_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" VIREO_PC_PREFIX "${VIREO_PC_PREFIX}")
configure_file(cmake/vireo.pc.in "${PROJECT_BINARY_DIR}/vireo.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/vireo.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(TARGET vireo_cli)
  install(TARGETS vireo_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
foreach(model fashion-vit fashion-vit-small disaster-upernet)
  if(EXISTS "${PROJECT_SOURCE_DIR}/models/${model}/model.safetensors")
    install(DIRECTORY models/${model} DESTINATION ${CMAKE_INSTALL_DATADIR}/vireo/models PATTERN "*.py" EXCLUDE
      PATTERN "__pycache__" EXCLUDE)
  endif()
endforeach()
# What one can try without a model or a board: configurations of published networks, and the devices of built-in machines.
install(DIRECTORY models/configs DESTINATION ${CMAKE_INSTALL_DATADIR}/vireo/models FILES_MATCHING PATTERN "*.json")
install(DIRECTORY engine/profile/caps DESTINATION ${CMAKE_INSTALL_DATADIR}/vireo FILES_MATCHING PATTERN "*.txt")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/vireo)
