// The convolutions on tiles of amx_tiles.hpp as parts that other rows share.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "optimized/cpu/amx_tiles.hpp"
#include "optimized/cpu/conv_reach.hpp"
#include "optimized/cpu/direct_plan.hpp"

namespace plumb {

/// Reads x (dy), weight and the bias, if there is one; writes y (dx): conv2d_amx.cpp.
std::unique_ptr<plan> make_tiles_plan(const tile_machine& machine, const direct_call& how);

/// Reads dy and x, writes dweight: conv2d_amx_weights.cpp. `gradual` computes the same and takes over where tiles would
/// flush what is not zero, or multiply zeros by what is not finite.
std::unique_ptr<plan> make_tiles_weights_plan(const tile_machine& machine, const direct_call& how,
                                              std::unique_ptr<plan> gradual);

/// The convolution that another one is: a 1×1 filter that skips nothing does not see rows, and in NHWC not even images, so
/// that small ones come together, as many as leave none over.
inline conv_arguments flat_images(const direct_call& how) {
  constexpr index_t large = 1024;  ///< pixels
  conv_arguments flat = with_flat_plane(how.arguments);
  if (how.layout == layout::nchw || !is_flat(how.arguments)) return flat;
  index_t together =
      std::clamp<index_t>(large / std::max<index_t>(1, flat.in_size()), 1, std::max<index_t>(1, flat.n));
  while (flat.n % together != 0) --together;
  flat.n /= together;
  flat.axes[2].in = flat.axes[2].out = together * flat.in_size();
  return flat;
}

/// A row of the registry without its plans: `…/tiles_bf16@amx`.
inline kernel tiles_row(const std::string& layer, const std::string& pass, const tile_machine& machine) {
  kernel k;
  k.layer = layer;
  k.pass = pass;
  k.name = layer + "." + pass + "/tiles_bf16@" + std::string(machine.name);
  k.arithmetic = "bf16_f32";
  k.unavailable = machine.unavailable;
  return k;
}

}  // namespace plumb
