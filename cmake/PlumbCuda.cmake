# CUDA by hand: nvcc is found as PLUMB_WITH_CUDA=AUTO|ON|OFF asks and called through custom commands. CMake's own CUDA
# language would take seconds of every configuration, know nothing of this nvcc's C++20, and make nvcc the linker of
# every test; here a library of device code is linked by g++ with the static runtime, and a machine without nvcc builds
# the same targets.
#
# One pass of the front end, for sm_80, whose instructions are all that most kernels use: from it machine code for sm_90,
# and PTX of which a driver makes code for sm_80 and for what comes after sm_90. Each further target costs half a minute.
# Files named *_hopper.cu use what sm_90a alone has, and are compiled for that alone.
set(PLUMB_NVCC_FLAGS -std=c++20 -O3 -ccbin ${CMAKE_CXX_COMPILER} -Xcompiler=-fPIC,-Wall,-Wextra
  --expt-relaxed-constexpr -Werror all-warnings)
set(PLUMB_NVCC_TARGETS -gencode arch=compute_80,code=[sm_90,compute_80])
set(PLUMB_NVCC_HOPPER_TARGETS -gencode arch=compute_90a,code=sm_90a)

# plumb_find_cuda() sets PLUMB_HAS_CUDA to 1 or 0, PLUMB_NVCC and PLUMB_CUDA_HOME.
function(plumb_find_cuda)
  set(PLUMB_HAS_CUDA 0 PARENT_SCOPE)
  if(PLUMB_WITH_CUDA STREQUAL "OFF")
    message(STATUS "CUDA: off")
    return()
  endif()
  find_program(PLUMB_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
  set(trouble "nvcc was not found")
  if(PLUMB_NVCC)
    file(REAL_PATH ${PLUMB_NVCC} nvcc)
    cmake_path(GET nvcc PARENT_PATH home)
    cmake_path(GET home PARENT_PATH home)
    set(trouble)
    find_library(PLUMB_CUDART cudart_static HINTS ${home} PATH_SUFFIXES lib64 lib)
    if(NOT PLUMB_CUDART)
      set(trouble "libcudart_static.a was not found under ${home}")
    elseif(NOT PLUMB_NVCC_WORKS STREQUAL "${nvcc} ${CMAKE_CXX_COMPILER}")
      # A compiler that does not go together with this host compiler shows here, not in the middle of a build.
      file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/nvcc_works.cu CONTENT "__global__ void works() {}\n")
      execute_process(COMMAND ${nvcc} ${PLUMB_NVCC_FLAGS} -c nvcc_works.cu -o nvcc_works.o
        WORKING_DIRECTORY ${PROJECT_BINARY_DIR} RESULT_VARIABLE status OUTPUT_VARIABLE said ERROR_VARIABLE said)
      if(status EQUAL 0)
        set(PLUMB_NVCC_WORKS "${nvcc} ${CMAKE_CXX_COMPILER}" CACHE INTERNAL "nvcc and host compiler that were tried")
      else()
        set(trouble "${nvcc} compiles nothing here: ${said}")
      endif()
    endif()
  endif()
  if(trouble)
    if(PLUMB_WITH_CUDA STREQUAL "ON")
      message(FATAL_ERROR "PLUMB_WITH_CUDA=ON, but ${trouble}")
    endif()
    message(STATUS "CUDA: no, ${trouble}")
    return()
  endif()
  message(STATUS "CUDA: ${nvcc}")
  set(PLUMB_HAS_CUDA 1 PARENT_SCOPE)
  set(PLUMB_CUDA_HOME ${home} PARENT_SCOPE)
endfunction()

# plumb_add_device_code(TARGET file.cu …): a static library of what nvcc makes of the files.
function(plumb_add_device_code target)
  set(objects)
  foreach(file IN LISTS ARGN)
    string(MAKE_C_IDENTIFIER ${file} object)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${object}.o)
    set(targets ${PLUMB_NVCC_TARGETS})
    if(file MATCHES "_hopper\\.cu$")
      set(targets ${PLUMB_NVCC_HOPPER_TARGETS})
    endif()
    add_custom_command(OUTPUT ${object}
      COMMAND ${CMAKE_CXX_COMPILER_LAUNCHER} ${PLUMB_NVCC} ${PLUMB_NVCC_FLAGS} ${targets} -I${PROJECT_SOURCE_DIR}
        -MD -MF ${object}.d -c ${CMAKE_CURRENT_SOURCE_DIR}/${file} -o ${object}
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${file} DEPFILE ${object}.d VERBATIM
      COMMENT "Building CUDA object ${file}")
    list(APPEND objects ${object})
  endforeach()
  set(archive ${CMAKE_CURRENT_BINARY_DIR}/lib${target}.a)
  add_custom_command(OUTPUT ${archive}
    COMMAND ${CMAKE_COMMAND} -E rm -f ${archive}
    COMMAND ${CMAKE_AR} qcs ${archive} ${objects}
    DEPENDS ${objects} VERBATIM COMMENT "Archiving CUDA objects")
  add_custom_target(${target}_archive DEPENDS ${archive})
  add_library(${target} STATIC IMPORTED GLOBAL)
  add_dependencies(${target} ${target}_archive)
  set_target_properties(${target} PROPERTIES IMPORTED_LOCATION ${archive})
  target_link_libraries(${target} INTERFACE ${PLUMB_CUDART} Threads::Threads ${CMAKE_DL_LIBS} rt)
endfunction()
