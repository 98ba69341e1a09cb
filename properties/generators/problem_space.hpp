// Problem spaces: the problems of one layer family as points with integer coordinates. A space draws points
// that are never the neutral case, writes them as problem text, and reads any problem back into a point, so
// that a counterexample can be shrunk coordinate by coordinate whoever wrote it. The rows of layers.list
// say which space and which laws belong to a layer.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "properties/generators/dice.hpp"
#include "reference/layers/layer.hpp"
#include "verify/law.hpp"

namespace plumb {

/// One coordinate. Shrinking moves it toward `simplest`; earlier coordinates count more than later ones.
struct parameter {
  std::string name;
  index_t simplest = 0;
  bool number = true;  ///< a size or a step, not the number of a choice: it may happen to equal another one
};

using point = std::vector<index_t>;

/// A kind of problem that once broke a real kernel (operators.md 14).
struct trigger_rule {
  std::string name;
  std::function<bool(const point&)> pulled;
};

class problem_space {
 public:
  virtual ~problem_space() = default;

  const std::string& layer() const { return layer_; }
  const std::vector<parameter>& parameters() const { return parameters_; }
  const std::vector<trigger_rule>& triggers() const { return triggers_; }

  /// A point that `build` accepts. In one of five some of its numbers are made equal, or differ by one: a kernel that
  /// takes one for another, or a shortcut where two agree, shows nowhere else.
  point draw(dice& d) const;
  /// The canonical text, or nothing if the shapes do not fit.
  virtual std::optional<problem> build(const point& at) const = 0;
  /// The point of a problem, or nothing if it lies outside the space. build(recover(p)) == p.
  virtual std::optional<point> recover(const plumb::layer& l) const = 0;
  /// Simpler points that differ in several coordinates at once and keep what a single step would lose.
  virtual std::vector<point> moves(const point& /*from*/) const { return {}; }
  /// Multiplications or element visits of one forward pass: the measure by which draws are kept small.
  virtual double work(const point& at) const = 0;

 protected:
  explicit problem_space(std::string layer) : layer_(std::move(layer)) {}
  virtual point propose(dice& d) const = 0;
  std::optional<point> coincidence(const point& from, dice& d) const;
  void add(std::string name, index_t simplest) { parameters_.push_back({std::move(name), simplest}); }
  /// A flag, the number of a word, a rank, whether a tensor is there.
  void add_choice(std::string name, index_t simplest) {
    parameters_.push_back({std::move(name), simplest, false});
  }
  void trigger(std::string name, std::function<bool(const point&)> pulled) {
    triggers_.push_back({std::move(name), std::move(pulled)});
  }

 private:
  std::string layer_;
  std::vector<parameter> parameters_;
  std::vector<trigger_rule> triggers_;
};

/// Triggers that fewer than one in a hundred of `draws` problems pull, with their counts.
std::vector<std::pair<std::string, int>> rare_triggers(const problem_space& space, int draws);

/// How much work a drawn problem may be: about 2^10 … 2^14, now and then up to 2^20.
double draw_budget(dice& d);

/// One row of layers.list.
struct family_row {
  std::string layer;
  std::unique_ptr<problem_space> space;
  std::string family;                      ///< layers of one family share their laws
  std::function<std::vector<law>()> laws;  ///< beyond the common ones
};

const std::vector<family_row>& families();
/// The space of a layer, or nullptr.
const problem_space* find_space(std::string_view layer);
/// Throws text_error if no family has the layer.
const problem_space& space_of(std::string_view layer);

/// One problem of the layer, in canonical text. Throws text_error if no family has the layer.
std::string draw_problem(std::string_view layer, std::uint64_t seed);
/// A problem that differs from the given one in one or two numbers; itself if it lies outside the space of its layer or no
/// other is near.
std::string vary_problem(const std::string& text, std::uint64_t seed);
/// Tells of each of these problems whether some kernel accepts it.
using acceptance = std::function<std::vector<bool>(const std::vector<std::string>& problems)>;
/// Up to `count` problems for a kernel that accepts few of those drawn. Each begins as one of the `known` problems, which
/// the kernel accepts, and takes the numbers of a freshly drawn one, in random order, wherever the kernel still accepts
/// the result; so it differs from what is drawn in as little as the kernel insists on. Without any known, they are looked
/// for first, among drawn problems some of whose numbers are the simplest; empty if that finds none.
std::vector<std::string> fit_problems(const std::string& layer, const std::vector<std::string>& known,
                                      std::uint64_t seed, std::size_t count, const acceptance& accepts);
/// One problem, grown until it writes about that many elements, as far as its layer's shapes allow: what is drawn above is
/// small. Throws text_error.
std::string draw_grown_problem(std::string_view layer, std::uint64_t seed, double elements);
/// Work of a problem (see problem_space::work), or 0 if it lies outside the space of its layer.
double work_of(const layer& l);
/// The triggers that a problem pulls; none for problems outside the space of their layer.
std::vector<std::string> triggers(const layer& l);
/// Every trigger of a layer: those whose frequency is worth a line in the record.
std::vector<std::string> all_triggers(std::string_view layer);

}  // namespace plumb
