# What `cmake --install` gives to others: the plugin headers as plumb::plugin, and the contract as plumb::core.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(plumb_package ${CMAKE_INSTALL_LIBDIR}/cmake/plumb)
set_target_properties(plumb_plugin PROPERTIES EXPORT_NAME plugin)
set_target_properties(plumb_core PROPERTIES EXPORT_NAME core)
set_target_properties(plumb_options PROPERTIES EXPORT_NAME options)

install(TARGETS plumb_plugin plumb_core plumb_options EXPORT plumb_targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT plumb_devel)
install(DIRECTORY reference/core/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT plumb_devel)
install(DIRECTORY reference/core DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/plumb-${PROJECT_VERSION}/reference
  COMPONENT plumb_devel FILES_MATCHING PATTERN "*.hpp" PATTERN "tests" EXCLUDE PATTERN "include" EXCLUDE)
install(EXPORT plumb_targets NAMESPACE plumb:: DESTINATION ${plumb_package} COMPONENT plumb_devel)

configure_package_config_file(cmake/plumbConfig.cmake.in ${PROJECT_BINARY_DIR}/plumbConfig.cmake
  INSTALL_DESTINATION ${plumb_package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/plumbConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/plumbConfig.cmake ${PROJECT_BINARY_DIR}/plumbConfigVersion.cmake
  DESTINATION ${plumb_package} COMPONENT plumb_devel)
