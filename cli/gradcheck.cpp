// plumb gradcheck: derivatives of layers, and of kernels against them; plumb jacobian: the explicit one.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "cli/commands.hpp"
#include "cli/judging.hpp"
#include "reference/core/problem_set.hpp"
#include "reference/core/registry.hpp"
#include "reference/graph/networks.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/gradcheck.hpp"
#include "verify/network_check.hpp"
#include "verify/sparse_jacobian.hpp"

namespace plumb::cli {
namespace {

struct gradcheck_command {
  std::vector<std::string> words, plugins;
  std::string problems, kernels = "*";
  int digits = 50;
  bool strict = false;
  common_options common;
  const CLI::Option* kernels_option = nullptr;

  void add_to(CLI::App& app) {
    app.add_option("what", words,
                   "layer globs, problems, or networks such as lenet5 (see `plumb list networks`)")
        ->required();
    app.add_option("--digits", digits, "decimal digits to agree to (1 … 80)")
        ->check(CLI::Range(1, 80))
        ->capture_default_str();
    app.add_option("--problems", problems, "a set, a problem, or a file of problems");
    kernels_option =
        app.add_option("--kernels", kernels,
                       "check these kernels' backward passes too, or run a network with them; '' for none")
            ->capture_default_str();
    app.add_option("--plugin", plugins, "kernels of this shared library too")->allow_extra_args(false);
    app.add_flag("--strict", strict, "peers and `inconclusive` count for the exit code");
    common.add_to(app);
    app.footer("example: plumb gradcheck conv2d max_pool2d --digits 50 --report gradients.html");
  }

  int run() const {
    const std::vector<std::string> texts = texts_to_check();
    progress_line line(common.quiet);
    record::run r = new_record("gradcheck", common);
    record::gradcheck_section section;
    section.digits = digits;
    std::optional<sandbox> box;
    if (!kernels.empty()) box.emplace(judging(plugins));
    for (const std::string& word : words)
      if (is_network(word)) add_network(word, box, section, line);
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t done = 0; done < texts.size(); ++done) {
      const std::string& text = texts[done];
      const auto failures = std::ranges::count_if(
          section.layers, [](const record::layer_check& each) { return record::is_bad(each.verdict); });
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
      line.show(progress_line::progress{done, texts.size(), "problems", static_cast<std::size_t>(failures),
                                        elapsed.count(), 0, "checking " + text});
      const auto l = plumb::bind(std::string_view(text));
      gradcheck_options o;
      o.digits = digits;
      o.seed = common.seed;
      section.layers.push_back(check_layer(*l, o));
      if (box) add_kernels(*box, *l, section.layers.back(), line);
    }
    line.clear();
    r.gradcheck = std::move(section);
    publish(r, common);
    return exit_code_of(r, strict);
  }

 private:
  /// Its derivatives, or with --kernels what the chosen kernels make of it.
  void add_network(const std::string& name, std::optional<sandbox>& box, record::gradcheck_section& section,
                   progress_line& line) const {
    const computational_graph g = make_network(name, checkable_size(name));
    const auto progress = [&](const std::string& now) { line.show("checking " + now); };
    const bool with_kernels = kernels_option->count() > 0 && box;
    gradcheck_options o;
    o.digits = digits;
    o.seed = common.seed;
    const auto chosen = [&](const kernel_info& k) { return glob_match(kernels, k.name); };
    for (record::layer_check& each : with_kernels ? run_network(name, g, *box, chosen, common.seed, progress)
                                                  : check_network(name, g, o, progress))
      section.layers.push_back(std::move(each));
  }

  std::vector<std::string> texts_to_check() const {
    std::vector<std::string> texts;
    for (const std::string& word : words) {
      if (is_network(word)) continue;
      const std::size_t before = texts.size();
      if (is_problem_text(word)) {
        texts.push_back(plumb::bind(std::string_view(word))->canonical().print());
      } else {
        for (const layer_row& row : layer_catalogue())
          if (glob_match(word, row.name))
            for (std::string& t : problems_of(std::string(row.name))) texts.push_back(std::move(t));
      }
      if (texts.size() == before) {
        throw usage_error("`" + word + "` matches no layer; expected " + nearest_layers(word) +
                          ", or a network: " + list_of(network_names()));
      }
    }
    return texts;
  }

  std::vector<std::string> problems_of(const std::string& layer) const {
    if (problems.empty()) return small_problems(layer, common.seed, 4);
    std::vector<std::string> texts;
    for (const set_problem& p : load_problems(problems).problems)
      if (p.problem.layer() == layer) texts.push_back(plumb::bind(p.problem)->canonical().print());
    return texts;
  }

  /// Every selected kernel's backward passes on the same problem, against the reference's gradients.
  void add_kernels(sandbox& box, const layer& l, record::layer_check& check, progress_line& line) const {
    verify_options o = runner_options(common, line);
    o.laws.clear();
    for (const kernel_info& k : box.kernels())
      if (k.layer == l.name() && k.pass != l.describe().passes.front().name && glob_match(kernels, k.name) &&
          l.find_pass(k.pass) != nullptr && k.unavailable.empty())
        o.kernels.push_back(&k);
    if (o.kernels.empty()) return;
    o.problems = {l.canonical().print()};
    for (const record::kernel_result& k : verify(box, o).kernels) {
      if (k.problems.empty() || k.problems.front().verdict == record::verdict::skipped) continue;
      record::kernel_gradient g;
      g.kernel = k.name;
      g.pass = k.pass;
      g.peer = k.peer;
      g.verdict = k.problems.front().verdict;
      g.reason = k.problems.front().reason;
      g.worst_proven = k.problems.front().worst_proven;
      g.worst_ulps = k.problems.front().worst_ulps;
      g.detection_power = k.detection_power;
      g.worst = k.worst;
      g.heat = k.heat;
      g.ulps = k.ulps;
      check.kernels.push_back(std::move(g));
    }
  }
};

struct jacobian_command {
  std::string problem_text, out;
  std::vector<std::string> in;
  double budget_mib = 256;
  std::uint64_t seed = 1;
  bool sparse = false;

  void add_to(CLI::App& app) {
    app.add_option("problem", problem_text, "a problem, as in 'relu x=4'")->required();
    app.add_option("--budget", budget_mib, "largest dense Jacobian, in MiB of f32")->capture_default_str();
    app.add_option("--in", in, "NAME=1,2,3, NAME=FILE.npy or FILE.npz: the point, or a part of it");
    app.add_option("--seed", seed, "seed of the point, as far as it is not given")->capture_default_str();
    app.add_flag("--sparse", sparse, "only the entries that are not zero, recovered by colouring");
    app.add_option("--out", out,
                   "with --sparse: write Matrix Market files OUT.dy_dx.mtx, one a pair of tensors");
    app.footer("example: plumb jacobian 'conv2d x=1x1x3x3 weight=1x1x2x2'");
  }

  int run() const {
    const auto l = plumb::bind(std::string_view(problem_text));
    if (!sparse && !out.empty()) throw usage_error("--out " + out + ": only --sparse writes files");
    if (!out.empty()) expect_writable(out + ".mtx");
    if (sparse) return run_sparse(*l);
    if (const std::string refusal = refuse_jacobian(*l, budget_mib * 1024 * 1024); !refusal.empty())
      throw usage_error(refusal);
    fmt::print("{}", print_jacobian(*l, point_of(*l)));
    return exit_pass;
  }

 private:
  tensor_set<double> point_of(const layer& l) const {
    tensor_set<double> point, given;
    for (const std::string& each : in) {
      const auto [name, source] = name_and_source(each);
      read_into(l, given, name, source);
    }
    const tensor_set<double> drawn = draw_point(l, seed);
    for (const auto& e : drawn.entries()) {
      const auto& chosen = given.has(e.name) ? given.at(e.name) : e;
      chosen.is_index ? void(point.add_indices(e.name, chosen.index)) : void(point.add(e.name, chosen.real));
    }
    return point;
  }

  int run_sparse(const layer& l) const {
    constexpr double agreed = 1e-9;  // two evaluations in double
    bool agree = true;
    for (const sparse_jacobian& j : sparse_jacobians(l, point_of(l), most_sparse_entries)) {
      fmt::print(
          "d{}/d{}: {} x {}, {} entries, from {} products instead of {}; off the explicit ones by {:.2g}\n",
          j.output, j.input, j.rows, j.columns, j.entries.size(), j.colours, j.columns, j.disagreement);
      agree = agree && j.disagreement <= agreed;
      if (!out.empty())
        write_file(fmt::format("{}.d{}_d{}.mtx", out, j.output, j.input),
                   matrix_market(j, l.canonical().print()));
    }
    return agree ? exit_pass : exit_fail;
  }
};

}  // namespace

void add_gradcheck(CLI::App& app, int& code) {
  add<gradcheck_command>(app, "gradcheck", "check the five definitions of layers, and kernels' gradients",
                         code);
}

void add_jacobian(CLI::App& app, int& code) {
  add<jacobian_command>(app, "jacobian", "print an explicit Jacobian", code);
}

}  // namespace plumb::cli
