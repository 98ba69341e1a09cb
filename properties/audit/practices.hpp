// What people use where there is no Plumb, tried on kernels through the same sandbox and with the documented defaults
// of the tools: allclose on one square shape, integer-only data compared exactly, and finite-difference gradient checks
// in the manner of torch.autograd.gradcheck (eps 1e-6, atol 1e-5, rtol 1e-3; fast_mode compares one random
// projection, its atol scaled by the sums of the vectors). They are written generously: each also sees whether
// something was left unwritten, and the integers go to problems drawn by our generators instead of a curated list.
#pragma once

#include <memory>
#include <optional>

#include "reference/layers/layer.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb {

/// What a practice is asked about.
struct suspect {
  sandbox* box = nullptr;
  const kernel_info* kernel = nullptr;
  std::string square;  ///< the one shape that people try
  std::string small;   ///< a small one for gradient checks
  std::vector<std::string> drawn;
  std::uint64_t seed = 1;
};

struct practice {
  std::string name;
  std::string settings;
  /// Whether the kernel is rejected; nothing if the practice does not apply to it.
  std::optional<bool> (*rejects)(const suspect&);
};

const std::vector<practice>& usual_practices();

}  // namespace plumb
