// Records made by hand for the tests of the record and of the reports: one of each kind of evidence there is.
#pragma once

#include "reference/core/record.hpp"

namespace plumb::reports::testing {

/// verify, gradcheck and bench in one, as `plumb demo` writes: kernels that pass, fail, crash, hang, are
/// skipped, undecided or mistrusted, a peer with a finding, planted bugs; every optional field is filled
/// somewhere.
record::run rich_run();

/// rich_run with every text replaced by one that tries to break out of HTML, Markdown, XML and JSON.
record::run hostile_run();
const char* hostile_text();

}  // namespace plumb::reports::testing
