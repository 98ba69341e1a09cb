// Rows of convolutions as implicit matrix products, for any kind of tile: `Tiles::launch<Product>(stream, arguments)`.
#pragma once

#include "optimized/cuda/conv_host.hpp"
#include "optimized/cuda/conv_products.hpp"
#include "optimized/cuda/matrix_host.hpp"

namespace plumb::cuda {

inline void fill_in(conv_gemm_arguments& a, const kernel_call& call) {
  a.first = view_of<const float>(call.reads[0]);
  a.second = view_of<const float>(call.reads[1]);
  set_bias(a, call);
  a.out = view_of<float>(call.writes[0]);
  a.parts = static_cast<float*>(call.workspace);
}

template <class Tiles, class Product>
program product_program(conv_gemm_arguments a) {
  return {[a](const kernel_call& call, stream& to) {
    conv_gemm_arguments mine = a;
    fill_in(mine, call);
    Tiles::template launch<Product>(to, mine);
  }};
}

template <class Tiles, bool Last>
program product_forward(const conv_arguments& from) {
  conv_gemm_arguments a{.p = to_numbers(from), .first = {}, .second = {}, .out = {}};
  a.rows = a.p.group_k;
  a.columns = from.n * from.out_size();
  a.groups = static_cast<int>(from.groups);
  a.terms = static_cast<int>(from.group_c() * from.taps());
  return product_program<Tiles, conv_forward_product<Last>>(a);
}

template <class Tiles, bool Last>
program product_backward_data(const conv_arguments& from) {
  conv_gemm_arguments a{.p = to_numbers(from), .first = {}, .second = {}, .out = {}};
  a.rows = a.p.group_c;
  a.columns = from.n * from.in_size();
  a.groups = static_cast<int>(from.groups);
  a.terms = static_cast<int>(from.group_k() * from.taps());
  return product_program<Tiles, conv_backward_data_product<Last>>(a);
}

template <class Tiles, bool Last>
program product_backward_weights(const conv_arguments& from) {
  conv_gemm_arguments a{.p = to_numbers(from), .first = {}, .second = {}, .out = {}};
  a.rows = a.p.group_k;
  a.columns = from.group_c() * from.taps();
  a.groups = static_cast<int>(from.groups);
  a.terms = static_cast<int>(from.out_size());
  a.slices = choose_slices(a.rows, a.columns, a.groups, from.n, from.out_size());
  const index_t count = from.k * a.columns;
  program p = product_program<Tiles, conv_backward_weights_product<Last>>(a);
  if (a.slices == 1) return p;
  p.workspace = static_cast<std::size_t>(a.slices * count) * sizeof(float);
  p.run = [product = p.run, a, count](const kernel_call& call, stream& to) {
    product(call, to);
    using sum = slice_sum<weights_in_order<Last>>;
    to.launch<sum>({tiles<index_t>(count, sum::threads), sum::threads},
                   {static_cast<const float*>(call.workspace),
                    count,
                    a.slices,
                    {a.p, a.columns, view_of<float>(call.writes[0])}});
  };
  return p;
}

using product_maker = program (*)(const conv_arguments&);

inline row product_row(const std::string& pass, product_maker nchw, product_maker nhwc) {
  row r{.layer = "conv2d", .pass = pass, .algorithm = {}, .any_strides = true, .supports = {}, .make = {}};
  r.supports = [](const kernel_problem& kp) {
    if (const support s = conv2d_support(kp); !s.ok) return s;
    const conv_arguments a = read_conv_arguments(kp.problem);
    constexpr index_t most = std::numeric_limits<int>::max();
    const bool fits = a.c * a.taps() <= most && a.k * a.taps() <= most && a.out_size() <= most;
    return fits ? support::yes() : support::no("one sum has more than 2^31 terms");
  };
  r.make = [nchw, nhwc](const kernel_problem& kp) {
    return (kp.layout == layout::nhwc ? nhwc : nchw)(read_conv_arguments(kp.problem));
  };
  return r;
}

/// All three passes, both layouts.
template <class Tiles>
void add_product_rows(registry& kernels, const std::string& algorithm, const std::string& arithmetic) {
  row rows[] = {
      product_row("forward", product_forward<Tiles, false>, product_forward<Tiles, true>),
      product_row("backward_data", product_backward_data<Tiles, false>, product_backward_data<Tiles, true>),
      product_row("backward_weights", product_backward_weights<Tiles, false>,
                  product_backward_weights<Tiles, true>)};
  for (row& r : rows) {
    r.algorithm = algorithm;
    r.arithmetic = arithmetic;
    add_rows(kernels, r);
  }
}

}  // namespace plumb::cuda
