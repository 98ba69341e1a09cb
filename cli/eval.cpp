// plumb eval: a layer on .npy files, in any arithmetic; plumb judge: tensors that some kernel wrote.
#include <fmt/format.h>

#include <algorithm>

#include "cli/commands.hpp"
#include "cli/judging.hpp"
#include "reference/core/npy.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/evaluate.hpp"
#include "verify/gradcheck.hpp"

namespace plumb::cli {
namespace {

struct eval_command {
  std::string problem_text, pass = "forward", scalar = "f64";
  std::vector<std::string> in, out;

  void add_to(CLI::App& app) {
    app.add_option("problem", problem_text, "a problem")->required();
    app.add_option("--pass", pass, "forward, vjp or jvp")
        ->check(CLI::IsMember({"forward", "vjp", "jvp"}))
        ->capture_default_str();
    app.add_option("--in", in, "NAME=FILE.npy: inputs; dy=… for vjp, tangents dx=… for jvp");
    app.add_option("--out", out, "NAME=FILE.npy: what to write; y=… (forward), dx=… (vjp), dy=… (jvp)");
    app.add_option("--scalar", scalar, "arithmetic of the evaluation")
        ->check(CLI::IsMember({"f32", "f64", "mp50", "mp100"}))
        ->capture_default_str();
    app.footer("example: plumb eval 'relu x=4' --in x=x.npy --out y=y.npy");
  }

  int run() const {
    const auto l = plumb::bind(std::string_view(problem_text));
    tensor_set<double> given;
    for (const std::string& pair : in) {
      const auto [name, file] = split(pair);
      read_into(*l, given, name, file);
    }
    for (const tensor_spec& s : l->describe().inputs)
      if (l->present(s.name) && !given.has(s.name))
        throw usage_error("`" + s.name + "` is missing: expected --in " + s.name + "=FILE.npy of shape " +
                          to_string(l->shapes()[s.name]));
    const tensor_set<double> result = scalar == "f32"    ? evaluate<float>(*l, given)
                                      : scalar == "f64"  ? evaluate<double>(*l, given)
                                      : scalar == "mp50" ? evaluate<mp50>(*l, given)
                                                         : evaluate<mp100>(*l, given);
    for (const std::string& pair : out) {
      const auto [name, file] = split(pair);
      const auto* e = result.find(name);
      if (e == nullptr) {
        std::vector<std::string> names;
        for (const auto& each : result.entries()) names.push_back(each.name);
        throw usage_error("--out " + pair + ": the pass writes no `" + name + "`; expected " +
                          list_of(names));
      }
      npy_array a;
      a.type = e->is_index ? dtype::i64 : scalar == "f32" ? dtype::f32 : dtype::f64;
      a.real = e->real;
      a.index = e->index;
      write_npy(file, a);
    }
    if (out.empty()) print_all(*l, result);
    return exit_pass;
  }

 private:
  static std::pair<std::string, std::string> split(const std::string& pair) {
    const std::size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == pair.size())
      throw usage_error("`" + pair + "`: expected NAME=FILE.npy, as in x=x.npy");
    return {pair.substr(0, equals), pair.substr(equals + 1)};
  }

  /// J·v, the tangents of the outputs for tangents dx=… of the inputs.
  template <class T>
  static tensor_set<double> tangents(const layer& l, const tensor_set<T>& inputs,
                                     const std::vector<std::string>& output_names) {
    tensor_set<dual<T>> duals = inputs.template map<dual<T>>([](const T& v) { return dual<T>(v); });
    for (const tensor_spec& s : l.describe().inputs)
      if (const auto* tangent = inputs.find("d" + s.name))
        for (index_t i = 0; i < tangent->real.size(); ++i) duals[s.name][i].tangent = tangent->real[i];
    tensor_set<dual<T>> y = make_tensors<dual<T>>(l, output_names);
    l.as<dual<T>>().forward(std::as_const(duals).views(), y.views());
    tensor_set<double> result;
    for (const auto& e : y.entries())
      if (!e.is_index) {
        tensor<double> t(e.extents());
        for (index_t i = 0; i < t.size(); ++i) t[i] = static_cast<double>(e.real[i].tangent);
        result.add("d" + e.name, std::move(t));
      }
    return result;
  }

  template <class T>
  tensor_set<double> evaluate(const layer& l, const tensor_set<double>& given) const {
    const auto to_double = [](const T& v) { return static_cast<double>(v); };
    const auto inputs = given.map<T>([](double v) { return T(v); });
    std::vector<std::string> output_names;
    for (const tensor_spec& s : l.describe().outputs) output_names.push_back(s.name);
    if (pass == "jvp") {
      if constexpr (std::is_same_v<T, float>)
        throw usage_error("--scalar f32: jvp runs on dual numbers over f64, mp50 or mp100");
      else
        return tangents<T>(l, inputs, output_names);
    }
    tensor_set<T> y = make_tensors<T>(l, output_names);
    l.as<T>().forward(inputs.views(), y.views());
    if (pass == "forward") return y.template map<double>(to_double);
    std::vector<std::string> gradients;
    for (const tensor_spec& s : l.describe().inputs)
      if (s.kind == element::real && s.differentiable && l.present(s.name)) gradients.push_back("d" + s.name);
    for (const tensor_spec& s : l.describe().outputs)
      if (s.kind == element::real && s.differentiable && !given.has("d" + s.name))
        throw usage_error("`d" + s.name + "` is missing: expected --in d" + s.name + "=FILE.npy of shape " +
                          to_string(l.shapes()[s.name]));
    tensor_set<T> dx = make_tensors<T>(l, gradients);
    l.as<T>().vjp(inputs.views(), std::as_const(y).views(), inputs.views(), dx.views());
    return dx.template map<double>(to_double);
  }

  static void print_all(const layer& l, const tensor_set<double>& result) {
    for (const auto& e : result.entries()) {
      fmt::print("{} = {}\n", e.name, to_string(e.extents()));
      for (index_t i = 0; i < std::min<index_t>(e.extents().size(), 100); ++i)
        e.is_index ? fmt::print("  {} = {}\n", element_name(l, e.name, i), e.index[i])
                   : fmt::print("  {} = {:.17g}\n", element_name(l, e.name, i), e.real[i]);
      if (e.extents().size() > 100)
        fmt::print("  … {} more; --out {}=FILE.npy writes all\n", e.extents().size() - 100, e.name);
    }
  }
};

struct judge_command {
  std::string problem_text, pass = "forward", arithmetic = "f32";
  std::vector<std::string> in, out;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("problem", problem_text, "a problem")->required();
    app.add_option("--pass", pass, "the pass that was computed")->capture_default_str();
    app.add_option("--arithmetic", arithmetic,
                   "what the kernel promises: exact, f32, f64, tf32, bf16_f32, f16_f32")
        ->capture_default_str();
    app.add_option("--in", in, "NAME=FILE.npy: what the pass read")->required();
    app.add_option("--out", out, "NAME=FILE.npy: what the kernel wrote")->required();
    app.footer(
        "example: plumb judge 'conv2d x=1x3x8x8 weight=4x3x3x3' --in x=x.npy weight=w.npy --out y=y.npy");
  }

  int run() const {
    const auto l = plumb::bind(std::string_view(problem_text));
    const pass_spec* p = l->find_pass(pass);
    if (p == nullptr) {
      std::vector<std::string> names;
      for (const pass_spec& each : l->describe().passes) names.push_back(each.name);
      throw usage_error("--pass " + pass + ": `" + l->canonical().print() + "` has " + list_of(names));
    }
    const tensor_set<double> reads = read_tensors(*l, in, p->reads, "--in");
    const tensor_set<double> written = read_tensors(*l, out, p->writes, "--out");
    const parsed_arithmetic how = parse_arithmetic(arithmetic, dtype::f32);
    if (!how.error.empty()) throw usage_error("--arithmetic " + arithmetic + ": " + how.error);
    oracle truth;
    truth.evaluate(*l, *p, reads, dtype::f32, 2);
    bool pass_all = true;
    for (std::size_t t = 0; t < truth.results().size(); ++t) {
      const truths& expected = truth.results()[t];
      const auto* e = written.find(expected.name);
      if (e == nullptr) continue;
      thresholds bounds;
      evaluate_thresholds(expected, how.value, {}, regime::impulse, {}, bounds);
      tensor<float> values(e->is_index ? shape{0} : e->extents());
      for (index_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(e->real[i]);
      tensor<index_t> indices = e->index;
      comparison c;
      compare({e->is_index ? static_cast<void*>(indices.data()) : static_cast<void*>(values.data()),
               e->is_index ? dtype::i64 : dtype::f32, e->extents(), row_major(e->extents())},
              expected, bounds, &truth, t, c);
      pass_all = pass_all && c.passed();
      if (c.passed())
        fmt::print("pass: {} elements of {}, worst {:.3g} of the proven bound, {:.3g} ulp\n", c.elements,
                   expected.name, c.worst_proven, c.worst_ulps);
      else if (!c.wrong.empty())
        fmt::print("fail: {} is {}, expected {}; {} of {} elements are outside the bound\n",
                   element_name(*l, expected.name, c.wrong.front().at), c.wrong.front().got,
                   c.wrong.front().expected, c.failures, c.elements);
      else
        fmt::print("inconclusive: {} holds {} elements, {} undecided\n", expected.name, c.elements,
                   c.undecided);
    }
    return pass_all ? exit_pass : exit_fail;
  }

 private:
  static tensor_set<double> read_tensors(const layer& l, const std::vector<std::string>& pairs,
                                         const std::vector<std::string>& wanted, const std::string& option) {
    tensor_set<double> set;
    for (const std::string& name : wanted) {
      if (!l.present(name)) continue;
      const auto found =
          std::ranges::find_if(pairs, [&](const std::string& p) { return p.starts_with(name + "="); });
      if (found == pairs.end() && option == "--out") continue;
      if (found == pairs.end())
        throw usage_error("`" + name + "` is missing: expected " + option + " " + name +
                          "=FILE.npy of shape " + to_string(l.shapes()[name]));
      read_into(l, set, name, found->substr(name.size() + 1));
    }
    if (set.entries().empty()) throw usage_error(option + ": expected one of " + list_of(wanted));
    return set;
  }
};

}  // namespace

void add_eval(CLI::App& app, int& code) {
  add<eval_command>(app, "eval", "evaluate a layer on .npy files with the reference", code);
}

void add_judge(CLI::App& app, int& code) {
  add<judge_command>(app, "judge", "judge .npy tensors that some kernel wrote", code);
}

}  // namespace plumb::cli
