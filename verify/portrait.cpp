// What a case looks like in the record: the tensors of a counterexample with the wrong elements marked, the
// named element with its numbers, and the map of errors over the output.
#include "verify/portrait.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "reference/layers/catalogue.hpp"
#include "verify/runner.hpp"

namespace plumb {

double value_at(const tensor_ref& t, const shape& at) {
  switch (t.type) {
    case dtype::f32:
      return static_cast<double>(t.view<float>()(at));
    case dtype::f64:
      return t.view<double>()(at);
    case dtype::bf16:
      return static_cast<double>(static_cast<float>(t.view<bf16>()(at)));
    case dtype::f16:
      return static_cast<double>(static_cast<float>(t.view<f16>()(at)));
    case dtype::i64:
      return static_cast<double>(t.view<index_t>()(at));
  }
  return 0;
}

double truth_at(const truths& t, index_t i) {
  return t.is_index ? static_cast<double>(t.index[static_cast<std::size_t>(i)])
                    : t.value[static_cast<std::size_t>(i)];
}

namespace {

std::vector<std::int64_t> to_list(const shape& s) { return {s.begin(), s.end()}; }

std::vector<std::string> letters(const layer& l, std::string_view tensor) {
  std::vector<std::string> list;
  for (const char c : axis_letters(l.spec(tensor), l.shapes()[tensor].rank())) list.emplace_back(1, c);
  return list;
}

/// Error in units of the bound; where bits had to match, infinite unless they did.
double share(double got, double truth, double bound) {
  const double error = got - truth;
  if (error == 0 || (std::isnan(got) && std::isnan(truth)) || got == truth) return 0;
  if (bound > 0) return error / bound;
  return std::copysign(std::numeric_limits<double>::infinity(), std::isnan(error) ? 1.0 : error);
}

/// Rows and columns of one tile: the last two axes; the axes before number the tiles.
struct tiling {
  index_t tiles = 1, rows = 1, cols = 1;
  explicit tiling(const shape& s) {
    const int rank = s.rank();
    if (rank >= 1) cols = s[rank - 1];
    if (rank >= 2) rows = s[rank - 2];
    for (int axis = 0; axis + 2 < rank; ++axis) tiles *= s[axis];
  }
};

record::heat_tile tile_of(const layer& l, const truths& t, const thresholds& bounds, const tensor_ref& got,
                          const tiling& grid, index_t tile, index_t row_step, index_t col_step) {
  record::heat_tile result;
  result.rows = (grid.rows + row_step - 1) / row_step;
  result.cols = (grid.cols + col_step - 1) / col_step;
  const auto name = named_coordinates(l, t.name, tile * grid.rows * grid.cols);
  for (std::size_t axis = 0; axis + 2 < name.size(); ++axis)
    result.label += (axis == 0 ? "" : " ") + name[axis].axis + "=" + std::to_string(name[axis].at);
  const bool statistical = bounds.has_statistical;
  for (index_t r = 0; r < result.rows; ++r)
    for (index_t c = 0; c < result.cols; ++c) {
      double worst = -1;
      double worst_share = 0, worst_got = 0, worst_truth = 0;
      index_t worst_at = 0;
      for (index_t i = r * row_step; i < std::min(grid.rows, (r + 1) * row_step); ++i)
        for (index_t j = c * col_step; j < std::min(grid.cols, (c + 1) * col_step); ++j) {
          const index_t at = (tile * grid.rows + i) * grid.cols + j;
          const auto n = static_cast<std::size_t>(at);
          const double g = value_at(got, unflatten(at, t.extents));
          const double v = truth_at(t, at);
          const double s = share(g, v,
                                 t.is_index    ? 0
                                 : statistical ? bounds.statistical[n]
                                               : bounds.proven[n]);
          // Nothing is worse than a NaN, and no comparison with it is true.
          const double size = std::isnan(s) ? std::numeric_limits<double>::infinity() : std::fabs(s);
          if (size > worst) {
            worst = size;
            worst_share = s;
            worst_got = g;
            worst_truth = v;
            worst_at = at;
          }
        }
      result.share.push_back(worst_share);
      result.got.push_back(worst_got);
      result.truth.push_back(worst_truth);
      const double ulp = t.is_index || !std::isfinite(worst_truth) ? 1 : bounds.output.ulp(worst_truth);
      result.ulps.push_back(worst_share == 0 ? 0 : std::fabs(worst_got - worst_truth) / ulp);
      result.at.push_back(worst_at);
    }
  return result;
}

}  // namespace

record::tensor_dump dump_of(const layer& l, const std::string& name, record::tensor_role role,
                            std::string type) {
  record::tensor_dump d;
  d.name = name;
  d.role = role;
  d.dtype = std::move(type);
  d.shape = to_list(l.shapes()[name]);
  d.axes = letters(l, name);
  return d;
}

record::element named_element(const layer& l, const truths& t, const judged_element& e) {
  record::element r;
  r.tensor = t.name;
  r.coordinates = named_coordinates(l, t.name, e.at);
  r.got = e.got;
  r.truth = e.expected;
  r.ulps = e.ulps;
  r.error = e.error;
  r.statistical_bound = e.statistical;
  r.proven_bound = e.proven;
  if (!t.contraction || e.at < 0 || e.at >= std::ssize(t.size)) return r;
  const error_split split = split_error(e, t.size[static_cast<std::size_t>(e.at)]);
  r.backward_error = split.backward;
  r.condition = split.condition;
  return r;
}

std::optional<record::heat_map> error_map(const layer& l, const truths& t, const thresholds& bounds,
                                          const tensor_ref& got) {
  if (t.count() == 0) return std::nullopt;
  const tiling grid(t.extents);
  constexpr index_t most_tiles = 32;
  constexpr index_t most_shown = 48;
  record::heat_map map;
  map.tensor = t.name;
  map.bound = bounds.exact == t.count() ? "ulp" : bounds.has_statistical ? "statistical" : "proven";
  map.shape = to_list(t.extents);
  map.axes = letters(l, t.name);
  map.row_step = (grid.rows + most_shown - 1) / most_shown;
  map.col_step = (grid.cols + most_shown - 1) / most_shown;
  map.tiles_left_out = std::max<index_t>(0, grid.tiles - most_tiles);
  for (index_t tile = 0; tile < std::min(grid.tiles, most_tiles); ++tile)
    map.tiles.push_back(tile_of(l, t, bounds, got, grid, tile, map.row_step, map.col_step));
  return map;
}

std::optional<record::ulp_histogram> histogram_of(const ulp_counts& counts, const ulp_counts& naive) {
  if (std::accumulate(counts.begin(), counts.end(), index_t{0}) == 0) return std::nullopt;
  const bool beside = std::accumulate(naive.begin(), naive.end(), index_t{0}) > 0;
  record::ulp_histogram h;
  std::size_t used = 1;
  for (std::size_t i = 0; i < counts.size(); ++i)
    if (counts[i] > 0 || naive[i] > 0) used = i + 1;
  h.edges.push_back(0);
  for (std::size_t i = 0; i < used; ++i) {
    h.counts.push_back(counts[i]);
    if (beside) h.naive_counts.push_back(naive[i]);
    h.edges.push_back(i + 1 == counts.size() ? std::numeric_limits<double>::infinity()
                                             : std::ldexp(1.0, static_cast<int>(i) - 2));
  }
  return h;
}

record::element element_of(const exam& paper, const answer& a, const judged_element& e) {
  const auto& truth = paper.truth(a.question);
  const auto t = std::ranges::find(truth, a.worst_tensor, &truths::name);
  record::element r = named_element(paper.about(), t == truth.end() ? truth.front() : *t, e);
  const test_case c = paper.case_of(*a.kernel, a.question);
  r.problem = c.problem;
  r.regime = c.regime;
  r.seed = c.seed;
  r.replay = print(c);
  return r;
}

namespace {

/// Questions that a kernel may take for this one: other data of the same shapes, and its own data but for one element, at
/// one of several places, since who looks at a sample of them sees most changes.
std::vector<exam::question> what_came_before(const layer& l, const pass_spec& pass,
                                             const exam::question& asked, dtype type) {
  constexpr std::uint64_t other_seed = 0x706c756d62, places = 8;
  std::vector<exam::question> list = {{std::string(name_of(regime::zero_mean)), other_seed, {}}};
  for (std::uint64_t seed = 0; seed < places; ++seed)
    if (auto changed = with_one_change(l, pass, asked, type, seed)) list.push_back(std::move(*changed));
  for (exam::question& q : list) q.judged = false;
  return list;
}

/// Each by itself, in the buffers that the next question will lie in; only until one ends the process.
void put_before(sandbox& box, const kernel_info& kernel, const std::shared_ptr<const layer>& l,
                conditions how, const std::vector<exam::question>& questions) {
  how.thorough = false;
  const auto ended = [&] { return box.counters().crashes + box.counters().timeouts; };
  const long before = ended();
  for (const exam::question& q : questions) {
    exam one(l, pass_of(*l, kernel.name), how, {q}, run_statistics{});
    one.submit(box, box.at(box.arenas() - 1), {&kernel});
    one.collect(box, [](answer&) {});
    if (ended() != before) return;
  }
}

}  // namespace

single_case examine(sandbox& box, const test_case& c, bool thorough) {
  const kernel_info* kernel = nullptr;
  for (const kernel_info& k : box.kernels())
    if (k.name == c.kernel) kernel = &k;
  if (kernel == nullptr)
    throw text_error(c.kernel, 1,
                     "no such kernel here; `plumb list kernels` names them, and --plugin adds more");
  std::shared_ptr<const layer> l = plumb::bind(c.problem);
  if (l->name() != kernel->layer)
    throw text_error(c.problem, 0,
                     "`" + c.kernel + "` computes `" + kernel->layer + "`, not `" + l->name() + "`");
  conditions how;
  how.type = c.type;
  how.layout = c.layout;
  how.threads = c.threads;
  how.thorough = thorough;
  std::vector<exam::question> questions = {{c.regime, c.seed, c.data}};
  if (thorough) {  // a kernel that keeps something from call to call fails only after another one
    const std::vector<exam::question> before =
        what_came_before(*l, pass_of(*l, c.kernel), questions[0], c.type);
    put_before(box, *kernel, l, how, before);
    questions.push_back(before.front());
  }
  single_case result;
  result.paper =
      std::make_unique<exam>(l, pass_of(*l, c.kernel), how, std::move(questions), run_statistics{});
  result.paper->submit(box, box.at(box.arenas() - 1), {kernel});
  result.paper->collect(box, [&](answer& a) { result.result = std::move(a); });
  return result;
}

record::counterexample describe_failure(sandbox& box, const failure& f, const shrunk_case& smallest) {
  record::counterexample r;
  r.original_problem = f.conditions.problem;
  r.original_replay = print(f.conditions);
  r.shrink_steps = smallest.steps;
  r.minimal = smallest.minimal;
  const single_case again = examine(box, smallest.smallest, true);
  const failure& seen = again.result.wrong ? *again.result.wrong : f;
  r.kind = seen.kind;
  r.message = seen.message;
  r.law = "agrees with the oracle";
  r.problem = smallest.smallest.problem;
  r.regime = smallest.smallest.regime;
  r.replay = print(smallest.smallest);
  const exam& paper = *again.paper;
  for (const auto& e : paper.reads(0).entries()) {
    if (e.extents().size() > most_dumped) continue;
    record::tensor_dump d = dump_of(paper.about(), e.name, record::tensor_role::input,
                                    e.is_index ? "i64" : std::string(name_of(paper.how().type)));
    for (index_t i = 0; i < e.extents().size(); ++i)
      d.values.push_back(e.is_index ? static_cast<double>(e.index[i]) : e.real[i]);
    r.tensors.push_back(std::move(d));
  }
  const bool finished = again.result.wrong && seen.verdict == record::verdict::fail;
  for (std::size_t t = 0; t < paper.truth(0).size(); ++t) {
    const truths& truth = paper.truth(0)[t];
    if (truth.count() > most_dumped) continue;
    const std::string type = truth.is_index ? "i64" : std::string(name_of(paper.how().type));
    record::tensor_dump expected = dump_of(paper.about(), truth.name, record::tensor_role::expected, type);
    for (index_t i = 0; i < truth.count(); ++i) expected.values.push_back(truth_at(truth, i));
    if (finished) {
      record::tensor_dump got = dump_of(paper.about(), truth.name, record::tensor_role::got, type);
      const tensor_ref& here = paper.outputs(0, 0)[t].here;
      for (index_t i = 0; i < truth.count(); ++i) {
        got.values.push_back(value_at(here, unflatten(i, truth.extents)));
        for (const judged_element& e : again.result.result.wrong)
          if (e.at == i && truth.name == seen.tensor) got.marked.push_back(i);
      }
      if (seen.tensor == truth.name && seen.element && got.marked.empty())
        got.marked.push_back(seen.element->at);
      r.tensors.push_back(std::move(got));
    }
    r.tensors.push_back(std::move(expected));
  }
  if (seen.element && !seen.tensor.empty() && finished) {
    answer a = again.result;
    a.worst_tensor = seen.tensor;
    r.wrong = element_of(paper, a, *seen.element);
    if (seen.kind == "unwritten")
      for (const truths& truth : paper.truth(0))
        if (truth.name == seen.tensor) r.wrong->truth = truth_at(truth, seen.element->at);
    r.wrong->replay = r.replay;
  }
  return r;
}

std::optional<record::heat_map> heat_of(sandbox& box, const test_case& c) {
  single_case again = examine(box, c, false);
  if (!again.result.declined.empty()) return std::nullopt;
  if (again.result.wrong && again.result.wrong->verdict != record::verdict::fail) return std::nullopt;
  exam& paper = *again.paper;
  std::size_t t = 0;
  while (t + 1 < paper.truth(0).size() && paper.truth(0)[t].name != again.result.worst_tensor) ++t;
  const truths& truth = paper.truth(0)[t];
  auto map = error_map(paper.about(), truth, paper.thresholds_for(0, *again.result.kernel)[t],
                       paper.outputs(0, 0)[t].here);
  if (!map) return std::nullopt;
  map->problem = c.problem;
  map->regime = c.regime;
  map->replay = print(c);
  return map;
}

}  // namespace plumb
