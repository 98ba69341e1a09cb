// What `plumb bench` asks of the worker and what it gets back: one problem and pass, the kernels that compete
// on it, and a memory file with the inputs, into which the worker also puts the outputs to be judged.
// Requests and answers cross as JSON text through the worker's service `bench`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reference/core/kernel.hpp"

namespace plumb::bench {

/// A tensor in the memory file, dense in the order its strides give. Set s lies at offset + s·step bytes.
struct tensor_place {
  std::string name;
  bool present = true;  ///< false: an optional tensor that the problem leaves out
  dtype type = dtype::f32;
  shape extents, strides;
  std::uint64_t offset = 0;
  std::uint64_t step = 0;  ///< 0: the same for every set (weights)

  std::uint64_t bytes() const {
    return static_cast<std::uint64_t>(extents.size()) * static_cast<std::uint64_t>(size_of(type));
  }
};

/// Elements of a written tensor that the judging side wants to see: `count` row-major numbers (i64) at
/// `numbers`, or all elements if `numbers` is 0. Kernel i's elements go to values + i·step bytes, in that
/// order.
struct element_picks {
  std::uint64_t count = 0;
  std::uint64_t numbers = 0;
  std::uint64_t values = 0;
  std::uint64_t step = 0;
};

struct request {
  std::string file;  ///< path of the memory file
  std::uint64_t file_bytes = 0;
  std::string resolved, canonical;
  plumb::layout layout = layout::nchw;
  dtype type = dtype::f32;
  int threads = 1;
  int sets = 1;  ///< copies of the tensors that change from call to call; the file has room for one more
  std::vector<tensor_place> reads, writes;
  std::vector<element_picks> picks;  ///< one for each written tensor, of an untimed run on set 0
  std::vector<std::string> kernels;
  int rounds = 11;
  double seconds_per_kernel = 0.1;
  std::uint64_t seed = 1;
  std::uint64_t traffic =
      0;  ///< bytes that one call has to read or write: the footprint of the bandwidth roof
  bool memory_roof = false;  ///< also measure the stream from memory; takes as long as a contest
};

struct outcome {
  std::string trouble;  ///< not empty: why there is no number; one sentence
  bool declined = false;
  bool deterministic = true;  ///< outputs could be compared bit for bit
  std::string implementation;
  double prepare_seconds = 0;   ///< making the plan and packing the weights
  std::int64_t calls = 0;       ///< timed
  std::vector<double> samples;  ///< seconds a call
  std::vector<double> fastest;  ///< seconds of the fastest call of each sample
  std::vector<int> rounds;      ///< in which round each sample was taken
  std::vector<double> cold;     ///< seconds of single calls with inputs and outputs flushed from the caches
};

struct answer {
  std::vector<outcome> kernels;
  std::vector<double> gflops_samples;         ///< of the multiply-add loop, all threads
  std::vector<double> gbytes_samples;         ///< of the better of two streams over `traffic` bytes
  std::vector<double> memory_gbytes_samples;  ///< the same over a footprint beyond every cache
};

/// `decode_…` throws std::exception on text that `encode` did not write.
std::string encode(const request& r);
std::string encode(const answer& a);
request decode_request(const std::string& text);
answer decode_answer(const std::string& text);

}  // namespace plumb::bench
