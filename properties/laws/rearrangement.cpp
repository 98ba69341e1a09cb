// Laws of the rearranging layers: nothing is lost or made up on the way there and back, another layer of the
// family undoes it, and merged axes keep their order.
#include "properties/laws/statement.hpp"

namespace plumb {
namespace rearrangement_family {
namespace {

bool loses_nothing(const layer& l, const pass_spec&) { return l.name() != "slice"; }
law_scope of_layers(std::vector<std::string> names, std::string pass) {
  return [names = std::move(names), pass = std::move(pass)](const layer& l, const pass_spec& p) {
    return p.name == pass && std::ranges::find(names, l.name()) != names.end();
  };
}

/// The results of one pass as the reads of another: `d` is put in front of their names, or taken off.
template <class T>
tensor_set<T> with_d(const tensor_set<known<T>>& results) {
  tensor_set<T> set;
  for (const auto& e : results.entries()) set.add("d" + e.name, values_of<T>(e.real));
  return set;
}
template <class T>
tensor_set<T> without_d(const tensor_set<known<T>>& results) {
  tensor_set<T> set;
  for (const auto& e : results.entries()) set.add(e.name.substr(1), values_of<T>(e.real));
  return set;
}

/// backward(forward(x)) = x: every element comes back to where it was.
template <class T>
void there_and_back(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor_set<T> in = bench.inputs(l, true);
  const auto back = bench.run(l, "backward", with_d<T>(bench.run(l, "forward", in)));
  for (const auto& e : back.entries())
    bench.claim_all(e.name, e.real,
                    [&](const shape& at) { return known<T>(in[e.name.substr(1)].view()(at)); });
}

/// forward(backward(dy)) = dy: the gradient holds every cotangent once.
template <class T>
void back_and_there(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> cotangents;
  for (const tensor_spec& s : l.describe().outputs)
    cotangents.add("d" + s.name, bench.distinct_numbers(l.shapes()[s.name]));
  const auto there = bench.run(l, "forward", without_d<T>(bench.run(l, "backward", cotangents)));
  for (const auto& e : there.entries())
    bench.claim_all(e.name, e.real,
                    [&](const shape& at) { return known<T>(cotangents["d" + e.name].view()(at)); });
}

/// The layer that undoes this one. Of several outputs it takes y0, y1, … as x0, x1, …; its one output is x.
problem undoing(const layer& l) {
  const std::string& name = l.name();
  const problem& mine = l.resolved();
  const std::string y = l.shapes().has("y") ? to_string(l.shapes()["y"]) : std::string();
  const auto text = [&](const char* layer) {
    problem p(layer);
    if (!y.empty()) p.set("x", y);
    return p;
  };
  if (name == "permute") {
    problem p = text("permute");
    const auto order = mine.integers("order");
    std::vector<index_t> inverse(order.size());
    for (std::size_t i = 0; i < order.size(); ++i)
      inverse[static_cast<std::size_t>(order[i])] = static_cast<index_t>(i);
    p.set("order", attribute::join(inverse, 'x'));
    return p;
  }
  if (name == "pixel_shuffle" || name == "pixel_unshuffle") {
    problem p = text(name == "pixel_shuffle" ? "pixel_unshuffle" : "pixel_shuffle");
    p.set("factor", mine.find("factor")->value);
    return p;
  }
  if (name == "channel_shuffle") {
    problem p = text("channel_shuffle");
    p.set("groups", std::to_string(l.shapes()["x"][1] / mine.integer("groups")));
    return p;
  }
  if (name == "flatten" || name == "reshape") {
    problem p = text("reshape");
    p.set("shape", to_string(l.shapes()["x"]));
    return p;
  }
  if (name == "concat") {
    problem p = text("split");
    std::vector<index_t> sizes;
    for (const tensor_spec& s : l.describe().inputs)
      sizes.push_back(l.shapes()[s.name][static_cast<int>(mine.integer("axis"))]);
    p.set("sizes", attribute::join(sizes, 'x'));
    p.set("axis", mine.find("axis")->value);
    return p;
  }
  problem p = text("concat");  // split
  const auto& pieces = l.describe().outputs;
  for (const tensor_spec& s : pieces) p.set("x" + s.name.substr(1), to_string(l.shapes()[s.name]));
  p.set("count", std::to_string(pieces.size()));
  p.set("axis", mine.find("axis")->value);
  return p;
}

template <class T>
void undone_by_another(lab<T>& bench) {
  const layer& l = bench.about();
  const auto other = derived(undoing(l));
  const tensor_set<T> in = bench.inputs(l, true);
  const auto y = bench.run(l, in);
  tensor_set<T> again;
  for (const auto& e : y.entries()) again.add("x" + e.name.substr(1), values_of<T>(e.real));
  const auto x = bench.run(*other, "forward", again);
  for (const auto& e : x.entries())
    bench.claim_all(e.name, e.real, [&](const shape& at) {
      const std::string mine = in.find("x") != nullptr ? "x" : "x" + e.name.substr(1);
      return known<T>(in[mine].view()(at));
    });
}

/// Elements keep their row-major numbers.
template <class T>
void keeps_the_order(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> x = bench.distinct_numbers(l.shapes()["x"]);
  const auto y = bench.run(l, of_x(x));
  for (index_t i = 0; i < x.size(); ++i)
    bench.claim_equal("y", unflatten(i, l.shapes()["y"]), y["y"][i], known<T>(x[i]));
}

/// A slice of a slice is a slice: start + step·start′, step·step′.
template <class T>
void slices_compose(lab<T>& bench) {
  const layer& l = bench.about();
  const shape &x = l.shapes()["x"], &y = l.shapes()["y"];
  const auto start = l.resolved().integers("start"), step = l.resolved().integers("step");
  std::vector<index_t> starts, stops, steps, first, last, stride;
  for (int axis = 0; axis < x.rank(); ++axis) {
    const auto a = static_cast<std::size_t>(axis);
    starts.push_back(bench.between(0, y[axis]));
    stops.push_back(bench.between(starts.back(), y[axis]));
    steps.push_back(bench.between(1, 3));
    first.push_back(std::min(x[axis], start[a] + step[a] * starts[a]));
    last.push_back(std::max(first[a], std::min(x[axis], start[a] + step[a] * stops[a])));
    stride.push_back(step[a] * steps[a]);
  }
  const auto text = [](const shape& of, const auto& begin, const auto& end, const auto& by) {
    problem p("slice");
    p.set("x", to_string(of));
    p.set("start", attribute::join(begin, 'x'));
    p.set("stop", attribute::join(end, 'x'));
    p.set("step", attribute::join(by, 'x'));
    return p;
  };
  const tensor<T> values = bench.distinct_numbers(x);
  const auto inner = bench.run(l, of_x(values));
  const auto twice = bench.run(*derived(text(y, starts, stops, steps)), of_x(values_of<T>(inner["y"])));
  const auto once = bench.run(*derived(text(x, first, last, stride)), of_x(values));
  bench.claim(once["y"].extents() == twice["y"].extents(),
              "a slice of a slice has another shape than the slice");
  bench.claim_all("y", once["y"], [&](const shape& at) { return twice["y"].view()(at); });
}

}  // namespace
}  // namespace rearrangement_family

std::vector<law> rearrangement_laws() {
  using namespace rearrangement_family;
  return {
      state("rearrangement.there_and_back", "backward(forward(x)) = x", loses_nothing,
            [](auto& bench) { there_and_back(bench); }),
      state("rearrangement.back_and_there", "forward(backward(dy)) = dy", any_pass,
            [](auto& bench) { back_and_there(bench); }),
      state(
          "rearrangement.inverse", "another layer of the family undoes it",
          [](const layer& l, const pass_spec& p) { return is_forward(p) && loses_nothing(l, p); },
          [](auto& bench) { undone_by_another(bench); }),
      state("rearrangement.order", "merged and cut axes keep the row-major order",
            of_layers({"flatten", "reshape"}, "forward"), [](auto& bench) { keeps_the_order(bench); }),
      state("rearrangement.slices", "a slice of a slice is a slice", of_layers({"slice"}, "forward"),
            [](auto& bench) { slices_compose(bench); }),
  };
}

}  // namespace plumb
