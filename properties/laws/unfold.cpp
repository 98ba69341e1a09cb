// Laws of unfold and fold: columns turn a convolution into a matrix product, and each layer is the adjoint of
// the other, so that one after the other counts the windows that hold a cell.
#include "properties/laws/statement.hpp"

namespace plumb {
namespace unfold_family {
namespace {

bool is_unfold(const layer& l) { return l.present("x") && l.shapes()["x"].rank() == 4; }
bool unfold_forward(const layer& l, const pass_spec& pass) { return is_unfold(l) && is_forward(pass); }

/// Weights as a matrix K × C·R·S times the columns are the convolution.
template <class T>
void matrix_product(lab<T>& bench) {
  const layer& l = bench.about();
  const shape x = l.shapes()["x"];
  const auto window = l.resolved().integers("window");
  problem text("conv2d");
  text.set("x", to_string(x));
  text.set("weight", to_string(shape{bench.between(1, 3), x[1], window[0], window[1]}));
  for (const char* same : {"stride", "pad", "dilation"}) text.set(same, l.resolved().text(same));
  const auto conv = derived(text);
  const tensor_set<T> in = bench.inputs(*conv);
  const auto columns = bench.run(l, of_x(in["x"])), y = bench.run(*conv, in);
  const tensor<T>& weight = in["weight"];
  const index_t rows = columns["y"].extents()[1], positions = columns["y"].extents()[2];
  bench.require(x[0] > 0);
  const index_t filters = weight.extents()[0];
  for (index_t i = 0; i < y["y"].size(); ++i) {
    const index_t l_at = i % positions, k = i / positions % filters, n = i / positions / filters;
    known<T> sum;
    for (index_t row = 0; row < rows; ++row)
      sum += weight[k * rows + row] * columns["y"][(n * rows + row) * positions + l_at];
    bench.claim_equal("y", unflatten(i, y["y"].extents()), sum, y["y"][i]);
  }
}

/// The problem of the other layer on the same windows: its x is the y of this one.
std::shared_ptr<const layer> counterpart(const layer& l) {
  problem text(is_unfold(l) ? "fold2d" : "unfold2d");
  text.set("x", to_string(l.shapes()["y"]));
  if (is_unfold(l)) text.set("output", to_string(shape{l.shapes()["x"][2], l.shapes()["x"][3]}));
  for (const char* same : {"window", "stride", "pad", "dilation"}) text.set(same, l.resolved().text(same));
  return derived(text);
}

/// The gradient of the one is the other.
template <class T>
void adjoint(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto writes = bench.run(l, reads);
  const bool forward = is_forward(bench.pass());
  tensor_set<T> turned;
  turned.add(forward ? "dy" : "x", reads.entries().front().real);
  const auto there = bench.run(*counterpart(l), forward ? "backward" : "forward", turned);
  const auto& e = writes.entries().front();
  bench.claim_all(e.name, e.real, [&](const shape& at) { return there.entries().front().real.view()(at); });
}

/// How many windows hold the cell (h, w) of the image.
index_t windows_with(const layer& l, index_t h, index_t w) {
  const problem& text = l.resolved();
  const auto window = text.integers("window"), stride = text.integers("stride"), pad = text.integers("pad");
  const auto dilation = text.integers("dilation");
  const shape image = is_unfold(l) ? l.shapes()["x"] : l.shapes()["y"];
  index_t product = 1;
  for (std::size_t i = 0; i < 2; ++i) {
    index_t count = 0;
    const index_t last = image[2 + static_cast<int>(i)] + pad[2 * i + 1] - dilation[i] * (window[i] - 1) - 1;
    for (index_t start = -pad[2 * i]; start <= last; start += stride[i])
      for (index_t tap = 0; tap < window[i]; ++tap) count += start + tap * dilation[i] == (i == 0 ? h : w);
    product *= count;
  }
  return product;
}

/// fold(unfold(x)) = count · x: there is one copy of a cell for each window that holds it.
template <class T>
void counts(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> image = bench.numbers(is_unfold(l) ? l.shapes()["x"] : l.shapes()["y"]);
  const std::string there = is_unfold(l) ? "forward" : "backward",
                    back = is_unfold(l) ? "backward" : "forward";
  tensor_set<T> reads, columns;
  reads.add(is_unfold(l) ? "x" : "dy", image);
  const auto copies = bench.run(l, there, reads);
  columns.add(is_unfold(l) ? "dy" : "x", tensor<T>(copies.entries().front().extents()));
  tensor<T>& values = columns.entries().front().real;
  for (index_t i = 0; i < values.size(); ++i) values[i] = copies.entries().front().real[i].value;
  const auto folded = bench.run(l, back, columns);
  bench.claim_all(folded.entries().front().name, folded.entries().front().real, [&](const shape& at) {
    return known<T>(T(windows_with(l, at[2], at[3])) * image.view()(at));
  });
}

}  // namespace
}  // namespace unfold_family

std::vector<law> unfold_laws() {
  using namespace unfold_family;
  return {
      state("unfold.matrix_product", "weight matrix times columns = convolution", unfold_forward,
            [](auto& bench) { matrix_product(bench); }),
      state("unfold.adjoint", "the gradient of unfold is fold, that of fold is unfold", any_pass,
            [](auto& bench) { adjoint(bench); }),
      state("unfold.counts", "fold(unfold(x)) = x times the number of windows that hold the cell", any_pass,
            [](auto& bench) { counts(bench); }),
  };
}

}  // namespace plumb
