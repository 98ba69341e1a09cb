// The functions of elementwise.cu, one number at a time: y = of(x), and gradients dx = of(dy, s) from the saved x or y.
//   sigmoid    e = e^-|x| ≤ 1, so nothing overflows: y = (x < 0 ? e : 1)/(1 + e)         dx = dy·(1 - y)·y
//   silu       x·σ(x); far below zero e^x is subnormal, so e^(x+64) stands in for it and e^-64 comes last
//   mish       x·tanh(log(1 + e^x)) = x·(u² - 1)/(u² + 1), u = 1 + e^x, both divided by e^2x where x > 0
//   gelu       x·Φ(x), Φ(x) = erfc(-x/√2)/2, or its tanh form x·σ(2u), u = √(2/π)·(x + 0.044715·x³)
//   softplus   (max(s, 0) + log(1 + e^-|s|))/beta, s = beta·x
//   elu, selu, celu from expm1; the others as they are defined. Comparisons let NaN through as the layers do.
// `k` holds a layer's attributes: limits, slopes, alpha (and the slope above 0), beta and threshold, 1/(1 - p).
#pragma once

#include "optimized/cuda/body.hpp"

#ifndef __CUDACC__
#include <cmath>
#endif

namespace plumb::cuda {

struct constants {
  float first = 0, second = 0;
};

// The rule of a function of one number, and of one of two.
#define PLUMB_OF_ONE static PLUMB_DEVICE float of(float x, float, [[maybe_unused]] constants k)
#define PLUMB_OF_TWO(a, b) static PLUMB_DEVICE float of(float a, float b, [[maybe_unused]] constants k)

struct unary {
  static constexpr bool two = false;
};
struct binary {
  static constexpr bool two = true;
};

struct relu_forward : unary {
  PLUMB_OF_ONE { return x <= 0.0F ? 0.0F : x; }
};
struct relu_backward : binary {
  PLUMB_OF_TWO(dy, x) { return x <= 0.0F ? 0.0F : dy; }
};

struct sigmoid_forward : unary {
  PLUMB_OF_ONE {
    const float e = expf(-fabsf(x));
    return x < 0.0F ? e / (1.0F + e) : 1.0F / (1.0F + e);
  }
};
struct sigmoid_backward : binary {
  PLUMB_OF_TWO(dy, y) { return dy * (1.0F - y) * y; }
};

struct tanh_forward : unary {
  PLUMB_OF_ONE { return tanhf(x); }
};
struct tanh_backward : binary {
  PLUMB_OF_TWO(dy, y) { return dy * (1.0F - y * y); }
};

struct silu_forward : unary {
  PLUMB_OF_ONE {
    if (x == -INFINITY) return x * 0.0F;
    const float down = -fabsf(x);
    const bool deep = down < -64.0F;
    const float e = expf(deep ? down + 64.0F : down);
    if (!(x < 0.0F)) return x / (1.0F + (deep ? 0.0F : e));
    return deep ? x * e * 0x1.969d48p-93F : x * (e / (1.0F + e));  // e^-64
  }
};
struct silu_backward : binary {
  PLUMB_OF_TWO(dy, x) {
    const float e = expf(-fabsf(x)), larger = 1.0F / (1.0F + e), smaller = e / (1.0F + e);
    const float s = x < 0.0F ? smaller : larger, rest = x < 0.0F ? larger : smaller;
    return dy * (s + x * s * rest);
  }
};

struct leaky_relu_forward : unary {
  PLUMB_OF_ONE { return x > 0.0F ? x : k.first * x; }
};
struct leaky_relu_backward : binary {
  PLUMB_OF_TWO(dy, x) { return x > 0.0F ? dy : dy * k.first; }
};

struct hard_swish_forward : unary {
  PLUMB_OF_ONE {
    const float share = (x + 3.0F) / 6.0F, kept = share < 0.0F ? 0.0F : share;
    return x * (kept >= 1.0F ? 1.0F : kept);
  }
};
struct hard_swish_backward : binary {
  PLUMB_OF_TWO(dy, x) {
    if (x < -3.0F) return 0.0F;
    return x >= 3.0F ? dy : dy * (x / 3.0F + 0.5F);
  }
};

struct clamp_forward : unary {
  PLUMB_OF_ONE {
    const float y = x < k.first ? k.first : x;
    return y > k.second ? k.second : y;
  }
};
struct clamp_backward : binary {
  PLUMB_OF_TWO(dy, x) {
    const bool above = x >= k.first || k.first == -INFINITY, below = x <= k.second || k.second == INFINITY;
    return above && below ? dy : 0.0F;
  }
};

struct hard_tanh_forward : unary {
  PLUMB_OF_ONE {
    const float y = x <= k.first ? k.first : x;
    return x >= k.second ? k.second : y;
  }
};
struct hard_tanh_backward : binary {
  PLUMB_OF_TWO(dy, x) { return k.first < x && x < k.second ? dy : 0.0F; }
};

struct hard_sigmoid_forward : unary {
  PLUMB_OF_ONE {
    const float line = (x + 3.0F) / 6.0F, kept = line <= 0.0F ? 0.0F : line;
    return line >= 1.0F ? 1.0F : kept;
  }
};
struct hard_sigmoid_backward : binary {
  PLUMB_OF_TWO(dy, x) { return fabsf(x) < 3.0F ? dy / 6.0F : 0.0F; }
};

struct softsign_forward : unary {
  PLUMB_OF_ONE { return x / (1.0F + fabsf(x)); }
};
struct softsign_backward : binary {
  PLUMB_OF_TWO(dy, x) {
    const float size = 1.0F + fabsf(x);
    return dy / size / size;
  }
};

/// elu and selu: alpha (or λα) below 0, the slope above.
struct elu_forward : unary {
  PLUMB_OF_ONE { return x > 0.0F ? k.second * x : k.first * expm1f(x); }
};
struct elu_backward : binary {
  PLUMB_OF_TWO(dy, x) { return x > 0.0F ? k.second * dy : dy * k.first * expf(x); }
};
struct celu_forward : unary {
  PLUMB_OF_ONE { return x > 0.0F ? x : k.first * expm1f(x / k.first); }
};
struct celu_backward : binary {
  PLUMB_OF_TWO(dy, x) { return x > 0.0F ? dy : dy * expf(x / k.first); }
};

/// beta, and the largest |beta|·x/beta that is not beyond the threshold.
struct softplus_forward : unary {
  PLUMB_OF_ONE {
    if ((k.first < 0.0F ? -x : x) > k.second) return x;
    const float s = k.first * x, above = s > 0.0F ? s : 0.0F;
    return x != x ? x : (above + log1pf(expf(-fabsf(s)))) / k.first;
  }
};
struct softplus_backward : binary {
  PLUMB_OF_TWO(dy, x) {
    if ((k.first < 0.0F ? -x : x) > k.second) return dy;
    const float s = k.first * x, e = expf(-fabsf(s));
    return dy * (s > 0.0F ? 1.0F : e) / (1.0F + e);
  }
};

/// tanh(log(1 + e^x)) = above/below.
struct mish_parts {
  float e, above, below;
};
PLUMB_DEVICE mish_parts split_mish(float x) {
  const float e = expf(-fabsf(x));
  if (x > 0.0F) return {e, 2.0F * e + 1.0F, 2.0F * e + 1.0F + 2.0F * e * e};
  return {e, e * (e + 2.0F), e * (e + 2.0F) + 2.0F};
}
struct mish_forward : unary {
  PLUMB_OF_ONE {
    const mish_parts t = split_mish(x);
    return x * (t.above / t.below);
  }
};
struct mish_backward : binary {
  PLUMB_OF_TWO(dy, x) {
    const mish_parts t = split_mish(x);
    const float s = (x > 0.0F ? 1.0F : t.e) / (1.0F + t.e);
    const float sech = 2.0F * (1.0F + t.e) * (x > 0.0F ? t.e : 1.0F) / t.below;
    return dy * (x * s * sech * sech + t.above / t.below);
  }
};

struct gelu_forward : unary {
  PLUMB_OF_ONE { return x * (0.5F * erfcf(x * -0.707106781F)); }
};
struct gelu_backward : binary {
  PLUMB_OF_TWO(dy, x) {
    const float below = 0.5F * erfcf(x * -0.707106781F), bell = expf(x * -0.5F * x);
    return dy * (below + x * (bell * 0.398942280F));
  }
};

/// σ(2u), its complement, and 2u' = 2·√(2/π)·(1 + 3·0.044715·x²), where x has been limited: both ends are flat there.
struct gelu_tanh_parts {
  float share, rest, x, steepness;
};
PLUMB_DEVICE gelu_tanh_parts split_gelu_tanh(float x) {
  constexpr float twice_root = 1.595769122F;
  const float high = x > 64.0F ? 64.0F : x, near = high < -64.0F ? -64.0F : high, square = near * near;
  const float e = expf(-fabsf(twice_root * near * (0.044715F * square + 1.0F)));
  const float larger = 1.0F / (1.0F + e), smaller = e / (1.0F + e);
  return {x < 0.0F ? smaller : larger, x < 0.0F ? larger : smaller, near,
          twice_root * (0.134145F * square + 1.0F)};
}
struct gelu_tanh_forward : unary {
  PLUMB_OF_ONE { return x * split_gelu_tanh(x).share; }
};
struct gelu_tanh_backward : binary {
  PLUMB_OF_TWO(dy, x) {
    const gelu_tanh_parts t = split_gelu_tanh(x);
    if (x < -0x1p30F && x > -INFINITY) return 0.0F;
    // x - x is 0, but NaN at the infinities, as x·(1 - tanh²) is.
    return dy * (t.share + t.x * t.steepness * (t.share * t.rest) + (x - x));
  }
};

// Gates.

struct exp_forward : unary {
  PLUMB_OF_ONE { return expf(x); }
};
struct product : binary {
  PLUMB_OF_TWO(a, b) { return a * b; }
};
struct sum : binary {
  PLUMB_OF_TWO(a, b) { return a + b; }
};
struct copy : unary {
  PLUMB_OF_ONE { return x; }
};
struct negative : unary {
  PLUMB_OF_ONE { return -x; }
};
struct reciprocal_forward : unary {
  PLUMB_OF_ONE { return 1.0F / x; }
};
struct reciprocal_backward : binary {
  PLUMB_OF_TWO(dy, y) { return -dy * y * y; }
};
struct square_forward : unary {
  PLUMB_OF_ONE { return x * x; }
};
struct square_backward : binary {
  PLUMB_OF_TWO(dy, x) { return (x + x) * dy; }
};
struct masked : binary {
  PLUMB_OF_TWO(x, mask) { return x * (mask * k.first); }
};

#undef PLUMB_OF_ONE
#undef PLUMB_OF_TWO

}  // namespace plumb::cuda
