// Laws of max pooling. Padding is -∞; in derived problems it is a number below everything drawn.
#include "properties/laws/embedding.hpp"

namespace plumb {
namespace pooling_family {
namespace {

constexpr index_t below_everything = -(index_t{1} << 21);

struct pool_numbers {
  explicit pool_numbers(const layer& l) {
    const problem& text = l.resolved();
    windows = text.integers("window");
    strides = text.integers("stride");
    dilations = text.integers("dilation");
    const auto sides = text.integers("pad");
    for (std::size_t i = 0; i < sides.size(); i += 2) {
      before.push_back(sides[i]);
      after.push_back(sides[i + 1]);
    }
    x = l.shapes()["x"];
    y = l.shapes()["y"];
    rank = x.rank() - 2;
  }
  std::vector<index_t> windows, strides, dilations, before, after;
  shape x, y;
  int rank = 0;
};

problem text_of(const layer& l) {
  problem text = spelled_out(l);
  text.set("fit", "floor");
  return text;
}

/// What a cell number of a plane of x becomes when cells move by `move` into planes of shape `to`.
std::function<index_t(index_t)> cell_into(const shape& from, const shape& to,
                                          std::function<shape(shape)> move) {
  return [from, to, move = std::move(move)](index_t cell) {
    shape at{0, 0};
    for (int axis = 2; axis < from.rank(); ++axis) at.push_back(0);
    for (int axis = from.rank() - 1; axis >= 2; --axis) {
      at[axis] = cell % from[axis];
      cell /= from[axis];
    }
    at = move(at);
    index_t result = 0;
    for (int axis = 2; axis < to.rank(); ++axis) result = result * to[axis] + at[axis];
    return result;
  };
}

/// An embedding that moves cells of x; what an index means moves along.
embedding moving_cells(const problem& text, const pool_numbers& c, std::function<shape(shape)> cells,
                       std::function<shape(shape)> outputs) {
  embedding e{.from = {}, .to = derived(text), .into = {{"x", cells}, {"y", outputs}, {"indices", outputs}}};
  e.index_into = cell_into(c.x, e.to->shapes()["x"], cells);
  e.fill = below_everything;
  e.distinct = true;
  return e;
}

bool strided(const layer& l, const pass_spec&) {
  return std::ranges::any_of(l.resolved().integers("stride"), [](index_t s) { return s > 1; });
}
bool padded(const layer& l, const pass_spec&) {
  return std::ranges::any_of(l.resolved().integers("pad"), [](index_t p) { return p > 0; });
}
bool of_several_axes(const layer& l, const pass_spec&) { return l.shapes()["x"].rank() > 3; }

/// stride·j low cells in front of the input move the output by j.
struct translation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const pool_numbers c(bench.about());
    const int axis = 2 + static_cast<int>(bench.between(0, c.rank - 1));
    const index_t rows = bench.between(1, 2), cells = rows * c.strides[static_cast<std::size_t>(axis) - 2];
    problem text = text_of(bench.about());
    shape x = c.x;
    x[axis] += cells;
    text.set("x", to_string(x));
    const auto by = [axis](index_t distance) {
      return [axis, distance](shape at) {
        at[axis] += distance;
        return at;
      };
    };
    return moving_cells(text, c, by(cells), by(rows));
  }
};

/// Channels may change places; no other channel is looked at.
struct channel_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const pool_numbers c(bench.about());
    bench.require(c.x[1] > 1);
    const auto order = bench.permutation(c.x[1]);
    const auto moved = [order](shape at) {
      at[1] = order[static_cast<std::size_t>(at[1])];
      return at;
    };
    return {.from = {},
            .to = derived(text_of(bench.about())),
            .into = {{"x", moved}, {"y", moved}, {"indices", moved}}};
  }
};

/// Padding is low cells around the input.
struct padding_as_cells {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const pool_numbers c(bench.about());
    problem text = text_of(bench.about());
    shape x = c.x;
    for (std::size_t i = 0; i < c.before.size(); ++i) x[2 + static_cast<int>(i)] += c.before[i] + c.after[i];
    text.set("x", to_string(x));
    text.set("pad", "0");
    const auto inner = [before = c.before](shape at) {
      for (std::size_t i = 0; i < before.size(); ++i) at[2 + static_cast<int>(i)] += before[i];
      return at;
    };
    return moving_cells(text, c, inner, [](const shape& at) { return at; });
  }
};

/// A stride keeps every stride-th output of stride 1. Windows that hang over the end have no such partner.
struct stride_as_subsampling {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const pool_numbers c(bench.about());
    problem text = text_of(bench.about());
    text.set("stride", "1");
    const auto spread = [strides = c.strides](shape at) {
      for (std::size_t i = 0; i < strides.size(); ++i) at[2 + static_cast<int>(i)] *= strides[i];
      return at;
    };
    embedding e = moving_cells(
        text, c, [](const shape& at) { return at; }, spread);
    shape last = c.y;
    for (int axis = 0; axis < last.rank(); ++axis) last[axis] -= 1;
    last = spread(last);
    for (int axis = 2; axis < last.rank(); ++axis) bench.require(last[axis] < e.to->shapes()["y"][axis]);
    return e;
  }
};

/// The axes of space are alike: exchange two of them everywhere.
struct axes_exchanged {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    pool_numbers c(bench.about());
    const int a = static_cast<int>(bench.between(0, c.rank - 2)),
              b = static_cast<int>(bench.between(a + 1, c.rank - 1));
    const auto exchanged = [a, b](shape at) {
      std::swap(at[2 + a], at[2 + b]);
      return at;
    };
    for (auto* list : {&c.windows, &c.strides, &c.dilations, &c.before, &c.after})
      std::swap((*list)[static_cast<std::size_t>(a)], (*list)[static_cast<std::size_t>(b)]);
    problem text = text_of(bench.about());
    text.set("x", to_string(exchanged(c.x)));
    text.set("window", attribute::join(c.windows, 'x'));
    text.set("stride", attribute::join(c.strides, 'x'));
    text.set("dilation", attribute::join(c.dilations, 'x'));
    text.set("pad", sides_text(c.before, c.after));
    return moving_cells(text, c, exchanged, exchanged);
  }
};

// Formulas ---------------------------------------------------------------------------------------------

/// x ≤ x′ everywhere ⇒ y ≤ y′ everywhere
template <class T>
void monotone(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> x = bench.numbers(l.shapes()["x"]);
  tensor<T> larger = x;
  for (index_t i = 0; i < x.size(); ++i) larger[i] += T(bench.between(0, 2));
  const auto y = bench.run(l, of_x(x)), z = bench.run(l, of_x(larger));
  for (index_t i = 0; i < y["y"].size(); ++i)
    bench.claim(y["y"][i].value <= z["y"][i].value,
                "y[" + coordinates(i, y["y"].extents()) + "] falls as x rises");
}

/// max(a·x + c) = a·max(x) + c for a > 0, won by the same cells
template <class T>
void equivariant(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> x = bench.numbers(l.shapes()["x"]);
  const T a(bench.between(1, 3)), c(bench.between(-100, 100));
  tensor<T> moved = x;
  for (index_t i = 0; i < x.size(); ++i) moved[i] = a * x[i] + c;
  const auto y = bench.run(l, of_x(x)), z = bench.run(l, of_x(moved));
  bench.claim_all("y", z["y"], [&](const shape& at) { return a * y["y"].view()(at) + known<T>(c); });
  bench.claim(y.indices("indices").values() == z.indices("indices").values(),
              "another cell won after x was scaled and moved");
}

/// A window of one cell with stride 1 leaves everything as it is.
template <class T>
void single_cell(lab<T>& bench) {
  problem text = text_of(bench.about());
  for (const char* one : {"window", "stride", "dilation"}) text.set(one, "1");
  text.set("pad", "0");
  const auto l = derived(text);
  const pass_spec* pass = l->find_pass(bench.pass().name);
  const tensor_set<T> reads = bench.reads(*l, *pass);
  const auto writes = bench.run(*l, reads);
  const std::string from = is_forward(*pass) ? "x" : "dy", to = is_forward(*pass) ? "y" : "dx";
  bench.claim_all(to, writes[to], [&](const shape& at) { return known<T>(reads[from].view()(at)); });
}

/// Calls f(flat cell in the plane) for the cells of the window of one output that lie inside x.
template <class F>
void for_each_cell(const pool_numbers& c, const shape& output, F&& f) {
  shape window;
  for (const index_t k : c.windows) window.push_back(k);
  for_each_index(window, [&](const shape& j) {
    index_t cell = 0;
    for (int axis = 0; axis < c.rank; ++axis) {
      const auto i = static_cast<std::size_t>(axis);
      const index_t h = output[2 + axis] * c.strides[i] - c.before[i] + j[axis] * c.dilations[i];
      if (h < 0 || h >= c.x[2 + axis]) return;
      cell = cell * c.x[2 + axis] + h;
    }
    f(cell);
  });
}

index_t plane_size(const shape& x) {
  index_t size = 1;
  for (int axis = 2; axis < x.rank(); ++axis) size *= x[axis];
  return size;
}

/// y is no less than any cell of its window, and it is the first of the cells that equal it which won.
template <class T>
void largest_of_its_window(lab<T>& bench) {
  const pool_numbers c(bench.about());
  const tensor_set<T> reads = bench.reads(bench.about(), bench.pass());
  const auto writes = bench.run(bench.about(), reads);
  const index_t plane = plane_size(c.x);
  for_each_index(c.y, [&](const shape& at) {
    const T y = writes["y"].view()(at).value;
    const index_t first = (at[0] * c.x[1] + at[1]) * plane;
    index_t winner = -1;
    for_each_cell(c, at, [&](index_t cell) {
      const T& x = reads["x"][first + cell];
      bench.claim(x <= y, "y[" + coordinates_text(at) + "] is less than a cell of its window");
      if (winner < 0 && x == y) winner = cell;
    });
    bench.claim(winner >= 0, "y[" + coordinates_text(at) + "] is in no cell of its window");
    bench.claim(winner == writes.indices("indices").view()(at),
                "indices[" + coordinates_text(at) + "] is not the first cell that holds the maximum");
  });
}

/// The maximum over a box is the maximum over its rows, then over the columns of those.
template <class T>
void separable(lab<T>& bench) {
  const layer& l = bench.about();
  pool_numbers c(l);
  problem across = text_of(l), along = across;
  std::vector<index_t> windows = c.windows, strides = c.strides, dilations = c.dilations, before = c.before,
                       after = c.after;
  windows[0] = strides[0] = dilations[0] = 1;
  before[0] = after[0] = 0;
  across.set("window", attribute::join(windows, 'x'));
  across.set("stride", attribute::join(strides, 'x'));
  across.set("dilation", attribute::join(dilations, 'x'));
  across.set("pad", sides_text(before, after));
  const auto first = derived(across);
  for (std::size_t i = 1; i < windows.size(); ++i) {
    c.windows[i] = c.strides[i] = c.dilations[i] = 1;
    c.before[i] = c.after[i] = 0;
  }
  along.set("x", to_string(first->shapes()["y"]));
  along.set("window", attribute::join(c.windows, 'x'));
  along.set("stride", attribute::join(c.strides, 'x'));
  along.set("dilation", attribute::join(c.dilations, 'x'));
  along.set("pad", sides_text(c.before, c.after));
  const auto second = derived(along);
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto direct = bench.run(l, reads), rows = bench.run(*first, reads);
  tensor<T> between(first->shapes()["y"]);
  for (index_t i = 0; i < between.size(); ++i) between[i] = rows["y"][i].value;
  const auto columns = bench.run(*second, of_x(between));
  bench.claim_all("y", direct["y"], [&](const shape& at) { return columns["y"].view()(at); });
}

/// dx[cell] is the sum of the dy whose index names the cell; so every plane keeps its sum.
template <class T>
void gradient_goes_to_the_winner(lab<T>& bench) {
  const pool_numbers c(bench.about());
  tensor_set<T> reads = bench.reads(bench.about(), bench.pass());
  const index_t plane = plane_size(c.x);
  for (index_t& index : reads.indices("indices").values())  // any legal indices, winners or not
    if (bench.between(0, 3) == 0) index = bench.between(0, plane - 1);
  tensor<T> dx(c.x);
  for_each_index(c.y, [&](const shape& at) {
    dx[(at[0] * c.x[1] + at[1]) * plane + reads.indices("indices").view()(at)] += reads["dy"].view()(at);
  });
  const auto writes = bench.run(bench.about(), reads);
  bench.claim_all("dx", writes["dx"], [&](const shape& at) { return known<T>(dx.view()(at)); });
}

}  // namespace
}  // namespace pooling_family

std::vector<law> max_pool_laws() {
  using namespace pooling_family;
  const auto as_embedding = [](auto... arguments) { return state_embedding(std::move(arguments)...); };
  const auto several_forward = [](const layer& l, const pass_spec& pass) {
    return is_forward(pass) && of_several_axes(l, pass);
  };
  return {
      as_embedding("max_pool.translation",
                   "low cells put before the input, stride at a time, move the output", any_pass,
                   translation()),
      as_embedding("max_pool.channel_permutation", "channels may change places", any_pass,
                   channel_permutation()),
      as_embedding("max_pool.padding", "padding = cells below everything", padded, padding_as_cells()),
      as_embedding("max_pool.stride", "stride = subsampled pooling of stride 1", strided,
                   stride_as_subsampling()),
      as_embedding("max_pool.axes", "two axes of space may change places", of_several_axes, axes_exchanged()),
      state("max_pool.monotone", "x <= x' gives y <= y'", only("forward"),
            [](auto& bench) { monotone(bench); }),
      state("max_pool.equivariant", "max(a x + c) = a max(x) + c for a > 0, same indices", only("forward"),
            [](auto& bench) { equivariant(bench); }),
      state("max_pool.single_cell", "window 1, stride 1: the identity", any_pass,
            [](auto& bench) { single_cell(bench); }),
      state("max_pool.maximum", "y is the largest cell of its window, indices the first that holds it",
            only("forward"), [](auto& bench) { largest_of_its_window(bench); }),
      state("max_pool.separable", "maximum over a box = over rows, then over columns", several_forward,
            [](auto& bench) { separable(bench); }),
      state("max_pool.gradient", "dx[cell] = sum of the dy whose index names the cell", only("backward"),
            [](auto& bench) { gradient_goes_to_the_winner(bench); }),
  };
}

}  // namespace plumb
