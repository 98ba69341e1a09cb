// One row of a peer: what every vendor kernel declares alike. Nobody promised us more than the same bits from
// the same call, so that is all a peer is held to.
#pragma once

#include <memory>
#include <string>

#include "reference/core/kernel.hpp"

namespace plumb {

/// A pass of a peer. Null functions: its library was not there when we were built.
struct peer_pass {
  const char* name;
  support (*supports)(const kernel_problem&);
  std::unique_ptr<plan> (*make_plan)(const kernel_problem&);
};

/// `algorithm` is what stands between `/` and `@` in the name; `library` is for the sentence when it is
/// missing.
inline kernel peer_row(const std::string& layer, const peer_pass& pass, const std::string& algorithm,
                       const std::string& library) {
  kernel k;
  k.layer = layer;
  k.pass = pass.name;
  k.name = layer + "." + k.pass + "/" + algorithm + "@cpu";
  k.determinism = determinism::repeatable;
  k.peer = true;
  if (pass.supports == nullptr) k.unavailable = "built without " + library;
  k.supports = pass.supports;
  k.make_plan = pass.make_plan;
  return k;
}

}  // namespace plumb
