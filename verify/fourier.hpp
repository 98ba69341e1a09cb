// Convolution by fast Fourier transforms, for whoever judges it. Such a kernel transforms planes, multiplies and sums
// over channels, and transforms back; its errors are bounded by norms of whole planes, not element by element
// (numerics.md 2.6), because every output is made of every number of its plane. Per output plane
//   S_F = Σ_c min(‖x_c‖₂·‖w_c‖₁, ‖x_c‖₁·‖w_c‖₂)            error ≤ ((1+ε)³·(1+√2·γ_{2C}) - 1)·S_F
// where c runs over what is summed (input channels forward, output channels backward_data, images backward_weights) and
//   ε = (1+η)^t - 1,  η = u + γ₄(√2+u),  t = log₂ of the points of a transform, + 3
// for t stages of butterflies with twiddles rounded once (Higham 2002, Accuracy and Stability, theorem 24.2; stages of
// higher radix round less; 3 for packing two real rows into a complex one, and back). It follows so: a transform of
// N points is √N times a unitary one, thus ‖Δx̂‖₂ ≤ ε√N‖x‖₂, and every number of it is a sum of x with factors on
// the unit circle, thus |Δŵ| ≤ ε‖w‖₁ at every frequency. Products ẑ = Σ x̂ŵ are real sums of 2C terms. The inverse
// divides ‖Δẑ‖₂ ≤ (2ε+…)·√N·S_F by √N, and no element errs more than the 2-norm. The promise behind the word `fft`:
// one transform a plane, or tiles that overlap in what they read (overlap-save), of at most the next power of two
// above twice an axis with its padding and the reach of its filter.
#pragma once

#include "verify/oracle.hpp"
#include "verify/transformed.hpp"

namespace plumb {

/// `reads` holds what the pass reads, `t` the truth of the tensor that it writes.
transformed_sizes sizes_of_fourier(const layer& l, const pass_spec& pass, const tensor_set<double>& reads,
                                   const truths& t);

}  // namespace plumb
