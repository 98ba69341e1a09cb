# The record and its provenance, added to plumb_core. The revision is looked up at every build, the rest at configure.
target_sources(plumb_core PRIVATE core/record.cpp core/write_file.cpp core/provenance.cpp)
target_link_libraries(plumb_core PRIVATE nlohmann_json::nlohmann_json)
set_source_files_properties(core/record.cpp PROPERTIES COMPILE_OPTIONS ${plumb_light})  # read and written once a run
string(TOUPPER "${CMAKE_BUILD_TYPE}" build_type)
set_source_files_properties(core/provenance.cpp PROPERTIES COMPILE_DEFINITIONS
  "PLUMB_VERSION=\"${PROJECT_VERSION}\";PLUMB_COMPILER=\"${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}\";PLUMB_FLAGS=\"${CMAKE_CXX_FLAGS_${build_type}} -std=c++20 -ffp-contract=off\"")
# Versions of what the kernels and the reference are built on, `name=version` each.
pkg_check_modules(OPENBLAS QUIET openblas)
find_file(dnnl_version_header oneapi/dnnl/dnnl_version.h)
if(dnnl_version_header)
  file(STRINGS ${dnnl_version_header} dnnl_VERSION REGEX "define DNNL_VERSION_(MAJOR|MINOR|PATCH)")
  list(TRANSFORM dnnl_VERSION REPLACE "[^0-9]*([0-9]+).*" "\\1")
  list(JOIN dnnl_VERSION "." dnnl_VERSION)
endif()
set(libraries "Boost=${Boost_VERSION};GMP=${GMP_VERSION};MPFR=${MPFR_VERSION};Highway=${hwy_VERSION}")
string(APPEND libraries ";Google Benchmark=${benchmark_VERSION};oneDNN=${dnnl_VERSION};OpenBLAS=${OPENBLAS_VERSION}")
list(FILTER libraries EXCLUDE REGEX "=$")
string(REPLACE ";" "," libraries "${libraries}")
set_property(SOURCE core/provenance.cpp APPEND PROPERTY COMPILE_DEFINITIONS "PLUMB_LIBRARIES=\"${libraries}\"")
set(revision_header ${CMAKE_CURRENT_BINARY_DIR}/generated/git_revision.hpp)
add_custom_target(plumb_git_revision BYPRODUCTS ${revision_header}
  COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${PROJECT_SOURCE_DIR} -DOUTPUT=${revision_header}
          -P ${PROJECT_SOURCE_DIR}/cmake/git_revision.cmake VERBATIM)
add_dependencies(plumb_core plumb_git_revision)
target_include_directories(plumb_core PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/generated)
