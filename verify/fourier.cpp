#include "verify/fourier.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "reference/scalars/float_format.hpp"

namespace plumb {
namespace {

constexpr double unit = 0x1p-24;  // sums are kept in f32

double gamma(double k) { return k * unit / (1 - k * unit); }

/// Norms of one plane: an image of a channel, or a filter of a pair of channels.
struct norms {
  double one = 0, two = 0;  ///< ‖·‖₁ and ‖·‖₂ of its finite numbers
  bool finite = true;
};

/// The planes of a tensor whose first two axes number them.
std::vector<norms> norms_of(const tensor<double>& t) {
  const shape& extents = t.extents();
  const index_t planes = extents[0] * extents[1], size = planes > 0 ? t.size() / planes : 0;
  std::vector<norms> all(static_cast<std::size_t>(planes));
  for (index_t p = 0; p < planes; ++p) {
    norms& n = all[static_cast<std::size_t>(p)];
    double largest = 0, squares = 0;
    for (index_t i = 0; i < size; ++i) {
      const double value = std::fabs(t[p * size + i]);
      n.finite = n.finite && std::isfinite(value);
      if (std::isfinite(value)) largest = std::max(largest, value);
    }
    for (index_t i = 0; i < size && largest > 0; ++i) {
      const double value = std::fabs(t[p * size + i]);
      if (!std::isfinite(value)) continue;
      n.one += value;
      squares += value / largest * (value / largest);
    }
    n.two = largest * std::sqrt(squares);
  }
  return all;
}

/// Where the two factors of a product of transforms lie among the planes of what the pass reads.
struct pairing {
  const tensor<double>*a = nullptr, *b = nullptr;
  index_t sums = 0;  ///< products a sum
  index_t groups = 1, per_group_in = 0, per_group_out = 0;
  enum class pass { forward, backward_data, backward_weights } which = pass::forward;

  /// Term `c` of the output plane (i, j): i and j number its first two axes.
  std::pair<index_t, index_t> planes(index_t i, index_t j, index_t c) const {
    switch (which) {
      case pass::forward:  // y[n=i, k=j] = Σ_c x[n, c'] w[k, c]
        return {i * groups * per_group_in + j / per_group_out * per_group_in + c, j * per_group_in + c};
      case pass::backward_data: {  // dx[n=i, c=j] = Σ_k dy[n, k'] w[k', c]
        const index_t k = j / per_group_in * per_group_out + c;
        return {i * groups * per_group_out + k, k * per_group_in + j % per_group_in};
      }
      case pass::backward_weights:  // dw[k=i, c=j] = Σ_n x[n, c'] dy[n, k]
        return {c * groups * per_group_in + i / per_group_out * per_group_in + j,
                c * groups * per_group_out + i};
    }
    return {};
  }
};

std::string read_pairing(const layer& l, const pass_spec& pass, const tensor_set<double>& reads, pairing& p) {
  const problem& text = l.resolved();
  const std::string expected =
      "; expected conv1d, conv2d or conv3d forward, backward_data or backward_weights";
  if (!text.first_unknown(
               {"x", "weight", "bias", "y", "stride", "pad", "dilation", "groups", "padding", "fit", "flip"})
           .empty() ||
      !text.has("pad") || !text.has("groups"))
    return "Fourier's arithmetic is that of a convolution, which " + l.name() + " is not" + expected;
  const shape weight = text.shape_of("weight");
  p.groups = text.integer("groups");
  p.per_group_in = weight[1];
  p.per_group_out = p.groups > 0 ? weight[0] / p.groups : 0;
  if (pass.name == "forward") {
    p.which = pairing::pass::forward;
    p.a = &reads["x"];
    p.b = &reads["weight"];
    p.sums = p.per_group_in;
  } else if (pass.name == "backward_data") {
    p.which = pairing::pass::backward_data;
    p.a = &reads["dy"];
    p.b = &reads["weight"];
    p.sums = p.per_group_out;
  } else if (pass.name == "backward_weights") {
    p.which = pairing::pass::backward_weights;
    p.a = &reads["x"];
    p.b = &reads["dy"];
    p.sums = text.shape_of("x")[0];
  } else {
    return "Fourier's arithmetic is not known for the pass " + pass.name + expected;
  }
  return {};
}

/// log₂ of the points of the longest transform that the word `fft` allows.
int log_points(const problem& p) {
  const shape x = p.shape_of("x"), weight = p.shape_of("weight"), y = p.shape_of("y");
  const auto pad = p.integers("pad"), dilation = p.integers("dilation"), stride = p.integers("stride");
  int log = 0;
  for (int axis = 0; axis + 2 < x.rank(); ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    const index_t reach = dilation[i] * std::max<index_t>(0, weight[2 + axis] - 1) + 1;
    const index_t padded = std::max(x[2 + axis] + pad[2 * i] + pad[2 * i + 1], y[2 + axis] * stride[i]);
    log += std::bit_width(static_cast<std::uint64_t>(2 * (padded + reach)));
  }
  return log;
}

}  // namespace

transformed_sizes sizes_of_fourier(const layer& l, const pass_spec& pass, const tensor_set<double>& reads,
                                   const truths& t) {
  transformed_sizes result;
  pairing p;
  result.error = read_pairing(l, pass, reads, p);
  if (!result.error.empty()) return result;
  const std::vector<norms> a = norms_of(*p.a), b = norms_of(*p.b);
  const int log = log_points(l.resolved());
  const double points = std::ldexp(1.0, log), largest = format_of(dtype::f32).largest();
  const double stage = unit + gamma(4) * (std::numbers::sqrt2 + unit);
  const double transform = std::expm1((log + 3) * std::log1p(stage));
  const auto products = std::numbers::sqrt2 * gamma(2 * static_cast<double>(p.sums));
  result.factor = std::expm1(3 * std::log1p(transform) + std::log1p(products));
  const auto* bias = pass.name == "forward" && reads.has("bias") ? &reads["bias"] : nullptr;
  const index_t planes = t.extents[0] * t.extents[1], size = planes > 0 ? t.extents.size() / planes : 0;
  struct plane {
    double size = 0, underflow = 0;
    bool known = false, may_spread = false;
  };
  std::vector<plane> known(static_cast<std::size_t>(planes));
  for (index_t entry = 0; entry < t.count(); ++entry) {
    const index_t number = t.element(entry) / size;
    plane& out = known[static_cast<std::size_t>(number)];
    if (!out.known) {
      double most = 0;  // no number on the way is larger
      for (index_t c = 0; c < p.sums; ++c) {
        const auto [in_a, in_b] = p.planes(number / t.extents[1], number % t.extents[1], c);
        const norms &left = a[static_cast<std::size_t>(in_a)], &right = b[static_cast<std::size_t>(in_b)];
        out.may_spread = out.may_spread || !left.finite || !right.finite;
        out.size += std::min(left.two * right.one, left.one * right.two);
        // Every butterfly, coefficient and product may lose one underflow, which the other factor multiplies.
        out.underflow += 8 * points * (left.one + right.one + 1);
        most = std::max({most + left.one * right.one, left.one, right.one});
      }
      out.underflow += 8 * points;
      out.may_spread = out.may_spread || !(most * points < largest / 2);
      out.known = true;
    }
    const auto i = static_cast<std::size_t>(entry);
    result.size.push_back(out.size);
    result.underflow.push_back(out.underflow);
    double addend = bias ? std::fabs((*bias)[number % t.extents[1]]) : 0;
    result.may_spread.push_back(out.may_spread || !std::isfinite(addend) ? 1 : 0);
    if (!std::isfinite(addend)) addend = 0;
    // The sum with the bias is rounded once.
    result.size[i] += (addend + out.size) * unit / result.factor;
  }
  return result;
}

}  // namespace plumb
