# plumb_unity(TARGET SOURCES_A_UNIT): compiles the sources of TARGET a few together. Most of the compiler's time goes into
# what they all instantiate again (strings, vectors, maps, JSON), so a build from nothing takes about half; a changed file
# costs its unit. PLUMB_UNITY=OFF, as in the presets for working on the code, compiles every file alone.
function(plumb_unity target sources_a_unit)
  if(PLUMB_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${sources_a_unit})
  endif()
endfunction()
