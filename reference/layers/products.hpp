// The terms of one element of a contraction: the element is Σ a[i]·b[j] (+ addend), and a layer names the
// pairs (i, j). They always form a nest of loops along which both operands advance by fixed steps, so a layer
// states the loops; `term_nest` writes the pairs, about one a nanosecond, or only the loops for those who walk
// them on their own. Exact sums over whole networks stand on it.
#pragma once

#include <array>
#include <vector>

#include "reference/core/dtype.hpp"

namespace plumb {

/// The products that sum to one element: a[terms[i].a]·b[terms[i].b], plus addend[addend] if it is not
/// negative. All are row-major numbers; where the pass has no b (the constant 1), term.b is 0.
struct product_list {
  struct term {
    index_t a, b;
  };
  struct loop {
    index_t count = 1, a_step = 0, b_step = 0;
    bool operator==(const loop&) const = default;
  };
  using nest = std::array<loop, 4>;  ///< the innermost loop first

  bool listed = true;  ///< set by the caller: false leaves `terms` as it is
  std::vector<term> terms;
  index_t addend = -1;
  nest loops;           ///< the same terms,
  index_t first_a = 0;  ///< starting from here
  index_t first_b = 0;

  /// Number of terms.
  index_t count() const { return loops[0].count * loops[1].count * loops[2].count * loops[3].count; }
};

class term_nest {
 public:
  /// One loop: `count` steps (none if it is not positive) from (a, b) by (a_step, b_step).
  struct loop {
    index_t count, a, a_step, b, b_step;
  };

  /// The innermost loop first; at most four.
  void add(const loop& l) {
    loops_[depth_++] = {l.count > 0 ? l.count : 0, l.a_step, l.b_step};
    a_ += l.a;
    b_ += l.b;
  }

  /// Replaces the terms of `list`.
  void write(product_list& list) const {
    list.loops = loops_;
    list.first_a = a_;
    list.first_b = b_;
    if (!list.listed) return;
    const auto &l0 = loops_[0], &l1 = loops_[1], &l2 = loops_[2], &l3 = loops_[3];
    list.terms.resize(static_cast<std::size_t>(list.count()));
    product_list::term* term = list.terms.data();
    for (index_t i3 = 0; i3 < l3.count; ++i3)
      for (index_t i2 = 0; i2 < l2.count; ++i2)
        for (index_t i1 = 0; i1 < l1.count; ++i1) {
          index_t a = a_ + i3 * l3.a_step + i2 * l2.a_step + i1 * l1.a_step;
          index_t b = b_ + i3 * l3.b_step + i2 * l2.b_step + i1 * l1.b_step;
          for (index_t i0 = 0; i0 < l0.count; ++i0, a += l0.a_step, b += l0.b_step) *term++ = {a, b};
        }
  }

 private:
  product_list::nest loops_;
  std::size_t depth_ = 0;
  index_t a_ = 0, b_ = 0;
};

}  // namespace plumb
