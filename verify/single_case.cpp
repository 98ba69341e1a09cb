#include "verify/single_case.hpp"

#include <algorithm>

#include "reference/layers/catalogue.hpp"
#include "verify/portrait.hpp"

namespace plumb {

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

const kernel_info& kernel_of(const sandbox& box, const test_case& c) {
  for (const kernel_info& k : box.kernels())
    if (k.name == c.kernel) return k;
  throw text_error(c.kernel, 1,
                   "no such kernel here; `plumb list kernels` names them, and --plugin adds more");
}

std::shared_ptr<const layer> layer_of(const kernel_info& kernel, const test_case& c) {
  std::shared_ptr<const layer> l = plumb::bind(c.problem);
  if (l->name() != kernel.layer)
    throw text_error(c.problem, 0,
                     "`" + c.kernel + "` computes `" + kernel.layer + "`, not `" + l->name() + "`");
  return l;
}

/// The case in a new process, after the calls of `h`.
answer ask_after(sandbox& box, const test_case& c, const history& h) {
  const kernel_info& kernel = kernel_of(box, c);
  const std::shared_ptr<const layer> l = layer_of(kernel, c);
  const exam::question asked{c.regime, c.seed, c.data};
  conditions how;
  how.type = c.type;
  how.layout = c.layout;
  how.threads = c.threads;
  std::vector<exam::question> before, together;
  for (const history::call& each : h.earlier) (h.same_plan ? together : before).push_back(each.data);
  box.restart();
  put_before(box, kernel, l, how, before);
  together.push_back(asked);
  exam paper(l, pass_of(*l, c.kernel), how, std::move(together), run_statistics{});
  answer result;
  for (int calls = 0; calls < h.repeats && !result.wrong; calls += 2) {  // every question is asked twice
    paper.submit(box, box.at(box.arenas() - 1), {&kernel});
    paper.collect(box, [&](answer& a) {
      if (a.question + 1 == paper.questions().size()) result = std::move(a);
    });
  }
  return result;
}

}  // namespace

std::optional<history> what_it_takes(sandbox& box, const test_case& c) {
  constexpr int most_repeats = 512;
  const std::shared_ptr<const layer> l = layer_of(kernel_of(box, c), c);
  const std::vector<exam::question> others =
      what_came_before(*l, pass_of(*l, c.kernel), {c.regime, c.seed, c.data}, c.type);
  std::vector<history> tried(1);
  history all;
  for (const exam::question& q : others) {
    tried.emplace_back().earlier = {{q}};
    all.earlier.push_back({q});
  }
  tried.push_back(std::move(all));
  for (std::size_t i = 1, count = tried.size(); i < count; ++i) {
    tried.push_back(tried[i]);
    tried.back().same_plan = true;
  }
  tried.emplace_back().repeats = most_repeats;
  for (history& h : tried) {
    h.result = ask_after(box, c, h);
    if (h.result.wrong && h.result.wrong->verdict != record::verdict::inconclusive) return std::move(h);
  }
  return std::nullopt;
}

single_case examine(sandbox& box, const test_case& c, bool thorough) {
  const kernel_info* const kernel = &kernel_of(box, c);
  const std::shared_ptr<const layer> l = layer_of(*kernel, c);
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
    if (before.size() > 1) questions.push_back(before[1]);  // right before it: what is nearly the same
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
