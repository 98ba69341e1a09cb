// Fractional max pooling of rank 2 or 3 (Graham 2014): max pooling over windows of a fixed size whose
// positions are drawn at random, so that the output may be any fraction of the input. The random numbers are
// an input. Along an axis of I cells, with windows of k cells, O outputs and the sample u, window o covers
// the k cells from
//
//   start(o) = trunc((o+u)·α) - trunc(u·α)   for o < O-1,   α = (I - k) / (O - 1)      start(O-1) = I - k
//
//   y[n,c,o,p,q]       = the maximum over the window
//   indices[n,c,o,p,q] = the cell (d·H + h)·W + w of the plane that won
//
// Every plane (n,c) has a sample for each axis: u[n,c,0] drives w and u[n,c,1] drives h in rank 2 (the last
// axis first), u[n,c,0] drives d, u[n,c,1] h and u[n,c,2] w in rank 3. Starts are computed in double for
// every scalar. Windows may overlap or leave cells out.
//   ties     the first cell in scan order (d, then h, then w) wins
//   NaN      wins over every number, and the last NaN of the window over the others
//   all -∞   y = -∞ and the first cell
//   window   required
//   output   [O×]P×Q, or instead of it
//   ratio    0 < ratio < 1: O = trunc(I·ratio), in double
// O + k - 1 ≤ I in rank 2, and O + k - 1 < I in rank 3.
// Shapes: x = N,C,[D,]H,W   u = N,C,Rank in [0,1)   y = indices = N,C,[O,]P,Q
// Conventions as torch 1.13.1, whose double arithmetic this is; an empty batch is legal.
//
// Gradient: each output passes its cotangent to the cell that won, where windows overlap they add up:
//   dx[n,c,cell] = Σ over the o,p,q with indices[n,c,o,p,q] = cell of  dy[n,c,o,p,q]
// The explicit Jacobian is 1 at the cell of the window that no other beats. u has no gradient.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/pooling.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

template <int Rank>
struct fractional_max_pool {
  static_assert(Rank == 2 || Rank == 3);
  per_axis<Rank> window = {};            // 0: not given, which is an error
  per_axis<Rank> output = {};            // 0: not given
  std::array<decimal, Rank> ratio = {};  // 0: not given

  static constexpr std::string_view formula =
      "y[n,c,p,q] = max_{r,s} x[n, c, trunc((p+u)·α) - trunc(u·α) + r, …], α = (H - window) / (P - 1)";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // piecewise
  bool operator==(const fractional_max_pool&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("window", self.window, at_least(1));
    visit("output", self.output, at_least(1), per_axis<Rank>{});
    visit("ratio", self.ratio, range{0, 1}, std::array<decimal, Rank>{});
  }

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = letters_of_input[Rank - 1]},
                       {.name = "u",
                        .differentiable = false,
                        .values = domain::unit,
                        .axes = Rank == 2 ? "nc2" : "nc3"}},
            .outputs = {{.name = "y", .axes = letters_of_windows[Rank - 1]},
                        {.name = "indices",
                         .kind = element::index,
                         .differentiable = false,
                         .axes = letters_of_windows[Rank - 1]}},
            .passes = {
                {.name = "forward", .reads = {"x", "u"}, .writes = {"y", "indices"}, .selects = true},
                {.name = "backward", .reads = {"dy", "indices"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    require_rank("x", x, Rank + 2, axes_of_input[Rank - 1], true);
    if (!(in["u"] == shape{x[0], x[1], Rank}))
      throw shape_error(named("u", in["u"]) + " is not one sample for each plane and axis; expected u=N,C," +
                        std::to_string(Rank));
    if ((output[0] == 0) == (ratio[0] == decimal{}))
      throw shape_error("the size of y must be given once; expected either output=… or ratio=…");
    shape y{x[0], x[1]};
    for (int axis = 0; axis < Rank; ++axis) {
      const index_t I = x[2 + axis], k = window[static_cast<std::size_t>(axis)], O = outputs(axis, I);
      if (O < 1 || O + k - (Rank == 2 ? 1 : 0) > I)
        throw shape_error("axis " + std::string(1, axis_letter(Rank, axis)) + ": " + std::to_string(O) +
                          " outputs of windows of " + std::to_string(k) + " do not fit the " +
                          std::to_string(I) + " cells of x; 1 <= O and O + window - 1 " +
                          (Rank == 2 ? "<=" : "<") + " I");
      y.push_back(O);
    }
    shape_map out;
    out.set("y", y);
    out.set("indices", y);
    return out;
  }

  /// Turns `ratio=` into the sizes it stands for, so that kernels read `output` and nothing else.
  void resolve(const shape_map& in) {
    for (int axis = 0; axis < Rank; ++axis)
      output[static_cast<std::size_t>(axis)] = outputs(axis, in["x"][2 + axis]);
    ratio = {};
  }

  // Definition 1: the formula -----------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in_three_axes(in["x"]);
    const auto u = in["u"];
    const auto y = in_three_axes(out["y"]);
    const auto indices = in_three_axes(out.indices("indices"));
    const auto [N, C, D, H, W] = extents_of(x);
    const three_axes k = in_three_axes<Rank>(window, 1);
    const auto start = [](index_t o, double sample, index_t I, index_t size, index_t O) {
      if (o == O - 1) return I - size;
      const double alpha = static_cast<double>(I - size) / static_cast<double>(O - 1);
      return static_cast<index_t>((static_cast<double>(o) + sample) * alpha) -
             static_cast<index_t>(sample * alpha);
    };
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c) {
        const double ud = Rank == 3 ? as_double(u(n, c, 0)) : 0.0;
        const double uh = as_double(u(n, c, 1));
        const double uw = as_double(Rank == 3 ? u(n, c, 2) : u(n, c, 0));
        for (index_t o = 0; o < y.extent(2); ++o)
          for (index_t p = 0; p < y.extent(3); ++p)
            for (index_t q = 0; q < y.extent(4); ++q) {
              const index_t d0 = start(o, ud, D, k.d, y.extent(2));
              const index_t h0 = start(p, uh, H, k.h, y.extent(3));
              const index_t w0 = start(q, uw, W, k.w, y.extent(4));
              Scalar best = Scalar(0);  // starts at the first cell: rationals have no -∞ to start from
              index_t winner = -1;
              for (index_t d = d0; d < d0 + k.d; ++d)
                for (index_t h = h0; h < h0 + k.h; ++h)
                  for (index_t w = w0; w < w0 + k.w; ++w) {
                    const Scalar value = x(n, c, d, h, w);
                    if (winner < 0 || value > best || is_nan(value)) {
                      best = value;
                      winner = (d * H + h) * W + w;
                    }
                  }
              y(n, c, o, p, q) = best;
              indices(n, c, o, p, q) = winner;
            }
      }
  }

  // Definition 2: gradients from the cotangent dy and the saved indices -------------------------------------

  template <class Scalar>
  void vjp(const bundle<const Scalar>& /*in*/, const bundle<const Scalar>& out,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = cotangent["dy"];
    const auto indices = out.indices("indices");
    const auto dx = gradient["dx"];
    for (index_t i = 0; i < dx.size(); ++i) dx[i] = Scalar(0);
    const index_t cells = plane_size(dx.extents()), outputs_of_plane = plane_size(dy.extents());
    for (index_t i = 0; i < dy.size(); ++i) {
      require_cell(i, indices[i], cells);
      dx[i / outputs_of_plane * cells + indices[i]] += dy[i];
    }
  }

  // Definition 3: the explicit Jacobian, from x and u alone -------------------------------------------------

  /// ∂y/∂x is 1 at the cell of the window that no other cell beats, and 0 elsewhere.
  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto x = in["x"], u = in["u"];
    shape_map shapes;
    shapes.set("x", x.extents());
    shapes.set("u", u.extents());
    const shape y = output_shapes(shapes)["y"];
    index_t row = 0;
    for_each_index(y, [&](const shape& at) {
      const index_t plane = at[0] * x.extent(1) + at[1];
      std::vector<index_t> cells = {plane};
      for (int axis = 0; axis < Rank; ++axis) {
        const double sample = as_double(u[plane * Rank + (Rank == 2 ? 1 - axis : axis)]);
        const std::vector<index_t> starts =
            all_starts(sample, x.extent(2 + axis), window[static_cast<std::size_t>(axis)], y[2 + axis]);
        const index_t first = starts[static_cast<std::size_t>(at[2 + axis])];
        std::vector<index_t> finer;
        for (const index_t cell : cells)
          for (index_t i = 0; i < x.extent(2 + axis); ++i)
            if (inside(i - first, window[static_cast<std::size_t>(axis)]))
              finer.push_back(cell * x.extent(2 + axis) + i);
        cells = finer;
      }
      for (const index_t cell : cells)
        if (std::ranges::none_of(cells, [&](index_t other) { return beats(x[other], other, x[cell], cell); }))
          emit("y", row, "x", cell, Scalar(1));
      ++row;
    });
  }

  /// The winning cell of every window: a changed list means that a kink was crossed.
  template <class Scalar>
  std::vector<index_t> winners(const bundle<const Scalar>& in) const {
    return winning_cells(*this, in);
  }

  /// Saved indices are cells of one plane of x.
  index_t index_bound(std::string_view /*indices*/, const shape_map& shapes) const {
    return plane_size(shapes["x"]);
  }

 private:
  index_t outputs(int axis, index_t cells) const {
    const auto i = static_cast<std::size_t>(axis);
    if (output[i] != 0) return output[i];
    return static_cast<index_t>(static_cast<double>(cells) * ratio[i].template as<double>());
  }

  /// The starts of all windows along one axis.
  static std::vector<index_t> all_starts(double sample, index_t in, index_t size, index_t count) {
    std::vector<index_t> starts;
    const double step = count > 1 ? double(in - size) / double(count - 1) : 0.0;
    for (double before = 0; before < double(count - 1); ++before)
      starts.push_back(index_t(std::floor(step * (before + sample)) - std::floor(step * sample)));
    starts.push_back(in - size);
    return starts;
  }

  /// Whether a value at a cell wins against another one; not against itself.
  template <class Scalar>
  static bool beats(const Scalar& a, index_t a_cell, const Scalar& b, index_t b_cell) {
    if (is_nan(a) || is_nan(b)) return is_nan(a) && (!is_nan(b) || a_cell > b_cell);
    return a == b ? a_cell < b_cell : a > b;
  }
};

}  // namespace plumb
