// What a contest judges its kernels by: the data of a problem, which of the elements written are looked at, and their
// truth. It does not depend on the layout and is kept from one contest to the next.
#pragma once

#include <limits>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "verify/bounds.hpp"
#include "verify/oracle.hpp"
#include "verify/parts.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb::bench {

class evidence {
 public:
  static constexpr index_t everything = std::numeric_limits<index_t>::max();

  /// Of an output about `most_judged` elements are looked at: of a sum any, of another pass all those of a few samples or
  /// channels, if these do not depend on each other, and else all there are.
  evidence(std::shared_ptr<const layer> about, const pass_spec& pass, std::uint64_t seed,
           index_t most_judged);
  /// Whether every element has to be looked at, however many there are.
  static bool judges_whole(const layer& about, const pass_spec& pass);
  bool is_of(const layer& l, const pass_spec& pass) const { return &l == about_.get() && &pass == pass_; }

  const std::shared_ptr<const layer>& about() const { return about_; }
  const pass_spec& pass() const { return *pass_; }
  std::uint64_t seed() const { return seed_; }
  index_t most_judged() const { return most_judged_; }
  /// What the pass reads; drawn when first asked for.
  const tensor_set<double>& data();
  /// Row-major numbers of the elements looked at in the tensor that is written as number `tensor`; empty: all.
  const std::vector<index_t>& picks(std::size_t tensor) const { return picks_[tensor]; }

  /// Holds what a kernel wrote at the picks, in their order, against the truth, or says why there is no bound. Numbers of
  /// elements in `seen` are those of the whole tensor.
  std::string judge(const kernel_info& k, std::size_t tensor, std::byte* values, int threads,
                    comparison& seen);

 private:
  struct declared_bounds {
    std::string arithmetic;
    double ulps = 0;
    std::size_t tensor = 0;
    std::string error;  ///< not empty: no bound is known
    thresholds bounds;
  };
  void choose_parts();
  std::vector<index_t> choose_elements(const std::string& tensor) const;
  std::vector<index_t> elements_of_parts(const std::string& tensor) const;
  const tensor_set<double>& judged_data();
  const pass_spec& judged_pass() const { return *judged_->find_pass(pass_->name); }
  const truths& truth_of(std::size_t tensor, int threads);
  const declared_bounds& bounds_for(const kernel_info& k, std::size_t tensor, int threads);

  std::shared_ptr<const layer> about_;
  const pass_spec* pass_;
  std::uint64_t seed_;
  index_t most_judged_;
  std::optional<tensor_set<double>> data_;
  /// What is judged: the layer, or the same with some of its samples or channels.
  std::shared_ptr<const layer> judged_;
  parts cut_ = parts::samples;
  std::vector<index_t> parts_;                  ///< that are judged; empty: all
  std::optional<tensor_set<double>> of_parts_;  ///< their data
  std::vector<std::vector<index_t>> picks_;
  oracle truth_;
  bool evaluated_ = false;
  std::list<declared_bounds> bounds_;
};

}  // namespace plumb::bench
