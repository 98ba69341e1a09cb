// What the pooling layers share beside spatial.hpp: how many windows there are, which cells an index may
// name, and the list of winners. No arithmetic on data.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"

namespace plumb {

/// O = floor((I + pads - d(k-1) - 1) / stride) + 1, with ceil instead of floor if `ceil_mode`; the last
/// window must then start inside x or its leading padding, or it is dropped. Throws shape_error if a pad is
/// more than half of the window or no window fits.
inline index_t windows_along(const window_axis& a, bool ceil_mode) {
  for (const index_t padding : {a.begin, a.end})
    if (2 * padding > a.span())
      throw shape_error("axis " + std::string(1, a.letter) + ": pad=" + std::to_string(padding) +
                        " is more than half of the window, which spans " + a.effective_window() +
                        " cells; 2*pad <= d(k-1)+1");
  const index_t room = a.padded() - a.span();
  index_t outputs = floor_div(room + (ceil_mode ? a.stride - 1 : 0), a.stride) + 1;
  if (ceil_mode && (outputs - 1) * a.stride >= a.in + a.begin) --outputs;
  if (outputs < 1) throw_window_too_large(a, "window");
  return outputs;
}

/// Throws std::invalid_argument unless 0 <= cell < cells.
inline void require_cell(index_t element, index_t cell, index_t cells) {
  if (!inside(cell, cells))
    throw std::invalid_argument("indices[" + std::to_string(element) + "] = " + std::to_string(cell) +
                                " is no cell of its plane; expected 0 to " + std::to_string(cells - 1));
}

/// The winning cell of every window of a layer with outputs `y` and `indices`.
template <class Scalar, class L>
std::vector<index_t> winning_cells(const L& pooling, const bundle<const Scalar>& in) {
  shape_map shapes;
  for (const auto& e : in.entries()) shapes.set(e.name, e.real.extents());
  const shape extents = pooling.output_shapes(shapes)["y"];
  tensor<Scalar> y(extents);
  tensor<index_t> indices(extents);
  bundle<Scalar> out;
  out.add("y", y.view());
  out.add_indices("indices", indices.view());
  pooling.template forward<Scalar>(in, out);
  return indices.values();
}

}  // namespace plumb
