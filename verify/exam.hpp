// An exam: one problem and pass put to several kernels at once, over several regimes. Every question (a
// regime with its drawn data) is laid out twice in shared memory, against the front and against the rear
// guard page, and each kernel answers it at least twice, over two poisons. While the worker computes, the
// oracle works out the truth here.
//
//     exam e(…);  e.submit(box, arena);  e.evaluate();  e.collect(box, each answer);
#pragma once

#include <functional>
#include <list>
#include <memory>

#include "reference/core/record.hpp"
#include "verify/bounds.hpp"
#include "verify/case.hpp"
#include "verify/checks.hpp"
#include "verify/compare.hpp"
#include "verify/oracle.hpp"
#include "verify/regimes.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb {

/// What went wrong in one case.
struct failure {
  std::string
      kind;  ///< `wrong value`, `unwritten`, `write outside`, `not repeatable`, `crash`, `time limit`, …
  std::string message;  ///< one sentence with the numbers
  record::verdict verdict = record::verdict::fail;
  std::string tensor;
  std::optional<judged_element> element;
  test_case conditions;  ///< replays it
};

/// One kernel's answer to one question: a case.
struct answer {
  const kernel_info* kernel = nullptr;
  std::size_t question = 0;
  std::string declined;  ///< not empty: why; nothing else is filled then
  std::optional<failure> wrong;
  int calls = 0;
  comparison result;  ///< over all tensors written
  detection power;
  bool statistical = false;  ///< the regime has a statistical threshold
  std::string worst_tensor;
  std::string implementation;
  double seconds = 0;  ///< of the kernel's own runs
};

/// How the answers are to be taken.
struct conditions {
  dtype type = dtype::f32;
  plumb::layout layout = layout::nchw;
  int threads = 1;        ///< of the two ordinary runs
  bool thorough = false;  ///< also other thread counts, misaligned bases, gapped strides where declared
  int oracle_threads = 1;
  const checks* by = &all_checks();
};

class exam {
 public:
  struct question {
    std::string regime;  ///< a regime's name, or `given`
    std::uint64_t seed = 0;
    std::vector<datum> data;                                  ///< with `given`
    std::shared_ptr<const tensor_set<double>> captured = {};  ///< regime `captured`: the data themselves
    bool judged = true;  ///< false: it is put before the others, only so that something has come before
  };

  exam(std::shared_ptr<const layer> l, const pass_spec& pass, conditions how, std::vector<question> questions,
       run_statistics statistics);

  const layer& about() const { return *layer_; }
  const pass_spec& pass() const { return *pass_; }
  const conditions& how() const { return how_; }
  const std::vector<question>& questions() const { return questions_; }
  const tensor_set<double>& reads(std::size_t q) const { return paper_->reads[q]; }
  const std::vector<truths>& truth(std::size_t q) const { return paper_->oracles[q]->results(); }
  /// Thresholds for each tensor written, for one kernel's declaration.
  const std::vector<thresholds>& thresholds_for(std::size_t q, const kernel_info& k) {
    return bounds_for(q, k).tensors;
  }
  /// What the kernel wrote in its first run, as it lies in the arena until the arena's next use.
  const std::vector<placed_tensor>& outputs(std::size_t kernel, std::size_t q) const;
  index_t escalations(std::size_t q) const { return paper_->oracles[q]->escalations(); }

  /// The same questions and truth under other conditions (of the same element type).
  exam under(conditions how) const;

  /// How many kernels fit into one submission.
  std::size_t kernels_at_once() const;
  void submit(sandbox& box, arena& a, std::vector<const kernel_info*> kernels);
  /// Works out the truth of every question; the first call does it, later ones are free.
  void evaluate();
  /// Waits for the kernels of the last submission and judges them.
  void collect(sandbox& box, const std::function<void(answer&)>& each);

  /// The case that a failure of this kernel and question would be replayed by.
  test_case case_of(const kernel_info& k, std::size_t q) const;

 private:
  struct run_record {
    std::size_t kernel;
    std::size_t question;
    bool ordinary;  ///< one of the two runs over both poisons; else only its bits are compared
    int threads;
    std::vector<placed_tensor> writes;
    placement where;
    poison fill;
  };
  /// Thresholds of one question for one declaration.
  struct declared_bounds {
    std::string arithmetic;
    double ulps = 0;
    std::string error;  ///< not empty: no bound is known for that arithmetic
    std::vector<thresholds> tensors;
    detection power;
    bool statistical = false;
  };

  std::vector<placed_tensor> place_reads(arena& a, std::size_t q, placement where, bool gapped);
  shape strides_of(std::string_view tensor, bool gapped) const;
  void add_run(arena& a, std::vector<kernel_run>& runs, std::size_t kernel, std::size_t q, placement where,
               poison fill, int threads, const std::vector<placed_tensor>& reads, bool ordinary, bool gapped);
  answer judge(std::size_t kernel, std::size_t q, const std::vector<run_result>& results);
  std::optional<failure> trouble(const run_record& run, const run_result& result) const;
  std::optional<failure> disagreement(const run_record& a, const run_record& b) const;
  void compare_values(const run_record& run, answer& out);
  failure failed(const run_record& run, std::string kind, std::string message) const;
  const declared_bounds& bounds_for(std::size_t q, const kernel_info& k);

  std::shared_ptr<const layer> layer_;
  const pass_spec* pass_;
  conditions how_;
  run_statistics statistics_;
  std::vector<question> questions_;
  std::vector<std::list<declared_bounds>> bounds_;  // one list a question
  /// Data and truth, shared by exams that differ in layout or threads only.
  struct paper {
    std::vector<tensor_set<double>> reads;
    std::vector<std::unique_ptr<oracle>> oracles;
    bool evaluated = false;
  };
  std::shared_ptr<paper> paper_ = std::make_shared<paper>();

  arena* arena_ = nullptr;
  std::vector<const kernel_info*> kernels_;
  std::vector<run_record> runs_;
  comparison scratch_;
};

/// That call, with its tensors placed in the arena and the data stored.
kernel_run run_over(arena& a, const kernel_info& kernel, const layer& l, const pass_spec& pass,
                    const tensor_set<double>& reads, const conditions& how);
/// One call of a kernel on the given data, in the last arena; throws kernel_declined if it does not answer.
tensor_set<double> call_once(sandbox& box, const kernel_info& kernel, const layer& l, const pass_spec& pass,
                             const tensor_set<double>& reads, const conditions& how);

/// The case with its drawn data written out: regime `given`, every element but +0 listed. A case without drawn data
/// comes back as it is.
test_case with_data(const test_case& c);
/// The pass that a kernel's name speaks of. Throws text_error.
const pass_spec& pass_of(const layer& l, std::string_view kernel);
/// All the tensors that the pass reads: drawn from the regime, or zeros but for the data given.
tensor_set<double> materialise(const layer& l, const pass_spec& pass, const exam::question& q, dtype type);
/// The same question but for one real input element, drawn by the seed, that is one larger: a kernel that knows its
/// inputs by a sample of them takes the two for one. Nothing if there is no such element, or too much data to list.
std::optional<exam::question> with_one_change(const layer& l, const pass_spec& pass, const exam::question& q,
                                              dtype type, std::uint64_t seed);
/// `y[n=0 k=1 p=0 q=2]`
std::string element_name(const layer& l, std::string_view tensor, index_t at);
std::vector<record::coordinate> named_coordinates(const layer& l, std::string_view tensor, index_t at);

}  // namespace plumb
