#include "reference/graph/receptive_field.hpp"

#include <algorithm>
#include <optional>

namespace plumb {
namespace {

/// One step of the recurrence: how the outputs of a layer lie over its input, from its attributes.
struct sliding_window {
  index_t span = 1, stride = 1, before = 0;
};

/// The windows of a layer, one a spatial axis; nothing if its outputs do not slide over its input. Attributes speak for
/// themselves, whatever the layer is called: a window or the taps of a weight, stride, pad and dilation.
std::optional<std::vector<sliding_window>> windows_of(const layer& l, const std::string& input) {
  const problem& p = l.resolved();
  const shape x = l.shapes()[input], y = l.shapes()[l.describe().outputs.front().name];
  const int axes = x.rank() - 2;
  if (axes < 1 || y.rank() != x.rank()) return std::nullopt;
  std::vector<sliding_window> windows(static_cast<std::size_t>(axes));
  if (!p.has("stride")) {
    for (int axis = 2; axis < x.rank(); ++axis)
      if (x[axis] != y[axis]) return std::nullopt;
    return windows;
  }
  const auto stride = p.integers("stride");
  for (int axis = 0; axis < axes; ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    const index_t taps = p.has("window") ? p.integers("window")[i] : l.shapes()["weight"][2 + axis];
    const index_t dilation = p.has("dilation") ? p.integers("dilation")[i] : 1;
    // One number an axis pads both sides alike; two an axis are one a side.
    const auto pad = p.has("pad") ? p.integers("pad") : std::vector<index_t>(static_cast<std::size_t>(axes));
    const bool sides = pad.size() > static_cast<std::size_t>(axes);
    const index_t before = pad[sides ? 2 * i : i], after = pad[sides ? 2 * i + 1 : i];
    const sliding_window w{dilation * (taps - 1) + 1, stride[i], before};
    // The last window must start inside the padded input, or these attributes do not mean a sliding window.
    const index_t reach = (y[2 + axis] - 1) * w.stride + (w.span - w.stride);
    if (reach >= x[2 + axis] + before + after) return std::nullopt;
    windows[i] = w;
  }
  return windows;
}

std::vector<receptive_field> hull(const std::vector<receptive_field>& a,
                                  const std::vector<receptive_field>& b, const std::string& node) {
  std::vector<receptive_field> both = a;
  for (std::size_t axis = 0; axis < a.size(); ++axis) {
    if (a[axis].jump != b[axis].jump)
      throw graph_error("node `" + node + "`: its branches have different strides");
    const index_t start = std::min(a[axis].start, b[axis].start);
    const index_t end = std::max(a[axis].start + a[axis].size, b[axis].start + b[axis].size);
    both[axis] = {end - start, a[axis].jump, start};
  }
  return both;
}

/// Nothing if no path leads from the source to the value.
std::optional<std::vector<receptive_field>> trace(const computational_graph& g, const std::string& source,
                                                  const std::string& value) {
  if (value == source)
    return std::vector<receptive_field>(static_cast<std::size_t>(g.extents_of(source).rank() - 2));
  std::optional<std::vector<receptive_field>> field;
  if (std::ranges::find(g.sources(), value, &graph_source::name) != g.sources().end()) return field;
  for (const auto& n : g.nodes()) {
    if (!value.starts_with(n.name + ".")) continue;
    for (const auto& w : n.wires) {
      auto below = trace(g, source, w.from);
      if (!below) continue;
      const auto windows = windows_of(*n.bound, w.input);
      if (!windows)
        throw graph_error("node `" + n.name + "`: `" + n.layer + "` does not slide over its input");
      for (std::size_t axis = 0; axis < below->size(); ++axis) {
        receptive_field& f = (*below)[axis];
        const sliding_window& k = (*windows)[axis];
        f = {f.size + (k.span - 1) * f.jump, f.jump * k.stride, f.start - k.before * f.jump};
      }
      field = field ? hull(*field, *below, n.name) : *below;
    }
  }
  return field;
}

}  // namespace

std::vector<receptive_field> receptive_field_of(const computational_graph& g, const std::string& source,
                                                const std::string& value) {
  if (auto field = trace(g, source, value)) return *field;
  throw graph_error("no path leads from `" + source + "` to `" + value + "`");
}

}  // namespace plumb
