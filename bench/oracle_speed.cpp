#include "bench/oracle_speed.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "reference/layers/catalogue.hpp"
#include "verify/compare.hpp"

namespace plumb {
namespace {

using clock = std::chrono::steady_clock;
double since(clock::time_point start) { return std::chrono::duration<double>(clock::now() - start).count(); }

/// OpenBLAS, opened when asked for: nothing that judges is linked to it.
class yardstick {
 public:
  explicit yardstick(int threads) {
    for (const char* name : {"libopenblas.so.0", "libopenblas.so"})
      if (handle_ == nullptr) handle_ = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) return;
    gemm_ = reinterpret_cast<decltype(gemm_)>(::dlsym(handle_, "cblas_dgemm"));
    if (auto* const set = reinterpret_cast<void (*)(int)>(::dlsym(handle_, "openblas_set_num_threads")))
      set(threads);
  }
  bool there() const { return gemm_ != nullptr; }

  /// Seconds of c = a·b with a of m×k and b of k×n, row major.
  double multiply(index_t m, index_t n, index_t k) {
    const auto fill = [](std::vector<double>& v, index_t size) {
      const std::size_t before = v.size();
      v.resize(std::max(before, static_cast<std::size_t>(size)));
      for (std::size_t i = before; i < v.size(); ++i) v[i] = static_cast<double>(i % 1021) * 0.001 - 0.5;
    };
    fill(a_, m * k), fill(b_, k * n), fill(c_, m * n);
    constexpr int row_major = 101, as_is = 111;
    const clock::time_point start = clock::now();
    gemm_(row_major, as_is, as_is, static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), 1,
          a_.data(), static_cast<int>(k), b_.data(), static_cast<int>(n), 0, c_.data(), static_cast<int>(n));
    return since(start);
  }

 private:
  using gemm = void(int, int, int, int, int, int, double, const double*, int, const double*, int, double,
                    double*, int);
  void* handle_ = nullptr;
  gemm* gemm_ = nullptr;
  std::vector<double> a_, b_, c_;
};

/// One problem: the kernel's outputs certified on zero-mean and on positive data.
class contest {
 public:
  contest(sandbox& box, const oracle_speed_options& options, const std::string& text)
      : box_(box),
        options_(options),
        layer_(plumb::bind(std::string_view(text))),
        pass_(layer_->find_pass(options.kernel->pass)) {}

  record::oracle_timing run(yardstick& gemm) {
    out_.problem = layer_->canonical().print();
    out_.kernel = options_.kernel->name;
    if (pass_ == nullptr || !pass_->contraction || layer_->name() != options_.kernel->layer) {
      out_.reason = "no sum of products of this kernel";
      return out_;
    }
    const shape& y = layer_->shapes()[pass_->writes.front()];
    out_.elements = y.size();
    out_.terms = layer_->full_products(pass_->name);
    out_.verdict = record::verdict::pass;
    for (const regime r : {regime::zero_mean, regime::positive})
      if (!certify(r, r == regime::zero_mean ? options_.repetitions : 1, gemm, y)) return out_;
    out_.gemm_gflops =
        2e-9 * static_cast<double>(out_.elements) * static_cast<double>(out_.terms) / out_.gemm_seconds;
    out_.ratio = out_.seconds / out_.gemm_seconds;
    return out_;
  }

 private:
  bool certify(regime r, int repetitions, yardstick& gemm, const shape& y) {
    const tensor_set<double> reads = draw(*layer_, *pass_, r, options_.seed, dtype::f32);
    const placed_tensor written = call(reads);
    if (!out_.reason.empty()) return false;
    const certify_terms terms{parse_arithmetic(options_.kernel->arithmetic, dtype::f32).value,
                              options_.kernel->accuracy, r};
    const index_t columns = y.size() / y[1];
    for (int k = 0; k < repetitions; ++k) {
      comparison c;
      const clock::time_point start = clock::now();
      const bool judged = oracle_.certify(*layer_, *pass_, reads, written.here, terms, options_.threads, c);
      const double seconds = since(start);
      if (!judged) {
        out_.verdict = record::verdict::skipped;
        out_.reason = "the pass is no matrix product";
        return false;
      }
      if (r == regime::zero_mean) {
        out_.seconds = k == 0 ? seconds : std::min(out_.seconds, seconds);
        const double rival = gemm.multiply(y[1], columns, out_.terms);
        out_.gemm_seconds = k == 0 ? rival : std::min(out_.gemm_seconds, rival);
      }
      out_.certified = c.elements;
      out_.worst_proven = std::max(out_.worst_proven, c.worst_proven);
      if (!c.passed()) out_.verdict = record::verdict::fail;
    }
    return true;
  }

  /// The kernel's answer, in the arena until its next use.
  placed_tensor call(const tensor_set<double>& reads) {
    arena& a = box_.at(0);
    a.clear();
    kernel_run run;
    run.kernel = options_.kernel->name;
    run.resolved = layer_->resolved().print();
    run.canonical = layer_->canonical().print();
    run.threads = options_.threads;
    for (const std::string& name : pass_->reads) {
      const auto* e = reads.find(name);
      if (e == nullptr) {
        run.reads.emplace_back();
        continue;
      }
      run.reads.push_back(a.place_read(name, dtype::f32, e->extents(), row_major(e->extents())));
      float* const to = run.reads.back().here.view<float>().data_handle();
      for (index_t i = 0; i < e->real.size(); ++i) to[i] = static_cast<float>(e->real[i]);
    }
    const std::string& y = pass_->writes.front();
    run.writes = {
        a.place_written(y, dtype::f32, layer_->shapes()[y], row_major(layer_->shapes()[y]), poison::nan)};
    const placed_tensor written = run.writes.front();
    const run_result result = box_.run(a, {std::move(run)}).front();
    if (result.status != run_status::ok) {
      out_.verdict = result.status == run_status::declined ? record::verdict::skipped : record::verdict::fail;
      out_.reason = result.text;
    }
    return written;
  }

  sandbox& box_;
  const oracle_speed_options& options_;
  std::shared_ptr<const layer> layer_;
  const pass_spec* pass_;
  record::oracle_timing out_;
  oracle oracle_;
};

}  // namespace

std::vector<record::oracle_timing> time_oracle(sandbox& box, const oracle_speed_options& options) {
  std::vector<record::oracle_timing> list;
  std::size_t total = 0;
  for (const problem_set& set : options.sets) total += set.problems.size();
  yardstick gemm(options.threads);
  if (!gemm.there()) throw sandbox_error("there is no libopenblas to compare with");
  for (const problem_set& set : options.sets)
    for (const set_problem& each : set.problems) {
      if (each.problem.layer() != options.kernel->layer) continue;
      const std::string text = each.problem.print();
      if (options.progress) options.progress(list.size(), total, text);
      list.push_back(contest(box, options, text).run(gemm));
      list.back().set = set.name;
    }
  return list;
}

}  // namespace plumb
