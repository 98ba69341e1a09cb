// What the layers with one, two or three spatial axes share. Such a layer is written once, for three axes
// (depth d, height h, width w); in lower ranks the leading axes have extent 1, so that the image x(n, c, h,
// w) is read as x(n, c, 0, h, w). Also here: how the extents of windows are chosen, and the sentences of
// shape_error.
#pragma once

#include <cmath>
#include <cstdio>

#include "reference/core/attributes.hpp"
#include "reference/core/tensor_view.hpp"

namespace plumb {

/// What to do when the last window does not end at the border: leave the rest out, or refuse.
enum class fit_rule : std::uint8_t { floor, exact };
template <>
struct choices<fit_rule> {
  static constexpr std::array<std::string_view, 2> names = {"floor", "exact"};
};

/// One number for each of the three axes.
struct three_axes {
  index_t d, h, w;
};

template <int Rank>
constexpr three_axes in_three_axes(const per_axis<Rank>& list, index_t missing) {
  three_axes all{missing, missing, list[Rank - 1]};
  if constexpr (Rank >= 2) all.h = list[Rank - 2];
  if constexpr (Rank >= 3) all.d = list[Rank - 3];
  return all;
}

/// The view with axes of extent 1 inserted behind the first two, so that it has five: n, c, d, h, w.
template <class T>
constexpr tensor_view<T> in_three_axes(const tensor_view<T>& v) {
  shape extents, strides;
  for (int axis = 0; axis < v.rank(); ++axis) {
    for (int missing = axis == 2 ? 5 - v.rank() : 0; missing > 0; --missing) {
      extents.push_back(1);
      strides.push_back(0);
    }
    extents.push_back(v.extent(axis));
    strides.push_back(v.stride(axis));
  }
  return {v.data_handle(), extents, strides};
}

/// The five extents of such a view, for `const auto [N, C, D, H, W] = extents_of(x);`.
template <class T>
constexpr std::array<index_t, 5> extents_of(const tensor_view<T>& v) {
  return {v.extent(0), v.extent(1), v.extent(2), v.extent(3), v.extent(4)};
}

constexpr bool inside(index_t i, index_t extent) { return 0 <= i && i < extent; }

/// Division that rounds down, for b > 0; C++ rounds toward zero, which gave phantom outputs (pytorch #22304).
constexpr index_t floor_div(index_t a, index_t b) { return a / b - (a % b < 0 ? 1 : 0); }

/// `d`, `h` or `w`: the letter of spatial axis `axis` of a layer of that rank.
constexpr char axis_letter(int rank, int axis) { return "dhw"[3 - rank + axis]; }

/// By rank: the index letters of an input and of an output of a sliding window, and how sentences spell the
/// axes.
constexpr std::array<const char*, 3> letters_of_input = {"ncw", "nchw", "ncdhw"};
constexpr std::array<const char*, 3> letters_of_windows = {"ncq", "ncpq", "ncopq"};
constexpr std::array<const char*, 3> axes_of_input = {"N,C,W", "N,C,H,W", "N,C,D,H,W"};

/// Cells of one plane (n,c): the product of all axes behind the first two.
inline index_t plane_size(const shape& s) {
  index_t cells = 1;
  for (int axis = 2; axis < s.rank(); ++axis) cells *= s[axis];
  return cells;
}

/// `x=1x3x32x32`
inline std::string named(std::string_view name, const shape& s) {
  return std::string(name) + "=" + to_string(s);
}

/// So far below 2^63 that positions and padding can be added up without overflow.
constexpr index_t longest_axis = index_t{1} << 48;

/// Throws shape_error unless `s` has `rank` axes, each but the first (if it counts samples) at least 1.
inline void require_rank(std::string_view name, const shape& s, int rank, std::string_view axes,
                         bool batch_may_be_empty) {
  if (s.rank() != rank)
    throw shape_error(named(name, s) + " has " + std::to_string(s.rank()) +
                      (s.rank() == 1 ? " axis" : " axes") + "; expected " + std::to_string(rank) + ": " +
                      std::string(axes));
  for (int axis = 0; axis < rank; ++axis)
    if (s[axis] > longest_axis)
      throw shape_error(named(name, s) + " is too long along axis " + std::to_string(axis) +
                        "; expected at most 2^48");
  for (int axis = batch_may_be_empty ? 1 : 0; axis < rank; ++axis)
    if (s[axis] < 1)
      throw shape_error(named(name, s) + " is empty along axis " + std::to_string(axis) +
                        "; expected every extent to be at least 1" +
                        (batch_may_be_empty ? " (only the batch may be empty)" : ""));
}

/// One axis of a layer that slides a window over its input.
struct window_axis {
  char letter;
  index_t in, window, stride, dilation, begin, end;  ///< `begin` and `end`: padding before and after
  index_t padded() const { return in + begin + end; }
  /// Cells between the first and the last tap, inclusive: d(k-1)+1; 2^60 stands for all that is longer.
  index_t span() const {
    constexpr index_t most = index_t{1} << 60;
    return window - 1 < most / dilation ? dilation * (window - 1) + 1 : most;
  }
  bool fits() const { return span() <= padded(); }
  /// `7+1+1-3`, the room the window has to move.
  std::string room() const {
    std::string text = std::to_string(in);
    for (const index_t pad : {begin, end})
      if (pad != 0) text += "+" + std::to_string(pad);
    return text + "-" + std::to_string(span());
  }
  /// `3`, or with gaps `2*(3-1)+1 = 5`.
  std::string effective_window() const {
    if (dilation == 1) return std::to_string(window);
    return std::to_string(dilation) + "*(" + std::to_string(window) + "-1)+1 = " + std::to_string(span());
  }
};

[[noreturn]] inline void throw_window_too_large(const window_axis& a, std::string_view what) {
  throw shape_error("axis " + std::string(1, a.letter) + ": the " + std::string(what) + " spans " +
                    a.effective_window() + " cells but the padded input has " + std::to_string(a.padded()) +
                    "; it must fit: d(k-1)+1 <= I + padding");
}

/// With fit=exact: `axis h: (7-3)/3+1 = 2.33 does not fit; …`. Precondition: a.fits().
inline void require_exact_fit(const window_axis& a) {
  const index_t room = a.padded() - a.span();
  if (room % a.stride == 0) return;
  char outputs[64];
  std::snprintf(outputs, sizeof outputs, "%.2f",
                static_cast<double>(room) / static_cast<double>(a.stride) + 1);
  throw shape_error("axis " + std::string(1, a.letter) + ": (" + a.room() + ")/" + std::to_string(a.stride) +
                    "+1 = " + outputs + " does not fit; fit=exact demands a whole number of outputs");
}

}  // namespace plumb
