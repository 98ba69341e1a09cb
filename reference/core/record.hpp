// The record: what one run (verify, gradcheck, bench, audit, demo) found out, as plain structs that become one
// versioned JSON file and back. Every number a report shows comes from here; reports/ reads nothing else
// (docs/record.md).
//
// One list of fields in record_fields.hpp serves the writer and the reader. Lists and optionals that are empty are
// left out of the file; every other field is required, and a reader names the first one that is missing or
// broken. JSON has no NaN and no infinity: they are written as the strings "nan", "inf", "-inf".
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace plumb {

/// A record or report could not be written: one sentence that names the path and the reason (exit code 3).
class report_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A record could not be read: one sentence that names the file and the field (exit code 2).
class record_error : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// Writes all of `text` or nothing: into a new file beside `path`, flushed to the disk and renamed over it. A
/// path that exists and is no regular file (a device, a pipe) is written in place. Throws report_error.
void write_file(const std::filesystem::path& path, std::string_view text);

namespace record {

/// The schema this build writes, and the newest one it reads. What a newer schema added is optional, so that
/// older records are read as they are (docs/record.md lists the additions).
inline constexpr int schema_version = 3;

enum class verdict : std::uint8_t { pass, fail, mistrusted, inconclusive, skipped, crashed, timeout };
std::string_view name_of(verdict v);
/// fail, crashed, timeout and mistrusted: what makes a run exit with 1 when the kernel is not a peer.
constexpr bool is_bad(verdict v) {
  return v == verdict::fail || v == verdict::crashed || v == verdict::timeout || v == verdict::mistrusted;
}

// ---------------------------------------------------------------------------------------------- provenance

struct library {
  std::string name;  ///< `oneDNN`
  std::string version;
};

struct provenance {
  std::string plumb_version;
  std::string git_revision;  ///< empty when the sources were no git checkout
  std::string date;          ///< UTC, ISO 8601: `2025-03-01T12:34:56Z`
  std::string cpu;           ///< model name
  int cores = 0;             ///< logical processors this process may run on
  std::string isa;           ///< `avx2 fma avx512f avx512_bf16 …`
  std::string gpu;           ///< empty: none used
  std::string os;            ///< distribution and kernel release
  std::string compiler;      ///< `GNU 12.2.0`
  std::string flags;         ///< what the kernels were compiled with
  std::uint64_t seed = 0;
  std::string command_line;  ///< as typed, arguments quoted where needed
  std::vector<library> libraries;
};

/// Everything above that this process can find out about itself, with the libraries it was built with; the
/// caller sets seed and command_line.
provenance provenance_of_this_process();

// ---------------------------------------------------------------------------------------------- tensors and
// elements

/// `c=2` in `n=0 c=2 p=5 q=1`.
struct coordinate {
  std::string axis;
  std::int64_t at = 0;
};

/// One output element and the judgement on it.
struct element {
  std::string problem;
  std::string regime;
  std::uint64_t seed = 0;
  std::string replay;  ///< the line that `plumb replay` takes
  std::string tensor;  ///< `y`, `dx`, …
  std::vector<coordinate> coordinates;
  double got = 0;
  double truth = 0;              ///< the oracle's value
  double ulps = 0;               ///< |got - truth| in units in the last place of the output type
  double error = 0;              ///< got - truth, signed
  double statistical_bound = 0;  ///< 0: the check had none (it compared bits)
  double proven_bound = 0;       ///< 0: bits were compared
  std::optional<double>
      backward_error;               ///< |got - truth| / S, S the sum of magnitudes: what the kernel added
  std::optional<double> condition;  ///< S / |truth|: what the data make of it
};

enum class tensor_role : std::uint8_t { input, got, expected };

/// A small tensor shown in full: row-major values, `marked` are the row-major numbers of wrong elements.
struct tensor_dump {
  std::string name;
  tensor_role role = tensor_role::input;
  std::string dtype;  ///< `f32`
  std::vector<std::int64_t> shape;
  std::vector<std::string> axes;  ///< index letters, one an axis; may be empty
  std::vector<double> values;
  std::vector<std::int64_t> marked;
};

/// Signed error of one output tensor, one image (tile) a channel. A cell covers row_step × col_step elements
/// and shows the one with the largest |share|; `at` is that element's row-major number in the whole tensor.
struct heat_tile {
  std::string label;  ///< `n=0 k=3`
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<double>
      share;  ///< rows·cols, (got - truth) / bound, signed; inf where bits had to match and did not
  std::vector<double> got;
  std::vector<double> truth;
  std::vector<double> ulps;
  std::vector<std::int64_t> at;
};

struct heat_map {
  std::string problem;
  std::string regime;
  std::string replay;
  std::string tensor;
  std::string bound;  ///< what share counts in: `statistical`, `proven`, or `ulp` when bits were compared
  std::vector<std::int64_t> shape;
  std::vector<std::string> axes;
  std::int64_t row_step = 1;
  std::int64_t col_step = 1;
  std::int64_t tiles_left_out = 0;  ///< channels not shown
  std::vector<heat_tile> tiles;
};

/// Bin i counts elements with edges[i] ≤ ulps < edges[i+1]; edges has one entry more than counts, the last is
/// inf.
struct ulp_histogram {
  std::vector<double> edges;
  std::vector<std::int64_t> counts;
  std::vector<std::int64_t> naive_counts;  ///< the same data through nested loops in float; may be empty
};

// ---------------------------------------------------------------------------------------------- verify

struct reason_count {
  std::string reason;
  std::int64_t count = 0;
};

/// Coverage by attribute class: of the problems offered with, say, `groups>1`, how many the kernel accepted.
struct coverage_class {
  std::string name;
  std::int64_t offered = 0;
  std::int64_t accepted = 0;
};

struct regime_tally {
  std::string regime;
  std::int64_t cases = 0;
  std::int64_t failures = 0;
  std::optional<double>
      worst_statistical;  ///< largest |error| / statistical bound; absent where it does not apply
  std::optional<double> worst_proven;  ///< largest |error| / proven bound
  double worst_ulps = 0;
};

struct law_tally {
  std::string law;
  std::int64_t cases = 0;
  std::int64_t failures = 0;
};

/// A failure, shrunk.
struct counterexample {
  std::string
      kind;  ///< what failed in two words: `wrong value`, `write outside`, `crash`, `time limit`, `law`
  std::string message;  ///< one sentence with the numbers
  std::string law;      ///< the law or check that failed
  std::string problem;  ///< the shrunk problem
  std::string regime;
  std::string replay;
  std::string original_problem;  ///< as it was drawn
  std::string original_replay;
  std::int64_t shrink_steps = 0;  ///< reductions that kept it failing
  bool minimal = false;           ///< no axis, attribute or datum can be reduced by one step and still fail
  std::int64_t occurrences = 1;   ///< failing cases of this kind seen in the run
  std::string pattern;  ///< where the wrong elements lie, if recognised: `border`, `tail`, `stripe`, …
  std::optional<element> wrong;  ///< the first wrong element
  std::vector<tensor_dump> tensors;
};

/// One problem of a named set, judged over all regimes (`--problems resnet50`).
struct problem_result {
  std::string problem;
  record::verdict verdict = record::verdict::inconclusive;
  std::string reason;
  bool certified = false;
  std::int64_t elements = 0;  ///< output elements compared
  std::optional<double> worst_statistical;
  std::optional<double> worst_proven;
  double worst_ulps = 0;
  double seconds = 0;
};

struct kernel_result {
  std::string name;
  std::string layer;
  std::string pass;
  std::string arithmetic;
  std::string determinism;
  std::string device;
  std::string origin;    ///< `built in`, or the plugin's file name
  bool peer = false;     ///< a vendor's: its failure is a finding, counted apart
  bool planted = false;  ///< wrong on purpose (the demo's examples): its failure is the expected outcome
  record::verdict verdict = record::verdict::inconclusive;
  std::string reason;  ///< why; empty for pass
  bool certified = false;
  std::int64_t cases = 0;
  std::int64_t calls = 0;
  std::int64_t elements = 0;              ///< output elements compared with the oracle
  std::int64_t oracle_escalations = 0;    ///< elements where double could not decide
  std::optional<std::int64_t> unbounded;  ///< elements that passed though nothing bounds their error
  std::optional<std::int64_t> trusted;    ///< problems on which zeros or a lost term would have been seen
  std::optional<std::int64_t> endured;    ///< calls in a row that left nothing behind
  double seconds = 0;
  std::int64_t offered = 0;  ///< problems put to `supports`
  std::int64_t accepted = 0;
  std::vector<reason_count> declined;
  std::vector<coverage_class> coverage;
  std::vector<regime_tally> regimes;
  std::vector<law_tally> laws;
  std::optional<double>
      detection_power;         ///< smallest relative loss of a single term that the run would have seen
  std::vector<element> worst;  ///< worst first
  std::optional<heat_map> heat;
  std::optional<ulp_histogram> ulps;
  std::vector<counterexample> counterexamples;
  std::vector<problem_result> problems;
};

/// How often a trigger of operators.md (an edge case a generator must reach) was drawn.
struct trigger {
  std::string name;
  std::int64_t drawn = 0;
  std::int64_t applicable = 0;  ///< problems in which it could have been drawn
};

/// How many problems of one layer, pass and element type were drawn: the next one has that number.
struct drawn_problems {
  std::string layer;
  std::string pass;
  std::string dtype;
  std::int64_t drawn = 0;
  double seconds = 0;
};

/// Where a run stopped that did not get to its end, so that `--resume` can go on.
struct unfinished_run {
  std::string stopped;  ///< `SIGINT`, or empty: the record was written on the way
  double budget = 0;    ///< seconds that it was given
  std::int64_t shard = 0;
  std::int64_t shards = 1;
  std::vector<drawn_problems> drawn;
  std::vector<std::string> problems;  ///< of a list, those still to be judged
};

/// What ran of a plugin that was compiled with -fsanitize-coverage=trace-pc.
struct plugin_coverage {
  std::string library;
  std::int64_t ran = 0;  ///< edges
  std::int64_t missed = 0;
  std::vector<std::string> never;  ///< `k_tail.cpp:18`: source lines of which no edge ran
  std::string reason;              ///< why nothing is known
};

struct coverage_section {
  std::vector<plugin_coverage> libraries;
};

struct verify_section {
  std::int64_t cases = 0;
  std::int64_t calls = 0;
  double seconds = 0;
  std::vector<trigger> triggers;
  std::vector<kernel_result> kernels;
  std::optional<coverage_section> coverage;
  std::optional<unfinished_run> unfinished;
};

// ---------------------------------------------------------------------------------------------- gradcheck

/// Two definitions of one derivative, compared at every point of the check.
struct agreement {
  std::string first;  ///< `dual`, `vjp`, `jacobian`, `numeric`
  std::string second;
  std::string derivative;  ///< `dy/dweight`; empty when all are meant
  std::string scalar;      ///< `rational`, `mp50`, `double`
  std::int64_t compared = 0;
  bool exact = false;         ///< every difference was zero
  double max_difference = 0;  ///< relative to the larger magnitude
  double digits = 0;          ///< decimal digits in which they agree; meaningless when exact
  record::verdict verdict = record::verdict::inconclusive;
  std::string reason;
};

/// Error of the central difference against step size in one scalar type: falls like h^truncation_slope coming
/// from the right until rounding takes over and it rises like h^rounding_slope.
struct v_curve {
  std::string derivative;
  std::string scalar;  ///< `float`, `double`, `mp50`
  std::vector<double> step;
  std::vector<double> error;  ///< relative; 0 where the difference is exact
  double truncation_slope = 2;
  double rounding_slope = -1;
};

/// A Jacobian small enough to look at: row-major, rows are outputs, columns inputs.
struct jacobian_image {
  std::string derivative;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<double> explicit_values;
  std::vector<double> numeric_values;
  std::int64_t full_rows = 0;  ///< of the matrix this is cut from
  std::int64_t full_cols = 0;
  std::int64_t nonzeros = 0;  ///< in the whole matrix
};

/// A kernel's backward pass against the reference's gradient.
struct kernel_gradient {
  std::string kernel;
  std::string pass;
  bool peer = false;
  record::verdict verdict = record::verdict::inconclusive;
  std::string reason;
  std::optional<double> worst_proven;
  double worst_ulps = 0;
  std::optional<double> detection_power;  ///< as of a kernel_result, on this problem
  std::vector<element> worst;
  std::optional<heat_map> heat;
  std::optional<ulp_histogram> ulps;
};

/// A coordinate at which the function has a kink, so that no derivative was taken there.
struct kink {
  std::string tensor;  ///< the input: `x`
  std::vector<coordinate> coordinates;
};

/// The same derivatives two ways: the explicit Jacobian formed entry by entry, and one product with it that forms
/// none (vjp). In double, single-threaded, naive: what counts is how they grow.
struct jacobian_cost {
  std::int64_t inputs = 0;   ///< differentiable input elements: columns
  std::int64_t outputs = 0;  ///< rows
  std::int64_t entries = 0;  ///< emitted by the explicit definition
  double explicit_seconds = 0;
  double implicit_seconds = 0;
};

struct layer_check {
  std::string layer;
  std::string problem;
  record::verdict verdict = record::verdict::inconclusive;
  std::string reason;
  std::int64_t points = 0;          ///< places at which derivatives were taken
  std::int64_t kinks_excluded = 0;  ///< coordinates left out because the winner changed
  double seconds = 0;
  std::vector<kink> kinks;  ///< the first of the excluded ones
  std::optional<jacobian_cost> cost;
  std::vector<agreement> agreements;
  std::vector<v_curve> curves;
  std::vector<jacobian_image> jacobians;
  std::vector<kernel_gradient> kernels;
};

struct gradcheck_section {
  int digits = 50;
  std::vector<layer_check> layers;
};

// ---------------------------------------------------------------------------------------------- bench

enum class comparison : std::uint8_t { faster, same, slower, ambiguous };
std::string_view name_of(comparison c);

/// How many times as long as the baseline a kernel takes: below 1 is faster. [low, high] is the 95 %
/// interval.
struct time_ratio {
  std::string against;
  double value = 1;
  double low = 1;
  double high = 1;
  record::comparison comparison = record::comparison::ambiguous;
};

struct measurement {
  double seconds = 0;  ///< median of the samples
  double low = 0;      ///< 95 % interval of the median
  double high = 0;
  std::vector<double> samples;  ///< seconds a call, in the order taken; may be thinned
  std::vector<double> fastest;  ///< seconds of the fastest call of each sample; empty in older records
  std::vector<int> rounds;      ///< in which round each sample was taken; empty in schema 1
  double flops = 0;             ///< of the textbook algorithm, one call
  double bytes = 0;             ///< compulsory traffic, one call
  double gflops = 0;            ///< flops / median
  double gbytes = 0;            ///< bytes / median
  double roof_share = 0;        ///< of the roof at this intensity, best roof sample of the same run
  std::optional<time_ratio> ratio;
};

/// One call with inputs and outputs flushed from the caches.
struct cold_time {
  double seconds = 0;  ///< median of the samples
  double low = 0;      ///< 95 % interval of the median
  double high = 0;
  std::vector<double> samples;
};

/// One kernel on one problem. Without a measurement, `reason` says why.
struct timing {
  std::string problem;
  std::string set;  ///< the problem set it came from
  std::string kernel;
  std::string implementation;  ///< behind a vendor's front: `brgconv:avx512_core`
  std::string layout;
  bool peer = false;
  bool baseline = false;
  record::verdict verdict = record::verdict::inconclusive;  ///< of the check before the clock started
  std::string reason;
  std::optional<double> worst_ulps;    ///< accuracy on this problem, for speed against accuracy
  std::optional<double> worst_proven;  ///< share of the proven bound
  std::optional<record::measurement> measurement;
  std::optional<cold_time> cold;
  std::optional<double> prepare_seconds;  ///< making the plan and packing the weights, timed apart
};

struct roof {
  double peak_gflops = 0;  ///< best sample
  double peak_gbytes = 0;
  std::vector<double> gflops_samples;
  std::vector<double> gbytes_samples;
};

/// The problem of a set on which a kernel is slowest beside the baseline.
struct worst_problem {
  std::string problem;
  double ratio = 0;  ///< time over the baseline's time
};

/// What is demanded over a set: speeds over the baseline's.
struct speed_goal {
  double mean = 0;   ///< geometric mean
  double worst = 0;  ///< no problem below
};

/// A whole problem set, or all sets of a run: geometric mean of the ratios, and the summed time.
struct set_total {
  std::string set;
  std::string kernel;
  bool peer = false;
  std::int64_t problems = 0;  ///< with a number for both
  double seconds = 0;         ///< sum of the medians
  std::optional<time_ratio> ratio;
  std::optional<worst_problem> worst = {};
  std::optional<speed_goal> goal = {};  ///< if there is one for this kernel and layout
};

/// The oracle's time for every output of a problem, beside dgemm on the matrix product of the same shape.
struct oracle_timing {
  std::string problem;
  std::string set;
  std::string kernel;  ///< whose outputs were certified, on zero-mean and on positive data
  record::verdict verdict = record::verdict::inconclusive;
  std::string reason;
  std::int64_t elements = 0;   ///< outputs
  std::int64_t certified = 0;  ///< compared with the truth
  std::int64_t terms = 0;      ///< of a full output
  double worst_proven = 0;
  double seconds = 0;       ///< truth, bounds and comparison of all outputs, best of some
  double gemm_seconds = 0;  ///< best of as many
  double gemm_gflops = 0;
  double ratio = 0;  ///< seconds over gemm_seconds
};

struct bench_section {
  std::string baseline;
  int threads = 1;
  /// Round / rounds_a_visit is the visit: its samples share a process and its memory. 0: one visit.
  std::optional<std::int64_t> rounds_a_visit;
  record::roof roof;
  std::vector<timing> timings;
  std::vector<set_total> sets;
  std::vector<oracle_timing> oracle;
};

// ---------------------------------------------------------------------------------------------- fingerprint

/// What a kernel's arithmetic was seen to be, from questions and answers alone.
struct fingerprint_result {
  std::string kernel;
  std::string layer;
  std::string pass;
  std::string origin;
  bool peer = false;
  std::string arithmetic;  ///< declared
  std::string problem;     ///< on which it was measured
  std::string implementation;
  record::verdict verdict = record::verdict::inconclusive;
  std::string reason;           ///< what contradicts the declaration, or why nothing was measured
  std::string words;            ///< all but the tree, in words
  std::string tree;             ///< in words, or why there is none
  std::string tail_tree;        ///< of the output answered last in memory, where it is another one
  std::string tree_kind;        ///< sequential, lanes, blocked, pairwise, split, irregular, unknown
  std::int64_t terms = 0;       ///< of the sum
  std::int64_t lanes = 0;       ///< or parts of a split
  std::int64_t block = 0;       ///< terms in a lane, block or part
  std::int64_t roundings = 0;   ///< most from any term to the sum: the height of the tree and a product
  std::vector<int> input_bits;  ///< significant bits kept of each factor
  std::string products;         ///< fused, rounded, mixed, exact, unknown
  int accumulator_bits = 0;     ///< 0: no rounding was seen, or nothing measured
  bool truncates = false;       ///< the accumulator rounds toward zero
  bool flushes_inputs = false;  ///< subnormal numbers are taken for zero
  bool flushes_results = false;
  std::string repeats;         ///< in words, over 12 runs with 1, 2, 3 and 7 threads
  double any_order_bound = 0;  ///< proven bound in units of S = sum of |a||b|, any order of additions
  double measured_bound = 0;   ///< and for the tree that was measured
  std::int64_t calls = 0;
};

struct fingerprint_section {
  std::vector<fingerprint_result> kernels;
};

// ---------------------------------------------------------------------------------------------- sweep

/// What a kernel makes of zero, a subnormal number, an infinity, …
struct special_value {
  double input = 0;
  double got = 0;
  double truth = 0;
};

/// An element-wise kernel over a range of floats, by their bits. `inconclusive`: not finished, `next` is where to go on.
struct sweep_result {
  std::string kernel;
  bool peer = false;
  std::string arithmetic;
  double declared_ulps = 0;
  std::string problem;  ///< of one call
  record::verdict verdict = record::verdict::inconclusive;
  std::string reason;
  std::int64_t first = 0;  ///< bits of the first input
  std::int64_t last = 0;   ///< and of the last
  std::int64_t next = 0;   ///< of the first that is not judged yet
  std::int64_t inputs = 0;
  double seconds = 0;
  double worst_ulps = 0;
  double worst_input = 0;
  std::int64_t worst_bits = 0;
  double worst_got = 0;
  double worst_truth = 0;
  std::int64_t misrounded = 0;  ///< answers that are not the truth rounded once
  std::int64_t escalated = 0;   ///< where that took 100 digits
  std::int64_t wrong = 0;       ///< answers outside the bound
  double first_wrong_input = 0;
  std::int64_t first_wrong_bits = 0;
  double first_wrong_got = 0;
  double first_wrong_truth = 0;
  std::vector<special_value> special;
};

struct sweep_section {
  std::vector<sweep_result> kernels;
};

// ---------------------------------------------------------------------------------------------- audit

/// What one check family saw of a planted fault: a regime, a law (`law:NAME`) or the sandbox (`write outside`, …).
struct family_tally {
  std::string family;
  std::int64_t failures = 0;
};

/// One planted fault, and what found it.
struct fault_result {
  std::string kernel;  ///< layer.pass/fault@path
  std::string layer;
  std::string pass;
  std::string path;        ///< plain, vector, tail or threads: the part of the code that holds it
  std::string kind;        ///< its class
  std::string root_cause;  ///< one sentence
  std::string modelled_on;
  bool killed = false;
  std::string reason;        ///< why it survived
  std::string first_family;  ///< of the first kill
  std::string first_kind;    ///< `wrong value`, `unwritten`, …
  std::int64_t cases = 0;    ///< up to and with the first kill, or all of them
  double seconds = 0;        ///< wall time to the first kill, shrinking not counted
  std::vector<family_tally> families;
  std::string problem;            ///< of the shrunk counterexample
  std::string replay;             ///< and its line
  std::int64_t elements = 0;      ///< of all tensors that it reads
  std::int64_t shrink_steps = 0;  ///< reductions that were tried
  bool minimal = false;           ///< none of them still fails
  std::optional<std::int64_t>
      smaller_tried;                   ///< cases one step below it, tried without the shrinker: none fails
  std::optional<std::string> smaller;  ///< unless this one does
  std::vector<std::string>
      practices;  ///< for each of audit_section::practices: found, missed, or why not asked
};

/// A kernel without a planted fault: every failure is a false alarm, or a finding if it is a vendor's.
struct honest_result {
  std::string kernel;
  std::string origin;  ///< specimen, shipped, peer
  std::int64_t cases = 0;
  std::int64_t elements = 0;
  std::int64_t alarms = 0;
  std::string message;
  std::string replay;
};

/// What people use instead of Plumb, tried on the same faults.
struct practice_result {
  std::string name;
  std::string settings;
  std::int64_t asked = 0;  ///< faults to which it applies
  std::int64_t found = 0;
  std::int64_t honest = 0;    ///< specimens without a fault that were tried
  std::int64_t rejected = 0;  ///< and rejected all the same
};

/// The verifier with one of its checks weakened, put to kernels that the whole one judges rightly.
struct mutant_result {
  std::string name;
  std::string weakened;  ///< what was done to the check
  std::string kernel;    ///< that notices
  bool honest = false;   ///< it has no fault: the mutant is noticed if it is accused, else if it is not
  bool killed = false;
  std::string reason;      ///< why it survived
  std::string first_kind;  ///< what the whole verifier says of the kernel, or the mutant of an honest one
  std::int64_t cases = 0;  ///< put to the mutant
};

/// Noise laid on one element of honest answers, in one regime.
struct noise_result {
  std::string regime;
  std::int64_t layers = 0;
  std::int64_t twice =
      0;  ///< elements given twice the threshold, or one unit in the last place where bits count
  std::int64_t missed = 0;   ///< of these, not seen
  std::int64_t half = 0;     ///< elements given half of the proven bound
  std::int64_t accused = 0;  ///< of these, held to break it
  std::string example;       ///< of one that was missed or accused
};

struct audit_section {
  double seconds = 0;
  std::optional<std::int64_t> rounds;  ///< of a long run of honest kernels alone, each with its seed
  std::vector<fault_result> faults;
  std::vector<honest_result> honest;
  std::vector<practice_result> practices;
  std::vector<mutant_result> mutants;
  std::vector<noise_result> noise;
};

// ---------------------------------------------------------------------------------------------- the whole

struct run {
  int schema = schema_version;
  std::string command;  ///< `verify`, `gradcheck`, `bench`, `audit`, `demo`
  record::provenance provenance;
  std::optional<verify_section> verify;
  std::optional<gradcheck_section> gradcheck;
  std::optional<bench_section> bench;
  std::optional<audit_section> audit;
  std::optional<fingerprint_section> fingerprint;
  std::optional<sweep_section> sweep;
};

std::string to_json(const run& r);
/// The JSON Schema (draft 2020-12) of what to_json writes and from_json takes; docs/record.schema.json is this text.
std::string json_schema();
/// Throws record_error. `origin` is what the sentence calls the text, normally its path.
run from_json(std::string_view text, const std::string& origin);

/// Throws report_error.
void save(const run& r, const std::filesystem::path& path);
/// Throws record_error, also when the file cannot be opened.
run load(const std::filesystem::path& path);

}  // namespace record
}  // namespace plumb
