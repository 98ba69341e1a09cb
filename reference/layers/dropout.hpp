// Dropout with the mask as an input (Srivastava et al. 2014; "inverted", so that evaluation needs no factor):
//
//   y = x·mask / (1 - p)         mask is 1 where an element is kept, 0 where it is dropped; p 0.5 is the
//                                share of elements that whoever drew the mask meant to drop
//   dx = dy·mask / (1 - p), and the explicit Jacobian is diagonal with these factors
//
// p = 1 drops everything: the factor is then 0, whatever the mask. A dropped ±∞ or NaN gives NaN (∞·0).
// Shapes: x = mask = y, of any rank.   Conventions as torch 1.13.1.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

struct dropout {
  decimal p = {5, 10};

  static constexpr std::string_view formula = "y = x·mask / (1 - p)";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const dropout&) const = default;

  static void attributes(auto& self, auto&& visit) { visit("p", self.p, range{0, 1}); }

  signature describe() const {
    return {
        .inputs = {{.name = "x", .axes = "n*"},
                   {.name = "mask", .differentiable = false, .values = domain::bit, .axes = "n*"}},
        .outputs = {{.name = "y", .axes = "n*"}},
        .passes = {{.name = "forward", .reads = {"x", "mask"}, .writes = {"y"}, .linear_in = {{"x"}}},
                   {.name = "backward", .reads = {"dy", "mask"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
  }

  /// Throws shape_error unless the mask has the shape of x.
  shape_map output_shapes(const shape_map& in) const {
    if (!(in["mask"] == in["x"]))
      throw shape_error(named("mask", in["mask"]) + " must have the shape of x: " + named("mask", in["x"]));
    shape_map out;
    out.set("y", in["x"]);
    return out;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const T kept = T(1) - p.as<T>();
    for (index_t i = 0; i < out["y"].size(); ++i)
      out["y"][i] = in["x"][i] * (drops_all() ? T(0) : in["mask"][i] / kept);
  }

  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>& /*out*/, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto dy = cotangent["dy"], mask = in["mask"];
    const T scale = drops_all() ? T(0) : T(1) / (T(1) - p.as<T>());
    for (index_t i = 0; i < dy.size(); ++i) gradient["dx"][i] = dy[i] * (mask[i] * scale);
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const T kept = T(p.denominator - p.numerator), all = T(p.denominator);
    for (index_t i = 0; i < in["x"].size(); ++i)
      if (!drops_all()) emit("y", i, "x", i, in["mask"][i] * all / kept);
  }

 private:
  bool drops_all() const { return p.numerator == p.denominator; }
};

}  // namespace plumb
