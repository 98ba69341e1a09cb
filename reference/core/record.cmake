# The record and its provenance, added to plumb_core. The revision is looked up at every build, the rest at configure.
target_sources(plumb_core PRIVATE core/record.cpp core/write_file.cpp core/provenance.cpp)
target_link_libraries(plumb_core PRIVATE nlohmann_json::nlohmann_json)
string(TOUPPER "${CMAKE_BUILD_TYPE}" build_type)
set_source_files_properties(core/provenance.cpp PROPERTIES COMPILE_DEFINITIONS
  "PLUMB_VERSION=\"${PROJECT_VERSION}\";PLUMB_COMPILER=\"${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}\";PLUMB_FLAGS=\"${CMAKE_CXX_FLAGS_${build_type}} -std=c++20 -ffp-contract=off\"")
set(revision_header ${CMAKE_CURRENT_BINARY_DIR}/generated/git_revision.hpp)
add_custom_target(plumb_git_revision BYPRODUCTS ${revision_header}
  COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${PROJECT_SOURCE_DIR} -DOUTPUT=${revision_header}
          -P ${PROJECT_SOURCE_DIR}/cmake/git_revision.cmake VERBATIM)
add_dependencies(plumb_core plumb_git_revision)
target_include_directories(plumb_core PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/generated)
