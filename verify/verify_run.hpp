// One run of the verifier from inside: what it has found out so far, and the steps that it takes in turn. Each group of
// steps has its own file: runner.cpp (whose turn it is, and for how long), problem_choice.cpp (which problem comes next),
// answers.cpp (what the kernels made of it), law_runs.cpp (laws, and thousands of calls in a row), run_record.cpp (what the
// record says, and runs that are cut short). Only these include this header.
#pragma once

#include <chrono>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "verify/candidate.hpp"
#include "verify/fitting.hpp"
#include "verify/runner.hpp"

namespace plumb {

inline constexpr double other_types_share =
    1.0 / 8;  // of the time that the first element type of a kernel gets

/// Kernels of one layer, pass and element type: they are given the same problems.
struct verify_group {
  std::string layer, pass;
  dtype type = dtype::f32;
  std::vector<candidate*> members;
  bool first_type = true;  ///< of its kernels; problems in the others are drawn more rarely
  double spent = 0;
  std::uint64_t drawn = 0;
  std::uint64_t drawn_before = 0;  ///< by the run that this one goes on with
  std::map<std::string, std::int64_t> triggers;
  std::map<const candidate*, fitting> fittings;
  std::vector<std::string> lighting;  ///< problems that made blocks of a plugin run for the first time

  double cost() const {
    return spent / static_cast<double>(members.size()) / (first_type ? 1 : other_types_share);
  }
};

/// Questions that the worker has, or is about to get.
struct pending_exam {
  std::unique_ptr<exam> paper;
  verify_group* from = nullptr;
  std::vector<candidate*> members;
  bool fitted = false;  ///< to one of them
};

struct chosen_problem {
  std::string text;
  plumb::layout layout = layout::nchw;
  bool thorough = false;
  bool fitted = false;
};

/// Products of the whole pass, from one element in the middle; elements for passes that are no contraction.
double work_of(const layer& l, const pass_spec& pass);

class verify_run {
 public:
  verify_run(sandbox& box, const verify_options& options);
  record::verify_section run();

 private:
  using clock = std::chrono::steady_clock;
  static constexpr std::size_t most_counterexamples = 3;
  static constexpr double seconds_to_recur = 1;  ///< a failure that comes and goes
  static double since(clock::time_point start) {
    return std::chrono::duration<double>(clock::now() - start).count();
  }

  // runner.cpp
  verify_group& group_of(const kernel_info& k, dtype type);
  double spent() const { return spent_before_ + since(start_); }
  double left() const { return options_.seconds - spent(); }
  void report(const std::string& now, std::size_t done = 0);
  candidate* find(std::string_view kernel);
  void replay_regressions();
  void generated();
  /// The one whose kernels have had the least time; in the second half of the run first the one that soonest has the
  /// cases that it lacks.
  verify_group* next_group();
  /// How long it will take until each kernel of the group has the least number of cases, at the rate so far; infinite if
  /// it has none.
  static double seconds_missing(const verify_group& g);
  void listed();
  void judge_problem(verify_group& g, const std::shared_ptr<const layer>& l, const pass_spec& pass,
                     std::size_t done);
  static void note_problem(record::problem_result& result, const exam& paper, const answer& a,
                           int& certifying, regime r);
  static void close_problem(candidate& who, record::problem_result& result, int certifying, bool trusted);
  bool interrupted();
  bool complete() const { return !options_.problems.empty() && done_ == options_.problems.size(); }

  // problem_choice.cpp
  /// Draws the next problem of the group and hands it to the worker.
  std::unique_ptr<pending_exam> set_exam(verify_group& g);
  std::uint64_t seed_of(std::uint64_t number) const;
  /// One problem in eight comes back two exams later, in the same buffers with fresh values: a kernel that remembers an
  /// address or a shape instead of computing gives itself away.
  static bool comes_back(std::uint64_t number) { return number % 8 == 5; }
  static plumb::layout layout_of(std::uint64_t number);
  static bool thorough(std::uint64_t number) { return number % 8 == 3; }
  chosen_problem drawn_problem(const verify_group& g, std::uint64_t number) const;
  /// A problem made to fit the kernel of the group that has answered the fewest, if that one is choosy.
  std::optional<chosen_problem> fitted_problem(verify_group& g, std::uint64_t seed);
  void make_fit(const verify_group& g, const candidate& who, fitting& f, plumb::layout order,
                std::uint64_t seed);
  /// Drawn; one in four is near a problem that made something new run, if there are such.
  std::string problem_number(std::uint64_t number, std::uint64_t seed, const verify_group& g) const;
  /// Keeps the problem that was judged last if blocks of a plugin ran that never had.
  void note_new_blocks(const pending_exam& p);
  std::vector<candidate*> takers(const verify_group& g, const conditions& how) const;

  // answers.cpp
  /// Submits to the next arena; where not all kernels fit at once, all but the last portion are waited for
  /// here.
  void send(pending_exam& p);
  void submit(exam& paper, const std::vector<candidate*>& members);
  /// Judges the exam that the worker was given before the present one.
  void drain();
  void collect(pending_exam& p);
  static void offer(candidate& c, const answer& a, const std::vector<std::string>& classes);
  /// Books one answer.
  void take(const exam& paper, answer& a, candidate& c);
  void tell(const candidate& c, const std::string& family, const std::string& kind) const;
  void note_failure(candidate& c, const failure& f);
  /// Shrinks and describes what failed since the last call. Nothing may be under way in the last arena.
  void settle_failures();
  /// A counterexample deserves some seconds, but not the whole run.
  double time_to_shrink(std::size_t waiting) const;
  /// The same data through nested loops in float, as the backdrop of the kernels' histogram.
  void naive_histogram(pending_exam& p);

  // law_runs.cpp
  void one_law(verify_group& g, const pending_exam& p);
  void judge_law(const law& each, candidate& who, const exam& paper, std::uint64_t seed);
  record::counterexample broken_law(const law& each, const candidate& who, const exam& paper,
                                    std::uint64_t seed, const law_verdict& v);
  /// A failure that is not shown by the data of one call: only its problem is shrunk.
  record::counterexample without_data(const std::string& kind, const std::string& law,
                                      const std::string& preface, const test_case& drawn,
                                      const std::function<bool(const test_case&)>& fails,
                                      const std::string& message);
  void one_endurance(const pending_exam& p);
  void note_leak(candidate& c, const test_case& drawn, const endurance& seen);

  // run_record.cpp
  record::verify_section section_so_far() const;
  void draw_heat(record::verify_section& section);
  void checkpoint();
  record::unfinished_run where_it_stands() const;
  candidate known(const kernel_info& k) const;
  void take_up(const record::verify_section& earlier);

  sandbox& box_;
  const verify_options& options_;
  clock::time_point start_;
  std::vector<candidate> candidates_;
  std::list<verify_group> groups_;
  std::vector<std::pair<candidate*, failure>> failures_;
  std::map<std::pair<candidate*, std::string>, std::int64_t> waiting_counts_;
  std::map<std::string, std::int64_t> problems_;
  std::int64_t cases_ = 0;
  std::int64_t calls_ = 0;
  std::unique_ptr<pending_exam> under_way_;
  std::uint64_t exams_ = 0;
  std::uint32_t blocks_ = 0;
  int arena_ = 0;
  std::size_t next_law_ = 0;
  double law_seconds_ = 0;
  double endurance_seconds_ = 0;
  double fitting_seconds_ = 0;
  double aside_ = 0;  ///< seconds for what is no exam: shrinking, laws, endurance
  std::string stopped_;
  std::size_t done_ = 0;  ///< problems of the list
  double spent_before_ = 0;
  std::map<std::string, record::trigger> triggers_before_;
  clock::time_point last_checkpoint_;
};

}  // namespace plumb
