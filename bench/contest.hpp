// A contest: the kernels of one pass on one problem, in one layout, timed side by side by the worker and
// judged on the very data they were timed with. Outputs of an untimed run are compared with the oracle (a
// sample of elements where all would take too long); the worker holds the outputs of the timed runs against
// the untimed ones bit for bit.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/evidence.hpp"
#include "bench/statistics.hpp"
#include "reference/core/record.hpp"
#include "verify/sandbox/bench_wire.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb::bench {

/// Shared memory that the worker can open by name. Throws std::system_error.
class shared_memory {
 public:
  explicit shared_memory(std::uint64_t bytes);
  ~shared_memory();
  shared_memory(const shared_memory&) = delete;
  shared_memory& operator=(const shared_memory&) = delete;
  std::byte* at(std::uint64_t offset) const { return data_ + offset; }
  std::string path() const;

 private:
  int descriptor_;
  std::byte* data_;
  std::uint64_t bytes_;
};

struct contestant {
  const kernel_info* kernel = nullptr;
  record::verdict verdict = record::verdict::inconclusive;
  std::string reason;  ///< why there is no number; empty for pass
  std::optional<double> worst_ulps, worst_proven;
  std::string implementation;
  double prepare_seconds = 0;
  series times;  ///< empty unless the verdict is pass
  std::vector<double> cold;
  std::uint64_t outputs = 0;  ///< hash of the outputs that were judged
};

/// What an earlier contest on the same data found: outputs with the same hash need not be judged again.
struct judged_before {
  std::uint64_t outputs = 0;
  std::optional<double> worst_ulps, worst_proven;
};

struct contest_result {
  std::vector<contestant> contestants;  ///< in the order of the kernels given
  std::vector<double> gflops_samples, gbytes_samples, memory_gbytes_samples;
  double timed_seconds = 0;  ///< spent in timed loops
};

struct contest_conditions {
  plumb::layout layout = layout::nchw;
  int threads = 1;
  int rounds = 11;
  double seconds_per_kernel = 0.1;
  int visit = 0;  ///< how often this contest was held before: another order, other elements exchanged
  bool memory_roof = false;
  std::vector<std::optional<judged_before>> known;  ///< one a kernel, or none
};

class contest {
 public:
  /// Largest memory file that is asked for.
  static constexpr std::uint64_t most_bytes = std::uint64_t{6} << 30;
  static constexpr int sets =
      2;  ///< of the inputs that change from call to call; there is a spare one besides

  /// f32 data. Throws std::length_error, naming the need, if the tensors would take more than most_bytes.
  contest(std::shared_ptr<evidence> truth, std::vector<const kernel_info*> kernels,
          const contest_conditions& how);
  contest_result run(sandbox& box);

 private:
  tensor_place place(const std::string& name, bool written);
  void place_picks();
  void write_picks();
  void write_inputs();
  std::string serve(sandbox& box, const std::vector<std::size_t>& who);
  std::vector<std::size_t> survivors(sandbox& box, contest_result& result);
  std::uint64_t hash_of_outputs(std::size_t place_in_answer) const;
  void judge(contestant& c, std::size_t number, std::size_t place_in_answer);
  void compare_tensor(contestant& c, std::size_t tensor, std::size_t place_in_answer, const kernel_info& k);

  std::shared_ptr<evidence> truth_;
  std::vector<const kernel_info*> kernels_;
  contest_conditions how_;
  request request_;
  std::unique_ptr<shared_memory> memory_;
};

}  // namespace plumb::bench
