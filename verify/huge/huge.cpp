#include "verify/huge/huge.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <set>
#include <sstream>

#include "reference/layers/catalogue.hpp"
#include "reference/scalars/exact_accumulator.hpp"
#include "verify/compare.hpp"
#include "verify/huge/periodic.hpp"

namespace plumb {
namespace {

using record::verdict;

constexpr std::size_t random_samples = 200;

/// Row-major numbers of the outputs to look at.
std::vector<index_t> samples_of(index_t outputs) {
  std::set<index_t> list;
  const auto add = [&](index_t i) {
    if (i >= 0 && i < outputs) list.insert(i);
  };
  for (index_t edge :
       {index_t{0}, index_t{1} << 30, index_t{1} << 31, index_t{3} << 30, index_t{1} << 32, outputs})
    for (index_t i = edge - 3; i < edge + 3; ++i) add(i);
  const counter_random random(7, "samples");
  for (std::size_t k = 0; k < random_samples; ++k)
    add(static_cast<index_t>(random.bits(k) % static_cast<std::uint64_t>(outputs)));
  return {list.begin(), list.end()};
}

/// The truth of a sum of products at the samples: every operand is a function of its number.
truths sums_at(const layer& l, const pass_spec& pass, const std::vector<index_t>& samples) {
  truths t;
  t.name = pass.writes.front();
  t.extents = shape{static_cast<index_t>(samples.size())};
  t.contraction = true;
  t.integral = true;
  t.operand_bits = 5;
  t.largest_left = t.largest_right = 16;
  product_list list;
  for (const index_t at : samples) {
    l.products(pass.name, at, list);
    exact_accumulator sum;
    double size = 0, largest = 0;
    const auto add = [&](double a, double b) {
      sum.add_product(a, b);
      size += std::fabs(a * b);
      largest = std::max(largest, std::fabs(a * b));
    };
    for (const auto& term : list.terms)
      add(static_cast<double>(huge_value(pass.contraction->a, term.a)),
          pass.contraction->b.empty() ? 1 : static_cast<double>(huge_value(pass.contraction->b, term.b)));
    const bool addend = list.addend >= 0 && l.present(pass.contraction->addend);
    if (addend) add(static_cast<double>(huge_value(pass.contraction->addend, list.addend)), 1);
    t.value.push_back(sum.to_double());
    t.radius.push_back(0);
    t.size.push_back(size);
    t.terms.push_back(static_cast<double>(list.count() + (addend ? 1 : 0)));
    t.largest.push_back(largest);
    t.most_terms = t.full_terms = std::max(t.most_terms, t.terms.back());
  }
  return t;
}

bool same_shapes(const layer& l, const pass_spec& pass) {
  const shape& extents = l.shapes()[pass.writes.front()];
  return pass.writes.size() == 1 && std::ranges::all_of(pass.reads, [&](const std::string& name) {
           return l.present(name) && l.shapes()[name] == extents && l.spec(name).kind == element::real;
         });
}

/// The same layer on the sampled elements alone.
std::shared_ptr<const layer> shortened(const layer& l, index_t count) {
  problem text(l.name());
  for (const auto& f : l.canonical().fields())
    text.set(f.key, f.key == "x" ? std::to_string(count) : f.value);
  return plumb::bind(text);
}

class huge_case {
 public:
  huge_case(sandbox& box, const kernel_info& kernel, const std::string& text)
      : box_(box),
        kernel_(kernel),
        layer_(plumb::bind(std::string_view(text))),
        pass_(layer_->find_pass(kernel.pass)) {
    out_.problem = layer_->canonical().print();
  }

  huge_answer run() {
    if (const std::string why = cannot(); !why.empty()) {
      out_.reason = why;
      return out_;
    }
    samples_ = samples_of(layer_->shapes()[pass_->writes.front()].size());
    const auto start = std::chrono::steady_clock::now();
    std::string answer;
    try {
      answer = box_.call("huge", request(), std::chrono::minutes(5));
    } catch (const sandbox_error& e) {
      out_.verdict = verdict::crashed;
      out_.reason = e.what();
      return out_;
    }
    out_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (answer.starts_with("declined "))
      out_.reason = answer.substr(9);
    else
      compare_with(answer);
    return out_;
  }

 private:
  std::string cannot() const {
    if (!kernel_.unavailable.empty()) return kernel_.unavailable;
    if (pass_ == nullptr || layer_->name() != kernel_.layer) return "another layer";
    if (std::ranges::find(kernel_.types, dtype::f32) == kernel_.types.end()) return "takes no f32";
    if (std::ranges::find(kernel_.layouts, layout::nchw) == kernel_.layouts.end()) return "takes no nchw";
    if (!pass_->contraction && !same_shapes(*layer_, *pass_))
      return "neither a sum of products nor element-wise: its outputs cannot be foretold one by one";
    return {};
  }

  std::string request() const {
    std::string text =
        fmt::format("{}\n{}\n{}\n2\n", kernel_.name, layer_->resolved().print(), layer_->canonical().print());
    for (const std::string& name : pass_->reads)
      if (layer_->present(name)) text += fmt::format("read {} {}\n", name, to_string(layer_->shapes()[name]));
    const std::string& y = pass_->writes.front();
    return text +
           fmt::format("write {} {} {}\n", y, to_string(layer_->shapes()[y]), fmt::join(samples_, " "));
  }

  void compare_with(const std::string& answer) {
    std::istringstream words(answer.substr(2));
    std::vector<float> got;
    for (std::uint32_t bits = 0; words >> bits;) got.push_back(std::bit_cast<float>(bits));
    if (got.size() != samples_.size()) {
      out_.verdict = verdict::fail;
      out_.reason = "the worker's answer has another length";
      return;
    }
    const auto count = static_cast<index_t>(got.size());
    std::shared_ptr<const layer> few;
    truths truth;
    if (pass_->contraction) {
      truth = sums_at(*layer_, *pass_, samples_);
    } else {
      few = shortened(*layer_, count);
      tensor_set<double> reads;
      for (const std::string& name : pass_->reads) {
        tensor<double>& t = reads.add(name, tensor<double>(shape{count}));
        for (index_t i = 0; i < count; ++i)
          t[i] = static_cast<double>(huge_value(name, samples_[static_cast<std::size_t>(i)]));
      }
      truth = oracle_.evaluate(*few, *few->find_pass(pass_->name), reads, dtype::f32).front();
    }
    const parsed_arithmetic how = parse_arithmetic(kernel_.arithmetic, dtype::f32);
    thresholds bounds;
    evaluate_thresholds(truth, how.value, kernel_.accuracy, regime::impulse, {}, bounds);
    comparison c;
    compare({got.data(), dtype::f32, shape{count}, shape{1}}, truth, bounds, few ? &oracle_ : nullptr, 0, c);
    out_.sampled = c.elements;
    out_.verdict = c.passed() ? verdict::pass : verdict::fail;
    if (c.wrong.empty()) return;
    const judged_element& e = c.wrong.front();
    out_.reason = fmt::format("element {} of {} is {}, expected {}; {} of {} sampled outputs are wrong",
                              samples_[static_cast<std::size_t>(e.at)], pass_->writes.front(), e.got,
                              e.expected, c.failures, c.elements);
  }

  sandbox& box_;
  const kernel_info& kernel_;
  std::shared_ptr<const layer> layer_;
  const pass_spec* pass_;
  std::vector<index_t> samples_;
  oracle oracle_;
  huge_answer out_;
};

}  // namespace

huge_answer judge_huge(sandbox& box, const kernel_info& kernel, const std::string& problem) {
  return huge_case(box, kernel, problem).run();
}

test_case huge_case_of(const kernel_info& kernel, const std::string& problem) {
  test_case c;
  c.kernel = kernel.name;
  c.problem = plumb::bind(std::string_view(problem))->canonical().print();
  c.regime = test_case::huge;
  return c;
}

huge_answer replay_huge(sandbox& box, const test_case& c) {
  const auto kernel = std::ranges::find(box.kernels(), c.kernel, &kernel_info::name);
  if (kernel == box.kernels().end()) throw text_error(c.kernel, 0, "no such kernel");
  return judge_huge(box, *kernel, c.problem);
}

}  // namespace plumb
