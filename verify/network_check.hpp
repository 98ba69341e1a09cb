// Gradient check of a whole network, and of kernels inside it.
//
// Without kernels: the gradient of the loss by backpropagation against dual numbers and against differences of the
// loss, along random directions over all data and parameters, in 100-digit arithmetic; then every layer in place, at
// the values that reach it inside the network. With kernels: forward and backward run through the chosen kernels,
// each on what the ones before it really wrote, and each is judged against the oracle for exactly those inputs, so
// that the first layer that departs is named and its followers are not accused of its error.
#pragma once

#include <functional>

#include "reference/core/record.hpp"
#include "reference/graph/graph.hpp"
#include "verify/gradcheck.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb {

/// Drawn numbers for every source: data and biases around 0, weights of the size that keeps activations alive (He et
/// al. 2015), targets among the classes.
tensor_set<double> draw_sources(const computational_graph& g, std::uint64_t seed);

/// The network first, under its name, then each of its layers as `NETWORK/NODE`.
std::vector<record::layer_check> check_network(const std::string& name, const computational_graph& g,
                                               const gradcheck_options& options,
                                               const std::function<void(const std::string&)>& progress);

/// One entry a node that has a chosen kernel, in the order of evaluation, and first the network with the verdict:
/// `fail` names the first layer that departs. `chosen` says which kernels to use; of several the first that accepts.
std::vector<record::layer_check> run_network(const std::string& name, const computational_graph& g,
                                             sandbox& box,
                                             const std::function<bool(const kernel_info&)>& chosen,
                                             std::uint64_t seed,
                                             const std::function<void(const std::string&)>& progress);

}  // namespace plumb
