// Laws of padding: what lies inside is untouched, what lies around follows its rule, and one axis has nothing
// to do with another. `pad` counts from the front: pads[2·axis] in front, pads[2·axis+1] behind.
#include "properties/laws/statement.hpp"

namespace plumb {
namespace padding_family {
namespace {

struct pad_numbers {
  explicit pad_numbers(const layer& l)
      : pads(l.resolved().integers("pad")), x(l.shapes()["x"]), y(l.shapes()["y"]) {}
  std::vector<index_t> pads;
  shape x, y;
  index_t before(int axis) const { return pads[2 * static_cast<std::size_t>(axis - 2)]; }
  index_t after(int axis) const { return pads[2 * static_cast<std::size_t>(axis - 2) + 1]; }
  bool crops() const {
    return std::ranges::any_of(pads, [](index_t p) { return p < 0; });
  }
};

law_scope of_kind(std::string kind, std::string pass) {
  return [kind = std::move(kind), pass = std::move(pass)](const layer& l, const pass_spec& p) {
    return l.name().starts_with(kind) && p.name == pass;
  };
}

/// The gradient of a constant has no part of x in it.
bool shows_only_x(const layer& l, const pass_spec& p) {
  return p.name == "backward" && !l.name().starts_with("constant");
}

/// Cropping what was added gives x back; where it crops, y shows what is left of x.
template <class T>
void crop_inverts(lab<T>& bench) {
  const layer& l = bench.about();
  const pad_numbers c(l);
  const tensor<T> x = bench.numbers(c.x);
  const auto y = bench.run(l, of_x(x));
  for_each_index(c.x, [&](const shape& at) {
    shape there = at;
    bool shown = true;
    for (int axis = 2; axis < c.x.rank(); ++axis) {
      there[axis] += c.before(axis);
      shown = shown && 0 <= there[axis] && there[axis] < c.y[axis];
    }
    if (shown) bench.claim_equal("y", there, y["y"].view()(there), known<T>(x.view()(at)));
  });
}

/// Padding one axis after the other is padding all at once.
template <class T>
void axes_in_turn(lab<T>& bench) {
  const layer& l = bench.about();
  const pad_numbers c(l);
  bench.require(c.x.rank() > 3);
  const tensor<T> x = bench.numbers(c.x);
  const auto at_once = bench.run(l, of_x(x));
  tensor<known<T>> in_turn(c.x);
  for (index_t i = 0; i < x.size(); ++i) in_turn[i] = known<T>(x[i]);
  for (int axis = c.x.rank() - 1; axis >= 2; --axis) {
    std::vector<index_t> pads(c.pads.size(), 0);
    const std::size_t first = 2 * static_cast<std::size_t>(axis - 2);
    std::copy_n(c.pads.begin() + static_cast<std::ptrdiff_t>(first), 2,
                pads.begin() + static_cast<std::ptrdiff_t>(first));
    problem text = spelled_out(l);
    text.set("x", to_string(in_turn.extents()));
    text.set("pad", attribute::join(pads, ','));
    tensor<T> values(in_turn.extents());
    for (index_t i = 0; i < values.size(); ++i) values[i] = in_turn[i].value;
    in_turn = bench.run(*derived(text), of_x(values))["y"];
  }
  bench.claim_all("y", at_once["y"], [&](const shape& at) { return in_turn.view()(at); });
}

/// y[…] at `at` moved to position `where` of one axis.
shape moved(shape at, int axis, index_t where) {
  at[axis] = where;
  return at;
}

/// Along one axis, what y shows at j and at partner(axis, j) is the same, wherever both exist.
template <class T, class Partner>
void pairs_are_equal(lab<T>& bench, Partner&& partner) {
  const layer& l = bench.about();
  const pad_numbers c(l);
  const auto y = bench.run(l, of_x(bench.numbers(c.x)));
  const int axis = 2 + static_cast<int>(bench.between(0, c.x.rank() - 3));
  bool found = false;
  for_each_index(c.y, [&](const shape& at) {
    const index_t other = partner(c, axis, at[axis]);
    if (other == at[axis] || other < 0 || other >= c.y[axis]) return;
    found = true;
    bench.claim_equal("y", at, y["y"].view()(at), y["y"].view()(moved(at, axis, other)));
  });
  bench.require(found);
}

/// The border is a mirror: cells k in front of it and k behind it are the same, for k < I.
template <class T>
void mirror(lab<T>& bench) {
  const bool front = bench.between(0, 1) == 0;
  pairs_are_equal(bench, [front](const pad_numbers& c, int axis, index_t j) {
    const index_t border = front ? c.before(axis) : c.before(axis) + c.x[axis] - 1;
    const index_t other = 2 * border - j, reach = c.x[axis] - 1;
    return -reach <= j - border && j - border <= reach ? other : index_t{-1};
  });
}

/// Beyond the border nothing changes any more.
template <class T>
void constant_beyond(lab<T>& bench) {
  pairs_are_equal(bench, [](const pad_numbers& c, int axis, index_t j) {
    if (j < c.before(axis)) return j + 1;
    return j >= c.before(axis) + c.x[axis] ? j - 1 : index_t{-1};
  });
}

/// y repeats after as many cells as are left of x.
template <class T>
void periodic(lab<T>& bench) {
  pairs_are_equal(bench, [](const pad_numbers& c, int axis, index_t j) {
    return j + c.x[axis] + std::min<index_t>(c.before(axis), 0) + std::min<index_t>(c.after(axis), 0);
  });
}

/// Around x stands `value`.
template <class T>
void value_around(lab<T>& bench) {
  const layer& l = bench.about();
  const pad_numbers c(l);
  const auto y = bench.run(l, of_x(bench.numbers(c.x)));
  decimal value;
  attribute::read(l.resolved().find("value")->value, value, range{});
  bench.claim_all("y", y["y"], [&](const shape& at) {
    for (int axis = 2; axis < c.y.rank(); ++axis)
      if (at[axis] < c.before(axis) || at[axis] >= c.before(axis) + c.x[axis])
        return known<T>(value.as<T>(), y["y"].view()(at).slack);
    return y["y"].view()(at);
  });
}

/// No cotangent is lost: Σ dx = Σ dy, unless cells of x are cropped.
template <class T>
void mass(lab<T>& bench) {
  const layer& l = bench.about();
  bench.require(!pad_numbers(l).crops());
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto writes = bench.run(l, reads);
  known<T> in, out;
  for (const T& v : reads["dy"].values()) in += known<T>(v);
  for (const known<T>& v : writes["dx"].values()) out += v;
  bench.claim_equal("sum of dx and sum of dy", {}, out, in);
}

/// Two paddings, one after the other, are one with the pads added, where neither crops.
template <class T>
void pads_add_up(lab<T>& bench) {
  const layer& l = bench.about();
  const pad_numbers c(l);
  bench.require(!c.crops());
  const tensor<T> x = bench.numbers(c.x);
  std::vector<index_t> first, second;
  for (const index_t pad : c.pads) {
    first.push_back(bench.between(0, pad));
    second.push_back(pad - first.back());
  }
  problem text = spelled_out(l);
  text.set("pad", attribute::join(first, ','));
  const auto inner = bench.run(*derived(text), of_x(x));
  tensor<T> values(inner["y"].extents());
  for (index_t i = 0; i < values.size(); ++i) values[i] = inner["y"][i].value;
  text.set("x", to_string(values.extents()));
  text.set("pad", attribute::join(second, ','));
  const auto outer = bench.run(*derived(text), of_x(values));
  const auto at_once = bench.run(l, of_x(x));
  bench.claim_all("y", at_once["y"], [&](const shape& at) { return outer["y"].view()(at); });
}

}  // namespace
}  // namespace padding_family

std::vector<law> padding_laws() {
  using namespace padding_family;
  const auto adds = [](const layer& l, const pass_spec& p) {
    return is_forward(p) && (l.name().starts_with("constant") || l.name().starts_with("replication"));
  };
  return {
      state("padding.crop", "cropping what was added gives x back", only("forward"),
            [](auto& bench) { crop_inverts(bench); }),
      state("padding.axes", "padding one axis after the other is padding all at once", only("forward"),
            [](auto& bench) { axes_in_turn(bench); }),
      state("padding.mirror", "reflection: y[border - k] = y[border + k]", of_kind("reflection", "forward"),
            [](auto& bench) { mirror(bench); }),
      state("padding.replication", "replication: beyond the border nothing changes",
            of_kind("replication", "forward"), [](auto& bench) { constant_beyond(bench); }),
      state("padding.period", "circular: y[j + I] = y[j]", of_kind("circular", "forward"),
            [](auto& bench) { periodic(bench); }),
      state("padding.value", "constant: around x stands the value", of_kind("constant", "forward"),
            [](auto& bench) { value_around(bench); }),
      state("padding.addition", "two paddings are one with the pads added", adds,
            [](auto& bench) { pads_add_up(bench); }),
      state("padding.mass", "the sum of dx is the sum of dy, where nothing is cropped", shows_only_x,
            [](auto& bench) { mass(bench); }),
  };
}

}  // namespace plumb
