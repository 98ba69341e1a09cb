// What a run amounts to, in sentences: the one the reader sees first, and the ones under it. HTML, Markdown
// and JUnit take them from here, so they cannot disagree.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reference/core/record.hpp"

namespace plumb::reports {

enum class tone : std::uint8_t { good, neutral, unsure, bad };
std::string_view name_of(tone t);
tone tone_of(record::verdict v);

/// Kernels by verdict.
struct verdict_tally {
  std::array<int, 7> by_verdict{};
  int total = 0;

  void add(record::verdict v) {
    ++by_verdict[static_cast<std::size_t>(v)];
    ++total;
  }
  int of(record::verdict v) const { return by_verdict[static_cast<std::size_t>(v)]; }
  int bad() const;
};

struct sentence {
  reports::tone tone = reports::tone::neutral;
  std::string text;
  bool may_lead = true;  ///< findings about peers inform, they do not decide
};

struct summary {
  verdict_tally kernels;  ///< ours and the plugins'
  verdict_tally peers;
  int certified = 0;             ///< of ours
  std::optional<double> power;   ///< of ours: the weakest detection power of those certified
  int planted = 0;               ///< kernels wrong on purpose
  int planted_caught = 0;        ///< of them, with a bad verdict
  verdict_tally layers;          ///< gradient checks
  int peer_gradients = 0;        ///< gradients of vendors' kernels that are wrong, counted apart
  std::int64_t derivatives = 0;  ///< compared, over all pairs of definitions
  std::int64_t kinks = 0;        ///< coordinates excluded
  int timed = 0;                 ///< kernel × problem with a number
  int untimed = 0;               ///< without, whatever the reason
  std::int64_t cases = 0;
  std::int64_t calls = 0;
  double seconds = 0;
  std::vector<sentence> coverage;  ///< what never ran of the plugins
  sentence headline;               ///< the gravest of all
  std::vector<sentence> lines;     ///< the others, in the order of the sections
};

/// Not killed, but given too few cases to call it a survivor.
bool undecided_fault(const record::fault_result& f);

/// How many problems the sets of a benchmark have, as far as any kernel of the job (`conv2d.forward`) ran them.
class whole_sets {
 public:
  explicit whole_sets(const record::bench_section& bench);
  std::int64_t problems(const record::set_total& t) const;
  bool ran_by(const record::set_total& t) const { return t.problems == problems(t); }

 private:
  std::map<std::pair<std::string, std::string>, std::int64_t> problems_;  ///< of a set and a job
};

summary summarize(std::span<const record::run> runs);

}  // namespace plumb::reports
