// Laws: properties that must hold for every problem and every input of a layer. A law is written once, as a
// template over the scalar, and is then run two ways: on the reference in rationals, where it must hold
// exactly, and on a kernel, where it must hold bit for bit on lattice data and within the error bounds
// otherwise. This header is the form in which laws reach the runner; properties/laws/ states them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "reference/layers/layer.hpp"

namespace plumb {

/// Computes one pass: the tensors it reads in, the tensors it writes out. May throw kernel_declined.
template <class T>
using evaluator = std::function<tensor_set<T>(const layer&, const pass_spec&, const tensor_set<T>& reads)>;

/// The kernel said no to a problem that a law needs; the law then says nothing about it.
struct kernel_declined {
  std::string reason;
};

struct law_verdict {
  bool holds = true;
  bool applicable = true;  ///< false: this problem has nothing for the law to say
  std::string message;     ///< what differed, with coordinates
};

struct law {
  std::string name;                      ///< `batch_split`, `conv.translation`
  std::string statement;                 ///< one line, the formula
  std::vector<std::string> layers = {};  ///< it speaks about these only; empty: about every layer
  /// Whether the law speaks about this pass of this layer.
  std::function<bool(const layer&, const pass_spec&)> applies;
  /// On the reference alone: exact in rationals; where the layer is not rational, in 50 digits with 40 of
  /// them demanded.
  std::function<law_verdict(const layer&, const pass_spec&, std::uint64_t seed)> on_reference;
  /// On a kernel that computes this pass, given as an evaluator over doubles that hold its inputs and
  /// outputs. It is called for problems of this layer and this pass only; everything else that the law needs
  /// comes from the reference. Inputs are small integers, so that a sum of products must match bit for bit;
  /// passes with other operations are held to the bound of an f32 kernel.
  std::function<law_verdict(const layer&, const pass_spec&, std::uint64_t seed,
                            const evaluator<double>& kernel)>
      on_kernel;
};

}  // namespace plumb
