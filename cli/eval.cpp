// plumb eval: a layer on .npy files, in any arithmetic.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/commands.hpp"
#include "cli/judging.hpp"
#include "reference/core/npz.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/evaluate.hpp"
#include "verify/gradcheck.hpp"

namespace plumb::cli {
namespace {

std::string digits_of(float v, std::string_view) { return fmt::format("{:.9g}", v); }
std::string digits_of(double v, std::string_view) { return fmt::format("{:.17g}", v); }
std::string digits_of(const rational& v, std::string_view) { return v.str(); }
template <class Float>
std::string digits_of(const multiprecision<Float>& v, std::string_view scalar) {
  return v.str(scalar == "mp50" ? 50 : 100);
}

struct eval_command {
  std::string problem_text, pass = "forward", scalar = "double";
  std::vector<std::string> in, out;
  bool shapes = false;

  void add_to(CLI::App& app) {
    app.add_option("problem", problem_text, "a problem")->required();
    app.add_option("--pass", pass,
                   "forward, jvp, vjp (all gradients), or a pass of the layer such as backward_data")
        ->capture_default_str();
    app.add_option(
        "--in", in,
        "NAME=FILE.npy or FILE.npz: inputs; dy=… for gradients, tangents dx=… for jvp, saved outputs");
    app.add_option("--out", out,
                   "NAME=FILE.npy or FILE.npz: what to write; without it the numbers are printed");
    app.add_flag("--shapes", shapes, "only the tensors and their shapes; needs no inputs");
    app.add_option("--scalar", scalar, "arithmetic of the evaluation")
        ->check(CLI::IsMember({"float", "double", "mp50", "mp100", "rational"}))
        ->capture_default_str();
    app.footer("example: plumb eval 'relu x=4' --in x=1,-2,3,-1");
  }

  int run() const {
    const auto l = plumb::bind(std::string_view(problem_text));
    if (shapes) return print_shapes(*l);
    for (const std::string& pair : out) expect_writable(name_and_source(pair).second);
    if (scalar == "float") return run_in<float>(*l);
    if (scalar == "double") return run_in<double>(*l);
    if (scalar == "mp50" && pass != "jvp") return run_in<mp50>(*l);  // dual numbers are over 100 digits
    if (scalar == "mp50" || scalar == "mp100") return run_in<mp100>(*l);
    if (!l->rational_arithmetic())
      throw usage_error("--scalar rational: `" + l->name() +
                        "` leaves + - × ÷; expected float, double, mp50 or mp100");
    return run_in<rational>(*l);
  }

 private:
  static int print_shapes(const layer& l) {
    for (const auto* list : {&l.describe().inputs, &l.describe().outputs})
      for (const tensor_spec& s : *list)
        if (l.present(s.name))
          fmt::print("{} = {} ({} {})\n", s.name, to_string(l.shapes()[s.name]), l.shapes()[s.name].size(),
                     s.kind == element::index ? "integers" : "numbers");
    return exit_pass;
  }

  template <class T>
  int run_in(const layer& l) const {
    const tensor_set<double> given = read_all(l);
    if constexpr (is_exact_v<T>)
      for (const auto& e : given.entries())
        for (const double v : e.real.values())
          if (!std::isfinite(v))
            throw usage_error("`" + e.name + "` holds " + fmt::format("{}", v) + "; rationals are finite");
    const tensor_set<T> result = evaluate<T>(l, given.map<T>([](double v) { return T(v); }));
    for (const std::string& pair : out) write(result, pair);
    if (out.empty()) print_all(l, result);
    return exit_pass;
  }

  tensor_set<double> read_all(const layer& l) const {
    tensor_set<double> given;
    for (const std::string& pair : in) {
      const auto [name, file] = name_and_source(pair);
      read_into(l, given, name, file);
    }
    return given;
  }

  /// Throws usage_error that names the first tensor of `names` that is not given.
  template <class T>
  static void demand(const layer& l, const tensor_set<T>& given, const std::vector<std::string>& names) {
    for (const std::string& name : names)
      if (l.present(name) && !given.has(name))
        throw usage_error("`" + name + "` is missing: expected --in " + name + "=FILE.npy of shape " +
                          to_string(l.shapes()[name]));
  }

  template <class T>
  tensor_set<T> evaluate(const layer& l, const tensor_set<T>& given) const {
    std::vector<std::string> inputs, outputs, cotangents, gradients;
    for (const tensor_spec& s : l.describe().inputs) {
      inputs.push_back(s.name);
      if (s.kind == element::real && s.differentiable) gradients.push_back("d" + s.name);
    }
    for (const tensor_spec& s : l.describe().outputs) {
      outputs.push_back(s.name);
      if (s.kind == element::real && s.differentiable) cotangents.push_back("d" + s.name);
    }
    if (pass == "jvp") {
      demand(l, given, inputs);
      return tangents(l, given, outputs);
    }
    if (pass == "vjp") {
      demand(l, given, inputs);
      demand(l, given, cotangents);
      return every_gradient(l, given, outputs, gradients);
    }
    if (const pass_spec* p = l.find_pass(pass)) {
      demand(l, given, p->reads);
      return evaluate_pass<T>(l, *p, given);
    }
    std::vector<std::string> names = {"jvp", "vjp"};
    for (const pass_spec& p : l.describe().passes) names.push_back(p.name);
    throw usage_error("--pass " + pass + ": `" + l.canonical().print() + "` has " + list_of(names));
  }

  /// The gradient of every input; saved outputs are computed, whatever a kernel would read.
  template <class T>
  static tensor_set<T> every_gradient(const layer& l, const tensor_set<T>& given,
                                      const std::vector<std::string>& outputs,
                                      const std::vector<std::string>& gradients) {
    tensor_set<T> y = make_tensors<T>(l, outputs);
    l.as<T>().forward(given.views(), y.views());
    tensor_set<T> dy, dx = make_tensors<T>(l, gradients);
    for (const auto& e : y.entries())
      if (!e.is_index) {
        const auto* cotangent = given.find("d" + e.name);
        dy.add("d" + e.name, cotangent != nullptr ? cotangent->real : tensor<T>(e.extents()));
      }
    l.as<T>().vjp(given.views(), std::as_const(y).views(), std::as_const(dy).views(), dx.views());
    return dx;
  }

  /// J·v, the tangents of the outputs for tangents dx=… of the inputs; those not given are zero.
  template <class T>
  static tensor_set<T> tangents(const layer& l, const tensor_set<T>& given,
                                const std::vector<std::string>& outputs) {
    if constexpr (std::is_same_v<T, float> || std::is_same_v<T, mp50>) {
      throw usage_error("--scalar float: jvp runs on dual numbers over double, mp50, mp100 or rational");
    } else {
      tensor_set<dual<T>> moving = given.template map<dual<T>>([](const T& v) { return dual<T>(v); });
      for (const tensor_spec& s : l.describe().inputs)
        if (const auto* tangent = given.find("d" + s.name))
          for (index_t i = 0; i < tangent->real.size(); ++i) moving[s.name][i].tangent = tangent->real[i];
      tensor_set<dual<T>> y = make_tensors<dual<T>>(l, outputs);
      l.as<dual<T>>().forward(std::as_const(moving).views(), y.views());
      tensor_set<T> result;
      for (const auto& e : y.entries()) {
        if (e.is_index) continue;
        tensor<T> t(e.extents());
        for (index_t i = 0; i < t.size(); ++i) t[i] = e.real[i].tangent;
        result.add("d" + e.name, std::move(t));
      }
      return result;
    }
  }

  template <class T>
  static npy_array as_npy(const typename tensor_set<T>::entry& e) {
    npy_array a;
    a.type = e.is_index ? dtype::i64 : std::is_same_v<T, float> ? dtype::f32 : dtype::f64;
    a.index = e.index;
    a.real = tensor<double>(e.real.extents());
    for (index_t i = 0; i < e.real.size(); ++i) a.real[i] = static_cast<double>(e.real[i]);
    return a;
  }

  template <class T>
  static void write(const tensor_set<T>& result, const std::string& pair) {
    const auto [name, file] = name_and_source(pair);
    if (name.empty()) {
      npz_arrays arrays;
      for (const auto& e : result.entries()) arrays.emplace_back(e.name, as_npy<T>(e));
      return write_npz(file, arrays);
    }
    const auto* e = result.find(name);
    if (e == nullptr) {
      std::vector<std::string> names;
      for (const auto& each : result.entries()) names.push_back(each.name);
      throw usage_error("--out " + pair + ": the pass writes no `" + name + "`; expected " + list_of(names));
    }
    write_npy(file, as_npy<T>(*e));
  }

  template <class T>
  void print_all(const layer& l, const tensor_set<T>& result) const {
    constexpr index_t most = 100;
    for (const auto& e : result.entries()) {
      fmt::print("{} = {}\n", e.name, to_string(e.extents()));
      for (index_t i = 0; i < std::min(e.extents().size(), most); ++i)
        fmt::print("  {} = {}\n", element_name(l, e.name, i),
                   e.is_index ? std::to_string(e.index[i]) : digits_of(e.real[i], scalar));
      if (e.extents().size() > most)
        fmt::print("  … {} more; --out {}=FILE.npy writes all\n", e.extents().size() - most, e.name);
    }
  }
};

}  // namespace

void add_eval(CLI::App& app, int& code) {
  add<eval_command>(app, "eval", "evaluate a layer on .npy files with the reference", code);
}

}  // namespace plumb::cli
