#include "properties/shrink.hpp"

#include <chrono>
#include <cmath>
#include <unordered_set>

#include "properties/carry_data.hpp"
#include "properties/generators/problem_space.hpp"
#include "properties/minimality.hpp"
#include "properties/simpler_values.hpp"
#include "reference/layers/catalogue.hpp"

namespace plumb {
namespace {

class shrinker {
 public:
  shrinker(const test_case& failing, const shrink_tools& tools, shrink_budget budget)
      : tools_(tools), budget_(budget), best_(failing) {}

  shrunk run() {
    if (!still_fails(best_)) return {best_, false, calls_, seconds()};
    drawn_ = best_;
    leap();
    bool changed = true;
    while (changed && !spent_) {
      changed = conditions();
      changed = parameters() || changed;
      changed = write_out_data() || changed;
      if (best_.regime == test_case::given) changed = data() || changed;
      if (!changed) changed = one_step_below();
    }
    return {best_, !spent_, calls_, seconds()};
  }

 private:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

  bool still_fails(const test_case& c) {
    const std::string line = print(c);
    if (passed_.contains(line)) return false;
    if (spent_ || calls_ >= budget_.calls || seconds() >= budget_.seconds) {
      spent_ = true;
      return false;
    }
    ++calls_;
    if (tools_.fails(c)) return true;
    passed_.insert(line);
    return false;
  }

  bool accept(const test_case& c) {
    // As text: a NaN among the data is no other value for being a NaN.
    if (print(c) == print(best_) || !still_fails(c)) return false;
    best_ = c;
    if (c.regime != test_case::given) drawn_ = c;
    return true;
  }

  // How the kernel is called -----------------------------------------------------------------------------

  bool conditions() {
    bool any = false;
    const auto attempt = [&](auto&& change) {
      test_case c = best_;
      change(c);
      const bool ok = accept(c);
      any = any || ok;
      return ok;
    };
    if (!attempt([](test_case& c) { c.threads = 1; }))
      while (best_.threads > 2 && attempt([](test_case& c) { --c.threads; })) {
      }
    attempt([](test_case& c) { c.layout = layout::nchw; });
    attempt([](test_case& c) { c.alignment = alignment::end; });
    attempt([](test_case& c) { c.poison = poison::nan; });
    return any;
  }

  // The problem ------------------------------------------------------------------------------------------

  /// All coordinates to their simplest values, or else a half of them, a quarter, …: a fault that most problems show is
  /// at the end in a few steps.
  void leap() {
    const auto start = plumb::bind(best_.problem);
    const problem_space* space = find_space(start->name());
    auto at = space == nullptr ? std::nullopt : space->recover(*start);
    if (!at || best_.regime == test_case::given) return;
    for (std::size_t chunk = at->size(); chunk > 1; chunk = (chunk + 1) / 2) {
      for (std::size_t first = 0; first < at->size(); first += chunk) {
        point lower = *at;
        for (std::size_t i = first; i < std::min(first + chunk, at->size()); ++i)
          lower[i] = space->parameters()[i].simplest;
        if (attempt(*space, lower, *plumb::bind(best_.problem))) at = lower;
      }
      if (chunk == 2) break;
    }
  }

  /// Single coordinates to a fixpoint, then moves of several; any success starts again.
  bool parameters() {
    bool any = false;
    while (true) {
      const auto here = plumb::bind(best_.problem);
      const problem_space* space = find_space(here->name());
      const auto at = space == nullptr ? std::nullopt : space->recover(*here);
      if (!at) return any;
      if (!lower_one(*space, *at, *here) && !move_several(*space, *at, *here)) return any;
      any = true;
    }
  }

  /// Lowers each coordinate as far as it goes. True if any was lowered.
  bool lower_one(const problem_space& space, point at, const layer& start) {
    bool any = false;
    auto here = plumb::bind(start.canonical());
    for (std::size_t i = 0; i < at.size(); ++i)
      for (const index_t value : steps(at[i], space.parameters()[i].simplest)) {
        point lower = at;
        lower[i] = value;
        if (!attempt(space, lower, *here)) continue;
        any = true;
        here = plumb::bind(best_.problem);
        at = lower;
        --i;  // the same coordinate again, from where it is now
        break;
      }
    return any;
  }

  /// The values between `from` and `simplest`, farthest first: 1, then half the way, a quarter, …, one step.
  static std::vector<index_t> steps(index_t from, index_t simplest) {
    std::vector<index_t> list;
    for (index_t way = from - simplest; way != 0; way /= 2) list.push_back(from - way);
    return list;
  }

  bool move_several(const problem_space& space, const point& at, const layer& here) {
    for (const point& p : space.moves(at))
      if (simpler(space, p, at) && attempt(space, p, here)) return true;
    std::vector<point> blocked;  // single steps that do not fit unless another coordinate follows
    for (std::size_t i = 0; i < at.size(); ++i) {
      const index_t way = at[i] - space.parameters()[i].simplest;
      if (way == 0) continue;
      point p = at;
      p[i] -= way > 0 ? 1 : -1;
      if (space.build(p)) continue;
      for (std::size_t j = 0; j < at.size(); ++j) {
        const index_t other = at[j] - space.parameters()[j].simplest;
        if (j == i || other == 0) continue;
        point both = p;
        both[j] -= other > 0 ? 1 : -1;
        if (attempt(space, both, here)) return true;
      }
    }
    return false;
  }

  /// Whether `a` comes before `b` in the lexicographic order of distances from the simplest values.
  static bool simpler(const problem_space& space, const point& a, const point& b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
      const index_t simplest = space.parameters()[i].simplest;
      const index_t from_a = std::abs(a[i] - simplest), from_b = std::abs(b[i] - simplest);
      if (from_a != from_b) return from_a < from_b;
    }
    return false;
  }

  /// The problem at `p`, with the data carried over or drawn anew.
  bool attempt(const problem_space& space, const point& p, const layer& here) {
    const auto text = space.build(p);
    if (!text) return false;
    test_case c = best_;
    c.problem = text->print();
    if (c.problem == best_.problem) return false;  // a default spelled out is no step
    if (best_.regime == test_case::given)
      for (auto& way : carry_data(best_.data, here, *plumb::bind(*text))) {
        c.data = std::move(way);
        if (accept(c)) return true;
      }
    if (drawn_.regime == test_case::given) return false;
    c.regime = drawn_.regime;
    c.data.clear();
    for (std::uint64_t other = 0; other < redraws; ++other) {
      c.seed = drawn_.seed + other;
      if (accept(c)) return true;
    }
    return false;
  }

  /// What the moves above do not reach: the cases that minimality.hpp holds to be one step simpler.
  bool one_step_below() {
    for (const test_case& c : one_step_reductions(best_))
      if (accept(c)) return true;
    return false;
  }

  // The data ---------------------------------------------------------------------------------------------

  bool write_out_data() {
    if (best_.regime == test_case::given || !tools_.materialise) return false;
    return accept(tools_.materialise(best_));
  }

  bool data() {
    bool any = thin_out();
    const auto here = plumb::bind(best_.problem);
    for (std::size_t i = 0; i < best_.data.size(); ++i)
      while (simplify(*here, i)) any = true;
    return any;
  }

  /// Drops chunks of elements, from all of them down to single ones, until no single one can be dropped.
  bool thin_out() {
    bool any = false, again = true;
    const auto here = plumb::bind(best_.problem);
    for (std::size_t chunk = std::max<std::size_t>(1, best_.data.size()); again;
         chunk = std::max<std::size_t>(1, chunk / 2)) {
      bool dropped = false;
      for (std::size_t first = 0; first < best_.data.size();) {
        test_case c = best_;
        const std::size_t last = std::min(first + chunk, c.data.size());
        const auto end = c.data.begin() + static_cast<std::ptrdiff_t>(last);
        c.data.erase(std::remove_if(c.data.begin() + static_cast<std::ptrdiff_t>(first), end,
                                    [&](const datum& d) {
                                      return legal_datum(*here, {d.tensor, d.at, 0});
                                    }),
                     end);
        if (accept(c))
          dropped = true;
        else
          first += chunk;
      }
      any = any || dropped;
      again = chunk > 1 || dropped;
    }
    return any;
  }

  bool simplify(const layer& here, std::size_t i) {
    const bool is_index = here.spec(best_.data[i].tensor).kind == element::index;
    for (const double value : simpler_values(best_.data[i].value, best_.type, is_index)) {
      test_case c = best_;
      c.data[i].value = value;
      if (legal_datum(here, c.data[i]) && accept(c)) return true;
    }
    return false;
  }

  static constexpr std::uint64_t redraws = 2;

  const shrink_tools& tools_;
  const shrink_budget budget_;
  test_case best_;
  test_case drawn_;  ///< the last failing case whose data came from a regime
  std::unordered_set<std::string> passed_;
  std::int64_t calls_ = 0;
  bool spent_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

shrunk shrink(const test_case& failing, const shrink_tools& tools, shrink_budget budget) {
  return shrinker(failing, tools, budget).run();
}

}  // namespace plumb
