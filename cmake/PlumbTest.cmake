# plumb_add_test(NAME LABEL label SOURCES a.cpp … LIBRARIES lib … [DEPENDS target …] [TIMEOUT seconds] [SERIAL]
# [SERIAL_TESTS filter]):
# one GoogleTest executable, one CTest entry per case. Labels: unit (also run under the sanitizers), property, golden,
# end_to_end, project. DEPENDS names programs the test starts; SERIAL keeps other tests away while it measures time,
# SERIAL_TESTS from those of its tests that a GoogleTest filter names.
if(PLUMB_BUILD_TESTS)
  add_custom_target(plumb_unit_tests)
  # What nearly every test includes, compiled once: GoogleTest and our own headers take as long as the tests.
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/test_headers.cpp CONTENT "")
  add_library(plumb_test_headers OBJECT ${PROJECT_BINARY_DIR}/test_headers.cpp)
  target_link_libraries(plumb_test_headers PRIVATE plumb_options GTest::gtest OpenMP::OpenMP_CXX)
  set_target_properties(plumb_test_headers PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(plumb_test_headers PRIVATE ${plumb_light} -fPIE)  # as executables are compiled, or they cannot use it
  if(PLUMB_FEW_SCALARS)
    target_compile_definitions(plumb_test_headers PRIVATE PLUMB_FEW_SCALARS)
  endif()
  target_precompile_headers(plumb_test_headers PRIVATE
    <gtest/gtest.h> <reference/layers/catalogue.hpp>)
endif()

function(plumb_add_test name)
  if(NOT PLUMB_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "SERIAL" "LABEL;TIMEOUT;SERIAL_TESTS" "SOURCES;LIBRARIES;DEPENDS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set(serial)
  if(ARG_SERIAL)
    set(serial RUN_SERIAL ON)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  plumb_unity(${name} 10)
  target_precompile_headers(${name} REUSE_FROM plumb_test_headers)
  # What takes time is in the libraries. The precompiled headers of the library make g++ 12 suspect its own strings.
  target_compile_options(${name} PRIVATE ${plumb_light}
    "$<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overflow;-Wno-array-bounds>")
  target_link_libraries(${name} PRIVATE
    plumb_options ${ARG_LIBRARIES} GTest::gtest GTest::gtest_main OpenMP::OpenMP_CXX)
  if(PLUMB_FEW_SCALARS)
    target_compile_definitions(${name} PRIVATE PLUMB_FEW_SCALARS)
  endif()
  if(ARG_DEPENDS)
    add_dependencies(${name} ${ARG_DEPENDS})
  endif()
  if(ARG_LABEL STREQUAL "unit")
    add_dependencies(plumb_unit_tests ${name})
  endif()
  set(discover DISCOVERY_MODE PRE_TEST WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set(properties PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT ${ARG_TIMEOUT}
    ENVIRONMENT "PLUMB_BUILD_DIR=${PROJECT_BINARY_DIR}")
  if(ARG_SERIAL_TESTS)
    gtest_discover_tests(${name} ${discover} TEST_FILTER "${ARG_SERIAL_TESTS}" ${properties} RUN_SERIAL ON)
    list(APPEND discover TEST_FILTER "-${ARG_SERIAL_TESTS}")
  endif()
  gtest_discover_tests(${name} ${discover} ${properties} ${serial})
endfunction()

# plumb_add_script_test(NAME SCRIPT ARGUMENT …): a test of the project itself, written as a shell script in tests/.
function(plumb_add_script_test name script)
  add_test(NAME ${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/${script} ${ARGN} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS project TIMEOUT 300 SKIP_RETURN_CODE 77
    ENVIRONMENT "PLUMB_BUILD_DIR=${PROJECT_BINARY_DIR}")
endfunction()
