// Laws of upsampling: weights sum to one, one axis has nothing to do with another, and what is already the
// right size or a linear function stays what it is.
#include "properties/laws/statement.hpp"

namespace plumb {
namespace upsampling_family {
namespace {

bool scaled(const layer& l) { return l.canonical().find("scale") != nullptr; }
bool copies(const layer& l) { return l.name().starts_with("upsample_nearest"); }
bool aligned(const layer& l) {
  const problem::field* corners = l.resolved().find("align_corners");
  return corners != nullptr && corners->value == "true";
}

bool is_linear(const layer& l, const pass_spec& p) {
  return is_forward(p) && !copies(l) && !l.name().starts_with("upsample_bicubic");
}
bool copies_forward(const layer& l, const pass_spec& p) { return is_forward(p) && copies(l); }
bool interpolates(const layer& l, const pass_spec& p) { return is_forward(p) && !copies(l); }

shape positions_of(const shape& s) { return shape(s.extents().subspan(2)); }

/// A constant image stays constant.
template <class T>
void partition_of_unity(lab<T>& bench) {
  const layer& l = bench.about();
  const T value(bench.between(1, 9));
  const auto y = bench.run(l, of_x(tensor<T>(l.shapes()["x"], value)));
  bench.claim_all("y", y["y"], [&](const shape&) { return known<T>(value); });
}

/// No cotangent is lost: Σ dx = Σ dy.
template <class T>
void mass(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto writes = bench.run(l, reads);
  known<T> in, out;
  for (const T& v : reads["dy"].values()) in += known<T>(v);
  for (const known<T>& v : writes["dx"].values()) out += v;
  out.slack += out.slack * 0x1p-10;
  bench.claim_equal("sum of dx and sum of dy", {}, out, in);
}

/// To its own size every image is itself.
template <class T>
void own_size(lab<T>& bench) {
  const shape& x = bench.about().shapes()["x"];
  problem text(bench.about().name());
  text.set("x", to_string(x));
  text.set("size", to_string(positions_of(x)));
  if (aligned(bench.about())) text.set("align_corners", "true");
  const tensor<T> values = bench.numbers(x);
  const auto y = bench.run(*derived(text), of_x(values));
  bench.claim_all("y", y["y"], [&](const shape& at) { return known<T>(values.view()(at)); });
}

/// One axis after the other, the rest kept, is all at once.
template <class T>
void axes_in_turn(lab<T>& bench) {
  const layer& l = bench.about();
  const shape x = l.shapes()["x"], y = l.shapes()["y"];
  bench.require(x.rank() > 3);
  const tensor<T> values = bench.numbers(x);
  const auto at_once = bench.run(l, of_x(values));
  tensor<T> now = values;
  double slack = 0;
  for (int axis = 2; axis < x.rank(); ++axis) {
    problem text = spelled_out(l);
    text.set("x", to_string(now.extents()));
    shape size = positions_of(now.extents());
    size[axis - 2] = y[axis];
    if (scaled(l)) {
      std::string list;
      std::size_t from = 0;
      const std::string given = l.resolved().find("scale")->value;
      for (int a = 2; a < x.rank(); ++a) {
        const std::size_t end = std::min(given.find('x', from), given.size());
        list += (a == 2 ? "" : "x") + (a == axis ? given.substr(from, end - from) : std::string("1"));
        from = end + 1;
      }
      text.set("scale", list);
    } else {
      text.set("size", to_string(size));
    }
    const auto step = bench.run(*derived(text), of_x(now));
    double fresh = 0;
    for (const known<T>& v : step["y"].values()) fresh = std::max(fresh, v.slack);
    slack = 2 * slack + fresh;  // the magnitudes of the weights along an axis sum to less than 2
    now = values_of(step["y"]);
  }
  bench.claim_all("y", at_once["y"], [&](const shape& at) { return known<T>(now.view()(at), slack); });
}

/// A linear function of the position is read off at the positions of the outputs, held between the border
/// cells.
template <class T>
void linear_function(lab<T>& bench) {
  const layer& l = bench.about();
  const int axis = 2 + static_cast<int>(bench.between(0, l.shapes()["x"].rank() - 3));
  const index_t I = l.shapes()["x"][axis], O = l.shapes()["y"][axis];
  bench.require(!scaled(l) && I > 1 && O > 1);
  tensor<T> x(l.shapes()["x"]);
  for_each_index(x.extents(), [&](const shape& at) { x.view()(at) = T(2 * at[axis] - 1); });
  const auto y = bench.run(l, of_x(x));
  bench.claim_all("y", y["y"], [&](const shape& at) {
    const T o(at[axis]), last(I - 1), half = T(1) / T(2);
    const T place = aligned(l) ? T(o * last / T(O - 1)) : T((o + half) * T(I) / T(O) - half);
    const T held = place < T(0) ? T(0) : place > last ? last : place;
    // Positions near the far end are rounded like numbers of its size.
    return known<T>(T(2) * held - T(1), y["y"].view()(at).slack * static_cast<double>(I));
  });
}

/// Mirrored images give mirrored results, with a size (a scale leaves a rest at the far end).
template <class T>
void mirror(lab<T>& bench) {
  const layer& l = bench.about();
  bench.require(!scaled(l));
  const shape& extents = l.shapes()["x"];
  const int axis = 2 + static_cast<int>(bench.between(0, extents.rank() - 3));
  // With aligned corners a single cell lies on the first one of x, not on its middle.
  bench.require(!(l.resolved().flag("align_corners") && l.shapes()["y"][axis] == 1 && extents[axis] > 1));
  const auto flipped = [axis](shape at, const shape& within) {
    at[axis] = within[axis] - 1 - at[axis];
    return at;
  };
  const tensor<T> x = bench.numbers(extents);
  tensor<T> mirrored(extents);
  for_each_index(extents, [&](const shape& at) { mirrored.view()(at) = x.view()(flipped(at, extents)); });
  const auto y = bench.run(l, of_x(x)), z = bench.run(l, of_x(mirrored));
  bench.claim_all("y", y["y"], [&](const shape& at) { return z["y"].view()(flipped(at, l.shapes()["y"])); });
}

/// Nothing new appears, and neighbours keep their order: with x rising along an axis, y is made of its values
/// and rises.
template <class T>
void order_is_kept(lab<T>& bench) {
  const layer& l = bench.about();
  const int axis = 2 + static_cast<int>(bench.between(0, l.shapes()["x"].rank() - 3));
  tensor<T> x(l.shapes()["x"]);
  for_each_index(x.extents(), [&](const shape& at) { x.view()(at) = T(at[axis]); });
  const auto y = bench.run(l, of_x(x));
  for_each_index(l.shapes()["y"], [&](const shape& at) {
    const T value = y["y"].view()(at).value;
    bool known_value = false;
    for (index_t i = 0; i < l.shapes()["x"][axis]; ++i) known_value = known_value || value == T(i);
    bench.claim(known_value, "y[" + coordinates_text(at) + "] is no value of x");
    shape before = at;
    if (before[axis]-- > 0)
      bench.claim(y["y"].view()(before).value <= value, "y falls at [" + coordinates_text(at) + "]");
  });
}

}  // namespace
}  // namespace upsampling_family

std::vector<law> upsampling_laws() {
  using namespace upsampling_family;
  return {
      state("upsampling.constant", "a constant image stays constant", only("forward"),
            [](auto& bench) { partition_of_unity(bench); }),
      state("upsampling.mass", "the sum of dx is the sum of dy", only("backward"),
            [](auto& bench) { mass(bench); }),
      state("upsampling.own_size", "to its own size an image is itself", only("forward"),
            [](auto& bench) { own_size(bench); }),
      state("upsampling.axes", "one axis after the other is all at once", only("forward"),
            [](auto& bench) { axes_in_turn(bench); }),
      state("upsampling.linear_function", "a linear function stays one between the border cells", is_linear,
            [](auto& bench) { linear_function(bench); }),
      state("upsampling.mirror", "mirrored images give mirrored results", interpolates,
            [](auto& bench) { mirror(bench); }),
      state("upsampling.order", "nearest: y is made of values of x, in their order", copies_forward,
            [](auto& bench) { order_is_kept(bench); }),
  };
}

}  // namespace plumb
