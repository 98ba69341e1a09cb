// Laws of the matrix product: an algebra.
#include "properties/laws/embedding.hpp"

namespace plumb {
namespace matmul_family {
namespace {

struct sizes {
  explicit sizes(const layer& l) : N(l.shapes()["x"][0]), D(l.shapes()["w"][0]), M(l.shapes()["w"][1]) {}
  index_t N, D, M;
};

std::shared_ptr<const layer> product_of(const shape& x, const shape& w) {
  problem text("matmul");
  text.set("x", to_string(x));
  text.set("w", to_string(w));
  return derived(text);
}

template <class T>
tensor<known<T>> product(lab<T>& bench, const tensor<T>& x, const tensor<T>& w) {
  tensor_set<T> reads;
  reads.add("x", x);
  reads.add("w", w);
  return bench.run(*product_of(x.extents(), w.extents()), "forward", reads)["y"];
}

template <class T>
tensor<T> transposed(const tensor<T>& t) {
  tensor<T> result(shape{t.extents()[1], t.extents()[0]});
  for_each_index(t.extents(), [&](const shape& at) { result.view()(at[1], at[0]) = t.view()(at); });
  return result;
}

/// The sums themselves, from the last term to the first: y = x·w, dx = dy·wᵀ, dw = xᵀ·dy.
template <class T>
void sums(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto writes = bench.run(l, reads);
  const auto& e = writes.entries().front();
  const tensor<T> left = e.name == "y" ? reads["x"] : e.name == "dx" ? reads["dy"] : transposed(reads["x"]);
  const tensor<T> right = e.name == "y" ? reads["w"] : e.name == "dx" ? transposed(reads["w"]) : reads["dy"];
  bench.claim_all(e.name, e.real, [&](const shape& at) {
    T sum(0);
    for (index_t i = left.extents()[1]; i-- > 0;) sum += left.view()(at[0], i) * right.view()(i, at[1]);
    return known<T>(sum);
  });
}

/// x·1 = x
template <class T>
void identity(lab<T>& bench) {
  const sizes s(bench.about());
  const tensor<T> x = bench.numbers(shape{s.N, s.D});
  tensor<T> one(shape{s.D, s.D});
  for (index_t d = 0; d < s.D; ++d) one.view()(d, d) = T(1);
  bench.claim_all("y", product(bench, x, one), [&](const shape& at) { return known<T>(x.view()(at)); });
}

/// (x·w)·v = x·(w·v)
template <class T>
void associative(lab<T>& bench) {
  const sizes s(bench.about());
  const tensor<T> x = bench.numbers(shape{s.N, s.D}), w = bench.numbers(shape{s.D, s.M});
  const tensor<T> v = bench.numbers(shape{s.M, bench.between(1, 5)});
  const auto left = product(bench, values_of<T>(product(bench, x, w)), v);
  const auto right = product(bench, x, values_of<T>(product(bench, w, v)));
  bench.claim_all("y", left, [&](const shape& at) { return right.view()(at); });
}

/// (x·w)ᵀ = wᵀ·xᵀ
template <class T>
void transposition(lab<T>& bench) {
  const sizes s(bench.about());
  bench.require(s.N > 0);
  const tensor<T> x = bench.numbers(shape{s.N, s.D}), w = bench.numbers(shape{s.D, s.M});
  const auto y = product(bench, x, w), other = product(bench, transposed(w), transposed(x));
  bench.claim_all("y", y, [&](const shape& at) { return other.view()(at[1], at[0]); });
}

/// Blocks of a larger product whose other blocks are zero: rows, inner terms and columns of zeros change
/// nothing.
struct blocks {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const sizes s(bench.about());
    const index_t rows = bench.between(0, 2), inner = bench.between(0, 3), columns = bench.between(1, 2);
    const index_t from_row = bench.between(0, rows), from_inner = bench.between(0, inner);
    const index_t from_column = bench.between(0, columns);
    const auto by = [](index_t down, index_t right) {
      return [down, right](shape at) { return shape{at[0] + down, at[1] + right}; };
    };
    return {.from = {},
            .to = product_of(shape{s.N + rows, s.D + inner}, shape{s.D + inner, s.M + columns}),
            .into = {{"x", by(from_row, from_inner)},
                     {"w", by(from_inner, from_column)},
                     {"y", by(from_row, from_column)}}};
  }
};

/// The terms of the sums may change places.
struct inner_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const auto order = bench.permutation(sizes(bench.about()).D);
    bench.require(order.size() > 1);
    return {.from = {},
            .to = derived(spelled_out(bench.about())),
            .into = {{"x",
                      [order](shape at) {
                        return shape{at[0], order[static_cast<std::size_t>(at[1])]};
                      }},
                     {"w", [order](shape at) {
                        return shape{order[static_cast<std::size_t>(at[0])], at[1]};
                      }}}};
  }
};

}  // namespace
}  // namespace matmul_family

std::vector<law> matmul_laws() {
  using namespace matmul_family;
  return {
      state("matmul.sums", "y = x w, dx = dy wt and dw = xt dy are sums of products", any_pass,
            [](auto& bench) { sums(bench); }),
      state("matmul.identity", "x 1 = x", only("forward"), [](auto& bench) { identity(bench); }),
      state("matmul.associativity", "(x w) v = x (w v)", only("forward"),
            [](auto& bench) { associative(bench); }),
      state("matmul.transposition", "(x w)t = wt xt", only("forward"),
            [](auto& bench) { transposition(bench); }),
      state_embedding("matmul.blocks", "zero blocks around change nothing", any_pass, blocks()),
      state_embedding("matmul.inner_permutation", "the terms of the sums may change places", any_pass,
                      inner_permutation()),
  };
}

}  // namespace plumb
