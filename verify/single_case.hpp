// One case by itself: judged again from its replay line, told as the record tells it, and what has to come before it where
// a kernel keeps something from call to call.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "verify/exam.hpp"

namespace plumb {

struct shrunk_case {
  test_case smallest;
  std::int64_t steps = 0;
  bool minimal = false;  ///< no single reduction of it still fails
};

/// One case on its own, in the last arena: what `replay` and the shrinker use. `thorough` adds the other
/// thread counts and views. Throws text_error or shape_error if the line does not name a kernel and problem
/// that exist.
struct single_case {
  std::unique_ptr<exam> paper;
  answer result;
};
single_case examine(sandbox& box, const test_case& c, bool thorough);

/// What must have come before, in a new process, for a case to fail.
struct history {
  struct call {
    exam::question data;
    int times = 2;  ///< in a row, with one plan
  };
  std::vector<call> earlier;
  int repeats = 2;         ///< of the case itself, before one of them is wrong
  bool same_plan = false;  ///< the earlier calls have the plan of the case
  answer result;           ///< what was wrong then
};
/// The least of those tried: nothing; one earlier call with other data of the same shapes, or several; the case itself
/// many times over. Nothing if the case failed after none of them.
std::optional<history> what_it_takes(sandbox& box, const test_case& c);

/// A failing (or merely worst) case as the record shows it: tensors, wrong element, heat map.
record::counterexample describe_failure(sandbox& box, const failure& f, const shrunk_case& smallest);
std::optional<record::heat_map> heat_of(sandbox& box, const test_case& c);
record::element element_of(const exam& paper, const answer& a, const judged_element& e);

}  // namespace plumb
