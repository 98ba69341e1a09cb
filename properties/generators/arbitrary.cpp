#include "properties/generators/arbitrary.hpp"

#include "properties/generators/problem_space.hpp"

namespace plumb {
namespace {

/// Points one coordinate or one move simpler, the boldest first.
std::vector<point> simpler_points(const problem_space& space, const point& at) {
  std::vector<point> list;
  const auto offer = [&](const point& p) {
    if (space.build(p)) list.push_back(p);
  };
  for (std::size_t i = 0; i < at.size(); ++i)
    for (index_t way = at[i] - space.parameters()[i].simplest; way != 0; way /= 2) {
      point lower = at;
      lower[i] -= way;
      offer(lower);
    }
  for (const point& p : space.moves(at)) offer(p);
  return list;
}

}  // namespace

rc::Gen<std::string> arbitrary_problem(const std::string& layer) {
  const problem_space* space = &space_of(layer);
  return [space](const rc::Random& random, int) {
    dice d(random);
    auto points = rc::shrinkable::shrinkRecur(space->draw(d), [space](const point& at) {
      return rc::seq::fromContainer(simpler_points(*space, at));
    });
    return rc::shrinkable::map(std::move(points),
                               [space](const point& at) { return space->build(at)->print(); });
  };
}

}  // namespace plumb
