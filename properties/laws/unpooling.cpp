// Laws of max unpooling: it puts values where indices say and can be undone; pooled maxima go back where they
// came from.
#include "properties/laws/statement.hpp"

namespace plumb {
namespace unpooling_family {
namespace {

/// Indices without duplicates in any plane, where y has room for them.
template <class T>
tensor<index_t> distinct_indices(lab<T>& bench, const layer& l) {
  tensor<index_t> indices(l.shapes()["indices"]);
  bench.require(indices.size() > 0);
  const index_t planes = indices.extents()[0] * indices.extents()[1], values = indices.size() / planes;
  bench.require(values <= l.index_bound("indices"));
  for (index_t plane = 0; plane < planes; ++plane) {
    const auto order = bench.permutation(l.index_bound("indices"));
    for (index_t i = 0; i < values; ++i) indices[plane * values + i] = order[static_cast<std::size_t>(i)];
  }
  return indices;
}

/// What is put down can be picked up again: backward(forward(x)) = x where no index comes twice.
template <class T>
void inverse(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.inputs(l);
  reads.indices("indices") = distinct_indices(bench, l);
  const auto y = bench.run(l, "forward", reads);
  tensor<T>& dy = reads.add("dy", tensor<T>(l.shapes()["y"]));
  for (index_t i = 0; i < dy.size(); ++i) dy[i] = y["y"][i].value;
  const auto dx = bench.run(l, "backward", reads);
  bench.claim_all("dx", dx["dx"], [&](const shape& at) { return known<T>(reads["x"].view()(at)); });
}

/// Every element of y is 0 or the last value that was sent there.
template <class T>
void last_one_stays(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor_set<T> reads = bench.inputs(l);
  const auto writes = bench.run(l, reads);
  const index_t values = reads["x"].size() / std::max<index_t>(1, l.shapes()["x"][0] * l.shapes()["x"][1]);
  const index_t cells = l.index_bound("indices");
  for (index_t i = 0; i < writes["y"].size(); ++i) {
    T expected(0);
    for (index_t j = i / cells * values; j < (i / cells + 1) * values; ++j)
      if (reads.indices("indices")[j] == i % cells) expected = reads["x"][j];
    bench.claim_equal("y", unflatten(i, l.shapes()["y"]), writes["y"][i], known<T>(expected));
  }
}

/// The problem of max pooling with windows side by side whose output has the shape of x, and its undoing.
struct pooled_and_back {
  std::shared_ptr<const layer> pool, unpool;
};
template <class T>
pooled_and_back side_by_side(lab<T>& bench) {
  shape image = bench.about().shapes()["x"];
  const shape pooled = image;
  std::vector<index_t> windows;
  for (int axis = 2; axis < image.rank(); ++axis) {
    windows.push_back(bench.between(1, 3));
    image[axis] *= windows.back();
  }
  problem pool("max_pool" + std::to_string(image.rank() - 2) + "d"), unpool(bench.about().name());
  pool.set("x", to_string(image));
  for (const char* tensor : {"x", "indices"}) unpool.set(tensor, to_string(pooled));
  for (problem* text : {&pool, &unpool}) text->set("window", attribute::join(windows, 'x'));
  return {derived(pool), derived(unpool)};
}

/// Where windows lie side by side it is backward of max pooling, and its own gradient picks what pooling
/// picked.
template <class T>
void undoes_pooling(lab<T>& bench) {
  const auto [pool, unpool] = side_by_side(bench);
  const tensor<T> image = bench.distinct_numbers(pool->shapes()["x"]);
  const auto pooled = bench.run(*pool, "forward", of_x(image));
  tensor_set<T> reads;
  reads.add_indices("indices", pooled.indices("indices"));
  if (is_forward(bench.pass())) {
    const tensor<T>& values = reads.add("x", bench.numbers(unpool->shapes()["x"]));
    const auto y = bench.run(*unpool, reads);
    reads.add("dy", values);
    const auto dx = bench.run(*pool, "backward", reads);
    bench.claim_all("y", y["y"], [&](const shape& at) { return dx["dx"].view()(at); });
  } else {
    reads.add("dy", image);
    const auto dx = bench.run(*unpool, reads);
    bench.claim_all("dx", dx["dx"], [&](const shape& at) { return pooled["y"].view()(at); });
  }
}

}  // namespace
}  // namespace unpooling_family

std::vector<law> max_unpool_laws() {
  using namespace unpooling_family;
  return {
      state("max_unpool.inverse", "backward(forward(x)) = x where no index comes twice", any_pass,
            [](auto& bench) { inverse(bench); }),
      state("max_unpool.last_one_stays", "y is 0 or the last value sent there", only("forward"),
            [](auto& bench) { last_one_stays(bench); }),
      state("max_unpool.pooling", "unpooling = backward of max pooling with windows side by side", any_pass,
            [](auto& bench) { undoes_pooling(bench); }),
  };
}

}  // namespace plumb
