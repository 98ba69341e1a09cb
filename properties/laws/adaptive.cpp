// Laws of adaptive, global and fractional pooling: where the windows happen to be regular they are those of
// average and max pooling; everywhere else the winners and the shares of the gradient can be counted.
#include "properties/laws/embedding.hpp"

namespace plumb {
namespace adaptive_family {
namespace {

bool picks_winners(const layer& l, const pass_spec& pass) { return is_forward(pass) && l.present("indices"); }

shape planes_of(const shape& s) {
  shape planes = s;
  for (int axis = 2; axis < s.rank(); ++axis) planes[axis] = 1;
  return planes;
}

/// The indices name cells of the plane that hold y.
template <class T>
void winners_hold_the_maximum(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto writes = bench.run(l, reads);
  const tensor<index_t>& indices = writes.indices("indices");
  const index_t planes = std::max<index_t>(1, planes_of(l.shapes()["x"]).size());
  const index_t cells = l.shapes()["x"].size() / planes, outputs = indices.size() / planes;
  for (index_t i = 0; i < indices.size(); ++i) {
    const std::string place = "[" + coordinates(i, indices.extents()) + "]";
    bench.claim(0 <= indices[i] && indices[i] < cells, "indices" + place + " is no cell of the plane");
    if (!bench.verdict().holds) return;
    bench.claim(reads["x"][i / outputs * cells + indices[i]] == writes["y"][i].value,
                "y" + place + " is not what the cell holds that indices names");
  }
}

/// Every cotangent is handed out in full.
template <class T>
void total(lab<T>& bench) {
  const tensor_set<T> reads = bench.reads(bench.about(), bench.pass());
  const auto writes = bench.run(bench.about(), reads);
  known<T> given, received;
  for (index_t i = 0; i < reads["dy"].size(); ++i) given += known<T>(reads["dy"][i]);
  for (index_t i = 0; i < writes["dx"].size(); ++i) received += writes["dx"][i];
  bench.claim_equal("sum of dx and sum of dy", {}, received, given);
}

// Adaptive pooling -------------------------------------------------------------------------------------

std::string ordinary_pool(const layer& l) {
  const std::string rank = std::to_string(l.shapes()["x"].rank() - 2) + "d";
  return (l.present("indices") ? "max_pool" : "avg_pool") + rank;
}

/// Asked for as many outputs as there are cells it copies x.
template <class T>
void identity(lab<T>& bench) {
  problem text = spelled_out(bench.about());
  const shape x = bench.about().shapes()["x"];
  std::vector<index_t> cells(x.begin() + 2, x.end());
  text.set("output", attribute::join(cells, 'x'));
  const auto l = derived(text);
  const pass_spec* pass = l->find_pass(bench.pass().name);
  const tensor_set<T> reads = bench.reads(*l, *pass);
  const auto writes = bench.run(*l, reads);
  const std::string from = is_forward(*pass) ? "x" : "dy", to = is_forward(*pass) ? "y" : "dx";
  bench.claim_all(to, writes[to], [&](const shape& at) { return known<T>(reads[from].view()(at)); });
}

/// Where the outputs divide the cells it is pooling with window = stride = cells per output.
struct whole_windows {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const layer& l = bench.about();
    shape x = l.shapes()["x"];
    std::vector<index_t> windows;
    for (int axis = 2; axis < x.rank(); ++axis) {
      windows.push_back(bench.between(1, 3));
      x[axis] = l.shapes()["y"][axis] * windows.back();
    }
    problem adaptive = spelled_out(l), ordinary(ordinary_pool(l));
    adaptive.set("x", to_string(x));
    ordinary.set("x", to_string(x));
    ordinary.set("window", attribute::join(windows, 'x'));
    return {.from = derived(adaptive), .to = derived(ordinary), .into = {}};
  }
};

// Global pooling ---------------------------------------------------------------------------------------

struct global_as_adaptive {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const layer& l = bench.about();
    const int rank = l.shapes()["x"].rank() - 2;
    bench.require(1 <= rank && rank <= 3);
    problem text((l.present("indices") ? "adaptive_max_pool" : "adaptive_avg_pool") + std::to_string(rank) +
                 "d");
    text.set("x", to_string(l.shapes()["x"]));
    text.set("output", "1");
    return {.from = {}, .to = derived(text), .into = {}};
  }
};

/// Cells may change places within all planes alike.
struct position_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const layer& l = bench.about();
    const shape x = l.shapes()["x"];
    shape plane;
    for (int axis = 2; axis < x.rank(); ++axis) plane.push_back(x[axis]);
    bench.require(plane.size() > 1);
    const auto order = bench.permutation(plane.size());
    const auto moved = [order](index_t cell) { return order[static_cast<std::size_t>(cell)]; };
    const auto cell_moved = [plane, moved](const shape& at) {
      index_t cell = 0;
      for (int axis = 0; axis < plane.rank(); ++axis) cell = cell * plane[axis] + at[2 + axis];
      shape there{at[0], at[1]};
      for (const index_t i : unflatten(moved(cell), plane)) there.push_back(i);
      return there;
    };
    embedding e{.from = {}, .to = derived(spelled_out(l)), .into = {{"x", cell_moved}}};
    e.index_into = moved;
    e.distinct = true;
    return e;
  }
};

// Fractional max pooling -------------------------------------------------------------------------------

/// Where (I - k) / (O - 1) is a whole number s the sample has no say: it is max pooling with stride s.
struct regular_windows {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const layer& l = bench.about();
    shape x = l.shapes()["x"];
    const auto windows = l.resolved().integers("window");
    std::vector<index_t> strides;
    for (int axis = 2; axis < x.rank(); ++axis) {
      strides.push_back(bench.between(2, 3));
      x[axis] = (l.shapes()["y"][axis] - 1) * strides.back() + windows[static_cast<std::size_t>(axis) - 2];
    }
    problem fractional = spelled_out(l), ordinary(ordinary_pool(l));
    fractional.set("x", to_string(x));
    ordinary.set("x", to_string(x));
    ordinary.set("window", l.resolved().text("window"));
    ordinary.set("stride", attribute::join(strides, 'x'));
    return {.from = derived(fractional), .to = derived(ordinary), .into = {}};
  }
};

}  // namespace
}  // namespace adaptive_family

std::vector<law> adaptive_pool_laws() {
  using namespace adaptive_family;
  return {
      state("adaptive_pool.identity", "as many outputs as cells copy x", any_pass,
            [](auto& bench) { identity(bench); }),
      state_embedding("adaptive_pool.whole_windows",
                      "outputs that divide the cells = pooling with equal windows", any_pass,
                      whole_windows()),
      state("adaptive_pool.winners", "indices name the cells that hold y", picks_winners,
            [](auto& bench) { winners_hold_the_maximum(bench); }),
      state("adaptive_pool.total", "sum of dx = sum of dy", only("backward"),
            [](auto& bench) { total(bench); }),
  };
}

std::vector<law> global_pool_laws() {
  using namespace adaptive_family;
  return {
      state_embedding("global_pool.adaptive", "global pooling = adaptive pooling to one output", any_pass,
                      global_as_adaptive()),
      state_embedding("global_pool.position_permutation", "cells may change places", any_pass,
                      position_permutation()),
      state("global_pool.winners", "indices name the cells that hold y", picks_winners,
            [](auto& bench) { winners_hold_the_maximum(bench); }),
      state("global_pool.total", "sum of dx = sum of dy", only("backward"),
            [](auto& bench) { total(bench); }),
  };
}

std::vector<law> fractional_pool_laws() {
  using namespace adaptive_family;
  return {
      state_embedding("fractional_pool.regular_windows",
                      "a whole (I - k) / (O - 1) = max pooling with that stride", any_pass,
                      regular_windows()),
      state("fractional_pool.winners", "indices name the cells that hold y", picks_winners,
            [](auto& bench) { winners_hold_the_maximum(bench); }),
      state("fractional_pool.total", "sum of dx = sum of dy", only("backward"),
            [](auto& bench) { total(bench); }),
  };
}

}  // namespace plumb
