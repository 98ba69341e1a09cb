# Run at build time: writes OUTPUT, a header with the revision of the sources, and touches it only when that changes.
execute_process(COMMAND git -C ${SOURCE_DIR} describe --always --dirty --abbrev=12
  OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  set(revision "")
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "// Written by the build.\n#pragma once\n#define PLUMB_GIT_REVISION \"${revision}\"\n")
