#include "verify/fingerprint/kernel_summation.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include "verify/evaluate.hpp"
#include "verify/regimes.hpp"

namespace plumb::fingerprint {
namespace {

constexpr std::size_t most_slots = 64;

/// Any tensor of f32 or f64 by row-major number.
void put(const placed_tensor& t, index_t at, double value) {
  if (t.here.type == dtype::f64)
    t.here.view<double>()[at] = value;
  else
    t.here.view<float>()[at] = static_cast<float>(value);
}
double get(const placed_tensor& t, index_t at) {
  return t.here.type == dtype::f64 ? t.here.view<const double>()[at]
                                   : static_cast<double>(t.here.view<const float>()[at]);
}

shape strides_of(const layer& l, const std::string& tensor, layout order) {
  const shape& extents = l.shapes()[tensor];
  return order == layout::nhwc && follows_layout(l.spec(tensor), extents.rank()) ? channels_last(extents)
                                                                                 : row_major(extents);
}

kernel_run run_of(const kernel_info& kernel, const layer& l, int threads) {
  kernel_run run;
  run.kernel = kernel.name;
  run.resolved = l.resolved().print();
  run.canonical = l.canonical().print();
  run.type = kernel.types.front();
  run.layout = kernel.layouts.front();
  run.threads = threads;
  run.reuse_plan = true;
  return run;
}

void expect_ok(const run_result& r) {
  if (r.status != run_status::ok) throw no_answer{r.status, r.text};
}

}  // namespace

kernel_summation::kernel_summation(sandbox& box, const kernel_info& kernel, const layer& l,
                                   const pass_spec& pass)
    : box_(box),
      kernel_(kernel),
      layer_(l),
      pass_(pass),
      a_name_(pass.contraction->a),
      b_name_(pass.contraction->b),
      type_(kernel.types.front()) {
  choose_slots();
}

/// The first output with the most terms, and others whose terms meet the same elements of b in the same order and
/// none of the elements of a that are taken.
void kernel_summation::choose_slots() {
  const index_t outputs = layer_.shapes()[pass_.writes.front()].size();
  product_list list;
  list.listed = false;
  index_t best = 0;
  for (index_t e = 0; e < outputs; ++e) {
    layer_.products(pass_.name, e, list);
    if (list.count() <= terms_) continue;
    terms_ = list.count();
    best = e;
  }
  if (terms_ == 0) throw no_answer{run_status::declined, "no output of the problem is a sum"};
  list.listed = true;
  std::unordered_set<index_t> taken;
  for (index_t e = best; e < outputs && slots_.size() < most_slots; ++e) {
    list.listed = false;
    layer_.products(pass_.name, e, list);
    if (list.count() != terms_) continue;
    list.listed = true;
    layer_.products(pass_.name, e, list);
    const auto unusable = [&](std::size_t t) {
      return taken.contains(list.terms[t].a) ||
             (!slots_.empty() && list.terms[t].b != slots_.front().terms[t].b);
    };
    bool usable = true;
    for (std::size_t t = 0; usable && t < list.terms.size(); ++t) usable = !unusable(t);
    if (!usable) continue;
    for (const auto& term : list.terms) taken.insert(term.a);
    slots_.push_back({e, list.terms});
  }
}

void kernel_summation::only_the_last() {
  const index_t outputs = layer_.shapes()[pass_.writes.front()].size();
  product_list list;
  for (index_t e = outputs - 1; e >= 0; --e) {
    layer_.products(pass_.name, e, list);
    if (list.count() != terms_) continue;
    slots_.assign(1, {e, list.terms});
    return;
  }
}

void kernel_summation::lay_out(arena& a, std::span<const question> questions,
                               std::span<const std::size_t> some, kernel_run& run) const {
  for (const std::string& name : pass_.reads) {
    if (!layer_.present(name)) {
      run.reads.emplace_back();
      continue;
    }
    placed_tensor t = a.place_read(name, type_, layer_.shapes()[name], strides_of(layer_, name, run.layout));
    std::memset(t.begin, 0, t.bytes());
    for (std::size_t s = 0; s < some.size(); ++s) {
      const question& q = questions[some[s]];
      const slot& where = slots_[s];
      for (std::size_t i = 0; i < where.terms.size(); ++i) {
        if (name == a_name_) put(t, where.terms[i].a, q.a[i]);
        if (name == b_name_ && s == 0) put(t, where.terms[i].b, q.b.size() == 1 ? q.b.front() : q.b[i]);
      }
    }
    run.reads.push_back(std::move(t));
  }
}

std::vector<double> kernel_summation::answer(std::span<const question> questions) {
  std::vector<double> answers(questions.size());
  arena& a = box_.at(0);
  const std::size_t runs_at_once = 100 / pass_.reads.size();
  for (std::size_t next = 0; next < questions.size();) {
    a.clear();
    std::vector<kernel_run> runs;
    std::vector<call> calls;
    while (next < questions.size() && runs.size() < runs_at_once) {
      call c;  // one call answers neighbours that have b in common
      while (next < questions.size() && c.questions.size() < slots_.size() &&
             (c.questions.empty() || questions[next].b == questions[c.questions.front()].b))
        c.questions.push_back(next++);
      kernel_run run = run_of(kernel_, layer_, 1);
      lay_out(a, questions, c.questions, run);
      const std::string& y = pass_.writes.front();
      c.written =
          a.place_written(y, type_, layer_.shapes()[y], strides_of(layer_, y, run.layout), poison::nan);
      run.writes = {c.written};
      runs.push_back(std::move(run));
      calls.push_back(std::move(c));
    }
    read_back(calls, box_.run(a, std::move(runs)), answers);
  }
  return answers;
}

void kernel_summation::read_back(std::span<const call> calls, const std::vector<run_result>& results,
                                 std::vector<double>& answers) {
  for (std::size_t k = 0; k < calls.size(); ++k) {
    expect_ok(results[k]);
    ++calls_;
    implementation_ = results[k].implementation;
    for (std::size_t s = 0; s < calls[k].questions.size(); ++s)
      answers[calls[k].questions[s]] = get(calls[k].written, slots_[s].element);
  }
}

namespace {

/// Some subnormal inputs and some so far below zero that exponentials are subnormal.
void make_small(tensor_set<double>& reads) {
  for (auto& e : reads.entries())
    for (index_t i = 0; i < e.real.size(); ++i)
      e.real[i] = i % 3 == 0   ? static_cast<double>(i % 97 + 1) * 0x1p-140
                  : i % 3 == 1 ? -88.0 - static_cast<double>(i % 15)
                               : e.real[i];
}

std::vector<placed_tensor> place(arena& a, const layer& l, const pass_spec& pass,
                                 const tensor_set<double>& reads, const kernel_run& run) {
  std::vector<placed_tensor> placed;
  for (const std::string& name : pass.reads) {
    const auto* e = reads.find(name);
    if (e == nullptr) {
      placed.emplace_back();
      continue;
    }
    placed.push_back(a.place_read(name, e->is_index ? dtype::i64 : run.type, e->extents(),
                                  strides_of(l, name, run.layout)));
    for (index_t i = 0; i < e->extents().size(); ++i)
      if (e->is_index)
        placed.back().here.view<index_t>()[i] = e->index[i];
      else
        put(placed.back(), i, e->real[i]);
  }
  return placed;
}

bool same_bits(const std::vector<placed_tensor>& one, const std::vector<placed_tensor>& other) {
  for (std::size_t t = 0; t < one.size(); ++t)
    if (std::memcmp(one[t].begin, other[t].begin, one[t].bytes()) != 0) return false;
  return true;
}

/// An output that a kernel with subnormals would have written differently.
bool lost_subnormal(const layer& l, const pass_spec& pass, const tensor_set<double>& reads,
                    const std::vector<placed_tensor>& written) {
  const tensor_set<double> truth = evaluate_pass<double>(l, pass, reads);
  for (std::size_t t = 0; t < written.size(); ++t) {
    if (written[t].here.type != dtype::f32) continue;
    const auto& values = truth.entries()[t].real;
    for (index_t i = 0; i < values.size(); ++i)
      if (std::fabs(values[i]) > 0x1p-147 && std::fabs(values[i]) < 0x1p-127 && get(written[t], i) == 0)
        return true;
  }
  return false;
}

}  // namespace

repetition repeat(sandbox& box, const kernel_info& kernel, const layer& l, const pass_spec& pass) {
  constexpr std::array<int, 12> threads = {1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 7, 7};
  repetition seen;
  arena& a = box.at(0);
  a.clear();
  tensor_set<double> reads = draw(l, pass, regime::zero_mean, 17, kernel.types.front());
  const kernel_run like = run_of(kernel, l, 1);
  const auto placed = place(a, l, pass, reads, like);
  // Subnormals are looked for only where the pass is no sum of products and all it reads is real.
  const bool indices = std::ranges::any_of(reads.entries(), [](const auto& e) { return e.is_index; });
  const bool small = !pass.contraction && !indices;
  std::vector<kernel_run> runs;
  const auto add = [&](const std::vector<placed_tensor>& from, int count) {
    kernel_run run = run_of(kernel, l, count);
    run.reads = from;
    for (const std::string& name : pass.writes) {
      const dtype type = l.spec(name).kind == element::index ? dtype::i64 : run.type;
      run.writes.push_back(
          a.place_written(name, type, l.shapes()[name], strides_of(l, name, run.layout), poison::nan));
    }
    runs.push_back(std::move(run));
  };
  for (const int count : threads) add(placed, count);
  if (small) {
    make_small(reads);
    add(place(a, l, pass, reads, like), 1);
  }
  const std::vector<kernel_run> kept = runs;
  const std::vector<run_result> results = box.run(a, std::move(runs));
  for (const run_result& r : results) expect_ok(r);
  seen.implementation = results.front().implementation;
  for (std::size_t i = 1; i < threads.size(); ++i) {
    const bool same = same_bits(kept[0].writes, kept[i].writes);
    seen.same_for_threads = seen.same_for_threads && same;
    if (threads[i] == threads[i - 1])
      seen.same_bits = seen.same_bits && same_bits(kept[i - 1].writes, kept[i].writes);
  }
  if (small) seen.loses_subnormals = lost_subnormal(l, pass, reads, kept.back().writes);
  return seen;
}

}  // namespace plumb::fingerprint
