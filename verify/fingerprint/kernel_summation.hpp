// A kernel as a machine that sums (traits.hpp): questions are laid out as tensors of one problem and go through the
// sandbox's worker. Several outputs that share no element of the first operand answer several questions in one call.
#pragma once

#include <memory>

#include "reference/layers/layer.hpp"
#include "verify/fingerprint/traits.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb::fingerprint {

/// The kernel declined, crashed or failed: its own sentence.
struct no_answer {
  run_status status = run_status::declined;
  std::string text;
};

class kernel_summation final : public summation {
 public:
  /// The pass must be a contraction. Uses the sandbox's first arena.
  kernel_summation(sandbox& box, const kernel_info& kernel, const layer& l, const pass_spec& pass);

  index_t terms() const override { return terms_; }
  bool has_b() const override { return !b_name_.empty(); }
  /// Throws no_answer.
  std::vector<double> answer(std::span<const question> questions) override;
  bool narrow_down() override {
    const bool several = slots_.size() > 1;
    slots_.resize(1);
    return several;
  }

  /// From now on every question goes to the output that is answered last in memory alone: the tail of every loop.
  void only_the_last();
  std::int64_t calls() const { return calls_; }
  const std::string& implementation() const { return implementation_; }

 private:
  /// An output element and where its terms lie.
  struct slot {
    index_t element;
    std::vector<product_list::term> terms;
  };
  struct call {
    std::vector<std::size_t> questions;
    placed_tensor written;
  };

  void choose_slots();
  void lay_out(arena& a, std::span<const question> questions, std::span<const std::size_t> some,
               kernel_run& run) const;
  void read_back(std::span<const call> calls, const std::vector<run_result>& results,
                 std::vector<double>& answers);

  sandbox& box_;
  const kernel_info& kernel_;
  const layer& layer_;
  const pass_spec& pass_;
  std::string a_name_, b_name_;
  dtype type_;
  std::string resolved_, canonical_;
  index_t terms_ = 0;
  std::vector<slot> slots_;
  std::int64_t calls_ = 0;
  std::string implementation_;
};

/// Bits of the outputs compared over repeated runs and thread counts, on zero-mean data.
struct repetition {
  bool same_bits = true;          ///< in every run with one and the same thread count
  bool same_for_threads = true;   ///< and with every count
  bool loses_subnormals = false;  ///< no contraction: an output that is subnormal came out as zero
  std::string implementation;
};
/// Throws no_answer.
repetition repeat(sandbox& box, const kernel_info& kernel, const layer& l, const pass_spec& pass);

}  // namespace plumb::fingerprint
