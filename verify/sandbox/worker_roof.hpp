// The roofs of the roofline model (Williams, Waterman & Patterson 2009), measured where and when the kernels
// are: peak multiply-adds from registers, and the stream of data over a footprint of a given size. One call
// is one sample of a fraction of a millisecond; the roof is the best sample of a run.
#pragma once

#include <cstddef>

namespace plumb::bench {

/// f32 multiply-adds on all threads, two operations each, in GFLOP/s.
double multiply_add_gflops(int threads);

/// The better of summing an array and a[i] = b[i] + s·c[i], over `bytes` of memory in all, in GB/s.
double stream_gbytes(int threads, std::size_t bytes);

}  // namespace plumb::bench
